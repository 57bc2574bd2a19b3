//! Setting options of a socket, each in the way of this system.

use super::attempt::{attempt, unsupported};
use super::options::SocketOptions;
use socket2::{Socket, TcpKeepalive};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Sets what a socket has from its beginning to its end.
pub(super) fn apply(socket: &Socket, is_ip: bool, options: &SocketOptions) -> io::Result<()> {
    if let Some(bytes) = options.send_buffer_bytes {
        attempt("SO_SNDBUF", socket.set_send_buffer_size(bytes as usize))?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        attempt("SO_RCVBUF", socket.set_recv_buffer_size(bytes as usize))?;
    }
    if let Some(us) = options.busy_poll_us {
        linux_option(
            socket,
            "SO_BUSY_POLL",
            linux::SOL_SOCKET,
            linux::SO_BUSY_POLL,
            us,
        )?;
    }
    if let Some(rate) = options.pacing_bytes_per_second {
        linux_option(
            socket,
            "SO_MAX_PACING_RATE",
            linux::SOL_SOCKET,
            linux::SO_MAX_PACING_RATE,
            rate,
        )?;
    }
    if !is_ip {
        return Ok(());
    }
    attempt("TCP_NODELAY", socket.set_tcp_nodelay(options.nodelay))?;
    if let Some(seconds) = options.keepalive_s {
        let time = Duration::from_secs(u64::from(seconds.max(1)));
        #[cfg(not(target_os = "openbsd"))]
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(time);
        #[cfg(target_os = "openbsd")]
        let keepalive = {
            let _ = time;
            TcpKeepalive::new()
        };
        attempt("SO_KEEPALIVE", socket.set_tcp_keepalive(&keepalive))?;
    }
    if let Some(bytes) = options.mss_bytes {
        attempt(
            "TCP_MAXSEG",
            set_integer(
                socket,
                libc::IPPROTO_TCP,
                libc::TCP_MAXSEG,
                bytes as libc::c_int,
            ),
        )?;
    }
    if let Some(tos) = options.tos {
        set_tos(socket, tos)?;
    }
    if let Some(name) = &options.congestion_control {
        set_congestion(socket, name)?;
    }
    Ok(())
}

fn set_tos(socket: &Socket, tos: u8) -> io::Result<()> {
    let (level, name) = match socket.domain_is_ipv6() {
        true => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        false => (libc::IPPROTO_IP, libc::IP_TOS),
    };
    attempt(
        "IP_TOS",
        set_integer(socket, level, name, libc::c_int::from(tos)),
    )
}

trait IsIpv6 {
    fn domain_is_ipv6(&self) -> bool;
}

impl IsIpv6 for Socket {
    fn domain_is_ipv6(&self) -> bool {
        self.local_addr().is_ok_and(|address| address.is_ipv6())
    }
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn set_congestion(socket: &Socket, name: &str) -> io::Result<()> {
    attempt("TCP_CONGESTION", socket.set_tcp_congestion(name.as_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn set_congestion(_: &Socket, _: &str) -> io::Result<()> {
    Err(unsupported("TCP_CONGESTION"))
}

#[cfg(target_os = "linux")]
pub(super) fn set_reuseport(socket: &Socket) -> io::Result<()> {
    attempt("SO_REUSEPORT", socket.set_reuse_port(true))
}

/// FreeBSD's balanced variant (12+); plain SO_REUSEPORT there gives one listener everything.
#[cfg(target_os = "freebsd")]
pub(super) fn set_reuseport(socket: &Socket) -> io::Result<()> {
    attempt(
        "SO_REUSEPORT_LB",
        set_integer(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT_LB, 1),
    )
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
pub(super) fn set_reuseport(_: &Socket) -> io::Result<()> {
    Err(unsupported("SO_REUSEPORT with balanced listeners"))
}

/// Sets one integer-like option.
fn set_integer<T: Copy>(
    socket: &Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    // SAFETY: the kernel reads size_of::<T>() bytes from `value`, which lives during the call;
    // T is only ever an integer here.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Names that only Linux has; zeros elsewhere, where they are never used.
mod linux {
    #[cfg(target_os = "linux")]
    pub use libc::{SO_BUSY_POLL, SO_MAX_PACING_RATE, SOL_SOCKET, TCP_FASTOPEN_CONNECT};
    #[cfg(not(target_os = "linux"))]
    pub const SO_BUSY_POLL: i32 = 0;
    #[cfg(not(target_os = "linux"))]
    pub const SO_MAX_PACING_RATE: i32 = 0;
    #[cfg(not(target_os = "linux"))]
    pub const SOL_SOCKET: i32 = 0;
    #[cfg(not(target_os = "linux"))]
    pub const TCP_FASTOPEN_CONNECT: i32 = 0;
}

fn linux_option<T: Copy>(
    socket: &Socket,
    label: &str,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(unsupported(label));
    }
    attempt(label, set_integer(socket, level, name, value))
}

#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "macos"))]
pub(super) fn fast_open_listener(socket: &Socket) -> io::Result<()> {
    // The value is the number of pending fast-open requests on Linux, a switch elsewhere.
    let value: libc::c_int = if cfg!(target_os = "linux") { 1024 } else { 1 };
    attempt(
        "TCP_FASTOPEN",
        set_integer(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, value),
    )
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "macos")))]
pub(super) fn fast_open_listener(_: &Socket) -> io::Result<()> {
    Err(unsupported("TCP_FASTOPEN"))
}

pub(super) fn fast_open_connect(socket: &Socket) -> io::Result<()> {
    linux_option(
        socket,
        "TCP_FASTOPEN_CONNECT",
        libc::IPPROTO_TCP,
        linux::TCP_FASTOPEN_CONNECT,
        1 as libc::c_int,
    )
}

#[cfg(target_os = "linux")]
pub(super) fn bind_address_no_port(socket: &Socket) {
    // Best effort: without it fewer ports are usable, which shows up as EADDRINUSE and is reported.
    let _ = set_integer(
        socket,
        libc::IPPROTO_IP,
        libc::IP_BIND_ADDRESS_NO_PORT,
        1 as libc::c_int,
    );
}

#[cfg(not(target_os = "linux"))]
pub(super) fn bind_address_no_port(_: &Socket) {}

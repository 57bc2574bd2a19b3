//! Creating sockets with the user's options, and reading back what was granted.

use crate::proactor::How;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// Socket options as requested. `None` leaves the system's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// TCP_NODELAY: do not wait for more before sending a small segment.
    pub nodelay: bool,
    /// SO_SNDBUF, bytes. Linux doubles it and clamps it to net.core.wmem_max.
    pub send_buffer_bytes: Option<u32>,
    /// SO_RCVBUF, bytes. Linux doubles it, clamps it to net.core.rmem_max, and stops autotuning.
    pub receive_buffer_bytes: Option<u32>,
    /// TCP_CONGESTION, by name.
    pub congestion_control: Option<String>,
    /// TCP_MAXSEG, bytes.
    pub mss_bytes: Option<u32>,
    /// IP_TOS or IPV6_TCLASS.
    pub tos: Option<u8>,
    /// SO_BUSY_POLL, us (Linux; acts on devices with NAPI only, not on loopback).
    pub busy_poll_us: Option<u32>,
    /// TCP Fast Open: TCP_FASTOPEN on listeners, TCP_FASTOPEN_CONNECT on connecting sockets.
    pub fast_open: bool,
    /// SO_KEEPALIVE with this idle time and interval, s.
    pub keepalive_s: Option<u32>,
    /// SO_MAX_PACING_RATE, bytes per second (Linux).
    pub pacing_bytes_per_second: Option<u64>,
}

/// Socket options as the system reports them on an open connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// SO_SNDBUF, bytes (Linux: twice what was asked, bookkeeping included).
    pub send_buffer_bytes: Option<u64>,
    /// SO_RCVBUF, bytes.
    pub receive_buffer_bytes: Option<u64>,
    /// TCP_NODELAY.
    pub nodelay: Option<bool>,
    /// TCP_CONGESTION.
    pub congestion_control: Option<String>,
    /// TCP_MAXSEG, bytes.
    pub mss_bytes: Option<u32>,
}

/// A bound, listening socket. Options are set on the listener, because accepted sockets inherit
/// them (Linux; see [`accepted`] for the rest).
///
/// # Errors
/// What the system refused, with the attempt in the text.
pub fn listen(
    address: &SockAddr,
    backlog: u32,
    reuseport: bool,
    nonblocking: bool,
    options: &SocketOptions,
) -> io::Result<OwnedFd> {
    let socket = new_socket(address.domain(), nonblocking)?;
    let is_ip = address.as_socket().is_some();
    if is_ip {
        attempt("SO_REUSEADDR", socket.set_reuse_address(true))?;
    }
    if reuseport {
        set_reuseport(&socket)?;
    }
    if address.as_socket().is_some_and(|a| a.is_ipv6()) {
        attempt("IPV6_V6ONLY", socket.set_only_v6(true))?;
    }
    apply(&socket, is_ip, options)?;
    attempt("bind", socket.bind(address))?;
    if is_ip && options.fast_open {
        fast_open_listener(&socket)?;
    }
    attempt(
        "listen",
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)),
    )?;
    Ok(socket.into())
}

/// What an accepted socket does not inherit from its listener on this system.
pub fn accepted(socket: BorrowedFd<'_>, is_ip: bool, options: &SocketOptions) {
    // Linux clones the listener's socket whole (inet_csk_clone_lock), so nothing is left to do and
    // a system call per connection is saved; elsewhere TCP_NODELAY's inheritance is not promised.
    if !cfg!(target_os = "linux") && is_ip && options.nodelay {
        let _ = socket2::SockRef::from(&socket).set_tcp_nodelay(true);
    }
}

/// A socket ready to connect to `domain`, from `source` if one is named.
///
/// # Errors
/// What the system refused, with the attempt in the text; the errno is kept.
pub fn connecting(
    domain: Domain,
    source: Option<IpAddr>,
    nonblocking: bool,
    options: &SocketOptions,
) -> io::Result<OwnedFd> {
    let socket = new_socket(domain, nonblocking)?;
    let is_ip = domain != Domain::UNIX;
    apply(&socket, is_ip, options)?;
    if is_ip && options.fast_open {
        fast_open_connect(&socket)?;
    }
    if let Some(source) = source.filter(|_| is_ip) {
        // Without it the kernel reserves a port at bind(2), for this address and all targets.
        bind_address_no_port(&socket);
        attempt(
            "bind to the source address",
            socket.bind(&SocketAddr::new(source, 0).into()),
        )?;
    }
    Ok(socket.into())
}

fn new_socket(domain: Domain, nonblocking: bool) -> io::Result<Socket> {
    #[cfg(any(
        target_os = "linux",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly"
    ))]
    {
        let kind = if nonblocking {
            Type::STREAM.nonblocking()
        } else {
            Type::STREAM
        };
        Socket::new(domain, kind, None)
    }
    #[cfg(not(any(
        target_os = "linux",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly"
    )))]
    {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(nonblocking)?;
        Ok(socket)
    }
}

fn apply(socket: &Socket, is_ip: bool, options: &SocketOptions) -> io::Result<()> {
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
fn set_reuseport(socket: &Socket) -> io::Result<()> {
    attempt("SO_REUSEPORT", socket.set_reuse_port(true))
}

/// FreeBSD's balanced variant (12+); plain SO_REUSEPORT there gives one listener everything.
#[cfg(target_os = "freebsd")]
fn set_reuseport(socket: &Socket) -> io::Result<()> {
    attempt(
        "SO_REUSEPORT_LB",
        set_integer(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT_LB, 1),
    )
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn set_reuseport(_: &Socket) -> io::Result<()> {
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
fn fast_open_listener(socket: &Socket) -> io::Result<()> {
    // The value is the number of pending fast-open requests on Linux, a switch elsewhere.
    let value: libc::c_int = if cfg!(target_os = "linux") { 1024 } else { 1 };
    attempt(
        "TCP_FASTOPEN",
        set_integer(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, value),
    )
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "macos")))]
fn fast_open_listener(_: &Socket) -> io::Result<()> {
    Err(unsupported("TCP_FASTOPEN"))
}

fn fast_open_connect(socket: &Socket) -> io::Result<()> {
    linux_option(
        socket,
        "TCP_FASTOPEN_CONNECT",
        libc::IPPROTO_TCP,
        linux::TCP_FASTOPEN_CONNECT,
        1 as libc::c_int,
    )
}

#[cfg(target_os = "linux")]
fn bind_address_no_port(socket: &Socket) {
    // Best effort: without it fewer ports are usable, which shows up as EADDRINUSE and is reported.
    let _ = set_integer(
        socket,
        libc::IPPROTO_IP,
        libc::IP_BIND_ADDRESS_NO_PORT,
        1 as libc::c_int,
    );
}

#[cfg(not(target_os = "linux"))]
fn bind_address_no_port(_: &Socket) {}

/// Sets SO_LINGER 0 for [`How::Rst`], so that closing sends RST. Errors mean that the connection
/// is gone already.
pub fn prepare_close(socket: RawFd, how: How) {
    if how == How::Rst {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: the kernel reads one linger structure, which lives during the call.
        unsafe {
            libc::setsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            );
        }
    }
}

/// Reads back what is in force on an open connection.
pub fn granted(socket: RawFd) -> Granted {
    // SAFETY: the caller's connection keeps the descriptor open during the call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(socket) };
    let socket = socket2::SockRef::from(&borrowed);
    let is_ip = socket
        .local_addr()
        .is_ok_and(|address| address.as_socket().is_some());
    Granted {
        send_buffer_bytes: socket.send_buffer_size().ok().map(|bytes| bytes as u64),
        receive_buffer_bytes: socket.recv_buffer_size().ok().map(|bytes| bytes as u64),
        nodelay: if is_ip {
            socket.tcp_nodelay().ok()
        } else {
            None
        },
        congestion_control: if is_ip { congestion_of(&socket) } else { None },
        mss_bytes: if is_ip { socket.tcp_mss().ok() } else { None },
    }
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn congestion_of(socket: &Socket) -> Option<String> {
    let name = socket.tcp_congestion().ok()?;
    let name: Vec<u8> = name.into_iter().take_while(|&byte| byte != 0).collect();
    String::from_utf8(name).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn congestion_of(_: &Socket) -> Option<String> {
    None
}

/// Whether a descriptor is a Unix socket.
pub fn is_unix(socket: RawFd) -> bool {
    // SAFETY: the caller's connection keeps the descriptor open during the call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(socket) };
    let address = socket2::SockRef::from(&borrowed).local_addr();
    address.is_ok_and(|address| address.domain() == Domain::UNIX)
}

/// The local address of a descriptor, for listeners on port 0.
///
/// # Errors
/// When the descriptor is not a socket.
pub fn local_address(socket: BorrowedFd<'_>) -> io::Result<SockAddr> {
    socket2::SockRef::from(&socket).local_addr()
}

/// Ends listening while the descriptor stays open, so that clients are refused at once instead of
/// waiting in a backlog that nobody serves. Linux does this for TCP and Unix sockets by
/// shutdown(2); elsewhere it may change nothing.
pub fn stop_listening(socket: BorrowedFd<'_>) {
    let _ = socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Both);
}

/// Sets the blocking mode that a backend wants of a listener it was given
/// ([`crate::proactor::Proactor::NONBLOCKING`]).
///
/// # Errors
/// When the descriptor is not open.
pub fn set_nonblocking(socket: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    socket2::SockRef::from(&socket).set_nonblocking(nonblocking)
}

/// Another descriptor for the same listener ([`crate::driver::AcceptStrategy::Shared`]).
///
/// # Errors
/// When no descriptors are left.
pub fn duplicate(socket: &OwnedFd) -> io::Result<OwnedFd> {
    socket.as_fd().try_clone_to_owned()
}

/// Puts the attempt into the error's text and keeps its errno readable through [`errno_of`].
fn attempt<T>(what: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(0);
        io::Error::new(
            error.kind(),
            Attempt {
                what: what.to_owned(),
                errno,
                text: error.to_string(),
            },
        )
    })
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{what} does not exist on this system"),
    )
}

#[derive(Debug)]
struct Attempt {
    what: String,
    errno: i32,
    text: String,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.text)
    }
}

impl std::error::Error for Attempt {}

/// The errno behind an error from this module; 0 if there is none.
pub fn errno_of(error: &io::Error) -> i32 {
    error
        .raw_os_error()
        .or_else(|| {
            error
                .get_ref()?
                .downcast_ref::<Attempt>()
                .map(|attempt| attempt.errno)
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_address_says_what_was_attempted() {
        let any: SockAddr = "127.0.0.1:0".parse::<SocketAddr>().unwrap().into();
        let first = listen(&any, 8, false, false, &SocketOptions::default()).unwrap();
        let taken = local_address(first.as_fd()).unwrap();
        let error = listen(&taken, 8, false, false, &SocketOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with("bind:"), "{error}");
        assert_eq!(errno_of(&error), libc::EADDRINUSE);
    }

    #[test]
    fn options_are_granted_and_read_back() {
        let options = SocketOptions {
            nodelay: true,
            send_buffer_bytes: Some(65_536),
            keepalive_s: Some(30),
            tos: Some(0x10),
            mss_bytes: Some(1_000),
            ..SocketOptions::default()
        };
        let socket = connecting(
            Domain::IPV4,
            Some("127.0.0.2".parse().unwrap()),
            true,
            &options,
        )
        .unwrap();
        let granted = granted(socket.as_raw_fd());
        assert_eq!(granted.nodelay, Some(true));
        assert!(granted.send_buffer_bytes.unwrap() >= 65_536);
    }
}

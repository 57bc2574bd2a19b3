//! Creating sockets with the user's options, and reading back what was granted.

mod attempt;
mod options;
mod setting;

use crate::session::How;
use attempt::attempt;
pub use attempt::errno_of;
pub use options::SocketOptions;
use setting::{apply, bind_address_no_port, fast_open_connect, fast_open_listener, set_reuseport};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

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
        attempt(
            "IPV6_V6ONLY",
            socket.set_only_v6(!takes_both_versions(address)),
        )?;
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

/// Whether a listener on this address takes IPv4 as well: `[::]` does (RFC 3493, section 5.3), as the servers of
/// iperf3, Go and Java do and whatever net.ipv6.bindv6only says; a single IPv6 address cannot. OpenBSD has no such
/// sockets (inet6(4)).
pub fn takes_both_versions(address: &SockAddr) -> bool {
    let is_wildcard = |ip: SocketAddr| ip.is_ipv6() && ip.ip().is_unspecified();
    !cfg!(target_os = "openbsd") && address.as_socket().is_some_and(is_wildcard)
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
    source: Option<SocketAddr>,
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
        attempt("bind to the source address", socket.bind(&source.into()))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

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
    fn the_ipv6_wildcard_takes_ipv4_and_one_address_does_not() {
        let options = SocketOptions::default();
        for (address, takes_v4) in [("[::]:0", true), ("[::1]:0", false)] {
            let address: SockAddr = address.parse::<SocketAddr>().unwrap().into();
            let Ok(listener) = listen(&address, 8, false, false, &options) else {
                // This host has IPv6 turned off.
                return;
            };
            let bound = local_address(listener.as_fd()).unwrap();
            let port = bound.as_socket().unwrap().port();
            let v4 = std::net::TcpStream::connect(("127.0.0.1", port));
            assert_eq!(v4.is_ok(), takes_v4 && !cfg!(target_os = "openbsd"));
        }
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
            Some("127.0.0.2:0".parse().unwrap()),
            true,
            &options,
        )
        .unwrap();
        let granted = granted(socket.as_raw_fd());
        assert_eq!(granted.nodelay, Some(true));
        assert!(granted.send_buffer_bytes.unwrap() >= 65_536);
    }
}

//! The system calls of this crate, each as a function without unsafety (but for raw pieces of
//! memory) and with errno as its error. Interrupted calls are made again.

use engine::proactor::Piece;
use engine::session::How;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Flag of a send that must not raise SIGPIPE; macOS has the socket option instead
/// ([`suppress_sigpipe`]).
const NO_SIGNAL: libc::c_int = if cfg!(target_vendor = "apple") {
    0
} else {
    libc::MSG_NOSIGNAL
};

/// System calls of one [`accept`] that succeeds: macOS has no accept4(2).
pub const ACCEPT_CALLS: u64 = if cfg!(target_vendor = "apple") { 3 } else { 1 };

/// The calling thread's errno.
pub fn errno() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

/// Whether `errno` says that the call would have to wait.
pub fn would_block(errno: i32) -> bool {
    errno == libc::EAGAIN || errno == libc::EWOULDBLOCK
}

/// recv(2), past libc: in a process with threads its wrapper enters and leaves a cancellation point,
/// with a locked instruction each (glibc, nptl/cancellation.c), and no thread here is cancelled.
///
/// # Safety
/// `len` bytes from `buffer` on are writable and nobody else's during the call.
#[cfg(target_os = "linux")]
#[inline]
unsafe fn recv(fd: RawFd, buffer: *mut u8, len: usize, flags: libc::c_int) -> isize {
    let nobody = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: recvfrom(2) that does not ask for the sender is recv(2); the rest is the caller's.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, buffer, len, flags, nobody, nobody) as isize }
}

/// recv(2).
///
/// # Safety
/// `len` bytes from `buffer` on are writable and nobody else's during the call.
#[cfg(not(target_os = "linux"))]
#[inline]
unsafe fn recv(fd: RawFd, buffer: *mut u8, len: usize, flags: libc::c_int) -> isize {
    // SAFETY: the caller's.
    unsafe { libc::recv(fd, buffer.cast(), len, flags) }
}

/// send(2), past libc for the same reason.
///
/// # Safety
/// The memory of the piece is readable during the call.
#[cfg(target_os = "linux")]
#[inline]
unsafe fn send_piece(fd: RawFd, piece: &Piece, flags: libc::c_int) -> isize {
    let nobody = std::ptr::null::<libc::c_void>();
    let (from, len) = (piece.ptr, piece.len);
    // SAFETY: sendto(2) without an address is send(2); the caller keeps the piece readable.
    unsafe { libc::syscall(libc::SYS_sendto, fd, from, len, flags, nobody, 0usize) as isize }
}

/// send(2).
///
/// # Safety
/// The memory of the piece is readable during the call.
#[cfg(not(target_os = "linux"))]
#[inline]
unsafe fn send_piece(fd: RawFd, piece: &Piece, flags: libc::c_int) -> isize {
    // SAFETY: the caller keeps the piece readable.
    unsafe { libc::send(fd, piece.ptr.cast(), piece.len, flags) }
}

/// Repeats `call` while a signal interrupts it.
#[inline]
fn uninterrupted(mut call: impl FnMut() -> isize) -> Result<usize, i32> {
    loop {
        match call() {
            n if n >= 0 => return Ok(n as usize),
            _ => match errno() {
                libc::EINTR => {}
                errno => return Err(errno),
            },
        }
    }
}

/// Whether the sockets of threads that wait must be non-blocking, and the threads wait in poll(2): a send
/// that must not wait needs it where MSG_DONTWAIT is for receives only. `sosend` of NetBSD looks at SS_NBIO and
/// MSG_NBIO (sys/kern/uipc_socket.c), and that of XNU likewise (bsd/kern/uipc_socket.c). Then a send of more
/// than there is room for would wait for a peer that has to be read first.
pub const THREADS_POLL: bool = cfg!(any(target_os = "netbsd", target_vendor = "apple"));

/// recv(2) that waits, at most for the socket's [`bound_waiting`]: then EAGAIN. 0 is the peer's FIN. The
/// socket is one of a thread of its own.
#[inline]
pub fn receive(fd: RawFd, buffer: &mut [u8]) -> Result<usize, i32> {
    if THREADS_POLL {
        return receive_polling(fd, buffer);
    }
    // SAFETY: pointer and length are those of a live exclusive slice.
    uninterrupted(|| unsafe { recv(fd, buffer.as_mut_ptr(), buffer.len(), 0) })
}

/// [`receive`] on a non-blocking socket. shutdown(2) by another thread ends the wait as it ends recv(2).
fn receive_polling(fd: RawFd, buffer: &mut [u8]) -> Result<usize, i32> {
    match receive_now(fd, buffer) {
        Err(errno) if would_block(errno) => {}
        received => return received,
    }
    wait_for(fd, libc::POLLIN, libc::SO_RCVTIMEO);
    receive_now(fd, buffer)
}

/// poll(2) for `events`, at most for the socket's own limit, the option `limit`.
fn wait_for(fd: RawFd, events: libc::c_short, limit: libc::c_int) -> bool {
    let until_ns = waiting_bound(fd, limit).map(|ns| engine::clock::now_ns().saturating_add(ns));
    loop {
        if poll(&mut [watch(fd, events)], until_ns) {
            return true;
        }
        // Nothing, because a signal came or because the time is over.
        if until_ns.is_some_and(|until_ns| engine::clock::now_ns() >= until_ns) {
            return false;
        }
    }
}

/// recv(2) that never waits, whatever the mode of the socket.
#[inline]
pub fn receive_now(fd: RawFd, buffer: &mut [u8]) -> Result<usize, i32> {
    // SAFETY: pointer and length are those of a live exclusive slice.
    uninterrupted(|| unsafe { recv(fd, buffer.as_mut_ptr(), buffer.len(), libc::MSG_DONTWAIT) })
}

/// send(2) of one piece, sendmsg(2) of several; returns the bytes taken. `wait` is false for a
/// send that must not block whatever the mode of the socket.
///
/// # Safety
/// The memory of every piece is readable during the call.
#[inline]
pub unsafe fn send(fd: RawFd, pieces: &[Piece], wait: bool) -> Result<usize, i32> {
    let flags = if wait {
        NO_SIGNAL
    } else {
        NO_SIGNAL | libc::MSG_DONTWAIT
    };
    if let [piece] = pieces {
        // SAFETY: the caller keeps the piece readable.
        return uninterrupted(|| unsafe { send_piece(fd, piece, flags) });
    }
    // SAFETY: all-zero bytes are a valid msghdr: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // A Piece has the layout of an iovec (asserted below); the kernel only reads it.
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len() as _;
    // SAFETY: the header refers to the live slice `pieces`, whose memory the caller keeps readable.
    uninterrupted(|| unsafe { libc::sendmsg(fd, &message, flags) })
}

const _: () = {
    assert!(size_of::<Piece>() == size_of::<libc::iovec>());
    assert!(align_of::<Piece>() == align_of::<libc::iovec>());
    assert!(std::mem::offset_of!(Piece, ptr) == std::mem::offset_of!(libc::iovec, iov_base));
    assert!(std::mem::offset_of!(Piece, len) == std::mem::offset_of!(libc::iovec, iov_len));
};

/// Accepts one connection, close-on-exec. Whether it is non-blocking is set explicitly, because
/// accept(2) inherits it from the listener on the BSDs and not on Linux.
#[cfg(not(target_vendor = "apple"))]
pub fn accept(listener: RawFd, nonblocking: bool) -> Result<OwnedFd, i32> {
    let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    let accepted = uninterrupted(|| {
        // SAFETY: null address and length are allowed: the peer's address is not asked for.
        unsafe {
            libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) as isize
        }
    })?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(accepted as RawFd) })
}

/// Accepts one connection, close-on-exec; macOS has no accept4(2), so two fcntl(2) follow.
#[cfg(target_vendor = "apple")]
pub fn accept(listener: RawFd, nonblocking: bool) -> Result<OwnedFd, i32> {
    let accepted = uninterrupted(|| {
        // SAFETY: null address and length are allowed: the peer's address is not asked for.
        unsafe { libc::accept(listener, std::ptr::null_mut(), std::ptr::null_mut()) as isize }
    })?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(accepted as RawFd) };
    let mode = if nonblocking { libc::O_NONBLOCK } else { 0 };
    // SAFETY: fcntl with these commands takes an integer and touches no memory.
    let set = unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) != -1
            && libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, mode) != -1
    };
    if set { Ok(fd) } else { Err(errno()) }
}

/// Whether an error of accept(2) concerns only the connection that was to be accepted. Linux
/// passes pending network errors of the new socket through accept (accept(2), "Error handling").
pub fn accept_error_is_transient(errno: i32) -> bool {
    let everywhere = [libc::ECONNABORTED, libc::EPROTO, libc::EPERM];
    let linux = [
        libc::ENETDOWN,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::EOPNOTSUPP,
        libc::ENETUNREACH,
    ];
    everywhere.contains(&errno) || (cfg!(target_os = "linux") && linux.contains(&errno))
}

/// connect(2) of a thread's own socket: waits, at most for the socket's [`bound_waiting`] of sends; then EINPROGRESS.
/// `before_waiting` is called if it waits, and costs two calls more.
pub fn connect(
    fd: RawFd,
    address: &socket2::SockAddr,
    before_waiting: Option<&mut dyn FnMut()>,
) -> Result<(), i32> {
    match before_waiting {
        // On Linux alone SO_SNDTIMEO bounds a connect (socket(7)).
        None if cfg!(target_os = "linux") => begin_connect(fd, address),
        None => connect_polling(fd, address, &mut || {}),
        Some(act) => connect_polling(fd, address, act),
    }
}

/// [`connect`] by poll(2). Leaves the socket non-blocking where its thread polls for all else, too.
fn connect_polling(
    fd: RawFd,
    address: &socket2::SockAddr,
    before_waiting: &mut dyn FnMut(),
) -> Result<(), i32> {
    set_blocking(fd, false);
    let mut connected = begin_connect(fd, address);
    if connected == Err(libc::EINPROGRESS) {
        before_waiting();
        if wait_for(fd, libc::POLLOUT, libc::SO_SNDTIMEO) {
            connected = take_error(fd);
        }
    }
    set_blocking(fd, !THREADS_POLL);
    connected
}

/// connect(2). An interrupted connect goes on in the kernel, so EINTR is reported as EINPROGRESS.
pub fn begin_connect(fd: RawFd, address: &socket2::SockAddr) -> Result<(), i32> {
    // SAFETY: the address and its length belong together and live through the call.
    match unsafe { libc::connect(fd, address.as_ptr().cast(), address.len()) } {
        0 => Ok(()),
        _ => Err(match errno() {
            libc::EINTR => libc::EINPROGRESS,
            errno => errno,
        }),
    }
}

/// Whether a socket has room to send and no error, so that a connect that was begun has succeeded.
pub fn is_writable(fd: RawFd) -> bool {
    let mut watched = watch(fd, libc::POLLOUT);
    // SAFETY: one structure, which lives through the call.
    let answer = unsafe { libc::poll(&raw mut watched, 1, 0) };
    answer == 1 && watched.revents == libc::POLLOUT
}

/// Takes the pending error of a socket (SO_ERROR): how a connect ended.
pub fn take_error(fd: RawFd) -> Result<(), i32> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` and `len` live through the call, and `len` is the size of `value`.
    let answer = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut value).cast(),
            &mut len,
        )
    };
    match (answer, value) {
        (0, 0) => Ok(()),
        (0, error) => Err(error),
        _ => Err(errno()),
    }
}

fn set_option<T>(fd: RawFd, name: libc::c_int, value: &T) -> Result<(), i32> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` lives through the call, and `len` is its size.
    let answer =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, (value as *const T).cast(), len) };
    if answer == 0 { Ok(()) } else { Err(errno()) }
}

/// Makes sends on this socket return EPIPE instead of raising SIGPIPE, where a flag of send(2)
/// cannot say so. Returns the number of system calls.
pub fn suppress_sigpipe(fd: RawFd) -> u64 {
    #[cfg(target_vendor = "apple")]
    {
        // The Rust runtime ignores SIGPIPE anyway; a failure here leaves it at that.
        let _ = set_option(fd, libc::SO_NOSIGPIPE, &1i32);
        1
    }
    #[cfg(not(target_vendor = "apple"))]
    {
        let _ = fd;
        0
    }
}

/// close(2), after SO_LINGER 0 for [`How::Rst`]. Returns the number of system calls.
pub fn close(fd: OwnedFd, how: How) -> u64 {
    let mut calls = 1;
    if how == How::Rst {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // It fails only on what is no socket any more; closing is all that is left then.
        let _ = set_option(fd.as_raw_fd(), libc::SO_LINGER, &linger);
        calls += 1;
    }
    // SAFETY: the descriptor was owned by `fd`, which gave it up. After EINTR it is closed too.
    unsafe { libc::close(fd.into_raw_fd()) };
    calls
}

/// shutdown(2) of the sending direction. It fails only if the connection is gone already, which
/// the next receive reports.
pub fn shutdown_write(fd: RawFd) {
    // SAFETY: takes two integers and touches no memory.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Reads a wake descriptor empty. Returns the number of system calls.
pub fn read_empty(fd: RawFd) -> u64 {
    let mut sink = [0u8; 64];
    let mut calls = 0;
    loop {
        calls += 1;
        // SAFETY: pointer and length are those of `sink`.
        let answer =
            uninterrupted(|| unsafe { libc::read(fd, sink.as_mut_ptr().cast(), sink.len()) });
        // A short read has emptied a pipe or socket, and one read empties an eventfd.
        match answer {
            Ok(n) if n == sink.len() => {}
            _ => return calls,
        }
    }
}

/// shutdown(2) of both directions: wakes whoever is blocked on the socket.
pub fn shutdown_both(fd: RawFd) {
    // SAFETY: takes two integers and touches no memory.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// An entry of [`poll`].
pub fn watch(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// poll(2) until something is ready or the monotonic instant `until_ns` has passed (`None`: no
/// limit). Returns whether something is ready. Interruption counts as nothing.
pub fn poll(entries: &mut [libc::pollfd], until_ns: Option<u64>) -> bool {
    let left_ns = until_ns.map(|until| until.saturating_sub(engine::clock::now_ns()));
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
    let count = {
        let timeout = left_ns.map(|ns| libc::timespec {
            tv_sec: (ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        });
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        let (first, len) = (entries.as_mut_ptr(), entries.len() as libc::nfds_t);
        // SAFETY: `entries` is a live slice of `len`, `timeout` null or live; no signal mask.
        unsafe { libc::ppoll(first, len, timeout, std::ptr::null()) }
    };
    // No ppoll(2) everywhere: whole milliseconds rounded up, late rather than early.
    #[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
    let count = {
        let timeout_ms =
            left_ns.map_or(-1, |ns| ns.div_ceil(1_000_000).min(1 << 30) as libc::c_int);
        let (first, len) = (entries.as_mut_ptr(), entries.len() as libc::nfds_t);
        // SAFETY: `entries` is a live slice of `len`.
        unsafe { libc::poll(first, len, timeout_ms) }
    };
    count > 0
}

/// Bounds blocking receives (`receive`: SO_RCVTIMEO) or sends and, on Linux, connects (SO_SNDTIMEO;
/// socket(7)). Rounded up to a microsecond. A failure leaves them unbounded.
pub fn bound_waiting(fd: RawFd, receive: bool, timeout_ns: u64) {
    let us = timeout_ns.div_ceil(1_000);
    let time = libc::timeval {
        tv_sec: (us / 1_000_000) as libc::time_t,
        tv_usec: (us % 1_000_000) as libc::suseconds_t,
    };
    let name = if receive {
        libc::SO_RCVTIMEO
    } else {
        libc::SO_SNDTIMEO
    };
    let _ = set_option(fd, name, &time);
}

/// What [`bound_waiting`] has set, ns: SO_RCVTIMEO or SO_SNDTIMEO. `None`: no limit.
fn waiting_bound(fd: RawFd, name: libc::c_int) -> Option<u64> {
    // SAFETY: all-zero bytes are a valid timeval.
    let mut time: libc::timeval = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: `time` and `len` live through the call, and `len` is the size of `time`.
    let answer =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut time).cast(), &mut len) };
    let us = time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (answer == 0 && us > 0).then_some(us * 1_000)
}

/// Makes a descriptor non-blocking.
pub fn set_nonblocking(fd: RawFd) {
    set_blocking(fd, false);
}

fn set_blocking(fd: RawFd, blocking: bool) {
    let mut nonblocking = libc::c_int::from(!blocking);
    // SAFETY: FIONBIO reads one int.
    unsafe {
        libc::ioctl(fd, libc::FIONBIO, &raw mut nonblocking);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    /// What a thread of `blocking` does on NetBSD and macOS, on any system.
    #[test]
    fn a_polling_receive_waits_for_bytes_for_its_limit_and_for_shutdown() {
        let (mut peer, own) = UnixStream::pair().unwrap();
        own.set_nonblocking(true).unwrap();
        let fd = own.as_raw_fd();
        let mut buffer = [0; 8];
        bound_waiting(fd, true, 30_000_000);
        // A kernel rounds up to its ticks.
        let bound_ns = waiting_bound(fd, libc::SO_RCVTIMEO).expect("a bound");
        assert!((30_000_000..=40_000_000).contains(&bound_ns), "{bound_ns}");
        let begun = Instant::now();
        let errno = receive_polling(fd, &mut buffer).unwrap_err();
        assert!(would_block(errno), "{errno}");
        assert!(begun.elapsed() >= Duration::from_millis(30));
        // Without a limit it waits as long as it takes.
        bound_waiting(fd, true, 0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| receive_polling(fd, &mut buffer));
            std::thread::sleep(Duration::from_millis(40));
            peer.write_all(b"late").unwrap();
            assert_eq!(waiting.join().unwrap(), Ok(4));
        });
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| receive_polling(fd, &mut buffer));
            std::thread::sleep(Duration::from_millis(40));
            shutdown_both(fd);
            assert_eq!(waiting.join().unwrap(), Ok(0), "stopped by another thread");
        });
    }

    #[test]
    fn a_polling_connect_connects_is_refused_and_has_a_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: socket2::SockAddr = listener.local_addr().unwrap().into();
        let socket = || {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            bound_waiting(socket.as_raw_fd(), false, 50_000_000);
            socket
        };
        let good = socket();
        assert_eq!(
            connect_polling(good.as_raw_fd(), &address, &mut || {}),
            Ok(())
        );
        assert_eq!(good.nonblocking().unwrap(), THREADS_POLL);
        drop(listener);
        let refused = socket();
        let answer = connect_polling(refused.as_raw_fd(), &address, &mut || {});
        assert_eq!(answer, Err(libc::ECONNREFUSED));
        // A listener whose backlog is full answers nobody, and on some systems refuses.
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        full.bind(&any.into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap();
        let sockets: Vec<_> = (0..4).map(|_| socket()).collect();
        let begun = Instant::now();
        let last = sockets
            .iter()
            .find_map(|socket| connect_polling(socket.as_raw_fd(), &address, &mut || {}).err());
        if cfg!(target_os = "linux") {
            assert_eq!(last, Some(libc::EINPROGRESS));
            assert!(begun.elapsed() >= Duration::from_millis(50));
        }
    }

    /// A non-blocking send takes what fits and never waits, flag or no flag: what [`THREADS_POLL`] is for.
    #[test]
    fn a_send_on_a_non_blocking_socket_never_waits() {
        let (_peer, own) = UnixStream::pair().unwrap();
        set_nonblocking(own.as_raw_fd());
        let much = vec![1u8; 16 << 20];
        let piece = Piece {
            ptr: much.as_ptr(),
            len: much.len(),
        };
        // SAFETY: `much` outlives the calls.
        let first = unsafe { send(own.as_raw_fd(), &[piece], true) };
        assert!(first.is_ok_and(|taken| taken < much.len()), "{first:?}");
        // SAFETY: as above.
        let second = unsafe { send(own.as_raw_fd(), &[piece], true) };
        assert!(second.is_err_and(would_block), "{second:?}");
    }
}

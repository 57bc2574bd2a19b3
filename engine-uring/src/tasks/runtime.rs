//! What the common tasks need of a runtime.

use super::buffer::{Block, Parcel};
use super::settings::Settings;
use engine::options::EngineOption;
use engine::socket::SocketOptions;
use socket2::SockAddr;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// A single-threaded runtime that owns its loop, with input and output by owned buffers.
///
/// Every operation goes through the runtime's own types where these can express it, because what
/// they cost is what is measured. No future of [`Runtime::receive`] or [`Runtime::send`] is ever
/// dropped before it is ready: bytes that the kernel has handed over would be lost with it.
pub trait Runtime: Sized + 'static {
    /// The engine's name.
    const NAME: &'static str;
    /// What users may set.
    const OPTIONS: &'static [EngineOption];
    /// Whether sockets that are given to it must be non-blocking.
    const NONBLOCKING: bool;

    /// A connection.
    type Stream: AsRawFd + 'static;
    /// The half of a connection that receives.
    type Reader: 'static;
    /// The half that sends.
    type Writer: 'static;
    /// A listening socket.
    type Listener: 'static;
    /// A descriptor of another kind (a timer, a waker) that becomes readable.
    type Signal: 'static;

    /// Builds the runtime on the calling thread and runs `future` to its end. It is polled when
    /// it is woken, and not with every turn.
    ///
    /// # Errors
    /// Why there is no such runtime here, in words for the user.
    fn block_on<F>(settings: &Settings, future: F) -> Result<F::Output, String>
    where
        F: Future<Output: 'static> + 'static;

    /// Starts a task on this thread. Only inside [`Runtime::block_on`].
    fn spawn(task: impl Future<Output = ()> + 'static);

    /// Takes a bound and listening socket over.
    ///
    /// # Errors
    /// When the runtime cannot register it.
    fn listener(socket: OwnedFd, is_ip: bool) -> io::Result<Self::Listener>;

    /// The next connection.
    fn accept(listener: &Self::Listener) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Takes over a connected socket, in the blocking mode of [`Runtime::NONBLOCKING`].
    ///
    /// # Errors
    /// When the runtime cannot register it.
    fn adopt(socket: OwnedFd, is_ip: bool) -> io::Result<Self::Stream>;

    /// Gives a connection away, to another thread's runtime.
    ///
    /// # Errors
    /// When no descriptors are left.
    fn release(stream: Self::Stream) -> io::Result<OwnedFd>;

    /// Connects, and stops trying when `give_up` is ready (the error does not matter then).
    fn connect(
        plan: Connect<'_>,
        give_up: impl Future<Output = ()>,
    ) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Parts a connection into halves.
    fn split(stream: Self::Stream) -> (Self::Reader, Self::Writer);

    /// Gives the socket back: close(2), and nothing before it.
    fn close(reader: Self::Reader, writer: Self::Writer);

    /// Receives once; 0 bytes are the peer's FIN.
    fn receive(
        reader: &mut Self::Reader,
        block: Block,
    ) -> impl Future<Output = (io::Result<usize>, Block)>;

    /// Sends once, perhaps not all.
    fn send(
        writer: &mut Self::Writer,
        parcel: Parcel,
    ) -> impl Future<Output = (io::Result<usize>, Parcel)>;

    /// Takes over a descriptor that is to be watched.
    ///
    /// # Errors
    /// When the runtime cannot register it.
    fn signal(descriptor: OwnedFd) -> io::Result<Self::Signal>;

    /// Waits until it is readable.
    fn readable(signal: &Self::Signal) -> impl Future<Output = ()>;

    /// Why it has no such option although engine `uring` has it, or not with this value.
    fn lacks(key: &str, value: &str) -> Option<&'static str>;

    /// How it does things, for the result document.
    fn features() -> Vec<(String, String)>;
}

/// Whom to connect to, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    /// The target.
    pub address: &'a SockAddr,
    /// The source address, if it is not left to the kernel.
    pub source: Option<SocketAddr>,
    /// Options of the socket.
    pub socket: &'a SocketOptions,
}

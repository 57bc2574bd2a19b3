//! The runtime monoio, on either of its drivers: io_uring, or `legacy` (epoll, through mio).

use super::buffer::{Block, Parcel};
use super::runtime::{Connect, Runtime};
use super::settings::{OF_MONOIO, OF_MONOIO_LEGACY, Settings, no_runtime_has};
use engine::options::EngineOption;
use engine::socket::{self, SocketOptions};
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use socket2::SockRef;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::task::Poll;

/// monoio on io_uring.
#[derive(Debug)]
pub enum OnUring {}

/// monoio on epoll.
#[derive(Debug)]
pub enum OnEpoll {}

/// A connection.
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

/// The half that receives.
pub enum Reader {
    /// TCP.
    Tcp(OwnedReadHalf<TcpStream>),
    /// Unix.
    Unix(OwnedReadHalf<UnixStream>),
}

/// The half that sends.
pub enum Writer {
    /// TCP.
    Tcp(OwnedWriteHalf<TcpStream>),
    /// Unix.
    Unix(OwnedWriteHalf<UnixStream>),
}

/// A listening socket.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

/// What both drivers have in common.
macro_rules! common {
    ($nonblocking:literal) => {
        const NONBLOCKING: bool = $nonblocking;

        type Stream = Stream;
        type Reader = Reader;
        type Writer = Writer;
        type Listener = Listener;
        type Signal = UnixStream;

        fn spawn(task: impl Future<Output = ()> + 'static) {
            monoio::spawn(task);
        }

        fn listener(socket: OwnedFd, is_ip: bool) -> io::Result<Listener> {
            Ok(match is_ip {
                true => Listener::Tcp(TcpListener::from_std(socket.into())?),
                false => Listener::Unix(UnixListener::from_std(socket.into())?),
            })
        }

        async fn accept(listener: &Listener) -> io::Result<Stream> {
            Ok(match listener {
                Listener::Tcp(listener) => Stream::Tcp(listener.accept().await?.0),
                Listener::Unix(listener) => Stream::Unix(listener.accept().await?.0),
            })
        }

        fn adopt(socket: OwnedFd, is_ip: bool) -> io::Result<Stream> {
            adopt(socket, is_ip)
        }

        fn release(stream: Stream) -> io::Result<OwnedFd> {
            let fd = match stream {
                Stream::Tcp(stream) => stream.into_raw_fd(),
                Stream::Unix(stream) => stream.into_raw_fd(),
            };
            // SAFETY: the stream has just given its descriptor away.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }

        async fn connect(
            plan: Connect<'_>,
            give_up: impl Future<Output = ()>,
        ) -> io::Result<Stream> {
            let connecting = connect(plan, $nonblocking);
            let (mut connecting, mut give_up) = (pin!(connecting), pin!(give_up));
            poll_fn(|context| match give_up.as_mut().poll(context) {
                // Dropping the connect cancels it: monoio's feature `async-cancel`.
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => connecting.as_mut().poll(context),
            })
            .await
        }

        fn split(stream: Stream) -> (Reader, Writer) {
            match stream {
                Stream::Tcp(stream) => {
                    let (reader, writer) = stream.into_split();
                    (Reader::Tcp(reader), Writer::Tcp(writer))
                }
                Stream::Unix(stream) => {
                    let (reader, writer) = stream.into_split();
                    (Reader::Unix(reader), Writer::Unix(writer))
                }
            }
        }

        fn close(reader: Reader, writer: Writer) {
            // Dropped alone, a writer would send FIN first, and there would be no RST.
            match (reader, writer) {
                (Reader::Tcp(reader), Writer::Tcp(writer)) => drop(reader.reunite(writer)),
                (Reader::Unix(reader), Writer::Unix(writer)) => drop(reader.reunite(writer)),
                _ => unreachable!("halves of one connection"),
            }
        }

        #[inline]
        async fn receive(reader: &mut Reader, block: Block) -> (io::Result<usize>, Block) {
            match reader {
                Reader::Tcp(reader) => reader.read(block).await,
                Reader::Unix(reader) => reader.read(block).await,
            }
        }

        #[inline]
        async fn send(writer: &mut Writer, parcel: Parcel) -> (io::Result<usize>, Parcel) {
            match writer {
                Writer::Tcp(writer) => writer.write(parcel).await,
                Writer::Unix(writer) => writer.write(parcel).await,
            }
        }

        fn signal(descriptor: OwnedFd) -> io::Result<UnixStream> {
            // Only ever polled, so it need not be a socket.
            UnixStream::from_std(descriptor.into())
        }

        async fn readable(signal: &UnixStream) {
            // An error can only be a cancelled poll, at the end.
            let _ = signal.readable(false).await;
        }
    };
}

impl Runtime for OnUring {
    const NAME: &'static str = "monoio";
    const OPTIONS: &'static [EngineOption] = &OF_MONOIO;
    common!(false);

    fn lacks(key: &str, _value: &str) -> Option<&'static str> {
        match key {
            "sqpoll" | "sqpoll_idle" => Some(
                "it closes sockets by operations that it does not wait for, and with a polling \
                 thread the last ones are lost with the ring; use taskrun=defer, or engine uring",
            ),
            _ => no_runtime_has(key),
        }
    }

    fn block_on<F>(settings: &Settings, future: F) -> Result<F::Output, String>
    where
        F: Future<Output: 'static> + 'static,
    {
        RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(settings.entries)
            .uring_builder(settings.ring_builder())
            .build()
            .map(|mut runtime| runtime.block_on(future))
            .map_err(|error| settings.failed(Self::NAME, &error))
    }

    fn features() -> Vec<(String, String)> {
        let feature = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            feature("runtime", "monoio 0.2, driver io_uring"),
            feature(
                "operations",
                "recv, send, accept and connect, each submitted singly",
            ),
            feature(
                "connect",
                "with a source address or socket options: connect(2), then a poll is submitted",
            ),
            feature("wait", "io_uring_enter, submitting"),
            feature("lacks", super::LACKS),
        ]
    }
}

impl Runtime for OnEpoll {
    const NAME: &'static str = "monoio-legacy";
    const OPTIONS: &'static [EngineOption] = &OF_MONOIO_LEGACY;
    common!(true);

    fn lacks(key: &str, _value: &str) -> Option<&'static str> {
        match key {
            "sq_entries" | "cq_entries" | "taskrun" | "sqpoll" | "sqpoll_idle" => {
                Some("it has no ring; it has the option events")
            }
            _ => no_runtime_has(key),
        }
    }

    fn block_on<F>(settings: &Settings, future: F) -> Result<F::Output, String>
    where
        F: Future<Output: 'static> + 'static,
    {
        RuntimeBuilder::<LegacyDriver>::new()
            .with_entries(settings.entries)
            .build()
            .map(|mut runtime| runtime.block_on(future))
            .map_err(|error| settings.failed(Self::NAME, &error))
    }

    fn features() -> Vec<(String, String)> {
        let feature = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            feature("runtime", "monoio 0.2, driver legacy"),
            feature("operations", "recv, send, accept4 and connect"),
            feature("wait", "epoll, edge-triggered"),
        ]
    }
}

fn adopt(socket: OwnedFd, is_ip: bool) -> io::Result<Stream> {
    Ok(match is_ip {
        true => Stream::Tcp(TcpStream::from_std(socket.into())?),
        false => Stream::Unix(UnixStream::from_std(socket.into())?),
    })
}

/// Connects by the runtime's own operation. It makes its socket itself, so where an option or a
/// source address must be set before, the socket is ours and connect(2) is called on it.
async fn connect(plan: Connect<'_>, nonblocking: bool) -> io::Result<Stream> {
    if !needs_own_socket(&plan) {
        if let Some(address) = plan.address.as_socket() {
            let stream = TcpStream::connect_addr(address).await?;
            stream.set_nodelay(plan.socket.nodelay)?;
            return Ok(Stream::Tcp(stream));
        }
        if let Some(path) = plan.address.as_pathname() {
            return UnixStream::connect(path).await.map(Stream::Unix);
        }
    }
    let is_ip = plan.address.as_socket().is_some();
    let socket = socket::connecting(plan.address.domain(), plan.source, true, plan.socket)?;
    match socket2::SockRef::from(&socket).connect(plan.address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let stream = adopt(socket, is_ip)?;
    match &stream {
        Stream::Tcp(stream) => stream.writable(false).await?,
        Stream::Unix(stream) => stream.writable(false).await?,
    }
    let fd = stream.as_raw_fd();
    let fd = super::sys::borrowed(&fd);
    if let Some(error) = SockRef::from(&fd).take_error()? {
        return Err(error);
    }
    if !nonblocking {
        // io_uring answers EAGAIN on a non-blocking socket instead of waiting.
        SockRef::from(&fd).set_nonblocking(false)?;
    }
    Ok(stream)
}

/// Whether a socket option other than TCP_NODELAY, or a source address, is asked for.
fn needs_own_socket(plan: &Connect<'_>) -> bool {
    let plain = SocketOptions {
        nodelay: plan.socket.nodelay,
        ..SocketOptions::default()
    };
    plan.source.is_some() || *plan.socket != plain
}

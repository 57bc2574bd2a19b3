//! The runtime tokio-uring: tokio's single-threaded runtime, whose epoll also watches a ring.
//!
//! What its public types cannot express goes through its public [`UnsubmittedOneshot`], so it is
//! on the same ring and waits in the same way: connecting a socket that has options already,
//! accepting on a Unix listener that is not its own, and waiting for readability.

use super::buffer::{Block, Parcel};
use super::runtime::{Connect, Runtime};
use super::settings::{OF_TOKIO_URING, Settings, no_runtime_has};
use engine::options::EngineOption;
use engine::socket;
use io_uring_06::{cqueue, opcode, squeue, types};
use socket2::SockAddr;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use tokio_uring::net::{TcpListener, TcpStream};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

/// See the module's text.
#[derive(Debug)]
pub enum TokioUring {}

/// A listening socket.
pub enum Listener {
    /// The runtime's own.
    Ip(TcpListener),
    /// The runtime's own cannot be made of an existing socket.
    Unix(Rc<OwnedFd>),
}

impl Runtime for TokioUring {
    const NAME: &'static str = "tokio-uring";
    const OPTIONS: &'static [EngineOption] = &OF_TOKIO_URING;
    const NONBLOCKING: bool = false;

    // One type for both families: both are a descriptor on which it reads and writes.
    type Stream = TcpStream;
    type Reader = Rc<TcpStream>;
    type Writer = Rc<TcpStream>;
    type Listener = Listener;
    type Signal = Rc<OwnedFd>;

    fn block_on<F>(settings: &Settings, future: F) -> Result<F::Output, String>
    where
        F: Future<Output: 'static> + 'static,
    {
        let mut builder = tokio_uring::builder();
        builder
            .entries(settings.entries)
            .uring_builder(&settings.ring_builder());
        let runtime = tokio_uring::Runtime::new(&builder)
            .map_err(|error| settings.failed(Self::NAME, &error))?;
        // The future of `block_on` is polled with every turn of the runtime, whoever was woken;
        // that of a task when it is woken. So this one only waits for a task.
        match runtime.block_on(async { tokio_uring::spawn(future).await }) {
            Ok(output) => Ok(output),
            // Nobody aborts it.
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        tokio_uring::spawn(task);
    }

    fn listener(socket: OwnedFd, is_ip: bool) -> io::Result<Listener> {
        Ok(match is_ip {
            true => Listener::Ip(TcpListener::from_std(socket.into())),
            false => Listener::Unix(Rc::new(socket)),
        })
    }

    async fn accept(listener: &Listener) -> io::Result<TcpStream> {
        match listener {
            Listener::Ip(listener) => Ok(listener.accept().await?.0),
            Listener::Unix(socket) => {
                let flags = libc::SOCK_CLOEXEC;
                let entry = opcode::Accept::new(
                    types::Fd(socket.as_raw_fd()),
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                );
                let entry = entry.flags(flags).build();
                let (result, _) = submit(entry, Rc::clone(socket)).await;
                // SAFETY: the kernel has just made this descriptor for us.
                Ok(unsafe { TcpStream::from_raw_fd(result?) })
            }
        }
    }

    fn adopt(socket: OwnedFd, _is_ip: bool) -> io::Result<TcpStream> {
        Ok(TcpStream::from_std(socket.into()))
    }

    fn release(stream: TcpStream) -> io::Result<OwnedFd> {
        // It does not give its descriptor away, so another one is made and the first is closed.
        super::sys::borrowed(&stream.as_raw_fd()).try_clone_to_owned()
    }

    async fn connect(
        plan: Connect<'_>,
        give_up: impl Future<Output = ()>,
    ) -> io::Result<TcpStream> {
        let domain = plan.address.domain();
        let socket = socket::connecting(domain, plan.source, Self::NONBLOCKING, plan.socket)?;
        let fd = socket.as_raw_fd();
        let address = Box::new(plan.address.clone());
        let entry = opcode::Connect::new(
            types::Fd(fd),
            SockAddr::as_ptr(&address).cast(),
            address.len(),
        );
        let mut connecting = pin!(submit(entry.build(), (socket, address)));
        let mut give_up = pin!(give_up);
        let mut cancelling = false;
        let (result, (socket, _)) = poll_fn(|context| {
            // First: this queues the connect, and a cancel that is queued before it finds nothing.
            let connected = connecting.as_mut().poll(context);
            if connected.is_pending() && !cancelling && give_up.as_mut().poll(context).is_ready() {
                cancelling = true;
                cancel(fd);
            }
            connected
        })
        .await;
        result?;
        Ok(TcpStream::from_std(socket.into()))
    }

    fn split(stream: TcpStream) -> (Rc<TcpStream>, Rc<TcpStream>) {
        let stream = Rc::new(stream);
        (Rc::clone(&stream), stream)
    }

    fn close(reader: Rc<TcpStream>, writer: Rc<TcpStream>) {
        // The last reference closes the descriptor.
        drop((reader, writer));
    }

    #[inline]
    async fn receive(reader: &mut Rc<TcpStream>, block: Block) -> (io::Result<usize>, Block) {
        reader.read(block).await
    }

    #[inline]
    async fn send(writer: &mut Rc<TcpStream>, parcel: Parcel) -> (io::Result<usize>, Parcel) {
        writer.write(parcel).submit().await
    }

    fn signal(descriptor: OwnedFd) -> io::Result<Rc<OwnedFd>> {
        Ok(Rc::new(descriptor))
    }

    async fn readable(signal: &Rc<OwnedFd>) {
        let entry = opcode::PollAdd::new(types::Fd(signal.as_raw_fd()), libc::POLLIN as u32);
        // An error can only be a cancelled poll, at the end.
        let _ = submit(entry.build(), Rc::clone(signal)).await;
    }

    fn lacks(key: &str, value: &str) -> Option<&'static str> {
        match (key, value) {
            ("taskrun", "defer") => Some(
                "it would stall: it waits in epoll and never enters the ring to \
                 wait, so nothing would complete; use taskrun=coop, or engine monoio",
            ),
            // io-uring 0.6 reads NEED_WAKEUP without a full barrier before it (its issue 197; 0.7
            // has one).
            ("sqpoll" | "sqpoll_idle", _) => Some(
                "its version of io-uring can overlook that the polling thread has fallen asleep, \
                 and what is queued then is never submitted; use engine uring",
            ),
            _ => no_runtime_has(key),
        }
    }

    fn features() -> Vec<(String, String)> {
        let feature = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            feature("runtime", "tokio-uring 0.5 on tokio current_thread"),
            feature(
                "operations",
                "read, write, accept and connect, each submitted singly",
            ),
            feature("wait", "epoll on the ring's descriptor"),
            feature("lacks", super::LACKS),
        ]
    }
}

/// Gives a completion's result back, and what was kept alive for it.
struct Finish<D>(PhantomData<D>);

impl<D: 'static> OneshotOutputTransform for Finish<D> {
    type Output = (io::Result<RawFd>, D);
    type StoredData = D;

    fn transform_oneshot_output(self, kept: D, entry: cqueue::Entry) -> Self::Output {
        let result = match entry.result() {
            negative @ ..0 => Err(io::Error::from_raw_os_error(-negative)),
            result => Ok(result),
        };
        (result, kept)
    }
}

/// Submits one operation; `kept` is what it refers to.
async fn submit<D: Unpin + 'static>(entry: squeue::Entry, kept: D) -> (io::Result<RawFd>, D) {
    UnsubmittedOneshot::new(kept, Finish(PhantomData), entry)
        .submit()
        .await
}

/// Cancels what is pending on a descriptor, without waiting for it: the operation itself says
/// when it is over. (By descriptor since Linux 5.19; before, the connect ends by the kernel's own
/// time-out.)
fn cancel(fd: RawFd) {
    let which = types::CancelBuilder::fd(types::Fd(fd)).all();
    let entry = opcode::AsyncCancel2::new(which).build();
    // Dropped at once: the runtime forgets it when it completes.
    drop(UnsubmittedOneshot::new((), Finish(PhantomData), entry).submit());
}

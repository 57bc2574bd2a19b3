//! One io_uring with its buffer ring, made safe for the loops of `floor/uring.rs` and
//! `floor/churn_uring.rs`: ring set-up,
//! the few operations, one system call per turn. It keeps no connection and decides nothing.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode};

use crate::buffer_ring::BufferRing;
use crate::floor::Options;

const GROUP: u16 = 0;
const SUBMISSIONS: u32 = 1024;
const COMPLETIONS_MIN: usize = 4096;

/// Which operation a completion belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// Multishot accept.
    Accept = 0,
    /// Multishot receive into the buffer ring.
    Receive = 1,
    /// A send of one piece.
    Send = 2,
    /// Readability of a descriptor that is not a socket.
    Readable = 3,
    /// What is heard of only if it fails: a connect, a close.
    Silent = 4,
}

/// One completion.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// The operation.
    pub kind: Kind,
    /// The index given with the operation.
    pub index: usize,
    /// Bytes or descriptor, or a negative error number.
    pub result: i32,
    /// The buffer that came with it: to be given back exactly once, whatever the result.
    pub buffer: Option<u16>,
    /// The multishot operation goes on.
    pub more: bool,
}

/// The ring of one thread.
pub struct Ring {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    buffers: BufferRing,
    given_back: bool,
    parked: Vec<(RawFd, usize)>,
    own: Vec<Box<[u8]>>, // what is received outside the group, by index; never freed while the ring is there
    own_bytes: usize,
}

impl Ring {
    /// A ring for the calling thread with two buffers per connection, each of one message.
    ///
    /// The group is no larger than what is in flight, because the kernel hands buffers out in
    /// turn and a large group is always cold in the cache.
    pub fn new(options: &Options) -> io::Result<Self> {
        let completions = COMPLETIONS_MIN.max(4 * options.connections);
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_no_sqarray()
            .setup_clamp()
            .setup_cqsize(completions.next_power_of_two() as u32)
            .build(SUBMISSIONS)?;
        // Leaked: the parts are then kept together with the registered descriptor of the ring.
        let (mut submitter, submissions, completions) = Box::leak(Box::new(ring)).split();
        submitter.register_ring_fd()?;
        let count = (2 * options.connections)
            .next_power_of_two()
            .clamp(32, 32_768);
        let buffer_bytes = options.size_bytes.next_multiple_of(256);
        let buffers = BufferRing::register(&submitter, GROUP, count as u16, buffer_bytes)?;
        Ok(Self {
            submitter,
            submissions,
            completions,
            buffers,
            given_back: false,
            parked: Vec::new(),
            own: Vec::new(),
            own_bytes: options.size_bytes + 1,
        })
    }

    /// Accepts connections until the completion without `more`.
    pub fn accept_many(&mut self, listener: RawFd) {
        self.push(
            opcode::AcceptMulti::new(Fd(listener)).build(),
            Kind::Accept,
            0,
        );
    }

    /// Receives until the completion without `more`.
    pub fn receive_many(&mut self, socket: RawFd, index: usize) {
        let entry = opcode::RecvMulti::new(Fd(socket), GROUP).build();
        self.push(entry, Kind::Receive, index);
    }

    /// Starts a receive that ended without its peer's doing again: at once, or after `ENOBUFS` when
    /// a buffer has been given back. False when the peer finished or failed.
    pub fn receive_again(&mut self, socket: RawFd, done: Done) -> bool {
        if done.result == -libc::ENOBUFS {
            self.parked.push((socket, done.index));
        } else if done.result > 0 {
            self.receive_many(socket, done.index);
        }
        done.result > 0 || done.result == -libc::ENOBUFS
    }

    /// One completion when `fd` (a pipe) becomes readable or its other end closes.
    pub fn readable(&mut self, fd: RawFd) {
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).build();
        self.push(entry, Kind::Readable, 0);
    }

    /// Sends the first `length` bytes of a received buffer, which is given back only afterwards.
    #[inline]
    pub fn send_buffer(&mut self, socket: RawFd, buffer: u16, length: u32, index: usize) {
        let entry = send(socket, self.buffers.address(buffer), length);
        self.push(entry, Kind::Send, index);
    }

    /// Sends bytes that live for ever; posts a completion only when the send failed or was short.
    #[inline]
    pub fn send_static(&mut self, socket: RawFd, bytes: &'static [u8], index: usize) {
        let entry = send(socket, bytes.as_ptr(), bytes.len() as u32);
        self.push(entry.flags(Flags::SKIP_SUCCESS), Kind::Send, index);
    }

    /// Receives what is there into memory of `index`'s own.
    #[inline]
    pub fn receive_once(&mut self, socket: RawFd, index: usize) {
        let (address, length) = self.own_memory(index);
        let entry = opcode::Recv::new(Fd(socket), address, length).build();
        self.push(entry, Kind::Receive, index);
    }

    /// Sends `length` received bytes of `index` back and closes; both silent unless they fail.
    #[inline]
    pub fn answer_and_close(&mut self, socket: RawFd, index: usize, length: u32) {
        let address = self.own_memory(index).0;
        // A hard link: the close goes ahead also where the peer takes no answer any more.
        let flags = Flags::SKIP_SUCCESS | Flags::IO_HARDLINK;
        self.push(
            send(socket, address, length).flags(flags),
            Kind::Send,
            index,
        );
        self.close(socket);
    }

    /// Connects, asks, and receives to the end of the stream: linked, with one completion, that of the receive.
    #[inline]
    pub fn connect_and_ask(
        &mut self,
        socket: RawFd,
        address: &'static Address,
        request: &'static [u8],
        index: usize,
    ) {
        let flags = Flags::SKIP_SUCCESS | Flags::IO_LINK;
        let connect = opcode::Connect::new(
            Fd(socket),
            (&raw const address.bytes).cast(),
            address.length,
        );
        self.push(connect.build().flags(flags), Kind::Silent, index);
        let request = send(socket, request.as_ptr(), request.len() as u32);
        self.push(request.flags(flags), Kind::Send, index);
        let (memory, length) = self.own_memory(index);
        let receive = opcode::Recv::new(Fd(socket), memory, length).flags(libc::MSG_WAITALL);
        self.push(receive.build(), Kind::Receive, index);
    }

    /// Closes; silent unless it fails.
    #[inline]
    pub fn close(&mut self, socket: RawFd) {
        let entry = opcode::Close::new(Fd(socket)).build();
        self.push(entry.flags(Flags::SKIP_SUCCESS), Kind::Silent, 0);
    }

    /// One byte more than a message, so that a receive of all of it ends with the stream.
    fn own_memory(&mut self, index: usize) -> (*mut u8, u32) {
        let bytes = self.own_bytes;
        self.own
            .resize_with(self.own.len().max(index + 1), || vec![0; bytes].into());
        (self.own[index].as_mut_ptr(), bytes as u32)
    }

    /// Gives a buffer back; the kernel sees it at the next [`Ring::submit_and_wait`].
    #[inline]
    pub fn give_back(&mut self, buffer: u16) {
        self.buffers.give_back(buffer);
        self.given_back = true;
    }

    /// The one system call of a turn: hands over what was queued, waits for one completion.
    #[inline]
    pub fn submit_and_wait(&mut self) -> io::Result<()> {
        if self.given_back {
            self.given_back = false;
            self.buffers.publish();
            while let Some((socket, index)) = self.parked.pop() {
                self.receive_many(socket, index);
            }
        }
        self.submissions.sync();
        match self.submitter.submit_and_wait(1) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => self.completions.sync(),
        }
        if self.completions.overflow() > 0 {
            return Err(io::Error::other("the completion queue overflowed"));
        }
        Ok(())
    }

    /// The next completion of this turn.
    #[inline]
    pub fn next_done(&mut self) -> Option<Done> {
        let entry = self.completions.next()?;
        let kind = match entry.user_data() >> 32 {
            0 => Kind::Accept,
            1 => Kind::Receive,
            2 => Kind::Send,
            3 => Kind::Readable,
            _ => Kind::Silent,
        };
        Some(Done {
            kind,
            index: entry.user_data() as u32 as usize,
            result: entry.result(),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        })
    }

    #[inline]
    fn push(&mut self, entry: Entry, kind: Kind, index: usize) {
        let entry = entry.user_data((kind as u64) << 32 | index as u64);
        // SAFETY: what an entry points to is a received buffer that is still out, memory of an index's own, which is
        // not moved or freed before the ring is, or static.
        while unsafe { self.submissions.push(&entry) }.is_err() {
            self.submissions.sync();
            if let Err(error) = self.submitter.submit() {
                panic!("io_uring_enter refused a full submission queue: {error}");
            }
            self.submissions.sync();
        }
    }
}

#[inline]
fn send(socket: RawFd, address: *const u8, length: u32) -> Entry {
    opcode::Send::new(Fd(socket), address, length)
        .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
        .build()
}

/// A TCP socket of IPv4.
pub fn socket() -> io::Result<RawFd> {
    // SAFETY: no memory is involved.
    match unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) } {
        fd if fd >= 0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An IPv4 address in the kernel's form.
pub struct Address {
    bytes: libc::sockaddr_in,
    length: libc::socklen_t,
}

impl Address {
    /// Fails for IPv6, which no floor needs.
    pub fn new(address: SocketAddr) -> io::Result<Self> {
        let SocketAddr::V4(address) = address else {
            return Err(io::Error::other("the floors speak IPv4"));
        };
        let bytes = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(address.ip().octets()),
            },
            sin_zero: [0; 8],
        };
        Ok(Self {
            bytes,
            length: size_of_val(&bytes) as libc::socklen_t,
        })
    }
}

/// Sets TCP_NODELAY on a listener; on Linux accepted sockets inherit it.
pub fn set_nodelay(listener: &TcpListener) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option value is a live c_int of the stated length.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

//! What the tests of this crate share: sockets, and an echo loop over any backend.

use crate::readiness::Readiness;
use engine::control::Waker;
use engine::proactor::{
    ConnectionId, Event, Lease, PIECES_MAX, Piece, Proactor, Sending, Settings,
};
use engine::session::How;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

pub use crate::Native;

/// A backend with its waker.
pub struct Rig<P> {
    pub backend: P,
    pub waker: Waker,
    _end: engine::control::WakeEnd,
}

pub fn settings(connections: u32, buffers: u32, buffer_bytes: u32) -> Settings {
    Settings {
        brief: false,
        connections,
        expected: connections,
        buffer_bytes,
        buffers,
        wake_fd: -1,
        options: Vec::new(),
    }
}

/// A backend on the real selector.
pub fn native(connections: u32, buffers: u32, buffer_bytes: u32) -> Rig<Readiness<Native>> {
    rig(settings(connections, buffers, buffer_bytes))
}

/// The same with options, as they are written: `trigger=level`.
pub fn with_options(options: &str, mut settings: Settings) -> Settings {
    let options = options.split(',').filter_map(|text| text.split_once('='));
    settings.options = options
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    settings
}

/// [`native`] with each trigger, which must make no difference.
pub fn each_trigger(
    (connections, buffers, buffer_bytes): (u32, u32, u32),
    body: impl Fn(Rig<Readiness<Native>>),
) {
    for options in ["trigger=edge", "trigger=level"] {
        eprintln!("with {options}");
        body(rig(with_options(
            options,
            settings(connections, buffers, buffer_bytes),
        )));
    }
}

pub fn rig<P: Proactor>(mut settings: Settings) -> Rig<P> {
    let (waker, end) = Waker::pair().unwrap();
    settings.wake_fd = end.descriptor();
    Rig {
        backend: P::new(&settings).unwrap(),
        waker,
        _end: end,
    }
}

pub fn id(index: u32) -> ConnectionId {
    ConnectionId {
        index,
        generation: 1,
    }
}

/// Deadline of everything that is expected to happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn now_plus(duration: Duration) -> Option<u64> {
    Some(engine::clock::now_ns() + duration.as_nanos() as u64)
}

/// The next event, waiting for it.
pub fn next<P: Proactor>(backend: &mut P) -> Event {
    let started = Instant::now();
    loop {
        if let Some(event) = backend.next() {
            return event;
        }
        assert!(started.elapsed() < PATIENCE, "no event came");
        backend.wait(now_plus(Duration::from_millis(100))).unwrap();
    }
}

/// Everything that happens within `duration`; must be nothing.
pub fn expect_silence<P: Proactor>(backend: &mut P, duration: Duration) {
    let until = Instant::now() + duration;
    loop {
        if let Some(event) = backend.next() {
            panic!("unexpected {event:?}");
        }
        if Instant::now() >= until {
            return;
        }
        backend
            .wait(now_plus(until.saturating_duration_since(Instant::now())))
            .unwrap();
    }
}

/// A connected pair over loopback: the peer (blocking), and a non-blocking socket for the backend.
pub fn tcp_pair() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    // Or Nagle's algorithm and delayed acknowledgements decide how long a test takes.
    peer.set_nodelay(true).unwrap();
    accepted.set_nodelay(true).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (peer, accepted.into())
}

/// Opens a pair on `index` and receives on it.
pub fn open_tcp<P: Proactor>(backend: &mut P, index: u32) -> TcpStream {
    let (peer, socket) = tcp_pair();
    backend.open(id(index), socket).unwrap();
    backend.receive_many(id(index));
    peer
}

/// Sends one slice and waits for its end. The slice outlives the call.
pub fn send_all<P: Proactor>(backend: &mut P, to: ConnectionId, bytes: &'static [u8]) -> Sending {
    let piece = Piece {
        ptr: bytes.as_ptr(),
        len: bytes.len(),
    };
    // SAFETY: the bytes are static.
    unsafe { backend.send(to, &[piece]) }
}

/// Bytes that differ by position, with a prime period.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|i| ((i % 251) ^ (seed * 37) ^ (i / 251)) as u8)
        .collect()
}

/// One connection of [`Echo`].
#[derive(Default)]
struct Talk {
    /// Received and not yet sent, oldest first; the first `sending` are in the kernel's hands.
    leases: std::collections::VecDeque<Lease>,
    sending: usize,
    finished: bool,
    closed: bool,
}

/// An echo service on a backend: what the worker loop does, in small.
pub struct Echo<P: Proactor> {
    pub backend: P,
    talks: Vec<Talk>,
    pub closed: usize,
}

/// Leases of one connection before its receiving is paused.
const LEASES_MAX: usize = 3;

impl<P: Proactor> Echo<P> {
    pub fn new(backend: P, connections: usize) -> Self {
        Self {
            backend,
            talks: (0..connections).map(|_| Talk::default()).collect(),
            closed: 0,
        }
    }

    /// Handles all events of one turn.
    pub fn turn(&mut self, deadline_ns: Option<u64>) {
        self.backend.wait(deadline_ns).unwrap();
        while let Some(event) = self.backend.next() {
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Received(id, lease) => {
                let talk = &mut self.talks[id.index as usize];
                assert!(!talk.finished && !talk.closed, "bytes after the end");
                talk.leases.push_back(lease);
                if talk.leases.len() >= LEASES_MAX {
                    self.backend.receive_pause(id);
                }
                self.push(id);
            }
            Event::Sent(id, result) => {
                let sent = result.expect("the peers of this test read everything");
                let done: usize = self.give_back_sent(id);
                assert_eq!(sent, done, "a send ends with all its bytes");
                self.push(id);
            }
            Event::Finished(id) => {
                self.talks[id.index as usize].finished = true;
                self.push(id);
            }
            Event::Closed(id) => {
                let talk = &mut self.talks[id.index as usize];
                assert!(!std::mem::replace(&mut talk.closed, true), "closed twice");
                self.closed += 1;
            }
            Event::Woken => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn give_back_sent(&mut self, id: ConnectionId) -> usize {
        let talk = &mut self.talks[id.index as usize];
        let mut bytes = 0;
        for _ in 0..std::mem::take(&mut talk.sending) {
            let lease = talk.leases.pop_front().unwrap();
            bytes += lease.len as usize;
            self.backend.give_back(lease);
        }
        if talk.leases.is_empty() && !talk.finished {
            self.backend.receive_resume(id);
        }
        bytes
    }

    /// Sends what is held, while the kernel takes it.
    fn push(&mut self, id: ConnectionId) {
        loop {
            let talk = &mut self.talks[id.index as usize];
            if talk.sending > 0 || talk.closed {
                return;
            }
            if talk.leases.is_empty() {
                if talk.finished {
                    self.backend.close(id, How::Fin);
                }
                return;
            }
            let pieces: Vec<Piece> = talk
                .leases
                .iter()
                .take(PIECES_MAX)
                .map(|lease| {
                    let bytes = self.backend.bytes(lease);
                    Piece {
                        ptr: bytes.as_ptr(),
                        len: bytes.len(),
                    }
                })
                .collect();
            talk.sending = pieces.len();
            // SAFETY: the leases stay in `talk` until the send has ended.
            match unsafe { self.backend.send(id, &pieces) } {
                Sending::Pending => return,
                Sending::Done(result) => {
                    let sent = result.expect("the peers of this test read everything");
                    assert_eq!(sent, self.give_back_sent(id));
                }
            }
        }
    }
}

/// Makes the kernel's buffers of a socket small, so that sends block early.
pub fn shrink(socket: &impl AsRawFd) {
    let bytes: libc::c_int = 4096;
    for name in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
        // SAFETY: `bytes` lives through the call and has the size that is said.
        let answer = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                name,
                (&raw const bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(answer, 0);
    }
}

//! What the tests of the proactor share: an instance with its waker, and a loop with a deadline.

use engine::clock::now_ns;
use engine::control::{WakeEnd, Waker};
use engine::driver::{Driver, Probe};
use engine::proactor::{ConnectionId, Event, Piece, Proactor, Sending, Settings};
use engine_uring::URING;
use engine_uring::uring::UringProactor;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections that the queues of an instance are made for, at most.
pub const EXPECTED: u32 = 64;

/// A proactor and what must outlive it.
pub struct Bench {
    pub proactor: UringProactor,
    pub waker: Waker,
    _wake_end: WakeEnd,
}

/// A proactor with `buffers` of `buffer_bytes`, or `None` (said aloud) where io_uring is missing.
pub fn bench(connections: u32, buffers: u32, buffer_bytes: u32) -> Option<Bench> {
    bench_with(connections, buffers, buffer_bytes, &[])
}

/// The same, with engine options.
pub fn bench_with(
    connections: u32,
    buffers: u32,
    buffer_bytes: u32,
    options: &[(&str, &str)],
) -> Option<Bench> {
    if let Probe::Limited { reason, .. } | Probe::Unavailable { reason, .. } = URING.probe() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let (waker, wake_end) = Waker::pair().unwrap();
    let settings = Settings {
        brief: false,
        connections,
        expected: connections.min(EXPECTED),
        buffer_bytes,
        buffers,
        wake_fd: wake_end.descriptor(),
        options: options
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    };
    Some(Bench {
        proactor: UringProactor::new(&settings).unwrap(),
        waker,
        _wake_end: wake_end,
    })
}

impl Bench {
    /// Hands events to `judge` until it says that it has seen enough.
    pub fn until(&mut self, what: &str, mut judge: impl FnMut(&mut UringProactor, Event) -> bool) {
        let limit = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.proactor.next() {
                if judge(&mut self.proactor, event) {
                    return;
                }
            }
            assert!(
                Instant::now() < limit,
                "{what} did not happen: {:?}",
                self.proactor.counters()
            );
            self.proactor.wait(Some(now_ns() + 100_000_000)).unwrap();
        }
    }

    /// Everything that happens within `duration`.
    pub fn events_for(&mut self, duration: Duration) -> Vec<Event> {
        let limit = now_ns() + duration.as_nanos() as u64;
        let mut events = Vec::new();
        while now_ns() < limit {
            self.proactor.wait(Some(limit)).unwrap();
            events.extend(std::iter::from_fn(|| self.proactor.next()));
        }
        events
    }

    /// Opens `socket` as `id`, receiving.
    pub fn open(&mut self, id: ConnectionId, socket: impl Into<OwnedFd>) {
        self.proactor.open(id, socket.into()).unwrap();
        self.proactor.receive_many(id);
    }

    /// Waits for the peer's FIN, then closes.
    pub fn close_after_finish(&mut self, id: ConnectionId) {
        self.until("Finished", |_, event| matches!(event, Event::Finished(_)));
        self.close_and_check(id, engine::session::How::Fin);
    }

    /// Closes and waits for the one event that is due; then checks that no other follows.
    pub fn close_and_check(&mut self, id: ConnectionId, how: engine::session::How) {
        self.proactor.close(id, how);
        self.until("Closed", |_, event| match event {
            Event::Closed(closed) => closed == id,
            other => panic!("after a close only Closed may come, not {other:?}"),
        });
        let late = self.events_for(Duration::from_millis(30));
        assert!(late.is_empty(), "after Closed came {late:?}");
    }
}

pub fn id(index: u32) -> ConnectionId {
    ConnectionId {
        index,
        generation: 0,
    }
}

/// Two ends of a TCP connection over loopback.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    theirs.set_write_timeout(Some(PATIENCE)).unwrap();
    (ours, theirs)
}

/// Byte `position` of stream `stream`: different streams, and shifted streams, differ.
pub fn byte_at(stream: u32, position: usize) -> u8 {
    let mixed =
        (position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (u64::from(stream) << 17));
    (mixed >> 32) as u8
}

pub fn pattern(stream: u32, len: usize) -> Vec<u8> {
    (0..len).map(|position| byte_at(stream, position)).collect()
}

/// Starts a send of `pieces`; they must live until its event.
pub fn send(proactor: &mut UringProactor, id: ConnectionId, pieces: &[&[u8]]) {
    let pieces: Vec<Piece> = pieces
        .iter()
        .map(|piece| Piece {
            ptr: piece.as_ptr(),
            len: piece.len(),
        })
        .collect();
    // SAFETY: the callers keep the bytes until Sent or Closed was seen.
    let sending = unsafe { proactor.send(id, &pieces) };
    assert!(matches!(sending, Sending::Pending));
}

/// Starts an unconfirmed send of `bytes`; they must live until the proactor is dropped.
pub fn send_unconfirmed(proactor: &mut UringProactor, id: ConnectionId, bytes: &[u8]) -> Sending {
    // SAFETY: the callers declare the bytes before the bench.
    unsafe {
        proactor.send_unconfirmed(
            id,
            Piece {
                ptr: bytes.as_ptr(),
                len: bytes.len(),
            },
        )
    }
}

/// Starts a lazy send of `bytes`, if this is the turn for one; they must live until its event.
pub fn send_lazily(proactor: &mut UringProactor, id: ConnectionId, bytes: &[u8]) -> bool {
    // SAFETY: the callers keep the bytes until Sent or Closed was seen.
    unsafe {
        proactor.send_lazily(
            id,
            Piece {
                ptr: bytes.as_ptr(),
                len: bytes.len(),
            },
        )
    }
}

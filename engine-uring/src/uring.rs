//! Raw io_uring under the one worker loop: [`UringProactor`].
//!
//! One ring per worker thread. Accepting and receiving are multishot, receiving takes buffers from
//! a provided-buffer ring, and one send per connection is in flight. A turn makes one system call.
//! Nothing here may reach io-wq, the kernel's thread pool: shutdown is a plain system call for
//! that reason, because IORING_OP_SHUTDOWN is always handed to a thread.
//!
//! Files: `ring` owns the queues, `buffers` the receive buffers, `connection` the state per
//! connection, `submit` makes entries, `reap` turns completions into events, `probe` and
//! `diagnose` say whether and why not.

mod buffers;
mod connection;
mod diagnose;
mod probe;
mod reap;
mod ring;
mod slab;
mod submit;

pub(crate) use probe::probe;

use buffers::BufferRing;
use connection::{Address, Arm, Connecting, Connection, Gather, Stage};
use engine::clock::now_ns;
use engine::proactor::{
    BackendCounters, ConnectionId, Event, How, Lease, Piece, Proactor, Sending, Settings,
};
use engine::socket::prepare_close;
use ring::{BUFFER_GROUP, Ring};
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Bounds of the submission queue: the largest batch of one turn that needs no second call.
const SQ_ENTRIES: (u32, u32) = (256, 4096);

/// The largest completion queue; the kernel clamps at twice its submission limit of 32768.
const CQ_ENTRIES_MAX: u32 = 65536;

/// How long dropping waits for the kernel to let go of our memory.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// The backend of engine `uring`.
///
/// The memory of pending sends must outlive it: dropping it submits what is queued, cancels
/// everything and waits for the kernel to finish.
pub struct UringProactor {
    // Before `buffers`, so that the ring is gone when their memory goes.
    ring: Ring,
    buffers: BufferRing,
    connections: Box<[Connection]>,
    /// Indices of connections without a buffer, longest waiting first; each at most once.
    parked: VecDeque<u32>,
    gathers: Slab<Gather>,
    addresses: Slab<Address>,
    acceptor: Acceptor,
    wake_fd: RawFd,
    /// Operations whose final completion was not read yet. Cancellations are not among them.
    in_flight: u64,
    /// Number of this turn, never 0; it may wrap.
    turn: u32,
    /// The events of this turn were counted as one wait.
    /// Whether the connections are Unix sockets, once the first has been looked at.
    is_unix: Option<bool>,
    wait_counted: bool,
    counters: BackendCounters,
}

/// The one multishot accept.
struct Acceptor {
    listener: RawFd,
    arm: Arm,
    wanted: bool,
    cancels_missed: u8,
}

impl Proactor for UringProactor {
    const NONBLOCKING: bool = false;

    fn new(settings: &Settings) -> io::Result<Self> {
        refuse_unknown_options(&settings.options)?;
        let (sq_entries, cq_entries) = queue_entries(settings.connections);
        let buffers = BufferRing::new(settings.buffers, settings.buffer_bytes)?;
        let ring = Ring::new(sq_entries, cq_entries).map_err(|error| {
            diagnose::explain(
                diagnose::Call::Setup,
                error,
                sq_entries,
                cq_entries,
                settings.buffers,
            )
        })?;
        register_buffers(&ring, &buffers).map_err(|error| {
            diagnose::explain(
                diagnose::Call::Register,
                error,
                sq_entries,
                cq_entries,
                settings.buffers,
            )
        })?;
        let mut proactor = Self {
            ring,
            buffers,
            connections: (0..settings.connections)
                .map(|_| Connection::free())
                .collect(),
            parked: VecDeque::with_capacity(settings.connections as usize),
            gathers: Slab::new(),
            addresses: Slab::new(),
            acceptor: Acceptor {
                listener: -1,
                arm: Arm::Off,
                wanted: false,
                cancels_missed: 0,
            },
            wake_fd: settings.wake_fd,
            in_flight: 0,
            turn: 1,
            is_unix: None,
            wait_counted: false,
            counters: BackendCounters::default(),
        };
        proactor.submit_wake_poll();
        Ok(proactor)
    }

    fn features(&self) -> Vec<(String, String)> {
        let granted = self.ring.granted();
        let pairs = [
            ("ring_flags_requested", granted.flags_requested.to_owned()),
            ("ring_flags", granted.flags.to_owned()),
            ("sq_entries", granted.sq_entries.to_string()),
            ("cq_entries", granted.cq_entries.to_string()),
            ("ring_fd_registered", yes_or_no(granted.ring_fd_registered)),
            ("no_iowait", yes_or_no(granted.no_iowait)),
            ("receive", "multishot".to_owned()),
            ("buffers", self.buffers.count().to_string()),
            ("buffer_bytes", self.buffers.buffer_bytes().to_string()),
            (
                "send",
                "plain; no completion for requests up to 64K".to_owned(),
            ),
            ("accept", "multishot".to_owned()),
            (
                "connect",
                "IORING_OP_CONNECT; connect(2) for Unix sockets".to_owned(),
            ),
        ];
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn accept_many(&mut self, listener: RawFd) {
        self.acceptor.listener = listener;
        self.acceptor.wanted = true;
        // While a cancellation is under way, its completion arms again.
        if !self.acceptor.arm.is_in_kernel() {
            self.submit_accept();
        }
    }

    fn accept_stop(&mut self) {
        self.acceptor.wanted = false;
        if self.acceptor.arm == Arm::Armed {
            self.acceptor.arm = Arm::Cancelling;
            self.acceptor.cancels_missed = 0;
            self.submit_accept_cancel();
        }
    }

    fn open(&mut self, id: ConnectionId, socket: OwnedFd) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(id.index as usize) else {
            let text = format!(
                "connection {} is beyond the table of {}",
                id.index,
                self.connections.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        assert!(
            connection.stage == Stage::Free,
            "connection {} is still in use",
            id.index
        );
        connection.occupy(id, socket.into_raw_fd());
        Ok(())
    }

    fn descriptor(&self, id: ConnectionId) -> RawFd {
        let connection = &self.connections[id.index as usize];
        debug_assert_eq!(connection.generation, id.generation, "a stale connection");
        connection.fd
    }

    fn connect(&mut self, id: ConnectionId, address: &socket2::SockAddr) {
        let Some(connection) = live(&mut self.connections, id) else {
            return;
        };
        debug_assert!(connection.connecting == Connecting::No, "a second connect");
        let number = self.addresses.take();
        connection.address = Some(number);
        connection.connected_here = true;
        let copy = self.addresses.get_mut(number);
        copy.len = address.len();
        // SAFETY: both are `address.len()` readable and writable bytes, for a `SockAddr` is never
        // longer than the storage it holds; they do not overlap.
        unsafe {
            let into = std::ptr::from_mut(&mut copy.storage).cast::<u8>();
            std::ptr::copy_nonoverlapping(
                address.as_ptr().cast::<u8>(),
                into,
                address.len() as usize,
            );
        }
        self.submit_connect(id);
    }

    fn receive_many(&mut self, id: ConnectionId) {
        let Some(connection) = live(&mut self.connections, id) else {
            return;
        };
        connection.wants_bytes = true;
        // After a connect the peer has had no time to say anything: poll first saves a receive
        // that finds nothing. After an accept the request is often there already.
        let poll_first = connection.connected_here;
        if connection.receiving == Arm::Off {
            self.arm_receive(id, poll_first);
        }
    }

    fn receive_pause(&mut self, id: ConnectionId) {
        let Some(connection) = live(&mut self.connections, id) else {
            return;
        };
        connection.wants_bytes = false;
        match connection.receiving {
            Arm::Armed => {
                connection.receiving = Arm::Cancelling;
                connection.cancels_missed = 0;
                self.submit_cancel(id, submit::RECEIVE);
            }
            Arm::Parked => connection.receiving = Arm::Off,
            Arm::Off | Arm::Cancelling | Arm::Ended => {}
        }
    }

    fn receive_resume(&mut self, id: ConnectionId) {
        let Some(connection) = live(&mut self.connections, id) else {
            return;
        };
        connection.wants_bytes = true;
        // While the pause's cancellation is under way, its completion arms again.
        if connection.receiving == Arm::Off {
            self.counters.rearms += 1;
            self.arm_receive(id, false);
        }
    }

    #[inline]
    unsafe fn send(&mut self, id: ConnectionId, pieces: &[Piece]) -> Sending {
        let Some(connection) = live(&mut self.connections, id) else {
            return Sending::Done(Err(libc::EBADF));
        };
        if connection.sending {
            // Only if a peer answered a request before it had all of it: see `send_unconfirmed`.
            return Sending::Done(Err(libc::EALREADY));
        }
        let total = pieces.iter().map(|piece| piece.len).sum();
        connection.begin_send(&Piece {
            ptr: pieces[0].ptr,
            len: total,
        });
        connection.sending = true;
        if pieces.len() > 1 {
            let number = self.gathers.take();
            connection.gather = Some(number);
            self.gathers.get_mut(number).set(pieces);
        }
        self.submit_send(id);
        Sending::Pending
    }

    #[inline]
    unsafe fn send_unconfirmed(&mut self, id: ConnectionId, piece: Piece) -> Sending {
        if piece.len > submit::UNCONFIRMED_BYTES_MAX {
            // SAFETY: handed on to the caller, who promises more than `send` asks for.
            return unsafe { self.send(id, &[piece]) };
        }
        let turn = self.turn;
        let Some(connection) = live(&mut self.connections, id) else {
            return Sending::Done(Err(libc::EBADF));
        };
        if connection.sending {
            return Sending::Done(Err(libc::EALREADY));
        }
        connection.begin_send(&piece);
        connection.unconfirmed_turn = turn;
        self.submit_unconfirmed(id);
        Sending::Done(Ok(piece.len))
    }

    fn shutdown_write(&mut self, id: ConnectionId) {
        let Some(connection) = live(&mut self.connections, id) else {
            return;
        };
        self.counters.system_calls += 1;
        if connection.unconfirmed_turn == self.turn {
            // It was called sent, but only queued in this very turn; FIN must not overtake it.
            self.ring.submit(&mut self.counters);
        }
        // A failure (ENOTCONN after a reset) shows up on the receiving side, which reports it.
        // SAFETY: no memory is involved; the descriptor is ours and open.
        unsafe { libc::shutdown(connection.fd, libc::SHUT_WR) };
    }

    fn close(&mut self, id: ConnectionId, how: How) {
        let Some(connection) = live(&mut self.connections, id) else {
            return;
        };
        if how == How::Rst {
            self.counters.system_calls += 1;
            prepare_close(connection.fd, how);
        }
        connection.stage = Stage::Closing;
        connection.wants_bytes = false;
        connection.cancels_missed = 0;
        if connection.receiving == Arm::Parked {
            connection.receiving = Arm::Off;
        }
        // In this order, in one submission: the kernel takes entries in order and runs both at
        // once, so the close is the last reference but those of the cancelled operations, whose
        // final completions come in the same turn. Closing alone would cancel nothing.
        self.cancel_all(id);
        self.submit_close(id);
    }

    #[inline]
    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        self.buffers.bytes(lease)
    }

    #[inline]
    fn give_back(&mut self, lease: Lease) {
        self.buffers.give_back(lease);
    }

    fn buffers_free(&self) -> u32 {
        self.buffers.free()
    }

    fn wait(&mut self, deadline_ns: Option<u64>) -> io::Result<()> {
        self.wait_counted = false;
        self.turn = self.turn.wrapping_add(1).max(1);
        self.buffers.publish();
        if !self.parked.is_empty() {
            self.rearm_parked();
        }
        let timeout_ns = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(now_ns()));
        self.ring.turn(timeout_ns, &mut self.counters)
    }

    #[inline]
    fn next(&mut self) -> Option<Event> {
        while let Some(entry) = self.ring.pop() {
            if let Some(event) = self.reap(entry.user_data(), entry.result(), entry.flags()) {
                self.counters.events += 1;
                self.counters.waits += u64::from(!self.wait_counted);
                self.wait_counted = true;
                return Some(event);
            }
        }
        None
    }

    fn counters(&self) -> &BackendCounters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut BackendCounters {
        &mut self.counters
    }
}

impl UringProactor {
    /// Closes and cancels everything, and waits until the kernel has finished with it, at most
    /// [`DRAIN_LIMIT`]. False if it has not.
    fn drain(&mut self) -> bool {
        let limit = Instant::now() + DRAIN_LIMIT;
        self.acceptor.wanted = false;
        for index in 0..self.connections.len() as u32 {
            let connection = &self.connections[index as usize];
            if connection.stage == Stage::Open {
                self.close(
                    ConnectionId {
                        index,
                        generation: connection.generation,
                    },
                    How::Fin,
                );
            }
        }
        self.submit_cancel_everything();
        while self.in_flight > 0 {
            if Instant::now() >= limit
                || self
                    .ring
                    .turn(Some(50_000_000), &mut self.counters)
                    .is_err()
            {
                return false;
            }
            while let Some(entry) = self.ring.pop() {
                // Events nobody will see: an accepted descriptor closes itself.
                drop(self.reap(entry.user_data(), entry.result(), entry.flags()));
            }
        }
        true
    }
}

impl Drop for UringProactor {
    fn drop(&mut self) {
        if self.drain() {
            let _ = self.ring.submitter().unregister_buf_ring(BUFFER_GROUP);
        } else {
            // The kernel may still use this memory: better lost than written to by surprise.
            self.buffers.leak();
            std::mem::forget(std::mem::replace(&mut self.gathers, Slab::new()));
            std::mem::forget(std::mem::replace(&mut self.addresses, Slab::new()));
        }
    }
}

/// The connection `id`, if it is open and not closing.
#[inline]
fn live(connections: &mut [Connection], id: ConnectionId) -> Option<&mut Connection> {
    let connection = &mut connections[id.index as usize];
    let is_live = connection.stage == Stage::Open && connection.generation == id.generation;
    debug_assert!(
        is_live,
        "an operation on connection {id:?}, which is not open"
    );
    is_live.then_some(connection)
}

/// Submission entries for the largest batch, completion entries for everything that may complete
/// between two turns: four times as many, and two for each connection.
fn queue_entries(connections: u32) -> (u32, u32) {
    let sq_entries = connections
        .saturating_mul(2)
        .clamp(SQ_ENTRIES.0, SQ_ENTRIES.1)
        .next_power_of_two();
    let wanted = connections
        .saturating_mul(2)
        .max(sq_entries * 4)
        .min(CQ_ENTRIES_MAX);
    (sq_entries, wanted.next_power_of_two())
}

/// No option exists yet; the ones to come are read here and nowhere else.
fn refuse_unknown_options(options: &[(String, String)]) -> io::Result<()> {
    let Some((key, value)) = options.first() else {
        return Ok(());
    };
    let text = format!(
        "engine uring has no option `{key}` (given as {key}={value}); it has no options yet: write --engine uring"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn register_buffers(ring: &Ring, buffers: &BufferRing) -> io::Result<()> {
    let (address, count) = (buffers.entries_address(), buffers.count() as u16);
    // SAFETY: the entries stay mapped until they are unregistered or the ring is gone
    // (`UringProactor::drop`, and its field order).
    unsafe {
        ring.submitter()
            .register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0)
    }
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_grow_with_the_connections_within_bounds() {
        assert_eq!(queue_entries(1), (256, 1024));
        assert_eq!(queue_entries(1000), (2048, 8192));
        assert_eq!(queue_entries(10_000), (4096, 32_768));
        assert_eq!(queue_entries(u32::MAX), (4096, 65_536));
    }

    #[test]
    fn an_unknown_option_is_named() {
        let error = refuse_unknown_options(&[("sqpol".into(), "1".into())]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("`sqpol`"), "{error}");
    }
}

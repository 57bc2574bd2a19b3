//! Raw io_uring under the one worker loop: [`UringProactor`].
//!
//! One ring per worker thread. Unless options say otherwise, accepting and receiving are multishot,
//! receiving takes buffers from a provided-buffer ring, one send per connection is in flight, and a
//! turn makes one system call.
//! Nothing here may reach io-wq, the kernel's thread pool: shutdown is a plain system call for
//! that reason, because IORING_OP_SHUTDOWN is always handed to a thread.
//!
//! Files: `options` says what users may ask for, `ladder` makes a ring of it, `ring` owns the queues,
//! `wait` says how a call sleeps, `buffers` and `own_buffers` are the receive memory, `connection` the state per connection, `submit`
//! makes entries, `reap` turns completions into events, `lazy` keeps sends that go without one, `farewell` those that a close follows,
//! `granted` says what came of it all, `ending` lets go, `probe` and `diagnose` say whether and why not.

mod buffers;
mod connection;
mod diagnose;
mod ending;
mod farewell;
mod farewell_state;
mod granted;
mod ladder;
mod lazy;
mod lazy_state;
mod mapping;
mod options;
mod own_buffers;
mod parting;
mod parting_state;
mod probe;
mod reap;
mod ring;
mod slab;
mod submit;
mod wait;

pub(crate) use options::OPTIONS;
pub(crate) use probe::{probe, probe_for};

use buffers::{BufferRing, Buffers};
use connection::{Address, Arm, Connecting, Connection, Gather, State};
use engine::clock::now_ns;
use engine::proactor::{
    BackendCounters, ConnectionId, Event, Lease, Piece, Proactor, Sending, Settings,
};
use engine::session::How;
use engine::socket::prepare_close;
use farewell_state::Farewells;
use lazy_state::Lazy;
use options::Wishes;
use own_buffers::OwnBuffers;
use parting_state::Parting;
use ring::{BUFFER_GROUP, Ring};
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

/// Bounds of the submission queue: the largest batch of one turn that needs no second call.
const SQ_ENTRIES: (u32, u32) = (256, 4096);

/// The largest completion queue; the kernel clamps at twice its submission limit of 32768.
const CQ_ENTRIES_MAX: u32 = 65536;

/// Refuses what is no option, or excludes another, before anything starts.
///
/// # Errors
/// The reason, in words for the user.
pub(crate) fn check_options(written: &[(String, String)]) -> Result<(), String> {
    Wishes::read(written).map(drop)
}

/// The backend of engine `uring`.
///
/// The memory of pending sends must outlive it: [`Proactor::release`], or dropping it, submits what
/// is queued, cancels everything and waits for the kernel to finish. Where the kernel does not, in
/// time, the backend's own memory is lost on purpose, and `release` says that so must be that of sends.
pub struct UringProactor {
    // Before `buffers`, so that the ring is gone when their memory goes.
    ring: Ring,
    buffers: Buffers,
    /// Grows as indices are used, within what was reserved at the beginning: it never moves.
    connections: Vec<Connection>,
    /// Indices of connections without a buffer, longest waiting first; each at most once.
    parked: VecDeque<u32>,
    gathers: Slab<Gather>,
    addresses: Slab<Address>,
    acceptor: Acceptor,
    lazy: Lazy,
    farewells: Farewells,
    parting: Parting,
    /// A receive of one buffer ended in the event that was told last: it is armed again when that
    /// has been dealt with, behind the answer, and not at all if that was a close.
    rearm: Option<ConnectionId>,
    /// Closed connections of which the kernel has held nothing: their events.
    closed: VecDeque<ConnectionId>,
    wake_fd: RawFd,
    /// Operations whose final completion was not read yet. Cancellations are not among them.
    in_flight: u64,
    /// Number of this turn, never 0; it may wrap.
    turn: u32,
    /// Whether the connections are Unix sockets, once the first has been looked at.
    is_unix: Option<bool>,
    /// This kernel's multishot receives cannot be relied on to see the end.
    misses_ends: bool,
    /// Connections end so soon that a receive left in the kernel would cost more than arming the next.
    brief: bool,
    /// Operations name sockets in the ring's own table.
    direct: bool,
    /// Sends of at least so many bytes are zero-copy.
    zero_copy_from: Option<usize>,
    wishes: Wishes,
    /// Everything is being cancelled.
    draining: bool,
    /// The end has come, and whether the kernel has let go of all memory.
    released: Option<bool>,
    /// The events of this turn were counted as one wait.
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
        let wishes = Wishes::read(&settings.options)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let (sq_entries, cq_entries) = queue_entries(settings.expected, &wishes);
        let buffers = receive_buffers(settings, &wishes)?;
        let explain = |call, error| {
            let error = diagnose::explain(call, error, sq_entries, cq_entries, buffers.count());
            diagnose::with_options(error, &settings.options)
        };
        let ring = make_ring(&wishes, (sq_entries, cq_entries), &buffers)
            .map_err(|(call, error)| explain(call, error))?;
        if wishes.zero_copy_from.is_some() {
            probe::require_zero_copy(&ring)?;
        }
        if wishes.direct {
            let table = ring.submitter().register_files_sparse(settings.connections);
            table.map_err(|error| diagnose::no_table(&error, settings.connections))?;
        }
        let mut proactor = Self {
            ring,
            buffers,
            connections: Vec::with_capacity(settings.connections as usize),
            parked: VecDeque::with_capacity(settings.connections as usize),
            gathers: Slab::new(),
            addresses: Slab::new(),
            acceptor: Acceptor {
                listener: -1,
                arm: Arm::Off,
                wanted: false,
                cancels_missed: 0,
            },
            lazy: Lazy::default(),
            farewells: Farewells::new(),
            parting: Parting::new(),
            rearm: None,
            closed: VecDeque::with_capacity(settings.connections as usize),
            wake_fd: settings.wake_fd,
            in_flight: 0,
            turn: 1,
            is_unix: None,
            misses_ends: !wishes.own_buffers && probe::multishot_misses_ends(),
            brief: settings.brief,
            direct: wishes.direct,
            zero_copy_from: wishes.zero_copy_from,
            wishes,
            draining: false,
            released: None,
            wait_counted: false,
            counters: BackendCounters::default(),
        };
        proactor.submit_wake_poll();
        Ok(proactor)
    }

    fn features(&self) -> Vec<(String, String)> {
        granted::features(self)
    }

    fn options_granted(&self) -> Vec<(String, String)> {
        granted::options(self)
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
        let place = id.index as usize;
        if place >= self.connections.capacity() {
            let text = format!(
                "connection {} is beyond the table of {}",
                id.index,
                self.connections.capacity()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if place >= self.connections.len() {
            self.connections.resize_with(place + 1, Connection::free);
        }
        let connection = &mut self.connections[place];
        assert!(
            connection.state == State::Free,
            "connection {} is still in use",
            id.index
        );
        connection.occupy(id, socket.into_raw_fd());
        if self.direct {
            self.submit_table_entry(id);
        }
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
    unsafe fn send_lasting(&mut self, id: ConnectionId, pieces: &[Piece]) -> Sending {
        if let Some(connection) = live(&mut self.connections, id)
            && !connection.sending
        {
            connection.lasting = true;
        }
        // SAFETY: handed on to the caller, who promises more than `send` asks for.
        unsafe { self.send(id, pieces) }
    }

    #[inline]
    unsafe fn send_unconfirmed(&mut self, id: ConnectionId, piece: Piece) -> Sending {
        if !self.may_be_silent(piece.len) {
            // SAFETY: handed on to the caller, who promises as much.
            return unsafe { self.send_lasting(id, &[piece]) };
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

    #[inline]
    unsafe fn send_lazily(&mut self, id: ConnectionId, piece: Piece) -> bool {
        let connection = live(&mut self.connections, id);
        connection.is_some_and(|connection| !connection.sending) && self.queue_lazily(id, &piece)
    }

    unsafe fn send_and_close(&mut self, id: ConnectionId, piece: Piece) -> bool {
        let connection = live(&mut self.connections, id);
        connection.is_some() && self.say_farewell(id, &piece)
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
        connection.state = State::Closing;
        connection.wants_bytes = false;
        connection.cancels_missed = 0;
        if std::mem::take(&mut connection.lazy) {
            // It was tried, or is queued ahead of the close and tried once: nothing to cancel.
            connection.sending = false;
        }
        if connection.receiving == Arm::Parked {
            connection.receiving = Arm::Off;
        }
        // The load's: a testee's close may be what its peer waits for.
        let nobody_waits =
            how == How::Fin && connection.receiving == Arm::Ended && connection.connected_here;
        if self.may_close_silently(id) {
            if !nobody_waits || !self.part_later(id) {
                self.close_silently(id);
            }
            return;
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
        match &mut self.buffers {
            Buffers::Group(group) => group.give_back(lease),
            Buffers::Own(own) => {
                own.give_back(&lease);
                self.receive_next(lease.buffer);
            }
        }
    }

    fn buffers_free(&self) -> u32 {
        self.buffers.free()
    }

    fn wait(&mut self, deadline_ns: Option<u64>) -> io::Result<()> {
        self.wait_counted = false;
        self.rearm_last();
        if !self.closed.is_empty() {
            return Ok(()); // there is something to tell
        }
        self.turn = self.turn.wrapping_add(1).max(1);
        if let Buffers::Group(group) = &mut self.buffers {
            group.publish();
        }
        if !self.parked.is_empty() {
            self.rearm_parked();
        }
        let timeout_ns = match self.part() {
            true => Some(0),
            false => deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(now_ns())),
        };
        let answer = self.ring.turn(timeout_ns, &mut self.counters);
        self.begin_lazy_turn();
        self.forget_farewells();
        answer
    }

    #[inline]
    fn next(&mut self) -> Option<Event> {
        self.rearm_last();
        let event = match self.closed.pop_front() {
            Some(id) => Event::Closed(id),
            None => self.next_completed().or_else(|| self.end_lazy_turn())?,
        };
        self.counters.events += 1;
        self.counters.waits += u64::from(!self.wait_counted);
        self.wait_counted = true;
        Some(event)
    }

    fn release(&mut self) -> bool {
        if let Some(released) = self.released {
            return released;
        }
        let released = self.drain();
        self.released = Some(released);
        released
    }

    fn counters(&self) -> &BackendCounters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut BackendCounters {
        &mut self.counters
    }
}

/// The connection `id`, if it is open and not closing.
#[inline]
fn live(connections: &mut [Connection], id: ConnectionId) -> Option<&mut Connection> {
    let connection = &mut connections[id.index as usize];
    let is_live = connection.state == State::Open && connection.generation == id.generation;
    debug_assert!(
        is_live,
        "an operation on connection {id:?}, which is not open"
    );
    is_live.then_some(connection)
}

/// Submission entries for the largest batch, completion entries for everything that may complete
/// between two turns: four times as many, and two for each connection.
fn queue_entries(connections: u32, wishes: &Wishes) -> (u32, u32) {
    let cq_entries_most = wishes.cq_entries.unwrap_or(u32::MAX);
    let sq_entries = wishes.sq_entries.unwrap_or_else(|| {
        let burst = connections.saturating_mul(2);
        burst.clamp(SQ_ENTRIES.0, SQ_ENTRIES.1).min(cq_entries_most)
    });
    let sq_entries = sq_entries.next_power_of_two();
    let cq_entries = wishes.cq_entries.unwrap_or_else(|| {
        let burst = connections.saturating_mul(2);
        burst.max(sq_entries * 4).min(CQ_ENTRIES_MAX)
    });
    (sq_entries, cq_entries.next_power_of_two())
}

/// The receive memory as asked for, else as the worker suggests.
fn receive_buffers(settings: &Settings, wishes: &Wishes) -> io::Result<Buffers> {
    if wishes.own_buffers {
        let bytes = wishes.buffer_bytes.unwrap_or(settings.buffer_bytes);
        return OwnBuffers::new(settings.connections, bytes).map(Buffers::Own);
    }
    let bytes = wishes
        .buffer_bytes
        .unwrap_or(group_buffer_bytes(settings.buffer_bytes));
    BufferRing::new(wishes.buffers.unwrap_or(settings.buffers), bytes).map(Buffers::Group)
}

/// Bytes of a buffer of the group. More than the largest message has only a stream, and a few of its large buffers serve
/// all connections: larger ones cost fewer receives (benches/RESULTS.md, "What the options are worth").
fn group_buffer_bytes(wanted: u32) -> u32 {
    const MESSAGE_MAX: u32 = 64 * 1024;
    const STREAM: u32 = 1024 * 1024;
    match wanted {
        0..=MESSAGE_MAX => wanted,
        _ => wanted.max(STREAM),
    }
}

/// The ring as asked for, with its receive buffers. They outlive it.
fn make_ring(
    wishes: &Wishes,
    (sq_entries, cq_entries): (u32, u32),
    buffers: &Buffers,
) -> Result<Ring, (diagnose::Call, io::Error)> {
    let ring =
        Ring::of(wishes, sq_entries, cq_entries).map_err(|error| (diagnose::Call::Setup, error))?;
    if let Buffers::Group(group) = buffers {
        ladder::patiently(|| register_buffers(&ring, group))
            .map_err(|error| (diagnose::Call::Register, error))?;
    }
    Ok(ring)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_grow_with_the_connections_within_bounds() {
        let wishes = Wishes::read(&[]).unwrap();
        assert_eq!(queue_entries(1, &wishes), (256, 1024));
        assert_eq!(queue_entries(1000, &wishes), (2048, 8192));
        assert_eq!(queue_entries(10_000, &wishes), (4096, 32_768));
        assert_eq!(queue_entries(u32::MAX, &wishes), (4096, 65_536));
    }

    #[test]
    fn only_streams_have_large_buffers() {
        for (wanted, bytes) in [
            (256, 256),
            (65_536, 65_536),
            (131_072, 1 << 20),
            (2 << 20, 2 << 20),
        ] {
            assert_eq!(group_buffer_bytes(wanted), bytes);
        }
    }

    #[test]
    fn queues_are_as_long_as_asked_for() {
        let entries = |key: &str, value: &str| {
            let wishes = Wishes::read(&[(key.to_owned(), value.to_owned())]).unwrap();
            queue_entries(100, &wishes)
        };
        assert_eq!(entries("sq_entries", "8192"), (8192, 32_768));
        assert_eq!(entries("sq_entries", "100"), (128, 512));
        assert_eq!(entries("cq_entries", "64"), (64, 64));
    }
}

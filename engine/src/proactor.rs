//! The contract between the one worker loop ([`crate::worker`]) and a kernel interface.
//!
//! Batch in, batch out: operations are queued without a system call where the kernel permits it,
//! [`Proactor::wait`] makes one system call, and [`Proactor::next`] then yields events one by one.
//! `next` is a pull, so that a readiness backend receives into the *same* hot buffer again and
//! again instead of filling one cold buffer for every ready connection first.
//!
//! Rules that hold on every backend (the conformance suite checks them):
//! - Would-block never leaves a backend.
//! - A send completes when *all* its bytes were handed to the kernel, or with an error. At most one
//!   send per connection is in flight.
//! - A received buffer is a [`Lease`], given back exactly once.
//! - After [`Proactor::close`] the only further event of that connection is one [`Event::Closed`],
//!   delivered when the kernel references none of the connection's memory any more.
//! - No connection starves another: a backend bounds what it receives from one connection per turn.

use crate::session::How;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

/// Names one connection of one worker: a table index, and a generation that tells an old tenant of
/// the index from a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Index into the worker's connection table, below [`Settings::connections`].
    pub index: u32,
    /// Generation of the index; only the low 24 bits are used.
    pub generation: u32,
}

impl ConnectionId {
    /// Generations wrap at 24 bits, so that kind, generation and index fit one 64-bit token.
    pub const GENERATION_MASK: u32 = 0x00ff_ffff;

    /// The same index for its next tenant.
    pub fn next_generation(self) -> Self {
        let generation = (self.generation + 1) & Self::GENERATION_MASK;
        Self {
            index: self.index,
            generation,
        }
    }
}

/// `kind:8 | generation:24 | index:32`, the form in which a connection travels through the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

impl Token {
    /// Packs a kind (backend-defined) and a connection.
    pub const fn pack(kind: u8, id: ConnectionId) -> Self {
        Self(
            ((kind as u64) << 56)
                | (((id.generation & ConnectionId::GENERATION_MASK) as u64) << 32)
                | id.index as u64,
        )
    }

    /// The kind that was packed.
    pub const fn kind(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The connection that was packed.
    pub const fn id(self) -> ConnectionId {
        ConnectionId {
            index: self.0 as u32,
            generation: (self.0 >> 32) as u32 & ConnectionId::GENERATION_MASK,
        }
    }
}

/// Received bytes in a buffer that belongs to the backend. Not `Copy` and not `Clone`: it must be
/// given back exactly once, by [`Proactor::give_back`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a lease must be given back"]
pub struct Lease {
    /// The backend's number of the buffer.
    pub buffer: u32,
    /// Where the received bytes begin in the buffer.
    pub offset: u32,
    /// How many bytes were received; never 0.
    pub len: u32,
}

/// One piece of a gathered send: plain memory, kept valid by the caller of [`Proactor::send`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Piece {
    /// First byte.
    pub ptr: *const u8,
    /// Number of bytes; never 0. `usize`, so that the layout is that of `struct iovec`.
    pub len: usize,
}

/// The largest number of pieces in one send.
pub const PIECES_MAX: usize = 8;

/// What became of a send at once.
#[derive(Debug)]
pub enum Sending {
    /// All bytes were handed to the kernel, or the send failed (errno); no event follows.
    Done(Result<usize, i32>),
    /// An [`Event::Sent`] follows.
    Pending,
}

/// What happened. Errors are errno values of the running system.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted. The descriptor is close-on-exec and in the blocking mode that
    /// the backend wants ([`Proactor::NONBLOCKING`]).
    Accepted(OwnedFd),
    /// Accepting ended with this error; it goes on only after another [`Proactor::accept_many`].
    AcceptFailed(i32),
    /// A [`Proactor::connect`] ended.
    Connected(ConnectionId, Result<(), i32>),
    /// Bytes arrived.
    Received(ConnectionId, Lease),
    /// The peer's FIN: nothing more will be received. Final for the receive operation.
    Finished(ConnectionId),
    /// Receiving failed, for instance with ECONNRESET. Final for the receive operation.
    ReceiveFailed(ConnectionId, i32),
    /// A pending send ended: all bytes, or an error.
    Sent(ConnectionId, Result<usize, i32>),
    /// A closed connection is gone; its index may be used again.
    Closed(ConnectionId),
    /// The [`crate::control::Waker`] of this worker was used.
    Woken,
}

/// What a worker needs of its backend, known before it starts. The backend allocates everything at
/// creation from these numbers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bound of the connection table: indices run from 0 to here. They are used from the lowest on, so a
    /// backend need not touch what nobody has used yet.
    pub connections: u32,
    /// Connections expected at once, at most `connections`: queues are sized by it, and hold more at a
    /// cost only.
    pub expected: u32,
    /// Bytes of one receive buffer.
    pub buffer_bytes: u32,
    /// Number of receive buffers, a power of two.
    pub buffers: u32,
    /// Accepted connections are over after a message or a few, by our own close: what is left in the
    /// kernel then has to be cancelled.
    pub brief: bool,
    /// Descriptor that becomes readable when the worker is woken (an eventfd or a pipe). The
    /// backend reads it empty and reports [`Event::Woken`]. It outlives the backend.
    pub wake_fd: RawFd,
    /// Engine options as the user wrote them, `key` to `value`.
    pub options: Vec<(String, String)>,
}

/// What a backend counts about itself, since it was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendCounters {
    /// System calls made by the backend on behalf of the workload.
    pub system_calls: u64,
    /// Waits that returned at least one event.
    pub waits: u64,
    /// Events delivered.
    pub events: u64,
    /// Receives that found no free buffer (ENOBUFS) and had to be armed again.
    pub no_buffers: u64,
    /// Completion-queue overflows seen.
    pub completion_overflows: u64,
    /// Sends that the kernel took in more than one piece.
    pub short_sends: u64,
    /// Times that receiving from a connection was paused because its output did not drain.
    pub receive_pauses: u64,
    /// Multishot or edge registrations that had to be armed again.
    pub rearms: u64,
    /// Sends that were asked to be zero-copy and that the kernel has let go of.
    pub zero_copy_sends: u64,
    /// Those of them that the kernel copied all the same.
    pub zero_copy_copied: u64,
}

impl BackendCounters {
    /// Adds another worker's counters.
    pub fn add(&mut self, other: &Self) {
        self.system_calls += other.system_calls;
        self.waits += other.waits;
        self.events += other.events;
        self.no_buffers += other.no_buffers;
        self.completion_overflows += other.completion_overflows;
        self.short_sends += other.short_sends;
        self.receive_pauses += other.receive_pauses;
        self.rearms += other.rearms;
        self.zero_copy_sends += other.zero_copy_sends;
        self.zero_copy_copied += other.zero_copy_copied;
    }

    /// What was counted since `earlier` was taken from the same backend.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            system_calls: self.system_calls - earlier.system_calls,
            waits: self.waits - earlier.waits,
            events: self.events - earlier.events,
            no_buffers: self.no_buffers - earlier.no_buffers,
            completion_overflows: self.completion_overflows - earlier.completion_overflows,
            short_sends: self.short_sends - earlier.short_sends,
            receive_pauses: self.receive_pauses - earlier.receive_pauses,
            rearms: self.rearms - earlier.rearms,
            zero_copy_sends: self.zero_copy_sends - earlier.zero_copy_sends,
            zero_copy_copied: self.zero_copy_copied - earlier.zero_copy_copied,
        }
    }
}

/// A kernel interface under the worker loop. See the module text for the rules.
pub trait Proactor: Sized {
    /// Whether sockets must be non-blocking for this backend (readiness: yes; io_uring: no, for a
    /// non-blocking socket makes some operations answer EAGAIN instead of waiting).
    const NONBLOCKING: bool;

    /// Creates the backend on the thread that will use it.
    ///
    /// # Errors
    /// What the system refused, with the attempt named in the error's text.
    fn new(settings: &Settings) -> io::Result<Self>;

    /// Requested and granted features, for the result document (`"ring_flags"`, `"buffers"` ...).
    fn features(&self) -> Vec<(String, String)>;

    /// Every engine option as it is in force, key to value; none unless the engine has options.
    fn options_granted(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Accepts on `listener` until [`Proactor::accept_stop`] or [`Event::AcceptFailed`].
    /// The caller keeps the listener open until the backend is dropped. One listener per backend.
    fn accept_many(&mut self, listener: RawFd);

    /// Stops accepting. A connection that was accepted already may still be delivered.
    fn accept_stop(&mut self);

    /// Binds `socket` to `id`; the backend owns the descriptor from now on. `id.index` must be
    /// free: never used, or its [`Event::Closed`] delivered.
    ///
    /// # Errors
    /// When the kernel refuses the registration; the descriptor is closed then and `id` is free.
    fn open(&mut self, id: ConnectionId, socket: OwnedFd) -> io::Result<()>;

    /// The descriptor of an open connection, for getsockopt and the like.
    fn descriptor(&self, id: ConnectionId) -> RawFd;

    /// Connects; ends with [`Event::Connected`].
    fn connect(&mut self, id: ConnectionId, address: &socket2::SockAddr);

    /// Receives until FIN, error, [`Proactor::receive_pause`] or close.
    fn receive_many(&mut self, id: ConnectionId);

    /// Stops receiving; bytes that the kernel already delivered to the backend may still arrive as
    /// events. No event of its own.
    fn receive_pause(&mut self, id: ConnectionId);

    /// Receives again after a pause.
    fn receive_resume(&mut self, id: ConnectionId);

    /// Sends all bytes of all pieces, in order.
    ///
    /// # Safety
    /// The memory of every piece stays valid and unchanged until this returned
    /// [`Sending::Done`], or [`Event::Sent`] or [`Event::Closed`] was delivered for `id`.
    /// No other send of `id` is pending. `pieces` holds 1 to [`PIECES_MAX`] pieces, none empty;
    /// the slice itself is needed only during the call.
    unsafe fn send(&mut self, id: ConnectionId, pieces: &[Piece]) -> Sending;

    /// Like [`Proactor::send`], from memory that never changes, so that a backend that sends
    /// without copying may report [`Event::Sent`] while the kernel still reads it.
    ///
    /// # Safety
    /// As for [`Proactor::send`], but the memory stays valid and unchanged until the backend is
    /// dropped.
    unsafe fn send_lasting(&mut self, id: ConnectionId, pieces: &[Piece]) -> Sending {
        // SAFETY: this contract is stricter than that of `send`.
        unsafe { self.send(id, pieces) }
    }

    /// Sends one piece of which the peer's answer will prove that it was sent, so that a backend may
    /// save the completion: [`Sending::Done`] then means "taken over", and only a failure is
    /// reported, as [`Event::Sent`] with an error. The default is a plain [`Proactor::send`].
    ///
    /// # Safety
    /// As for [`Proactor::send`], but the memory stays valid and unchanged until the backend is
    /// dropped; and everything that was sent before on `id` has been answered.
    unsafe fn send_unconfirmed(&mut self, id: ConnectionId, piece: Piece) -> Sending {
        // SAFETY: this contract is stricter than that of `send`.
        unsafe { self.send(id, &[piece]) }
    }

    /// Sends one piece of whose end nobody has to know soon, so that a backend may save the system
    /// call and the completion that would tell it. False: not now, and nothing was done; send it
    /// otherwise. True: it goes out in the next [`Proactor::wait`] at the latest, and
    /// [`Event::Sent`] follows, but no wait ends because of it: it is the last event of the first
    /// turn that something else brings about. A failure, and a send that has to wait for room, are told
    /// as if it had been an ordinary one.
    ///
    /// Only for a connection of which nothing else waits for this end: no further output, no FIN or
    /// close to follow, no paused receiving.
    ///
    /// # Safety
    /// As for [`Proactor::send`].
    unsafe fn send_lazily(&mut self, _id: ConnectionId, _piece: Piece) -> bool {
        false
    }

    /// Sends one piece, the last there is, and closes with FIN behind it, so that a backend may do both
    /// in one call. False: not so, and nothing was done. True: as after [`Proactor::close`], only
    /// [`Event::Closed`] is to come, whatever becomes of the send.
    ///
    /// # Safety
    /// As for [`Proactor::send_lasting`].
    unsafe fn send_and_close(&mut self, _id: ConnectionId, _piece: Piece) -> bool {
        false
    }

    /// Half-closes: FIN after what was handed to the kernel. Call it with no send pending.
    fn shutdown_write(&mut self, id: ConnectionId);

    /// Closes whatever is pending; ends with [`Event::Closed`]. The kernel may hear of it only in the next
    /// [`Proactor::wait`], or by [`Proactor::release`]; of a connection that was made here and that its peer has
    /// finished, in the one after, behind what is said on others.
    fn close(&mut self, id: ConnectionId, how: How);

    /// The bytes of a lease.
    fn bytes(&mut self, lease: &Lease) -> &mut [u8];

    /// Returns a lease.
    fn give_back(&mut self, lease: Lease);

    /// Buffers that are not leased at this moment.
    fn buffers_free(&self) -> u32;

    /// Submits what is queued and waits for events until the monotonic instant `deadline_ns`
    /// (`None`: no limit; a past instant: do not sleep). Returns early when events are there.
    /// Interrupted calls (EINTR) and expiry are not errors.
    ///
    /// # Errors
    /// Only what makes the backend unusable.
    fn wait(&mut self, deadline_ns: Option<u64>) -> io::Result<()>;

    /// The next event of this turn; `None` ends the turn, and the caller calls `wait`.
    fn next(&mut self) -> Option<Event>;

    /// Ends everything that is in the kernel, within a second or so; nothing else may be asked of
    /// the backend afterwards. False if the kernel may still read memory of sends: whoever owns it
    /// must not free it then, ever. Backends that send by plain system calls hold nothing.
    fn release(&mut self) -> bool {
        true
    }

    /// What was counted so far.
    fn counters(&self) -> &BackendCounters;

    /// For the loop to count what it saw on the backend's behalf (pauses).
    fn counters_mut(&mut self) -> &mut BackendCounters;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_round_trips_at_its_bounds() {
        for kind in [0u8, 1, 0x7f, 0xff] {
            for generation in [0, 1, ConnectionId::GENERATION_MASK] {
                for index in [0, 1, u32::MAX] {
                    let id = ConnectionId { index, generation };
                    let token = Token::pack(kind, id);
                    assert_eq!((token.kind(), token.id()), (kind, id));
                }
            }
        }
    }

    #[test]
    fn generation_wraps_at_24_bits() {
        let id = ConnectionId {
            index: 7,
            generation: ConnectionId::GENERATION_MASK,
        };
        assert_eq!(
            id.next_generation(),
            ConnectionId {
                index: 7,
                generation: 0
            }
        );
    }
}

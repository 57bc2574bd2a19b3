//! The one connection loop of all proactor engines: [`serve`] and [`load`], generic over the
//! backend, so that comparing engines compares kernels and not programmers.

mod load;
mod serve;

pub use load::load;
pub use serve::serve;

use crate::clock::now_ns;
use crate::control::WakeEnd;
use crate::driver::EngineError;
use crate::meter::Meter;
use crate::outbox::{BlockPool, LeaseShape, Outbox, Supply};
use crate::pattern::Pattern;
use crate::proactor::{
    ConnectionId, Event, How, Lease, PIECES_MAX, Piece, Proactor, Sending, Settings,
};
use crate::session::{Boundary, Hints, Out, Session};
use crate::tcp_info::SAMPLES as TCP_INFO_SAMPLES;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Sends that one connection may make per turn when the kernel takes them at once; then the others
/// have their turn.
const SENDS_PER_TURN: u32 = 16;

/// How long the end of a worker waits for its backend to let go of the connections' memory, ns.
const CLOSING_LIMIT_NS: u64 = 2_000_000_000;

/// One open connection: its protocol and its output.
#[derive(Debug)]
struct Wire<S> {
    id: ConnectionId,
    session: S,
    outbox: Outbox,
    receive_paused: bool,
    shutdown_done: bool,
    /// It stands in the worker's list of connections that can send more right now.
    in_line: bool,
    /// Bytes of the pending send, if it is a lazy one: they count as sent already.
    lazy_bytes: u32,
}

/// What became of a connection after its output was moved on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pumped {
    /// It goes on.
    Open,
    /// It could send more right now, but others have their turn first.
    Again,
    /// It has asked to be closed; `Proactor::close` was called.
    Closing,
    /// Sending failed with this errno.
    Lost(i32),
}

impl<S> Wire<S> {
    /// `outbox` is an empty one, reused so that a new connection allocates nothing.
    fn new(id: ConnectionId, session: S, outbox: Outbox) -> Self {
        Self {
            id,
            session,
            outbox,
            receive_paused: false,
            shutdown_done: false,
            in_line: false,
            lazy_bytes: 0,
        }
    }

    /// Whether nothing here waits for the end of a send that carries all there is to send. Whoever
    /// waited would do so for ever: no wait ends because a lazy send has ended.
    #[inline]
    fn may_hear_late<L>(&self) -> bool
    where
        S: Session<L>,
    {
        !self.session.awaits_sent()
            && self.outbox.close.is_none()
            && !self.outbox.shutdown
            && !self.receive_paused
    }
}

/// What every worker has besides its connections.
#[derive(Debug)]
struct Bench<P: Proactor> {
    proactor: P,
    pattern: Arc<Pattern>,
    pool: BlockPool,
    meter: Meter,
    /// Receive buffers in all, as the backend has them.
    buffers: u32,
    /// This worker itself does not mind hearing late that something was sent.
    lazy: bool,
}

impl<P: Proactor> Bench<P> {
    /// The backend and what goes with it, on the thread that will use it. `buffer_group` is the
    /// size and number of the receive buffers.
    fn new(
        connections: u32,
        (buffer_bytes, buffers): (u32, u32),
        pattern_bytes: u32,
        wake: &WakeEnd,
        options: &[(String, String)],
        meter: Meter,
    ) -> Result<Self, EngineError> {
        crate::os::use_exact_timers();
        let settings = Settings {
            connections,
            buffer_bytes,
            buffers,
            wake_fd: wake.descriptor(),
            options: options.to_vec(),
        };
        let proactor = P::new(&settings).map_err(unusable)?;
        Ok(Self {
            buffers: proactor.buffers_free(),
            proactor,
            pattern: Arc::new(Pattern::new(pattern_bytes)),
            pool: BlockPool::default(),
            meter,
            lazy: false,
        })
    }

    #[inline]
    fn wait(&mut self, deadline_ns: Option<u64>) -> Result<(), EngineError> {
        self.proactor.wait(deadline_ns).map_err(unusable)
    }

    /// The next connection of which the backend references nothing any more; all else that happens
    /// is dropped. `None` after `give_up_ns`, or when the backend is unusable.
    fn next_closed(&mut self, give_up_ns: u64) -> Option<ConnectionId> {
        loop {
            while let Some(event) = self.proactor.next() {
                match event {
                    Event::Closed(id) => return Some(id),
                    Event::Received(_, lease) => self.proactor.give_back(lease),
                    _ => {}
                }
            }
            if now_ns() >= give_up_ns || self.proactor.wait(Some(give_up_ns)).is_err() {
                return None;
            }
        }
    }

    /// Tells the session something through `tell`, with an [`Out`] to answer through.
    #[inline]
    fn tell<S>(
        &mut self,
        wire: &mut Wire<S>,
        now_ns: u64,
        tell: impl FnOnce(&mut S, &mut Speaker<'_>),
    ) {
        let Wire {
            session, outbox, ..
        } = wire;
        tell(
            session,
            &mut Speaker {
                outbox,
                meter: &mut self.meter,
                now_ns,
                lease: None,
            },
        );
    }

    /// Delivers received bytes and settles their lease.
    #[inline]
    fn deliver<L, S: Session<L>>(
        &mut self,
        wire: &mut Wire<S>,
        slot: &mut L,
        lease: Lease,
        now_ns: u64,
    ) {
        let shape = LeaseShape::from(&lease);
        let Wire {
            session, outbox, ..
        } = wire;
        if outbox.close.is_none() {
            let mut speaker = Speaker {
                outbox,
                meter: &mut self.meter,
                now_ns,
                lease: Some(shape),
            };
            session.received(
                slot,
                self.proactor.bytes(&lease),
                Boundary::Stream,
                &mut speaker,
            );
        }
        let supply = Supply::of(self.proactor.buffers_free(), self.buffers);
        outbox.settle(lease, supply, &mut self.proactor, &mut self.pool);
    }

    /// A pending send ended: accounts for it and tells the session if everything is out.
    #[inline]
    fn sent<L, S: Session<L>>(&mut self, wire: &mut Wire<S>, slot: &mut L, now_ns: u64) {
        wire.outbox.complete(&mut self.proactor, &mut self.pool);
        if wire.outbox.is_empty() {
            self.tell(wire, now_ns, |session, out| session.sent(slot, out));
        }
    }

    /// Moves a connection's output on: sends what is queued, half-closes, closes, and pauses or
    /// resumes receiving. Returns what became of it and the bytes that the kernel took at once.
    #[inline]
    fn pump<L, S: Session<L>>(
        &mut self,
        wire: &mut Wire<S>,
        slot: &mut L,
        now_ns: u64,
    ) -> (Pumped, u64) {
        let mut taken = 0;
        let mut sends = 0;
        while !wire.outbox.is_sending()
            && !wire.outbox.is_empty()
            && wire.outbox.close != Some(How::Rst)
        {
            if sends == SENDS_PER_TURN {
                return (Pumped::Again, taken);
            }
            sends += 1;
            match self.send::<L, S>(wire) {
                Sending::Pending => {
                    taken += u64::from(wire.lazy_bytes);
                    break;
                }
                Sending::Done(Err(errno)) => return (Pumped::Lost(errno), taken),
                Sending::Done(Ok(bytes)) => {
                    taken += bytes as u64;
                    self.sent(wire, slot, now_ns);
                }
            }
        }
        self.regulate(wire);
        if wire.outbox.close == Some(How::Rst) {
            self.proactor.close(wire.id, How::Rst);
            return (Pumped::Closing, taken);
        }
        if wire.outbox.is_empty() {
            if let Some(how) = wire.outbox.close {
                self.proactor.close(wire.id, how);
                return (Pumped::Closing, taken);
            }
            if wire.outbox.shutdown && !wire.shutdown_done {
                wire.shutdown_done = true;
                self.proactor.shutdown_write(wire.id);
            }
        }
        (Pumped::Open, taken)
    }

    #[inline]
    fn send<L, S: Session<L>>(&mut self, wire: &mut Wire<S>) -> Sending {
        let proven_by_answer = wire.outbox.take_proven_by_answer();
        let Some(piece) = wire.outbox.gather_one(&self.pattern, &mut self.proactor) else {
            return self.send_several(wire);
        };
        if proven_by_answer {
            // SAFETY: the one piece points into the pattern, which outlives the backend (it is
            // declared after it) and never changes; the session vouches that all that was sent
            // before has been answered.
            return unsafe { self.proactor.send_unconfirmed(wire.id, piece) };
        }
        if self.lazy && wire.may_hear_late::<L>() {
            // SAFETY: as in `send_several`.
            let is_taken = unsafe { self.proactor.send_lazily(wire.id, piece) };
            if is_taken {
                wire.lazy_bytes = piece.len as u32;
                return Sending::Pending;
            }
        }
        if wire.outbox.sends_pattern_only() {
            // SAFETY: as above: the pattern outlives the backend and never changes.
            return unsafe { self.proactor.send_lasting(wire.id, &[piece]) };
        }
        // SAFETY: as in `send_several`.
        unsafe { self.proactor.send(wire.id, &[piece]) }
    }

    fn send_several<S>(&mut self, wire: &mut Wire<S>) -> Sending {
        let mut pieces = [Piece {
            ptr: std::ptr::null(),
            len: 0,
        }; PIECES_MAX];
        let count = wire
            .outbox
            .gather(&mut pieces, &self.pattern, &mut self.proactor);
        if wire.outbox.sends_pattern_only() {
            // SAFETY: as in `send`: the pattern outlives the backend and never changes.
            return unsafe { self.proactor.send_lasting(wire.id, &pieces[..count]) };
        }
        // SAFETY: the pieces point into the pattern, which lives as long as the worker; into
        // leased buffers, which the outbox holds until `complete` or `clear`; or into blocks that
        // the outbox neither moves nor changes while they are in flight. `complete` is called only
        // after `Done` or `Event::Sent`, `clear` only after `Event::Closed`. No other send is
        // pending, for `gather` asserts that none is in flight.
        unsafe { self.proactor.send(wire.id, &pieces[..count]) }
    }

    /// Pauses receiving while too much of what was received waits to go back, and resumes it.
    #[inline]
    fn regulate<S>(&mut self, wire: &mut Wire<S>) {
        let bytes = wire.outbox.echo_bytes();
        if !wire.receive_paused && bytes > Outbox::PAUSE_BYTES {
            wire.receive_paused = true;
            self.proactor.counters_mut().receive_pauses += 1;
            self.proactor.receive_pause(wire.id);
        } else if wire.receive_paused
            && bytes < Outbox::PAUSE_BYTES / 2
            && wire.outbox.close.is_none()
        {
            wire.receive_paused = false;
            self.proactor.receive_resume(wire.id);
        }
    }
}

/// What makes a backend unusable.
fn unusable(error: io::Error) -> EngineError {
    EngineError::Machine(error.to_string())
}

/// Ends what the backend has in the kernel. If it may still read what was to be sent, that memory is
/// lost on purpose: a leak at the end of a worker is harmless, bytes of strangers sent to a peer are
/// not. `places` hold the outboxes; leased buffers are the backend's own affair.
fn let_go<P: Proactor, T>(bench: &mut Bench<P>, places: &mut Vec<T>) {
    if !bench.proactor.release() {
        lose(&bench.pattern, &mut bench.pool, places);
    }
}

/// Keeps all of this for ever.
fn lose<T>(pattern: &Arc<Pattern>, pool: &mut BlockPool, places: &mut Vec<T>) {
    // A count that never comes down keeps the pattern, whoever else lets go of it.
    std::mem::forget(Arc::clone(pattern));
    std::mem::forget(std::mem::take(pool));
    std::mem::forget(std::mem::take(places));
}

/// The [`Out`] of the proactor workers.
struct Speaker<'a> {
    outbox: &'a mut Outbox,
    meter: &'a mut Meter,
    now_ns: u64,
    lease: Option<LeaseShape>,
}

impl Out for Speaker<'_> {
    #[inline]
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    #[inline]
    fn echo(&mut self, range: Range<u32>) {
        let lease = self.lease.expect("echo is for bytes being received");
        self.outbox.push_echo(&lease, range);
    }

    #[inline]
    fn shared(&mut self, range: Range<u32>) {
        self.outbox.push_shared(range);
    }

    #[inline]
    fn request(&mut self, range: Range<u32>) {
        self.outbox.push_request(range);
    }

    fn shutdown_write(&mut self) {
        self.outbox.shutdown = true;
    }

    fn close(&mut self, how: How) {
        self.outbox.close = Some(how);
    }

    #[inline]
    fn meter(&mut self) -> &mut Meter {
        self.meter
    }
}

/// Receive buffers for a worker: enough that a burst of all connections rarely runs dry, small
/// enough together to stay in a level-2 cache where messages are small, and few and large for bulk.
/// A group is handed out first in, first out by io_uring, so a large one is always cold
/// (c4milo/rotor, bench/alternatives).
fn buffer_group(hints: Hints, connections: u32) -> (u32, u32) {
    if hints.bulk {
        let buffers = (2 * connections).next_power_of_two().clamp(8, 64);
        return (
            hints
                .receive_bytes
                .next_power_of_two()
                .clamp(64 * 1024, 256 * 1024),
            buffers,
        );
    }
    // One byte more than a message: a receive that fills its buffer does not tell that it got all,
    // and costs a readiness backend another call to find out.
    let bytes = (hints.receive_bytes.saturating_add(1).min(64 * 1024))
        .next_power_of_two()
        .clamp(256, 64 * 1024);
    let most = (64 * 1024 * 1024 / bytes).clamp(64, 4096);
    (bytes, (2 * connections).next_power_of_two().clamp(32, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_may_still_read_is_never_freed() {
        struct Place<'a>(&'a std::cell::Cell<u32>);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let dropped = std::cell::Cell::new(0);
        let pattern = std::sync::Arc::new(Pattern::new(1));
        let mut places = vec![Place(&dropped), Place(&dropped)];
        lose(&pattern, &mut BlockPool::default(), &mut places);
        assert!(places.is_empty());
        drop(places);
        assert_eq!(dropped.get(), 0);
        assert_eq!(std::sync::Arc::strong_count(&pattern), 2);
    }

    #[test]
    fn buffer_groups_are_powers_of_two_and_bounded() {
        for connections in [1, 16, 256, 60_000] {
            for receive_bytes in [1, 1_000, 65_536, 1 << 24] {
                for bulk in [false, true] {
                    let (bytes, buffers) = buffer_group(
                        Hints {
                            receive_bytes,
                            bulk,
                        },
                        connections,
                    );
                    assert!(bytes.is_power_of_two() && buffers.is_power_of_two());
                    assert!(u64::from(bytes) * u64::from(buffers) <= 256 << 20);
                }
            }
        }
    }
}

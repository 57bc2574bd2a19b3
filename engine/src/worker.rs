//! The one connection loop of all proactor engines: [`serve`] and [`load`], generic over the
//! backend, so that comparing engines compares kernels and not programmers.

mod load;
#[cfg(test)]
mod scripted;
mod serve;

pub use load::load;
pub use serve::serve;

use crate::clock::now_ns;
use crate::control::WakeEnd;
use crate::driver::EngineError;
use crate::needs::Needs;
use crate::outbox::{BlockPool, LeaseShape, Outbox, Supply};
use crate::proactor::{ConnectionId, Event, Lease, PIECES_MAX, Piece, Proactor, Sending};
use crate::region::Region;
use crate::session::How;
use crate::speaker::Speaker;
use crate::tcp_info::SAMPLES as TCP_INFO_SAMPLES;
use std::io;
use std::sync::Arc;

/// Sends that one connection may make per turn when the kernel takes them at once; then the others
/// have their turn.
const SENDS_PER_TURN: u32 = 16;

/// Bytes after which it is the others' turn too: about 0.2 ms at memory speed. Sixteen sends of large
/// messages would keep the loop from the clock, and so from the end of the window, for tens of them.
const BYTES_PER_TURN: u64 = 1 << 20;

/// How long the end of a worker waits for its backend to let go of the connections' memory, ns.
const CLOSING_LIMIT_NS: u64 = 2_000_000_000;

/// One connection as the loop sees it: its output. What it says is its [`Party`]'s.
#[derive(Debug)]
struct Wire {
    id: ConnectionId,
    outbox: Outbox,
    receive_paused: bool,
    shutdown_done: bool,
    /// `Proactor::close` was called; only `Event::Closed` is to come.
    closing: bool,
    /// It stands in the worker's list of connections that can send more right now.
    in_line: bool,
    /// Bytes of the pending send, if it is a lazy one: they count as sent already.
    lazy_bytes: u32,
}

/// Who decides what is said on a connection: a testee's session, or a load's life.
trait Party {
    /// Bytes arrived.
    fn received(&mut self, bytes: &mut [u8], out: &mut Speaker<'_>);
    /// Everything asked for so far was handed to the kernel.
    fn sent(&mut self, out: &mut Speaker<'_>);
    /// Whether it waits to be told that.
    fn awaits_sent(&self) -> bool;
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

impl Wire {
    fn new(index: u32) -> Self {
        Self {
            id: ConnectionId {
                index,
                generation: 0,
            },
            outbox: Outbox::default(),
            receive_paused: false,
            shutdown_done: false,
            closing: false,
            in_line: false,
            lazy_bytes: 0,
        }
    }

    /// Takes up the next connection; the memory of the last one's output is used again, so that a new
    /// connection allocates nothing.
    fn next_tenant(&mut self) -> ConnectionId {
        self.id = self.id.next_generation();
        self.receive_paused = false;
        self.shutdown_done = false;
        self.closing = false;
        self.lazy_bytes = 0;
        self.id
    }

    /// Whether nothing here waits for the end of a send that carries all there is to send. Whoever
    /// waited would do so for ever: no wait ends because a lazy send has ended.
    #[inline]
    fn may_hear_late(&self, party: &impl Party) -> bool {
        !party.awaits_sent()
            && self.outbox.close.is_none()
            && !self.outbox.shutdown
            && !self.receive_paused
    }
}

/// What every worker has besides its connections.
#[derive(Debug)]
struct Bench<P: Proactor> {
    proactor: P,
    region: Arc<Region>,
    pool: BlockPool,
    /// Receive buffers in all, as the backend has them.
    buffers: u32,
    /// This worker itself does not mind hearing late that something was sent.
    lazy: bool,
}

impl<P: Proactor> Bench<P> {
    /// The backend and what goes with it, on the thread that will use it.
    fn new(
        needs: Needs,
        region: Region,
        wake: &WakeEnd,
        options: &[(String, String)],
    ) -> Result<Self, EngineError> {
        crate::os::use_exact_timers();
        let settings = needs.settings(wake.descriptor(), options);
        let proactor = P::new(&settings).map_err(unusable)?;
        Ok(Self {
            buffers: proactor.buffers_free(),
            proactor,
            region: Arc::new(region),
            pool: BlockPool::default(),
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

    /// What a party answers through. `now_ns` is the instant of the event, 0 if nobody has looked yet.
    #[inline]
    fn speaker<'a>(&'a mut self, outbox: &'a mut Outbox, now_ns: u64) -> Speaker<'a> {
        Speaker::new(outbox, &mut self.pool, now_ns)
    }

    /// Delivers received bytes and settles their lease.
    #[inline]
    fn deliver(&mut self, wire: &mut Wire, party: &mut impl Party, lease: Lease, now_ns: u64) {
        let shape = LeaseShape::from(&lease);
        let outbox = &mut wire.outbox;
        if outbox.close.is_none() {
            let mut speaker = Speaker::new(outbox, &mut self.pool, now_ns).receiving(shape);
            party.received(self.proactor.bytes(&lease), &mut speaker);
        }
        let supply = Supply::of(self.proactor.buffers_free(), self.buffers);
        outbox.settle(lease, supply, &mut self.proactor, &mut self.pool);
    }

    /// A pending send ended: accounts for it and tells the party if everything is out.
    #[inline]
    fn sent(&mut self, wire: &mut Wire, party: &mut impl Party, now_ns: u64) {
        wire.outbox.complete(&mut self.proactor, &mut self.pool);
        if wire.outbox.is_empty() {
            party.sent(&mut self.speaker(&mut wire.outbox, now_ns));
        }
    }

    /// Closes a connection; `Event::Closed` follows.
    fn close(&mut self, wire: &mut Wire, how: How) {
        if !std::mem::replace(&mut wire.closing, true) {
            self.proactor.close(wire.id, how);
        }
    }

    /// Moves a connection's output on: sends what is queued, half-closes, closes, and pauses or
    /// resumes receiving. Returns what became of it and the bytes that the kernel took at once.
    #[inline]
    fn pump(&mut self, wire: &mut Wire, party: &mut impl Party, now_ns: u64) -> (Pumped, u64) {
        let mut taken = 0;
        let mut sends = 0;
        if let Some(bytes) = self.part(wire, party) {
            return (Pumped::Closing, bytes);
        }
        while !wire.outbox.is_sending()
            && !wire.outbox.is_empty()
            && wire.outbox.close != Some(How::Rst)
        {
            if sends == SENDS_PER_TURN || taken >= BYTES_PER_TURN {
                return (Pumped::Again, taken);
            }
            sends += 1;
            match self.send(wire, party) {
                Sending::Pending => {
                    taken += u64::from(wire.lazy_bytes);
                    break;
                }
                Sending::Done(Err(errno)) => return (Pumped::Lost(errno), taken),
                Sending::Done(Ok(bytes)) => {
                    taken += bytes as u64;
                    self.sent(wire, party, now_ns);
                }
            }
        }
        self.regulate(wire);
        if wire.outbox.close == Some(How::Rst) {
            self.close(wire, How::Rst);
            return (Pumped::Closing, taken);
        }
        if wire.outbox.is_empty() {
            if let Some(how) = wire.outbox.close {
                self.close(wire, how);
                return (Pumped::Closing, taken);
            }
            if wire.outbox.shutdown && !wire.shutdown_done {
                wire.shutdown_done = true;
                self.proactor.shutdown_write(wire.id);
            }
        }
        (Pumped::Open, taken)
    }

    /// Sends the last output of a connection and closes it, where the backend can do that in one go.
    /// Returns how many bytes those were.
    #[inline]
    fn part(&mut self, wire: &mut Wire, party: &impl Party) -> Option<u64> {
        let piece = wire.outbox.last_words(&self.region, &mut self.proactor)?;
        if party.awaits_sent() {
            return None;
        }
        let bytes = piece.len as u64;
        // SAFETY: the piece points into the region, which outlives the backend and never changes.
        wire.closing = unsafe { self.proactor.send_and_close(wire.id, piece) };
        wire.closing.then_some(bytes)
    }

    #[inline]
    fn send(&mut self, wire: &mut Wire, party: &impl Party) -> Sending {
        let proven_by_answer = wire.outbox.take_proven_by_answer();
        let Some(piece) = wire.outbox.gather_one(&self.region, &mut self.proactor) else {
            return self.send_several(wire);
        };
        if proven_by_answer {
            // SAFETY: the one piece points into the region, which outlives the backend (it is
            // declared after it) and never changes; the session vouches that all that was sent
            // before has been answered.
            return unsafe { self.proactor.send_unconfirmed(wire.id, piece) };
        }
        if self.lazy && wire.may_hear_late(party) {
            // SAFETY: as in `send_several`.
            let is_taken = unsafe { self.proactor.send_lazily(wire.id, piece) };
            if is_taken {
                wire.lazy_bytes = piece.len as u32;
                return Sending::Pending;
            }
        }
        if wire.outbox.sends_region_only() {
            // SAFETY: as above: the region outlives the backend and never changes.
            return unsafe { self.proactor.send_lasting(wire.id, &[piece]) };
        }
        // SAFETY: as in `send_several`.
        unsafe { self.proactor.send(wire.id, &[piece]) }
    }

    fn send_several(&mut self, wire: &mut Wire) -> Sending {
        let mut pieces = [Piece {
            ptr: std::ptr::null(),
            len: 0,
        }; PIECES_MAX];
        let count = wire
            .outbox
            .gather(&mut pieces, &self.region, &mut self.proactor);
        if wire.outbox.sends_region_only() {
            // SAFETY: as in `send`: the region outlives the backend and never changes.
            return unsafe { self.proactor.send_lasting(wire.id, &pieces[..count]) };
        }
        // SAFETY: the pieces point into the region, which lives as long as the worker; into
        // leased buffers, which the outbox holds until `complete` or `clear`; or into blocks that
        // the outbox neither moves nor changes while they are in flight. `complete` is called only
        // after `Done` or `Event::Sent`, `clear` only after `Event::Closed`. No other send is
        // pending, for `gather` asserts that none is in flight.
        unsafe { self.proactor.send(wire.id, &pieces[..count]) }
    }

    /// Pauses receiving while too much of what was received waits to go back, and resumes it.
    #[inline]
    fn regulate(&mut self, wire: &mut Wire) {
        if !wire.receive_paused && wire.outbox.is_too_full(&self.pool) {
            wire.receive_paused = true;
            self.proactor.counters_mut().receive_pauses += 1;
            self.proactor.receive_pause(wire.id);
        } else if wire.receive_paused
            && wire.outbox.has_room_again(&self.pool)
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
        lose(&bench.region, &mut bench.pool, places);
    }
}

/// Keeps all of this for ever.
fn lose<T>(region: &Arc<Region>, pool: &mut BlockPool, places: &mut Vec<T>) {
    // A count that never comes down keeps the region, whoever else lets go of it.
    std::mem::forget(Arc::clone(region));
    std::mem::forget(std::mem::take(pool));
    std::mem::forget(std::mem::take(places));
}

/// The earlier of two instants, as far as there are any.
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::scripted::Scripted;
    use super::*;
    use crate::control::Control;
    use crate::session::Out;

    /// Always has another message to send.
    struct Tireless(u32);

    impl Party for Tireless {
        fn received(&mut self, _: &mut [u8], _: &mut Speaker<'_>) {}
        fn sent(&mut self, out: &mut Speaker<'_>) {
            out.shared(0..self.0);
        }
        fn awaits_sent(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_connection_that_could_send_for_ever_gives_the_others_their_turn() {
        for message_bytes in [1, 65_536, 1 << 20, 8 << 20] {
            let wake = Control::default().seat().unwrap();
            let region = Region::new(vec![0; message_bytes as usize]);
            let needs = crate::workload::ServeSpec::Echo.needs(1, None, None);
            let mut bench = Bench::<Scripted>::new(needs, region, &wake, &[]).unwrap();
            let (mut wire, mut tireless) = (Wire::new(0), Tireless(message_bytes));
            tireless.sent(&mut bench.speaker(&mut wire.outbox, 1));
            for _ in 0..3 {
                let (pumped, taken) = bench.pump(&mut wire, &mut tireless, 1);
                assert_eq!(pumped, Pumped::Again);
                assert!(taken >= u64::from(message_bytes));
                assert!(
                    taken < BYTES_PER_TURN + u64::from(message_bytes),
                    "{taken} bytes in a turn, of messages of {message_bytes}"
                );
            }
        }
    }

    #[test]
    fn what_the_kernel_may_still_read_is_never_freed() {
        struct Place<'a>(&'a std::cell::Cell<u32>);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let dropped = std::cell::Cell::new(0);
        let region = std::sync::Arc::new(Region::new(vec![0]));
        let mut places = vec![Place(&dropped), Place(&dropped)];
        lose(&region, &mut BlockPool::default(), &mut places);
        assert!(places.is_empty());
        drop(places);
        assert_eq!(dropped.get(), 0);
        assert_eq!(std::sync::Arc::strong_count(&region), 2);
    }
}

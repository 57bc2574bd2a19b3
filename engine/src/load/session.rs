//! The load's side of a protocol: what [`crate::session::Session`] is to the testee, with the phases,
//! the slot and the meter that only a load has.

use super::outcome::{Loss, Outcome};
use crate::meter::Meter;
use crate::region::Region;
use crate::session::{Hints, Out};
use crate::shape::Pace;
use std::sync::Arc;

/// What belongs to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connects {
    /// Connections are opened before the go, and operations are made on them.
    Ahead,
    /// Opening the connection is part of each operation.
    Each,
    /// Opening the connection is the operation: each is opened once, after the go, and held until the end.
    Once,
    /// Each connection is a client: opened once, after the go, and operating from then on until the end. One that cannot be
    /// opened, or is lost, stays away.
    Joining,
}

/// When a connection began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Began {
    /// When it was due: the intended instant of a scheduled transaction, else the start of connecting,
    /// monotonic ns.
    pub intended_ns: u64,
    /// The first step of connecting, monotonic ns.
    pub started_ns: u64,
}

/// What a session of the load may ask for, beyond [`Out`].
pub trait LoadOut: Out {
    /// The handshake is done: traffic may flow. From then on [`LoadSession::opened`] may come, at once
    /// or at the go.
    fn ready(&mut self);

    /// Whether another operation may start now, by schedule and count; takes it, and returns when it was
    /// due (monotonic ns): now in a closed loop, its intended instant in an open one.
    fn start(&mut self) -> Option<u64>;

    /// When this connection began.
    fn began(&self) -> Began;

    /// The connection has ended: as planned, or failed. Only the first call counts; the load closes it,
    /// fails what was in flight and opens the next.
    fn end(&mut self, outcome: Outcome);

    /// Where this worker records.
    fn meter(&mut self) -> &mut Meter;

    /// A message was sent at `at_ns`: `sequence` is its number on this connection, from 0. For the event record, if
    /// there is one ([`crate::record`]).
    fn record_sent(&mut self, sequence: u64, at_ns: u64);

    /// The answer to the message of this number is complete since `at_ns`.
    fn record_received(&mut self, sequence: u64, at_ns: u64);
}

/// The protocol of one connection of a load. `L` is the slot: what outlives the connection.
pub trait LoadSession<L> {
    /// The connection is established and may shake hands; ends by [`LoadOut::ready`].
    fn connected<O: LoadOut>(&mut self, slot: &mut L, out: &mut O) {
        let _ = slot;
        out.ready();
    }

    /// Traffic may flow: at the go for connections that were ready before it.
    fn opened<O: LoadOut>(&mut self, slot: &mut L, out: &mut O);

    /// Arrivals came due (open loop): send what [`LoadOut::start`] permits.
    fn due<O: LoadOut>(&mut self, slot: &mut L, out: &mut O) {
        let _ = (slot, out);
    }

    /// Bytes arrived, at any time after `connected`; the session consumes all of them.
    fn received<O: LoadOut>(&mut self, slot: &mut L, bytes: &mut [u8], out: &mut O);

    /// Everything asked for so far was handed to the kernel.
    fn sent<O: LoadOut>(&mut self, slot: &mut L, out: &mut O) {
        let _ = (slot, out);
    }

    /// As [`crate::session::Session::awaits_sent`].
    fn awaits_sent(&self) -> bool {
        true
    }

    /// The instant of [`Out::after`] has come.
    fn timer<O: LoadOut>(&mut self, slot: &mut L, out: &mut O) {
        let _ = (slot, out);
    }

    /// The window is over, and nothing more is asked for: where [`LoadWorkload::PARTS`], the session says goodbye when
    /// nothing is in flight any more, and ends as planned.
    fn part<O: LoadOut>(&mut self, slot: &mut L, out: &mut O) {
        let _ = (slot, out);
    }

    /// The peer will send nothing more.
    fn peer_finished<O: LoadOut>(&mut self, slot: &mut L, out: &mut O) {
        let _ = slot;
        out.end(Outcome::Failed(Loss::closed_by_peer()));
    }

    /// The connection was lost with this errno (a reset, for instance). It has ended in any case; the
    /// session says how.
    fn lost<O: LoadOut>(&mut self, slot: &mut L, errno: i32, out: &mut O) {
        let _ = slot;
        out.end(Outcome::Failed(Loss::of_errno(errno)));
    }

    /// When the oldest thing that this connection waits for began (ns), for time-outs and for what is
    /// owed at the end; `None` when it waits for nothing.
    fn waiting_since_ns(&self, slot: &L) -> Option<u64>;

    /// Why it is given up after the operation timeout.
    fn timed_out(&self, slot: &L) -> Loss {
        let _ = slot;
        Loss::no_answer(None)
    }

    /// The connection is lost for this reason: every operation in flight on it has failed. Returns how
    /// many that were, each counted once with the instant at which it was due.
    fn fail(&mut self, slot: &mut L, loss: &Loss, now_ns: u64, meter: &mut Meter) -> u64;

    /// The run is over: counts everything that was sent and has no answer into [`Meter::unfinished`].
    /// Returns how many that were.
    fn abandon(&mut self, slot: &mut L, now_ns: u64, meter: &mut Meter) -> u64;
}

/// The load's side of a workload. What the rest of linerate asks about a workload is a property here.
pub trait LoadWorkload: Clone + Send + 'static {
    /// What outlives one connection: operations in flight with room for all of them, positions, totals.
    type Slot: Send;
    /// One connection.
    type Session: LoadSession<Self::Slot> + Send;

    /// Whether a connection is opened for each operation.
    const CONNECTS: Connects;

    /// Whether what was sent is owed an answer when the window is over. A stream owes nothing: its bytes
    /// count as they move, and it is cut.
    const OWES: bool;

    /// Whether connections part with words ([`LoadSession::part`]), for which the drain waits.
    const PARTS: bool = false;

    /// When operations are due.
    fn pace(&self) -> Pace;
    /// Operations in flight per connection at most.
    fn depth(&self) -> u32 {
        1
    }
    /// The slot of connection `index` of the whole run, allocated once; `region` is [`LoadWorkload::region`].
    fn slot(&self, index: u32, region: &Arc<Region>) -> Self::Slot;
    /// A session for a connection just opened.
    fn session(&self) -> Self::Session;
    /// The run is over: what is to be recorded of a connection as a whole.
    fn conclude(slot: &Self::Slot, meter: &mut Meter) {
        let _ = (slot, meter);
    }
    /// What to prepare for.
    fn hints(&self) -> Hints;
    /// The memory that sessions send from, filled.
    fn region(&self) -> Region;
}

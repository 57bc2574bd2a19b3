//! One connection of the load, the whole run long.

use super::rules::Rules;
use super::session::{Began, Connects, LoadWorkload};
use crate::region::Region;
use crate::shape::Pacer;
use std::sync::Arc;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected, and nothing under way.
    Idle,
    /// In the queue of those to be connected.
    Queued,
    /// A connect is under way.
    Connecting,
    /// Established, and not ready for traffic: it shakes hands.
    Shaking,
    /// Ready, before the go.
    Waiting,
    /// Traffic may flow.
    Open,
    /// It has ended; its socket is being closed.
    Closing,
}

impl State {
    /// The socket is connected, and the connection has not ended.
    #[inline]
    pub fn is_established(self) -> bool {
        matches!(self, Self::Shaking | Self::Waiting | Self::Open)
    }
}

/// What follows when the socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: it was never connected, or the run is over.
    Nothing,
    /// The next connection, when one is due: the last one ended as planned.
    Another,
    /// The next connection after a rest: the last one failed.
    Rest,
    /// The same connect once more, at this instant (ns): it keeps its start and is not counted again.
    Retry(u64),
}

pub(super) struct Connection<W: LoadWorkload> {
    pub session: W::Session,
    pub slot: W::Slot,
    /// The schedule, in open loop, unless the worker's connections share one.
    pub pacer: Pacer,
    pub began: Began,
    /// When traffic could flow, ns.
    pub opened_ns: u64,
    pub state: State,
    pub next: Next,
    /// Times in a row that it could not be opened or was lost.
    pub failures: u32,
    /// Index in the whole run.
    pub global_index: u32,
    /// Its place among all connections in the order in which they are opened and closed.
    pub rank: u32,
    /// Spare source that its last connect used.
    pub spare_source: u32,
    /// When it is to be connected, while it is idle, ns.
    pub dial_at_ns: u64,
    /// When its session's timer is due, ns.
    pub timer_ns: u64,
    /// Its session's timer is due and has not been called.
    pub timer_due: bool,
    /// It is in the queue of those to be spoken on.
    pub queued_to_speak: bool,
    /// It stands in the worker's queue of those that have room.
    pub is_free: bool,
    /// A connect that is tried again, and was counted when it was first tried.
    pub is_retry: bool,
    /// The drain waits for it.
    pub owed: bool,
}

/// No instant.
pub(super) const NEVER: u64 = u64::MAX;

impl<W: LoadWorkload> Connection<W> {
    pub fn new(workload: &W, rules: &Rules, index: u32, region: &Arc<Region>) -> Self {
        let total = rules.share.total;
        Self {
            session: workload.session(),
            slot: workload.slot(index, region),
            pacer: match W::CONNECTS {
                Connects::Joining => Pacer::never(),
                _ => Pacer::new(workload.pace(), index, total, rules.poisson_seed),
            },
            began: Began::default(),
            opened_ns: 0,
            state: State::Idle,
            next: Next::Nothing,
            failures: 0,
            global_index: index,
            rank: rules.share.rank(index - rules.share.first),
            spare_source: 0,
            dial_at_ns: NEVER,
            timer_ns: NEVER,
            timer_due: false,
            queued_to_speak: false,
            is_free: false,
            is_retry: false,
            owed: false,
        }
    }
}

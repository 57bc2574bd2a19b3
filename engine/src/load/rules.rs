//! What a load's life is to keep to.

use crate::endpoint::{Endpoint, Target};
use crate::shape::{Queue, Ramp, Stop};

/// The part of all connections that one worker owns: `first .. first + count` of `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Index of the worker's first connection in the whole run.
    pub first: u32,
    /// How many it owns; at least 1.
    pub count: u32,
    /// How many there are in the whole run.
    pub total: u32,
}

impl Share {
    /// The place of the worker's connection `index` in the order in which all are opened: workers of equal size take
    /// turns, so that none of them has a storm of its own while the others wait.
    pub fn rank(&self, index: u32) -> u32 {
        let place = u64::from(index) * u64::from(self.total) + u64::from(self.first);
        (place / u64::from(self.count.max(1))) as u32
    }
}

/// What a life needs to know of its load: everything but what is said, and how bytes are moved.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which connections.
    pub share: Share,
    /// Whom to connect to, and from where.
    pub target: Target,
    /// When to open them.
    pub ramp: Ramp,
    /// Connects under way at the same time, at most; at least 1.
    pub connects_at_once: u32,
    /// When to close those that were held, from the order to.
    pub closing: Ramp,
    /// Where operations that are due wait for a connection.
    pub queue: Queue,
    /// Seed of the gaps of a Poisson schedule ([`crate::shape::POISSON_SEED`] where nothing else is said).
    pub poisson_seed: u64,
    /// Warm-up before the window, ns.
    pub warmup_ns: u64,
    /// When the window ends.
    pub stop: Stop,
    /// A connect that takes longer counts as failed, ns.
    pub connect_timeout_ns: u64,
    /// An operation (or, for streams, a silence) that takes longer counts as failed, ns.
    pub operation_timeout_ns: u64,
    /// How long to wait for operations in flight after the window, ns.
    pub drain_ns: u64,
}

impl Rules {
    /// Start and end of the window of a run that starts at `go_ns`. A run that counts has no end but its count.
    pub fn window_ns(&self, go_ns: u64) -> (u64, u64) {
        let start_ns = go_ns.saturating_add(self.warmup_ns);
        match self.stop {
            Stop::After(duration_ns) => (start_ns, start_ns.saturating_add(duration_ns)),
            Stop::Count(_) => (start_ns, u64::MAX),
        }
    }

    /// The count of a run that counts.
    pub fn count(&self) -> Option<u64> {
        match self.stop {
            Stop::Count(count) => Some(count),
            Stop::After(_) => None,
        }
    }

    /// How often an engine that waits without a limit of time must look at the clock, ns: a time-out is
    /// noticed at most an eighth late, and never more than 20 ms.
    pub fn look_every_ns(&self) -> u64 {
        let shortest_ns = self.operation_timeout_ns.min(self.connect_timeout_ns);
        (shortest_ns / 8).clamp(1_000_000, 20_000_000)
    }

    /// Whether a run that counts is to be given up: it has no other end, and nothing was heard of the peer since
    /// `alive_ns`. Only for a load none of whose connections lives, or on which nothing is owed.
    pub(super) fn is_out_of_patience(&self, alive_ns: u64, now_ns: u64) -> bool {
        let longest_ns = self.operation_timeout_ns.max(self.connect_timeout_ns);
        let patience_ns = longest_ns.saturating_mul(4);
        matches!(self.stop, Stop::Count(_)) && now_ns.saturating_sub(alive_ns) > patience_ns
    }

    /// Whom connection `number` of the whole run connects to.
    pub(super) fn target_name(&self, number: u32) -> String {
        let endpoint = Endpoint::of_address(self.target.address(number));
        endpoint.map_or_else(String::new, |endpoint| endpoint.to_string())
    }
}

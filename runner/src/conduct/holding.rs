//! Connections that are opened once and held: when all loads have come so far, and until when.

use crate::plan::Plan;
use std::time::{Duration, Instant};

/// What has not changed is told again after this.
const TELL_EVERY: Duration = Duration::from_millis(900);

/// What is known of the loads of a round whose connections are held.
pub(super) struct Holding {
    holds: bool,
    /// `None`: until somebody ends it.
    length: Option<Duration>,
    loads: Vec<Load>,
    /// Since when all of them hold.
    since: Option<Instant>,
    has_ended: bool,
    /// What was told last, and when.
    told: Option<(Instant, (u64, u64))>,
}

#[derive(Clone, Copy, Default)]
struct Load {
    settled: bool,
    /// Standing, and lost so far; `None` before it has said so.
    counts: Option<(u64, u64)>,
}

impl Holding {
    /// Of so many loads, none of which holds anything yet.
    pub fn new(plan: &Plan, loads: usize) -> Self {
        let length = plan.hold().and_then(|hold| hold.ns);
        Self {
            holds: plan.hold().is_some(),
            length: length.map(Duration::from_nanos),
            loads: vec![Load::default(); loads],
            since: None,
            has_ended: false,
            told: None,
        }
    }

    /// Load number `load` holds its connections. True if that makes all of them.
    pub fn settle(&mut self, load: usize, now: Instant) -> bool {
        if let Some(load) = self.loads.get_mut(load) {
            load.settled = true;
        }
        let all = self.holds && self.loads.iter().all(|load| load.settled);
        if !all || self.has_begun() {
            return false;
        }
        self.since = Some(now);
        true
    }

    /// Load number `load` says how many stand, and how many it has lost. Those of all loads, if they are to be told:
    /// where all hold, what has changed or was not told for a while.
    pub fn add(&mut self, load: usize, counts: (u64, u64), now: Instant) -> Option<(u64, u64)> {
        if let Some(load) = self.loads.get_mut(load) {
            load.counts = Some(counts);
        }
        let told = self.loads.iter().filter_map(|load| load.counts);
        let all = told.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let is_new = self
            .told
            .is_none_or(|(at, told)| told != all || now >= at + TELL_EVERY);
        (is_new && self.has_begun()).then(|| {
            self.told = Some((now, all));
            all
        })
    }

    /// All loads hold their connections.
    pub fn has_begun(&self) -> bool {
        self.since.is_some()
    }

    /// All loads hold their connections until somebody ends it.
    pub fn is_until_told(&self) -> bool {
        self.has_begun() && self.length.is_none()
    }

    /// They have been held for as long as was asked for, or there is nothing left to hold.
    pub fn is_over(&self, now: Instant) -> bool {
        let until = self.since.zip(self.length);
        let is_time = until.is_some_and(|(since, length)| now >= since + length);
        !self.has_ended && (is_time || self.is_empty())
    }

    /// All hold, and none of them has a connection left to hold.
    fn is_empty(&self) -> bool {
        let none = |load: &Load| load.counts.is_some_and(|(standing, _)| standing == 0);
        self.has_begun() && self.loads.iter().all(none)
    }

    /// All connections of a load are gone, and it is over.
    pub fn leave(&mut self, load: usize) {
        if let Some(load) = self.loads.get_mut(load) {
            let (_, lost) = load.counts.unwrap_or_default();
            load.counts = Some((0, lost));
        }
    }

    /// They are being closed.
    pub fn end(&mut self) {
        self.has_ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ConnectRequest, PlanRequest, ShapeRequest};

    fn holding(request: ConnectRequest) -> Holding {
        let request = PlanRequest {
            shape: ShapeRequest::Connect(request),
            ..PlanRequest::default()
        };
        Holding::new(&Plan::new(request).unwrap(), 2)
    }

    #[test]
    fn the_hold_begins_with_the_last_load_and_has_its_whole_length() {
        let mut holding = holding(ConnectRequest {
            hold_ns: Some(2_000_000_000),
            ..ConnectRequest::default()
        });
        let begun = Instant::now();
        let after = |s| begun + Duration::from_secs(s);
        assert!(!holding.settle(1, begun));
        assert!(!holding.is_over(after(9)), "the other still opens");
        assert!(holding.settle(0, after(5)));
        assert!(!holding.settle(0, after(6)), "once");
        assert!(!holding.is_over(after(6)) && holding.is_over(after(7)));
        assert!(!holding.is_until_told());
        holding.end();
        assert!(!holding.is_over(after(8)), "once");
        assert_eq!(holding.add(0, (5, 1), after(7)), Some((5, 1)));
        assert_eq!(holding.add(1, (7, 0), after(7)), Some((12, 1)));
        assert_eq!(holding.add(1, (7, 0), after(7)), None, "it was told");
        assert_eq!(holding.add(0, (5, 1), after(8)), Some((12, 1)));
    }

    #[test]
    fn without_a_length_it_is_held_until_somebody_ends_it() {
        let mut holding = holding(ConnectRequest {
            hold_until_told: true,
            ..ConnectRequest::default()
        });
        assert!(
            !holding.is_until_told(),
            "a wish to end is an interruption before"
        );
        holding.settle(0, Instant::now());
        holding.settle(1, Instant::now());
        assert!(holding.is_until_told());
        assert!(!holding.is_over(Instant::now() + Duration::from_secs(1_000_000)));
        // The peer has closed all of them.
        holding.add(0, (0, 9), Instant::now());
        assert!(!holding.is_over(Instant::now()), "the other has some");
        holding.leave(1);
        assert!(holding.is_over(Instant::now()));
    }

    #[test]
    fn what_is_not_held_never_settles() {
        let mut holding = Holding::new(&Plan::new(PlanRequest::default()).unwrap(), 1);
        assert!(!holding.settle(0, Instant::now()));
    }
}

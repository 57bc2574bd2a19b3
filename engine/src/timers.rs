//! [`Timers`]: at most one instant for each of many things, without a pass over all of them.
//!
//! A table of 60,000 connections of which none is due must cost nothing in a turn. So a timer is an
//! entry of a heap, and it is *lazy*: what moves an instant on (traffic, for an idle time-out) touches
//! the heap in no way. The entry fires at the instant it was made for, its owner looks whether that
//! still holds, and arms it again for what holds now.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No timer is armed.
const NEVER: u64 = u64::MAX;

/// At most one instant for each index. Pure: it is told what time it is.
#[derive(Clone, Debug, Default)]
pub struct Timers {
    /// Entries (at_ns, index), the earliest first. One is live while `due_ns` has its instant, else it
    /// is stale. The first is always live.
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// When each index is due, [`NEVER`] where nothing is armed.
    due_ns: Vec<u64>,
    /// Entries looked at since the beginning: the work that was done.
    visits: u64,
}

impl Timers {
    /// Room for the indices below `indices`: nothing is allocated later for them.
    pub fn with_capacity(indices: usize) -> Self {
        Self {
            heap: BinaryHeap::with_capacity(Self::most_entries(indices) + 1),
            due_ns: Vec::with_capacity(indices),
            visits: 0,
        }
    }

    /// Entries that `indices` indices may have, stale ones included, before the heap is built anew.
    fn most_entries(indices: usize) -> usize {
        4 * indices + 64
    }

    /// Lets `index` fire at `at_ns`, or earlier if it was to fire earlier: whoever is told an instant
    /// too early looks, and arms again.
    pub fn arm(&mut self, index: u32, at_ns: u64) {
        let place = index as usize;
        if place >= self.due_ns.len() {
            self.due_ns.resize(place + 1, NEVER);
        }
        if self.due_ns[place] <= at_ns {
            return;
        }
        self.due_ns[place] = at_ns;
        self.heap.push(Reverse((at_ns, index)));
        if self.heap.len() > Self::most_entries(self.due_ns.len()) {
            self.rebuild();
        }
    }

    /// Lets `index` not fire any more.
    pub fn disarm(&mut self, index: u32) {
        if let Some(due_ns) = self.due_ns.get_mut(index as usize) {
            *due_ns = NEVER;
            self.drop_stale();
        }
    }

    /// When the next timer is due; `None` if none is armed.
    pub fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    /// One index that is due at `now_ns`, the earliest first. It is disarmed by that.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<u32> {
        let Reverse((at_ns, index)) = *self.heap.peek()?;
        if at_ns > now_ns {
            return None;
        }
        self.visits += 1;
        self.due_ns[index as usize] = NEVER;
        self.heap.pop();
        self.drop_stale();
        Some(index)
    }

    /// Entries looked at since the beginning, for tests of what a turn costs.
    pub fn visits(&self) -> u64 {
        self.visits
    }

    fn drop_stale(&mut self) {
        while let Some(Reverse((at_ns, index))) = self.heap.peek() {
            if self.due_ns[*index as usize] == *at_ns {
                return;
            }
            self.visits += 1;
            self.heap.pop();
        }
    }

    /// Leaves one entry for each armed index. Its pass over all of them is paid for by at least three
    /// times as many entries that were pushed since the last one.
    fn rebuild(&mut self) {
        self.visits += self.due_ns.len() as u64;
        self.heap.clear();
        let armed = self.due_ns.iter().zip(0..);
        self.heap.extend(
            armed
                .filter(|(due_ns, _)| **due_ns != NEVER)
                .map(|(due_ns, index)| Reverse((*due_ns, index))),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u64),
        Disarm(u32),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u32..12, 0u64..200).prop_map(|(index, in_ns)| Step::Arm(index, in_ns)),
            1 => (0u32..14).prop_map(Step::Disarm),
            2 => (0u64..60).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: what fires, and when, is what a map of the earliest
        /// instant of each index says, and the heap stays small.
        #[test]
        fn timers_fire_as_a_map_of_instants_would(steps in proptest::collection::vec(step(), 0..600)) {
            let mut timers = Timers::default();
            let mut expected = BTreeMap::new();
            let mut now_ns = 0;
            for step in steps {
                match step {
                    Step::Arm(index, in_ns) => {
                        timers.arm(index, now_ns + in_ns);
                        let due_ns = expected.entry(index).or_insert(now_ns + in_ns);
                        *due_ns = (*due_ns).min(now_ns + in_ns);
                    }
                    Step::Disarm(index) => {
                        timers.disarm(index);
                        expected.remove(&index);
                    }
                    Step::Pass(ns) => {
                        now_ns += ns;
                        let mut last_ns = 0;
                        while let Some(due_ns) = timers.next_ns().filter(|due_ns| *due_ns <= now_ns) {
                            let index = timers.pop_due(now_ns).expect("one is due");
                            prop_assert_eq!(expected.remove(&index), Some(due_ns));
                            prop_assert!(due_ns >= last_ns, "the earliest comes first");
                            last_ns = due_ns;
                        }
                        prop_assert_eq!(timers.pop_due(now_ns), None);
                    }
                }
                prop_assert_eq!(timers.next_ns(), expected.values().min().copied());
                prop_assert!(timers.heap.len() <= Timers::most_entries(timers.due_ns.len()));
            }
        }
    }

    #[test]
    fn those_that_are_not_due_are_not_looked_at() {
        let mut timers = Timers::default();
        for index in 0..60_000 {
            timers.arm(index, 1_000_000 + u64::from(index));
        }
        let before = timers.visits();
        for turn in 0..1000 {
            assert_eq!(timers.pop_due(turn), None);
            timers.arm(7, 2_000_000);
        }
        assert_eq!(timers.visits(), before);
    }

    #[test]
    fn a_place_that_changes_its_tenants_fast_leaves_no_heap_of_stale_entries() {
        let mut timers = Timers::with_capacity(2);
        let capacity = timers.heap.capacity();
        timers.arm(1, 5);
        for turn in 0..100_000 {
            timers.arm(0, 1_000_000 + turn);
            timers.disarm(0);
        }
        assert_eq!(timers.heap.capacity(), capacity, "nothing is allocated");
        assert_eq!(timers.pop_due(5), Some(1));
        assert_eq!(timers.next_ns(), None);
        let per_turn = timers.visits() as f64 / 100_000.0;
        assert!(per_turn < 2.0, "{per_turn} visits a turn");
    }

    #[test]
    fn an_earlier_instant_replaces_a_later_one_and_fires_once() {
        let mut timers = Timers::default();
        timers.arm(3, 100);
        timers.arm(3, 50);
        timers.arm(3, 70);
        assert_eq!(timers.next_ns(), Some(50));
        assert_eq!(timers.pop_due(49), None);
        assert_eq!(timers.pop_due(1000), Some(3));
        assert_eq!(timers.pop_due(1000), None);
    }
}

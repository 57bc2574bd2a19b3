//! The series of several agents as one.
//!
//! All agents cut their windows at multiples of one length, each when it comes to it: a little late,
//! and not at all where it was held up. So what is cut together are the instants that all agents have.

use std::collections::VecDeque;

use super::interval;
use crate::document::Interval;

/// Intervals of several agents, added as they come.
#[derive(Debug)]
pub struct Together {
    length_ns: u64,
    /// Where the next part begins: parts follow one another, whoever was how late.
    begin_ns: u64,
    waiting: Vec<VecDeque<Interval>>,
    /// Those that have come to their end.
    ended: Vec<bool>,
}

impl Together {
    /// For `agents` agents that cut their windows every `length_ns`.
    pub fn new(agents: usize, length_ns: u64) -> Self {
        Self {
            length_ns: length_ns.max(1),
            begin_ns: 0,
            waiting: vec![VecDeque::new(); agents],
            ended: vec![false; agents],
        }
    }

    /// Agent number `agent` has come so far.
    pub fn add(&mut self, agent: usize, interval: Interval) {
        if let Some(waiting) = self.waiting.get_mut(agent) {
            waiting.push_back(interval);
        }
    }

    /// Agent number `agent` has come to its end: it cuts no more.
    pub fn end(&mut self, agent: usize) {
        if let Some(ended) = self.ended.get_mut(agent) {
            *ended = true;
        }
    }

    /// The next part at whose end all agents have cut, or come to their own; `None` until they have.
    pub fn next_part(&mut self) -> Option<Interval> {
        let fronts = self.waiting.iter().filter_map(VecDeque::front);
        let mut end = fronts.map(|interval| self.multiple(interval)).min()?;
        while let Some(later) = self.end_beyond(end)? {
            end = later;
        }
        let length_ns = self.length_ns;
        let is_end = |interval: &Interval| multiple(interval, length_ns) == end;
        let mut slices = Vec::new();
        for waiting in &mut self.waiting {
            // What follows with the same multiple is the short last one of an agent. Who has not cut there has ended.
            let last = waiting.iter().position(is_end);
            let within = last.map_or(waiting.len(), |last| last + 1);
            slices.extend(waiting.drain(..within));
        }
        let part = interval(&slices.iter().collect::<Vec<_>>());
        Some(self.follow(part))
    }

    /// Where an agent that did not cut at `end` cut next, the latest of them: `Some(None)` where all did, `None` where
    /// that is not known yet.
    fn end_beyond(&self, end: u64) -> Option<Option<u64>> {
        let mut latest = None;
        for (waiting, ended) in self.waiting.iter().zip(&self.ended) {
            let mut ends = waiting.iter().map(|interval| self.multiple(interval));
            match ends.find(|other| *other >= end) {
                Some(other) if other == end => {}
                Some(other) => latest = latest.max(Some(other)),
                None if *ended => {}
                None => return None,
            }
        }
        Some(latest)
    }

    /// What is left at the end of the window, if anything is.
    pub fn take_rest(&mut self) -> Option<Interval> {
        let slices: Vec<Interval> = self.waiting.iter_mut().flat_map(std::mem::take).collect();
        let part = (!slices.is_empty()).then(|| interval(&slices.iter().collect::<Vec<_>>()))?;
        Some(self.follow(part))
    }

    /// The part, from the end of the one before it.
    fn follow(&mut self, part: Interval) -> Interval {
        let end_ns = part.start_offset_ns + part.length_ns;
        let start_offset_ns = std::mem::replace(&mut self.begin_ns, end_ns);
        Interval {
            start_offset_ns,
            length_ns: end_ns.saturating_sub(start_offset_ns),
            ..part
        }
    }

    fn multiple(&self, interval: &Interval) -> u64 {
        multiple(interval, self.length_ns)
    }
}

/// The multiple of the length at which the interval was cut: an agent can be late, and never early.
fn multiple(interval: &Interval, length_ns: u64) -> u64 {
    (interval.start_offset_ns + interval.length_ns) / length_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(ends: &[u64]) -> Vec<Interval> {
        let starts = std::iter::once(&0).chain(ends);
        let slice = |(start, end): (&u64, &u64)| Interval {
            start_offset_ns: *start,
            length_ns: end - start,
            operations: end - start,
            ..Interval::default()
        };
        starts.zip(ends).map(slice).collect()
    }

    fn together(series: &[Vec<Interval>]) -> Vec<(u64, u64)> {
        let mut together = Together::new(series.len(), 100);
        for (agent, series) in series.iter().enumerate() {
            for interval in series {
                together.add(agent, *interval);
            }
        }
        let mut parts: Vec<Interval> = std::iter::from_fn(|| together.next_part()).collect();
        parts.extend(together.take_rest());
        let end = |part: &Interval| part.start_offset_ns + part.length_ns;
        parts
            .iter()
            .map(|part| (end(part), part.operations))
            .collect()
    }

    #[test]
    fn agents_that_cut_alike_are_added_place_by_place() {
        let (one, other) = (slices(&[101, 203, 300]), slices(&[100, 201, 300]));
        assert_eq!(
            together(&[one, other]),
            [(101, 201), (203, 203), (300, 196)]
        );
    }

    #[test]
    fn where_one_was_held_up_the_others_wait_for_it() {
        let (held_up, other) = (slices(&[101, 420, 500]), slices(&[100, 200, 301, 400, 500]));
        assert_eq!(
            together(&[held_up, other]),
            [(101, 201), (420, 619), (500, 180)]
        );
    }

    #[test]
    fn nothing_is_lost_where_an_agent_ends_early_or_never_began() {
        assert_eq!(
            together(&[slices(&[100, 200, 230]), slices(&[100, 130])]),
            [(100, 200), (230, 160)]
        );
        assert_eq!(together(&[slices(&[100, 200]), Vec::new()]), [(200, 200)]);
        assert_eq!(together(&[Vec::new()]), []);
        // The last one is short, and ends before the next multiple.
        assert_eq!(
            together(&[slices(&[100, 105]), slices(&[101, 105])]),
            [(101, 201), (105, 9)]
        );
    }

    #[test]
    fn an_agent_that_has_ended_holds_up_nobody() {
        let mut together = Together::new(2, 100);
        for interval in slices(&[100, 160]) {
            together.add(0, interval);
        }
        for interval in slices(&[101, 200, 300, 380]) {
            together.add(1, interval);
        }
        let mut next = || {
            together
                .next_part()
                .map(|part| (part.start_offset_ns, part.operations))
        };
        assert_eq!(next(), Some((0, 201)));
        assert_eq!(next(), None, "the first may still cut at 200");
        together.end(0);
        let mut next = || {
            together
                .next_part()
                .map(|part| (part.start_offset_ns, part.operations))
        };
        assert_eq!(next(), Some((101, 159)));
        assert_eq!(next(), Some((200, 100)));
        together.end(1);
        assert_eq!(together.take_rest().map(|part| part.operations), Some(80));
    }

    #[test]
    fn parts_come_as_soon_as_all_agents_have_them() {
        let mut together = Together::new(2, 100);
        let series = slices(&[100, 200]);
        together.add(0, series[0]);
        together.add(0, series[1]);
        assert_eq!(together.next_part(), None);
        together.add(1, series[0]);
        assert_eq!(together.next_part().map(|part| part.operations), Some(200));
        assert_eq!(together.next_part(), None);
    }
}

//! The load's shape in time, pure: when connections are opened ([`Ramp`]), when operations are due
//! ([`Pace`], [`Pacer`]) and when it ends ([`Stop`]). The same on every engine.
//!
//! Arrival `k` of a constant rate belongs to connection `k mod n`, so connections are staggered.
//! Poisson arrivals are independent per connection (their superposition is Poisson again).

use crate::meter::Meter;

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stop {
    /// After this much time (ns) inside the window.
    After(u64),
    /// After this many operations of *this worker* inside the window.
    Count(u64),
}

/// When the connections of a load are opened, counted from the first.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Ramp {
    /// All at once, as fast as the limit on connects under way permits.
    #[default]
    AtOnce,
    /// Equally spaced, this many per second in total over all connections; above 0.
    PerSecond(f64),
    /// So many together, then a pause, and again.
    Batches {
        /// Connections of one batch, at least 1.
        connections: u32,
        /// From the beginning of one batch to the next, ns.
        pause_ns: u64,
    },
}

impl Ramp {
    /// When the connection with place `index` in the order of all is to be opened, ns after the first.
    pub fn offset_ns(self, index: u32) -> u64 {
        match self {
            Self::AtOnce => 0,
            // A cast of f64 to u64 saturates.
            Self::PerSecond(rate) => (f64::from(index) * 1e9 / rate) as u64,
            Self::Batches {
                connections,
                pause_ns,
            } => u64::from(index / connections.max(1)).saturating_mul(pause_ns),
        }
    }
}

/// When operations are sent.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Pace {
    /// The next when the last was answered.
    #[default]
    Closed,
    /// Open loop, equally spaced, this many per second in total over all connections.
    Constant(f64),
    /// Open loop, exponential gaps, this many per second on average in total.
    Poisson(f64),
    /// Open loop: each connection at this distance (ns, at least 1), the first as soon as it is opened.
    Each(u64),
}

impl Pace {
    /// Whether there is a schedule.
    pub fn is_open(self) -> bool {
        self != Self::Closed
    }
}

/// Where an operation of an open loop that is due waits until a connection is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Queue {
    /// With the connection that it was dealt to, also while others are free.
    #[default]
    Own,
    /// With its worker: whichever connection of the worker is free takes it.
    Shared,
}

/// Seed of the Poisson gaps where nothing else is said. Whoever repeats a measurement gives every
/// round a seed of its own, or all of them would see the same arrivals.
pub const POISSON_SEED: u64 = 0x6c69_6e65_7261_7465; // "linerate"

/// The due instants of one connection, one after the other.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    Never,
    /// Instant of arrival `count` = offset + count * gap, computed afresh so that nothing drifts.
    Constant {
        offset_ns: f64,
        gap_ns: f64,
        count: u64,
    },
    /// The gaps drawn so far are summed.
    Poisson {
        at_ns: f64,
        mean_gap_ns: f64,
        state: u64,
    },
}

impl Cursor {
    /// Of connections `first .. first + count` of `total`: every `total / count`-th arrival.
    fn new(pace: Pace, first: u32, count: u32, total: u32, seed: u64) -> Self {
        match pace {
            Pace::Closed => Self::Never,
            Pace::Constant(per_second) => {
                let own_per_second = f64::from(count) * per_second;
                Self::Constant {
                    offset_ns: f64::from(first) * 1e9 / own_per_second,
                    gap_ns: f64::from(total) * 1e9 / own_per_second,
                    count: 0,
                }
            }
            Pace::Each(gap_ns) => Self::Constant {
                offset_ns: 0.0,
                gap_ns: gap_ns as f64,
                count: 0,
            },
            Pace::Poisson(per_second) => {
                let mean_gap_ns = f64::from(total) * 1e9 / (f64::from(count) * per_second);
                let mut state = seed ^ (u64::from(first) << 20).wrapping_mul(0x2545_f491_4f6c_dd1d);
                let at_ns = exponential(&mut state) * mean_gap_ns;
                Self::Poisson {
                    at_ns,
                    mean_gap_ns,
                    state,
                }
            }
        }
    }

    /// Offset of the current arrival from the start, ns. Saturates: an instant that no u64 holds is
    /// one that never comes.
    #[inline]
    fn offset_ns(&self) -> Option<u64> {
        match *self {
            Self::Never => None,
            Self::Constant {
                offset_ns,
                gap_ns,
                count,
            } => Some((offset_ns + gap_ns * count as f64) as u64),
            Self::Poisson { at_ns, .. } => Some(at_ns as u64),
        }
    }

    #[inline]
    fn advance(&mut self) {
        match self {
            Self::Never => {}
            Self::Constant { count, .. } => *count += 1,
            Self::Poisson {
                at_ns,
                mean_gap_ns,
                state,
            } => *at_ns += exponential(state) * *mean_gap_ns,
        }
    }

    /// Moves on to the first arrival at or after `offset_ns` and returns how many were passed.
    /// Poisson arrivals beyond `exact_max` are not drawn: their number follows from the rate.
    fn skip_to(&mut self, until_ns: u64, exact_max: u64) -> u64 {
        match self {
            Self::Never => 0,
            Self::Constant {
                offset_ns,
                gap_ns,
                count,
            } => {
                let before = *count;
                let ahead = ((until_ns as f64 - *offset_ns) / *gap_ns).ceil().max(0.0) as u64;
                *count = before.max(ahead);
                *count - before
            }
            Self::Poisson { .. } => {
                let left = self.drawn_before(until_ns);
                if left > exact_max as f64 {
                    // What is beyond counting is as many as the rate says. The generator stays where it is: a second
                    // cursor over the same arrivals goes another way from here.
                    if let Self::Poisson { at_ns, .. } = self {
                        *at_ns = until_ns as f64;
                    }
                    return left as u64;
                }
                let mut passed = 0;
                while self.offset_ns().is_some_and(|at| at < until_ns) {
                    self.advance();
                    passed += 1;
                }
                passed
            }
        }
    }

    /// How many gaps are to be drawn up to this offset, on average; 0 where nothing is drawn.
    fn drawn_before(&self, until_ns: u64) -> f64 {
        match *self {
            Self::Poisson {
                at_ns, mean_gap_ns, ..
            } => ((until_ns as f64 - at_ns) / mean_gap_ns).max(0.0),
            Self::Never | Self::Constant { .. } => 0.0,
        }
    }
}

/// Above so many Poisson arrivals that a worker never sent their number is computed from the rate
/// instead of being drawn one by one, which would take seconds.
pub const EXACT_ARRIVALS: u64 = 1 << 22;

/// An exponential variate of mean 1: -ln(U), U uniform in (0, 1] from splitmix64 (Steele et al. 2014).
fn exponential(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let uniform = ((z >> 11) + 1) as f64 / (1u64 << 53) as f64;
    -uniform.ln()
}

/// Arrivals that one call of [`Pacer::arrive`] takes in at most: a schedule that is faster than the
/// loop must not keep the loop from receiving.
const ARRIVALS_PER_CALL: u32 = 64;

/// The schedule of one connection, or of a worker's. There is no queue of what is due: a second cursor over the same
/// arrivals yields the intended instants of what has not been sent yet.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    start_ns: u64,
    arrivals: Cursor,
    sends: Cursor,
    backlog: u64,
}

impl Pacer {
    /// The schedule of connection `index` of `total`; `seed` is that of the Poisson gaps.
    pub fn new(pace: Pace, index: u32, total: u32, seed: u64) -> Self {
        Self::of_worker(pace, index, 1, total, seed)
    }

    /// A schedule of which nothing is ever due.
    pub fn never() -> Self {
        Self::of_worker(Pace::Closed, 0, 1, 1, 0)
    }

    /// The one schedule of connections `first .. first + count` of `total`, which are a worker's. Workers of
    /// equal size take arrivals in turn.
    pub fn of_worker(pace: Pace, first: u32, count: u32, total: u32, seed: u64) -> Self {
        let cursor = Cursor::new(pace, first, count, total, seed);
        Self {
            start_ns: 0,
            arrivals: cursor,
            sends: cursor,
            backlog: 0,
        }
    }

    /// Whether there is a schedule at all (open loop).
    #[inline]
    pub fn is_open(&self) -> bool {
        !matches!(self.arrivals, Cursor::Never)
    }

    /// Fixes the starting instant.
    pub fn start(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
    }

    /// When the next arrival is due; `None` in closed loop.
    #[inline]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.arrivals
            .offset_ns()
            .map(|offset| self.start_ns.saturating_add(offset))
    }

    /// Moves what is due by `now_ns` into the backlog and records how late it was noticed; a bounded
    /// number at a time, so [`Pacer::next_due_ns`] may still lie in the past.
    pub fn arrive(&mut self, now_ns: u64, meter: &mut Meter) {
        for _ in 0..ARRIVALS_PER_CALL {
            let Some(due_ns) = self.next_due_ns().filter(|&due| due <= now_ns) else {
                return;
            };
            meter.schedule_lag(due_ns, now_ns);
            self.arrivals.advance();
            self.backlog += 1;
        }
    }

    /// How many are due and not sent.
    #[inline]
    pub fn backlog(&self) -> u64 {
        self.backlog
    }

    /// The intended instant of the oldest of the backlog.
    #[inline]
    pub fn oldest_ns(&self) -> Option<u64> {
        if self.backlog == 0 {
            return None;
        }
        self.sends
            .offset_ns()
            .map(|offset| self.start_ns.saturating_add(offset))
    }

    /// Takes the oldest of the backlog and returns its intended instant.
    #[inline]
    pub fn take(&mut self) -> Option<u64> {
        let intended_ns = self.oldest_ns()?;
        self.backlog -= 1;
        self.sends.advance();
        Some(intended_ns)
    }

    /// What came due before `at_ns` and was not sent will not be. Where more than `exact_max` Poisson arrivals would have
    /// to be drawn for that, neither will what came due since and was noticed already.
    pub fn forget_before(&mut self, at_ns: u64, exact_max: u64) {
        let offset_ns = at_ns.saturating_sub(self.start_ns);
        if self.sends.drawn_before(offset_ns) > exact_max as f64 {
            self.arrivals.skip_to(offset_ns, exact_max);
            (self.sends, self.backlog) = (self.arrivals, 0);
            return;
        }
        let came = self.arrivals.skip_to(offset_ns, exact_max);
        let forgotten = self.sends.skip_to(offset_ns, exact_max);
        self.backlog = (self.backlog + came).saturating_sub(forgotten);
    }

    /// What came due in `[from_ns, until_ns)` and was never sent: how many, and the intended instant
    /// of the oldest. Nothing is due any more afterwards. Takes bounded time, whatever the rate: beyond `exact_max`
    /// Poisson arrivals their number follows from the rate ([`EXACT_ARRIVALS`] for all schedules of a worker).
    pub fn give_up(&mut self, from_ns: u64, until_ns: u64, exact_max: u64) -> Option<(u64, u64)> {
        let mut unsent = self.sends;
        self.arrivals = Cursor::Never;
        self.backlog = 0;
        unsent.skip_to(from_ns.saturating_sub(self.start_ns), exact_max);
        let oldest_ns = self.start_ns.saturating_add(unsent.offset_ns()?);
        let count = unsent.skip_to(until_ns.saturating_sub(self.start_ns), exact_max);
        (count > 0).then_some((count, oldest_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_before_is_forgotten_and_nothing_else() {
        for pace in [Pace::Constant(1_000.0), Pace::Poisson(1_000.0)] {
            let mut pacer = pacer(pace, 0, 1);
            let mut meter = Meter::new(true, None, std::sync::Arc::default());
            // 100 ms of backlog were noticed; what follows was not.
            for _ in 0..4 {
                pacer.arrive(100_000_000, &mut meter);
            }
            let mut all = pacer;
            all.arrive(200_000_000, &mut meter);
            all.arrive(200_000_000, &mut meter);
            pacer.forget_before(50_000_000, EXACT_ARRIVALS);
            let left: Vec<u64> = std::iter::from_fn(|| pacer.take()).collect();
            let of_all: Vec<u64> = std::iter::from_fn(|| all.take()).collect();
            let expected = of_all
                .into_iter()
                .filter(|at| (50_000_000..=100_000_000).contains(at));
            assert_eq!(left, expected.collect::<Vec<u64>>());
            pacer.forget_before(150_000_000, EXACT_ARRIVALS);
            assert_eq!(pacer.backlog(), 0);
            assert!(pacer.next_due_ns().unwrap() >= 150_000_000);
        }
    }

    #[test]
    fn what_is_too_much_to_be_drawn_leaves_one_schedule_and_not_two() {
        let mut meter = Meter::new(true, None, std::sync::Arc::default());
        let mut pacer = pacer(Pace::Poisson(1_000.0), 0, 1);
        for _ in 0..20 {
            pacer.arrive(1_000_000_000, &mut meter);
        }
        pacer.forget_before(1_000_000_000, 10);
        assert!(
            pacer.backlog() < 64 + 20,
            "what came since: {}",
            pacer.backlog()
        );
        while pacer.take().is_some() {}
        for _ in 0..1_000 {
            let due_ns = pacer.next_due_ns().unwrap();
            pacer.arrive(due_ns, &mut meter);
            assert_eq!(pacer.take(), Some(due_ns));
        }
    }

    #[test]
    fn the_queues_of_workers_take_arrivals_in_turn() {
        let due = |first, count| {
            let mut pacer = Pacer::of_worker(Pace::Constant(1_000.0), first, count, 6, 0);
            let mut meter = Meter::new(true, None, std::sync::Arc::default());
            for _ in 0..3 {
                pacer.arrive(10_000_000, &mut meter);
            }
            std::iter::from_fn(|| pacer.take()).collect::<Vec<u64>>()
        };
        let mut all: Vec<u64> = [due(0, 2), due(2, 2), due(4, 2)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..=10).map(|k| k * 1_000_000).collect::<Vec<u64>>());
        assert_eq!(due(0, 6), all, "one worker takes all");
    }

    fn pacer(pace: Pace, index: u32, total: u32) -> Pacer {
        Pacer::new(pace, index, total, POISSON_SEED)
    }

    fn arrivals(pace: Pace, index: u32, total: u32, until_ns: u64) -> Vec<u64> {
        let mut pacer = pacer(pace, index, total);
        let mut meter = Meter::for_tests();
        pacer.start(1_000);
        while pacer
            .next_due_ns()
            .is_some_and(|due| due <= 1_000 + until_ns)
        {
            pacer.arrive(1_000 + until_ns, &mut meter);
        }
        std::iter::from_fn(|| pacer.take())
            .map(|ns| ns - 1_000)
            .collect()
    }

    #[test]
    fn constant_arrivals_are_staggered_over_connections() {
        let rate = Pace::Constant(1_000.0);
        assert_eq!(arrivals(rate, 0, 4, 9_000_000), [0, 4_000_000, 8_000_000]);
        assert_eq!(arrivals(rate, 3, 4, 9_000_000), [3_000_000, 7_000_000]);
    }

    #[test]
    fn constant_arrivals_do_not_drift() {
        let all = arrivals(Pace::Constant(3.0), 0, 1, 3_600_000_000_000);
        assert_eq!(all.len(), 10_801);
        assert_eq!(*all.last().unwrap(), 3_600_000_000_000);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let all = arrivals(Pace::Poisson(10_000.0), 1, 2, 20_000_000_000);
        let gaps: Vec<f64> = all
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 200_000.0 - 1.0).abs() < 0.02, "mean gap {mean}");
        assert!(
            (variance.sqrt() / mean - 1.0).abs() < 0.03,
            "an exponential's deviation is its mean"
        );
        assert_ne!(
            arrivals(Pace::Poisson(10.0), 0, 2, 9_000_000_000),
            arrivals(Pace::Poisson(10.0), 1, 2, 9_000_000_000)
        );
    }

    #[test]
    fn another_seed_gives_other_arrivals_and_the_same_seed_the_same() {
        let first = |seed| Pacer::new(Pace::Poisson(10.0), 0, 1, seed).next_due_ns();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn closed_loop_is_never_due() {
        assert_eq!(pacer(Pace::Closed, 0, 1).next_due_ns(), None);
    }

    #[test]
    fn one_call_takes_in_a_bounded_number() {
        let mut pacer = pacer(Pace::Constant(1e9), 0, 1);
        pacer.arrive(1_000_000_000, &mut Meter::for_tests());
        assert_eq!(pacer.backlog(), u64::from(ARRIVALS_PER_CALL));
        assert!(pacer.next_due_ns().unwrap() < 1_000);
    }

    #[test]
    fn what_is_never_due_lies_beyond_all_time() {
        let mut pacer = pacer(Pace::Constant(1e-11), 1, 2);
        pacer.start(5);
        assert_eq!(pacer.next_due_ns(), Some(u64::MAX));
        pacer.arrive(u64::MAX - 1, &mut Meter::for_tests());
        assert_eq!(pacer.backlog(), 0);
    }

    #[test]
    fn what_was_never_sent_is_counted_without_going_through_it() {
        let mut fast = pacer(Pace::Constant(1e9), 0, 1);
        fast.start(1_000);
        assert_eq!(
            fast.give_up(1_000, 1_000_001_000, EXACT_ARRIVALS),
            Some((1_000_000_000, 1_000))
        );
        assert_eq!(fast.next_due_ns(), None);
        let mut slow = pacer(Pace::Constant(1_000.0), 0, 1);
        slow.start(0);
        slow.arrive(2_500_000, &mut Meter::for_tests());
        assert_eq!(slow.take(), Some(0));
        assert_eq!(
            slow.give_up(0, 5_000_000, EXACT_ARRIVALS),
            Some((4, 1_000_000))
        );
        let mut later = pacer(Pace::Constant(1_000.0), 0, 1);
        assert_eq!(
            later.give_up(2_000_000, 4_000_000, EXACT_ARRIVALS),
            Some((2, 2_000_000))
        );
        assert_eq!(
            pacer(Pace::Closed, 0, 1).give_up(0, u64::MAX, EXACT_ARRIVALS),
            None
        );
        let mut random = pacer(Pace::Poisson(1e9), 0, 1);
        let (count, _) = random.give_up(0, 1_000_000_000, EXACT_ARRIVALS).unwrap();
        assert!((count as f64 / 1e9 - 1.0).abs() < 0.01, "{count}");
        // Beyond what may be drawn it is exactly what the rate says, and drawn it is not.
        let of_a_second = |exact_max| {
            let mut random = pacer(Pace::Poisson(1e5), 0, 1);
            random.give_up(0, 1_000_000_000, exact_max).unwrap().0
        };
        assert!((99_990..=100_000).contains(&of_a_second(1_000)));
        assert_ne!(of_a_second(1_000), of_a_second(EXACT_ARRIVALS));
    }

    #[test]
    fn a_ramp_says_when_each_connection_opens() {
        let offsets = |ramp: Ramp| [0, 1, 2, 3].map(|index| ramp.offset_ns(index));
        assert_eq!(offsets(Ramp::AtOnce), [0; 4]);
        assert_eq!(
            offsets(Ramp::PerSecond(1_000.0)),
            [0, 1_000_000, 2_000_000, 3_000_000]
        );
        let batches = Ramp::Batches {
            connections: 2,
            pause_ns: 600,
        };
        assert_eq!(offsets(batches), [0, 0, 600, 600]);
    }
}

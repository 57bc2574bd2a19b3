//! The load's shape in time, pure: when operations are due. The same on every engine.
//!
//! Arrival `k` of a constant rate belongs to connection `k mod n`, so connections are staggered.
//! Poisson arrivals are independent per connection (their superposition is Poisson again).

use crate::meter::Meter;

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
}

impl Pace {
    /// Whether there is a schedule.
    pub fn is_open(self) -> bool {
        self != Self::Closed
    }
}

/// Seed of the Poisson gaps; fixed, so that every engine and every round gets the same arrivals.
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
    /// Offset of the current arrival from the start, ns.
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
}

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

/// The schedule of one connection. There is no queue of what is due: a second cursor over the same
/// arrivals yields the intended instants of what has not been sent yet.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    start_ns: u64,
    arrivals: Cursor,
    sends: Cursor,
    backlog: u64,
}

impl Pacer {
    /// The schedule of connection `index` of `total`.
    pub fn new(pace: Pace, index: u32, total: u32) -> Self {
        let cursor = match pace {
            Pace::Closed => Cursor::Never,
            Pace::Constant(per_second) => Cursor::Constant {
                offset_ns: f64::from(index) * 1e9 / per_second,
                gap_ns: f64::from(total) * 1e9 / per_second,
                count: 0,
            },
            Pace::Poisson(per_second) => {
                let mean_gap_ns = f64::from(total) * 1e9 / per_second;
                let mut state =
                    POISSON_SEED ^ (u64::from(index) << 20).wrapping_mul(0x2545_f491_4f6c_dd1d);
                let at_ns = exponential(&mut state) * mean_gap_ns;
                Cursor::Poisson {
                    at_ns,
                    mean_gap_ns,
                    state,
                }
            }
        };
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
            .map(|offset| self.start_ns + offset)
    }

    /// Moves everything due by `now_ns` into the backlog and records how late it was noticed.
    pub fn arrive(&mut self, now_ns: u64, meter: &mut Meter) {
        while let Some(due_ns) = self.next_due_ns().filter(|&due| due <= now_ns) {
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

    /// Takes the oldest of the backlog and returns its intended instant.
    #[inline]
    pub fn take(&mut self) -> Option<u64> {
        if self.backlog == 0 {
            return None;
        }
        self.backlog -= 1;
        let intended_ns = self.sends.offset_ns().map(|offset| self.start_ns + offset);
        self.sends.advance();
        intended_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(pace: Pace, index: u32, total: u32, until_ns: u64) -> Vec<u64> {
        let mut pacer = Pacer::new(pace, index, total);
        let mut meter = Meter::for_tests();
        pacer.start(1_000);
        pacer.arrive(1_000 + until_ns, &mut meter);
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
    fn closed_loop_is_never_due() {
        assert_eq!(Pacer::new(Pace::Closed, 0, 1).next_due_ns(), None);
    }
}

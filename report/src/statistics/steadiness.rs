//! Whether a series of rates within one run has settled.
//!
//! Slices of one run are not independent, and never a sample: what is computed here only says
//! whether the run may stand for one number.

use std::borrow::Cow;

use super::{mean, median, sorted};

/// Values that are judged at most: memory and time grow with the square of their number (half a million
/// slopes, 4 MB).
const MOST_VALUES: usize = 1_000;
/// Slices that make one batch.
const BATCH: usize = 5;
/// Batches that truncation must leave: fewer look steady by chance.
const LEAST_BATCHES: usize = 5;
/// Series shorter than this are not judged.
const LEAST_SLICES: usize = 10;
/// Normal quantile for a two-sided confidence of 99 %.
const Z_99: f64 = 2.575_829_303_548_900_4;

/// How a series of rates moves. All are shares of its level: 0.02 is 2 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Share of the series that the start-up transient takes.
    pub transient: f64,
    /// By how much the mean of the whole series is off because of the transient.
    pub transient_effect: f64,
    /// Change from the start to the end of what is left, after the Theil-Sen slope.
    pub slope: f64,
    /// True if the 99 % confidence interval of the slope does not contain zero.
    pub slope_is_clear: bool,
    /// Median of the second half of what is left over that of the first, minus one.
    pub halves: f64,
}

impl Drift {
    /// Whether it is more than `limit`: the slope and the halves both say so, to the same side and
    /// beyond what scattering slices show by chance, or the transient falsifies the mean.
    pub fn exceeds(&self, limit: f64) -> bool {
        let same_side = self.slope * self.halves > 0.0;
        let drifts = same_side && self.slope.abs().min(self.halves.abs()) > limit;
        (drifts && self.slope_is_clear) || self.transient_effect.abs() > limit
    }

    /// How far off the run may be from what it would have become: the largest of slope, halves and what the
    /// transient does to the mean.
    pub fn extent(&self) -> f64 {
        let parts = [self.slope, self.halves, self.transient_effect];
        parts.into_iter().map(f64::abs).fold(0.0, f64::max)
    }
}

/// How `rates`, one per slice of equal length, move; `None` for fewer than 10 slices or a level of
/// zero.
///
/// Truncation by [`mser5_truncation`], then the slope and the medians of both halves of what is
/// left. That runs need not become steady at all, and that one must look: Barrett, Bolz-Tereick,
/// Killick, Mount, Tratt, "Virtual Machine Warmup Blows Hot and Cold", OOPSLA 2017.
///
/// Of more than 1,000 slices the means of equal groups are judged, between 500 and 1,000 of them
/// ([`group_means`]): a drift of a long run is as visible in them, their neighbours are less alike, and
/// neither memory nor time grows with the length of the run.
pub fn steadiness(rates: &[f64]) -> Option<Drift> {
    if rates.len() < LEAST_SLICES {
        return None;
    }
    let rates = &*group_means(rates, MOST_VALUES);
    let cut = mser5_truncation(rates);
    let kept = &rates[cut..];
    let level = median(kept).filter(|level| *level != 0.0)?;
    let steps = (kept.len() - 1) as f64;
    let (first, second) = kept.split_at(kept.len() / 2);
    let slopes = sorted(pairwise_slopes(kept));
    let (low, high) = slope_interval(&slopes, kept.len())?;
    Some(Drift {
        transient: cut as f64 / rates.len() as f64,
        transient_effect: mean(rates)? / mean(kept)? - 1.0,
        slope: median(&slopes)? * steps / level,
        slope_is_clear: low > 0.0 || high < 0.0,
        halves: median(second)? / median(first)? - 1.0,
    })
}

/// The means of equal groups of neighbours, at most `most` of them, in order; the values themselves where
/// there are no more. A last group that is not whole is left out.
pub fn group_means(values: &[f64], most: usize) -> Cow<'_, [f64]> {
    match group_length(values.len(), most) {
        1 => Cow::Borrowed(values),
        length => Cow::Owned(values.chunks_exact(length).filter_map(mean).collect()),
    }
}

/// How many neighbours make one of at most `most` groups.
pub fn group_length(values: usize, most: usize) -> usize {
    values.div_ceil(most.max(1)).max(1)
}

/// How many values at the start belong to the transient, by MSER-5: means of batches of 5, cut where
/// the standard error of the mean of the rest is smallest. At most half are cut, and at least 5
/// batches are left; of equal places the first.
///
/// White, "An Effective Truncation Heuristic for Bias Reduction in Simulation Output", Simulation 69
/// (1997); White, Cobb, Spratt, "A Comparison of Five Steady-State Truncation Heuristics for
/// Simulation", Winter Simulation Conference 2000.
pub fn mser5_truncation(values: &[f64]) -> usize {
    let batches: Vec<f64> = values.chunks_exact(BATCH).filter_map(mean).collect();
    let most = (batches.len() / 2).min(batches.len().saturating_sub(LEAST_BATCHES));
    let statistic = |cut: usize| -> f64 {
        let rest = &batches[cut..];
        let centre = mean(rest).unwrap_or(0.0);
        let squares: f64 = rest.iter().map(|batch| (batch - centre).powi(2)).sum();
        squares / (rest.len() as f64).powi(2)
    };
    let best = (0..=most).min_by(|a, b| statistic(*a).total_cmp(&statistic(*b)));
    best.unwrap_or(0) * BATCH
}

/// The Theil-Sen slope per step of values at equal distances: the median of the slopes between all
/// pairs. `None` for fewer than two values.
///
/// Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", Journal of the American
/// Statistical Association 63 (1968). Up to 29 % of wild values do not carry it away.
pub fn theil_sen_slope(values: &[f64]) -> Option<f64> {
    median(&pairwise_slopes(values))
}

/// The 99 % confidence interval of [`theil_sen_slope`], by Sen's normal approximation to the
/// distribution of Kendall's statistic; `None` for fewer than two values.
///
/// Sen (1968), equation 2.6; computed like `scipy.stats.theilslopes`. It assumes independent errors,
/// which neighbouring slices hardly are: it errs to the side of finding a slope.
pub fn theil_sen_slope_interval(values: &[f64]) -> Option<(f64, f64)> {
    slope_interval(&sorted(pairwise_slopes(values)), values.len())
}

/// The same from the sorted slopes between all pairs of so many `values`.
fn slope_interval(slopes: &[f64], values: usize) -> Option<(f64, f64)> {
    if slopes.is_empty() {
        return None;
    }
    let n = values as f64;
    let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    let below = ((pairs - Z_99 * deviation) / 2.0).round_ties_even() - 1.0;
    let above = ((pairs + Z_99 * deviation) / 2.0).round_ties_even();
    let lowest = below.max(0.0) as usize;
    let highest = (above as usize).min(slopes.len() - 1);
    Some((slopes[lowest], slopes[highest]))
}

fn pairwise_slopes(values: &[f64]) -> Vec<f64> {
    let mut slopes = Vec::new();
    for (place, value) in values.iter().enumerate() {
        for (distance, earlier) in (1..).zip(values[..place].iter().rev()) {
            slopes.push((value - earlier) / f64::from(distance));
        }
    }
    slopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::SplitMix64;

    fn noisy(length: usize, level: impl Fn(f64) -> f64, noise: f64, seed: u64) -> Vec<f64> {
        let mut random = SplitMix64::new(seed);
        (0..length)
            .map(|step| {
                let share = step as f64 / (length - 1) as f64;
                level(share) * (1.0 + noise * (random.next_unit() - 0.5))
            })
            .collect()
    }

    #[test]
    fn a_transient_is_cut_and_the_rest_is_steady() {
        let start_up = |share: f64| if share < 0.2 { 500.0 } else { 1000.0 };
        let rates = noisy(50, start_up, 0.02, 1);
        // Behind the transient all places are about equally good.
        let cut = mser5_truncation(&rates);
        assert!((10..=25).contains(&cut), "{cut}");
        let drift = steadiness(&rates).unwrap();
        assert_eq!(drift.transient, cut as f64 / 50.0);
        assert!((drift.transient_effect + 0.1).abs() < 0.01);
        assert!(drift.slope.abs() < 0.01 && drift.halves.abs() < 0.01);
        assert!(drift.exceeds(0.02), "the mean of the run is off by 10 %");
        assert!(
            !Drift {
                transient_effect: 0.0,
                ..drift
            }
            .exceeds(0.02)
        );
    }

    #[test]
    fn a_steady_fall_is_found_and_has_its_size() {
        let drift = steadiness(&noisy(50, |share| 1000.0 * (1.0 - 0.1 * share), 0.02, 2)).unwrap();
        // MSER may take the higher start of a fall for a transient, and then less of it is left.
        assert!(drift.slope < -0.04 && drift.slope > -0.12, "{drift:?}");
        assert!(drift.exceeds(0.02));
        assert!(!drift.exceeds(0.2));
    }

    #[test]
    fn noise_alone_is_steady() {
        let unsteady = (0..200)
            .filter(|seed| {
                let rates = noisy(40, |_| 1000.0, 0.2, *seed);
                steadiness(&rates).unwrap().exceeds(0.02)
            })
            .count();
        // Slices that scatter by 6 %: many slopes exceed 2 %, few of them clearly.
        assert!(unsteady <= 12, "{unsteady} of 200");
    }

    /// As many slices as a day has tenths of a second: their pairs would take 3 TB.
    #[test]
    fn a_day_of_slices_is_judged_in_bounded_memory() {
        let day = 864_000;
        let falling =
            steadiness(&noisy(day, |share| 1000.0 * (1.0 - 0.1 * share), 0.5, 3)).unwrap();
        // MSER may take half of a fall for a transient.
        assert!((0.045..0.11).contains(&falling.extent()), "{falling:?}");
        assert!(falling.exceeds(0.02));
        let steady = steadiness(&noisy(day, |_| 1000.0, 0.5, 4)).unwrap();
        assert!(!steady.exceeds(0.005), "{steady:?}");
    }

    #[test]
    fn groups_are_equal_and_no_more_than_asked_for() {
        assert_eq!(&*group_means(&[1.0, 2.0, 3.0], 3), [1.0, 2.0, 3.0]);
        assert_eq!(&*group_means(&[1.0, 3.0, 5.0, 7.0, 9.0], 3), [2.0, 6.0]);
        assert_eq!(group_means(&[1.0; 1001], 1000).len(), 500);
        assert_eq!(&*group_means(&[], 3), [0.0; 0]);
    }

    #[test]
    fn what_is_too_short_or_zero_is_not_judged() {
        assert_eq!(steadiness(&[1.0; 9]), None);
        assert_eq!(steadiness(&[0.0; 20]), None);
        assert_eq!(theil_sen_slope(&[1.0]), None);
        assert_eq!(theil_sen_slope_interval(&[1.0]), None);
        assert_eq!(theil_sen_slope(&[1.0, 4.0]), Some(3.0));
        assert_eq!(mser5_truncation(&[]), 0);
        assert!(!steadiness(&[7.0; 10]).unwrap().exceeds(0.0));
    }
}

//! Statistics over rounds: pure functions on slices, each with its source.
//!
//! Functions return `None` where the statistic is not defined, never NaN.
//!
//! - [`hodges_lehmann`], [`signed_rank_interval`]: what a paired difference is, and how exactly it
//!   is known. [`sign_flip_p_value`]: whether it could be chance.
//! - [`shift_estimate`], [`shift_interval`], [`rank_sum_p_value`]: the same for unpaired samples.
//! - [`holm`], [`benjamini_hochberg`], [`rounds_needed`]: many comparisons at once.
//! - [`steadiness`]: whether a series of rates has settled.

mod mean;
mod multiplicity;
mod random;
mod rank_sum;
mod sign_flip;
mod signed_rank;
mod steadiness;

use mean::normal_quantile;
pub use mean::{
    confidence_half_width, mean, median, sample_standard_deviation, student_t_quantile,
    student_t_upper_tail,
};
pub use multiplicity::{benjamini_hochberg, holm, rounds_needed, rounds_needed_unpaired};
pub use random::SplitMix64;
pub use rank_sum::{detectable_shift, rank_sum_p_value, shift_estimate, shift_interval};
pub use sign_flip::{SAMPLED_FLIPS, detectable_difference, sign_flip_p_value};
pub use signed_rank::{hodges_lehmann, signed_rank_interval};
pub use steadiness::{
    Drift, group_length, group_means, mser5_truncation, steadiness, theil_sen_slope,
    theil_sen_slope_interval,
};

/// How often a difference that is called detectable would be found.
const POWER: f64 = 0.8;
/// How often its estimate would be beyond what is called no difference: more often, for the test must
/// find it as well.
const BEYOND_LEAST: f64 = 0.9;

/// A two-sided confidence interval from ranks, and the level that it really has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankInterval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The probability with which it covers, exactly. Ranks are whole numbers, so that it is not
    /// exactly the level asked for: above it where there are enough values, else below.
    pub level: f64,
}

/// The interval between the `rank`-th smallest and the `rank`-th largest of `sorted`, where `rank`
/// is the largest of 1, 2, 3 ... for which the statistic stays below `rank` with a probability of
/// at most `(1 - level) / 2`; `cumulative[k]` is the probability of at most k.
fn interval_between_ranks(sorted: &[f64], cumulative: &[f64], level: f64) -> Option<RankInterval> {
    let middle = sorted.len().checked_sub(1)? / 2;
    let tail = (1.0 - level) / 2.0;
    let beyond_one = cumulative
        .iter()
        .skip(1)
        // A hair of tolerance: the level is decimal, the probabilities are binary.
        .take_while(|probability| **probability <= tail + 1e-12)
        .count();
    let from_end = beyond_one.min(middle);
    Some(RankInterval {
        low: sorted[from_end],
        high: sorted[sorted.len() - 1 - from_end],
        level: (1.0 - 2.0 * cumulative.get(from_end)?).max(0.0),
    })
}

/// `values` in ascending order.
fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Running sums of `probabilities`.
fn cumulated(probabilities: &[f64]) -> Vec<f64> {
    let running = |sum: &mut f64, probability: &f64| {
        *sum += probability;
        Some(*sum)
    };
    probabilities.iter().scan(0.0, running).collect()
}

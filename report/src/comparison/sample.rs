//! What an effect rests on: a difference per round, or two samples that no round joins. Everything is
//! in logarithms.

use super::cell::Cell;
use super::method::Method;
use super::metric::Metric;
use super::rounds::{log_ratios, values};
use crate::statistics::{self, RankInterval};

/// The numbers of an arm and its baseline in one metric.
pub(super) enum Sample {
    /// Differences, one per round in which both have a number.
    Paired(Vec<f64>),
    /// Two saved results, the baseline first: no run of one stood beside a run of the other.
    Unpaired(Vec<f64>, Vec<f64>),
}

impl Sample {
    pub fn of(cell: &Cell, method: &Method, arm: usize, metric: Metric) -> Option<Self> {
        let baseline = cell.baseline()?;
        if method.interleaved {
            return Some(Sample::Paired(log_ratios(cell, baseline, arm, metric)));
        }
        let logs = |arm: usize| -> Vec<f64> {
            let values = values(cell, arm, metric).into_iter();
            values.filter(|value| *value > 0.0).map(f64::ln).collect()
        };
        Some(Sample::Unpaired(logs(baseline), logs(arm)))
    }

    /// Of two samples that of the shorter one.
    pub fn rounds(&self) -> usize {
        match self {
            Sample::Paired(differences) => differences.len(),
            Sample::Unpaired(first, second) => first.len().min(second.len()),
        }
    }

    pub fn estimate(&self) -> Option<f64> {
        match self {
            Sample::Paired(differences) => statistics::hodges_lehmann(differences),
            Sample::Unpaired(first, second) => statistics::shift_estimate(first, second),
        }
    }

    pub fn interval(&self, level: f64) -> Option<RankInterval> {
        match self {
            Sample::Paired(differences) => statistics::signed_rank_interval(differences, level),
            Sample::Unpaired(first, second) => statistics::shift_interval(first, second, level),
        }
    }

    pub fn p_value(&self, seed: u64) -> Option<f64> {
        match self {
            Sample::Paired(differences) => statistics::sign_flip_p_value(differences, seed),
            Sample::Unpaired(first, second) => statistics::rank_sum_p_value(first, second),
        }
    }

    /// The effect that would be found four times in five as one of `comparisons`, where nothing up to
    /// `least` is called an effect. `None` with fewer than two values on either side.
    pub fn detectable(&self, comparisons: u32, alpha: f64, least: f64) -> Option<f64> {
        let level = alpha / f64::from(comparisons.max(1));
        match self {
            Sample::Paired(differences) => {
                statistics::detectable_difference(differences, level, least)
            }
            Sample::Unpaired(first, second) => {
                statistics::detectable_shift(first, second, level, least)
            }
        }
    }
}

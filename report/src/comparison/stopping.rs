//! When a cell has enough rounds. What a test says is never looked at: who stops when he likes what
//! he sees finds differences that are not there.

use super::cell::{Cell, StopReason};
use super::effects::effect;
use super::method::Method;
use super::metric::Metric;
use super::rounds::{comparisons, values};
use crate::statistics;

/// Why `cell` needs no further round, or `None` if it does. Whether another one fits into the budget
/// is for who knows how long it takes.
///
/// Precision is reached when every arm's confidence interval in every primary metric, the control's
/// included, is at most [`Method::precision_target`] to either side, as netperf does with the mean
/// (`-I`). The rule sees widths and never places: Chow, Robbins, "On the Asymptotic Theory of
/// Fixed-Width Sequential Confidence Intervals for the Mean", Annals of Mathematical Statistics 36
/// (1965). It waits for the rounds below which no verdict is possible.
pub fn stop_reason(cell: &Cell, method: &Method) -> Option<StopReason> {
    let rounds = cell.counted().count();
    if rounds >= method.rounds_planned as usize {
        return Some(StopReason::Rounds);
    }
    let needed = statistics::rounds_needed(comparisons(cell), method.alpha.get());
    let least = needed.max(method.rounds_minimum) as usize;
    let target = method.precision_target?.get();
    (rounds >= least && worst_half_width(cell, method)? <= target).then_some(StopReason::Precision)
}

/// The widest half of a confidence interval over arms and primary metrics, as a share; `None` as
/// long as one of them has none.
fn worst_half_width(cell: &Cell, method: &Method) -> Option<f64> {
    let baseline = cell.baseline()?;
    let mut worst: Option<f64> = None;
    let has = |metric: &&Metric| !values(cell, baseline, **metric).is_empty();
    for arm in (0..cell.arms.len()).filter(|arm| *arm != baseline) {
        // What not even the baseline has, a percentile of too few values, does not become precise.
        for metric in cell.primary_metrics.iter().filter(has) {
            let half_width = effect(cell, method, arm, *metric)?.half_width();
            worst = Some(worst.map_or(half_width, |known| known.max(half_width)));
        }
    }
    worst
}

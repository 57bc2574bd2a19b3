//! The rounds of a cell as samples: which runs count, their numbers, and how many rounds it takes.

use super::cell::Cell;
use super::method::Method;
use super::metric::Metric;
use super::run::ArmRun;
use crate::statistics;

/// Comparisons that share the error rate.
pub(super) fn comparisons(cell: &Cell) -> u32 {
    family(cell, cell.primary_metrics.len())
}

/// Rounds that count; of results that were not interleaved, those of the shorter one.
pub(super) fn rounds(cell: &Cell, method: &Method) -> usize {
    let of_arm = |arm: usize| valid_runs(cell, arm).count();
    match method.interleaved {
        true => cell.counted().count(),
        false => (0..cell.arms.len()).map(of_arm).min().unwrap_or(0),
    }
}

/// Comparisons of all arms in so many metrics.
pub(super) fn family(cell: &Cell, metrics: usize) -> u32 {
    u32::try_from(cell.candidates().count() * metrics).unwrap_or(u32::MAX)
}

/// Rounds below which one of so many comparisons cannot be told from chance, whatever it shows; of
/// results that were not interleaved, rounds of each.
pub(super) fn rounds_needed(method: &Method, comparisons: u32) -> u32 {
    match method.interleaved {
        true => statistics::rounds_needed(comparisons, method.alpha.get()),
        false => statistics::rounds_needed_unpaired(comparisons, method.alpha.get()),
    }
}

/// The counted runs of an arm that have numbers, in order.
pub(super) fn valid_runs(cell: &Cell, arm: usize) -> impl Iterator<Item = &ArmRun> {
    cell.counted()
        .flat_map(|round| &round.runs)
        .filter(move |run| run.arm as usize == arm && run.counts())
}

/// The numbers of an arm's counted runs, in order.
pub(super) fn values(cell: &Cell, arm: usize, metric: Metric) -> Vec<f64> {
    match has_enough(cell, arm, metric) {
        true => valid_runs(cell, arm)
            .filter_map(|run| run.quoted(metric))
            .collect(),
        false => Vec::new(),
    }
}

/// Logarithms of the ratios of `arm` to `base`, one per counted round in which both have a number.
pub(super) fn log_ratios(cell: &Cell, base: usize, arm: usize, metric: Metric) -> Vec<f64> {
    if !has_enough(cell, base, metric) || !has_enough(cell, arm, metric) {
        return Vec::new();
    }
    let value = |runs: &[ArmRun], arm: usize| {
        let run = runs.iter().find(|run| run.arm as usize == arm)?;
        let value = run.quoted(metric).filter(|_| run.counts())?;
        (value > 0.0).then_some(value)
    };
    cell.counted()
        .filter_map(|round| {
            let (of_arm, of_base) = value(&round.runs, arm).zip(value(&round.runs, base))?;
            Some((of_arm / of_base).ln())
        })
        .collect()
}

/// Whether the runs of an arm have values enough for a percentile: half of them have. It is judged for all
/// of them together, so that every percentile of an arm is of the same rounds, and none lies below a lower
/// one.
fn has_enough(cell: &Cell, arm: usize, metric: Metric) -> bool {
    if !metric.is_latency() {
        return true;
    }
    let counts = valid_runs(cell, arm).filter_map(|run| Some(run.latency?.count));
    let (enough, few): (Vec<u64>, Vec<u64>) =
        counts.partition(|count| *count >= metric.least_values());
    !enough.is_empty() && enough.len() >= few.len()
}

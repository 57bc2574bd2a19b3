//! From the rounds of a cell to what may be said of its arms.

use super::analysis::{Analysis, Steadiness};
use super::cell::Cell;
use super::document::Comparison;
use super::effects::effects;
use super::method::Method;
use super::obstacles::Obstacles;
use super::rounds::{comparisons, family, rounds, rounds_needed, valid_runs};
use super::{doubts, judge, words};
use crate::document::{Finite, Unknown};
use crate::statistics;

/// What follows from the rounds of `cell`, judged by `method`. An analysis that the cell already has
/// is not looked at, so that a saved document can be analysed again.
///
/// Per arm and metric: the logarithms of the ratios to the baseline, one per round in which both
/// runs count; their Hodges-Lehmann centre with the exact signed-rank interval; the sign-flip test,
/// adjusted by Holm over arms and primary metrics; the verdict by [`Verdict`](super::Verdict)'s rules. Where runs were
/// not interleaved: the Hodges-Lehmann shift with the exact Mann-Whitney interval and test.
pub fn analyse(cell: &Cell, method: &Method) -> Analysis {
    let steadiness: Vec<Steadiness> = (0..cell.arms.len())
        .map(|arm| steadiness(cell, method, arm))
        .collect();
    let obstacles = Obstacles::find(cell, method, &steadiness);
    let effects = effects(cell, method);
    let family = |primary: bool| {
        let metrics = effects.iter().filter(|metric| metric.primary == primary);
        family(cell, metrics.count())
    };
    let families = [family(false), family(true)];
    let metrics = effects
        .into_iter()
        .map(|metric| {
            let comparisons = families[usize::from(metric.primary)];
            judge::metric(cell, method, &obstacles, comparisons, metric)
        })
        .collect::<Vec<_>>();
    let comparisons = comparisons(cell);
    let mut analysis = Analysis {
        rounds: u32::try_from(rounds(cell, method)).unwrap_or(u32::MAX),
        comparisons,
        rounds_needed: rounds_needed(method, comparisons),
        verdicts: Vec::new(),
        metrics,
        steadiness,
        warnings: Vec::new(),
    };
    analysis.verdicts = words::verdicts(cell, method, &obstacles, &analysis);
    analysis.warnings = doubts::of_cell(cell, method, &analysis);
    analysis
}

/// Analyses every cell of `comparison`, again or for the first time.
pub fn analyse_all(comparison: &mut Comparison) {
    for cell in &mut comparison.cells {
        cell.analysis = Some(analyse(cell, &comparison.method));
    }
}

fn steadiness(cell: &Cell, method: &Method, arm: usize) -> Steadiness {
    let drifts: Vec<statistics::Drift> = valid_runs(cell, arm)
        .filter_map(|run| {
            let rates: Vec<f64> = run.series.values.iter().map(|rate| rate.get()).collect();
            statistics::steadiness(&rates)
        })
        .collect();
    let limit = method.drift_limit.get();
    let unsteady = drifts.iter().filter(|drift| drift.exceeds(limit)).count();
    let halves: Vec<f64> = drifts.iter().map(|drift| drift.halves).collect();
    let transients = drifts.iter().map(|drift| drift.transient);
    let extents = drifts.iter().map(|drift| match drift.exceeds(limit) {
        true => drift.extent(),
        false => 0.0,
    });
    let mut extents: Vec<f64> = extents.collect();
    extents.sort_unstable_by(f64::total_cmp);
    // So many may be unsteady; with a hair of tolerance, for the share is decimal.
    let allowed = (method.unsteady_limit.get() * extents.len() as f64 + 1e-9) as usize;
    let drift = extents.iter().rev().nth(allowed).copied();
    let unknown = match drifts.is_empty() {
        true => Unknown::all(
            &["median_drift", "drift", "longest_transient"],
            "no run has a series long enough to judge",
        ),
        false => Vec::new(),
    };
    Steadiness {
        arm: u32::try_from(arm).unwrap_or(u32::MAX),
        judged: u32::try_from(drifts.len()).unwrap_or(u32::MAX),
        unsteady: u32::try_from(unsteady).unwrap_or(u32::MAX),
        median_drift: statistics::median(&halves).and_then(Finite::new),
        drift: drift.and_then(Finite::new),
        longest_transient: transients.reduce(f64::max).and_then(Finite::new),
        unknown,
    }
}

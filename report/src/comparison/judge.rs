//! The verdicts, and what stands in the way of one.

use super::analyse::valid_runs;
use super::{
    ArmEffect, ArmRole, ArmRun, Better, Cell, Effect, Method, Metric, MetricAnalysis, RunSide,
    Steadiness, Vary, Verdict,
};
use crate::document::{Finite, Pace, Unknown};
use crate::statistics;
use crate::units::human_percent;

/// Shares of failed operations that differ by more than this make two arms incomparable.
const ERRORS_DIFFER: f64 = 0.001;

/// Why there is no effect.
const FEW: &str = "fewer than 2 rounds have both values, so that no interval is possible";

/// What stands in the way of a verdict on each arm.
pub(super) struct Obstacles {
    /// Against any statement about the arm or the baseline, in words.
    of_arm: Vec<Option<String>>,
    /// Against statements on rate and latency: the side that is not varied limits them.
    bound: Vec<Option<String>>,
    /// Against any statement at all: nothing tells how much noise there is.
    no_control: Option<String>,
}

impl Obstacles {
    pub(super) fn find(cell: &Cell, method: &Method, steadiness: &[Steadiness]) -> Self {
        let arms = || 0..cell.arms.len();
        let alone: Vec<Option<String>> = arms()
            .map(|arm| {
                not_measured(cell, method, arm).or_else(|| unsteady(cell, method, &steadiness[arm]))
            })
            .collect();
        let Some(baseline) = cell.baseline() else {
            let none = "the cell has no baseline".to_owned();
            return Obstacles {
                of_arm: vec![Some(none); cell.arms.len()],
                bound: vec![None; cell.arms.len()],
                no_control: None,
            };
        };
        let of_arm: Vec<Option<String>> = arms()
            .map(|arm| {
                alone[arm]
                    .clone()
                    .or_else(|| alone[baseline].clone())
                    .or_else(|| errors_differ(cell, baseline, arm))
            })
            .collect();
        Obstacles {
            no_control: no_control(cell, method, &of_arm),
            of_arm,
            bound: arms()
                .map(|arm| bound(cell, method, baseline, arm))
                .collect(),
        }
    }

    /// Why the rate says nothing about this arm, if it does not.
    pub(super) fn bound(&self, arm: usize) -> Option<&str> {
        self.bound[arm].as_deref()
    }

    fn against(&self, arm: usize, metric: Metric) -> Option<String> {
        let bound = || {
            self.bound[arm]
                .clone()
                .filter(|_| metric.is_rate() || metric.is_latency())
        };
        let no_control = || self.no_control.clone();
        self.of_arm[arm].clone().or_else(no_control).or_else(bound)
    }
}

/// Why the baseline's second copy tells nothing, if so. Results that were not interleaved have none,
/// and are never without the warning that says so.
fn no_control(cell: &Cell, method: &Method, of_arm: &[Option<String>]) -> Option<String> {
    if !method.interleaved {
        return None;
    }
    match cell.control() {
        None => Some(unusable("the baseline was not measured a second time")),
        Some(control) => of_arm[control].as_deref().map(unusable),
    }
}

fn unusable(why: &str) -> String {
    format!("no usable control: {why}")
}

/// Why the control tells no noise floor in one metric although arms have effects in it.
fn no_noise_floor(cell: &Cell, method: &Method, control: &ArmEffect) -> Option<String> {
    let label = &cell.arms[control.arm as usize].label;
    match &control.effect {
        None => Some(unusable(&format!(
            "{label} and its original have values together in fewer than 2 rounds"
        ))),
        Some(effect) if !reaches_level(method, effect) => Some(unusable(&format!(
            "{label} and its original have values together in only {} rounds, too few for an \
             interval of {}",
            effect.rounds,
            human_percent(1.0 - method.alpha.get())
        ))),
        Some(_) => None,
    }
}

/// Whether an interval covers as often as asked for: from too few rounds it says nothing.
fn reaches_level(method: &Method, effect: &Effect) -> bool {
    effect.confidence_level.get() >= 1.0 - method.alpha.get() - 1e-12
}

/// Too many of the runs gave no numbers, or numbers that do not count.
fn not_measured(cell: &Cell, method: &Method, arm: usize) -> Option<String> {
    let runs = || {
        let runs = cell.counted().flat_map(|round| &round.runs);
        runs.filter(|run| run.arm as usize == arm)
    };
    let lost: Vec<&ArmRun> = runs().filter(|run| !run.counts()).collect();
    let first = lost.first()?;
    let why = first.failure.as_ref().or(first.invalid.first())?;
    let share = lost.len() as f64 / runs().count() as f64;
    (share > method.unsteady_limit.get()).then(|| {
        format!(
            "{} of {} runs of {} do not count: {}",
            lost.len(),
            runs().count(),
            cell.arms[arm].label,
            why.text
        )
    })
}

fn unsteady(cell: &Cell, method: &Method, steadiness: &Steadiness) -> Option<String> {
    let share = f64::from(steadiness.unsteady) / f64::from(steadiness.judged.max(1));
    (share > method.unsteady_limit.get()).then(|| {
        format!(
            "{} of {} runs of {} were unsteady: their rate drifted by more than {}",
            steadiness.unsteady,
            steadiness.judged,
            cell.arms[steadiness.arm as usize].label,
            human_percent(method.drift_limit.get())
        )
    })
}

fn errors_differ(cell: &Cell, baseline: usize, arm: usize) -> Option<String> {
    let share = |arm: usize| {
        let failed: u64 = valid_runs(cell, arm)
            .flat_map(|run| &run.errors)
            .map(|error| error.count)
            .sum();
        let succeeded: u64 = valid_runs(cell, arm).map(|run| run.operations).sum();
        failed as f64 / ((failed + succeeded) as f64).max(1.0)
    };
    let (of_base, of_arm) = (share(baseline), share(arm));
    ((of_arm - of_base).abs() > ERRORS_DIFFER).then(|| {
        format!(
            "{:.2} % of the operations of {} failed, and {:.2} % of those of {}: they did not do the \
             same work",
            of_arm * 100.0,
            cell.arms[arm].label,
            of_base * 100.0,
            cell.arms[baseline].label
        )
    })
}

/// Whether the side that is not varied was too busy to leave the rate to the other.
fn bound(cell: &Cell, method: &Method, baseline: usize, arm: usize) -> Option<String> {
    type Side = fn(&ArmRun) -> Option<&RunSide>;
    let (kind, name, side): (_, _, Side) = match method.vary {
        Vary::Testee => ("generator-bound", "load", |run| Some(&run.load)),
        Vary::Load => ("testee-bound", "testee", |run| run.testee.as_ref()),
        Vary::Both => return None,
    };
    let busy = |arm: usize| {
        let shares: Vec<f64> = valid_runs(cell, arm)
            .filter_map(|run| side(run)?.busy_fraction.map(Finite::get))
            .collect();
        statistics::median(&shares)
    };
    let busiest = busy(baseline)?.max(busy(arm)?);
    (busiest >= method.busy_limit.get()).then(|| {
        format!(
            "{kind}: the {name}, which is not varied, was {} busy, so that rate and latency are \
             those of the {name}",
            human_percent(busiest)
        )
    })
}

/// What decides about an arm, in the order of preference: the first primary metric; at a fixed rate
/// the latency; CPU where the side that is not varied limits both.
pub(super) fn deciding_metric(cell: &Cell, method: &Method, bound: bool) -> Metric {
    let first = cell
        .primary_metrics
        .first()
        .copied()
        .unwrap_or(Metric::Rate);
    let open_loop = cell
        .baseline()
        .is_some_and(|baseline| cell.arms[baseline].plan.pace != Pace::Closed);
    if bound && (first.is_rate() || first.is_latency()) {
        Metric::cpu(cell.workload, method.vary)
    } else if open_loop && first.is_rate() {
        Metric::LatencyP99
    } else {
        first
    }
}

/// `metric` with a verdict for every arm but the baseline.
pub(super) fn metric(
    cell: &Cell,
    method: &Method,
    obstacles: &Obstacles,
    mut metric: MetricAnalysis,
) -> MetricAnalysis {
    let control = cell.control().map(|control| &metric.arms[control]);
    let control_differs = control
        .and_then(|control| control.effect)
        .and_then(|effect| control_differs(method, &effect));
    let no_noise_floor = control
        .filter(|_| method.interleaved)
        .and_then(|control| no_noise_floor(cell, method, control));
    let (name, threshold, better) = (metric.metric, metric.threshold.get(), metric.better);
    for each in &mut metric.arms {
        let arm = each.arm as usize;
        let role = cell.arms[arm].role;
        if role != ArmRole::Baseline {
            // Where the arm itself has too few rounds, that is the reason to give.
            let could_be_judged = each
                .effect
                .is_some_and(|effect| reaches_level(method, &effect));
            let no_noise_floor = no_noise_floor.clone().filter(|_| could_be_judged);
            let against = obstacles
                .against(arm, name)
                .or(no_noise_floor)
                .or_else(|| control_differs.clone());
            let (verdict, reason) = judge(cell, method, each, against, threshold, better);
            (each.verdict, each.reason) = (Some(verdict), reason);
        }
        each.unknown = unknown(each, role);
    }
    metric
}

/// The baseline differs from its own copy by more than what is called a difference.
///
/// That a difference below the practical threshold is significant is no obstacle: no verdict rests
/// on differences so small.
fn control_differs(method: &Method, effect: &Effect) -> Option<String> {
    let differs = effect.is_significant(method.alpha.get())
        && effect.exceeds(method.practical_threshold.get());
    differs.then(|| {
        format!(
            "the baseline differs from its own copy by {:+.1} %, so that something other than the \
             arms makes a difference here",
            effect.change.get() * 100.0
        )
    })
}

fn judge(
    cell: &Cell,
    method: &Method,
    each: &ArmEffect,
    against: Option<String>,
    threshold: f64,
    better: Better,
) -> (Verdict, Option<String>) {
    if let Some(reason) = against {
        return (Verdict::Invalid, Some(reason));
    }
    let label = &cell.arms[each.arm as usize].label;
    let Some(effect) = &each.effect else {
        return match each.values.is_empty() {
            true => (
                Verdict::Invalid,
                Some(format!("{label} has no such values")),
            ),
            false => (Verdict::Inconclusive, Some(FEW.to_owned())),
        };
    };
    let alpha = method.alpha.get();
    let change = effect.change.get();
    if effect.is_significant(alpha) && effect.exceeds(threshold) {
        let more_is_better = better == Better::Higher;
        return match (change > 0.0) == more_is_better {
            true => (Verdict::Faster, None),
            false => (Verdict::Slower, None),
        };
    }
    let margin = method.equivalence_margin.get();
    if reaches_level(method, effect) && effect.lies_within(margin) {
        return (Verdict::Equivalent, None);
    }
    (
        Verdict::Inconclusive,
        Some(undecided(effect, alpha, threshold)),
    )
}

/// Why an effect is neither a difference nor none.
fn undecided(effect: &Effect, alpha: f64, threshold: f64) -> String {
    let rounds = effect.rounds;
    if effect.is_significant(alpha) {
        return format!(
            "it is not chance, but not more than {} either, which is what noise or indifference \
             amounts to here",
            human_percent(threshold)
        );
    }
    format!(
        "{rounds} rounds of this noise find a difference of {} four times in five",
        human_percent(effect.detectable.get())
    )
}

fn unknown(each: &ArmEffect, role: ArmRole) -> Vec<Unknown> {
    let mut unknown = Vec::new();
    let mut say = |is_null: bool, field: &str, reason: &str| {
        if is_null {
            unknown.push(Unknown::new(field, reason));
        }
    };
    let baseline = role == ArmRole::Baseline;
    let no_effect = match baseline {
        true => "it is the baseline",
        false => FEW,
    };
    say(
        each.median.is_none(),
        "median",
        "no counted run has a value",
    );
    say(each.effect.is_none(), "effect", no_effect);
    say(each.verdict.is_none(), "verdict", "it is the baseline");
    let reason = if baseline {
        "it is the baseline"
    } else {
        "the verdict needs none"
    };
    say(each.reason.is_none(), "reason", reason);
    unknown
}

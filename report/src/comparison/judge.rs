//! The verdicts, and what stands in the way of one.

use super::analyse::{rounds_needed, valid_runs};
use super::sample::Sample;
use super::{
    Arm, ArmEffect, ArmRole, ArmRun, Better, Cell, Effect, Method, Metric, MetricAnalysis, RunSide,
    Steadiness, Vary, Verdict,
};
use crate::document::{Finite, Pace, Unknown};
use crate::statistics;
use crate::units::{counted, human_percent};
use crate::warnings;

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
    /// Against statements on latency: it or the baseline did not keep the schedule.
    behind: Vec<Option<String>>,
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
                behind: vec![None; cell.arms.len()],
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
            behind: arms()
                .map(|arm| behind(cell, method, arm).or_else(|| behind(cell, method, baseline)))
                .collect(),
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
        let behind = || self.behind[arm].clone().filter(|_| metric.is_latency());
        let no_control = || self.no_control.clone();
        self.of_arm[arm]
            .clone()
            .or_else(no_control)
            .or_else(bound)
            .or_else(behind)
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
            "{} of {} of {} left out: {}",
            lost.len(),
            counted(runs().count() as u64, "run"),
            cell.arms[arm].label,
            why.text
        )
    })
}

fn unsteady(cell: &Cell, method: &Method, steadiness: &Steadiness) -> Option<String> {
    let share = f64::from(steadiness.unsteady) / f64::from(steadiness.judged.max(1));
    (share > method.unsteady_limit.get()).then(|| {
        format!(
            "{} of {} of {} unsteady: the rate drifted by more than {} within a run",
            steadiness.unsteady,
            counted(steadiness.judged.into(), "run"),
            cell.arms[steadiness.arm as usize].label,
            human_percent(method.drift_limit.get())
        )
    })
}

/// Too many of the runs completed less than their schedule: the latency of what was answered then
/// depends on the length of the run.
fn behind(cell: &Cell, method: &Method, arm: usize) -> Option<String> {
    let Arm { plan, label, .. } = &cell.arms[arm];
    let is_behind = |run: &&ArmRun| {
        run.rate_per_second
            .is_some_and(|rate| warnings::is_behind(&plan.pace, rate.get(), run.window_length_ns))
    };
    let (late, all) = (
        valid_runs(cell, arm).filter(is_behind).count(),
        valid_runs(cell, arm).count(),
    );
    (late as f64 > all as f64 * method.unsteady_limit.get()).then(|| {
        format!(
            "{late} of {all} runs of {label} completed less than 99 % of the operations that were due, so \
             that latency grows with the length of the run"
        )
    })
}

/// Operations that failed; at a fixed rate also those that were never answered, for there the schedule
/// and not the answers say what was due.
fn errors_differ(cell: &Cell, baseline: usize, arm: usize) -> Option<String> {
    let open_loop = cell.arms[baseline].plan.pace != Pace::Closed;
    let share = |arm: usize| {
        let errors = |run: &ArmRun| run.errors.iter().map(|error| error.count).sum::<u64>();
        let unanswered = |run: &ArmRun| if open_loop { run.unfinished } else { 0 };
        let failed: u64 = valid_runs(cell, arm)
            .map(|run| errors(run) + unanswered(run))
            .sum();
        let succeeded: u64 = valid_runs(cell, arm).map(|run| run.operations).sum();
        failed as f64 / ((failed + succeeded) as f64).max(1.0)
    };
    let (of_base, of_arm) = (share(baseline), share(arm));
    ((of_arm - of_base).abs() > ERRORS_DIFFER).then(|| {
        format!(
            "{:.2} % of the operations of {} failed{}, and {:.2} % of those of {}: they did not do the \
             same work",
            of_arm * 100.0,
            cell.arms[arm].label,
            if open_loop {
                " or were never answered"
            } else {
                ""
            },
            of_base * 100.0,
            cell.arms[baseline].label
        )
    })
}

/// The side that is not varied, and what it is called.
pub(super) fn fixed_side(vary: Vary) -> Option<(&'static str, SideOf)> {
    match vary {
        Vary::Testee => Some(("load", |run| Some(&run.load))),
        Vary::Load => Some(("testee", |run| run.testee.as_ref())),
        Vary::Both => None,
    }
}

/// Picks a side of a run.
pub(super) type SideOf = fn(&ArmRun) -> Option<&RunSide>;

/// Whether the side that is not varied was too busy to leave the rate to the other. What the hypervisor
/// took nobody could use, so that it is not asked for.
fn bound(cell: &Cell, method: &Method, baseline: usize, arm: usize) -> Option<String> {
    let (name, side) = fixed_side(method.vary)?;
    let kind = match method.vary {
        Vary::Load => "testee-bound",
        _ => "generator-bound",
    };
    let median = |arm: usize, of: &dyn Fn(&ArmRun) -> Option<f64>| {
        let shares: Vec<f64> = valid_runs(cell, arm).filter_map(of).collect();
        statistics::median(&shares)
    };
    let busy = |run: &ArmRun| side(run)?.busy_fraction.map(Finite::get);
    let of_what_was_left = |run: &ArmRun| Some(busy(run)? / (1.0 - run.stolen()).max(0.01));
    let fullest = median(baseline, &of_what_was_left)?.max(median(arm, &of_what_was_left)?);
    let busiest = median(baseline, &busy)?.max(median(arm, &busy)?);
    (fullest >= method.busy_limit.get()).then(|| {
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
    comparisons: u32,
    mut metric: MetricAnalysis,
) -> MetricAnalysis {
    let control = cell.control().map(|control| &metric.arms[control]);
    let control_differs = control
        .and_then(|control| control.effect)
        .and_then(|effect| control_differs(method, &effect));
    let no_noise_floor = control
        .filter(|_| method.interleaved)
        .and_then(|control| no_noise_floor(cell, method, control));
    let question = Question {
        cell,
        method,
        metric: metric.metric,
        threshold: metric.threshold.get(),
        noise_floor: metric.noise_floor.map_or(0.0, Finite::get),
        comparisons,
    };
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
                .against(arm, question.metric)
                .or(no_noise_floor)
                .or_else(|| control_differs.clone());
            let (verdict, reason) = question.judge(each, against);
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

/// What the arms of a cell are asked in one metric.
struct Question<'a> {
    cell: &'a Cell,
    method: &'a Method,
    metric: Metric,
    /// Nothing up to this share is called a difference.
    threshold: f64,
    noise_floor: f64,
    /// How many such questions share the error rate.
    comparisons: u32,
}

impl Question<'_> {
    fn judge(&self, each: &ArmEffect, against: Option<String>) -> (Verdict, Option<String>) {
        if let Some(reason) = against {
            return (Verdict::Invalid, Some(reason));
        }
        let label = &self.cell.arms[each.arm as usize].label;
        let Some(effect) = &each.effect else {
            return match each.values.is_empty() {
                true => (Verdict::Invalid, Some(self.no_values(label))),
                false => (Verdict::Inconclusive, Some(FEW.to_owned())),
            };
        };
        if effect.is_significant(self.method.alpha.get()) && effect.exceeds(self.threshold) {
            let more_is_better = self.metric.better() == Better::Higher;
            return match (effect.change.get() > 0.0) == more_is_better {
                true => (Verdict::Faster, None),
                false => (Verdict::Slower, None),
            };
        }
        if self.noise_floor <= self.margin() && self.is_equivalent(each.arm as usize) {
            return (Verdict::Equivalent, None);
        }
        (Verdict::Inconclusive, Some(self.undecided(effect)))
    }

    /// Why an arm has no value in any round.
    fn no_values(&self, label: &str) -> String {
        match self.metric.least_values() {
            0 | 1 => format!("{label} has no such values"),
            least => format!(
                "the runs of {label} have fewer than {least} latencies each, too few for this percentile; \
                 measure longer"
            ),
        }
    }

    fn margin(&self) -> f64 {
        self.method.equivalence_margin.get()
    }

    /// Whether the effect is known to be small, with all comparisons of the cell together wrong at most
    /// as often as the method allows: two one-sided tests each (Schuirmann, "A Comparison of the Two
    /// One-Sided Tests Procedure", Journal of Pharmacokinetics and Biopharmaceutics 15 (1987)), at an
    /// equal share of the error rate (Bonferroni). Never by a narrower interval than the one shown.
    fn is_equivalent(&self, arm: usize) -> bool {
        let alpha = self.method.alpha.get();
        let level = 1.0 - (2.0 * alpha / f64::from(self.comparisons.max(1))).min(alpha);
        let interval = || Sample::of(self.cell, self.method, arm, self.metric)?.interval(level);
        interval().is_some_and(|interval| {
            let farthest = interval.low.abs().max(interval.high.abs());
            interval.level >= level - 1e-12 && farthest <= self.margin().ln_1p()
        })
    }

    /// Why an effect is neither a difference nor none.
    fn undecided(&self, effect: &Effect) -> String {
        let rounds = effect.rounds;
        if effect.is_significant(self.method.alpha.get()) {
            return format!(
                "it is not chance, but not more than {} either, which is what noise or indifference \
                 amounts to here",
                human_percent(self.threshold)
            );
        }
        let needed = rounds_needed(self.method, self.comparisons);
        if rounds < needed {
            return format!(
                "{rounds} rounds are too few to tell one of {} comparisons from chance, which takes \
                 {needed}",
                self.comparisons
            );
        }
        format!(
            "{rounds} rounds of this noise find a difference of {} four times in five",
            human_percent(effect.detectable.get())
        )
    }
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

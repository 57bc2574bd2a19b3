//! What stands in the way of a verdict.

use super::analysis::{ArmEffect, Effect, Steadiness};
use super::cell::Cell;
use super::method::Method;
use super::metric::{Metric, Vary};
use super::rounds::valid_runs;
use super::run::{ArmRun, RunSide};
use crate::document::{Finite, Pace};
use crate::statistics;
use crate::units::{counted, human_percent};
use crate::warnings;

/// Shares of failed operations that differ by more than this make two arms incomparable.
const ERRORS_DIFFER: f64 = 0.001;

/// What stands in the way of a verdict on each arm.
pub(super) struct Obstacles {
    /// Against any statement about the arm or the baseline, in words.
    of_arm: Vec<Option<String>>,
    /// Against statements that do not stand clear of a drift.
    drifting: Vec<Option<Drifting>>,
    /// Against statements on rate and latency: the side that is not varied limits them.
    bound: Vec<Option<String>>,
    /// Against statements on latency: it or the baseline did not keep the schedule.
    behind: Vec<Option<String>>,
    /// Against any statement at all: nothing tells how much noise there is.
    no_control: Option<String>,
}

/// Too many runs of an arm, of the baseline or of its copy were unsteady: what a run stands for is not known
/// better than that.
#[derive(Clone)]
pub(super) struct Drifting {
    /// Whose runs, and how many.
    pub words: String,
    /// The drifts of all of them together, as a logarithm.
    pub log: f64,
}

impl Obstacles {
    pub(super) fn find(cell: &Cell, method: &Method, steadiness: &[Steadiness]) -> Self {
        let arms = || 0..cell.arms.len();
        let lost: Vec<Option<String>> = arms().map(|arm| not_measured(cell, method, arm)).collect();
        let Some(baseline) = cell.baseline() else {
            let none = "the cell has no baseline".to_owned();
            return Obstacles {
                of_arm: vec![Some(none); cell.arms.len()],
                drifting: vec![None; cell.arms.len()],
                bound: vec![None; cell.arms.len()],
                behind: vec![None; cell.arms.len()],
                no_control: None,
            };
        };
        let of_arm: Vec<Option<String>> = arms()
            .map(|arm| {
                lost[arm]
                    .clone()
                    .or_else(|| lost[baseline].clone())
                    .or_else(|| errors_differ(cell, baseline, arm))
            })
            .collect();
        Obstacles {
            no_control: no_control(cell, method, &of_arm),
            of_arm,
            drifting: arms()
                .map(|arm| drifting(cell, method, steadiness, arm))
                .collect(),
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

    /// The drift that a statement about this arm must stand clear of, if there is one.
    pub(super) fn drifting(&self, arm: usize) -> Option<&Drifting> {
        self.drifting[arm].as_ref()
    }

    pub(super) fn against(&self, arm: usize, metric: Metric) -> Option<String> {
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
pub(super) fn no_noise_floor(cell: &Cell, method: &Method, control: &ArmEffect) -> Option<String> {
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
pub(super) fn reaches_level(method: &Method, effect: &Effect) -> bool {
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

/// Whether the runs of the arm, or what it is judged by, drifted too often.
fn drifting(
    cell: &Cell,
    method: &Method,
    steadiness: &[Steadiness],
    arm: usize,
) -> Option<Drifting> {
    let mut involved = vec![arm];
    for other in cell.baseline().into_iter().chain(cell.control()) {
        if !involved.contains(&other) {
            involved.push(other);
        }
    }
    let found: Vec<(String, f64)> = involved
        .into_iter()
        .filter_map(|number| {
            let words = unsteady(cell, method, &steadiness[number])?;
            let words = match cell.control() == Some(number) {
                true => unusable(&words),
                false => words,
            };
            Some((words, steadiness[number].drift?.get().ln_1p()))
        })
        .collect();
    let (words, _) = found.first()?;
    Some(Drifting {
        words: words.clone(),
        log: found.iter().map(|(_, log)| log).sum(),
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
    is_behind(cell, method, arm).then(|| {
        format!(
            "{} of {} runs of {} completed less than 99 % of the operations that were due, so \
             that latency is that of a backlog and grows with the length of the run",
            runs_behind(cell, arm),
            valid_runs(cell, arm).count(),
            cell.arms[arm].label
        )
    })
}

/// Whether more runs of the arm than are tolerated did not keep their schedule.
pub(super) fn is_behind(cell: &Cell, method: &Method, arm: usize) -> bool {
    let runs = valid_runs(cell, arm).count();
    runs_behind(cell, arm) as f64 > runs as f64 * method.unsteady_limit.get()
}

fn runs_behind(cell: &Cell, arm: usize) -> usize {
    let pace = &cell.arms[arm].plan.pace;
    let is_behind = |run: &&ArmRun| {
        run.rate_per_second
            .is_some_and(|rate| warnings::is_behind(pace, rate.get(), run.window_length_ns))
    };
    valid_runs(cell, arm).filter(is_behind).count()
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

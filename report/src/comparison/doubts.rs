//! What a reader must know of a cell before believing its verdicts.

use super::analysis::Analysis;
use super::cell::{Cell, StopReason};
use super::method::Method;
use super::obstacles::{fixed_side, is_behind};
use super::rounds::valid_runs;
use super::run::ArmRun;
use crate::document::{Finite, Message};
use crate::statistics;
use crate::units::{counted, human_count, human_percent};

/// Stolen time from this share on is visible in tails.
const STEAL_NOTICED: f64 = 0.01;
/// Retransmissions and drops, per operation, that make two arms suspect of different conditions.
const LOSSES_DIFFER: f64 = 0.001;

pub(super) fn of_cell(cell: &Cell, method: &Method, analysis: &Analysis) -> Vec<Message> {
    let mut found = Vec::new();
    found.extend(too_few_rounds(cell, method, analysis));
    found.extend(runs_lost(cell));
    found.extend(some_unsteady(cell, method, analysis));
    found.extend(control_differs_little(cell, method, analysis));
    found.extend(beyond_capacity(cell, method));
    found.extend(limit_unknown(cell, method));
    found.extend(cpus_shared(cell, method));
    found.extend(stolen(cell));
    found.extend(losses_differ(cell));
    found
}

fn too_few_rounds(cell: &Cell, method: &Method, analysis: &Analysis) -> Option<Message> {
    let (rounds, needed) = (analysis.rounds, analysis.rounds_needed);
    let (why, cure) = match cell.stopped {
        _ if !method.interleaved => (
            "one of the results has no more",
            format!("measure each with --repeat {needed} or more"),
        ),
        StopReason::Interrupted => ("it was interrupted", "let it run to its end".to_owned()),
        StopReason::Failed => (
            "it could not go on",
            "see why runs failed, and leave such an arm out".to_owned(),
        ),
        StopReason::Budget => (
            "the time was used up",
            "a longer --budget, or fewer arms".to_owned(),
        ),
        StopReason::Rounds | StopReason::Precision => (
            "no more were asked for",
            format!("--rounds {needed} or more, or fewer arms"),
        ),
    };
    (rounds < needed).then(|| {
        Message::new(
            "too_few_rounds",
            format!(
                "only {} counted, for {why}; {needed} are needed for {} before any difference, \
                 however large, can be told from chance",
                counted(rounds.into(), "round"),
                counted(analysis.comparisons.into(), "comparison"),
            ),
        )
        .with_cure(cure)
    })
}

fn runs_lost(cell: &Cell) -> Option<Message> {
    let runs = || cell.counted().flat_map(|round| &round.runs);
    let lost = || runs().filter(|run| !run.counts());
    let first = lost().next()?;
    let why = first.failure.as_ref().or(first.invalid.first())?;
    Some(Message::new(
        "runs_not_counted",
        format!(
            "{} of {} left out; the first, of {}: {}",
            lost().count(),
            counted(runs().count() as u64, "run"),
            cell.arms
                .get(first.arm as usize)
                .map_or("-", |arm| &arm.label),
            why.text
        ),
    ))
}

fn some_unsteady(cell: &Cell, method: &Method, analysis: &Analysis) -> Option<Message> {
    let named: Vec<String> = analysis
        .steadiness
        .iter()
        .filter(|each| each.unsteady > 0)
        .map(|each| {
            let label = &cell.arms[each.arm as usize].label;
            format!("{} of {} of {label}", each.unsteady, each.judged)
        })
        .collect();
    (!named.is_empty()).then(|| {
        Message::new(
            "unsteady_runs",
            format!(
                "runs whose rate drifted by more than {}: {}; they are counted",
                human_percent(method.drift_limit.get()),
                named.join(", ")
            ),
        )
        .with_cure("a longer --warmup, or a quieter machine")
    })
}

fn control_differs_little(cell: &Cell, method: &Method, analysis: &Analysis) -> Option<Message> {
    let control = cell.control()?;
    let practical = method.practical_threshold.get();
    let alpha = method.alpha.get();
    let (title, effect) = analysis.metrics.iter().find_map(|metric| {
        let effect = metric.arms[control].effect?;
        let little = effect.is_significant(alpha) && !effect.exceeds(practical);
        (metric.primary && little).then_some((metric.metric.title(), effect))
    })?;
    Some(Message::new(
        "control_differs",
        format!(
            "the baseline differs from its own copy in {title} by {:+.2} %, more than chance \
             explains, but less than what is called a difference",
            effect.change.get() * 100.0
        ),
    ))
}

/// A schedule that an arm does not keep measures its backlog.
fn beyond_capacity(cell: &Cell, method: &Method) -> Option<Message> {
    let reached = |arm: usize| {
        let rates = valid_runs(cell, arm).filter_map(|run| Some(run.rate_per_second?.get()));
        statistics::median(&rates.collect::<Vec<f64>>())
    };
    let behind: Vec<(usize, f64)> = (0..cell.arms.len())
        .filter(|arm| is_behind(cell, method, *arm))
        .filter_map(|arm| Some((arm, reached(arm)?)))
        .collect();
    let (first, _) = behind.first()?;
    let scheduled = cell.arms[*first].plan.pace.rate_per_second()?.get();
    let named: Vec<String> = behind
        .iter()
        .map(|(arm, rate)| format!("{} reached {}/s", cell.arms[*arm].label, human_count(*rate)))
        .collect();
    let slowest = behind.iter().map(|(_, rate)| *rate).reduce(f64::min)?;
    Some(
        Message::new(
            "beyond_capacity",
            format!(
                "{}/s were asked for and {}: what waits in the latency is a backlog, which grows as long as the run \
                 goes on, and the CPU per operation is that of full load",
                human_count(scheduled),
                named.join(", ")
            ),
        )
        .with_cure(format!(
            "a --rate well below {}/s, or none",
            human_count(slowest)
        )),
    )
}

/// Whether the side that is not varied was the limit cannot be told.
fn limit_unknown(cell: &Cell, method: &Method) -> Option<Message> {
    let (name, side) = fixed_side(method.vary)?;
    let busy = |run: &ArmRun| side(run).and_then(|side| side.busy_fraction);
    let mut runs = (0..cell.arms.len()).flat_map(|arm| valid_runs(cell, arm));
    runs.any(|run| busy(run).is_none()).then(|| {
        Message::new(
            "limit_unknown",
            format!(
                "how busy the {name} was, which is not varied, is not known: rate and latency may be \
                 those of the {name}"
            ),
        )
        .with_cure(format!(
            "look at the CPU of the {name} yourself, or let linerate start it"
        ))
    })
}

/// Both sides on one core have it full together, and neither alone.
fn cpus_shared(cell: &Cell, method: &Method) -> Option<Message> {
    let (name, _) = fixed_side(method.vary)?;
    let mut arms = cell.arms.iter();
    arms.any(|arm| arm.plan.placement.load == "same core").then(|| {
        Message::new(
            "cpus_shared",
            format!(
                "load and testee share their CPUs: the rate is that of both together, although neither \
                 alone, not even the {name}, which is not varied, looks like the limit"
            ),
        )
        .with_cure("judge by CPU per operation, or without --placement same-core")
    })
}

fn stolen(cell: &Cell) -> Option<Message> {
    let shares: Vec<f64> = (0..cell.arms.len())
        .flat_map(|arm| valid_runs(cell, arm))
        .flat_map(|run| &run.hosts)
        .filter_map(|host| host.steal_fraction.map(Finite::get))
        .collect();
    let largest = shares.iter().copied().reduce(f64::max)?;
    let median = statistics::median(&shares)?;
    (largest >= STEAL_NOTICED).then(|| {
        Message::new(
            "steal_time",
            format!(
                "the hypervisor took {} of the CPU time in the median run and {} in the worst",
                human_percent(median),
                human_percent(largest)
            ),
        )
        .with_cure("distrust the tails; repeat on a quiet or dedicated machine")
    })
}

fn losses_differ(cell: &Cell) -> Option<Message> {
    let baseline = cell.baseline()?;
    let share = |arm: usize| {
        let lost: u64 = valid_runs(cell, arm)
            .map(|run| run.retransmitted_segments + run.dropped_packets)
            .sum();
        let operations: u64 = valid_runs(cell, arm).map(|run| run.operations).sum();
        lost as f64 / operations.max(1) as f64
    };
    let of_base = share(baseline);
    let arm = (0..cell.arms.len()).find(|arm| (share(*arm) - of_base).abs() > LOSSES_DIFFER)?;
    Some(Message::new(
        "losses_differ",
        format!(
            "{} had {:.2} retransmitted or dropped packets per 1000 operations, {} had {:.2}: the \
             path was not the same, an arm floods it, or they are of other traffic in this namespace",
            cell.arms[arm].label,
            share(arm) * 1000.0,
            cell.arms[baseline].label,
            of_base * 1000.0
        ),
    ))
}

//! A comparison for people: the verdicts in plain sentences, then the tables that they rest on.

use super::Style;
use super::layout::{Paint, Paper, Table};
use crate::comparison::{
    Adjustment, Analysis, ArmEffect, ArmRole, ArmRun, Better, Cell, Comparison, Method, Metric,
    MetricAnalysis, RunSide, StopReason, Vary, Verdict, disturbed_rounds, words,
};
use crate::document::{Finite, Message};
use crate::statistics;
use crate::units::{
    counted, grouped, human_bit_rate, human_count, human_duration_ns, human_ns, human_percent,
};

/// The comparison as text, ending in a newline.
pub fn render(comparison: &Comparison, style: &Style) -> String {
    let mut paper = Paper::new(*style);
    write(comparison, &mut paper);
    paper.finish()
}

/// The comparison on a paper.
pub(crate) fn write(comparison: &Comparison, paper: &mut Paper) {
    paper.sentence(&words::headline(comparison), Paint::Headline);
    paper.blank();
    paper.sentence(&conditions(&comparison.method), Paint::Plain);
    paper.blank();
    messages(
        "Errors of the comparison",
        &comparison.errors,
        Paint::Error,
        paper,
    );
    messages("Warnings", &comparison.warnings, Paint::Warning, paper);
    for cell in &comparison.cells {
        cell_section(cell, &comparison.method, paper);
    }
}

fn messages(title: &str, messages: &[Message], paint: Paint, paper: &mut Paper) {
    if messages.is_empty() {
        return;
    }
    paper.heading(title);
    items(messages, paint, paper);
    paper.blank();
}

fn items(messages: &[Message], paint: Paint, paper: &mut Paper) {
    for message in messages {
        paper.item(&message.text, paint);
        if let Some(cure) = &message.cure {
            paper.continued(cure);
        }
    }
}

/// How it was measured and judged.
pub(crate) fn conditions(method: &Method) -> String {
    let varied = match method.vary {
        Vary::Load => "the load",
        Vary::Testee => "the testee",
        Vary::Both => "both sides",
    };
    let length = method.duration_ns.map_or_else(
        || "a fixed number of operations".to_owned(),
        |ns| format!("{} measured", human_duration_ns(ns)),
    );
    if !method.interleaved {
        return "Two saved results, not measured in turn: what the machine did between them looks \
                like a difference. Intervals and tests are unpaired (Mann-Whitney, exact), with one \
                value per round."
            .to_owned();
    }
    format!(
        "Arms differ in {varied}. In each round every arm ran once, in random order (seed {}), with \
         new processes and sockets: {length} after {} of warm-up. The baseline ran twice: what it \
         differs from itself by is noise. Arms are called different only where chance alone would \
         do so in at most {} of cells (Holm), and by more than noise and {}.",
        method.seed,
        human_duration_ns(method.warmup_ns),
        human_percent(method.alpha.get()),
        human_percent(method.practical_threshold.get()),
    )
}

fn cell_section(cell: &Cell, method: &Method, paper: &mut Paper) {
    paper.heading(&cell.label);
    let Some(analysis) = &cell.analysis else {
        paper.note("It was not analysed.");
        paper.blank();
        return;
    };
    if analysis.rounds == 0 {
        paper.note(NO_ROUNDS);
        paper.blank();
        return;
    }
    for verdict in &analysis.verdicts {
        paper.item(&verdict.words, paint(verdict.verdict));
    }
    items(&analysis.warnings, Paint::Warning, paper);
    paper.note(&rounds(cell, analysis));
    if let Some(line) = disturbed_rounds(cell) {
        paper.note(&line);
    }
    paper.blank();
    let (primary, exploratory): (Vec<_>, Vec<_>) =
        analysis.metrics.iter().partition(|metric| metric.primary);
    for metric in primary {
        metric_table(cell, metric, paper);
        reasons(cell, method, metric, paper);
        paper.blank();
    }
    if !exploratory.is_empty() {
        exploratory_table(cell, &exploratory, paper);
        paper.blank();
    }
    use_table(cell, paper);
    paper.blank();
    paper.note("To repeat one run of each:");
    for arm in cell.arms.iter().filter(|arm| arm.role != ArmRole::Control) {
        paper.verbatim(&arm.command);
    }
    paper.blank();
}

fn paint(verdict: Verdict) -> Paint {
    match verdict {
        Verdict::Faster | Verdict::Slower | Verdict::Equivalent => Paint::Plain,
        Verdict::Inconclusive | Verdict::Invalid => Paint::Warning,
    }
}

/// What stands where the tables would be.
pub(crate) const NO_ROUNDS: &str = "No round that counts was complete: nothing can be said.";

/// How many rounds there are, why no more, and how many it takes.
pub(crate) fn rounds(cell: &Cell, analysis: &Analysis) -> String {
    let why = match cell.stopped {
        StopReason::Rounds => "as planned",
        StopReason::Precision => "until the intervals were as narrow as asked for",
        StopReason::Budget => "until the time was used up",
        StopReason::Interrupted => "until it was interrupted",
        StopReason::Failed => "until it failed",
    };
    format!(
        "{} counted, {why}; at least {} are needed for {}.",
        counted(analysis.rounds.into(), "round"),
        analysis.rounds_needed,
        counted(analysis.comparisons.into(), "comparison"),
    )
}

/// `rate, higher is better; noise floor 0.4 %, threshold 1.0 %`.
fn title(metric: &MetricAnalysis) -> String {
    let better = match metric.better {
        Better::Higher => "higher",
        Better::Lower => "lower",
    };
    let floor = metric.noise_floor.map_or_else(
        || "no noise floor".to_owned(),
        |floor| format!("noise floor {}", human_percent(floor.get())),
    );
    format!(
        "{}, {better} is better; {floor}, threshold {}",
        metric.metric.title(),
        human_percent(metric.threshold.get())
    )
}

const COLUMNS: [&str; 5] = ["median", "change", "interval", "adjusted p", "verdict"];

fn metric_table(cell: &Cell, metric: &MetricAnalysis, paper: &mut Paper) {
    paper.note(&format!("{}:", title(metric)));
    let mut table = Table::headed(std::iter::once("").chain(COLUMNS));
    for each in &metric.arms {
        let label = cell.arms[each.arm as usize].label.clone();
        table.row(std::iter::once(label).chain(columns(cell, metric.metric, each)));
    }
    paper.table(&table);
}

fn exploratory_table(cell: &Cell, metrics: &[&MetricAnalysis], paper: &mut Paper) {
    let by = match metrics.first().map(|metric| metric.adjustment) {
        Some(Adjustment::Holm) => "Holm",
        Some(Adjustment::BenjaminiHochberg) | None => "Benjamini-Hochberg",
    };
    let mut table = Table::headed(std::iter::once("exploratory").chain(COLUMNS));
    for metric in metrics {
        for each in &metric.arms {
            let label = &cell.arms[each.arm as usize].label;
            let name = format!("{}: {label}", metric.metric.title());
            table.row(std::iter::once(name).chain(columns(cell, metric.metric, each)));
        }
    }
    paper.table(&table);
    paper.note(&format!(
        "Exploratory: not declared before the first round, p-values adjusted after {by}; a hint \
         what to measure next, not a finding."
    ));
}

fn columns(cell: &Cell, metric: Metric, each: &ArmEffect) -> [String; 5] {
    let median = each
        .median
        .map_or_else(dash, |median| show(metric, median.get()));
    let verdict = match (cell.arms[each.arm as usize].role, each.verdict) {
        (ArmRole::Baseline, _) => "baseline".to_owned(),
        (ArmRole::Control, _) => "control".to_owned(),
        (ArmRole::Arm, Some(Verdict::Invalid)) => "INVALID".to_owned(),
        (ArmRole::Arm, Some(verdict)) => words::verdict_in(metric, verdict).to_owned(),
        (ArmRole::Arm, None) => dash(),
    };
    let Some(effect) = &each.effect else {
        return [median, dash(), dash(), dash(), verdict];
    };
    let interval = format!(
        "{} to {}",
        words::signed_percent(effect.confidence_low.get()),
        words::signed_percent(effect.confidence_high.get())
    );
    [
        median,
        words::signed_percent(effect.change.get()),
        interval,
        words::p_value(effect.p_adjusted.get()),
        verdict,
    ]
}

/// Why arms have no verdict in this metric, each reason once.
fn reasons(cell: &Cell, method: &Method, metric: &MetricAnalysis, paper: &mut Paper) {
    let mut said: Vec<&str> = Vec::new();
    for each in &metric.arms {
        let (Some(verdict), Some(reason)) = (each.verdict, &each.reason) else {
            continue;
        };
        let arm = &cell.arms[each.arm as usize];
        if arm.role == ArmRole::Arm && !said.contains(&reason.as_str()) {
            said.push(reason);
            paper.note(&format!("{}, {}: {reason}.", arm.label, verdict.name()));
        }
    }
    let effects = metric.arms.iter().filter_map(|each| each.effect.as_ref());
    if let Some(levels) = words::levels(effects) {
        let by = match method.interleaved {
            true => "signed ranks",
            false => "Mann-Whitney",
        };
        paper.note(&format!(
            "Intervals have a level of {levels} ({by}, exact; {} was asked for).",
            human_percent(1.0 - method.alpha.get())
        ));
    }
}

/// How busy both sides were, and what failed.
fn use_table(cell: &Cell, paper: &mut Paper) {
    let mut any_lost = false;
    let mut table = Table::headed([
        "median of the runs",
        "load busy",
        "testee busy",
        "system busy",
        "failed operations",
        "retransmits, drops",
        "unsteady runs",
    ]);
    for (number, arm) in cell.arms.iter().enumerate() {
        let runs: Vec<&ArmRun> = cell
            .counted()
            .flat_map(|round| &round.runs)
            .filter(|run| run.arm as usize == number && run.counts())
            .collect();
        let busy = |side: &dyn Fn(&ArmRun) -> Option<Finite>| {
            let shares: Vec<f64> = runs
                .iter()
                .filter_map(|run| side(run).map(Finite::get))
                .collect();
            statistics::median(&shares).map_or_else(dash, human_percent)
        };
        let of_side = |side: &RunSide| side.busy_fraction;
        let failed: u64 = runs
            .iter()
            .flat_map(|run| &run.errors)
            .map(|error| error.count)
            .sum();
        let lost: u64 = runs
            .iter()
            .map(|run| run.retransmitted_segments + run.dropped_packets)
            .sum();
        any_lost |= lost > 0;
        let steadiness = cell
            .analysis
            .as_ref()
            .and_then(|analysis| analysis.steadiness.get(number));
        table.row([
            arm.label.clone(),
            busy(&|run| of_side(&run.load)),
            busy(&|run| run.testee.as_ref().and_then(of_side)),
            busy(&|run| run.hosts.first().and_then(|host| host.busy_fraction)),
            grouped(failed),
            grouped(lost),
            steadiness.map_or_else(dash, |each| format!("{} of {}", each.unsteady, each.judged)),
        ]);
    }
    paper.table(&table);
    if any_lost {
        paper.note(
            "Retransmits and drops are counters of the network namespace: other traffic in this namespace is in \
             them too.",
        );
    }
}

/// A value of a metric with its unit.
pub(crate) fn show(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Rate => format!("{}/s", human_count(value)),
        Metric::Throughput => human_bit_rate(value),
        _ => human_ns(value),
    }
}

fn dash() -> String {
    "-".to_owned()
}

//! With `--repeat`: each round, and what they say together.

use super::chosen_round;
use super::layout::{Paper, Table};
use crate::assemble::{METRICS, counted, metric};
use crate::document::{Document, MetricSummary, Round};
use crate::units::{human_bit_rate, human_count, human_ns};

pub(crate) fn section(document: &Document, shown: &Round, paper: &mut Paper) {
    let Some(summary) = document.summary.as_ref() else {
        return;
    };
    if document.rounds.len() < 2 {
        return;
    }
    let columns: Vec<&str> = METRICS
        .into_iter()
        .filter(|name| summarised(document, name).is_some())
        .collect();
    let titles = columns.iter().map(|name| title(name));
    let mut table = Table::headed(std::iter::once("").chain(titles));
    for round in &document.rounds {
        let remark = match (round.invalid.is_empty(), round.ended_early) {
            (false, _) => " (INVALID)",
            (true, true) => " (ended early)",
            (true, false) => "",
        };
        let name = format!("round {}{remark}", round.number);
        let cells = columns
            .iter()
            .map(|column| said(round, column).map_or_else(dash, |value| show(column, value)));
        table.row(std::iter::once(name).chain(cells));
    }
    for (name, pick) in STATISTICS {
        let cells = columns.iter().map(|column| {
            pick(&summary.metrics[*column]).map_or_else(dash, |value| show(column, value))
        });
        table.row(std::iter::once((*name).to_owned()).chain(cells));
    }
    paper.heading("Rounds");
    paper.table(&table);
    let mut meaning = "± 95 %: the mean lies within plus or minus this with 95 % confidence \
                       (Student t over rounds, if they are independent and roughly normal)."
        .to_owned();
    if let (Some(latency), Some(_)) = (
        &summary.methods.latency,
        columns.iter().find(|name| name.starts_with("latency_")),
    ) {
        meaning += &format!(" p50 and p99 are of the {latency} time.");
    }
    paper.note(&meaning);
    let by = chosen_round(document).map_or("rate", |(_, by)| by);
    paper.note(&format!(
        "What follows is round {}, the one with the median {by}.",
        shown.number
    ));
    paper.blank();
}

type Pick = fn(&MetricSummary) -> Option<f64>;
const STATISTICS: &[(&str, Pick)] = &[
    ("mean", |metric| Some(metric.mean.get())),
    ("± 95 %", |metric| {
        Some(metric.confidence_interval_95_half_width?.get())
    }),
    ("stddev", |metric| Some(metric.stddev?.get())),
    ("median", |metric| Some(metric.median.get())),
    ("min", |metric| Some(metric.min.get())),
    ("max", |metric| Some(metric.max.get())),
];

/// What a round says of a metric: [`metric`], but no percentile of too few values.
fn said(round: &Round, name: &str) -> Option<f64> {
    let resolved = |percentile: &str| {
        let (_, latency) = round.measured.latency.primary()?;
        latency.percentile(percentile).map(|ns| ns as f64)
    };
    match name {
        "latency_p50_ns" => resolved("p50"),
        "latency_p99_ns" => resolved("p99"),
        name => metric(round, name),
    }
}

/// What the rounds say of a metric together: nothing where one of them has too few values for it.
pub(crate) fn summarised<'a>(document: &'a Document, name: &str) -> Option<&'a MetricSummary> {
    let summary = document.summary.as_ref()?.metrics.get(name)?;
    let of_latency = name.starts_with("latency_");
    let too_few = |round: &&Round| of_latency && said(round, name).is_none();
    let rounds = counted(&document.rounds);
    (!rounds.iter().any(too_few)).then_some(summary)
}

pub(crate) fn title(metric: &str) -> &'static str {
    match metric {
        "rate_per_second" => "rate",
        "throughput_bits_per_second" => "throughput",
        "latency_p50_ns" => "p50",
        "latency_p99_ns" => "p99",
        "load_cpu_ns_per_operation" => "load CPU/op",
        _ => "testee CPU/op",
    }
}

pub(crate) fn show(metric: &str, value: f64) -> String {
    match metric {
        "rate_per_second" => format!("{}/s", human_count(value)),
        "throughput_bits_per_second" => human_bit_rate(value),
        _ => human_ns(value),
    }
}

pub(crate) fn dash() -> String {
    "-".to_owned()
}

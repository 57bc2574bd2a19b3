//! Documents as metrics in Prometheus' text exposition format 0.0.4, for the node exporter's textfile
//! collector or a push gateway: base units (seconds, bytes), `HELP` and `TYPE` once a name, no time stamps.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Write as _;

use crate::Labelled;
use crate::assemble::counted;
use crate::comparison::{ArmEffect, Comparison};
use crate::document::{Document, Finite, MetricSummary, Round, Status};
use crate::histogram::HistogramError;
use crate::pooled::{self, Pooled};
use crate::saved::View;

const NS_PER_S: f64 = 1e9;
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

/// The documents as metrics; the label `run` or `comparison` tells them apart.
///
/// # Errors
/// If a histogram cannot be read.
pub fn render(documents: &[Labelled<View>]) -> Result<String, HistogramError> {
    // Two series of one name are none to a reader.
    let mut documents = documents.to_vec();
    crate::distinguish(&mut documents);
    let mut exposition = Exposition::default();
    for document in &documents {
        match document.value {
            View::Run(run) => add_run(&mut exposition, &document.label, run)?,
            View::Comparison(comparison) => {
                add_comparison(&mut exposition, &document.label, comparison)
            }
        }
    }
    Ok(exposition.text())
}

/// Every analysed metric of every arm: its median, and how it differs from the baseline.
fn add_comparison(exposition: &mut Exposition, label: &str, comparison: &Comparison) {
    let cells = comparison.cells.iter();
    let mut cells: Vec<_> = cells.map(|cell| Labelled::new(&cell.label, cell)).collect();
    crate::distinguish(&mut cells);
    for Labelled {
        label: cell_label,
        value: cell,
    } in &cells
    {
        let arms = cell.arms.iter();
        let mut arms: Vec<_> = arms.map(|arm| Labelled::new(&arm.label, ())).collect();
        crate::distinguish(&mut arms);
        for metric in cell.analysis.iter().flat_map(|analysis| &analysis.metrics) {
            for arm in &metric.arms {
                let name = arms
                    .get(arm.arm as usize)
                    .map_or("?", |arm| arm.label.as_str());
                let labels = [
                    ("comparison", label),
                    ("cell", cell_label.as_str()),
                    ("arm", name),
                    ("metric", metric.metric.name()),
                ];
                add_effect(exposition, &labels, arm);
            }
        }
    }
}

fn add_effect(exposition: &mut Exposition, labels: &Labels, arm: &ArmEffect) {
    if let Some(median) = arm.median {
        exposition
            .family(
                "linerate_comparison_median",
                "gauge",
                "Median over rounds, in the unit that the name of the metric ends in.",
            )
            .sample("", labels, median.get());
    }
    let Some(effect) = &arm.effect else { return };
    let family = exposition.family(
        "linerate_comparison_change_ratio",
        "gauge",
        "Change against the baseline: 0.05 is 5 percent more. `bound` is estimate, low or high.",
    );
    let bounds = [
        ("estimate", effect.change),
        ("low", effect.confidence_low),
        ("high", effect.confidence_high),
    ];
    for (bound, value) in bounds {
        family.sample("", &[labels, &[("bound", bound)]].concat(), value.get());
    }
    if let Some(verdict) = arm.verdict {
        exposition
            .family(
                "linerate_comparison_verdict",
                "gauge",
                "The verdict on an arm in a metric, as a label; always 1.",
            )
            .sample("", &[labels, &[("verdict", verdict.name())]].concat(), 1.0);
    }
}

fn add_run(
    exposition: &mut Exposition,
    label: &str,
    document: &Document,
) -> Result<(), HistogramError> {
    let labels = [("run", label)];
    info(exposition, &labels, document);
    totals(exposition, &labels, document);
    metrics(exposition, &labels, document);
    for latency in pooled::latencies(document)? {
        distribution(exposition, &labels, &latency);
    }
    Ok(())
}

type Labels<'a> = [(&'a str, &'a str)];

fn info(exposition: &mut Exposition, labels: &Labels, document: &Document) {
    let plan = &document.plan;
    let round = document.rounds.first();
    let used = |sides: Option<&Vec<crate::document::Side>>, requested: &str| {
        sides
            .and_then(|sides| sides.first())
            .map_or(requested.to_owned(), |side| side.engine.used.clone())
    };
    let load = used(round.map(|round| &round.load), &plan.engine.load);
    let testee = plan.engine.testee.as_deref().unwrap_or_default();
    let testee = used(round.map(|round| &round.testee), testee);
    let connections = plan.connections.to_string();
    let what = [
        ("version", document.linerate_version.as_str()),
        ("workload", plan.workload.name()),
        ("transport", &plan.target.transport),
        ("load_engine", &load),
        ("testee_engine", &testee),
        ("connections", &connections),
    ];
    let family = exposition.family("linerate_run_info", "gauge", "What was measured; always 1.");
    family.sample("", &[labels, &what].concat(), 1.0);
    let family = exposition.family(
        "linerate_run_start_time_seconds",
        "gauge",
        "When the run started, seconds since 1970-01-01 UTC.",
    );
    family.sample("", labels, document.started_at_unix_ns as f64 / NS_PER_S);
    let family = exposition.family(
        "linerate_run_complete",
        "gauge",
        "1 if every round ran to its end and operations succeeded, else 0.",
    );
    let complete = document.status == Status::Ok;
    family.sample("", labels, f64::from(u8::from(complete)));
}

/// Counts over the rounds that count.
fn totals(exposition: &mut Exposition, labels: &Labels, document: &Document) {
    let rounds = counted(&document.rounds);
    let sum = |pick: fn(&Round) -> u64| rounds.iter().map(|round| pick(round)).sum::<u64>() as f64;
    let families: [(&str, &str, f64); 4] = [
        (
            "linerate_operations_total",
            "Operations that succeeded inside the measured windows.",
            sum(|round| round.measured.totals.operations),
        ),
        (
            "linerate_sent_bytes_total",
            "Payload bytes that the load sent inside the measured windows.",
            sum(|round| round.measured.totals.bytes_sent),
        ),
        (
            "linerate_received_bytes_total",
            "Payload bytes that the load received inside the measured windows.",
            sum(|round| round.measured.totals.bytes_received),
        ),
        (
            "linerate_unfinished_operations_total",
            "Operations that were due inside the measured windows and had no answer at the end.",
            sum(|round| round.measured.unfinished.count),
        ),
    ];
    for (name, help, value) in families {
        exposition
            .family(name, "counter", help)
            .sample("", labels, value);
    }
    for error in rounds.iter().flat_map(|round| &round.measured.errors) {
        let kind = [("kind", error.kind.name())];
        exposition
            .family(
                "linerate_failed_operations_total",
                "counter",
                "Operations that failed inside the measured windows, by kind.",
            )
            .add(&[labels, &kind].concat(), error.count as f64);
    }
}

/// Name in the summary, name here, what it is, and what to divide by for base units.
const METRICS: [(&str, &str, &str, f64); 6] = [
    (
        "rate_per_second",
        "linerate_operations_per_second",
        "Successful operations per second, over rounds.",
        1.0,
    ),
    (
        "throughput_bits_per_second",
        "linerate_throughput_bytes_per_second",
        "Payload in both directions, over rounds.",
        8.0,
    ),
    (
        "latency_p50_ns",
        "linerate_round_latency_p50_seconds",
        "Median latency of a round, over rounds.",
        NS_PER_S,
    ),
    (
        "latency_p99_ns",
        "linerate_round_latency_p99_seconds",
        "99th percentile of the latency of a round, over rounds.",
        NS_PER_S,
    ),
    (
        "load_cpu_ns_per_operation",
        "linerate_load_cpu_seconds_per_operation",
        "Process CPU time of the load per operation, over rounds.",
        NS_PER_S,
    ),
    (
        "testee_cpu_ns_per_operation",
        "linerate_testee_cpu_seconds_per_operation",
        "Process CPU time of the testee per operation, over rounds.",
        NS_PER_S,
    ),
];

type Pick = fn(&MetricSummary) -> Option<Finite>;
const STATISTICS: [(&str, Pick); 6] = [
    ("mean", |metric| Some(metric.mean)),
    ("median", |metric| Some(metric.median)),
    ("min", |metric| Some(metric.min)),
    ("max", |metric| Some(metric.max)),
    ("stddev", |metric| metric.stddev),
    ("confidence_interval_95_half_width", |metric| {
        metric.confidence_interval_95_half_width
    }),
];

fn metrics(exposition: &mut Exposition, labels: &Labels, document: &Document) {
    let Some(summary) = &document.summary else {
        return;
    };
    for (metric, name, help, divisor) in METRICS {
        let Some(metric) = summary.metrics.get(metric) else {
            continue;
        };
        let family = exposition.family(name, "gauge", help);
        for (statistic, pick) in STATISTICS {
            if let Some(value) = pick(metric) {
                let statistic = [("statistic", statistic)];
                family.sample("", &[labels, &statistic].concat(), value.get() / divisor);
            }
        }
    }
}

fn distribution(exposition: &mut Exposition, labels: &Labels, latency: &Pooled) {
    let histogram = &latency.histogram;
    let labels = [labels, &[("time", latency.name)]].concat();
    let family = exposition.family(
        "linerate_latency_seconds",
        "summary",
        "Latency of all operations of the rounds that count; `time` says from when to when.",
    );
    for quantile in QUANTILES {
        let value_ns = histogram.value_at_quantile(quantile).min(histogram.max());
        let text = quantile.to_string();
        let quantile = [("quantile", text.as_str())];
        family.sample(
            "",
            &[&labels[..], &quantile].concat(),
            value_ns as f64 / NS_PER_S,
        );
    }
    let count = histogram.len() as f64;
    family.sample("_sum", &labels, histogram.mean() * count / NS_PER_S);
    family.sample("_count", &labels, count);
}

/// Families in the order in which they were first named.
#[derive(Default)]
struct Exposition {
    families: Vec<Family>,
}

struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    /// Name with labels, and value.
    samples: Vec<(String, f64)>,
}

impl Exposition {
    fn family(
        &mut self,
        name: &'static str,
        kind: &'static str,
        help: &'static str,
    ) -> &mut Family {
        let known = self.families.iter().position(|family| family.name == name);
        let index = known.unwrap_or_else(|| {
            self.families.push(Family {
                name,
                kind,
                help,
                samples: Vec::new(),
            });
            self.families.len() - 1
        });
        &mut self.families[index]
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Family {
            name,
            kind,
            help,
            samples,
        } in &self.families
        {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (series, value) in samples {
                let _ = writeln!(text, "{series} {value}");
            }
        }
        text
    }
}

impl Family {
    fn sample(&mut self, suffix: &str, labels: &Labels, value: f64) {
        let series = series(self.name, suffix, labels);
        self.samples.push((series, value));
    }

    /// Adds to the sample with these labels.
    fn add(&mut self, labels: &Labels, value: f64) {
        let series = series(self.name, "", labels);
        match self.samples.iter_mut().find(|(known, _)| *known == series) {
            Some((_, sum)) => *sum += value,
            None => self.samples.push((series, value)),
        }
    }
}

fn series(name: &str, suffix: &str, labels: &Labels) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .collect();
    format!("{name}{suffix}{{{}}}", labels.join(","))
}

/// A label's value: backslash, quote and line feed are escaped; what a terminal would obey is shown.
fn escape(value: &str) -> String {
    crate::foreign::shown_lines(value)
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{Exposition, escape};

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escape("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
        assert_eq!(escape("\u{1b}[2J"), "\\\\x1b[2J");
    }

    #[test]
    fn a_name_is_declared_once_and_counts_add_up() {
        let mut exposition = Exposition::default();
        for run in ["a", "b", "a"] {
            exposition
                .family("x_total", "counter", "Things.")
                .add(&[("run", run)], 2.0);
        }
        assert_eq!(
            exposition.text(),
            "# HELP x_total Things.\n# TYPE x_total counter\n\
             x_total{run=\"a\"} 4\nx_total{run=\"b\"} 2\n"
        );
    }
}

//! From documents to drawings: which numbers go where.

use super::svg::{Band, Bar, Bars, Line, Lines, Panel, Panels, Scale, Track, trimmed};
use crate::assemble::counted;
use crate::document::{Document, Finite, HostActivity, Interval, Plan, Round};
use crate::histogram::{Histogram, HistogramError};
use crate::pooled::{self, Pooled};
use crate::text::ramp::{self, Standing};
use crate::units::{human_bit_rate, human_count, human_duration_ns, human_ns};

/// Percentiles that are marked on a line, and their names.
const MARKED: [(f64, &str); 5] = [
    (0.5, "p50"),
    (0.9, "p90"),
    (0.99, "p99"),
    (0.999, "p99.9"),
    (0.9999, "p99.99"),
];

/// A distribution of fewer values is not drawn.
const FEWEST_DRAWN: u64 = 100;

/// The latencies of a run by percentile, with the range of its rounds behind the first of them; `None`
/// if no latency was measured.
pub(super) fn latency(document: &Document) -> Result<Option<Lines>, HistogramError> {
    let pooled = pooled::latencies(document)?;
    // Failures are none of the latencies of the service, and a few values make no distribution; the
    // table has both.
    let shown: Vec<&Pooled> = pooled
        .iter()
        .filter(|latency| latency.name != "error" && latency.histogram.len() >= FEWEST_DRAWN)
        .collect();
    let named = shown
        .iter()
        .map(|latency| (format!("{} time", latency.name), &latency.histogram));
    let Some(mut lines) = latency_lines(named.collect()) else {
        return Ok(None);
    };
    if let (Some(first), Some(primary)) = (shown.first(), pooled::primary(document)?) {
        // The band belongs to the line that it is drawn behind.
        if first.name == primary.name {
            lines.bands.extend(range_of_rounds(document, &primary)?);
        }
    }
    Ok(Some(lines))
}

/// Distributions under their names by percentile; `None` without any.
pub(super) fn latency_lines(named: Vec<(String, &Histogram)>) -> Option<Lines> {
    let least = named.iter().map(|(_, histogram)| histogram.min()).min()?;
    let most = named.iter().map(|(_, histogram)| histogram.max()).max()?;
    let count = named.iter().map(|(_, histogram)| histogram.len()).max()?;
    let description = named
        .iter()
        .map(|(name, histogram)| format!("{name}: {}", quoted(histogram)))
        .collect::<Vec<_>>()
        .join("; ");
    let lines = named
        .into_iter()
        .enumerate()
        .map(|(style, (name, histogram))| line(style, name, histogram))
        .collect();
    Some(Lines {
        title: "Latency by percentile".to_owned(),
        description,
        x: Scale::percentile(count),
        x_title: "percentile".to_owned(),
        y: Scale::logarithmic(least.max(1) as f64, most as f64, short_ns),
        y_title: "latency (logarithmic)".to_owned(),
        bands: Vec::new(),
        lines,
    })
}

fn line(style: usize, name: String, histogram: &Histogram) -> Line {
    let points = pooled::distribution(histogram)
        .into_iter()
        .map(|point| {
            (
                inverse(point.quantile, histogram.len()),
                point.value_ns as f64,
            )
        })
        .collect();
    let marks = MARKED
        .iter()
        .filter(|(quantile, _)| inverse(*quantile, u64::MAX) <= histogram.len() as f64)
        .map(|(quantile, percentile)| {
            let value = at(histogram, *quantile);
            let says = format!("{name}, {percentile}: {}", human_ns(value));
            ((inverse(*quantile, histogram.len()), value), says)
        })
        .collect();
    Line {
        name,
        style,
        points,
        marks,
    }
}

/// `p50 11.3 us, p99 13.5 us, max 900 us`.
fn quoted(histogram: &Histogram) -> String {
    format!(
        "p50 {}, p99 {}, max {}",
        human_ns(at(histogram, 0.5)),
        human_ns(at(histogram, 0.99)),
        human_ns(histogram.max() as f64)
    )
}

fn at(histogram: &Histogram, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile).min(histogram.max()) as f64
}

/// 1/(1 - quantile); for the largest of `count` values, which has none, that of its rank.
fn inverse(quantile: f64, count: u64) -> f64 {
    (1.0 / (1.0 - quantile)).min(count.max(1) as f64)
}

/// Smallest and largest over the rounds at each percentile of `primary`; `None` for a single round.
fn range_of_rounds(document: &Document, primary: &Pooled) -> Result<Option<Band>, HistogramError> {
    let summaries = counted(&document.rounds);
    let summaries = summaries.iter().filter_map(|round| {
        let (name, summary) = round.measured.latency.primary()?;
        (name == primary.name).then_some(summary)
    });
    let rounds: Vec<Histogram> = summaries
        .map(|summary| summary.to_histogram())
        .collect::<Result<_, _>>()?;
    if rounds.len() < 2 {
        return Ok(None);
    }
    let fewest = rounds.iter().map(Histogram::len).min().unwrap_or(0) as f64;
    let points = pooled::distribution(&primary.histogram)
        .into_iter()
        .map(|point| point.quantile)
        // Beyond this the round with the fewest values has nothing to say.
        .filter(|quantile| 1.0 / (1.0 - quantile) <= fewest)
        .map(|quantile| {
            let values = rounds.iter().map(|round| at(round, quantile));
            let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            (1.0 / (1.0 - quantile), low, high)
        })
        .collect();
    Ok(Some(Band { style: 0, points }))
}

/// What a rate of this document is called, how it is computed for an interval, and how it is shown.
struct Rate {
    metric: &'static str,
    title: &'static str,
    of: fn(&Interval) -> f64,
    show: fn(f64) -> String,
}

fn rate(document: &Document) -> Rate {
    if document.plan.workload.is_bulk() {
        Rate {
            metric: "throughput_bits_per_second",
            title: "payload, as the load counted it",
            of: |interval| {
                let bytes = interval.bytes_sent + interval.bytes_received;
                bytes as f64 * 8.0 * 1e9 / interval.length_ns as f64
            },
            show: human_bit_rate,
        }
    } else {
        Rate {
            metric: "rate_per_second",
            title: "operations per second",
            of: |interval| interval.operations as f64 * 1e9 / interval.length_ns as f64,
            show: human_count,
        }
    }
}

/// The rate over time, a panel per round; `None` without intervals.
pub(super) fn rate_over_time(document: &Document) -> Option<Panels> {
    let rate = rate(document);
    let several = document.rounds.len() > 1;
    let panels: Vec<Panel> = document
        .rounds
        .iter()
        .map(|round| panel(round, &rate, several))
        .filter(|panel| panel.tracks.iter().any(|track| !track.steps.is_empty()))
        .collect();
    let tracks = panels.iter().flat_map(|panel| &panel.tracks);
    let values = tracks.flat_map(|track| &track.steps);
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    for (_, _, value) in values {
        (least, most) = (least.min(*value), most.max(*value));
    }
    if panels.is_empty() {
        return None;
    }
    let mean = document
        .summary
        .as_ref()
        .and_then(|summary| summary.metrics.get(rate.metric))
        .map(|metric| metric.mean.get());
    let show = |value: f64| match rate.show {
        _ if document.plan.workload.is_bulk() => (rate.show)(value),
        show => format!("{}/s", show(value)),
    };
    Some(Panels {
        title: "Rate over time".to_owned(),
        description: format!(
            "between {} and {} in the intervals of {} of {}",
            show(least),
            show(most),
            rounds_in_words(&panels),
            human_duration_ns((longest_s(document) * 1e9) as u64)
        ),
        y: Scale::linear(0.0, most.max(mean.unwrap_or(0.0)) * 1.05, 4, |value| {
            trimmed(&(rate.show)(value))
        }),
        y_title: rate.title.to_owned(),
        x: (!several).then(|| {
            Scale::linear(0.0, longest_s(document), 8, |s| {
                trimmed(&format!("{s:.2} s"))
            })
        }),
        x_title: match several {
            true => "round".to_owned(),
            false => "time since the window began".to_owned(),
        },
        level: mean.map(|mean| (mean, format!("mean {}", show(mean)))),
        panels,
    })
}

/// How the connections of a round came up, where they are opened once; `None` elsewhere, and where there are too few
/// intervals for a picture.
pub(super) fn ramp_over_time(plan: &Plan, round: &Round) -> Option<Lines> {
    let points = ramp::over_time(round);
    let last = points.last().filter(|_| points.len() > 1)?;
    type Pick = fn(&Standing) -> u64;
    let named: [(&str, Pick); 4] = [
        ("established", |point| point.established),
        ("being opened", |point| point.dialing),
        ("failed", |point| point.failed),
        ("lost", |point| point.closed),
    ];
    let begin = std::iter::once((0.0, 0.0));
    let lines: Vec<Line> = named
        .into_iter()
        .enumerate()
        .filter(|(_, (_, pick))| points.iter().any(|point| pick(point) > 0))
        .map(|(style, (name, pick))| Line {
            name: name.to_owned(),
            style,
            points: begin
                .clone()
                .chain(points.iter().map(|point| (point.at_s, pick(point) as f64)))
                .collect(),
            marks: Vec::new(),
        })
        .collect();
    let (title, since) = match plan.workload.joins() {
        true => ("Clients over time", "time since the go"),
        false => ("Connections over time", "time since the window began"),
    };
    let comes_up = plan.workload.holds() || plan.workload.joins();
    comes_up.then(|| Lines {
        title: title.to_owned(),
        description: format!(
            "{} established, {} failed and {} lost at the end of {}",
            human_count((last.established + last.closed) as f64),
            human_count(last.failed as f64),
            human_count(last.closed as f64),
            human_ns(last.at_s * 1e9)
        ),
        x: Scale::linear(0.0, last.at_s, 8, |s| trimmed(&format!("{s:.2} s"))),
        x_title: since.to_owned(),
        y: Scale::linear(0.0, plan.connections as f64 * 1.05, 4, |value| {
            trimmed(&human_count(value))
        }),
        y_title: "connections".to_owned(),
        bands: Vec::new(),
        lines,
    })
}

fn rounds_in_words(panels: &[Panel]) -> String {
    match panels.len() {
        1 => "one round".to_owned(),
        count => format!("{count} rounds"),
    }
}

fn longest_s(document: &Document) -> f64 {
    let lengths = document.rounds.iter().map(|round| round.window.length_ns);
    lengths.max().unwrap_or_default() as f64 / 1e9
}

fn panel(round: &Round, rate: &Rate, several: bool) -> Panel {
    let steps = round.measured.intervals.iter();
    let steps = steps
        .filter(|interval| interval.length_ns > 0)
        .map(|interval| {
            let start = interval.start_offset_ns as f64 / 1e9;
            (
                start,
                start + interval.length_ns as f64 / 1e9,
                (rate.of)(interval),
            )
        });
    let counts = round.invalid.is_empty() && !round.ended_early;
    let remark = if counts { "" } else { "*" };
    Panel {
        name: match several {
            true => format!("{}{remark}", round.number),
            false => String::new(),
        },
        counts,
        tracks: vec![Track {
            style: 0,
            steps: steps.collect(),
        }],
    }
}

/// CPU time per operation of either process, and of the whole of each host; `None` if nothing is known.
pub(super) fn cpu(document: &Document) -> Option<Bars> {
    let metrics = &document.summary.as_ref()?.metrics;
    let processes = [
        ("load process", "load_cpu_ns_per_operation"),
        ("testee process", "testee_cpu_ns_per_operation"),
    ];
    let mut bars: Vec<Bar> = Vec::new();
    for (style, (name, metric)) in processes.into_iter().enumerate() {
        if let Some(metric) = metrics.get(metric) {
            let values = metric.values.iter().map(|value| value.get()).collect();
            bars.extend(bar(name.to_owned(), style, values));
        }
    }
    for host in &document.hosts {
        let name = format!("everything on host {}, interrupts included", host.id);
        bars.extend(bar(name, 2, service_demand_ns(document, &host.id)));
    }
    bars_of(bars)
}

/// Bars of CPU time over a common axis; `None` without any.
pub(super) fn bars_of(bars: Vec<Bar>) -> Option<Bars> {
    let most = bars
        .iter()
        .map(|bar| bar.range.map_or(bar.value, |(_, most)| most.max(bar.value)))
        .fold(0.0, f64::max);
    (!bars.is_empty()).then(|| Bars {
        title: "CPU time per operation".to_owned(),
        x: Scale::linear(0.0, most, 4, short_ns),
        x_title: "CPU time per operation".to_owned(),
        bars,
    })
}

/// The mean over rounds and their range; `None` without values.
pub(super) fn bar(name: String, style: usize, values: Vec<f64>) -> Option<Bar> {
    if values.is_empty() {
        return None;
    }
    let value = values.iter().sum::<f64>() / values.len() as f64;
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    Some(Bar {
        name,
        style,
        value,
        shown: human_ns(value),
        range: (values.len() > 1).then_some((least, most)),
    })
}

/// netperf's service demand of a host in nanoseconds, for each round that counts and has it.
fn service_demand_ns(document: &Document, host: &str) -> Vec<f64> {
    let rounds = counted(&document.rounds);
    let of = |activity: &HostActivity| -> Option<Finite> {
        activity
            .service_demand
            .as_ref()?
            .system_cpu_us_per_operation
    };
    rounds
        .iter()
        .flat_map(|round| &round.hosts)
        .filter(|activity| activity.host == host)
        .filter_map(of)
        .map(|us| us.get() * 1000.0)
        .collect()
}

fn short_ns(ns: f64) -> String {
    trimmed(&human_ns(ns))
}

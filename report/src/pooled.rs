//! The latency of a whole run: the histograms of its rounds added up.
//!
//! Percentiles of the sum are those of all operations together. They are shown as a distribution; the
//! statistics of a run are over rounds, and come from [`crate::assemble::summary`].

use crate::assemble::counted;
use crate::document::{Document, Latencies, LatencySummary};
use crate::histogram::{self, Histogram, HistogramError};

/// Steps of the percentile iteration per halving of what is left above: the resolution that
/// HdrHistogram's tools use by default.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// A latency over all rounds that count.
#[derive(Debug, Clone)]
pub struct Pooled {
    /// Which time: `response`, `service`, `connect`, `total` or `error`.
    pub name: &'static str,
    /// All its values, in nanoseconds. Never empty.
    pub histogram: Histogram,
}

/// A point of a percentile distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// This share of the values ...
    pub quantile: f64,
    /// ... is at most this.
    pub value_ns: u64,
    /// Values up to here.
    pub count: u64,
}

/// Each latency that the rounds of `document` have, in the order of [`Latencies::named`].
///
/// # Errors
/// If a histogram cannot be read.
pub fn latencies(document: &Document) -> Result<Vec<Pooled>, HistogramError> {
    let rounds = counted(&document.rounds);
    let named = rounds.iter().map(|round| round.measured.latency.named());
    let mut found: Vec<Pooled> = Vec::new();
    for (name, summary) in named.flatten() {
        if let Some(summary) = summary {
            add(&mut found, name, summary)?;
        }
    }
    // A kind that only a later round has would otherwise stand last.
    let none = Latencies::default();
    let order = none.named();
    found.sort_by_key(|pooled| order.iter().position(|(name, _)| *name == pooled.name));
    Ok(found)
}

fn add(
    found: &mut Vec<Pooled>,
    name: &'static str,
    summary: &LatencySummary,
) -> Result<(), HistogramError> {
    let histogram = summary.to_histogram()?;
    match found.iter_mut().find(|pooled| pooled.name == name) {
        Some(pooled) => histogram::add(&mut pooled.histogram, &histogram),
        None => {
            found.push(Pooled { name, histogram });
            Ok(())
        }
    }
}

/// The latency that a user of the service would feel ([`Latencies::primary`]), over
/// all rounds that count; `None` if none was measured.
///
/// # Errors
/// If a histogram cannot be read.
pub fn primary(document: &Document) -> Result<Option<Pooled>, HistogramError> {
    let rounds = counted(&document.rounds);
    let mut found = Vec::new();
    for (name, summary) in rounds
        .iter()
        .filter_map(|round| round.measured.latency.primary())
    {
        add(&mut found, name, summary)?;
    }
    Ok(found.into_iter().next())
}

/// The percentile distribution, from the smallest value to the largest.
pub fn distribution(histogram: &Histogram) -> Vec<Point> {
    let mut count = 0;
    histogram
        .iter_quantiles(TICKS_PER_HALF_DISTANCE)
        .map(|step| {
            count += step.count_since_last_iteration();
            Point {
                quantile: step.quantile_iterated_to(),
                value_ns: step.value_iterated_to(),
                count,
            }
        })
        .collect()
}

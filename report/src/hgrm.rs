//! HdrHistogram's percentile distribution as text (`.hgrm`), which its plotters read: the format of
//! `AbstractHistogram.outputPercentileDistribution` of HdrHistogram for Java.
//!
//! Values are microseconds: `hdr-plot --units us`. Lines that begin with `#` are skipped by readers.

use std::fmt::Write as _;

use crate::document::Document;
use crate::histogram::{Histogram, HistogramError, SIGNIFICANT_DIGITS};
use crate::pooled;

const NS_PER_US: f64 = 1000.0;

/// The latency of `document` over all rounds that count; `None` if none was measured.
///
/// # Errors
/// If a histogram cannot be read.
pub fn render(document: &Document) -> Result<Option<String>, HistogramError> {
    Ok(pooled::primary(document)?.map(|latency| {
        let note = format!("{} time in microseconds", latency.name);
        distribution(&note, &latency.histogram)
    }))
}

/// One distribution with a note about what it is.
pub fn distribution(note: &str, histogram: &Histogram) -> String {
    let mut text = format!(
        "# {}\n{:>12} {:>14} {:>10} {:>14}\n\n",
        one_line(note),
        "Value",
        "Percentile",
        "TotalCount",
        "1/(1-Percentile)"
    );
    for point in pooled::distribution(histogram) {
        // At least one space before the value: hdr-plot looks for it.
        let _ = write!(
            text,
            " {:>11.3} {:>14.12} {:>10}",
            point.value_ns as f64 / NS_PER_US,
            point.quantile,
            point.count
        );
        // The last line has no inverse, for it would be infinite.
        if point.quantile < 1.0 {
            let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - point.quantile));
        }
        text.push('\n');
    }
    text + &footer(histogram)
}

fn footer(histogram: &Histogram) -> String {
    let us = |ns: f64| ns / NS_PER_US;
    format!(
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n\
         #[Max     = {:>12.3}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]\n",
        us(histogram.mean()),
        us(histogram.stdev()),
        us(histogram.max() as f64),
        histogram.len(),
        histogram.buckets(),
        sub_buckets()
    )
}

/// Linear steps per bucket: the power of two that tells two times 10^digits values apart.
fn sub_buckets() -> u64 {
    (2 * 10u64.pow(u32::from(SIGNIFICANT_DIGITS))).next_power_of_two()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

//! Latency histograms: one set of bounds for all, so that any two can be added.
//!
//! HdrHistogram (Gil Tene, <https://hdrhistogram.org>) keeps counts in buckets whose width grows
//! with the value, so that every value is known to a fixed number of significant digits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

use crate::document::{Finite, LatencySummary};

/// A histogram of nanoseconds.
pub type Histogram = hdrhistogram::Histogram<u64>;

/// Smallest value told apart: 1 ns.
pub const LOWEST_NS: u64 = 1;
/// Largest value: one hour. Recorders saturate there.
pub const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits kept.
pub const SIGNIFICANT_DIGITS: u8 = 3;

/// Why histograms could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum HistogramError {
    /// Not base64.
    #[error("a latency histogram is not base64: {0}")]
    NotBase64(#[from] base64::DecodeError),
    /// Not an HdrHistogram.
    #[error("a latency histogram is not HdrHistogram V2 with deflate: {0}")]
    NotHistogram(String),
    /// Other bounds than ours.
    #[error(
        "a latency histogram has bounds {low}..{high} ns with {digits} digits; \
         linerate uses {LOWEST_NS}..{HIGHEST_NS} ns with {SIGNIFICANT_DIGITS}, and only equal bounds add up"
    )]
    OtherBounds {
        /// Lowest value of the histogram found.
        low: u64,
        /// Highest value of the histogram found.
        high: u64,
        /// Significant digits of the histogram found.
        digits: u8,
    },
    /// The histogram could not be written.
    #[error("a latency histogram could not be encoded: {0}")]
    NotEncoded(String),
    /// Two histograms could not be added.
    #[error("latency histograms could not be added: {0}")]
    NotAdded(String),
}

/// An empty histogram with the bounds that every linerate uses.
pub fn new() -> Histogram {
    // The bounds are constants that hdrhistogram accepts; a test creates one.
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
        .expect("constant bounds are valid")
}

/// Base64 of HdrHistogram V2 with deflate, what HdrHistogram tools read.
///
/// # Errors
/// If a count or the size exceeds what the format can hold.
pub fn encode(histogram: &Histogram) -> Result<String, HistogramError> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .map_err(|error| HistogramError::NotEncoded(error.to_string()))?;
    Ok(BASE64.encode(bytes))
}

/// The histogram that [`encode`] wrote.
///
/// # Errors
/// If the text is not base64, not V2 with deflate, or has other bounds than [`new`].
pub fn decode(text: &str) -> Result<Histogram, HistogramError> {
    let bytes = BASE64.decode(text)?;
    let histogram: Histogram = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| HistogramError::NotHistogram(error.to_string()))?;
    let (low, high, digits) = (histogram.low(), histogram.high(), histogram.sigfig());
    if (low, high, digits) != (LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS) {
        return Err(HistogramError::OtherBounds { low, high, digits });
    }
    Ok(histogram)
}

/// Adds the values of `other` to `sum`.
///
/// # Errors
/// If the bounds differ.
pub fn add(sum: &mut Histogram, other: &Histogram) -> Result<(), HistogramError> {
    sum.add(other)
        .map_err(|error| HistogramError::NotAdded(error.to_string()))
}

impl LatencySummary {
    /// What people quote from `histogram`, and the histogram itself; `None` if it is empty.
    ///
    /// Percentiles are by rank: the smallest recorded value that at least this share of the
    /// values do not exceed.
    ///
    /// # Errors
    /// If the histogram cannot be encoded.
    pub fn from_histogram(histogram: &Histogram) -> Result<Option<Self>, HistogramError> {
        if histogram.is_empty() {
            return Ok(None);
        }
        let text = encode(histogram)?;
        // Upper bounds of buckets may exceed the largest value by the resolution; no percentile may
        // exceed the maximum that stands beside it.
        let at = |quantile: f64| histogram.value_at_quantile(quantile).min(histogram.max());
        let (Some(mean_ns), Some(stddev_ns)) = (
            Finite::new(histogram.mean()),
            Finite::new(histogram.stdev()),
        ) else {
            return Err(HistogramError::NotEncoded(
                "its mean is not a number".to_owned(),
            ));
        };
        Ok(Some(LatencySummary {
            count: histogram.len(),
            min_ns: histogram.min(),
            mean_ns,
            stddev_ns,
            p50_ns: at(0.5),
            p75_ns: at(0.75),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p99_9_ns: at(0.999),
            p99_99_ns: at(0.9999),
            max_ns: histogram.max(),
            histogram: text,
        }))
    }

    /// From the form on the wire: base64 to summary. The empty string and an empty histogram are
    /// `None`.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn from_encoded(text: &str) -> Result<Option<Self>, HistogramError> {
        if text.is_empty() {
            return Ok(None);
        }
        LatencySummary::from_histogram(&decode(text)?)
    }

    /// The histogram behind the summary.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn to_histogram(&self) -> Result<Histogram, HistogramError> {
        decode(&self.histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_summary_of_one_to_a_thousand_microseconds() {
        let mut histogram = new();
        for microseconds in 1..=1000u64 {
            histogram.record(microseconds * 1000).unwrap();
        }
        let summary = LatencySummary::from_histogram(&histogram).unwrap().unwrap();
        assert_eq!(summary.count, 1000);
        let close = |found: u64, expected: u64| {
            assert!(
                found.abs_diff(expected) * 1000 <= expected,
                "{found} is not {expected} to 3 digits"
            );
        };
        close(summary.min_ns, 1_000);
        close(summary.p50_ns, 500_000);
        close(summary.p75_ns, 750_000);
        close(summary.p90_ns, 900_000);
        close(summary.p99_ns, 990_000);
        close(summary.p99_9_ns, 999_000);
        close(summary.p99_99_ns, 1_000_000);
        close(summary.max_ns, 1_000_000);
        close(summary.mean_ns.get() as u64, 500_500);
        // sqrt((1000^2 - 1) / 12) us
        close(summary.stddev_ns.get() as u64, 288_675);
    }

    #[test]
    fn an_empty_histogram_has_no_summary() {
        assert_eq!(LatencySummary::from_histogram(&new()).unwrap(), None);
        assert_eq!(LatencySummary::from_encoded("").unwrap(), None);
        let empty = encode(&new()).unwrap();
        assert_eq!(LatencySummary::from_encoded(&empty).unwrap(), None);
    }

    #[test]
    fn the_bounds_hold_a_nanosecond_and_an_hour() {
        let mut histogram = new();
        histogram.record(1).unwrap();
        histogram.record(HIGHEST_NS).unwrap();
        histogram.saturating_record(u64::MAX);
        let summary = LatencySummary::from_histogram(&histogram).unwrap().unwrap();
        assert_eq!(summary.min_ns, 1);
        assert!(summary.max_ns >= HIGHEST_NS);
        assert!(summary.max_ns - HIGHEST_NS < HIGHEST_NS / 1000);
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        assert!(matches!(
            decode("*").unwrap_err(),
            HistogramError::NotBase64(_)
        ));
        assert!(matches!(
            decode("AAAA").unwrap_err(),
            HistogramError::NotHistogram(_)
        ));
        let other = Histogram::new_with_bounds(1, 1000, 2).unwrap();
        let error = decode(&encode(&other).unwrap()).unwrap_err();
        assert!(
            matches!(error, HistogramError::OtherBounds { .. }),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn encoding_keeps_every_count(values in prop::collection::vec(1..=HIGHEST_NS, 0..200)) {
            let mut histogram = new();
            for value in &values {
                histogram.record(*value).unwrap();
            }
            prop_assert_eq!(decode(&encode(&histogram).unwrap()).unwrap(), histogram);
        }
    }
}

//! Latency histograms: one set of bounds for all, so that any two can be added.
//!
//! HdrHistogram (Gil Tene, <https://hdrhistogram.org>) keeps counts in buckets whose width grows
//! with the value, so that every value is known to a fixed number of significant digits.

use std::io::Read as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
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
    let plain = inflated(&BASE64.decode(text)?)?;
    check_header(&plain)?;
    Deserializer::new()
        .deserialize(&mut plain.as_slice())
        .map_err(|error| HistogramError::NotHistogram(error.to_string()))
}

/// Before the counts of HdrHistogram's V2 encoding: cookie, length of the counts, normalising offset and digits
/// in 4 bytes each; lowest value, highest value and a ratio in 8 (`AbstractHistogram.java`, ENCODING_HEADER_SIZE).
const HEADER_BYTES: usize = 40;
/// A count takes up to so many bytes (ZigZag LEB128-64b9B).
const COUNT_BYTES: usize = 9;
/// What a histogram of our bounds takes, whatever is in it.
static LONGEST_BYTES: LazyLock<usize> =
    LazyLock::new(|| HEADER_BYTES + COUNT_BYTES * new().distinct_values());

/// The V2 encoding in the V2 + deflate one, which is a cookie, a length, and a zlib stream of that length.
/// Whoever wrote it, no more is inflated than a histogram of ours can have.
fn inflated(bytes: &[u8]) -> Result<Vec<u8>, HistogramError> {
    let stream = number(bytes, 4)
        .and_then(|length| bytes.get(8..)?.get(..length as usize))
        .ok_or_else(|| HistogramError::NotHistogram("it is cut off".to_owned()))?;
    let mut plain = Vec::new();
    ZlibDecoder::new(stream)
        .take(*LONGEST_BYTES as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| HistogramError::NotHistogram(error.to_string()))?;
    match plain.len() > *LONGEST_BYTES {
        true => Err(HistogramError::NotHistogram(format!(
            "it inflates to more than {} bytes, and no histogram of linerate is so long",
            *LONGEST_BYTES
        ))),
        false => Ok(plain),
    }
}

/// What memory is taken by, looked at before it is taken.
fn check_header(plain: &[u8]) -> Result<(), HistogramError> {
    let wide = |at: usize| Some(u64::from_be_bytes(plain.get(at..at + 8)?.try_into().ok()?));
    let header = number(plain, 4)
        .zip(number(plain, 12))
        .zip(wide(16).zip(wide(24)));
    let Some(((counts_bytes, digits), (low, high))) = header else {
        return Err(HistogramError::NotHistogram("it is cut off".to_owned()));
    };
    let digits = u8::try_from(digits).unwrap_or(u8::MAX);
    if (low, high, digits) != (LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS) {
        return Err(HistogramError::OtherBounds { low, high, digits });
    }
    let there = plain.len().saturating_sub(HEADER_BYTES);
    match counts_bytes as usize == there {
        true => Ok(()),
        false => Err(HistogramError::NotHistogram(format!(
            "it says that its counts have {counts_bytes} bytes, and they have {there}"
        ))),
    }
}

/// The big-endian number of 4 bytes at `at`.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
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

    /// A zlib stream as a document has it, whatever it inflates to.
    fn packed(plain: &[u8]) -> String {
        use std::io::Write as _;
        let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        stream.write_all(plain).unwrap();
        let stream = stream.finish().unwrap();
        let length = u32::try_from(stream.len()).unwrap().to_be_bytes();
        // V2, compressed: cookie base 0x1c849304 and the word size of 1 byte.
        BASE64.encode([&0x1c84_9314u32.to_be_bytes()[..], &length, &stream].concat())
    }

    fn unpacked(histogram: &Histogram) -> Vec<u8> {
        inflated(&BASE64.decode(encode(histogram).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn no_more_is_taken_than_a_histogram_has() {
        let plain = unpacked(&new());
        assert_eq!(decode(&packed(&plain)).unwrap(), new());
        // A length of -5 was 4.2 GB.
        let mut lying = plain.clone();
        lying[4..8].copy_from_slice(&(-5i32).to_be_bytes());
        let error = decode(&packed(&lying)).unwrap_err().to_string();
        assert!(
            error.contains("its counts have 4294967291 bytes"),
            "{error}"
        );
        // Zeros pack a thousand to one.
        let bomb = [&plain[..], &vec![0; 50_000_000]].concat();
        let error = decode(&packed(&bomb)).unwrap_err().to_string();
        assert!(error.contains("inflates to more than"), "{error}");
        // Five digits of an hour would be a hundred times the memory.
        let mut fine = plain.clone();
        fine[12..16].copy_from_slice(&5u32.to_be_bytes());
        let error = decode(&packed(&fine)).unwrap_err();
        assert!(
            matches!(error, HistogramError::OtherBounds { digits: 5, .. }),
            "{error}"
        );
        assert!(decode(&packed(&plain[..20])).is_err());
        assert!(decode(&BASE64.encode([0x1c, 0x84, 0x93, 0x14, 0, 0, 1, 0, 7])).is_err());
    }

    #[test]
    fn the_fullest_histogram_is_not_too_long() {
        let mut histogram = new();
        let mut value = LOWEST_NS;
        while value <= HIGHEST_NS {
            histogram.record_n(value, u64::MAX / 100_000).unwrap();
            value = histogram.next_non_equivalent(value);
        }
        assert_eq!(decode(&encode(&histogram).unwrap()).unwrap(), histogram);
    }

    proptest! {
        #[test]
        fn what_others_wrote_takes_neither_memory_nor_the_process(
            at in 0usize..60, byte in any::<u8>(), cut in 0usize..60,
        ) {
            let mut histogram = new();
            histogram.record_n(1_000_000, 3).unwrap();
            let mut plain = unpacked(&histogram);
            let length = plain.len();
            plain[at % length] = byte;
            // Whatever it is, it is read or refused.
            let _ = decode(&packed(&plain));
            let _ = decode(&packed(&plain[..length - cut.min(length)]));
        }

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

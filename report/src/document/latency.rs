//! Latency distributions under their true names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Finite;

/// The distributions of one side or round. Null: nothing of this kind was measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Latencies {
    /// Service time: from when the request was really sent until its answer was complete.
    pub service: Option<LatencySummary>,
    /// Response time: from when the request was due until its answer was complete. In a closed
    /// loop a request is due when it is sent, so that this is null there.
    pub response: Option<LatencySummary>,
    /// From asking for a connection until it was established.
    pub connect: Option<LatencySummary>,
    /// From asking for a connection until the handshake of its protocol was done; null where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<LatencySummary>,
    /// Whole operations that open and close a connection: from asking for it until the peer's close is seen or our
    /// reset is sent. close(2) of what the peer has closed is not in it.
    pub total: Option<LatencySummary>,
    /// Operations that failed: from when they were due until the failure was known. They are in
    /// none of the others: a failed operation is never a fast success.
    pub error: Option<LatencySummary>,
}

impl Latencies {
    /// Name and value of each distribution in the order in which they are shown.
    pub fn named(&self) -> [(&'static str, Option<&LatencySummary>); 6] {
        [
            ("response", self.response.as_ref()),
            ("service", self.service.as_ref()),
            ("connect", self.connect.as_ref()),
            ("handshake", self.handshake.as_ref()),
            ("total", self.total.as_ref()),
            ("error", self.error.as_ref()),
        ]
    }

    /// The distribution that a user of the service would feel, and its name: response time where
    /// there is a schedule, else the whole operation, else service time. Connecting is a part of the whole
    /// operation where it is one, and elsewhere happens before there is any.
    pub fn primary(&self) -> Option<(&'static str, &LatencySummary)> {
        let candidates = [
            ("response", self.response.as_ref()),
            ("total", self.total.as_ref()),
            ("service", self.service.as_ref()),
        ];
        candidates
            .into_iter()
            .find_map(|(name, summary)| Some((name, summary?)))
    }
}

/// A latency distribution: what people quote, and the histogram that it came from.
///
/// Values are those of the histogram, exact to 3 significant digits. Never empty: a distribution
/// without a single value is null instead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencySummary {
    /// Number of values.
    pub count: u64,
    /// Smallest.
    pub min_ns: u64,
    /// Arithmetic mean.
    pub mean_ns: Finite,
    /// Standard deviation over all values (divided by count).
    pub stddev_ns: Finite,
    /// Half of the values are at most this.
    pub p50_ns: u64,
    /// 75 % of the values are at most this.
    pub p75_ns: u64,
    /// 90 % of the values are at most this.
    pub p90_ns: u64,
    /// 99 % of the values are at most this.
    pub p99_ns: u64,
    /// 99.9 % of the values are at most this.
    pub p99_9_ns: u64,
    /// 99.99 % of the values are at most this.
    pub p99_99_ns: u64,
    /// Largest.
    pub max_ns: u64,
    /// The HDR histogram, V2 compressed with deflate, in base64: what HdrHistogram tools read.
    pub histogram: String,
}

impl LatencySummary {
    /// Percentiles for people, lowest first: `None` where so few values have no such percentile apart
    /// from their largest, so that its name would promise more than was measured.
    pub fn percentiles(&self) -> [(&'static str, Option<u64>); 6] {
        [
            ("p50", 5_000, self.p50_ns),
            ("p75", 7_500, self.p75_ns),
            ("p90", 9_000, self.p90_ns),
            ("p99", 9_900, self.p99_ns),
            ("p99.9", 9_990, self.p99_9_ns),
            ("p99.99", 9_999, self.p99_99_ns),
        ]
        .map(|(name, of_10_000, ns)| (name, self.resolves(of_10_000).then_some(ns)))
    }

    /// The percentile of that name, as [`LatencySummary::percentiles`] has it.
    pub fn percentile(&self, name: &str) -> Option<u64> {
        let all = self.percentiles();
        all.into_iter().find(|(known, _)| *known == name)?.1
    }

    /// Whether a percentile (in 1/10,000) is of a lower rank than the largest value: of n values the
    /// rank is p * n rounded up, and less than n from 1 / (1 - p) values on.
    fn resolves(&self, of_10_000: u64) -> bool {
        self.count.saturating_mul(10_000 - of_10_000) >= 10_000
    }
}

//! Statistics over the rounds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finite, Unknown};

/// Statistics over the rounds. One round gives one value per metric; rounds are the sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// How the statistics were computed.
    pub methods: Methods,
    /// Metric name to its statistics; metrics that no round has are left out. The names are
    /// `rate_per_second`, `throughput_bits_per_second`, `latency_p50_ns`, `latency_p99_ns`,
    /// `load_cpu_ns_per_operation` and `testee_cpu_ns_per_operation`.
    pub metrics: BTreeMap<String, MetricSummary>,
}

/// How the statistics were computed, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Methods {
    /// What one value is.
    pub sample: String,
    /// The standard deviation.
    pub stddev: String,
    /// The median.
    pub median: String,
    /// The confidence interval.
    pub confidence_interval: String,
    /// How percentiles of several agents were joined.
    pub percentiles: String,
    /// Which distribution `latency_p50_ns` and `latency_p99_ns` are of: `service`, `response`,
    /// or `total`; null if no latency was measured.
    pub latency: Option<String>,
}

/// One metric over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSummary {
    /// Unit of every value: `1/s`, `bit/s` or `ns`.
    pub unit: String,
    /// Number of rounds that have the metric.
    pub n: u32,
    /// Arithmetic mean.
    pub mean: Finite,
    /// Sample standard deviation (divided by n - 1).
    pub stddev: Option<Finite>,
    /// Median.
    pub median: Finite,
    /// Smallest.
    pub min: Finite,
    /// Largest.
    pub max: Finite,
    /// The mean is within plus or minus this with 95 % confidence, if rounds are independent and
    /// roughly normal.
    pub confidence_interval_95_half_width: Option<Finite>,
    /// The value of each round, in order.
    pub values: Vec<Finite>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

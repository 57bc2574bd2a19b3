//! What is compared, and which way is better.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Workload;

/// Which side the arms of a comparison differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vary {
    /// The load generator; the testee is the same in every arm.
    Load,
    /// The testee; the load generator is the same in every arm.
    Testee,
    /// Both sides alike, or anything that a plan file varies.
    Both,
}

impl Vary {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Vary::Load => "load",
            Vary::Testee => "testee",
            Vary::Both => "both",
        }
    }
}

/// A metric as users name it: a metric, or the CPU of whichever side is varied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MetricName {
    text: String,
    quantity: Quantity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Metric(Metric),
    CpuPerOperation,
    CpuPerKib,
}

/// The short names. Those of the document are names too.
const NAMES: [(&str, Quantity); 12] = [
    ("rate", Quantity::Metric(Metric::Rate)),
    ("throughput", Quantity::Metric(Metric::Throughput)),
    ("mean", Quantity::Metric(Metric::LatencyMean)),
    ("p50", Quantity::Metric(Metric::LatencyP50)),
    ("p99", Quantity::Metric(Metric::LatencyP99)),
    ("p99.9", Quantity::Metric(Metric::LatencyP999)),
    ("cpu_per_op", Quantity::CpuPerOperation),
    ("cpu_per_kib", Quantity::CpuPerKib),
    (
        "load_cpu_per_op",
        Quantity::Metric(Metric::LoadCpuPerOperation),
    ),
    (
        "testee_cpu_per_op",
        Quantity::Metric(Metric::TesteeCpuPerOperation),
    ),
    ("load_cpu_per_kib", Quantity::Metric(Metric::LoadCpuPerKib)),
    (
        "testee_cpu_per_kib",
        Quantity::Metric(Metric::TesteeCpuPerKib),
    ),
];

impl std::str::FromStr for MetricName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let short = NAMES.iter().find(|(known, _)| *known == name);
        let long = || Metric::ALL.into_iter().find(|metric| metric.name() == name);
        let found = short
            .map(|(_, quantity)| *quantity)
            .or_else(|| long().map(Quantity::Metric));
        let named = found.map(|quantity| MetricName {
            text: name.to_owned(),
            quantity,
        });
        named.ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("there is no metric \"{name}\" ({})", known.join(", "))
        })
    }
}

impl TryFrom<String> for MetricName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MetricName> for String {
    fn from(name: MetricName) -> Self {
        name.text
    }
}

impl MetricName {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The metric in a comparison of `workload` that varies `vary`, in the terms in which `workload` is
    /// judged.
    pub fn of(&self, workload: Workload, vary: Vary) -> Metric {
        match self.quantity {
            Quantity::Metric(metric) => metric,
            Quantity::CpuPerOperation => Metric::cpu_per_operation(vary),
            Quantity::CpuPerKib => Metric::cpu_per_kib(vary),
        }
        .in_terms_of(workload)
    }
}

/// Which way a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// What is compared: one number per run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Metric {
    /// Successful operations per second.
    #[serde(rename = "rate_per_second")]
    Rate,
    /// Payload in both directions.
    #[serde(rename = "throughput_bits_per_second")]
    Throughput,
    /// Mean latency.
    #[serde(rename = "latency_mean_ns")]
    LatencyMean,
    /// Median latency.
    #[serde(rename = "latency_p50_ns")]
    LatencyP50,
    /// 99th percentile of the latency.
    #[serde(rename = "latency_p99_ns")]
    LatencyP99,
    /// 99.9th percentile of the latency.
    #[serde(rename = "latency_p99_9_ns")]
    LatencyP999,
    /// CPU time of the load process per operation.
    #[serde(rename = "load_cpu_ns_per_operation")]
    LoadCpuPerOperation,
    /// CPU time of the testee process per operation.
    #[serde(rename = "testee_cpu_ns_per_operation")]
    TesteeCpuPerOperation,
    /// CPU time of both processes per operation.
    #[serde(rename = "both_cpu_ns_per_operation")]
    BothCpuPerOperation,
    /// CPU time of the load process per 1024 bytes of payload.
    #[serde(rename = "load_cpu_ns_per_kib")]
    LoadCpuPerKib,
    /// CPU time of the testee process per 1024 bytes of payload.
    #[serde(rename = "testee_cpu_ns_per_kib")]
    TesteeCpuPerKib,
    /// CPU time of both processes per 1024 bytes of payload.
    #[serde(rename = "both_cpu_ns_per_kib")]
    BothCpuPerKib,
}

impl Metric {
    /// Every metric, in the order in which they are shown.
    pub const ALL: [Metric; 12] = [
        Metric::Rate,
        Metric::Throughput,
        Metric::LatencyMean,
        Metric::LatencyP50,
        Metric::LatencyP99,
        Metric::LatencyP999,
        Metric::LoadCpuPerOperation,
        Metric::TesteeCpuPerOperation,
        Metric::BothCpuPerOperation,
        Metric::LoadCpuPerKib,
        Metric::TesteeCpuPerKib,
        Metric::BothCpuPerKib,
    ];

    /// What is judged unless the user declares otherwise: rate, p99 and CPU per operation of the
    /// varied side. One operation of a stream is whatever one system call moved, so that streams are
    /// judged by throughput and CPU per KiB; they have no latency.
    pub fn primary(workload: Workload, vary: Vary) -> Vec<Metric> {
        let cpu = Metric::cpu(workload, vary);
        match workload.is_bulk() {
            true => vec![Metric::Throughput, cpu],
            false => vec![Metric::Rate, Metric::LatencyP99, cpu],
        }
    }

    /// What decides instead of the rate where the side that is not varied limits it.
    pub fn cpu(workload: Workload, vary: Vary) -> Metric {
        Metric::cpu_per_operation(vary).in_terms_of(workload)
    }

    fn cpu_per_operation(vary: Vary) -> Metric {
        match vary {
            Vary::Load => Metric::LoadCpuPerOperation,
            Vary::Testee => Metric::TesteeCpuPerOperation,
            Vary::Both => Metric::BothCpuPerOperation,
        }
    }

    fn cpu_per_kib(vary: Vary) -> Metric {
        match vary {
            Vary::Load => Metric::LoadCpuPerKib,
            Vary::Testee => Metric::TesteeCpuPerKib,
            Vary::Both => Metric::BothCpuPerKib,
        }
    }

    /// The same quantity in the terms in which `workload` is judged. One operation of a stream is
    /// whatever one system call moved, so that its rate is its throughput and its CPU is per KiB;
    /// operations of other workloads have their size, so that a share of one is a share of the other.
    pub fn in_terms_of(self, workload: Workload) -> Metric {
        const PAIRS: [(Metric, Metric); 4] = [
            (Metric::Rate, Metric::Throughput),
            (Metric::LoadCpuPerOperation, Metric::LoadCpuPerKib),
            (Metric::TesteeCpuPerOperation, Metric::TesteeCpuPerKib),
            (Metric::BothCpuPerOperation, Metric::BothCpuPerKib),
        ];
        let pair = PAIRS
            .into_iter()
            .find(|(operations, bytes)| self == *operations || self == *bytes);
        match (pair, workload.is_bulk()) {
            (None, _) => self,
            (Some((_, bytes)), true) => bytes,
            (Some((operations, _)), false) => operations,
        }
    }

    /// Whether `workload` has it, in the terms in which it is judged.
    pub fn is_of(self, workload: Workload) -> bool {
        let is_latency_of_stream = workload.is_bulk() && self.is_latency();
        !is_latency_of_stream && self.in_terms_of(workload) == self
    }

    /// The name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Rate => "rate_per_second",
            Metric::Throughput => "throughput_bits_per_second",
            Metric::LatencyMean => "latency_mean_ns",
            Metric::LatencyP50 => "latency_p50_ns",
            Metric::LatencyP99 => "latency_p99_ns",
            Metric::LatencyP999 => "latency_p99_9_ns",
            Metric::LoadCpuPerOperation => "load_cpu_ns_per_operation",
            Metric::TesteeCpuPerOperation => "testee_cpu_ns_per_operation",
            Metric::BothCpuPerOperation => "both_cpu_ns_per_operation",
            Metric::LoadCpuPerKib => "load_cpu_ns_per_kib",
            Metric::TesteeCpuPerKib => "testee_cpu_ns_per_kib",
            Metric::BothCpuPerKib => "both_cpu_ns_per_kib",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Metric::Rate => "rate",
            Metric::Throughput => "throughput",
            Metric::LatencyMean => "mean latency",
            Metric::LatencyP50 => "p50 latency",
            Metric::LatencyP99 => "p99 latency",
            Metric::LatencyP999 => "p99.9 latency",
            Metric::LoadCpuPerOperation => "load CPU per operation",
            Metric::TesteeCpuPerOperation => "testee CPU per operation",
            Metric::BothCpuPerOperation => "CPU per operation, both sides",
            Metric::LoadCpuPerKib => "load CPU per KiB",
            Metric::TesteeCpuPerKib => "testee CPU per KiB",
            Metric::BothCpuPerKib => "CPU per KiB, both sides",
        }
    }

    /// The unit of its values: `1/s`, `bit/s` or `ns`.
    pub fn unit(self) -> &'static str {
        match self {
            Metric::Rate => "1/s",
            Metric::Throughput => "bit/s",
            _ => "ns",
        }
    }

    /// Latencies that a run must have for this number to be one: ten beyond a percentile, so that no
    /// single one decides where it lies.
    pub fn least_values(self) -> u64 {
        match self {
            Metric::LatencyP50 => 20,
            Metric::LatencyP99 => 1_000,
            Metric::LatencyP999 => 10_000,
            _ => 1,
        }
    }

    /// Which way it is better.
    pub fn better(self) -> Better {
        match self {
            Metric::Rate | Metric::Throughput => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// Whether the side that is not varied can limit it.
    pub fn is_rate(self) -> bool {
        matches!(self, Metric::Rate | Metric::Throughput)
    }

    /// Whether it is CPU time of the testee, or has it in it.
    pub fn is_of_testee(self) -> bool {
        matches!(
            self,
            Metric::TesteeCpuPerOperation
                | Metric::BothCpuPerOperation
                | Metric::TesteeCpuPerKib
                | Metric::BothCpuPerKib
        )
    }

    /// Whether it is a latency.
    pub fn is_latency(self) -> bool {
        matches!(
            self,
            Metric::LatencyMean | Metric::LatencyP50 | Metric::LatencyP99 | Metric::LatencyP999
        )
    }
}

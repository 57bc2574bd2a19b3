//! What `linerate doctor` found: the host, what was observed for a moment, and what both mean for a measurement.

use crate::document::{Finite, Host, SystemCpu, Unknown};
use crate::findings::{self, Finding, Level};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The schema of the JSON form.
pub const SCHEMA: &str = "linerate.doctor/1";

/// One examination of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checkup {
    /// Always `linerate.doctor/1`.
    pub schema: String,
    /// Version of the linerate that looked.
    pub linerate_version: String,
    /// When, RFC 3339 in UTC.
    pub started_at_utc: String,
    /// The worst level of the findings.
    pub verdict: Level,
    /// What the machine says of itself.
    pub host: Host,
    /// What was seen while watching it.
    pub observed: Observed,
    /// What it means, the worst first.
    pub findings: Vec<Finding>,
}

impl Checkup {
    /// The findings of a host and of what was observed on it. `unix_ns`: when, since 1970-01-01 UTC.
    pub fn new(linerate_version: &str, unix_ns: u64, host: Host, observed: Observed) -> Self {
        let mut found = findings::of_host(&host);
        found.extend(findings::of_observed(&observed));
        // Stable: findings of one level stay in their order.
        found.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        Checkup {
            schema: SCHEMA.to_owned(),
            linerate_version: linerate_version.to_owned(),
            started_at_utc: crate::utc::rfc3339(unix_ns),
            verdict: found
                .iter()
                .map(|each| each.level)
                .max()
                .unwrap_or(Level::Fine),
            host,
            observed,
            findings: found,
        }
    }
}

/// What was seen while watching the machine, with linerate itself idle.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    /// How long it was watched.
    pub watched_ns: u64,
    /// CPU time of the whole machine meanwhile.
    pub cpu: Option<SystemCpu>,
    /// The processes that used most CPU meanwhile, the busiest first.
    pub neighbours: Vec<Neighbour>,
    /// What one reading of the monotonic clock costs: the median of many batches.
    pub clock_read_ns: Option<Finite>,
    /// The smallest step that the monotonic clock was seen to make.
    pub clock_step_ns: Option<u64>,
    /// By how much a sleep of 100 us came late: the median.
    pub sleep_late_p50_ns: Option<u64>,
    /// The 99th percentile of the same.
    pub sleep_late_p99_ns: Option<u64>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// A process that used CPU while the machine was watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Neighbour {
    /// Its id.
    pub process_id: u32,
    /// Its name, as in `/proc/PID/stat`: at most 15 bytes.
    pub name: String,
    /// CPU time per time: 1 is one core wholly used.
    pub cpu_cores_busy: Option<Finite>,
}

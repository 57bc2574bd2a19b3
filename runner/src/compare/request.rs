//! A comparison as a user asks for it, plain data: the command line makes it, and a trial log holds it.

use crate::plan::PlanRequest;
use report::comparison::{MetricName, Vary};
use serde::{Deserialize, Serialize};

/// A comparison as asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRequest {
    /// The questions, each with its arms.
    pub cells: Vec<CellRequest>,
    /// Which side the arms differ in.
    pub vary: Vary,
    /// The metrics that decide, the first one first; empty for rate, p99 and CPU.
    pub metrics: Vec<MetricName>,
    /// Counted rounds of each cell; default 12, or as many as the comparisons need. With a budget or
    /// a precision: at most so many, default 30.
    pub rounds: Option<u32>,
    /// The whole comparison ends within this time, ns.
    pub budget_ns: Option<u64>,
    /// A cell ends when all its confidence intervals are within plus or minus this share.
    pub precision: Option<f64>,
    /// Pause before each run, ns; default 200 ms.
    pub pause_ns: Option<u64>,
    /// Decides on every order.
    pub seed: u64,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRequest {
    /// Name for people.
    pub label: String,
    /// What is compared, the baseline first.
    pub arms: Vec<ArmRequest>,
}

/// One way to run the workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmRequest {
    /// Name for people, unique in its cell.
    pub label: String,
    /// The command that repeats one run of it.
    pub command: String,
    /// What is to be run.
    pub request: PlanRequest,
}

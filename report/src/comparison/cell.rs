//! One workload at one number of connections: the arms and the rounds in which they ran.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analysis::Analysis;
use super::metric::Metric;
use super::run::ArmRun;
use crate::document::{AppliedProfile, EngineUse, LatencySummary, Message, Plan, Workload};

/// One workload at one number of connections (or one group of plans): a question of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// Its name for people, unique in the document, for example `rr, 16 connections`.
    pub label: String,
    /// What one operation is.
    pub workload: Workload,
    /// Connections held open at the same time.
    pub connections: u64,
    /// The metrics that the verdicts are about, declared before the first round. All others are
    /// exploratory.
    pub primary_metrics: Vec<Metric>,
    /// The arms: first the baseline, then its second copy, then the others. An arm's number is its
    /// place in this list.
    pub arms: Vec<Arm>,
    /// The rounds in the order in which they ran, the discarded first one included.
    pub rounds: Vec<CellRound>,
    /// Why there are no more rounds.
    pub stopped: StopReason,
    /// What follows from the rounds; null until [`analyse`](super::analyse) was asked.
    pub analysis: Option<Analysis>,
}

impl Cell {
    /// The number of the baseline.
    pub fn baseline(&self) -> Option<usize> {
        self.arm_of_role(ArmRole::Baseline)
    }

    /// The number of the control, the baseline's second copy.
    pub fn control(&self) -> Option<usize> {
        self.arm_of_role(ArmRole::Control)
    }

    /// The numbers of the arms that are compared with the baseline.
    pub fn candidates(&self) -> impl Iterator<Item = usize> + '_ {
        let arms = self.arms.iter().enumerate();
        arms.filter(|(_, arm)| arm.role == ArmRole::Arm)
            .map(|(number, _)| number)
    }

    /// The rounds that count.
    pub fn counted(&self) -> impl Iterator<Item = &CellRound> {
        self.rounds.iter().filter(|round| !round.discarded)
    }

    fn arm_of_role(&self, role: ArmRole) -> Option<usize> {
        self.arms.iter().position(|arm| arm.role == role)
    }
}

/// Why a cell has no more rounds. Never because of what a test said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Every planned round ran.
    #[default]
    Rounds,
    /// The confidence intervals were as narrow as asked for.
    Precision,
    /// The time was used up.
    Budget,
    /// Somebody ended it.
    Interrupted,
    /// It could not go on.
    Failed,
}

/// What is compared: one way to run the workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Arm {
    /// Its name for people, unique in the cell, for example `epoll`; of the control
    /// `uring (again)`.
    pub label: String,
    /// What it is there for.
    pub role: ArmRole,
    /// The resolved plan of one run.
    pub plan: Plan,
    /// The engine of the load, requested and granted.
    pub load_engine: EngineUse,
    /// The engine of the testee; null with a target that the run did not start.
    pub testee_engine: Option<EngineUse>,
    /// The profiles that were in force during its runs.
    pub profiles: Vec<ArmProfile>,
    /// The command that repeats one run of it.
    pub command: String,
    /// Which latency this is: `service`, `response`, `total` or `connect`; null if there is none.
    pub latency_kind: Option<String>,
    /// The latency of all its counted runs together, by adding their histograms.
    pub latency: Option<LatencySummary>,
}

/// What an arm is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArmRole {
    /// What the others are compared with.
    Baseline,
    /// The baseline once more: what it seems to differ by is noise.
    Control,
    /// Compared with the baseline.
    Arm,
}

/// A profile that was in force on a host during the runs of an arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArmProfile {
    /// Id of the host.
    pub host: String,
    /// The profile.
    pub profile: AppliedProfile,
}

/// One round: every arm once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellRound {
    /// 0 for the discarded first round, then 1, 2, 3 ...
    pub number: u32,
    /// True if it does not count: the first round warms the machine, a round that was broken off is
    /// not whole.
    pub discarded: bool,
    /// When it started, nanoseconds since 1970-01-01 UTC.
    pub started_at_unix_ns: u64,
    /// The numbers of the arms in the order in which they ran.
    pub order: Vec<u32>,
    /// One run per arm, in the order of the arms and not of time. Of two saved results of different
    /// length only the longer one has a run in the last rounds.
    pub runs: Vec<ArmRun>,
    /// What was observed in this round as a whole, for example a neighbour that used CPU.
    pub remarks: Vec<Message>,
}

//! What the trial log holds of a comparison: a round of a cell a line, complete enough for the record to be made from.

use crate::error::Failure;
use report::comparison::{ArmProfile, ArmRun, StopReason};
use report::document::{EngineUse, Host, LatencySummary, Message};
use serde::{Deserialize, Serialize};

/// A round of a cell that every entrant has had its turn in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RoundTrial {
    /// Number of the cell.
    pub cell: usize,
    /// 0 for the discarded round.
    pub round: u32,
    pub started_at_unix_ns: u64,
    /// Entrants in the order in which they ran.
    pub order: Vec<usize>,
    /// How often the comparison had been gone on with when this round ran.
    pub session: u32,
    /// How long the comparison had taken when this round was over, ns, without the time between sessions.
    pub elapsed_ns: u64,
    /// What was found on this host before the first run of this session; only in its first round.
    pub before: Vec<Message>,
    /// In the order of time.
    pub runs: Vec<RunTrial>,
}

/// One run of an entrant, whether it gave numbers or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunTrial {
    pub run: ArmRun,
    /// Its latencies, if it counts.
    pub latency: Option<LatencySummary>,
    pub remarks: Vec<Message>,
    pub warnings: Vec<Message>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What the first run of an entrant tells of it.
    pub first: Option<FirstRun>,
    /// What it took, and what it should have taken, ns; 0 if it did not run.
    pub took_ns: u64,
    pub expected_ns: u64,
}

/// What an arm is, told by its first run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FirstRun {
    pub load_engine: Option<EngineUse>,
    pub testee_engine: Option<EngineUse>,
    pub latency_kind: Option<String>,
    pub profiles: Vec<ArmProfile>,
    /// As it met them: a run under other settings does not count.
    pub hosts: Vec<Host>,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// Why each cell had no more rounds.
    pub stopped: Vec<StopReason>,
}

impl RunTrial {
    /// A run that gave no numbers.
    pub fn without_numbers(run: ArmRun) -> Self {
        Self {
            run,
            latency: None,
            remarks: Vec::new(),
            warnings: Vec::new(),
            failure: None,
            first: None,
            took_ns: 0,
            expected_ns: 0,
        }
    }
}

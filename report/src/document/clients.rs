//! Clients: connections that are opened once, operate, and are not replaced when they are lost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ErrorCount, Finite, LatencySummary};

/// What became of the clients of one load agent; in a round, of all of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Clients {
    /// Clients that it was tried to open.
    pub started: u64,
    /// Those that have shaken hands.
    pub opened: u64,
    /// Of these, those that were there at the end of the window.
    pub standing: u64,
    /// Those that were not opened to the end, or not begun at all.
    pub not_opened: u64,
    /// Those that could not be opened, all kinds.
    pub failed_total: u64,
    /// Those that could not be opened, by kind.
    pub failed: Vec<ErrorCount>,
    /// Those that were opened and lost before the end of the window, all kinds.
    pub lost_total: u64,
    /// Those that were opened and lost before the end of the window, by kind.
    pub lost: Vec<ErrorCount>,
    /// Answers in the window of each client that was opened; null if there was none.
    pub answers: Option<ClientAnswers>,
    /// The mean latencies of clients: one value for each that got an answer in the window. In an open loop from when
    /// messages were due.
    pub mean_latency: Option<LatencySummary>,
    /// The longest latencies of clients, likewise.
    pub longest_latency: Option<LatencySummary>,
    /// How the clients came up, from the go on.
    pub ramp: Vec<RampPoint>,
}

/// How many answers clients got in the window.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClientAnswers {
    /// The client that got the least.
    pub least: u64,
    /// All of them on average.
    pub mean: Finite,
    /// The client that got the most.
    pub most: u64,
}

/// How many clients there were at some instant: each number counts all until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RampPoint {
    /// Since the go.
    pub at_ns: u64,
    /// Began to be opened.
    pub started: u64,
    /// Have shaken hands.
    pub opened: u64,
    /// Could not be opened.
    pub failed: u64,
    /// Had been opened, and were lost.
    pub lost: u64,
}

impl RampPoint {
    /// Together with what another agent saw at that instant.
    pub fn and(self, other: Self) -> Self {
        Self {
            at_ns: self.at_ns.max(other.at_ns),
            started: self.started + other.started,
            opened: self.opened + other.opened,
            failed: self.failed + other.failed,
            lost: self.lost + other.lost,
        }
    }
}

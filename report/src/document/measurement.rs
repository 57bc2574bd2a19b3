//! What one agent counted in its window, or several together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Clients, ErrorCount, Finite, Latencies, LatencySummary};
use crate::units::{counted, grouped};

/// A measured window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// Start, from the instant at which the round was told to go.
    pub start_offset_ns: u64,
    /// Length that really passed: what rates divide by.
    pub length_ns: u64,
    /// Warm-up that ran before it.
    pub warmup_ns: u64,
    /// Length that was asked for; null if the run ended by count.
    pub nominal_ns: Option<u64>,
}

/// What one agent counted in its window; in a round, the sum over its load agents.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// What was completed inside the window.
    pub totals: Totals,
    /// Failed operations by kind; kinds that did not happen are left out.
    pub errors: Vec<ErrorCount>,
    /// Operations that were due inside the window and had no answer when the run ended.
    pub unfinished: Unfinished,
    /// What became of the connections that a load started, in the whole round: before, in and after the window.
    /// Left out of a testee's, and in documents of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<ConnectionAccounts>,
    /// What became of the connections that were held; null unless holding them is the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// What became of clients; null unless connections are opened once and operate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// Open loop: how late the generator noticed that operations were due. Waiting for a free place
    /// (depth) after that is part of the response time. Null in a closed loop.
    pub schedule_lag: Option<LatencySummary>,
    /// Latency distributions.
    pub latency: Latencies,
    /// The window cut into intervals.
    pub intervals: Vec<Interval>,
}

/// What was completed inside the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Operations that succeeded.
    pub operations: u64,
    /// Payload bytes handed to the kernel.
    pub bytes_sent: u64,
    /// Payload bytes taken from the kernel.
    pub bytes_received: u64,
    /// Connections established (load) or accepted (testee).
    pub connections_opened: u64,
}

/// What became of connections: `started` is the sum of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionAccounts {
    /// Connections that it was tried to open. The same one tried from another source address, or again because
    /// a backlog was full, is not another one.
    pub started: u64,
    /// Those that ended as planned, or stood at the end of the round and were owed nothing.
    pub succeeded: u64,
    /// Those that could not be opened, or were lost.
    pub failed: u64,
    /// Of these, those that had been established; 0 in documents of versions that did not tell them apart.
    #[serde(default)]
    pub lost: u64,
    /// Those that were being opened, or were owed an answer, when the round ended; and those whose agent was lost, for
    /// nobody saw their end.
    pub unfinished: u64,
}

impl ConnectionAccounts {
    /// Together with those of another agent.
    pub fn and(self, other: Self) -> Self {
        Self {
            started: self.started + other.started,
            succeeded: self.succeeded + other.succeeded,
            failed: self.failed + other.failed,
            lost: self.lost + other.lost,
            unfinished: self.unfinished + other.unfinished,
        }
    }

    /// `5 connections started, 3 failed or were lost, 1 were unfinished at the end`.
    pub fn words(&self) -> String {
        let mut text = format!("{} started", counted(self.started, "connection"));
        let rest = [
            (self.failed, "failed or were lost"),
            (self.unfinished, "were unfinished at the end"),
        ];
        for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
            text += &format!(", {} {what}", grouped(count));
        }
        text
    }
}

/// Connections that were held.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// From when the last of them was established or had failed until they were to be closed. With several agents
    /// the shortest of theirs.
    pub length_ns: u64,
    /// Established at the end of it, before they were closed.
    pub standing: u64,
    /// Established at the same time at most: at the ends of the intervals of the window, and of the hold.
    pub most_at_once: u64,
    /// Established and lost before they were to be closed, all kinds.
    pub lost_total: u64,
    /// Established and lost before that, by kind: the peer closed or reset them, in the window or while they were
    /// held.
    pub lost: Vec<ErrorCount>,
}

/// Operations that were due inside the window and had no answer when the run ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Unfinished {
    /// How many.
    pub count: u64,
    /// Of these, how many were never sent: they came due while others were in flight (open loop), or
    /// were left of a count. Null in documents that do not tell.
    #[serde(default)]
    pub never_sent: Option<u64>,
    /// What there was of an answer that was not complete, first occurrence; null if there was nothing.
    #[serde(default)]
    pub text: Option<String>,
    /// Age of the oldest at the end, from when it was due; null if there is none.
    pub oldest_age_ns: Option<u64>,
    /// Their ages; null if there is none.
    pub age: Option<LatencySummary>,
}

impl Unfinished {
    /// `5 operations have no answer, 3 of them were never sent`.
    pub fn words(&self) -> String {
        let (some, have) = match self.count {
            1 => ("operation", "has"),
            _ => ("operations", "have"),
        };
        let count = grouped(self.count);
        match self.never_sent {
            None => format!("{count} {some} {have} no answer, or were never sent"),
            Some(0) => format!("{count} {some} {have} no answer"),
            Some(all) if all == self.count && all == 1 => "1 operation was never sent".to_owned(),
            Some(all) if all == self.count => format!("{count} operations were never sent"),
            Some(1) => format!("{count} {some} {have} no answer, 1 of them was never sent"),
            Some(some_of) => format!(
                "{count} {some} {have} no answer, {} of them were never sent",
                grouped(some_of)
            ),
        }
    }
}

/// A slice of the window.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Start, from the start of the window.
    pub start_offset_ns: u64,
    /// Length that really passed.
    pub length_ns: u64,
    /// Operations completed in it.
    pub operations: u64,
    /// Payload bytes sent in it.
    pub bytes_sent: u64,
    /// Payload bytes received in it.
    pub bytes_received: u64,
    /// Operations that failed in it.
    pub errors: u64,
    /// Mean latency of the operations completed in it; null if there is none.
    pub latency_mean_ns: Option<Finite>,
    /// Largest latency in it; null if there is none.
    pub latency_max_ns: Option<u64>,
    /// Connections that began to be opened in it, where that is the workload.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections_started: u64,
    /// Connections that had been established and were lost in it, where holding them is the workload.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections_lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

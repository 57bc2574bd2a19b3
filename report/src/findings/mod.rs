//! What a machine's state does to a measurement: pure functions of what was read and observed.
//!
//! `doctor` shows all findings; `run` and `compare` warn of those from [`Level::Warning`] on: of what a host
//! in the document says of itself, and of who used its CPUs just before. A check gives no finding where its
//! subject does not exist on the machine.

mod host;
mod network;
mod observed;

pub use observed::{of_observed, of_others};

use crate::document::{Host, Message};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a finding matters, ascending.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Fine,
    /// A reader should know; the measurement stands.
    Note,
    /// It changes what is measured, or makes it vary.
    Warning,
    /// Some measurements cannot be made here, or cannot be believed.
    Problem,
}

impl Level {
    /// One word for people.
    pub fn word(self) -> &'static str {
        match self {
            Level::Fine => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable short name for programs, for example `governor`.
    pub code: String,
    /// How much it matters.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What it does to a measurement; null where it does nothing.
    pub effect: Option<String>,
    /// The command, or the act, that changes it; null where there is nothing to change.
    pub cure: Option<String>,
}

impl Finding {
    fn fine(code: &str, seen: impl Into<String>) -> Self {
        Finding {
            code: code.to_owned(),
            level: Level::Fine,
            seen: seen.into(),
            effect: None,
            cure: None,
        }
    }

    fn of(level: Level, code: &str, seen: impl Into<String>, effect: impl Into<String>) -> Self {
        Finding {
            level,
            effect: Some(effect.into()),
            ..Finding::fine(code, seen)
        }
    }

    fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// Whether it matters to a workload whose operations open connections, or do not: sockets in TIME_WAIT, and the
    /// ports that they hold, are in nobody's way who connects before the measurement.
    pub fn concerns(&self, connects: bool) -> bool {
        connects || self.code != network::TIME_WAIT
    }

    /// The warning that a result from host `id` carries, if this is more than a note.
    pub fn warning(&self, id: &str) -> Option<Message> {
        if self.level < Level::Warning {
            return None;
        }
        let effect = self
            .effect
            .as_ref()
            .map_or_else(String::new, |effect| format!(": {effect}"));
        Some(Message {
            code: self.code.clone(),
            text: format!("host {id}: {}{effect}", self.seen),
            cure: self.cure.clone(),
        })
    }
}

/// Everything that the description of a host tells.
pub fn of_host(host: &Host) -> Vec<Finding> {
    let checks: [fn(&Host) -> Option<Finding>; 20] = [
        host::visibility,
        host::io_uring,
        host::descriptors,
        host::locked_memory,
        host::governor,
        host::turbo,
        host::clocksource,
        host::mitigations,
        host::virtualisation,
        host::cores,
        host::quota,
        host::seccomp,
        host::audit,
        network::connection_tracking,
        network::packet_filters,
        network::time_wait,
        network::congestion_control,
        network::unreachable,
        network::interface,
        network::spreading,
    ];
    checks.iter().filter_map(|check| check(host)).collect()
}

#[cfg(test)]
mod tests;

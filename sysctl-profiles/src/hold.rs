//! How long a profile stays in force.

use serde::{Deserialize, Serialize};

/// How long a profile stays in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// As long as its owner lives: undone by the owner, or by the next command after its death.
    Run,
    /// Until `linerate sysctl restore`.
    Held,
}

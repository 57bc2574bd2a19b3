//! What an owner and its supervisor say to each other: one JSON object per line, as in [`crate::protocol`].
//!
//! `apply` -> `applied`, then any number of `check` -> `drift`, then `restore` -> `restored` or
//! `leave` -> `left`. Each order has exactly one answer; `failed` may stand for any.

use crate::error::Failure;
use report::document::{AppliedProfile, Message};
use serde::{Deserialize, Serialize};
use sysctl_profiles::Profile;

/// From the owner to its supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Order {
    /// Write the settings of this profile.
    Apply(Box<Application>),
    /// Read the values again.
    Check,
    /// Put back what was there before.
    Restore,
    /// End without putting back: the profile is held by its journal from now on.
    Leave,
}

/// What is to be applied, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// The profile.
    pub profile: Profile,
    /// Until when it stays.
    pub hold: Hold,
    /// Whether it may make values smaller.
    pub allow_lower: bool,
    /// Whether settings that nobody can write there are left as they are.
    pub skip_read_only: bool,
}

/// From the supervisor to its owner.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Answer {
    /// The settings are in force and were read back.
    Applied {
        profile: Box<AppliedProfile>,
        /// What must be known of it.
        warnings: Vec<Message>,
    },
    /// Settings that somebody else has written since.
    Drift { drifts: Vec<Drift> },
    /// Everything is as it was, but for what somebody else has written.
    Restored { left_alone: Vec<Drift> },
    /// The journal holds the profile now.
    Left,
    /// The order could not be carried out. Of an `apply`, nothing remains.
    Failed(Failure),
}

/// Until when a profile stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// As long as its owner lives.
    Run,
    /// Until `linerate sysctl restore`.
    Held,
}

/// A setting that has another value than the profile gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The setting.
    pub key: String,
    /// What was effective after the profile was applied.
    pub expected: String,
    /// What is there now, or why it cannot be read.
    pub found: String,
}

//! Resource limits of a process.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Resource limits (`getrlimit(2)`) of the agent after linerate raised what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// `RLIMIT_NOFILE`, descriptors.
    pub nofile: Limit,
    /// `RLIMIT_MEMLOCK`, bytes; null where the system has none.
    pub memlock_bytes: Option<Limit>,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// The limit in force.
    pub soft: LimitValue,
    /// How far it may be raised without privilege.
    pub hard: LimitValue,
}

/// A number, or `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LimitValue {
    /// Limited to so many.
    Limited(u64),
    /// `RLIM_INFINITY`.
    Unlimited(Unlimited),
}

impl LimitValue {
    /// `RLIM_INFINITY`.
    pub const UNLIMITED: LimitValue = LimitValue::Unlimited(Unlimited::Unlimited);
}

/// The word `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unlimited {
    /// `RLIM_INFINITY`.
    Unlimited,
}

//! A profile of settings that was in force on a host: what it asked for, what was there before, and
//! what the kernel made of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Limit, LimitValue};

/// A profile that was in force on a host. The effective values are what the run used; the requested
/// ones are only what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AppliedProfile {
    /// Its name, for example `10gbe`.
    pub name: String,
    /// Hash of what it says after all includes: equal in two results, the profiles were equal.
    pub hash: String,
    /// How long it was in force.
    pub hold: ProfileHold,
    /// Its settings in the order in which they were written.
    pub keys: Vec<ProfileKey>,
    /// Its resource limits, for each process of the run on this host.
    pub limits: Vec<ProfileLimit>,
}

/// How long a profile was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProfileHold {
    /// Applied before each round and put back after it.
    #[default]
    Run,
    /// In force before the run (`linerate sysctl apply`) and after it.
    Held,
}

/// One setting of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileKey {
    /// The sysctl, or the path below `/sys`.
    pub key: String,
    /// What became of it.
    pub class: SettingClass,
    /// What the profile asks for, with its operator: `= 1` or `>= 4096 131072 67108864`.
    pub requested: String,
    /// The value before; null where there is none.
    pub before: Option<String>,
    /// The value as read back after writing; null where there is none.
    pub effective: Option<String>,
    /// Why the profile has it.
    pub reason: String,
    /// Where that is said.
    pub source: String,
    /// What else a reader must know, for example why an optional setting was left out.
    pub note: Option<String>,
}

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingClass {
    /// It had the value already, or more than the profile demands.
    Unchanged,
    /// It becomes larger.
    Raises,
    /// It becomes smaller, or a part of it does.
    Lowers,
    /// It becomes another value that is neither larger nor smaller, such as a name.
    Changes,
    /// It may be written, and the kernel takes no notice of it.
    NoOp,
    /// It cannot be written here, by nobody.
    ReadOnly,
    /// This kernel or network namespace does not have it.
    Missing,
    /// It may be written by root only.
    NeedsRoot,
}

impl SettingClass {
    /// In words; what loses something is written large.
    pub fn words(self) -> &'static str {
        match self {
            SettingClass::Unchanged => "unchanged",
            SettingClass::Raises => "raised",
            SettingClass::Lowers => "LOWERED",
            SettingClass::Changes => "changed",
            SettingClass::NoOp => "without effect on this kernel",
            SettingClass::ReadOnly => "read-only here",
            SettingClass::Missing => "missing here",
            SettingClass::NeedsRoot => "for root only",
        }
    }
}

/// A resource limit of a profile in one process of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileLimit {
    /// The process: `load`, `testee`.
    pub agent: String,
    /// `nofile` (descriptors) or `memlock` (bytes).
    pub name: String,
    /// What the profile asks for.
    pub wanted: LimitValue,
    /// What is in force.
    pub got: Limit,
    /// What the system answered where less was granted; null where nothing stood in the way.
    pub obstacle: Option<String>,
}

impl ProfileLimit {
    /// Whether the process has what the profile asks for, or more.
    pub fn is_granted(&self) -> bool {
        match (self.got.soft, self.wanted) {
            (LimitValue::Unlimited(_), _) => true,
            (LimitValue::Limited(_), LimitValue::Unlimited(_)) => false,
            (LimitValue::Limited(got), LimitValue::Limited(wanted)) => got >= wanted,
        }
    }
}

impl AppliedProfile {
    /// Settings of this class.
    pub fn of_class(&self, class: SettingClass) -> impl Iterator<Item = &ProfileKey> {
        self.keys.iter().filter(move |key| key.class == class)
    }
}

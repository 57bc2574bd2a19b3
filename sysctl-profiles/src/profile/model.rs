//! What a profile says, as data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalogue::{self, KeyInfo};
use crate::error::Error;

/// Values for sysctls, files below `/sys` and limits, with all its includes resolved and every key known.
///
/// It can be sent to another host as JSON: what is read there is checked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Profile {
    /// Its name; of a user's file, the name in it or that of the file.
    pub name: String,
    /// What it is for, in one line.
    pub summary: String,
    /// It is kept because somebody published results with it, and not because it is good advice today.
    pub historical: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// Its settings in the order in which they are written.
    pub settings: Vec<Setting>,
    /// Its limits for processes.
    pub limits: Vec<LimitSetting>,
    /// Files that its author published, word for word. They are shown and never installed.
    pub documents: Vec<PublishedFile>,
}

/// Where a profile comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// It is part of this binary.
    Bundled,
    /// A user's file at this path.
    File(String),
}

/// One setting, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The dotted sysctl, or a path below `/sys`, in which `*` stands for all of a kind.
    pub key: String,
    /// How the value is meant.
    pub operator: Operator,
    /// The value, with single spaces between the elements of a vector.
    pub value: String,
    /// Left out where this machine does not have the key or does not let it be set, instead of failing.
    pub optional: bool,
    /// Why the profile has it.
    pub reason: String,
    /// Where that is said.
    pub source: String,
}

/// How a value is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// Exactly this.
    #[serde(rename = "=")]
    Equal,
    /// At least this; what is larger already stays. Of a vector, each element by itself.
    #[serde(rename = ">=")]
    AtLeast,
}

/// A resource limit that the processes of a run need, and why. It is only ever raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSetting {
    /// Which limit.
    pub name: LimitName,
    /// How much; `None` is no limit.
    pub amount: Option<u64>,
    /// Why the profile has it.
    pub reason: String,
    /// Where that is said.
    pub source: String,
}

/// A limit that a profile can raise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitName {
    /// Open descriptors of a process.
    Nofile,
    /// Locked memory in bytes; io_uring counts its rings.
    Memlock,
}

/// A file as its author published it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedFile {
    /// Where the author put it, for example `/etc/security/limits.conf`.
    pub path: String,
    /// Its text, word for word.
    pub text: String,
}

impl Setting {
    /// The operator and the value: `>= 4096 131072 67108864`.
    #[must_use]
    pub fn requested(&self) -> String {
        format!("{} {}", self.operator, self.value)
    }

    /// What is known of its key.
    ///
    /// # Errors
    /// When the catalogue does not have it; a checked profile has no such setting.
    pub(crate) fn info(&self) -> Result<&'static KeyInfo, Error> {
        catalogue::find(&self.key)
            .map(|(info, _)| info)
            .map_err(|refusal| Error::refused_key(&self.key, "the profile", &refusal))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::Equal => "=",
            Operator::AtLeast => ">=",
        })
    }
}

impl LimitName {
    /// As in limits.conf(5).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LimitName::Nofile => "nofile",
            LimitName::Memlock => "memlock",
        }
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A profile from outside, before its keys and values are looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unchecked {
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) historical: bool,
    pub(super) origin: Origin,
    pub(super) settings: Vec<Setting>,
    pub(super) limits: Vec<LimitSetting>,
    pub(super) documents: Vec<PublishedFile>,
}

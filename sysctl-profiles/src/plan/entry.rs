//! One setting against a machine.

use crate::catalogue::Kind;
use crate::class::Class;
use crate::profile::Setting;
use crate::value::Change;

/// One setting against this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanEntry {
    /// The key; for a path with `*`, one of the files that it stands for.
    pub key: String,
    /// The setting of the profile that it comes from.
    pub setting: Setting,
    /// What becomes of it.
    pub class: Class,
    /// Which way the value would go, also where it may not be written; `None` where there is no value.
    pub change: Option<Change>,
    /// The value now; `None` where it cannot be read.
    pub before: Option<String>,
    /// The value that the kernel is expected to have then: the larger one where `>=` is asked for,
    /// rounded where the kernel rounds. `None` where there is no value now.
    pub target: Option<String>,
    /// What else one must know: that it acts later, is rounded, or is left out.
    pub note: Option<String>,
    /// Why it cannot be written. It stops the profile unless the setting is optional.
    pub obstacle: Option<String>,
    /// What is written.
    pub(crate) write: Option<String>,
    pub(crate) kind: Option<Kind>,
}

impl PlanEntry {
    /// Whether it will be written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.obstacle.is_none()
            && matches!(self.class, Class::Raises | Class::Lowers | Class::Changes)
    }

    /// Whether this machine has what the setting demands, now.
    #[must_use]
    pub fn is_satisfied(&self) -> bool {
        self.change == Some(Change::Unchanged)
    }
}

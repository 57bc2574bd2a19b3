//! The journal: what was there before, on disk before the first write.

use serde::{Deserialize, Serialize};

use crate::hold::Hold;
use crate::identity::Process;
use crate::namespace::{Here, NetworkNamespace};
use crate::outcome::RestoreReport;

/// The form of the file as it is written.
pub(crate) const SCHEMA: &str = "linerate.journal/2";
/// The forms that are read. Form 1 has no cookie. What a later one means nobody knows here.
const READABLE: [&str; 2] = ["linerate.journal/1", SCHEMA];

/// How far the work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Values are being written; each may be old, new, or a vector of both. Whatever the hold, a journal
    /// that stays in this phase after its owner's death is undone.
    Applying,
    /// Everything was written and read back.
    InForce,
}

/// What was changed and how it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// One of [`READABLE`].
    pub(crate) schema: String,
    /// The linerate that wrote it.
    pub tool_version: String,
    /// `/proc/sys/kernel/random/boot_id`: after a reboot there is nothing to put back.
    pub boot_id: String,
    /// Inode of the network namespace in which it was written.
    pub network_namespace: u64,
    /// `SO_NETNS_COOKIE` of it: the kernel gives the inode to a later namespace, this number never. Null on kernels
    /// before 5.14.
    #[serde(default)]
    pub network_namespace_cookie: Option<u64>,
    /// Who applied the profile.
    pub owner: Process,
    /// Those that had started the owner, nearest first: when one of them is dead, the owner is about to put
    /// everything back.
    #[serde(default)]
    pub started_by: Vec<Process>,
    /// How long it stays.
    pub hold: Hold,
    /// How far the work has come.
    pub phase: Progress,
    /// The profile's name.
    pub profile: String,
    /// [`crate::Profile::hash`].
    pub profile_hash: String,
    /// When it was written, ns since the epoch; with the owner it tells journals apart.
    pub written_unix_ns: u64,
    /// The keys in the order of writing.
    pub entries: Vec<JournalEntry>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    /// The dotted sysctl, or the path below `/sys`.
    pub key: String,
    /// The value before.
    pub old: String,
    /// The value that is written.
    pub new: String,
    /// The value as read back; null until then.
    pub effective: Option<String>,
}

impl Journal {
    /// Reads one.
    ///
    /// # Errors
    /// Why it cannot be understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        /// What all forms have, later ones too.
        #[derive(Deserialize)]
        struct Form {
            schema: String,
        }
        let form: Form = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !READABLE.contains(&form.schema.as_str()) {
            return Err(format!(
                "it is of the form {}, and this linerate reads {}",
                form.schema,
                READABLE.join(" and ")
            ));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Where its values are.
    pub(crate) fn namespace(&self) -> NetworkNamespace {
        NetworkNamespace {
            inode: self.network_namespace,
            cookie: self.network_namespace_cookie,
        }
    }

    /// Whether it is of this boot.
    pub(crate) fn is_of_boot(&self, here: &Here) -> bool {
        self.boot_id == here.boot_id
    }

    /// Whether it ends with its owner.
    pub(crate) fn is_of_owner(&self) -> bool {
        self.hold == Hold::Run || self.phase == Progress::Applying
    }

    /// Whether the owner is gone and what it wrote may be undone without asking.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_of_owner() && self.owner.is_alive() == Some(false)
    }

    /// Whether the owner lives, and is about to put everything back because those for whom it did it are gone.
    pub(crate) fn is_ending(&self) -> bool {
        let is_dead = |process: &Process| process.is_alive() == Some(false);
        self.is_of_owner()
            && self.owner.is_alive() == Some(true)
            && self.started_by.iter().any(is_dead)
    }

    /// The report on putting it back, before anything was.
    pub(crate) fn report(&self) -> RestoreReport {
        RestoreReport {
            profile: self.profile.clone(),
            hold: self.hold,
            owner: self.owner.to_string(),
            other_boot: false,
            keys: Vec::new(),
        }
    }

    /// Whether it is the same application as `other`, however far that has come.
    pub(crate) fn is_same(&self, other: &Journal) -> bool {
        self.owner == other.owner
            && self.written_unix_ns == other.written_unix_ns
            && self.profile_hash == other.profile_hash
    }
}

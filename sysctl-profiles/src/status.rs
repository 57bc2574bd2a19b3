//! What is in force, and what was left behind.

use std::path::PathBuf;

use crate::catalogue;
use crate::error::Error;
use crate::heal;
use crate::hold::Hold;
use crate::journal::{Journal, JournalEntry, Progress};
use crate::machine::{Host, read};
use crate::rivals::{self, Warning};
use crate::value;

/// Every journal, and what may disturb a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where journals are.
    pub state_dir: PathBuf,
    /// All of them.
    pub journals: Vec<JournalStatus>,
    /// Programs that rewrite settings.
    pub warnings: Vec<Warning>,
}

/// A journal and the machine now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStatus {
    /// Its file.
    pub path: PathBuf,
    /// What it says, or why it cannot be understood.
    pub journal: Result<Journal, String>,
    /// Whether it is of this namespace and boot.
    pub place: Belonging,
    /// Whether its owner lives.
    pub owner: Owner,
    /// Why nothing becomes of it, where that cannot be decided from here, and what helps.
    pub kept: Option<String>,
    /// Its keys now; empty where they cannot be seen from here.
    pub keys: Vec<KeyStatus>,
}

/// Where a journal belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belonging {
    /// This network namespace, this boot.
    Here,
    /// Another network namespace: left alone by every command of this one.
    OtherNamespace,
    /// Another boot: discarded by the next command that may.
    OtherBoot,
    /// It cannot be understood.
    Unknown,
}

/// Who will undo a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Its run, which goes on.
    Alive,
    /// The next command, for its run is dead.
    Dead,
    /// Its run, as far as can be told: it is in another namespace of processes.
    OutOfSight,
    /// `linerate sysctl restore` only.
    Held,
}

/// A key of a journal now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The key.
    pub key: String,
    /// The value before the profile.
    pub old: String,
    /// What the profile has made of it.
    pub ours: String,
    /// What is there now, or why it cannot be read.
    pub now: String,
    /// Whose value that is.
    pub state: KeyState,
}

/// Whose value a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// The profile's.
    Ours,
    /// The old one.
    Back,
    /// Neither: somebody else has written it.
    Foreign,
    /// It cannot be read.
    Unreadable,
}

pub(crate) fn status(host: &Host) -> Result<Status, Error> {
    let journals = host.state.journals()?.into_iter().map(|stored| {
        let place = match &stored.journal {
            Err(_) => Belonging::Unknown,
            Ok(journal) if !journal.is_of_boot(&host.here) => Belonging::OtherBoot,
            Ok(journal) if !journal.namespace().is(&host.here.namespace) => {
                Belonging::OtherNamespace
            }
            Ok(_) => Belonging::Here,
        };
        let keys = match (&stored.journal, place) {
            (Ok(journal), Belonging::Here) => journal
                .entries
                .iter()
                .map(|entry| key(host, journal, entry))
                .collect(),
            _ => Vec::new(),
        };
        let owner = stored.journal.as_ref().map_or(Owner::OutOfSight, owner);
        JournalStatus {
            kept: heal::kept(host, &stored),
            path: stored.path,
            journal: stored.journal,
            place,
            owner,
            keys,
        }
    });
    Ok(Status {
        state_dir: host.state.path().to_owned(),
        journals: journals.collect(),
        warnings: rivals::find(host.files.as_ref()),
    })
}

fn owner(journal: &Journal) -> Owner {
    if journal.hold == Hold::Held && journal.phase == Progress::InForce {
        return Owner::Held;
    }
    match journal.owner.is_alive() {
        Some(true) => Owner::Alive,
        Some(false) => Owner::Dead,
        None => Owner::OutOfSight,
    }
}

fn key(host: &Host, journal: &Journal, entry: &JournalEntry) -> KeyStatus {
    let ours = entry.effective.as_ref().unwrap_or(&entry.new).clone();
    let (now, state) = match (read(host, &entry.key), catalogue::find(&entry.key)) {
        (Ok(now), Ok((info, _))) => {
            let is_ours = match journal.phase {
                Progress::InForce => value::same(info.kind, &now, &ours),
                Progress::Applying => value::is_between(info, &now, &entry.old, &entry.new),
            };
            let state = match value::same(info.kind, &now, &entry.old) {
                true => KeyState::Back,
                false if is_ours => KeyState::Ours,
                false => KeyState::Foreign,
            };
            (now, state)
        }
        (Err(answer), _) => (answer, KeyState::Unreadable),
        (Ok(now), Err(_)) => (now, KeyState::Foreign),
    };
    KeyStatus {
        key: entry.key.clone(),
        old: entry.old.clone(),
        ours,
        now,
        state,
    }
}

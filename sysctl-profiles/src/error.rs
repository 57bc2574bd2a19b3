//! What can go wrong, with the exit code that it deserves.

use std::io;
use std::path::{Path, PathBuf};

use crate::catalogue::Refusal;
use crate::class::Class;
use crate::outcome::RestoreReport;

/// How a program ends that met an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitClass {
    /// 2: what was asked for is wrong.
    Usage,
    /// 3: this machine cannot, or not now.
    Machine,
}

/// Of a journal that cannot be read or understood: why it stays, and what helps.
pub(crate) const UNUSABLE: &str = "it may be the only record of old values: look into it, put back by hand what it names or reboot, and then remove it";

/// One setting that stands in the way of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The key.
    pub key: String,
    /// What it is classified as.
    pub class: Class,
    /// What is in the way and what helps.
    pub why: String,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

/// Why a profile could not be read, applied or put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bundled profile has this name.
    #[error(
        "there is no profile `{name}`; bundled are {known}; a file is named with a `/` or with .toml; `linerate sysctl list` describes them"
    )]
    UnknownProfile {
        /// As it was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A profile's file cannot be read.
    #[error("reading the profile {path}: {source}", path = path.display())]
    ReadProfile {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A file is no profile.
    #[error("the profile {profile}: {why}")]
    InvalidProfile {
        /// Name or path.
        profile: String,
        /// Which rule it breaks.
        why: String,
    },
    /// A key that linerate knows nothing about.
    #[error(
        "the key {key} in {profile} is not in linerate's catalogue, so nobody has checked that it can be put back: nothing is applied; take it out"
    )]
    UnknownKey {
        /// As it was written.
        key: String,
        /// Name or path.
        profile: String,
    },
    /// A key that is no key, or is never written.
    #[error("the key {key} in {profile} is never written: {why}; take it out")]
    DeniedKey {
        /// As it was written.
        key: String,
        /// Name or path.
        profile: String,
        /// Why not.
        why: String,
    },
    /// A value that its key cannot have.
    #[error("the profile {profile}: {key} `{value}`: {why}")]
    InvalidValue {
        /// Name or path.
        profile: String,
        /// The key.
        key: String,
        /// Operator and value.
        value: String,
        /// Which rule it breaks.
        why: String,
    },
    /// Some settings cannot be written here. Nothing was written.
    #[error("{}", cannot_apply(profile, obstacles))]
    CannotApply {
        /// Its name.
        profile: String,
        /// Every setting that is in the way.
        obstacles: Vec<Obstacle>,
    },
    /// Another process of this namespace has a profile in force.
    #[error(
        "the profile {profile} is in force for another run, {owner}: two runs do not share settings; wait for it, or end it; one that is gone and cannot be seen from here (its container, for instance) is put back by `linerate sysctl restore --force`"
    )]
    InUse {
        /// The profile in force.
        profile: String,
        /// Who has applied it.
        owner: String,
    },
    /// `sysctl apply` holds another profile.
    #[error(
        "the profile {profile} is held since `linerate sysctl apply`, and {wanted} on top of it would not be put back cleanly; run `linerate sysctl restore` first"
    )]
    HeldOther {
        /// The profile in force.
        profile: String,
        /// What was asked for.
        wanted: String,
    },
    /// The same profile is held, and its values are not there any more.
    #[error(
        "the profile {profile} is held, and somebody has changed {keys} since; run `linerate sysctl restore` and apply it again"
    )]
    HeldDrifted {
        /// The profile in force.
        profile: String,
        /// What differs.
        keys: String,
    },
    /// A key of the whole machine that a run in another network namespace has written.
    #[error(
        "{key} is a setting of the whole machine, and a run in another network namespace ({owner}) has written it; wait for that run, or restore it in its namespace"
    )]
    OtherNamespace {
        /// The key.
        key: String,
        /// Who has written it.
        owner: String,
    },
    /// The lock was not to be had.
    #[error(
        "another linerate ({holder}) has been changing settings for {waited_s} s; `linerate sysctl status` shows them"
    )]
    Locked {
        /// Who holds it.
        holder: String,
        /// How long it was waited for, s.
        waited_s: u64,
    },
    /// The directory of the journals cannot be used.
    #[error("{attempt} {path}: {source}; journals are kept there so that every value can be put back: run as root, or name a directory of your own in LINERATE_STATE_DIR", path = path.display())]
    State {
        /// What was tried.
        attempt: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The directory of the journals belongs to somebody else.
    #[error("{path} {why}: what is in it would be written to the kernel's settings, so it is not trusted; remove it, or name another one in LINERATE_STATE_DIR", path = path.display())]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A journal that this version cannot read.
    #[error("the journal {path} cannot be used: {why}; it was left as it is, for {advice}", path = path.display(), advice = UNUSABLE)]
    Journal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel refused a value. What was written before it was put back.
    #[error("writing `{value}` to {key}: {answer}{}", undone(undo))]
    Refused {
        /// The key.
        key: String,
        /// The value that was refused.
        value: String,
        /// What the system answered.
        answer: String,
        /// What became of the values that were written before.
        undo: Box<RestoreReport>,
    },
    /// Some values could not be put back. The journal stays.
    #[error("{}", not_restored(report))]
    NotRestored {
        /// What became of each value.
        report: Box<RestoreReport>,
    },
    /// Who this process is, and in which namespace, cannot be told.
    #[error("reading {path}: {source}; without it a journal could not be told from one of another boot or namespace", path = path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// `/proc` shows the processes of another PID namespace.
    #[error(
        "{why}, so it is that of another PID namespace, and a journal could not name its writer so that others find out whether that still runs: mount the /proc of this namespace, for instance with `unshare --mount-proc`"
    )]
    ForeignProc {
        /// What is wrong with it.
        why: String,
    },
    /// The system is not Linux.
    #[error(
        "profiles are read-only on this system: linerate applies them on Linux only; `linerate sysctl list` and `show` work everywhere"
    )]
    Unsupported,
}

impl Error {
    /// How a program should end.
    #[must_use]
    pub fn exit_class(&self) -> ExitClass {
        match self {
            Error::UnknownProfile { .. }
            | Error::ReadProfile { .. }
            | Error::InvalidProfile { .. }
            | Error::UnknownKey { .. }
            | Error::DeniedKey { .. }
            | Error::InvalidValue { .. } => ExitClass::Usage,
            // Lowering is a matter of asking for it; everything else is the machine's.
            Error::CannotApply { obstacles, .. }
                if obstacles.iter().all(|one| one.class == Class::Lowers) =>
            {
                ExitClass::Usage
            }
            _ => ExitClass::Machine,
        }
    }

    pub(crate) fn refused_key(key: &str, profile: &str, refusal: &Refusal) -> Self {
        let (key, profile) = (key.to_owned(), profile.to_owned());
        match refusal {
            Refusal::Unknown => Error::UnknownKey { key, profile },
            Refusal::Never(why) => Error::DeniedKey {
                key,
                profile,
                why: (*why).to_owned(),
            },
            Refusal::Invalid(why) => Error::DeniedKey {
                key,
                profile,
                why: why.clone(),
            },
        }
    }

    pub(crate) fn state(attempt: &'static str, path: &Path, source: io::Error) -> Self {
        Error::State {
            attempt,
            path: path.to_owned(),
            source,
        }
    }
}

fn cannot_apply(profile: &str, obstacles: &[Obstacle]) -> String {
    format!(
        "the profile {profile} cannot be applied here, and nothing was changed:{}",
        obstacles_by_reason(obstacles)
    )
}

/// A line for each reason: it is told once, with the first key that it concerns, and the others are named.
fn obstacles_by_reason(obstacles: &[Obstacle]) -> String {
    let mut lines = String::new();
    for (index, one) in obstacles.iter().enumerate() {
        let same = |other: &&Obstacle| other.why == one.why;
        if obstacles[..index]
            .iter()
            .any(|earlier| earlier.why == one.why)
        {
            continue;
        }
        lines += &format!("\n  {one}");
        let others: Vec<&str> = obstacles[index + 1..]
            .iter()
            .filter(same)
            .map(|other| other.key.as_str())
            .collect();
        if !others.is_empty() {
            lines += &format!(" (the same: {})", others.join(", "));
        }
    }
    lines
}

fn undone(undo: &RestoreReport) -> String {
    if undo.is_complete() {
        return "; everything written before was put back".to_owned();
    }
    format!("; {}", not_restored(undo))
}

fn not_restored(report: &RestoreReport) -> String {
    let lines: Vec<String> = report.failed().map(|key| format!("\n  {key}")).collect();
    format!(
        "not everything of the profile {} could be put back; the journal stays, run `linerate sysctl restore` when the reason is gone:{}",
        report.profile,
        lines.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_and_every_key_is_named() {
        let of = |key: &str, why: &str| Obstacle {
            key: key.to_owned(),
            class: Class::NeedsRoot,
            why: why.to_owned(),
        };
        let text = cannot_apply(
            "x",
            &[
                of("a", "only root may write it"),
                of("b", "it is read-only here"),
                of("c", "only root may write it"),
                of("d", "only root may write it"),
            ],
        );
        assert_eq!(text.matches("only root").count(), 1, "{text}");
        assert!(
            text.contains("a: only root may write it (the same: c, d)"),
            "{text}"
        );
        assert!(text.ends_with("b: it is read-only here"), "{text}");
    }
}

//! What those that were killed have left: put back, discarded, or named.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::catalogue::{self, Scope};
use crate::error::{Error, UNUSABLE};
use crate::journal::Journal;
use crate::machine::Host;
use crate::namespace::Existence;
use crate::outcome::RestoreReport;
use crate::restore::{discard_other_boots, undo_all};
use crate::state::Stored;

/// How long the supervisor of a killed run may take to put everything back; it takes milliseconds, and on a busy
/// machine longer.
const ENDING_DEADLINE: Duration = Duration::from_secs(2);
const ENDING_POLL: Duration = Duration::from_millis(10);
/// A shorter wait is nobody's business.
const WORTH_TELLING: Duration = Duration::from_millis(200);

/// What was found of those that were killed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Healed {
    /// A run that was about to put back its values itself, and was waited for.
    pub waited: Option<Waited>,
    /// What was put back or discarded.
    pub reports: Vec<RestoreReport>,
    /// What was left, although its owner may be gone.
    pub kept: Vec<Kept>,
}

/// How a run was waited for that was killed, and whose supervisor was still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// The profile.
    pub profile: String,
    /// The supervisor.
    pub owner: String,
    /// How long.
    pub time: Duration,
    /// Whether it is over.
    pub ended: bool,
}

impl std::fmt::Display for Waited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { profile, owner, .. } = self;
        let seconds = self.time.as_secs_f64();
        match self.ended {
            true => write!(
                f,
                "waited {seconds:.1} s until {owner}, whose run was killed, had put back the profile {profile}"
            ),
            false => write!(
                f,
                "{owner}, whose run was killed, has not put back the profile {profile} within {seconds:.1} s"
            ),
        }
    }
}

/// A journal that was left as it is because nobody can decide about it from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its file.
    pub path: PathBuf,
    /// Why it was left, and what helps.
    pub why: String,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the journal {} was left as it is: {}",
            self.path.display(),
            self.why
        )
    }
}

pub(crate) fn heal(host: &Host) -> Result<Healed, Error> {
    let mut healed = Healed {
        waited: await_ending(host)?,
        ..Healed::default()
    };
    let mut has_work = false;
    for stored in host.state.journals()? {
        match fate(host, &stored) {
            Fate::Stays => {}
            Fate::Kept(why) => healed.kept.push(Kept {
                path: stored.path,
                why,
            }),
            Fate::Discarded | Fate::Undone | Fate::Orphaned => has_work = true,
        }
    }
    if has_work {
        let _lock = host.state.lock()?;
        healed.reports = heal_locked(host)?;
    }
    Ok(healed)
}

pub(crate) fn heal_locked(host: &Host) -> Result<Vec<RestoreReport>, Error> {
    let mut reports = discard_other_boots(host)?;
    let is_own = |stored: &Stored| {
        let journal = stored.journal.as_ref();
        journal.is_ok_and(|journal| journal.namespace().is(&host.here.namespace))
    };
    let mut journals = host.state.journals()?;
    // Another one's failure must not keep the own values from coming back.
    journals.sort_by_key(|stored| !is_own(stored));
    for stored in journals {
        match (fate(host, &stored), stored.journal) {
            (Fate::Undone, Ok(journal)) => reports.push(undo_all(host, journal, false)?),
            (Fate::Orphaned, Ok(journal)) => reports.push(undo_orphaned(host, journal)?),
            _ => {}
        }
    }
    Ok(reports)
}

/// Waits while a killed run of this network namespace is putting its values back. A run that goes on is not waited
/// for.
fn await_ending(host: &Host) -> Result<Option<Waited>, Error> {
    let begin = Instant::now();
    let mut waited = None;
    while let Some(journal) = ending(host)? {
        let time = begin.elapsed();
        let over = time >= ENDING_DEADLINE;
        waited = Some(Waited {
            profile: journal.profile,
            owner: journal.owner.to_string(),
            time,
            ended: !over,
        });
        if over {
            break;
        }
        std::thread::sleep(ENDING_POLL);
    }
    Ok(waited.filter(|waited| waited.time >= WORTH_TELLING))
}

/// The journal of such a run.
fn ending(host: &Host) -> Result<Option<Journal>, Error> {
    let journals = host.state.journals()?.into_iter();
    let mut journals = journals.filter_map(|stored| stored.journal.ok());
    Ok(journals.find(|journal| {
        journal.is_of_boot(&host.here)
            && journal.namespace().is(&host.here.namespace)
            && journal.is_ending()
    }))
}

/// What is to become of a journal that nobody has asked for.
enum Fate {
    /// It is of another boot.
    Discarded,
    /// Of this network namespace, and its run was killed.
    Undone,
    /// Likewise, of a network namespace that is gone. What was the namespace's own went with it; nobody can run a
    /// command there any more to put back what was the machine's.
    Orphaned,
    /// Its run lives, it is held, or a command in its own network namespace will undo it.
    Stays,
    /// That cannot be decided: why, and what helps.
    Kept(String),
}

fn fate(host: &Host, stored: &Stored) -> Fate {
    let journal = match &stored.journal {
        Ok(journal) => journal,
        Err(why) => return Fate::Kept(why_unusable(why)),
    };
    if !journal.is_of_boot(&host.here) {
        return Fate::Discarded;
    }
    if !journal.is_abandoned() {
        return Fate::Stays;
    }
    if journal.namespace().is(&host.here.namespace) {
        return Fate::Undone;
    }
    match host.existence_of(journal.namespace()) {
        Existence::Exists => Fate::Stays,
        Existence::Gone => Fate::Orphaned,
        Existence::Unknown(why) => Fate::Kept(why_unknown(journal, &why)),
    }
}

/// Why nobody can decide about a journal from here, if that is so.
pub(crate) fn kept(host: &Host, stored: &Stored) -> Option<String> {
    match fate(host, stored) {
        Fate::Kept(why) => Some(why),
        _ => None,
    }
}

fn why_unusable(why: &str) -> String {
    format!("it cannot be used ({why}), and {UNUSABLE}")
}

fn why_unknown(journal: &Journal, why: &str) -> String {
    format!(
        "{}, which was killed, left the profile {} in the network namespace net:[{}], and whether that still exists cannot be told: {why}; run `linerate sysctl status` in that namespace, or as root outside of containers",
        journal.owner, journal.profile, journal.network_namespace
    )
}

fn undo_orphaned(host: &Host, mut journal: Journal) -> Result<RestoreReport, Error> {
    let of_machine =
        |key: &str| catalogue::find(key).is_ok_and(|(info, _)| info.scope != Scope::Namespace);
    journal.entries.retain(|entry| of_machine(&entry.key));
    undo_all(host, journal, false)
}

#[cfg(test)]
mod tests;

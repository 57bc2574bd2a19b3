//! Putting back what a journal says: in reverse, and only where the value is still ours.

use std::ops::Range;

use crate::catalogue;
use crate::crash;
use crate::error::Error;
use crate::journal::{Journal, JournalEntry, Progress};
use crate::machine::{Host, read, write};
use crate::outcome::{Outcome, RestoreReport, RestoredKey};
use crate::value;

/// How values are put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreOptions {
    /// Also over what somebody else has written since, and although the owner lives.
    pub force: bool,
}

pub(crate) fn restore(
    host: &Host,
    options: RestoreOptions,
) -> Result<Option<RestoreReport>, Error> {
    if host.state.journals()?.is_empty() {
        return Ok(None);
    }
    let _lock = host.state.lock()?;
    discard_other_boots(host)?;
    let Some(journal) = host.state.journal(host.here.namespace)? else {
        return Ok(None);
    };
    // An owner that cannot be seen from here counts as alive.
    let lives = journal.owner.is_alive() != Some(false);
    if journal.is_of_owner() && lives && !options.force {
        return Err(Error::InUse {
            profile: journal.profile.clone(),
            owner: journal.owner.to_string(),
        });
    }
    undo_all(host, journal, options.force).map(Some)
}

/// `ours`: the journal of what is to be put back; `None` where there is nothing.
pub(crate) fn release(host: &Host, ours: Option<&Journal>) -> Result<Option<RestoreReport>, Error> {
    let Some(ours) = ours else {
        return Ok(None);
    };
    let _lock = host.state.lock()?;
    match host.state.journal(ours.namespace())? {
        Some(journal) if journal.is_same(ours) => undo_all(host, journal, false).map(Some),
        // Put back meanwhile, by force, and another one applied.
        Some(_) => Ok(None),
        None => {
            // Put back by force, or the file was removed: then only this process knows the old values.
            // What is back already, or somebody else's, is left.
            let report = undo_all(host, ours.clone(), false)?;
            let wrote = |key: &RestoredKey| key.outcome == Outcome::PutBack;
            Ok(report.keys.iter().any(wrote).then_some(report))
        }
    }
}

/// Undoes a whole journal, and removes it when nothing is left to do.
pub(crate) fn undo_all(
    host: &Host,
    mut journal: Journal,
    force: bool,
) -> Result<RestoreReport, Error> {
    crash::point("restore.locked");
    let all = 0..journal.entries.len();
    let report = undo_range(host, &journal, all, force);
    crash::point("restore.done");
    if !report.is_complete() {
        // A refused vector may be half old and half ours now: the next attempt must know it for ours.
        journal.phase = Progress::Applying;
        // Where it cannot be written the one before stays, and what has failed is said in any case.
        let _ = host.state.save(&journal);
        return Err(Error::NotRestored {
            report: Box::new(report),
        });
    }
    host.state.remove(&host.state.file(journal.namespace()))?;
    crash::point("restore.removed");
    Ok(report)
}

/// Undoes some entries of a journal that is being carried out.
pub(crate) fn undo(host: &Host, journal: &Journal, entries: Range<usize>) -> RestoreReport {
    undo_range(host, journal, entries, false)
}

fn undo_range(host: &Host, journal: &Journal, entries: Range<usize>, force: bool) -> RestoreReport {
    let mut report = journal.report();
    for entry in journal.entries[entries].iter().rev() {
        let outcome = undo_entry(host, entry, journal.phase, force).unwrap_or_else(Outcome::Failed);
        if outcome == Outcome::PutBack {
            let written = report
                .keys
                .iter()
                .filter(|key| key.outcome == Outcome::PutBack)
                .count();
            crash::wrote("restore", written + 1);
        }
        report.keys.push(RestoredKey {
            key: entry.key.clone(),
            old: entry.old.clone(),
            outcome,
        });
    }
    report
}

fn undo_entry(
    host: &Host,
    entry: &JournalEntry,
    phase: Progress,
    force: bool,
) -> Result<Outcome, String> {
    // Also for a journal that somebody has edited: what the catalogue denies is not written.
    let (info, _) = catalogue::find(&entry.key)
        .map_err(|_| "the journal names a key that linerate does not write".to_owned())?;
    value_is_one(info, &entry.old)?;
    if host.is_missing(&entry.key) {
        return Ok(Outcome::Gone);
    }
    let found = read(host, &entry.key)?;
    if value::same(info.kind, &found, &entry.old) {
        return Ok(Outcome::AlreadyBack);
    }
    let ours = match (phase, &entry.effective) {
        (Progress::InForce, Some(effective)) => value::same(info.kind, &found, effective),
        // Read back before it was to be put back and could not be: also what the kernel had made of it.
        (_, Some(effective)) if value::same(info.kind, &found, effective) => true,
        _ => value::is_between(info, &found, &entry.old, &entry.new),
    };
    if !ours && !force {
        let ours = entry.effective.as_ref().unwrap_or(&entry.new).clone();
        return Ok(Outcome::LeftAlone { ours, found });
    }
    // What counts is what is there then, and not the answer: a vector may be back although it was refused.
    let answer = write(host, &entry.key, &entry.old);
    let now = read(host, &entry.key)?;
    if value::same(info.kind, &now, &entry.old) {
        return Ok(Outcome::PutBack);
    }
    answer?;
    Err(format!(
        "{} was written, and the kernel has {now}",
        entry.old
    ))
}

/// An old value was the kernel's own, so it may lie outside of what a profile may ask for; its form may not.
fn value_is_one(info: &catalogue::KeyInfo, old: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    match old.chars().all(plain) {
        true => Ok(()),
        false => Err(format!(
            "the journal's old value of {} is no value",
            info.key
        )),
    }
}

/// After a reboot the kernel has its own values again, and old ones over a fresh boot would be wrong.
pub(crate) fn discard_other_boots(host: &Host) -> Result<Vec<RestoreReport>, Error> {
    let mut reports = Vec::new();
    for stored in host.state.journals()? {
        let Ok(journal) = stored.journal else {
            continue;
        };
        if !journal.is_of_boot(&host.here) {
            host.state.remove(&stored.path)?;
            reports.push(RestoreReport {
                other_boot: true,
                ..journal.report()
            });
        }
    }
    Ok(reports)
}

#[cfg(test)]
mod tests;

//! Putting a profile in force.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::catalogue::{self, Scope};
use crate::class::Class;
use crate::crash;
use crate::error::Error;
use crate::heal;
use crate::hold::Hold;
use crate::identity::Process;
use crate::journal::{Journal, JournalEntry, Progress, SCHEMA};
use crate::machine::{Host, read, write};
use crate::outcome::RestoreReport;
use crate::plan::{self, Plan, PlanEntry};
use crate::profile::Profile;
use crate::restore;
use crate::rivals::Warning;
use crate::value;

/// How a profile is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyOptions {
    /// How long it stays.
    pub hold: Hold,
    /// Whether settings may be lowered.
    pub allow_lowering: bool,
    /// Whether settings that nobody can write here are left as they are, instead of stopping the profile.
    pub skip_read_only: bool,
    /// Whose death ends a run; the calling process where `None`.
    pub owner: Option<Process>,
}

impl ApplyOptions {
    /// For the time of the calling process; nothing is lowered.
    #[must_use]
    pub fn run() -> Self {
        Self {
            hold: Hold::Run,
            allow_lowering: false,
            skip_read_only: false,
            owner: None,
        }
    }

    /// Until it is restored; nothing is lowered.
    #[must_use]
    pub fn held() -> Self {
        Self {
            hold: Hold::Held,
            ..Self::run()
        }
    }

    /// The same, with lowering allowed or not.
    #[must_use]
    pub fn lowering(mut self, allowed: bool) -> Self {
        self.allow_lowering = allowed;
        self
    }

    /// The same, with settings that nobody can write here left as they are, or not.
    #[must_use]
    pub fn skipping_read_only(mut self, skips: bool) -> Self {
        self.skip_read_only = skips;
        self
    }
}

/// A profile in force: what every key had before and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The profile's name.
    pub profile: String,
    /// [`Profile::hash`].
    pub hash: String,
    /// [`Hold::Held`] also for a run on top of the same profile that `sysctl apply` holds.
    pub hold: Hold,
    /// Its keys in the order of writing.
    pub keys: Vec<AppliedKey>,
    /// What may disturb it.
    pub warnings: Vec<Warning>,
    /// What killed owners had left behind, and was put back first.
    pub healed: Vec<RestoreReport>,
    /// The journal as it was at the end; `None` where there is nothing for this application to put back.
    pub(crate) journal: Option<Journal>,
}

/// One key of a profile in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedKey {
    /// The key.
    pub key: String,
    /// What became of it.
    pub class: Class,
    /// Operator and value.
    pub requested: String,
    /// The value before.
    pub before: Option<String>,
    /// The value as read back.
    pub effective: Option<String>,
    /// Why the profile has it.
    pub reason: String,
    /// Where that is said.
    pub source: String,
    /// What else one must know: left out and why, or adjusted by the kernel.
    pub note: Option<String>,
}

/// A value that is not as it was right after applying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The key.
    pub key: String,
    /// What was effective then.
    pub expected: String,
    /// What is there now, or why it cannot be read.
    pub found: String,
}

impl AppliedKey {
    fn of(entry: &PlanEntry) -> Self {
        AppliedKey {
            key: entry.key.clone(),
            class: entry.class,
            requested: entry.setting.requested(),
            before: entry.before.clone(),
            effective: entry.before.clone(),
            reason: entry.setting.reason.clone(),
            source: entry.setting.source.clone(),
            note: entry.note.clone(),
        }
    }
}

pub(crate) fn apply(
    host: &Host,
    profile: &Profile,
    options: &ApplyOptions,
) -> Result<Applied, Error> {
    let _lock = match host.state.lock() {
        Ok(lock) => lock,
        Err(error) => return without_journal(host, profile, options, error),
    };
    crash::point("apply.locked");
    let healed = heal::heal_locked(host)?;
    if let Some(journal) = host.state.journal(host.here.namespace)? {
        return on_top(host, profile, options, &journal, healed);
    }
    let plan = planned(host, profile, options)?;
    plan.check(options.allow_lowering)?;
    other_namespaces(host, &plan)?;
    crash::point("apply.planned");
    let journal = journal(host, &plan, options)?;
    host.state.save(&journal)?;
    crash::point("apply.journaled");
    let mut applied = carry_out(host, plan, journal)?;
    applied.healed = healed;
    Ok(applied)
}

fn planned(host: &Host, profile: &Profile, options: &ApplyOptions) -> Result<Plan, Error> {
    let mut plan = plan::make(profile, host.files.as_ref())?;
    if options.skip_read_only {
        plan.skip_read_only();
    }
    Ok(plan)
}

/// Without a journal nothing can be written. That is right for a run that has nothing to write.
fn without_journal(
    host: &Host,
    profile: &Profile,
    options: &ApplyOptions,
    error: Error,
) -> Result<Applied, Error> {
    if !matches!(error, Error::State { .. }) {
        return Err(error);
    }
    let plan = planned(host, profile, options)?;
    // "Needs root" says more than a directory that cannot be made.
    plan.check(options.allow_lowering)?;
    if options.hold == Hold::Held || plan.entries.iter().any(PlanEntry::is_written) {
        return Err(error);
    }
    let mut applied = in_force(&plan, Hold::Run);
    applied.warnings.push(Warning {
        text: format!("nothing had to be changed, and no journal could be written ({error}): another run may change settings meanwhile"),
    });
    Ok(applied)
}

/// There is a journal already.
fn on_top(
    host: &Host,
    profile: &Profile,
    options: &ApplyOptions,
    journal: &Journal,
    healed: Vec<RestoreReport>,
) -> Result<Applied, Error> {
    if journal.is_of_owner() {
        return Err(Error::InUse {
            profile: journal.profile.clone(),
            owner: journal.owner.to_string(),
        });
    }
    if journal.profile_hash != profile.hash() {
        return Err(Error::HeldOther {
            profile: journal.profile.clone(),
            wanted: profile.name.clone(),
        });
    }
    let plan = planned(host, profile, options)?;
    let differs: Vec<&str> = plan
        .entries
        .iter()
        .filter(|entry| entry.is_written())
        .map(|entry| entry.key.as_str())
        .collect();
    if !differs.is_empty() {
        return Err(Error::HeldDrifted {
            profile: journal.profile.clone(),
            keys: differs.join(", "),
        });
    }
    plan.check(options.allow_lowering)?;
    let mut applied = in_force(&plan, Hold::Held);
    for key in &mut applied.keys {
        let entry = journal.entries.iter().find(|entry| entry.key == key.key);
        if let Some(entry) = entry {
            key.before = Some(entry.old.clone());
            key.class = class_of(entry);
        }
    }
    applied.healed = healed;
    Ok(applied)
}

fn class_of(entry: &JournalEntry) -> Class {
    let kind = catalogue::find(&entry.key).map(|(info, _)| info.kind);
    let new = entry.effective.as_deref().unwrap_or(&entry.new);
    kind.map_or(Class::Changes, |kind| {
        Class::of(value::change(kind, &entry.old, new))
    })
}

/// Two namespaces share the settings of the machine: what one has written, the other may not.
fn other_namespaces(host: &Host, plan: &Plan) -> Result<(), Error> {
    let mut of_machine = Vec::new();
    for entry in plan.entries.iter().filter(|entry| entry.is_written()) {
        if entry.setting.info()?.scope != Scope::Namespace {
            of_machine.push(entry.key.as_str());
        }
    }
    for stored in host.state.journals()? {
        let journal = match stored.journal {
            Ok(journal) => journal,
            Err(_) if of_machine.is_empty() => continue,
            // It may be one of those.
            Err(why) => {
                let path = stored.path;
                return Err(Error::Journal { path, why });
            }
        };
        if journal.namespace().is(&host.here.namespace) || !journal.is_of_boot(&host.here) {
            continue;
        }
        let theirs = |key: &&&str| journal.entries.iter().any(|entry| entry.key == ***key);
        if let Some(key) = of_machine.iter().find(theirs) {
            return Err(Error::OtherNamespace {
                key: (*key).to_owned(),
                owner: journal.owner.to_string(),
            });
        }
    }
    Ok(())
}

fn journal(host: &Host, plan: &Plan, options: &ApplyOptions) -> Result<Journal, Error> {
    let (owner, started_by) = match &options.owner {
        Some(owner) => (owner.clone(), Vec::new()),
        None => {
            let this = Process::this()?;
            let started_by = this.started_by();
            (this, started_by)
        }
    };
    let entry = |entry: &PlanEntry| JournalEntry {
        key: entry.key.clone(),
        old: entry.before.clone().unwrap_or_default(),
        new: entry.write.clone().unwrap_or_default(),
        effective: None,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Journal {
        schema: SCHEMA.to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: host.here.boot_id.clone(),
        network_namespace: host.here.namespace.inode,
        network_namespace_cookie: host.here.namespace.cookie,
        owner,
        started_by,
        hold: options.hold,
        phase: Progress::Applying,
        profile: plan.profile.clone(),
        profile_hash: plan.hash.clone(),
        written_unix_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        entries: plan
            .entries
            .iter()
            .filter(|entry| entry.is_written())
            .map(entry)
            .collect(),
    })
}

fn in_force(plan: &Plan, hold: Hold) -> Applied {
    Applied {
        profile: plan.profile.clone(),
        hash: plan.hash.clone(),
        hold,
        keys: plan.entries.iter().map(AppliedKey::of).collect(),
        warnings: plan.warnings.clone(),
        healed: Vec::new(),
        journal: None,
    }
}

/// Writes what the journal says, reads it back, and completes the journal.
fn carry_out(host: &Host, plan: Plan, mut journal: Journal) -> Result<Applied, Error> {
    let mut applied = in_force(&plan, journal.hold);
    let mut refused = Vec::new();
    for (at, entry) in journal.entries.iter().enumerate() {
        let answer = match write(host, &entry.key, &entry.new) {
            Ok(()) => {
                crash::wrote("apply", at + 1);
                continue;
            }
            Err(answer) => answer,
        };
        let optional = plan
            .entries
            .iter()
            .any(|planned| planned.key == entry.key && planned.setting.optional);
        // A refused vector may have been stored in part.
        let undo = if optional {
            restore::undo(host, &journal, at..at + 1)
        } else {
            restore::undo(host, &journal, 0..at + 1)
        };
        if !optional || !undo.is_complete() {
            return Err(give_up(host, &journal, at, answer, undo));
        }
        refused.push((entry.key.clone(), answer));
    }
    journal
        .entries
        .retain(|entry| refused.iter().all(|(key, _)| *key != entry.key));
    let completed = complete(host, &mut journal, &mut applied, &refused);
    if let Err(error) = completed {
        // Its owner lives and has nothing to release: nobody else would put it back before that one's end.
        journal.phase = Progress::Applying;
        restore::undo_all(host, journal, false)?;
        return Err(error);
    }
    applied.journal = Some(journal);
    Ok(applied)
}

/// Everything is written: reads it back and says so in the journal.
fn complete(
    host: &Host,
    journal: &mut Journal,
    applied: &mut Applied,
    refused: &[(String, String)],
) -> Result<(), Error> {
    read_back(host, journal, applied, refused)?;
    crash::point("apply.read");
    journal.phase = Progress::InForce;
    host.state.save(journal)?;
    crash::point("apply.recorded");
    Ok(())
}

/// A value was refused: everything goes back, and so does the journal if nothing is left of it.
fn give_up(
    host: &Host,
    journal: &Journal,
    at: usize,
    answer: String,
    mut undo: RestoreReport,
) -> Error {
    if undo.keys.len() <= at {
        undo = restore::undo(host, journal, 0..at + 1);
    }
    if undo.is_complete() {
        let path = host.state.file(journal.namespace());
        if let Err(error) = host.state.remove(&path) {
            return error;
        }
    }
    let entry = &journal.entries[at];
    Error::Refused {
        key: entry.key.clone(),
        value: entry.new.clone(),
        answer,
        undo: Box::new(undo),
    }
}

/// What the kernel has made of the values.
fn read_back(
    host: &Host,
    journal: &mut Journal,
    applied: &mut Applied,
    refused: &[(String, String)],
) -> Result<(), Error> {
    for entry in &mut journal.entries {
        entry.effective = read(host, &entry.key).ok();
    }
    for key in &mut applied.keys {
        if let Some((_, answer)) = refused.iter().find(|(refused, _)| *refused == key.key) {
            key.note = Some(format!("left out: the kernel refused it ({answer})"));
        }
        let Some(entry) = journal.entries.iter().find(|entry| entry.key == key.key) else {
            continue;
        };
        key.effective.clone_from(&entry.effective);
        let (info, _) = catalogue::find(&entry.key)
            .map_err(|refusal| Error::refused_key(&entry.key, "the profile", &refusal))?;
        let found = entry
            .effective
            .as_deref()
            .unwrap_or("nothing that can be read");
        if !value::same(info.kind, found, &value::granted(info, &entry.new)) {
            key.note = Some(format!(
                "adjusted: {} was written, and the kernel has {found}",
                entry.new
            ));
        }
    }
    Ok(())
}

pub(crate) fn drift(host: &Host, applied: &Applied) -> Vec<Drift> {
    let compare = |key: &AppliedKey| {
        let expected = key.effective.as_ref()?;
        let (info, _) = catalogue::find(&key.key).ok()?;
        let found = match read(host, &key.key) {
            Ok(found) if value::same(info.kind, &found, expected) => return None,
            Ok(found) => found,
            Err(answer) => format!("cannot be read: {answer}"),
        };
        Some(Drift {
            key: key.key.clone(),
            expected: expected.clone(),
            found,
        })
    };
    applied.keys.iter().filter_map(compare).collect()
}

#[cfg(test)]
mod tests;

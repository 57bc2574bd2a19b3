//! `apply` and `restore`: a profile held, and put back.

use report::document::{AppliedProfile, Message};
use runner::error::{ExitClass, Failure};
use runner::profile::{Application, Hold, Keeper, this_host};
use serde::Serialize;
use sysctl_profiles::{Outcome, RestoreOptions, RestoreReport, RestoredKey};

use super::lines::{counted, table, wrapped};
use crate::args::sysctl::{ApplyArgs, RestoreArgs};
use crate::problem::Problem;
use crate::signals;

#[derive(Serialize)]
struct Applied {
    schema: &'static str,
    profile: AppliedProfile,
    warnings: Vec<Message>,
}

/// A supervisor writes, and is told to leave the profile in force when all of it is: should this process
/// be killed before, the supervisor puts everything back.
pub(super) fn apply(args: &ApplyArgs) -> Result<ExitClass, Problem> {
    let profile = runner::profile::load(&args.named.name)?;
    // A signal must not leave it open whether the profile is held: the answer comes in milliseconds.
    signals::notice(|| ())
        .map_err(|error| Failure::machine(format!("watch for signals: {error}")))?;
    let (keeper, profile, warnings) = Keeper::apply(Application {
        profile,
        hold: Hold::Held,
        allow_lower: args.allow_lower,
        skip_read_only: args.skip_read_only,
    })?;
    keeper.leave()?;
    let applied = Applied {
        schema: "linerate.profile_applied/1",
        profile,
        warnings,
    };
    super::answer(args.named.format.format, &applied, || apply_text(&applied))?;
    Ok(ExitClass::Done)
}

fn apply_text(applied: &Applied) -> String {
    let Applied {
        profile, warnings, ..
    } = applied;
    let rows: Vec<Vec<String>> = profile
        .keys
        .iter()
        .map(|key| {
            let shown =
                |value: &Option<String>| value.clone().unwrap_or_else(|| "missing".to_owned());
            let values = match key.before == key.effective {
                true => shown(&key.effective),
                false => format!("{} -> {}", shown(&key.before), shown(&key.effective)),
            };
            let note = key.note.clone().unwrap_or_default();
            vec![key.key.clone(), key.class.words().to_owned(), values, note]
        })
        .collect();
    let mut text = format!(
        "Profile {} is held until `linerate sysctl restore`: {}.\n\n{}\n",
        profile.name,
        report::text::profile_summary(profile),
        table(&rows).join("\n")
    );
    for warning in warnings {
        text += &wrapped(0, &format!("Warning: {}", warning.text));
    }
    text
}

#[derive(Serialize)]
struct Restored {
    schema: &'static str,
    /// Null where there was nothing to put back.
    profile: Option<String>,
    keys: Vec<RestoredEntry>,
}

#[derive(Serialize)]
struct RestoredEntry {
    key: String,
    old: String,
    /// `put_back`, `already_back`, `gone`, `left_alone` or `failed`.
    outcome: &'static str,
    /// The value that somebody else has written, or why it failed.
    found: Option<String>,
}

pub(super) fn restore(args: &RestoreArgs) -> Result<ExitClass, Problem> {
    let options = RestoreOptions { force: args.force };
    let report = this_host()
        .and_then(|host| host.restore(options))
        .map_err(Failure::from)?;
    let keys = report.iter().flat_map(|report| &report.keys);
    let restored = Restored {
        schema: "linerate.profile_restored/1",
        profile: report.as_ref().map(|report| report.profile.clone()),
        keys: keys.map(restored_entry).collect(),
    };
    super::answer(args.format.format, &restored, || {
        restore_text(report.as_ref())
    })?;
    let left = report.iter().flat_map(RestoreReport::left_alone).next();
    match left {
        None => Ok(ExitClass::Done),
        Some(_) => Ok(ExitClass::CheckFailed),
    }
}

fn restored_entry(key: &RestoredKey) -> RestoredEntry {
    let (outcome, found) = match &key.outcome {
        Outcome::PutBack => ("put_back", None),
        Outcome::AlreadyBack => ("already_back", None),
        Outcome::Gone => ("gone", None),
        Outcome::LeftAlone { found, .. } => ("left_alone", Some(found.clone())),
        Outcome::Failed(why) => ("failed", Some(why.clone())),
    };
    RestoredEntry {
        key: key.key.clone(),
        old: key.old.clone(),
        outcome,
        found,
    }
}

fn restore_text(report: Option<&RestoreReport>) -> String {
    let Some(report) = report else {
        return "nothing to put back\n".to_owned();
    };
    let keys = counted(report.keys.len(), "setting");
    let mut text = format!("The profile {} is put back, {keys}:\n", report.profile);
    for key in &report.keys {
        text += &format!("  {key}\n");
    }
    text
}

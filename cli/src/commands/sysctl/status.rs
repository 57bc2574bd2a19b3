//! `status`: every journal, whose it is, and what its values are now.

use runner::error::{ExitClass, Failure};
use runner::profile::this_host;
use serde::Serialize;
use sysctl_profiles::{Belonging, JournalStatus, KeyState, KeyStatus, Owner, Status};

use super::lines::{table, wrapped};
use crate::args::sysctl::SysctlFormat;
use crate::problem::Problem;

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    state_dir: String,
    journals: Vec<ShownJournal>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ShownJournal {
    file: String,
    /// Null: the journal cannot be understood.
    profile: Option<String>,
    /// The process that wrote it; null likewise.
    owner: Option<String>,
    /// `alive`, `dead`, `out_of_sight` or `held`.
    owner_state: &'static str,
    /// `here`, `other_namespace`, `other_boot` or `unknown`.
    place: &'static str,
    /// Why it cannot be understood.
    unreadable: Option<String>,
    /// Why no command decides about it, and what helps.
    kept: Option<String>,
    keys: Vec<ShownKey>,
}

#[derive(Serialize)]
struct ShownKey {
    key: String,
    old: String,
    ours: String,
    now: String,
    /// `ours`, `back`, `foreign` or `unreadable`.
    state: &'static str,
}

pub(super) fn status(format: SysctlFormat) -> Result<ExitClass, Problem> {
    let status = this_host()
        .and_then(|host| host.status())
        .map_err(Failure::from)?;
    let shown = Shown {
        schema: "linerate.profile_status/1",
        state_dir: status.state_dir.display().to_string(),
        journals: status.journals.iter().map(journal).collect(),
        warnings: status.warnings.iter().map(ToString::to_string).collect(),
    };
    super::answer(format, &shown, || text(&status, &shown))?;
    Ok(ExitClass::Done)
}

fn journal(status: &JournalStatus) -> ShownJournal {
    let known = status.journal.as_ref().ok();
    ShownJournal {
        file: status.path.display().to_string(),
        profile: known.map(|journal| journal.profile.clone()),
        owner: known.map(|journal| journal.owner.to_string()),
        owner_state: match status.owner {
            Owner::Alive => "alive",
            Owner::Dead => "dead",
            Owner::OutOfSight => "out_of_sight",
            Owner::Held => "held",
        },
        place: match status.place {
            Belonging::Here => "here",
            Belonging::OtherNamespace => "other_namespace",
            Belonging::OtherBoot => "other_boot",
            Belonging::Unknown => "unknown",
        },
        unreadable: status.journal.as_ref().err().cloned(),
        kept: status.kept.clone(),
        keys: status.keys.iter().map(key).collect(),
    }
}

fn key(status: &KeyStatus) -> ShownKey {
    ShownKey {
        key: status.key.clone(),
        old: status.old.clone(),
        ours: status.ours.clone(),
        now: status.now.clone(),
        state: match status.state {
            KeyState::Ours => "ours",
            KeyState::Back => "back",
            KeyState::Foreign => "foreign",
            KeyState::Unreadable => "unreadable",
        },
    }
}

fn text(status: &Status, shown: &Shown) -> String {
    let mut text = String::new();
    if shown.journals.is_empty() {
        text += "no profile is in force, and nothing was left behind\n";
    }
    for (journal, shown) in status.journals.iter().zip(&shown.journals) {
        text += &wrapped(0, &sentence(journal, shown));
        let rows: Vec<Vec<String>> = journal.keys.iter().map(row).collect();
        for line in table(&rows) {
            text += &format!("{line}\n");
        }
    }
    for warning in &shown.warnings {
        text += &wrapped(0, &format!("Warning: {warning}"));
    }
    text
}

/// Whose it is, and what will become of it.
fn sentence(status: &JournalStatus, shown: &ShownJournal) -> String {
    let kept = status.kept.as_deref().unwrap_or_default();
    let Ok(journal) = &status.journal else {
        return format!("Journal {}: {kept}.", shown.file);
    };
    if status.kept.is_some() {
        return format!(
            "Profile {}: {kept}; its journal is {}.",
            journal.profile, shown.file
        );
    }
    let owner = &journal.owner;
    let whose = match (status.place, status.owner) {
        (Belonging::OtherBoot, _) => {
            "of another boot: the reboot has put everything back, and the next command discards it"
                .to_owned()
        }
        (_, Owner::Held) => "held until `linerate sysctl restore`".to_owned(),
        (_, Owner::Alive) => format!("in force for {owner}, which puts it back"),
        (_, Owner::Dead) => format!(
            "left behind by {owner}, which was killed; the next command that may puts it back"
        ),
        (_, Owner::OutOfSight) => {
            format!(
                "in force for {owner}, in another namespace of processes; if that is gone, `linerate sysctl restore --force` puts it back"
            )
        }
    };
    let place = match status.place {
        Belonging::OtherNamespace => format!(
            " (another network namespace, net:[{}]: run the command there)",
            journal.network_namespace
        ),
        _ => String::new(),
    };
    format!("Profile {}{place}: {whose}.", journal.profile)
}

fn row(key: &KeyStatus) -> Vec<String> {
    let state = match key.state {
        KeyState::Ours => "as the profile set it".to_owned(),
        KeyState::Back => "back already".to_owned(),
        KeyState::Foreign => format!("written by somebody else; the profile's was {}", key.ours),
        KeyState::Unreadable => "cannot be read".to_owned(),
    };
    vec![
        key.key.clone(),
        key.now.clone(),
        format!("was {}", key.old),
        state,
    ]
}

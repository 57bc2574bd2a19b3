//! The own machine through `sysctl-profiles`, in the words of plans and documents.

use super::limits::Wanted;
use super::protocol::{Application, Drift, Hold};
use crate::error::{ExitClass, Failure};
use engine::os::{Resource, network_namespace_cookie};
use report::document::{AppliedProfile, Message, ProfileHold, ProfileKey, SettingClass};
use sysctl_profiles::{
    Applied, AppliedKey, ApplyOptions, Belonging, Class, Error, Guard, Host, Kept, LimitName,
    Outcome, Profile, RestoreReport, Waited,
};

/// The machine that this process runs on, and the calling thread's network namespace.
///
/// # Errors
/// [`Error::Unsupported`] on systems other than Linux; [`Error::Identity`] where the namespace cannot be told.
pub fn this_host() -> Result<Host, Error> {
    let cookie = network_namespace_cookie().map_err(|source| Error::Identity {
        path: "SO_NETNS_COOKIE of a socket".into(),
        source,
    })?;
    Host::here(cookie)
}

/// A profile that this process has put in force. Dropping it puts everything back.
pub(super) struct InForce {
    guard: Guard,
    hold: Hold,
}

/// Applies a profile here; what a reader must know of it beside its values.
///
/// # Errors
/// Why it cannot be. Nothing of it remains then.
pub(super) fn apply(
    application: &Application,
) -> Result<(InForce, AppliedProfile, Vec<Message>), Failure> {
    let options = match application.hold {
        Hold::Run => ApplyOptions::run(),
        Hold::Held => ApplyOptions::held(),
    };
    let options = options
        .lowering(application.allow_lower)
        .skipping_read_only(application.skip_read_only);
    let guard = this_host()?.guard(&application.profile, &options)?;
    let applied = guard.applied();
    let document = applied.map(document).unwrap_or_default();
    let messages = applied.map(messages).unwrap_or_default();
    let hold = application.hold;
    Ok((InForce { guard, hold }, document, messages))
}

impl InForce {
    pub(super) fn hold(&self) -> Hold {
        self.hold
    }

    /// Settings that somebody else has written since.
    pub(super) fn drift(&self) -> Vec<Drift> {
        let drifts = self.guard.drift().into_iter();
        drifts
            .map(|drift| Drift {
                key: drift.key,
                expected: drift.expected,
                found: drift.found,
            })
            .collect()
    }

    /// Puts everything back; what was left alone because somebody else has written it.
    pub(super) fn restore(self) -> Result<Vec<Drift>, Failure> {
        let report = self.guard.restore()?;
        Ok(report.map_or_else(Vec::new, |report| left_alone(&report)))
    }

    pub(super) fn leave(self) {
        // The journal holds it from now on.
        let _ = self.guard.leave();
    }
}

/// The limits that a profile asks for.
pub(super) fn limits(profile: &Profile) -> Vec<Wanted> {
    let wanted = profile.limits.iter().map(|limit| Wanted {
        name: limit.name.as_str(),
        resource: match limit.name {
            LimitName::Nofile => Resource::Descriptors,
            LimitName::Memlock => Resource::LockedMemory,
        },
        amount: limit.amount.unwrap_or(Resource::UNLIMITED),
    });
    wanted.collect()
}

/// A bundled profile, or the file at this path.
///
/// # Errors
/// A profile that is not there, or is none: usage.
pub fn load(name_or_path: &str) -> Result<Profile, Failure> {
    Ok(Profile::load(name_or_path)?)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            class: match error.exit_class() {
                sysctl_profiles::ExitClass::Usage => ExitClass::Usage,
                sysctl_profiles::ExitClass::Machine => ExitClass::Machine,
            },
            text: one_line(&error.to_string()),
        }
    }
}

/// An error that lists what is in the way has a line for each; as a failure it is one sentence.
fn one_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let rest: Vec<&str> = lines.collect();
    format!("{first} {}", rest.join("; ")).trim_end().to_owned()
}

/// The class of a setting as documents call it.
pub fn setting_class(class: Class) -> SettingClass {
    match class {
        Class::Unchanged => SettingClass::Unchanged,
        Class::Raises => SettingClass::Raises,
        Class::Lowers => SettingClass::Lowers,
        Class::Changes => SettingClass::Changes,
        Class::NoOp => SettingClass::NoOp,
        Class::ReadOnly => SettingClass::ReadOnly,
        Class::Missing => SettingClass::Missing,
        Class::NeedsRoot => SettingClass::NeedsRoot,
    }
}

fn document(applied: &Applied) -> AppliedProfile {
    AppliedProfile {
        name: applied.profile.clone(),
        hash: applied.hash.clone(),
        hold: match applied.hold {
            sysctl_profiles::Hold::Run => ProfileHold::Run,
            sysctl_profiles::Hold::Held => ProfileHold::Held,
        },
        keys: applied.keys.iter().map(document_key).collect(),
        limits: Vec::new(),
    }
}

fn document_key(key: &AppliedKey) -> ProfileKey {
    ProfileKey {
        key: key.key.clone(),
        class: setting_class(key.class),
        requested: key.requested.clone(),
        before: key.before.clone(),
        effective: key.effective.clone(),
        reason: key.reason.clone(),
        source: key.source.clone(),
        note: key.note.clone(),
    }
}

fn messages(applied: &Applied) -> Vec<Message> {
    let disturb = applied.warnings.iter();
    let disturb = disturb.map(|warning| Message::new("profile_disturbed", warning.text.clone()));
    disturb.chain(applied.healed.iter().map(healed)).collect()
}

/// What was left, because somebody else has written it.
fn left_alone(report: &RestoreReport) -> Vec<Drift> {
    let left = report.keys.iter().filter_map(|key| match &key.outcome {
        Outcome::LeftAlone { ours, found } => Some(Drift {
            key: key.key.clone(),
            expected: ours.clone(),
            found: found.clone(),
        }),
        _ => None,
    });
    left.collect()
}

/// What a killed linerate had left, and what became of it.
fn healed(report: &RestoreReport) -> Message {
    if report.other_boot {
        let text = format!(
            "the journal of the profile {} is of another boot, which had put everything back; it was removed",
            report.profile
        );
        return Message::new("profile_healed", text);
    }
    let left = left_alone(report);
    let mut text = format!(
        "a linerate that was killed had left the profile {} in force; it was put back",
        report.profile
    );
    for drift in &left {
        text += &format!(
            "; {} was left at {}, for somebody else has written it",
            drift.key, drift.found
        );
    }
    Message::new("profile_healed", text)
}

/// Puts back what killed runs have left in this network namespace, after a moment for a supervisor that is doing
/// so; what a user must know of it, journals about which nobody can decide from here among it.
///
/// Never fails: what cannot be put back now is a warning, and stays in its journal.
pub fn heal() -> Vec<Message> {
    let healed_now = match this_host().and_then(|host| host.heal()) {
        Ok(healed) => healed,
        Err(Error::Unsupported) => return Vec::new(),
        Err(error) => {
            let text = format!("what a killed linerate left behind cannot be put back: {error}");
            return vec![Message::new("profile_not_healed", text)];
        }
    };
    let kept = |kept: &Kept| Message::new("profile_journal_kept", kept.to_string());
    let waited = |waited: &Waited| Message::new("profile_waited", waited.to_string());
    let reports = healed_now.reports.iter().map(healed);
    let messages = healed_now.waited.iter().map(waited).chain(reports);
    messages.chain(healed_now.kept.iter().map(kept)).collect()
}

/// The profile that the journal of this network namespace names, held or of another run.
pub(super) fn in_force() -> Option<String> {
    let journals = this_host().and_then(|host| host.status()).ok()?.journals;
    let here = journals
        .into_iter()
        .find(|journal| journal.place == Belonging::Here)?;
    Some(here.journal.ok()?.profile)
}

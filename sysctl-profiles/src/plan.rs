//! What a profile would do on this machine. Reads everything, writes nothing.

mod foresee;

use std::io;
use std::path::PathBuf;

use crate::catalogue::{Access, Acts, KeyInfo, Kind, Rounding};
use crate::error::{Error, Obstacle};
use crate::files::Files;
use crate::limits::{self, LimitPlan};
use crate::profile::{Operator, Profile, Setting};
use crate::rivals::{self, Warning};
use crate::value::{self, Change};

/// What the kernel takes in one write(2) to a list of ports: a page without its last byte
/// (proc_do_large_bitmap()). It shows longer ones. No other value of the catalogue comes near.
const WRITE_LIMIT_BYTES: usize = 4095;

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It has the value already, or more than the profile demands.
    Unchanged,
    /// It becomes larger.
    Raises,
    /// It becomes smaller, or a part of it does.
    Lowers,
    /// It becomes another value that is neither more nor less, such as a name.
    Changes,
    /// It may be written, and the kernel takes no notice of it; so it is not written.
    NoOp,
    /// It cannot be written here, by nobody.
    ReadOnly,
    /// This kernel or network namespace does not have it.
    Missing,
    /// It may be written by root only.
    NeedsRoot,
}

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

/// A profile against this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The profile's name.
    pub profile: String,
    /// [`Profile::hash`].
    pub hash: String,
    /// Its settings in the order of writing.
    pub entries: Vec<PlanEntry>,
    /// Its limits against those of this process.
    pub limits: Vec<LimitPlan>,
    /// What may disturb it.
    pub warnings: Vec<Warning>,
}

impl Class {
    pub(crate) fn of(change: Change) -> Self {
        match change {
            Change::Unchanged => Class::Unchanged,
            Change::Raises => Class::Raises,
            Change::Lowers => Class::Lowers,
            Change::Changes => Class::Changes,
        }
    }
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

impl Plan {
    /// What stands in the way, with lowering allowed or not.
    #[must_use]
    pub fn obstacles(&self, allow_lowering: bool) -> Vec<Obstacle> {
        let blocked = |entry: &PlanEntry| {
            if let Some(why) = entry.obstacle.as_ref().filter(|_| !entry.setting.optional) {
                return Some(why.clone());
            }
            let lowers = entry.is_written() && entry.class == Class::Lowers && !allow_lowering;
            lowers.then(|| {
                format!(
                    "it LOWERS {} to {}; use `>=`, or allow it with --allow-lower",
                    entry.before.as_deref().unwrap_or_default(),
                    entry.target.as_deref().unwrap_or_default()
                )
            })
        };
        let obstacle = |entry: &PlanEntry| {
            blocked(entry).map(|why| Obstacle {
                key: entry.key.clone(),
                class: entry.class,
                why,
            })
        };
        self.entries.iter().filter_map(obstacle).collect()
    }

    /// Whether it can be applied here.
    ///
    /// # Errors
    /// [`Error::CannotApply`] with every obstacle.
    pub fn check(&self, allow_lowering: bool) -> Result<(), Error> {
        let obstacles = self.obstacles(allow_lowering);
        match obstacles.is_empty() {
            true => Ok(()),
            false => Err(Error::CannotApply {
                profile: self.profile.clone(),
                obstacles,
            }),
        }
    }

    /// Settings that this machine does not have as the profile demands: what `verify` complains about.
    /// Optional ones count only where the key is there.
    pub fn unsatisfied(&self) -> impl Iterator<Item = &PlanEntry> {
        self.entries.iter().filter(|entry| {
            let absent = entry.class == Class::Missing && entry.setting.optional;
            !entry.is_satisfied() && !absent && entry.class != Class::NoOp
        })
    }
}

/// Where the value of a key is.
pub(crate) fn path_of(key: &str) -> Result<PathBuf, Error> {
    if key.starts_with("/sys/") {
        return Ok(PathBuf::from(key));
    }
    let relative = crate::relative_path(key).map_err(|error| Error::DeniedKey {
        key: key.to_owned(),
        profile: "a profile".to_owned(),
        why: error.to_string(),
    })?;
    Ok(PathBuf::from("/proc/sys").join(relative))
}

pub(crate) fn make(profile: &Profile, files: &dyn Files) -> Result<Plan, Error> {
    let mut entries = Vec::new();
    for setting in &profile.settings {
        let info = setting.info()?;
        let expanded = match setting.key.contains('*') {
            true => files.expand(&setting.key),
            false => vec![setting.key.clone()],
        };
        if expanded.is_empty() {
            entries.push(missing(setting, &setting.key, info));
        }
        for key in expanded {
            entries.push(examine(setting, info, &key, files)?);
        }
    }
    foresee::refusals(&mut entries, files)?;
    Ok(Plan {
        profile: profile.name.clone(),
        hash: profile.hash(),
        limits: limits::plan(&profile.limits, ceiling(&entries, files)),
        warnings: rivals::find(files),
        entries,
    })
}

/// fs.nr_open as it will be.
fn ceiling(entries: &[PlanEntry], files: &dyn Files) -> Option<u64> {
    let planned = entries.iter().find(|entry| entry.key == "fs.nr_open");
    let planned = planned.and_then(|entry| entry.target.clone());
    let now = || files.read(&PathBuf::from("/proc/sys/fs/nr_open")).ok();
    planned.or_else(now)?.trim().parse().ok()
}

fn blank(setting: &Setting, key: &str) -> PlanEntry {
    PlanEntry {
        key: key.to_owned(),
        setting: setting.clone(),
        class: Class::Unchanged,
        change: None,
        before: None,
        target: None,
        note: None,
        obstacle: None,
        write: None,
        kind: None,
    }
}

fn missing(setting: &Setting, key: &str, info: &KeyInfo) -> PlanEntry {
    let why = match info.access {
        Access::Removed(why) => why.to_owned(),
        _ if info.is_file() => "no such device or driver here".to_owned(),
        _ => "this kernel or this network namespace does not have it".to_owned(),
    };
    let note = setting.optional.then(|| format!("left out: {why}"));
    PlanEntry {
        class: Class::Missing,
        obstacle: Some(format!("it is missing here: {why}")),
        note,
        ..blank(setting, key)
    }
}

fn examine(
    setting: &Setting,
    info: &KeyInfo,
    key: &str,
    files: &dyn Files,
) -> Result<PlanEntry, Error> {
    let path = path_of(key)?;
    let raw = match files.read(&path) {
        Ok(raw) => raw,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(missing(setting, key, info));
        }
        Err(error) => {
            let class = match is_root() {
                true => Class::ReadOnly,
                false => Class::NeedsRoot,
            };
            let obstacle = Some(format!(
                "its value cannot be read ({error}), so it could not be put back"
            ));
            return Ok(PlanEntry {
                class,
                obstacle,
                ..blank(setting, key)
            });
        }
    };
    let before = value::normalise(info.kind, &raw);
    let write = match setting.operator {
        Operator::Equal => value::normalise(info.kind, &setting.value),
        Operator::AtLeast => value::at_least(info.kind, &setting.value, &before),
    };
    let target = value::granted(info, &write);
    let change = value::change(info.kind, &before, &target);
    let mut entry = PlanEntry {
        class: Class::of(change),
        change: Some(change),
        note: note(info, &write, &target, change),
        before: Some(before),
        target: Some(target),
        write: Some(write),
        kind: Some(info.kind),
        ..blank(setting, key)
    };
    judge(&mut entry, info, &raw, &path, files);
    Ok(entry)
}

/// Whether what would change may be written.
fn judge(
    entry: &mut PlanEntry,
    info: &KeyInfo,
    raw: &str,
    path: &std::path::Path,
    files: &dyn Files,
) {
    if let Access::NoOp(why) = info.access {
        entry.class = Class::NoOp;
        entry.note = Some(format!("not written: {why}"));
        return;
    }
    if entry.class == Class::Unchanged {
        return;
    }
    if info.kind == Kind::Choice && !is_offered(raw, entry.write.as_deref().unwrap_or_default()) {
        entry.obstacle = Some(format!("it offers only `{}`", raw.trim()));
    }
    if raw.len() > WRITE_LIMIT_BYTES {
        entry.obstacle = Some(format!(
            "its value has {} bytes, and the kernel takes {WRITE_LIMIT_BYTES} at once, so it could not be put back",
            raw.len()
        ));
    }
    if let Err(error) = files.probe_write(path) {
        let (class, why) = closed(&error, files.owner_may_write(path), is_root());
        entry.class = class;
        entry.obstacle = Some(why);
    }
    if let (Some(why), true) = (&entry.obstacle, entry.setting.optional) {
        entry.note = Some(format!("left out: {why}"));
    }
}

fn is_offered(raw: &str, name: &str) -> bool {
    raw.split_whitespace()
        .any(|one| one.trim_matches(['[', ']']) == name)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Why a file does not open for writing.
fn closed(error: &io::Error, owner_may_write: bool, root: bool) -> (Class, String) {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => (
            Class::ReadOnly,
            "it is read-only here: /proc/sys is mounted read-only, as in most containers; run outside of it".to_owned(),
        ),
        io::ErrorKind::PermissionDenied if !root && owner_may_write => {
            (Class::NeedsRoot, "only root may write it; run as root".to_owned())
        }
        io::ErrorKind::PermissionDenied => (
            Class::ReadOnly,
            "it is read-only here, for root too; a setting of the whole machine cannot be written from a namespace of its own".to_owned(),
        ),
        _ => (Class::ReadOnly, format!("it does not open for writing: {error}")),
    }
}

fn note(info: &KeyInfo, write: &str, target: &str, change: Change) -> Option<String> {
    if change == Change::Unchanged {
        return None;
    }
    if info.rounding == Rounding::PowerOfTwo && write != target {
        return Some(format!("the kernel rounds {write} up to {target}"));
    }
    let text = match info.acts {
        Acts::Now | Acts::NewSockets | Acts::Listen => return None,
        Acts::NewDevices => "acts on devices that come up later, not on those that are there",
        Acts::NewNamespaces => "acts on network namespaces that are made later",
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests;

//! One setting looked at on the machine: what it would become, and what is in the way.

use std::io;

use super::entry::PlanEntry;
use crate::catalogue::{Access, Acts, KeyInfo, Kind, Rounding};
use crate::class::Class;
use crate::error::Error;
use crate::files::Files;
use crate::machine::path_of;
use crate::profile::{Operator, Setting};
use crate::value::{self, Change};

/// What the kernel takes in one write(2) to a list of ports: a page without its last byte
/// (proc_do_large_bitmap()). It shows longer ones. No other value of the catalogue comes near.
const WRITE_LIMIT_BYTES: usize = 4095;

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

pub(super) fn missing(setting: &Setting, key: &str, info: &KeyInfo) -> PlanEntry {
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

pub(super) fn examine(
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
            "it is read-only here: /proc/sys is mounted read-only, as in most containers; run outside of it, or do without it by --skip-read-only".to_owned(),
        ),
        io::ErrorKind::PermissionDenied if !root && owner_may_write => {
            (Class::NeedsRoot, "only root may write it; run as root".to_owned())
        }
        io::ErrorKind::PermissionDenied => (
            Class::ReadOnly,
            "it is read-only here, for root too; a setting of the whole machine cannot be written from a namespace of its own; --skip-read-only does without it".to_owned(),
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
mod tests {
    use super::*;

    #[test]
    fn who_may_not_write_and_why() {
        let denied = io::Error::from_raw_os_error(13);
        let read_only = io::Error::from_raw_os_error(30);
        assert_eq!(closed(&denied, true, false).0, Class::NeedsRoot);
        assert_eq!(closed(&denied, false, false).0, Class::ReadOnly);
        assert_eq!(closed(&denied, true, true).0, Class::ReadOnly);
        let (class, why) = closed(&read_only, true, true);
        assert_eq!(class, Class::ReadOnly);
        assert!(why.contains("mounted read-only"), "{why}");
    }
}

//! What linerate knows about each key that a profile may name: a table, not code.
//!
//! A key that is not in the table is refused: nobody has looked at what it does and whether it can be put
//! back. Facts were read from the sources of Linux 6.18 (net/ipv4/sysctl_net_ipv4.c, net/core/sysctl_net_core.c,
//! fs/file_table.c, fs/pipe.c, kernel/sysctl.c) and on a running 6.18. Whether a kernel *has* a key is never
//! taken from here: that is looked up on the machine.

mod denied;
mod entry;
mod machine;
mod net_core;
mod sysfs;
mod tcp;

use crate::files::name_matches;
use crate::read::relative_path;
use crate::recorded::RECORDED_KEYS;

pub use entry::{Access, Acts, KeyInfo, Kind, Rounding, Scope};

/// The tables in the order in which a plan writes their keys: ceilings before what they bound.
const TABLES: &[&[KeyInfo]] = &[machine::KEYS, net_core::KEYS, tcp::KEYS, sysfs::KEYS];

/// Every key of the catalogue.
pub fn keys() -> impl Iterator<Item = &'static KeyInfo> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Why a key cannot be in a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is not a key at all.
    Invalid(String),
    /// Nothing is known about it.
    Unknown,
    /// It is known, and never written.
    Never(&'static str),
}

/// What is known of `key`, which may be dotted, slashed, an old name, or a path below `/sys`.
///
/// The second part is the key in the catalogue's spelling; for a path below `/sys`, as it was given.
///
/// # Errors
/// [`Refusal`] for what a profile cannot name.
pub fn find(key: &str) -> Result<(&'static KeyInfo, String), Refusal> {
    let canonical = canonical(key)?;
    if let Some(why) = denied::reason(&canonical) {
        return Err(Refusal::Never(why));
    }
    let info = keys()
        .find(|info| info.matches(&canonical))
        .ok_or(Refusal::Unknown)?;
    match info.access {
        Access::Never(why) => Err(Refusal::Never(why)),
        _ if info.is_file() => Ok((info, canonical)),
        _ => Ok((info, info.key.to_owned())),
    }
}

/// The dotted spelling of a sysctl; a path below `/sys` stays as it is.
fn canonical(key: &str) -> Result<String, Refusal> {
    let key = key.strip_prefix("/proc/sys/").unwrap_or(key);
    if key.starts_with("/sys/") {
        let odd = |part: &str| {
            part.is_empty()
                || part == "."
                || part == ".."
                || part.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        return match key[1..].split('/').any(odd) {
            true => Err(Refusal::Invalid(
                "it is not a plain path below /sys".to_owned(),
            )),
            false => Ok(key.to_owned()),
        };
    }
    let path = relative_path(key).map_err(|error| Refusal::Invalid(error.to_string()))?;
    let names: Vec<String> = path
        .iter()
        .map(|name| name.to_string_lossy().replace('.', "/"))
        .collect();
    Ok(names.join("."))
}

impl KeyInfo {
    /// Whether the canonical `key` is this one: by name, by an old name, or by the pattern of a path.
    fn matches(&self, key: &str) -> bool {
        if self.is_file() {
            return same_path(self.key, key);
        }
        self.key == key || self.aliases.contains(&key)
    }

    /// Whether it is a file below `/sys`, not a sysctl.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.key.starts_with('/')
    }

    /// What it does, in one line.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        if !self.meaning.is_empty() {
            return self.meaning;
        }
        RECORDED_KEYS
            .iter()
            .find(|recorded| recorded.key == self.key)
            .map_or("", |recorded| recorded.reason)
    }

    /// Where it stands in the order of writing.
    pub(crate) fn rank(&self) -> usize {
        keys()
            .position(|info| std::ptr::eq(info, self))
            .unwrap_or(usize::MAX)
    }
}

/// Whether `path` is one that `pattern` covers. A `*` covers any characters of one name; in `path`, too, it
/// may stand for itself, so that a profile can name every queue or CPU.
fn same_path(pattern: &str, path: &str) -> bool {
    let (mut left, mut right) = (pattern.split('/'), path.split('/'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if name_matches(pattern, name) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;

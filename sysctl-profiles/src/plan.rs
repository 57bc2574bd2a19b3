//! What a profile would do on this machine. Reads everything, writes nothing.

mod entry;
mod examine;
mod foresee;

use std::path::PathBuf;

use crate::class::Class;
use crate::error::{Error, Obstacle};
use crate::files::Files;
use crate::limits::{self, LimitPlan};
use crate::profile::Profile;
use crate::rivals::{self, Warning};
pub use entry::PlanEntry;
use examine::{examine, missing};

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

impl Plan {
    /// Leaves settings as they are that nobody can write here: as if they were optional, each with a note.
    pub fn skip_read_only(&mut self) {
        for entry in &mut self.entries {
            if let (Class::ReadOnly, Some(why)) = (entry.class, &entry.obstacle) {
                entry.note = Some(format!("left out: {why}"));
                entry.setting.optional = true;
            }
        }
    }

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

#[cfg(test)]
mod tests;

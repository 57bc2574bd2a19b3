//! A profile around one side of a measurement: limits of the own process, and settings through a
//! supervisor.

use super::protocol::{Application, Drift, Hold};
use super::{Keeper, heal, host, limits};
use crate::error::Failure;
use report::document::{AppliedProfile, Message};
use serde::{Deserialize, Serialize};
use sysctl_profiles::Profile;

/// What a process is to do with a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileTask {
    /// The profile.
    pub profile: Profile,
    /// Whether this process applies the settings. One per kernel does; limits are for each process.
    pub settings: bool,
    /// Whether they may make values smaller.
    pub allow_lower: bool,
    /// Whether settings that nobody can write there are left as they are.
    pub skip_read_only: bool,
}

/// A profile in force for this process. Dropping it puts the settings back.
#[derive(Default)]
pub struct Settings {
    keeper: Option<Keeper>,
    applied: Option<AppliedProfile>,
    warnings: Vec<Message>,
}

impl Settings {
    /// Puts back what killed runs have left, raises the limits, and applies the settings.
    ///
    /// # Errors
    /// Why the profile cannot be applied here. Nothing of it remains then.
    pub fn begin(task: Option<&ProfileTask>, process: &str) -> Result<Self, Failure> {
        let mut settings = Self {
            warnings: heal(),
            ..Self::default()
        };
        let Some(task) = task else {
            return Ok(settings);
        };
        if task.settings {
            let (keeper, applied, warnings) = Keeper::apply(Application {
                profile: task.profile.clone(),
                hold: Hold::Run,
                allow_lower: task.allow_lower,
                skip_read_only: task.skip_read_only,
            })?;
            settings.keeper = Some(keeper);
            settings.applied = Some(applied);
            settings.warnings.extend(warnings);
        }
        // After the settings: fs.nr_open bounds the descriptors.
        let wanted = host::limits(&task.profile);
        let granted = wanted
            .into_iter()
            .map(|limit| limits::raise(limit, process));
        let applied = settings.applied.get_or_insert_with(|| AppliedProfile {
            name: task.profile.name.clone(),
            ..AppliedProfile::default()
        });
        applied.limits = granted.collect();
        Ok(settings)
    }

    /// What is in force, if a profile was asked for. Without settings of its own, only the limits.
    pub fn applied(&self) -> Option<&AppliedProfile> {
        self.applied.as_ref()
    }

    /// What must be known of the beginning.
    pub fn take_warnings(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.warnings)
    }

    /// Reads the settings again and puts them back: those that somebody else has written since they were
    /// applied. They are left as they are.
    ///
    /// # Errors
    /// What could not be put back.
    pub fn end(&mut self) -> Result<Vec<Drift>, Failure> {
        let Some(mut keeper) = self.keeper.take() else {
            return Ok(Vec::new());
        };
        let mut drifts = keeper.drift()?;
        let left_alone = match keeper.restore() {
            Ok(left_alone) => left_alone,
            // The supervisor has ended with that answer, so its journal is anybody's to undo.
            Err(failure) => {
                heal();
                if host::in_force().is_some() {
                    return Err(failure);
                }
                Vec::new()
            }
        };
        // Written between the two looks, or written twice.
        for left in left_alone {
            match drifts.iter_mut().find(|drift| drift.key == left.key) {
                Some(known) => *known = left,
                None => drifts.push(left),
            }
        }
        Ok(drifts)
    }
}

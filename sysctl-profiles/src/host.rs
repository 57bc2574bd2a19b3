//! What can be done with the settings of a machine.

use crate::apply::{Applied, ApplyOptions, Drift};
use crate::error::Error;
use crate::heal::Healed;
use crate::machine::Host;
use crate::outcome::RestoreReport;
use crate::plan::{self, Plan};
use crate::profile::Profile;
use crate::restore::RestoreOptions;
use crate::status::Status;

impl Host {
    /// What `profile` would do here. Writes nothing.
    ///
    /// # Errors
    /// Never for a checked profile: what cannot be done is in the plan.
    pub fn plan(&self, profile: &Profile) -> Result<Plan, Error> {
        plan::make(profile, self.files.as_ref())
    }

    /// Puts `profile` in force.
    ///
    /// A profile that is held already ([`crate::Hold::Held`]) is used as it is when it is the same one.
    /// A run that has nothing to write still leaves a journal, so that no other profile comes on top of
    /// it; where this user cannot write one, that is a warning.
    ///
    /// # Errors
    /// Nothing of it remains when it fails, but for [`Error::Refused`] with an incomplete undo and
    /// [`Error::State`] after the first write; the journal is there then.
    pub fn apply(&self, profile: &Profile, options: &ApplyOptions) -> Result<Applied, Error> {
        crate::apply::apply(self, profile, options)
    }

    /// The same, put back when the guard goes out of scope, in whatever way.
    ///
    /// # Errors
    /// As [`Host::apply`].
    pub fn guard(&self, profile: &Profile, options: &ApplyOptions) -> Result<Guard, Error> {
        let applied = self.apply(profile, options)?;
        Ok(Guard {
            host: self.clone(),
            applied: Some(applied),
        })
    }

    /// Values that are not as they were right after `applied` was put in force.
    #[must_use]
    pub fn drift(&self, applied: &Applied) -> Vec<Drift> {
        crate::apply::drift(self, applied)
    }

    /// Puts back what `applied` has written, if that has not been done by somebody else. `None` when there
    /// is nothing to put back: nothing was written, or the profile was held before.
    ///
    /// # Errors
    /// [`Error::NotRestored`] with what could not be put back; the journal stays.
    pub fn release(&self, applied: &Applied) -> Result<Option<RestoreReport>, Error> {
        crate::restore::release(self, applied.journal.as_ref())
    }

    /// Puts back what this network namespace's journal says, held or left behind. `None` when there is none.
    ///
    /// # Errors
    /// [`Error::InUse`] while its owner lives (unless forced); [`Error::NotRestored`].
    pub fn restore(&self, options: RestoreOptions) -> Result<Option<RestoreReport>, Error> {
        crate::restore::restore(self, options)
    }

    /// Puts back what owners that were killed have left behind in this network namespace, and discards
    /// journals of other boots. Every command begins with it. A killed run whose supervisor is about to put
    /// everything back is given 2 s for that. Journals about which it cannot decide are
    /// left as they are, and named.
    ///
    /// # Errors
    /// [`Error::State`] when there is something to do and this user may not; [`Error::NotRestored`].
    pub fn heal(&self) -> Result<Healed, Error> {
        crate::heal::heal(self)
    }

    /// Which profiles are in force, who applied them, and how their keys are now. Changes nothing.
    ///
    /// # Errors
    /// [`Error::State`] when journals cannot be listed.
    pub fn status(&self) -> Result<Status, Error> {
        crate::status::status(self)
    }
}

/// A profile in force. Dropping it puts everything back.
pub struct Guard {
    host: Host,
    applied: Option<Applied>,
}

impl Guard {
    /// What is in force.
    #[must_use]
    pub fn applied(&self) -> Option<&Applied> {
        self.applied.as_ref()
    }

    /// Values that somebody else has changed since.
    #[must_use]
    pub fn drift(&self) -> Vec<Drift> {
        let drift = self
            .applied
            .as_ref()
            .map(|applied| self.host.drift(applied));
        drift.unwrap_or_default()
    }

    /// Puts everything back and says what became of it.
    ///
    /// # Errors
    /// As [`Host::release`].
    pub fn restore(mut self) -> Result<Option<RestoreReport>, Error> {
        match self.applied.take() {
            Some(applied) => self.host.release(&applied),
            None => Ok(None),
        }
    }

    /// Leaves it in force. Its journal stays: of a run, until its owner's end; held, until it is restored.
    #[must_use]
    pub fn leave(mut self) -> Option<Applied> {
        self.applied.take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(applied) = self.applied.take() {
            // What fails stays in the journal, for the next command.
            let _ = self.host.release(&applied);
        }
    }
}

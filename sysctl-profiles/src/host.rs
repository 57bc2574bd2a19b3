//! A machine: its settings and its journals.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::apply::{Applied, ApplyOptions, Drift};
use crate::error::Error;
use crate::files::{Files, SystemFiles};
use crate::heal::Healed;
use crate::namespace::{self, Existence, Here, NetworkNamespace};
use crate::plan::{self, Plan};
use crate::profile::Profile;
use crate::restore::{RestoreOptions, RestoreReport};
use crate::state::{self, StateDir};
use crate::status::Status;

/// How long another linerate may hold the lock; it takes milliseconds to write some files.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// This machine, seen from the calling thread's network namespace.
///
/// Two variables point it elsewhere, for tests and for users without root in a namespace of their own:
/// `LINERATE_STATE_DIR` (journals; `/run/linerate` otherwise) and `LINERATE_SYS_ROOT` (what stands for `/`
/// before `proc/sys` and `sys`).
#[derive(Clone)]
pub struct Host {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) state: StateDir,
    pub(crate) here: Here,
    /// Whether another network namespace, by its inode, is still there.
    pub(crate) existence: fn(u64) -> Existence,
}

impl Host {
    /// The machine that this process runs on.
    ///
    /// `namespace_cookie`: `SO_NETNS_COOKIE` of any socket that the calling thread makes, which tells its network
    /// namespace from every earlier and later one; `None` where the kernel has none.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on systems other than Linux; [`Error::Identity`] without `/proc`.
    pub fn here(namespace_cookie: Option<u64>) -> Result<Self, Error> {
        if !cfg!(target_os = "linux") {
            return Err(Error::Unsupported);
        }
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = variable("LINERATE_SYS_ROOT").unwrap_or_else(|| "/".into());
        let state = variable("LINERATE_STATE_DIR").unwrap_or_else(|| state::DEFAULT.into());
        let files = SystemFiles::below(root.into());
        Self::with(Arc::new(files), state.into(), namespace_cookie)
    }

    /// A machine behind other files; `namespace_cookie` as in [`Host::here`].
    ///
    /// # Errors
    /// [`Error::Identity`] when the files do not say which boot it is.
    pub fn with(
        files: Arc<dyn Files>,
        state_dir: PathBuf,
        namespace_cookie: Option<u64>,
    ) -> Result<Self, Error> {
        let here = Here::find(files.as_ref(), namespace_cookie)?;
        let state = StateDir::at(state_dir, LOCK_DEADLINE);
        Ok(Self {
            files,
            state,
            here,
            existence: namespace::existence,
        })
    }

    /// Whether the network namespace of a journal of this boot is still there.
    pub(crate) fn existence_of(&self, namespace: NetworkNamespace) -> Existence {
        match namespace.inode == self.here.namespace.inode {
            true if namespace.is(&self.here.namespace) => Existence::Exists,
            // This one has the inode now, so the other one has given it back.
            true => Existence::Gone,
            false => (self.existence)(namespace.inode),
        }
    }

    /// Whether the key has no file here.
    pub(crate) fn is_missing(&self, key: &str) -> bool {
        let read = plan::path_of(key).map(|path| self.files.read(&path));
        matches!(read, Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound)
    }

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
        crate::restore::release(self, applied)
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

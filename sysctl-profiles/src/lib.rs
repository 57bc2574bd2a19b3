//! Sysctls: what they are set to, and profiles of them that are applied and always put back.
//!
//! - [`read`] one key, [`read_recorded`] all keys that every result document shows ([`RECORDED_KEYS`]).
//! - [`catalogue`]: what is known of each key that a profile may name.
//! - [`Profile`]: which values, why, and who says so.
//! - [`given`]: how a file is read that a user named.
//! - [`Host`]: a machine and its journals. [`Host::plan`] says what a profile would do and writes nothing;
//!   [`Host::apply`] writes it; [`Host::release`] and [`Host::restore`] put back what was there;
//!   [`Host::heal`] does so for owners that were killed; [`Host::status`] shows who has changed what.
//!
//! # The order of work
//! lock, heal, plan, journal (fsynced before the first write), one write(2) per key with ceilings first, read
//! back, record what is effective, unlock. Restoring goes in reverse, and only where the value is still the
//! one that was written; what somebody else has set meanwhile is left and reported. The journal goes last.
//!
//! # On other systems
//! Everything compiles on FreeBSD and macOS, and [`Host::here`] says there that profiles are read-only.

pub mod catalogue;
pub mod given;
pub mod limits;

mod apply;
mod class;
mod crash;
mod error;
mod files;
mod heal;
mod hold;
mod host;
mod identity;
mod journal;
mod machine;
mod namespace;
mod outcome;
mod plan;
mod profile;
mod read;
mod recorded;
mod restore;
mod rivals;
mod state;
mod status;
mod value;

pub use apply::{Applied, AppliedKey, ApplyOptions, Drift};
pub use class::Class;
pub use crash::CRASH_POINTS;
pub use error::{Error, ExitClass, Obstacle};
pub use files::Files;
pub use heal::{Healed, Kept, Waited};
pub use hold::Hold;
pub use host::Guard;
pub use identity::Process;
pub use journal::{Journal, JournalEntry, Progress};
pub use limits::{LimitPlan, render_limits_d, render_systemd};
pub use machine::Host;
pub use outcome::{Outcome, RestoreReport, RestoredKey};
pub use plan::{Plan, PlanEntry};
pub use profile::{
    BundledProfile, LimitName, LimitSetting, Operator, Origin, Profile, PublishedFile, Setting,
};
pub use read::{ReadError, read, relative_path};
pub use recorded::{RECORDED_KEYS, RecordedKey, read_recorded};
pub use restore::RestoreOptions;
pub use rivals::Warning;
pub use status::{Belonging, JournalStatus, KeyState, KeyStatus, Owner, Status};
pub use value::Change;

#[cfg(test)]
mod testing;

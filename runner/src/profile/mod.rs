//! Profiles around a measurement: applied before a side is prepared, checked at the end of its round,
//! and put back whatever the end is.
//!
//! Who does what:
//!
//! - The **owner** (an agent, `linerate serve`, `linerate sysctl apply`) decides. It holds a [`Keeper`].
//! - The **supervisor** (`linerate supervise`, a process in a group of its own) is the only writer while
//!   it lives. It takes [`protocol::Order`]s on its stdin and answers on its stdout. When its stdin ends,
//!   for whatever reason, it puts back what it wrote and ends. A SIGKILL of the owner ends that stream too.
//! - The **journal** names the supervisor as its owner. When the supervisor itself is killed, its own owner
//!   puts the values back at once ([`heal`]); when everything is killed, the next command does.

mod host;
mod keeper;
mod limits;
mod protocol;
mod settings;
mod supervisor;

pub use host::{heal, load, setting_class, this_host};
pub use keeper::Keeper;
pub use protocol::{Application, Drift, Hold};
pub use settings::{ProfileTask, Settings};
pub use supervisor::supervise;
pub use sysctl_profiles::Profile;

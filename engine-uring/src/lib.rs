//! Drivers on io_uring: [`uring`], the raw rings under linerate's own worker loop, and [`tasks`],
//! the runtimes tokio-uring and monoio, which bring loops of their own.
//!
//! Each runtime is a feature of its own, on by default: what they need does not build everywhere.
//!
//! io_uring exists on Linux only; elsewhere this crate is empty, and nothing depends on it.

#[cfg(target_os = "linux")]
mod driver;
#[cfg(all(target_os = "linux", any(feature = "tokio-uring", feature = "monoio")))]
pub mod tasks;
#[cfg(target_os = "linux")]
pub mod uring;

#[cfg(target_os = "linux")]
pub use driver::{URING, UringDriver};
#[cfg(all(target_os = "linux", feature = "tokio-uring"))]
pub use tasks::TOKIO_URING;
#[cfg(all(target_os = "linux", feature = "monoio"))]
pub use tasks::{MONOIO, MONOIO_LEGACY};

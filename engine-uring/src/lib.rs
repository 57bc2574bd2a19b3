//! Drivers on io_uring: [`uring`], the raw rings under linerate's own worker loop, and [`tasks`],
//! the runtimes tokio-uring and monoio, which bring loops of their own.
//!
//! io_uring exists on Linux only; elsewhere this crate is empty, and nothing depends on it.

#[cfg(target_os = "linux")]
mod driver;
#[cfg(target_os = "linux")]
pub mod tasks;
#[cfg(target_os = "linux")]
pub mod uring;

#[cfg(target_os = "linux")]
pub use driver::{URING, UringDriver};
#[cfg(target_os = "linux")]
pub use tasks::{MONOIO, MONOIO_LEGACY, TOKIO_URING};

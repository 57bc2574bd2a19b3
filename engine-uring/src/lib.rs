//! Drivers on io_uring. Today one: [`uring`], the raw rings under linerate's own worker loop.
//!
//! io_uring exists on Linux only; elsewhere this crate is empty, and nothing depends on it.

#[cfg(target_os = "linux")]
mod driver;
#[cfg(target_os = "linux")]
pub mod uring;

#[cfg(target_os = "linux")]
pub use driver::{URING, UringDriver};

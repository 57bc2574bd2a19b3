//! Profiles on a real kernel, in a network namespace that each test makes for itself: the machine's own
//! settings are never written.
//!
//! A test runs this binary again inside of `unshare`, and that one runs it again for the processes that it
//! kills. Where namespaces cannot be made, the test says so and passes.
#![cfg(target_os = "linux")]

mod apply;
mod crash;
mod space;
mod walls;

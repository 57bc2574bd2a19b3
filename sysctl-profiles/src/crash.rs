//! Points at which tests kill or stop a process in the middle of its work.
//!
//! Only builds with `debug_assertions` look at the two variables: what a release build does cannot be cut
//! short through its environment, and a test drives the very binary that `cargo test` has built.
//!
//! - `LINERATE_CRASH_AT=apply.journaled`: SIGKILL to the own process when it gets there.
//! - `LINERATE_STOP_AT=apply.wrote.2`: SIGSTOP to the own process, so that a test can do something meanwhile.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// Every point, in the order of work. `N` counts the writes of one apply or restore from 1.
pub const CRASH_POINTS: &[&str] = &[
    "apply.locked",
    "apply.planned",
    "apply.journal.temporary",
    "apply.journaled",
    "apply.wrote.N",
    "apply.read",
    "apply.recorded",
    "restore.locked",
    "restore.wrote.N",
    "restore.done",
    "restore.removed",
];

/// A process that sends SIGSTOP to itself goes on until the kernel has stopped all of its threads. It
/// spends that time asleep, and what is left of it after SIGCONT.
const STOPPING: Duration = Duration::from_secs(1);

/// Tells the tests that work has come to `point`.
pub(crate) fn point(point: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let is_at = |variable| std::env::var_os(variable).is_some_and(|at| at == point);
    if is_at("LINERATE_CRASH_AT") {
        let _ = kill_process(getpid(), Signal::KILL);
    }
    if is_at("LINERATE_STOP_AT") {
        let _ = kill_process(getpid(), Signal::STOP);
        std::thread::sleep(STOPPING);
    }
}

/// The same for the `number`th write.
pub(crate) fn wrote(work: &str, number: usize) {
    if cfg!(debug_assertions) {
        point(&format!("{work}.wrote.{number}"));
    }
}

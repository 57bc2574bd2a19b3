//! Points at which tests kill or stop a process in the middle of its work.
//!
//! Only builds with `debug_assertions` look at the two variables: what a release build does cannot be cut
//! short through its environment, and a test drives the very binary that `cargo test` has built.
//!
//! - `LINERATE_CRASH_AT=apply.journaled`: SIGKILL to the own process when it gets there.
//! - `LINERATE_STOP_AT=apply.wrote.2`: SIGSTOP to the own process, so that a test can do something meanwhile.

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

/// Tells the tests that work has come to `point`.
pub(crate) fn point(point: &str) {
    if cfg!(debug_assertions) {
        for (variable, signal) in [
            ("LINERATE_CRASH_AT", rustix::process::Signal::KILL),
            ("LINERATE_STOP_AT", rustix::process::Signal::STOP),
        ] {
            if std::env::var_os(variable).is_some_and(|at| at == point) {
                let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
            }
        }
    }
}

/// The same for the `number`th write.
pub(crate) fn wrote(work: &str, number: usize) {
    if cfg!(debug_assertions) {
        point(&format!("{work}.wrote.{number}"));
    }
}

//! `linerate supervise`: the supervisor of `runner` on this process' standard streams.

use runner::cancel::Cancel;
use runner::error::ExitClass;

use crate::problem::Problem;
use crate::progress::say;
use crate::signals;

/// Obeys its owner until it is told to end, its stdin ends, or a signal asks it to.
///
/// # Errors
/// What could not be put back.
pub fn supervise() -> Result<ExitClass, Problem> {
    let stop = Cancel::new();
    let first = stop.clone();
    // Without handlers a signal would kill it with values in force: then the journal is left, and heals.
    let _ = signals::notice(move || first.raise());
    // Its owner is gone: who reads the owner's stderr hears of it.
    for drift in runner::profile::supervise(std::io::stdin(), std::io::stdout(), &stop)? {
        say(&format!(
            "linerate: {} was {} and not {} at the end, written by somebody else, and was left as it is",
            drift.key, drift.found, drift.expected
        ));
    }
    Ok(ExitClass::Done)
}

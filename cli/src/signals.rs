//! SIGINT, SIGTERM and SIGHUP: the first ends a command early and orderly, the second at once. What comes within
//! half a second of the first is the same wish: `timeout -s TERM` signals its child and then its process group, a
//! service manager every process of a group, and a terminal that is closed sends SIGHUP beside what its user typed.

use std::io;
use std::time::{Duration, Instant};

use runner::cancel::Cancel;
use runner::error::{ExitClass, Failure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::output::abandon;
use crate::problem::Problem;
use crate::progress::say;

/// After the second signal, an orderly way out has this long.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Signals so soon after the first ask for nothing more.
const SAME_WISH: Duration = Duration::from_millis(500);

/// Calls `first` at the first signal and `second` at the second that is a wish of its own ([`SAME_WISH`]). If the process has not ended soon after that, it
/// calls `last` and ends it with code 130; agents notice by their closed stdin.
///
/// # Errors
/// When the system does not let signals be handled.
pub fn watch(
    first: impl Fn() + Send + 'static,
    second: impl Fn() + Send + 'static,
    last: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let mut signals = register()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut received = signals.forever();
            if received.next().is_none() {
                return;
            }
            let asked = Instant::now();
            first();
            if !received.any(|_| is_another_wish(asked.elapsed())) {
                return;
            }
            second();
            std::thread::sleep(LAST_MOMENT);
            last();
            std::process::exit(i32::from(ExitClass::Interrupted.code()));
        })?;
    Ok(())
}

/// Whether a signal that came so long after the first asks for more.
fn is_another_wish(after: Duration) -> bool {
    after >= SAME_WISH
}

/// The first signal ends what is conducted with a valid result, the second at once. `clear` removes what progress
/// has drawn.
///
/// # Errors
/// As [`watch`].
pub fn end_early(
    cancel: &Cancel,
    clear: impl Fn() + Clone + Send + 'static,
    quiet: bool,
) -> Result<(), Problem> {
    let (first, second, clear_last) = (cancel.clone(), cancel.clone(), clear.clone());
    let first = move || {
        first.raise_first();
        if !quiet {
            clear();
            say("linerate: ending early with what was measured; once more ends at once");
        }
    };
    let last = move || {
        clear_last();
        abandon();
    };
    watch(first, move || second.raise(), last)
        .map_err(|error| Failure::machine(format!("watch for signals: {error}")).into())
}

/// Calls `reaction` at every signal, and never ends the process.
///
/// # Errors
/// When the system does not let signals be handled.
pub fn notice(reaction: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = register()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|_| reaction()))?;
    Ok(())
}

fn register() -> io::Result<Signals> {
    let mut wanted = vec![SIGINT, SIGTERM];
    // `nohup linerate run ...` has SIGHUP ignored, and wants it to stay so.
    if !ignores_hangup() {
        wanted.push(SIGHUP);
    }
    Signals::new(wanted)
}

/// Whether SIGHUP was ignored when this process started: bit 0 of SigIgn, proc_pid_status(5). Unknown on other
/// systems, where it then counts as not ignored.
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| hangup_in(&status))
}

fn hangup_in(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::{hangup_in, is_another_wish};
    use std::time::Duration;

    #[test]
    fn what_comes_within_half_a_second_is_the_same_wish() {
        let another = [0, 10, 499, 500, 3_000]
            .map(|after_ms| is_another_wish(Duration::from_millis(after_ms)));
        assert_eq!(another, [false, false, false, true, true]);
    }

    #[test]
    fn an_ignored_hangup_is_seen() {
        assert!(hangup_in("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!hangup_in("Name:\tx\nSigIgn:\t0000000000001000\n"));
        assert!(!hangup_in(""));
    }
}

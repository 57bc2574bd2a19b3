//! A child and what it has started beside itself.

use rustix::process::{Pid, Signal, kill_process_group};

/// Kills the group of a child that was started as the first of its own and is not reaped yet, so that its number cannot
/// be another's.
pub(crate) fn kill(child: u32) {
    let group = i32::try_from(child).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // One that has ended has ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

//! Who else uses the CPUs: processes by the CPU time that they take while somebody watches.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use report::checkup::Neighbour;

use super::files;

/// CPU time of all processes at one moment.
#[derive(Debug)]
pub struct ProcessTimes {
    taken_at: Instant,
    /// Process id and start time (ids are used again) to name and ticks.
    ticks: BTreeMap<(u32, u64), (String, u64)>,
}

/// `USER_HZ`: what the kernel shows to user space is 100 per second on every Linux that Rust supports (time(7)).
const TICKS_PER_SECOND: f64 = 100.0;

impl ProcessTimes {
    /// Reads `/proc/PID/stat` of all processes. Empty where there is no /proc.
    #[must_use]
    pub fn take() -> Self {
        let taken_at = Instant::now();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ticks = pids
            .filter_map(|pid| {
                let (name, start, ticks) =
                    parse_stat(&files::text(format!("/proc/{pid}/stat")).ok()?)?;
                Some(((pid, start), (name, ticks)))
            })
            .collect();
        Self { taken_at, ticks }
    }

    /// The processes that used most CPU since `before`, this one left out, the busiest first.
    #[must_use]
    pub fn busiest_since(&self, before: &Self, at_most: usize) -> Vec<Neighbour> {
        let seconds = (self.taken_at - before.taken_at)
            .max(Duration::from_millis(1))
            .as_secs_f64();
        let own = std::process::id();
        let mut found: Vec<Neighbour> = self
            .ticks
            .iter()
            .filter(|((pid, _), _)| *pid != own)
            .filter_map(|(key, (name, ticks))| {
                let earlier = before.ticks.get(key).map_or(0, |(_, ticks)| *ticks);
                let used = ticks.saturating_sub(earlier);
                (used > 0).then(|| Neighbour {
                    process_id: key.0,
                    name: name.clone(),
                    cpu_cores_busy: report::document::Finite::ratio(
                        used as f64,
                        TICKS_PER_SECOND * seconds,
                    ),
                })
            })
            .collect();
        found.sort_by(|a, b| busy(b).total_cmp(&busy(a)));
        found.truncate(at_most);
        found
    }
}

fn busy(neighbour: &Neighbour) -> f64 {
    neighbour.cpu_cores_busy.map_or(0.0, |cores| cores.get())
}

/// Name, start time and user + system ticks (proc_pid_stat(5), fields 2, 22, 14 and 15). The name may hold
/// anything, parentheses too: the last one ends it.
fn parse_stat(stat: &str) -> Option<(String, u64, u64)> {
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    // The first field after the name is number 3.
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some((name, number(22)?, number(14)? + number(15)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 0 0 0 0 31 11 0 0 20 0 1 0 4242 1000 10 18446744073709551615";
        assert_eq!(parse_stat(stat), Some(("a) b (c)".to_owned(), 4242, 42)));
        assert_eq!(parse_stat("7 (short) S 1"), None);
    }

    #[test]
    fn only_time_used_meanwhile_counts() {
        let at = |seconds: u64, ticks: &[(u32, u64)]| ProcessTimes {
            taken_at: Instant::now() + Duration::from_secs(seconds),
            ticks: ticks
                .iter()
                .map(|&(pid, ticks)| ((pid, 1), (format!("p{pid}"), ticks)))
                .collect(),
        };
        let before = at(0, &[(1, 500), (2, 10), (3, 7)]);
        let after = at(2, &[(1, 510), (2, 210), (3, 7), (4, 100)]);
        let found = after.busiest_since(&before, 2);
        let names: Vec<&str> = found.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["p2", "p4"]);
        let cores = found[0].cpu_cores_busy.expect("known").get();
        assert!((cores - 1.0).abs() < 0.05, "{cores}");
    }
}

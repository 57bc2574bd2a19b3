//! `linerate doctor`: describes this machine, watches it for a moment, and says what that means. `run` and
//! `compare` take the shorter look of [`before_measuring`].

mod clock;

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use report::checkup::{Checkup, Observed};
use report::document::{Message, Unknown};
use report::findings::{self, Finding};

use crate::build_info::VERSION;
use crate::host::describe_host;
use crate::host::{CounterDelta, CounterSnapshot, ProcessTimes, Traffic};

/// So many neighbours are named.
const NEIGHBOURS: usize = 3;
/// How long `run` and `compare` look who uses the CPUs: some ticks of CPU time, and not long to wait for.
const LOOK: Duration = Duration::from_millis(180);

/// Examines this machine for measurements whose traffic goes as `traffic` says. Watches it for `watch`, idle
/// itself; what costs CPU (clock reads, sleeps) comes after that.
#[must_use]
pub fn examine(traffic: Traffic, watch: Duration) -> Checkup {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let unix_ns = since_epoch.map_or(0, |passed| passed.as_nanos() as u64);
    let host = describe_host(traffic);
    let observed = observe(watch);
    Checkup::new(VERSION, unix_ns, host, observed)
}

/// Who uses the CPUs of this machine while nothing of ours does, to be asked once before the first agent
/// starts. Takes some 200 ms.
#[must_use]
pub fn before_measuring() -> Vec<Finding> {
    findings::of_others(&watch_others(LOOK))
}

/// The warning that a result carries of what this look found. It says when that was: what others did while
/// something was measured is told apart.
pub(crate) fn warning_before(host: &str, seen: &Finding) -> Option<Message> {
    seen.warning(&format!("{host}, before measuring"))
}

fn observe(watch: Duration) -> Observed {
    let mut observed = watch_others(watch);
    let (late_p50, late_p99) = clock::sleep_lateness_ns();
    observed.sleep_late_p50_ns = Some(late_p50);
    observed.sleep_late_p99_ns = Some(late_p99);
    observed.clock_step_ns = Some(clock::smallest_step_ns());
    observed.clock_read_ns = clock::read_cost_ns();
    if observed.clock_read_ns.is_none() {
        let why = Unknown::new("clock_read_ns", "the clock did not advance");
        observed.unknown.push(why);
    }
    observed
}

/// What the others do; the clocks are not looked at.
fn watch_others(watch: Duration) -> Observed {
    let (processes, counters) = (ProcessTimes::take(), CounterSnapshot::take());
    thread::sleep(watch);
    let delta = CounterDelta::between(&counters, &CounterSnapshot::take());
    Observed {
        watched_ns: delta.length_ns,
        cpu: delta.cpu,
        neighbours: ProcessTimes::take().busiest_since(&processes, NEIGHBOURS),
        unknown: delta.unknown,
        ..Observed::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_examination_says_something_of_everything_that_it_observed() {
        let checkup = examine(
            Traffic::To([127, 0, 0, 1].into()),
            Duration::from_millis(50),
        );
        assert!(
            checkup.observed.watched_ns >= 50_000_000,
            "watched shorter than asked"
        );
        let cost = checkup
            .observed
            .clock_read_ns
            .expect("the clock runs")
            .get();
        assert!(cost > 0.0, "a clock read for nothing");
        assert_eq!(
            report::document::unexplained_nulls(&checkup),
            Vec::<String>::new()
        );
        for code in ["clock_read", "timer"] {
            assert!(
                checkup.findings.iter().any(|finding| finding.code == code),
                "{code}"
            );
        }
    }
}

//! `linerate doctor`: describes this machine, watches it for a moment, and says what that means.

mod clock;

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use report::checkup::{Checkup, Observed};
use report::document::Unknown;

use crate::agent::describe_host;
use crate::build_info::VERSION;
use crate::host::{CounterDelta, CounterSnapshot, ProcessTimes, Traffic};

/// So many neighbours are named.
const NEIGHBOURS: usize = 3;

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

fn observe(watch: Duration) -> Observed {
    let (processes, counters) = (ProcessTimes::take(), CounterSnapshot::take());
    thread::sleep(watch);
    let delta = CounterDelta::between(&counters, &CounterSnapshot::take());
    let neighbours = ProcessTimes::take().busiest_since(&processes, NEIGHBOURS);
    let (late_p50, late_p99) = clock::sleep_lateness_ns();
    let mut unknown: Vec<Unknown> = delta.unknown;
    let clock_read_ns = clock::read_cost_ns();
    if clock_read_ns.is_none() {
        unknown.push(Unknown::new("clock_read_ns", "the clock did not advance"));
    }
    Observed {
        watched_ns: delta.length_ns,
        cpu: delta.cpu,
        neighbours,
        clock_read_ns,
        clock_step_ns: Some(clock::smallest_step_ns()),
        sleep_late_p50_ns: Some(late_p50),
        sleep_late_p99_ns: Some(late_p99),
        unknown,
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

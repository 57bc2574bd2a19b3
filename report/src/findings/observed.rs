//! What watching the machine for a moment tells.

use super::{Finding, Level};
use crate::checkup::{Neighbour, Observed};
use crate::comparison::OTHERS_NOTICED_CORES;
use crate::units::human_percent;

/// CPU use by others that is visible in what is measured: cores busy, or the share of all. A share alone would
/// not see a spinning process among many CPUs, and it may spin on one of the two that are measured.
const NOTICED: Busy = Busy {
    cores: OTHERS_NOTICED_CORES,
    share: 0.03,
};
/// From here on nothing measured can be believed.
const SPOILS: Busy = Busy {
    cores: 1.0,
    share: 0.25,
};
/// A core that spins is seen some percent short of 1: its time is counted in ticks.
const TICKS_SHORT: f64 = 0.05;
/// As in the warnings of a run.
const STEAL_NOTICED: f64 = 0.01;
/// CPU time is counted in ticks of 10 ms (`USER_HZ`, time(7)). In a short look a share of some percent can be a
/// single tick that fell on somebody; fewer than three say nothing.
const CHANCE_NS: u64 = 30_000_000;
/// A clock read through the vDSO takes 15 to 60 ns; a system call several hundred.
const SLOW_CLOCK_NS: f64 = 150.0;
/// Without high-resolution timers a sleep ends at the next tick: 1 to 10 ms.
const COARSE_TIMER_NS: u64 = 1_000_000;

/// Everything that was observed, judged.
pub fn of_observed(observed: &Observed) -> Vec<Finding> {
    let mut found = of_others(observed);
    found.extend([clock(observed), timer(observed)].into_iter().flatten());
    found
}

/// What others, on this machine or beside it, do with its CPUs: all that a short look can tell.
pub fn of_others(observed: &Observed) -> Vec<Finding> {
    [neighbours(observed), steal(observed)]
        .into_iter()
        .flatten()
        .collect()
}

/// So little CPU time that it may be some ticks that fell on somebody.
fn is_chance(used_ns: u64) -> bool {
    used_ns < CHANCE_NS
}

/// How busy others keep the CPUs.
#[derive(Clone, Copy)]
struct Busy {
    cores: f64,
    share: f64,
}

impl Busy {
    fn reaches(self, limit: Busy) -> bool {
        self.cores >= limit.cores * (1.0 - TICKS_SHORT) || self.share >= limit.share
    }
}

fn neighbours(observed: &Observed) -> Option<Finding> {
    const CODE: &str = "neighbours";
    let cpu = observed.cpu.as_ref()?;
    let share = cpu.busy_fraction?.get();
    let busy = Busy {
        cores: share * f64::from(cpu.cpu_count),
        share,
    };
    let seen = format!(
        "others keep {:.2} of {} CPUs busy ({})",
        busy.cores,
        cpu.cpu_count,
        human_percent(share)
    );
    if !busy.reaches(NOTICED) || is_chance(cpu.busy_ns) {
        return Some(Finding::fine(CODE, seen));
    }
    let who: Vec<String> = observed.neighbours.iter().filter_map(who).collect();
    let seen = match who.is_empty() {
        true => format!("{seen}; no process that is visible from here"),
        false => format!("{seen}; of one CPU: {}", who.join(", ")),
    };
    let level = if busy.reaches(SPOILS) {
        Level::Problem
    } else {
        Level::Warning
    };
    let finding = Finding::of(
        level,
        CODE,
        seen,
        "they take CPU and caches from both sides at moments of their own choosing",
    );
    Some(
        finding
            .cure("end them, or keep them off the CPUs of the run (taskset, cpusets, isolcpus=)"),
    )
}

fn who(neighbour: &Neighbour) -> Option<String> {
    let cores = human_percent(neighbour.cpu_cores_busy?.get());
    Some(format!(
        "{} ({}) {cores}",
        neighbour.name, neighbour.process_id
    ))
}

fn steal(observed: &Observed) -> Option<Finding> {
    const CODE: &str = "steal";
    let cpu = observed.cpu.as_ref()?;
    let steal = cpu.steal_fraction?.get();
    let seen = format!(
        "the hypervisor takes {} of the CPU time",
        human_percent(steal)
    );
    if steal < STEAL_NOTICED || is_chance(cpu.steal_ns) {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(
        Level::Warning,
        CODE,
        seen,
        "other machines on the same host stop this one for milliseconds: tails are theirs",
    );
    Some(finding.cure("use a dedicated machine, or repeat when it is quiet"))
}

fn clock(observed: &Observed) -> Option<Finding> {
    const CODE: &str = "clock_read";
    let cost = observed.clock_read_ns?.get();
    let step = observed.clock_step_ns.map_or_else(String::new, |step| {
        format!(", and the smallest step seen is {step} ns")
    });
    let seen = format!("reading the clock takes {cost:.0} ns{step}");
    if cost < SLOW_CLOCK_NS {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(
        Level::Warning,
        CODE,
        seen,
        "two reads per operation are part of the latency and of the CPU that is measured",
    );
    Some(finding.cure("use a clock source that the vDSO can read (see clocksource), and no tracing of system calls"))
}

fn timer(observed: &Observed) -> Option<Finding> {
    const CODE: &str = "timer";
    let (p50, p99) = (observed.sleep_late_p50_ns?, observed.sleep_late_p99_ns?);
    let us = |ns: u64| ns as f64 / 1e3;
    let seen = format!(
        "sleeps of 100 us end {:.0} us late (median), {:.0} us (99 %)",
        us(p50),
        us(p99)
    );
    if p50 < COARSE_TIMER_NS {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(
        Level::Warning,
        CODE,
        seen,
        "open-loop schedules (--rate) are met only as finely; see the schedule lag of the result",
    );
    Some(
        finding.cure("boot with high-resolution timers (no highres=off, CONFIG_HIGH_RES_TIMERS=y)"),
    )
}

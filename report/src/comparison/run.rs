//! One run of one arm: the numbers that are compared, and what speaks against them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metric::Metric;
use crate::document::{
    Cost, ErrorCount, Finite, HostActivity, Interval, LatencySummary, Message, Plan, Role, Round,
    Unknown, Workload,
};
use crate::statistics;

/// One run of one arm. Its latency distribution is added to that of its [`Arm`](super::Arm).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ArmRun {
    /// Number of the arm.
    pub arm: u32,
    /// When it started, nanoseconds since 1970-01-01 UTC.
    pub started_at_unix_ns: u64,
    /// Length of the measured window that really passed.
    pub window_length_ns: u64,
    /// Why there are no numbers; null if the run ended well.
    pub failure: Option<Message>,
    /// Why the run does not count although it has numbers, for example because somebody changed a
    /// setting of its profile meanwhile. Empty for a run that counts.
    pub invalid: Vec<Message>,
    /// Operations that succeeded in the window.
    pub operations: u64,
    /// Successful operations per second.
    pub rate_per_second: Option<Finite>,
    /// Payload in both directions.
    pub throughput_bits_per_second: Option<Finite>,
    /// What people quote of the latency; null if none was measured.
    pub latency: Option<RunLatency>,
    /// The load processes.
    pub load: RunSide,
    /// The testee processes; null with a target that the run did not start.
    pub testee: Option<RunSide>,
    /// What the hosts did.
    pub hosts: Vec<HostUse>,
    /// Failed operations by kind.
    pub errors: Vec<ErrorCount>,
    /// Operations that were due in the window and had no answer at the end.
    pub unfinished: u64,
    /// Seed of the gaps of its Poisson schedule, the same for all arms of the round; left out without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poisson_seed: Option<u64>,
    /// TCP segments sent again, all hosts and all their traffic.
    pub retransmitted_segments: u64,
    /// Packets that the kernel dropped before they reached a socket, all hosts.
    pub dropped_packets: u64,
    /// The rate within the window, for judging whether it was steady.
    pub series: RateSeries,
}

/// What people quote of a latency distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RunLatency {
    /// Number of values.
    pub count: u64,
    /// Arithmetic mean, rounded.
    pub mean_ns: u64,
    /// Half of the values are at most this.
    pub p50_ns: u64,
    /// 99 % of the values are at most this.
    pub p99_ns: u64,
    /// 99.9 % of the values are at most this.
    pub p99_9_ns: u64,
    /// Largest.
    pub max_ns: u64,
}

/// What the processes of one role used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RunSide {
    /// CPU time per successful operation.
    pub cpu_ns_per_operation: Option<Finite>,
    /// CPU time per 1024 bytes of payload.
    pub cpu_ns_per_kib: Option<Finite>,
    /// CPU seconds used per second: 1 is one core fully busy.
    pub cpu_cores_busy: Option<Finite>,
    /// How busy it was, 0 to 1: its CPU time as a share of what its threads could have used, each at most
    /// a CPU and all together at most the CPUs that they may run on. A mean over threads: one of them may
    /// be busier where connections are unevenly spread.
    pub busy_fraction: Option<Finite>,
    /// System calls per successful operation.
    pub syscalls_per_operation: Option<Finite>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// What a host did in the window, over all its processes, as shares of all CPU time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostUse {
    /// Id of the host.
    pub host: String,
    /// Busy share, 0 to 1.
    pub busy_fraction: Option<Finite>,
    /// Interrupt share, 0 to 1.
    pub softirq_fraction: Option<Finite>,
    /// Share that the hypervisor gave to others, 0 to 1.
    pub steal_fraction: Option<Finite>,
}

/// Slices that a series has at most, so that a comparison of long runs is no larger than one of short runs.
const MOST_SLICES: usize = 1_000;

/// The rate in slices of the window, in order: operations, or payload bits for a stream. At most 1,000: of
/// more intervals, equal groups of neighbours are one slice each.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RateSeries {
    /// Length of one slice.
    pub slice_ns: u64,
    /// Unit of the values: `1/s` or `bit/s`.
    pub unit: String,
    /// One value per whole slice.
    pub values: Vec<Finite>,
}

impl ArmRun {
    /// A run of arm number `arm` from the round that its processes gave.
    ///
    /// Whatever makes the round invalid makes the run so, and so does an early end: what did not run
    /// its time, or its count, is not what the others ran. `started_at_unix_ns` is when it started.
    pub fn from_round(arm: u32, plan: &Plan, round: &Round, started_at_unix_ns: u64) -> ArmRun {
        let counter = |names: &[&str]| -> u64 {
            let changes = round.hosts.iter().flat_map(|host| &host.kernel_counters);
            let wanted = changes.filter(|(name, _)| names.contains(&name.as_str()));
            wanted
                .filter_map(|(_, change)| u64::try_from(*change).ok())
                .sum()
        };
        let side = |role: Role, cost: &Cost| side(cost, round.busy_share(role, plan.connections));
        let testee = (!round.testee.is_empty()).then(|| side(Role::Testee, &round.cost.testee));
        let mut invalid = round.invalid.clone();
        if round.ended_early {
            let text = "it ended before its time or its count, with what it had";
            invalid.push(Message::new("ended_early", text));
        }
        ArmRun {
            arm,
            started_at_unix_ns,
            window_length_ns: round.window.length_ns,
            failure: None,
            invalid,
            operations: round.measured.totals.operations,
            rate_per_second: round.rates.operations_per_second,
            throughput_bits_per_second: round.rates.throughput_bits_per_second,
            latency: round.measured.latency.primary().map(|(_, all)| quote(all)),
            load: side(Role::Load, &round.cost.load),
            testee,
            hosts: round.hosts.iter().map(host_use).collect(),
            errors: round.measured.errors.clone(),
            unfinished: round.measured.unfinished.count,
            poisson_seed: round.poisson_seed,
            retransmitted_segments: counter(&["Tcp.RetransSegs"]),
            dropped_packets: counter(&[
                "softnet.dropped",
                "TcpExt.ListenDrops",
                "TcpExt.TCPBacklogDrop",
            ]),
            series: series(plan.workload, &round.measured.intervals),
        }
    }

    /// A run of arm number `arm` that gave no numbers.
    pub fn failed(arm: u32, started_at_unix_ns: u64, failure: Message) -> ArmRun {
        const FIELDS: [&str; 5] = [
            "cpu_ns_per_operation",
            "cpu_ns_per_kib",
            "cpu_cores_busy",
            "busy_fraction",
            "syscalls_per_operation",
        ];
        ArmRun {
            arm,
            started_at_unix_ns,
            failure: Some(failure),
            load: RunSide {
                unknown: Unknown::all(&FIELDS, "the run failed"),
                ..RunSide::default()
            },
            ..ArmRun::default()
        }
    }

    /// Whether its numbers enter the statistics.
    pub fn counts(&self) -> bool {
        self.failure.is_none() && self.invalid.is_empty()
    }

    /// Share of the CPU time that hypervisors gave to others, on the host where it was largest.
    pub fn stolen(&self) -> f64 {
        let shares = self.hosts.iter().filter_map(|host| host.steal_fraction);
        shares.map(Finite::get).fold(0.0, f64::max)
    }

    /// Its number for `metric`; `None` if it has none, or a percentile of too few values.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let few = |known: RunLatency| known.count < metric.least_values();
        match metric.is_latency() && self.latency.is_some_and(few) {
            true => None,
            false => self.quoted(metric),
        }
    }

    /// Its number for `metric`, be it a percentile of however few values; `None` if it has none.
    pub fn quoted(&self, metric: Metric) -> Option<f64> {
        let latency = |pick: fn(&RunLatency) -> u64| Some(pick(self.latency.as_ref()?) as f64);
        let per_operation = |side: &RunSide| side.cpu_ns_per_operation.map(Finite::get);
        let per_kib = |side: &RunSide| side.cpu_ns_per_kib.map(Finite::get);
        let testee = self.testee.as_ref();
        match metric {
            Metric::Rate => self.rate_per_second.map(Finite::get),
            Metric::Throughput => self.throughput_bits_per_second.map(Finite::get),
            Metric::LatencyMean => latency(|all| all.mean_ns),
            Metric::LatencyP50 => latency(|all| all.p50_ns),
            Metric::LatencyP99 => latency(|all| all.p99_ns),
            Metric::LatencyP999 => latency(|all| all.p99_9_ns),
            Metric::LoadCpuPerOperation => per_operation(&self.load),
            Metric::TesteeCpuPerOperation => per_operation(testee?),
            Metric::BothCpuPerOperation => {
                Some(per_operation(&self.load)? + per_operation(testee?)?)
            }
            Metric::LoadCpuPerKib => per_kib(&self.load),
            Metric::TesteeCpuPerKib => per_kib(testee?),
            Metric::BothCpuPerKib => Some(per_kib(&self.load)? + per_kib(testee?)?),
        }
    }
}

fn quote(all: &LatencySummary) -> RunLatency {
    RunLatency {
        count: all.count,
        mean_ns: all.mean_ns.get().round() as u64,
        p50_ns: all.p50_ns,
        p99_ns: all.p99_ns,
        p99_9_ns: all.p99_9_ns,
        max_ns: all.max_ns,
    }
}

fn side(cost: &Cost, busy_fraction: Option<Finite>) -> RunSide {
    let mut unknown: Vec<Unknown> = cost
        .unknown
        .iter()
        .filter(|entry| entry.field != "context_switches_per_operation")
        .cloned()
        .collect();
    if busy_fraction.is_none() {
        let reason = Unknown::reason_for(&cost.unknown, "cpu_cores_busy")
            .unwrap_or("the number of its threads is not known")
            .to_owned();
        unknown.push(Unknown::new("busy_fraction", reason));
    }
    RunSide {
        cpu_ns_per_operation: cost.cpu_ns_per_operation,
        cpu_ns_per_kib: cost.cpu_ns_per_kib,
        cpu_cores_busy: cost.cpu_cores_busy,
        busy_fraction,
        syscalls_per_operation: cost.syscalls_per_operation,
        unknown,
    }
}

fn host_use(host: &HostActivity) -> HostUse {
    let cpu = host.cpu.as_ref();
    HostUse {
        host: host.host.clone(),
        busy_fraction: cpu.and_then(|cpu| cpu.busy_fraction),
        softirq_fraction: cpu.and_then(|cpu| cpu.softirq_fraction),
        steal_fraction: cpu.and_then(|cpu| cpu.steal_fraction),
    }
}

/// The slices that are as long as most are; the last is often cut short and says nothing.
fn series(workload: Workload, intervals: &[Interval]) -> RateSeries {
    let mut lengths: Vec<u64> = intervals.iter().map(|slice| slice.length_ns).collect();
    lengths.sort_unstable();
    let interval_ns = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    let amount = |slice: &Interval| match workload.is_bulk() {
        true => (slice.bytes_sent + slice.bytes_received) as f64 * 8.0,
        false => slice.operations as f64,
    };
    let whole: Vec<(f64, f64)> = intervals
        .iter()
        .filter(|slice| slice.length_ns >= interval_ns / 2)
        .map(|slice| (amount(slice), slice.length_ns as f64))
        .collect();
    let group = statistics::group_length(whole.len(), MOST_SLICES);
    let rate = |group: &[(f64, f64)]| {
        let amount: f64 = group.iter().map(|(amount, _)| amount).sum();
        let length_ns: f64 = group.iter().map(|(_, length_ns)| length_ns).sum();
        Finite::ratio(amount * 1e9, length_ns)
    };
    RateSeries {
        slice_ns: interval_ns * group as u64,
        unit: match workload.is_bulk() {
            true => "bit/s",
            false => "1/s",
        }
        .to_owned(),
        values: whole.chunks_exact(group).filter_map(rate).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(count: u64, length_ns: u64) -> Vec<Interval> {
        let each = |number: u64| Interval {
            start_offset_ns: number * length_ns,
            length_ns,
            operations: 100,
            ..Interval::default()
        };
        (0..count).map(each).collect()
    }

    #[test]
    fn a_series_has_a_value_per_whole_slice_and_no_more_than_a_thousand() {
        let mut few = intervals(20, 100_000_000);
        few.push(Interval {
            length_ns: 1_000_000,
            ..Interval::default()
        });
        let short = series(Workload::Rr, &few);
        assert_eq!((short.slice_ns, short.values.len()), (100_000_000, 20));
        let day = series(Workload::Rr, &intervals(864_000, 100_000_000));
        assert_eq!((day.slice_ns, day.values.len()), (86_400_000_000, 1_000));
        assert!(day.values.iter().all(|rate| rate.get() == 1000.0));
    }
}

//! One round: the sides, their sum, the hosts, and what follows from them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::side::usable_cpus;
use super::{Finite, Measurement, Message, Role, Side, Unknown, Window};

/// One round. `measured`, `rates` and `cost` follow from the sides; [`crate::assemble::round`]
/// computes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Round {
    /// 1, 2, 3 ...
    pub number: u32,
    /// True if the round was ended before its nominal length or count.
    pub ended_early: bool,
    /// Seed of the gaps of its Poisson schedule, so that it can be repeated; left out without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poisson_seed: Option<u64>,
    /// Why the round does not count, for example because somebody changed a setting of its profile
    /// meanwhile. Empty for a round that counts.
    #[serde(default)]
    pub invalid: Vec<Message>,
    /// When its agents were told to go, by the time of day of the machine that conducted, Unix time; left out in
    /// documents of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go_unix_ns: Option<u64>,
    /// The window of the round.
    pub window: Window,
    /// Within what time the load's hosts went, as far as their clocks are known against each other; 0 where they have
    /// one clock. Left out where the load has one host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_skew_ns: Option<u64>,
    /// For how long all load agents were in their windows for certain: from the last begin to the first end, less the
    /// start skew. Left out where the load has one host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_window_ns: Option<u64>,
    /// Hosts by name that are one machine, as network namespaces are: the ids of each such group. Left out where each host
    /// is a machine of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_machine: Vec<Vec<String>>,
    /// Agents that brought nothing home: the round is no full one. Left out where all did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostAgent>,
    /// The load agents, each with its own data.
    pub load: Vec<Side>,
    /// The testee agents; empty with a target that the run did not start.
    pub testee: Vec<Side>,
    /// The load agents together: counts summed, histograms added, percentiles never averaged.
    pub measured: Measurement,
    /// Rates in the window that really passed.
    pub rates: Rates,
    /// What an operation cost.
    pub cost: RoundCost,
    /// What the hosts did meanwhile.
    pub hosts: Vec<HostActivity>,
    /// What came from each host, where a side has several; left out where each side has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_host: Vec<HostShare>,
}

/// An agent that brought nothing home: it died, or fell silent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LostAgent {
    /// Its name.
    pub agent: String,
    /// What it was there for.
    pub role: Role,
    /// Id of its host.
    pub host: String,
    /// Connections of a load that it had, of which nobody saw the end: they are counted as started and unfinished, once
    /// each. 0 for a testee.
    pub connections: u64,
    /// Operations that its intervals had told of, and are in no other number.
    pub operations_told: u64,
    /// When its loss was noticed, from when the round was told to go.
    pub after_ns: u64,
    /// How it was lost.
    pub reason: String,
}

/// The agents of a role on one host together: counts summed, histograms added.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostShare {
    /// Id of the host.
    pub host: String,
    /// What its agents were there for; a host with both roles has two entries.
    pub role: Role,
    /// How many of them brought a result home.
    pub agents: u32,
    /// Connections established (load) or accepted (testee) in the window.
    pub connections_opened: u64,
    /// Successful operations of a load; 0 for a testee, which counts bytes.
    pub operations: u64,
    /// The same per second; null for a testee, or without a window.
    pub operations_per_second: Option<Finite>,
    /// Payload bits sent and received per second; null without a window.
    pub throughput_bits_per_second: Option<Finite>,
    /// Median of the latency that the round quotes; null where there is none.
    pub latency_p50_ns: Option<u64>,
    /// 99th percentile of it; null where there is none, or too few operations for one.
    pub latency_p99_ns: Option<u64>,
    /// CPU seconds that its processes used per second; null where that is not known.
    pub cpu_cores_busy: Option<Finite>,
    /// Failed operations.
    pub errors: u64,
}

impl Round {
    /// How busy the threads of a role were: CPU time as a share of what they could use at once, with so
    /// many connections held open, or that of the busiest of them, if that is more, for it limits the
    /// rate alone. `None` where its CPU time is not known.
    pub fn busy_share(&self, role: Role, connections: u64) -> Option<Finite> {
        let (sides, cost) = match role {
            Role::Load => (&self.load, &self.cost.load),
            Role::Testee => (&self.testee, &self.cost.testee),
        };
        let usable = usable_cpus(sides, &self.one_machine, connections);
        let all = Finite::ratio(cost.cpu_cores_busy?.get(), usable as f64)?;
        let busiest = self.busiest_thread_share(role).unwrap_or(all);
        Some(if busiest > all { busiest } else { all })
    }

    /// CPU time of the busiest thread of a role as a share of its window, where it is known.
    pub fn busiest_thread_share(&self, role: Role) -> Option<Finite> {
        let sides = match role {
            Role::Load => &self.load,
            Role::Testee => &self.testee,
        };
        let shares = sides.iter().filter_map(|side| side.busiest_thread_share);
        shares.max_by(|one, other| one.get().total_cmp(&other.get()))
    }
}

/// Rates in the window that really passed. Bits are payload bits, without any header.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Successful operations per second.
    pub operations_per_second: Option<Finite>,
    /// Payload from load to testee.
    pub to_testee_bits_per_second: Option<Finite>,
    /// Payload from testee to load.
    pub to_load_bits_per_second: Option<Finite>,
    /// Payload in both directions.
    pub throughput_bits_per_second: Option<Finite>,
    /// Who vouches for the payload from load to testee.
    pub confirmation: Confirmation,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// Who vouches for a throughput.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Confirmation {
    /// The receiving side counted the bytes, or answered them.
    #[default]
    #[serde(rename = "receiver")]
    Receiver,
    /// Only the sender is known: the kernel took the bytes, nobody said that they arrived.
    #[serde(rename = "sender side, unconfirmed")]
    SenderUnconfirmed,
}

impl Confirmation {
    /// The words in the document and in text.
    pub fn words(self) -> &'static str {
        match self {
            Confirmation::Receiver => "receiver",
            Confirmation::SenderUnconfirmed => "sender side, unconfirmed",
        }
    }
}

/// What an operation cost on either side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RoundCost {
    /// All load agents together.
    pub load: Cost,
    /// All testee agents together.
    pub testee: Cost,
}

/// Cost of the processes of one role. Interrupt work that the kernel does elsewhere is not in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// CPU seconds used per second: 1 is one core fully busy.
    pub cpu_cores_busy: Option<Finite>,
    /// Process CPU time per successful operation.
    pub cpu_ns_per_operation: Option<Finite>,
    /// Process CPU time per 1024 bytes of payload, both directions.
    pub cpu_ns_per_kib: Option<Finite>,
    /// System calls per successful operation.
    pub syscalls_per_operation: Option<Finite>,
    /// Context switches, voluntary or not, per successful operation.
    pub context_switches_per_operation: Option<Finite>,
    /// Resident memory that came with the connections, tables and buffers included, per connection that was established;
    /// left out unless holding them is the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_per_connection: Option<Finite>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// What a host did in the window, over all its processes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostActivity {
    /// Id of the host.
    pub host: String,
    /// Time between the two samples.
    pub length_ns: u64,
    /// CPU time, system-wide.
    pub cpu: Option<SystemCpu>,
    /// netperf's service demand.
    pub service_demand: Option<ServiceDemand>,
    /// Slab memory of the whole machine that came with the sockets of the network namespace, per socket; left out unless
    /// holding connections is the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slab_bytes_per_socket: Option<Finite>,
    /// Changes of kernel counters, for example `Tcp.RetransSegs`; only those that changed.
    /// `softnet.*` are sums over the CPUs. Other traffic of the host is in them too.
    pub kernel_counters: BTreeMap<String, i64>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// CPU time of a host over all CPUs and processes, from `/proc/stat`, tick-sampled.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SystemCpu {
    /// Logical CPUs counted.
    pub cpu_count: u32,
    /// User and nice time.
    pub user_ns: u64,
    /// System time.
    pub system_ns: u64,
    /// Interrupt time, hard and soft.
    pub softirq_ns: u64,
    /// Time that the hypervisor gave to others.
    pub steal_ns: u64,
    /// Idle time, waiting for disks included.
    pub idle_ns: u64,
    /// User, system and interrupt time.
    pub busy_ns: u64,
    /// Busy share of all time, 0 to 1.
    pub busy_fraction: Option<Finite>,
    /// Interrupt share of all time, 0 to 1.
    pub softirq_fraction: Option<Finite>,
    /// Stolen share of all time, 0 to 1.
    pub steal_fraction: Option<Finite>,
}

impl SystemCpu {
    /// The sums and shares that follow from the times.
    ///
    /// Steal is neither busy nor idle: this machine did not have that time.
    pub fn from_times(
        cpu_count: u32,
        user_ns: u64,
        system_ns: u64,
        softirq_ns: u64,
        steal_ns: u64,
        idle_ns: u64,
    ) -> Self {
        let busy_ns = user_ns + system_ns + softirq_ns;
        let all_ns = (busy_ns + steal_ns + idle_ns) as f64;
        SystemCpu {
            cpu_count,
            user_ns,
            system_ns,
            softirq_ns,
            steal_ns,
            idle_ns,
            busy_ns,
            busy_fraction: Finite::ratio(busy_ns as f64, all_ns),
            softirq_fraction: Finite::ratio(softirq_ns as f64, all_ns),
            steal_fraction: Finite::ratio(steal_ns as f64, all_ns),
        }
    }
}

/// netperf's service demand: system-wide CPU time of a host per unit of work, whoever used it.
///
/// netperf 2.7 manual, section "CPU Utilization", and `calc_service_demand` in its `netlib.c`:
/// CPU utilisation x CPUs x time / work, in microseconds per 1024 bytes or per transaction.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDemand {
    /// Microseconds of busy CPU per successful operation; null if there were none.
    pub system_cpu_us_per_operation: Option<Finite>,
    /// Microseconds of busy CPU per 1024 payload bytes, both directions; null if there were none.
    pub system_cpu_us_per_kib: Option<Finite>,
}

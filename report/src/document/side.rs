//! One agent in one round: what it ran on, what it cost, what it counted.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finite, Measurement, Unknown, Window};

/// What an agent was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Generates load and measures.
    #[default]
    Load,
    /// Is measured.
    Testee,
}

impl Role {
    /// The name in the document and in text.
    pub fn name(self) -> &'static str {
        match self {
            Role::Load => "load",
            Role::Testee => "testee",
        }
    }
}

/// One agent in one round.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Name of the agent, unique in the round: `load`, `load-2`, `testee`.
    pub agent: String,
    /// What it was there for.
    pub role: Role,
    /// Id of the host that it ran on.
    pub host: String,
    /// Its process on that host; left out in documents of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its own window; agents start and stop a little apart.
    pub window: Window,
    /// What moved the bytes.
    pub engine: EngineUse,
    /// Worker threads; of an engine with a thread per connection, groups of them.
    pub threads: u32,
    /// True if the engine has a thread per connection.
    #[serde(default)]
    pub thread_per_connection: bool,
    /// CPU time of its busiest worker thread as a share of the window: at 1 that thread did nothing else,
    /// whatever the others did. Left out where threads are not known apart (a thread per connection,
    /// other systems than Linux).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busiest_thread_share: Option<Finite>,
    /// Each worker: where it ran and how many connections it had.
    pub workers: Vec<Worker>,
    /// How connections came to workers; null on the load side.
    pub accept_strategy: Option<AcceptStrategy>,
    /// What the process cost in the window.
    pub process: ProcessCost,
    /// What the engine counted beside bytes: `enobufs`, `cq_overflow`, `short_sends`,
    /// `receive_pauses` and so on.
    pub engine_counters: BTreeMap<String, u64>,
    /// What it counted.
    pub measured: Measurement,
    /// TCP_INFO of its connections at the end; null for Unix sockets or where there is none.
    pub tcp_info: Option<TcpInfo>,
    /// Socket options, requested and granted.
    pub socket_options: Vec<SocketOption>,
    /// What became of the events that its workers recorded; left out where none were to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_record: Option<EventRecordUse>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// What became of the events of `run --event-record FILE`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EventRecordUse {
    /// Events that happened.
    pub events: u64,
    /// Of these, how many are in the file.
    pub written: u64,
    /// Why the file took no more, if that was so. Otherwise events are missing because they came faster than they were
    /// taken.
    pub failure: Option<String>,
}

impl EventRecordUse {
    /// Events that are not in the file.
    pub fn missing(&self) -> u64 {
        self.events.saturating_sub(self.written)
    }
}

impl Side {
    /// Its threads; of an engine with a thread per connection, as many as `connections`.
    fn thread_count(&self, connections: u64) -> u64 {
        match self.thread_per_connection {
            true => connections.max(1),
            false => u64::from(self.threads),
        }
    }

    /// The CPUs that its threads may run on; `None` where they are not known of every worker: one of
    /// which they are not may run anywhere.
    fn cpus_granted(&self) -> Option<BTreeSet<u32>> {
        let known = |worker: &Worker| !worker.cpus_granted.is_empty();
        if self.workers.is_empty() || !self.workers.iter().all(known) {
            return None;
        }
        let granted = self.workers.iter().flat_map(|worker| &worker.cpus_granted);
        Some(granted.copied().collect())
    }
}

/// CPUs that the threads of all `sides` can use at once: on each machine no more than there are threads, and no more than
/// they may run on, as far as that is known. `one_machine` has the hosts that are one machine by groups, and `connections`
/// are those that all of them hold open at the same time.
pub(super) fn usable_cpus(sides: &[Side], one_machine: &[Vec<String>], connections: u64) -> u64 {
    let each = connections.div_ceil(sides.len().max(1) as u64);
    let mut machines: BTreeMap<&str, Vec<&Side>> = BTreeMap::new();
    for side in sides {
        let group = one_machine.iter().find(|hosts| hosts.contains(&side.host));
        let machine = group.and_then(|hosts| hosts.first()).unwrap_or(&side.host);
        machines.entry(machine).or_default().push(side);
    }
    let usable = machines.values().map(|sides| usable_on_one(sides, each));
    usable.sum()
}

/// The same of the sides of one machine, each with so many connections.
fn usable_on_one(sides: &[&Side], connections: u64) -> u64 {
    let threads = sides
        .iter()
        .map(|side| side.thread_count(connections))
        .sum();
    let granted: Option<Vec<BTreeSet<u32>>> =
        sides.iter().map(|side| side.cpus_granted()).collect();
    let cpus: BTreeSet<u32> = granted.into_iter().flatten().flatten().collect();
    match cpus.len() as u64 {
        0 => threads,
        cpus => cpus.min(threads),
    }
}

/// The engine of a side.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EngineUse {
    /// As asked for, for example `auto`.
    pub requested: String,
    /// What ran.
    pub used: String,
    /// Why this one: `asked for by name`, or what `auto` found.
    pub reason: String,
    /// Another engine that this host has room for: the first that `auto` would take instead. Left out where nobody
    /// looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// Features and options in force: ring flags granted, buffer counts, and so on.
    pub features: BTreeMap<String, String>,
    /// Options of the engine, requested and granted.
    #[serde(default)]
    pub options: Vec<EngineOption>,
}

/// An option of an engine: asked for and granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineOption {
    /// Name as on the command line, for example `receive`.
    pub name: String,
    /// As asked for; null if the default was left standing.
    pub requested: Option<String>,
    /// As in force, all workers alike; `a, b` if they differ; null if the engine did not say.
    pub granted: Option<String>,
}

/// One worker thread (or, for the engine that has a thread per connection, one group of them).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// The CPU that it was pinned to; null if it was left free.
    pub cpu_requested: Option<u32>,
    /// The CPUs that it really was allowed to run on, read back.
    pub cpus_granted: Vec<u32>,
    /// Connections that it served over the round.
    pub connections: u64,
    /// CPU time of its thread in the window; left out where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ns: Option<u64>,
}

/// How accepted connections come to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptStrategy {
    /// Each worker listens with `SO_REUSEPORT`; the kernel spreads by hash.
    Reuseport,
    /// All workers accept from one listener.
    SharedListener,
    /// One thread accepts and hands over in turn.
    Handoff,
}

impl AcceptStrategy {
    /// In words, for text.
    pub fn words(self) -> &'static str {
        match self {
            AcceptStrategy::Reuseport => "SO_REUSEPORT",
            AcceptStrategy::SharedListener => "shared listener",
            AcceptStrategy::Handoff => "handoff",
        }
    }
}

/// What a process cost in the window.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProcessCost {
    /// CPU time of all its threads (`CLOCK_PROCESS_CPUTIME_ID`): exact. Work that the kernel does
    /// for it in interrupts is not in it; see the hosts' `softirq_ns`.
    pub cpu_ns: Option<u64>,
    /// User part, tick-sampled by the kernel (`getrusage`): good to a clock tick, not exact.
    pub user_tick_sampled_ns: Option<u64>,
    /// System part, tick-sampled likewise.
    pub system_tick_sampled_ns: Option<u64>,
    /// Times that it gave the CPU away to wait.
    pub voluntary_context_switches: Option<u64>,
    /// Times that the CPU was taken from it.
    pub involuntary_context_switches: Option<u64>,
    /// System calls, counted by our own engines where they make them.
    pub syscalls: Option<u64>,
    /// Largest resident memory so far.
    pub max_rss_bytes: Option<u64>,
    /// Resident memory before anything was allocated for connections; left out in documents of versions that did not
    /// read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_before_bytes: Option<u64>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// TCP_INFO over the connections of a side, at the end of the round.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TcpInfo {
    /// Connections that were asked.
    pub connections_sampled: u64,
    /// Smoothed round trip time as the kernel sees it.
    pub rtt_us: Option<Spread>,
    /// Its mean deviation.
    pub rttvar_us: Option<Spread>,
    /// Segments sent again, sum over the sampled connections since they were opened.
    pub retransmits_total: Option<u64>,
    /// Congestion window.
    pub cwnd_segments: Option<Spread>,
    /// Largest segment sent.
    pub mss_bytes: Option<Spread>,
    /// Congestion control in use.
    pub congestion_control: Option<String>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// Smallest, median and largest over connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Smallest.
    pub min: u64,
    /// Median (the lower of the two middle ones if their number is even).
    pub median: u64,
    /// Largest.
    pub max: u64,
}

impl Spread {
    /// The spread of `values`, which get sorted; `None` if there are none.
    pub fn of(values: &mut [u64]) -> Option<Self> {
        values.sort_unstable();
        Some(Spread {
            min: *values.first()?,
            median: values[(values.len() - 1) / 2],
            max: *values.last()?,
        })
    }
}

/// A socket option: asked for and granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SocketOption {
    /// Name as on the command line, for example `sndbuf`.
    pub name: String,
    /// As asked for; null if it was only read back.
    pub requested: Option<String>,
    /// As read back from a socket; null if it cannot be read.
    pub granted: Option<String>,
    /// Why it was not read back; left out where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_unknown: Option<String>,
}

//! From the sides of a round to its sum, rates and costs, and from rounds to their summary.
//!
//! Each agent's counts divide by its own window, for agents start and stop a little apart; what
//! is compared are rates. With one agent a side this is the plain quotient.

mod hosts;

use std::borrow::Borrow;
use std::collections::BTreeMap;

use crate::document::{
    Confirmation, ConnectionAccounts, Cost, Direction, Finite, HostActivity, Interval, LostAgent,
    Message, Methods, MetricSummary, Plan, ProcessCost, Rates, Round, RoundCost, ServiceDemand,
    Side, Summary, Unknown, Window,
};
use crate::histogram::HistogramError;
use crate::{merge, statistics};

/// Metric names of the summary in the order in which they are shown.
pub const METRICS: [&str; 6] = [
    "rate_per_second",
    "throughput_bits_per_second",
    "latency_p50_ns",
    "latency_p99_ns",
    "load_cpu_ns_per_operation",
    "testee_cpu_ns_per_operation",
];

/// What a round consists of before anything is computed from it.
#[derive(Debug, Clone)]
pub struct RoundParts {
    /// 1, 2, 3 ...
    pub number: u32,
    /// True if the round was ended before its nominal length or count.
    pub ended_early: bool,
    /// Seed of the gaps of its Poisson schedule, if it has one.
    pub poisson_seed: Option<u64>,
    /// Why the round does not count; empty if it does.
    pub invalid: Vec<Message>,
    /// When the agents were told to go, Unix time.
    pub go_unix_ns: Option<u64>,
    /// Within what time the loads of several hosts went; `None` where there is one.
    pub start_skew_ns: Option<u64>,
    /// Hosts that are one machine: the ids of each such group.
    pub one_machine: Vec<Vec<String>>,
    /// Agents that brought nothing home.
    pub lost: Vec<LostAgent>,
    /// The load agents.
    pub load: Vec<Side>,
    /// The testee agents; empty with a target that the run did not start.
    pub testee: Vec<Side>,
    /// What the hosts did. `service_demand` is computed here, whatever it says.
    pub hosts: Vec<HostActivity>,
}

/// The round: its parts, their sum, and the rates and costs that follow.
///
/// # Errors
/// If a histogram of a load agent cannot be read or has other bounds.
pub fn round(plan: &Plan, parts: RoundParts) -> Result<Round, HistogramError> {
    let measurements: Vec<_> = parts.load.iter().map(|side| &side.measured).collect();
    let mut measured = merge::measurements(&measurements, plan.interval_ns)?;
    if let Some(accounts) = &mut measured.connections {
        *accounts = parts.lost.iter().fold(*accounts, with_lost);
    }
    if let Some(held) = &mut measured.held {
        held.most_at_once = most_at_once(&measured.intervals).max(held.standing);
    }
    let mut rates = rates(plan, &parts.load, &parts.testee);
    if plan.workload.holds() && rates.operations_per_second.is_some() {
        // Agents are dealt parts of one ramp: their windows end apart, and a sum of their rates is nobody's.
        let window_s = window(&parts.load).length_ns as f64 / 1e9;
        let operations = measured.totals.operations as f64;
        rates.operations_per_second = Finite::ratio(operations, window_s);
    }
    let cost = RoundCost {
        load: cost(
            &parts.load,
            &rates,
            measured.totals.operations,
            "there was no load agent",
        ),
        testee: cost(
            &parts.testee,
            &rates,
            measured.totals.operations,
            "the target is not a testee of this run, so its process is not known",
        ),
    };
    let is_lost = !parts.lost.is_empty();
    let hosts = parts
        .hosts
        .into_iter()
        .map(|host| with_service_demand(host, &rates, is_lost))
        .map(|host| with_memory(host, plan))
        .collect();
    let mut cost = cost;
    if is_lost {
        cost.testee = without_shares(cost.testee);
    }
    let clients = measured.clients.as_ref().map(|clients| clients.opened);
    let held = plan.workload.holds().then_some(measured.totals.operations);
    if let Some(connections) = clients.or(held) {
        cost.load.memory_bytes_per_connection = memory_per_connection(&parts.load, connections);
        cost.testee.memory_bytes_per_connection = memory_per_connection(&parts.testee, connections);
    }
    let by_host = hosts::shares(&parts.load, &parts.testee)?;
    let common = |skew_ns| common_window_ns(&parts.load, skew_ns);
    Ok(Round {
        number: parts.number,
        ended_early: parts.ended_early,
        poisson_seed: parts.poisson_seed,
        invalid: parts.invalid,
        go_unix_ns: parts.go_unix_ns,
        window: window(&parts.load),
        start_skew_ns: parts.start_skew_ns,
        common_window_ns: parts.start_skew_ns.map(common),
        one_machine: parts.one_machine,
        lost: parts.lost,
        load: parts.load,
        testee: parts.testee,
        measured,
        rates,
        cost,
        hosts,
        by_host,
    })
}

/// With the connections of an agent that was lost.
fn with_lost(accounts: ConnectionAccounts, lost: &LostAgent) -> ConnectionAccounts {
    accounts.and(ConnectionAccounts {
        started: lost.connections,
        unfinished: lost.connections,
        ..ConnectionAccounts::default()
    })
}

/// For how long all load agents were in their windows for certain, if the instant at which they were told to go is
/// the same to `skew_ns`.
fn common_window_ns(load: &[Side], skew_ns: u64) -> u64 {
    let windows = || load.iter().map(|side| side.window);
    let begin = windows().map(|window| window.start_offset_ns).max();
    let end = windows()
        .map(|window| window.start_offset_ns + window.length_ns)
        .min();
    end.unwrap_or(0)
        .saturating_sub(begin.unwrap_or(0))
        .saturating_sub(skew_ns)
}

/// Connections that were established and not lost, at the end of the interval with the most of them.
fn most_at_once(intervals: &[Interval]) -> u64 {
    let standing = intervals.iter().scan(0_u64, |standing, interval| {
        *standing = (*standing + interval.operations).saturating_sub(interval.connections_lost);
        Some(*standing)
    });
    standing.max().unwrap_or(0)
}

/// What the resident memory of these processes has grown by since before there was a connection, per connection.
fn memory_per_connection(sides: &[Side], connections: u64) -> Option<Finite> {
    let grown = known_sum(sides, |process| {
        Some(
            process
                .max_rss_bytes?
                .saturating_sub(process.rss_before_bytes?),
        )
    });
    Finite::ratio(grown?, connections as f64)
}

/// With the memory of a socket, where many of them stand.
fn with_memory(mut host: HostActivity, plan: &Plan) -> HostActivity {
    let grown = |name: &str| {
        let change = host.kernel_counters.get(name).copied();
        change.filter(|change| *change > 0 && plan.workload.holds())
    };
    let pair = grown("memory.slab_bytes").zip(grown("sockstat.TCP_inuse"));
    host.slab_bytes_per_socket =
        pair.and_then(|(bytes, sockets)| Finite::ratio(bytes as f64, sockets as f64));
    host
}

/// From the first load agent's begin to the last one's end.
fn window(load: &[Side]) -> Window {
    let windows = || load.iter().map(|side| side.window);
    let measured = || windows().filter(|window| window.length_ns > 0);
    let begin = measured().map(|window| window.start_offset_ns).min();
    let end = measured().map(|window| window.start_offset_ns + window.length_ns);
    let first = windows().next().unwrap_or_default();
    match (begin, end.max()) {
        (Some(begin), Some(end)) => Window {
            start_offset_ns: begin,
            length_ns: end - begin,
            ..first
        },
        _ => first,
    }
}

/// The rounds that count: those that ended early only if there are no others, invalid ones never.
pub fn counted(rounds: &[Round]) -> Vec<&Round> {
    let valid = || rounds.iter().filter(|round| round.invalid.is_empty());
    let whole: Vec<&Round> = valid().filter(|round| !round.ended_early).collect();
    if whole.is_empty() {
        valid().collect()
    } else {
        whole
    }
}

/// Statistics over the [`counted`] of `rounds`; `None` without valid rounds.
pub fn summary(rounds: &[Round]) -> Option<Summary> {
    let sample = counted(rounds);
    let first = sample.first()?;
    let latency = first.measured.latency.primary().map(|(name, _)| name);
    let mut metrics = BTreeMap::new();
    for name in METRICS {
        let values: Vec<f64> = sample
            .iter()
            .filter_map(|round| metric(round, name))
            .collect();
        if let Some(statistics) = metric_summary(name, &values) {
            metrics.insert(name.to_owned(), statistics);
        }
    }
    Some(Summary {
        methods: methods(latency),
        metrics,
    })
}

/// The value of a round for one of [`METRICS`]; `None` if the round does not have it.
pub fn metric(round: &Round, name: &str) -> Option<f64> {
    let latency = || Some(round.measured.latency.primary()?.1);
    let number = |value: Option<Finite>| value.map(Finite::get);
    match name {
        "rate_per_second" => number(round.rates.operations_per_second),
        "throughput_bits_per_second" => {
            number(round.rates.throughput_bits_per_second).filter(|bits| *bits > 0.0)
        }
        "latency_p50_ns" => latency().map(|latency| latency.p50_ns as f64),
        "latency_p99_ns" => latency().map(|latency| latency.p99_ns as f64),
        "load_cpu_ns_per_operation" => number(round.cost.load.cpu_ns_per_operation),
        "testee_cpu_ns_per_operation" => number(round.cost.testee.cpu_ns_per_operation),
        _ => None,
    }
}

fn metric_summary(name: &str, values: &[f64]) -> Option<MetricSummary> {
    let few = "one round has no spread: use --repeat 5 or more";
    let stddev = statistics::sample_standard_deviation(values).and_then(Finite::new);
    let half_width = statistics::confidence_half_width(values, 0.95).and_then(Finite::new);
    let mut unknown = Vec::new();
    if stddev.is_none() {
        unknown.push(Unknown::new("stddev", few));
    }
    if half_width.is_none() {
        unknown.push(Unknown::new("confidence_interval_95_half_width", few));
    }
    Some(MetricSummary {
        unit: unit(name).to_owned(),
        n: u32::try_from(values.len()).ok()?,
        mean: Finite::new(statistics::mean(values)?)?,
        stddev,
        median: Finite::new(statistics::median(values)?)?,
        min: Finite::new(values.iter().copied().fold(f64::INFINITY, f64::min))?,
        max: Finite::new(values.iter().copied().fold(f64::NEG_INFINITY, f64::max))?,
        confidence_interval_95_half_width: half_width,
        values: values.iter().copied().filter_map(Finite::new).collect(),
        unknown,
    })
}

fn unit(metric: &str) -> &'static str {
    match metric {
        "rate_per_second" => "1/s",
        "throughput_bits_per_second" => "bit/s",
        _ => "ns",
    }
}

fn methods(latency: Option<&str>) -> Methods {
    Methods {
        sample: "one value per round; rounds that were ended early count only if there are no \
                 others"
            .to_owned(),
        stddev: "sample standard deviation over rounds, n - 1".to_owned(),
        median: "middle value, mean of the two middle ones for an even number".to_owned(),
        confidence_interval: "95 %, two-sided, Student t with n - 1 degrees of freedom; assumes \
                              independent, roughly normal rounds"
            .to_owned(),
        percentiles: "agents are joined by adding histograms; percentiles are never averaged \
                      within a round; over rounds, each round's percentile is one value"
            .to_owned(),
        latency: latency.map(str::to_owned),
    }
}

/// Sum over sides of a count divided by the side's own window; `None` if a side has no window.
fn rate<S: Borrow<Side>>(sides: &[S], count: impl Fn(&Side) -> u64) -> Option<f64> {
    let mut sum = 0.0;
    for side in sides.iter().map(Borrow::borrow) {
        if side.window.length_ns == 0 {
            return None;
        }
        sum += count(side) as f64 * 1e9 / side.window.length_ns as f64;
    }
    (!sides.is_empty()).then_some(sum)
}

fn rates(plan: &Plan, load: &[Side], testee: &[Side]) -> Rates {
    let operations = rate(load, |side| side.measured.totals.operations);
    let counted_by_testee = rate(testee, |side| side.measured.totals.bytes_received);
    let sent_by_load = rate(load, |side| side.measured.totals.bytes_sent);
    let to_testee = counted_by_testee.or(sent_by_load);
    let to_load = rate(load, |side| side.measured.totals.bytes_received);
    let sends_unanswered =
        plan.workload.is_bulk() && plan.direction.unwrap_or(Direction::Send) != Direction::Receive;
    let confirmation = if sends_unanswered && counted_by_testee.is_none() {
        Confirmation::SenderUnconfirmed
    } else {
        Confirmation::Receiver
    };
    let bits = |bytes: Option<f64>| bytes.and_then(|bytes| Finite::new(bytes * 8.0));
    let both = to_testee.zip(to_load).map(|(there, back)| there + back);
    let rates = Rates {
        operations_per_second: operations.and_then(Finite::new),
        to_testee_bits_per_second: bits(to_testee),
        to_load_bits_per_second: bits(to_load),
        throughput_bits_per_second: bits(both),
        confirmation,
        unknown: Vec::new(),
    };
    let missing = [
        ("operations_per_second", rates.operations_per_second),
        ("to_testee_bits_per_second", rates.to_testee_bits_per_second),
        ("to_load_bits_per_second", rates.to_load_bits_per_second),
        (
            "throughput_bits_per_second",
            rates.throughput_bits_per_second,
        ),
    ];
    Rates {
        unknown: unknown_for(&missing, |_| {
            "the measured window never began on the load side".to_owned()
        }),
        ..rates
    }
}

/// What the processes of one role cost. Sums of which a part is missing are missing. Costs per
/// operation divide sums by sums and not rates by rates, because in a run that counts a testee's
/// window ends later than the load's.
fn cost(sides: &[Side], rates: &Rates, operations: u64, no_side: &str) -> Cost {
    let cpu = known_rate(sides, |process| process.cpu_ns);
    let cpu_ns = known_sum(sides, |process| process.cpu_ns);
    let syscalls = known_sum(sides, |process| process.syscalls);
    let switches = known_sum(sides, |process| {
        Some(process.voluntary_context_switches? + process.involuntary_context_switches?)
    });
    let operations = rates.operations_per_second.map(|_| operations as f64);
    let kib = rates
        .throughput_bits_per_second
        .map(|bits| bits.get() / 8.0 / 1024.0);
    let per = |amount: Option<f64>, unit: Option<f64>| {
        let (amount, unit) = amount.zip(unit)?;
        Finite::ratio(amount, unit)
    };
    let cost = Cost {
        cpu_cores_busy: cpu.and_then(|ns| Finite::new(ns / 1e9)),
        cpu_ns_per_operation: per(cpu_ns, operations),
        cpu_ns_per_kib: per(cpu, kib),
        syscalls_per_operation: per(syscalls, operations),
        context_switches_per_operation: per(switches, operations),
        memory_bytes_per_connection: None,
        unknown: Vec::new(),
    };
    let missing = [
        ("cpu_cores_busy", cost.cpu_cores_busy),
        ("cpu_ns_per_operation", cost.cpu_ns_per_operation),
        ("cpu_ns_per_kib", cost.cpu_ns_per_kib),
        ("syscalls_per_operation", cost.syscalls_per_operation),
        (
            "context_switches_per_operation",
            cost.context_switches_per_operation,
        ),
    ];
    let unknown = unknown_for(&missing, |field| {
        if sides.is_empty() {
            return no_side.to_owned();
        }
        let source = match field {
            "syscalls_per_operation" => "syscalls",
            "context_switches_per_operation" => "voluntary_context_switches",
            _ => "cpu_ns",
        };
        let not_recorded = sides
            .iter()
            .find_map(|side| Unknown::reason_for(&side.process.unknown, source));
        match (not_recorded, field) {
            (Some(reason), _) => reason.to_owned(),
            (None, "cpu_ns_per_kib") => "no payload was moved".to_owned(),
            (None, _) => "no operation succeeded in the window".to_owned(),
        }
    });
    Cost { unknown, ..cost }
}

/// Why what the testee's side did is not divided by operations.
const OF_LOST_ONES: &str =
    "an agent was lost: operations and CPU time of one side have no counterpart on the other";

/// The cost of a testee's processes without what is per operation or per byte.
fn without_shares(mut cost: Cost) -> Cost {
    let shares = [
        ("cpu_ns_per_operation", &mut cost.cpu_ns_per_operation),
        ("cpu_ns_per_kib", &mut cost.cpu_ns_per_kib),
        ("syscalls_per_operation", &mut cost.syscalls_per_operation),
        (
            "context_switches_per_operation",
            &mut cost.context_switches_per_operation,
        ),
    ];
    for (field, share) in shares {
        if share.take().is_some() {
            cost.unknown.push(Unknown::new(field, OF_LOST_ONES));
        }
    }
    cost
}

/// [`rate`] of something that sides may not know; `None` if one of them does not.
fn known_rate<S: Borrow<Side>>(
    sides: &[S],
    count: impl Fn(&ProcessCost) -> Option<u64>,
) -> Option<f64> {
    sides
        .iter()
        .map(Borrow::borrow)
        .all(|side| count(&side.process).is_some())
        .then(|| rate(sides, |side| count(&side.process).unwrap_or(0)))
        .flatten()
}

/// The sum of something that sides may not know; `None` if one of them does not.
fn known_sum(sides: &[Side], count: impl Fn(&ProcessCost) -> Option<u64>) -> Option<f64> {
    let counts: Option<Vec<u64>> = sides.iter().map(|side| count(&side.process)).collect();
    counts
        .filter(|counts| !counts.is_empty())
        .map(|counts| counts.iter().sum::<u64>() as f64)
}

fn unknown_for(fields: &[(&str, Option<Finite>)], reason: impl Fn(&str) -> String) -> Vec<Unknown> {
    fields
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(field, _)| Unknown::new(*field, reason(field)))
        .collect()
}

fn with_service_demand(mut host: HostActivity, rates: &Rates, is_lost: bool) -> HostActivity {
    host.unknown.retain(|entry| entry.field != "service_demand");
    let cpu = host.cpu.as_ref().filter(|_| host.length_ns > 0 && !is_lost);
    host.service_demand = cpu.map(|cpu| {
        let busy_us_per_second = cpu.busy_ns as f64 * 1e6 / host.length_ns as f64;
        let per = |units: Option<f64>| Finite::ratio(busy_us_per_second, units?);
        ServiceDemand {
            system_cpu_us_per_operation: per(rates.operations_per_second.map(Finite::get)),
            system_cpu_us_per_kib: per(rates
                .throughput_bits_per_second
                .map(|bits| bits.get() / 8.0 / 1024.0)),
        }
    });
    if host.service_demand.is_none() {
        let not_sampled = "the system-wide CPU time was not sampled";
        let reason = Unknown::reason_for(&host.unknown, "cpu").unwrap_or(match is_lost {
            true => OF_LOST_ONES,
            false => not_sampled,
        });
        let reason = reason.to_owned();
        host.unknown.push(Unknown::new("service_demand", reason));
    }
    host
}

//! What it cost: CPU, system calls, and what TCP and the kernel counted.

use std::collections::BTreeMap;

use super::headline::bytes;
use super::layout::{Paper, Table};
use crate::document::{
    Cost, Finite, HostActivity, ProcessCost, Round, Side, Spread, TcpInfo, Unknown,
};
use crate::units::{grouped, human_cores, human_count, human_ns, human_percent};

pub(crate) fn section(round: &Round, paper: &mut Paper) {
    paper.heading("CPU and cost");
    let both = [&round.cost.load, &round.cost.testee];
    type Row = (&'static str, fn(&Cost) -> Option<String>);
    let rows: [Row; 5] = [
        ("process CPU", |cost| {
            Some(human_cores(cost.cpu_cores_busy?.get()))
        }),
        ("CPU per operation", |cost| {
            Some(human_ns(cost.cpu_ns_per_operation?.get()))
        }),
        ("CPU per KiB", |cost| {
            Some(human_ns(cost.cpu_ns_per_kib?.get()))
        }),
        ("system calls per operation", |cost| {
            plain(cost.syscalls_per_operation)
        }),
        ("context switches per operation", |cost| {
            plain(cost.context_switches_per_operation)
        }),
    ];
    let mut table = Table::headed(["", "load", "testee"]);
    for (name, show) in rows {
        row(&mut table, name, both.map(show));
    }
    process_rows(round, &mut table);
    paper.table(&table);
    for (side, cost) in [("load", both[0]), ("testee", both[1])] {
        for (reason, fields) in by_reason(&cost.unknown) {
            let what = if fields.len() == rows.len() {
                side.to_owned()
            } else {
                format!("{side}, {}", fields.join(", "))
            };
            paper.note(&format!("{what}: not known, {reason}."));
        }
    }
    for host in &round.hosts {
        paper.note(&host_line(host));
    }
    paper.blank();
}

fn process_rows(round: &Round, table: &mut Table) {
    type Row = (
        &'static str,
        fn(&ProcessCost) -> Option<u64>,
        fn(u64) -> String,
    );
    let rows: [Row; 3] = [
        (
            "user time (tick-sampled)",
            |process| process.user_tick_sampled_ns,
            |ns| human_ns(ns as f64),
        ),
        (
            "system time (tick-sampled)",
            |process| process.system_tick_sampled_ns,
            |ns| human_ns(ns as f64),
        ),
        ("largest memory", |process| process.max_rss_bytes, bytes),
    ];
    for (name, pick, show) in rows {
        // Agents of one role add up; their memory too, for they hold it at the same time.
        let sum = |sides: &[Side]| {
            let values: Option<Vec<u64>> = sides.iter().map(|side| pick(&side.process)).collect();
            let values = values.filter(|values| !values.is_empty())?;
            Some(show(values.iter().sum()))
        };
        row(table, name, [sum(&round.load), sum(&round.testee)]);
    }
}

/// A row unless neither side knows anything.
fn row(table: &mut Table, name: &str, cells: [Option<String>; 2]) {
    if cells.iter().any(Option::is_some) {
        let cells = cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
        table.row(std::iter::once(name.to_owned()).chain(cells));
    }
}

fn plain(value: Option<Finite>) -> Option<String> {
    value.map(|value| human_count(value.get()))
}

/// Fields grouped by why they are not known, in order.
fn by_reason(unknown: &[Unknown]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for entry in unknown {
        let field = words(&entry.field);
        match groups
            .iter_mut()
            .find(|(reason, _)| *reason == entry.reason)
        {
            Some((_, fields)) => fields.push(field),
            None => groups.push((&entry.reason, vec![field])),
        }
    }
    groups
}

/// A field of the cost as the table calls it.
fn words(field: &str) -> &str {
    match field {
        "cpu_cores_busy" => "process CPU",
        "cpu_ns_per_operation" => "CPU per operation",
        "cpu_ns_per_kib" => "CPU per KiB",
        "syscalls_per_operation" => "system calls per operation",
        "context_switches_per_operation" => "context switches per operation",
        other => other,
    }
}

fn host_line(host: &HostActivity) -> String {
    let Some(cpu) = &host.cpu else {
        let reason = Unknown::reason_for(&host.unknown, "cpu").unwrap_or("not sampled");
        return format!("{}, system-wide: not known, {reason}.", host.host);
    };
    let share = |fraction: Option<Finite>| {
        fraction.map_or_else(|| "-".to_owned(), |fraction| human_percent(fraction.get()))
    };
    let mut line = format!(
        "{}, all processes on {} CPUs: {} busy, {} in interrupts, {} stolen",
        host.host,
        cpu.cpu_count,
        share(cpu.busy_fraction),
        share(cpu.softirq_fraction),
        share(cpu.steal_fraction)
    );
    if let Some(demand) = &host.service_demand {
        let us = |value: Finite| human_ns(value.get() * 1000.0);
        let per_operation = demand.system_cpu_us_per_operation;
        let per_kib = demand.system_cpu_us_per_kib;
        let parts: Vec<String> = [
            per_operation.map(|value| format!("{} per operation", us(value))),
            per_kib.map(|value| format!("{} per KiB", us(value))),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !parts.is_empty() {
            line += &format!("; service demand {}", parts.join(", "));
        }
    }
    line + "."
}

pub(crate) fn network(round: &Round, paper: &mut Paper) {
    let mut lines: Vec<(&str, String)> = Vec::new();
    for side in round.load.iter().chain(&round.testee) {
        if let Some(info) = &side.tcp_info {
            lines.push((&side.agent, tcp_line(info)));
        }
        let counters = side
            .engine_counters
            .iter()
            .filter(|(_, value)| **value != 0);
        let counters: Vec<String> = counters
            .map(|(name, value)| format!("{name} {}", grouped(*value)))
            .collect();
        if !counters.is_empty() {
            lines.push((&side.agent, format!("engine: {}.", counters.join(", "))));
        }
    }
    for host in &round.hosts {
        if let Some(line) = kernel_line(&host.kernel_counters) {
            lines.push((&host.host, line));
        }
    }
    if lines.is_empty() {
        return;
    }
    paper.heading("TCP, engine and kernel counters (those that are not zero)");
    for (who, line) in lines {
        paper.hanging(who, &line);
    }
    paper.blank();
}

/// Parts of the names of kernel counters that tell of losses, refusals and delays. The many others grow with
/// any traffic.
const TELLING: [&str; 21] = [
    "Abort",
    "Challenge",
    "Collaps",
    "Drop",
    "Err",
    "Fail",
    "Full",
    "Los",
    "NoPorts",
    "OFO",
    "Overflow",
    "Prune",
    "Recovery",
    "Reset",
    "Retrans",
    "Rst",
    "Spurious",
    "Syncookies",
    "Timeout",
    "dropped",
    "squeeze",
];

/// What changed in the kernel's counters of the network namespace: the telling ones by name, the rest by number.
fn kernel_line(counters: &BTreeMap<String, i64>) -> Option<String> {
    let changed = counters.iter().filter(|(_, value)| **value != 0);
    let is_telling = |name: &str| TELLING.iter().any(|part| name.contains(part));
    let (telling, others): (Vec<_>, Vec<_>) = changed.partition(|(name, _)| is_telling(name));
    let mut parts: Vec<String> = telling
        .into_iter()
        .map(|(name, value)| change(name, *value))
        .collect();
    match (parts.is_empty(), others.len()) {
        (true, 0) => return None,
        (true, _) => parts.push("no loss, refusal or time-out".to_owned()),
        (false, _) => {}
    }
    let rest = match others.len() {
        0 => String::new(),
        count => format!("; {count} that grow with any traffic are in --format json"),
    };
    Some(format!("kernel: {}{rest}.", parts.join(", ")))
}

fn change(name: &str, value: i64) -> String {
    let sign = if value < 0 { '-' } else { '+' };
    format!("{name} {sign}{}", grouped(value.unsigned_abs()))
}

fn tcp_line(info: &TcpInfo) -> String {
    let spread = |name: &str, value: &Option<Spread>, unit: &str| {
        value.map(|spread| {
            if spread.min == spread.max {
                format!("{name} {}{unit}", spread.min)
            } else {
                format!(
                    "{name} {} / {} / {}{unit} (min / median / max)",
                    spread.min, spread.median, spread.max
                )
            }
        })
    };
    let parts = [
        spread("rtt", &info.rtt_us, " us"),
        spread("rttvar", &info.rttvar_us, " us"),
        info.retransmits_total
            .map(|count| format!("{count} retransmitted segments")),
        spread("cwnd", &info.cwnd_segments, " segments"),
        spread("mss", &info.mss_bytes, " B"),
        info.congestion_control.clone(),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!(
        "TCP_INFO of {}: {}.",
        crate::units::counted(info.connections_sampled, "connection"),
        parts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::kernel_line;

    #[test]
    fn counters_that_tell_of_trouble_are_named_and_the_others_counted() {
        let of = |counters: &[(&str, i64)]| {
            let counters = counters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value));
            kernel_line(&counters.collect())
        };
        assert_eq!(of(&[("Tcp.InSegs", 0)]), None);
        let quiet = of(&[("Tcp.InSegs", 9), ("IpExt.InOctets", 1)]).expect("a line");
        assert!(
            quiet.contains("no loss") && quiet.contains("; 2 that grow"),
            "{quiet}"
        );
        assert!(!quiet.contains("InSegs"), "{quiet}");
        let lossy = of(&[
            ("Tcp.InSegs", 9),
            ("Tcp.RetransSegs", 3),
            ("TcpExt.ListenOverflows", 4_000),
            ("softnet.dropped", 1),
        ])
        .expect("a line");
        assert!(
            lossy.starts_with(
                "kernel: Tcp.RetransSegs +3, TcpExt.ListenOverflows +4,000, softnet.dropped +1; 1 that"
            ),
            "{lossy}"
        );
    }
}

//! What came from each host, and who is missing.

use super::layout::{Paper, Table};
use super::rounds::dash;
use crate::document::{HostShare, LostAgent, Round};
use crate::units::{counted, grouped, human_bit_rate, human_count, human_duration_ns, human_ns};

/// The columns of a table of hosts.
const COLUMNS: [&str; 8] = [
    "host",
    "agents",
    "operations",
    "payload",
    "p50",
    "p99",
    "CPUs busy",
    "failed",
];

pub(crate) fn section(round: &Round, paper: &mut Paper) {
    if round.by_host.is_empty() {
        return;
    }
    paper.heading("By host");
    let mut table = Table::headed(COLUMNS);
    for share in &round.by_host {
        table.row(cells(share));
    }
    paper.table(&table);
    paper.blank();
}

/// The cells of a host's row.
fn cells(share: &HostShare) -> [String; 8] {
    let time = |ns: Option<u64>| ns.map_or_else(dash, |ns| human_ns(ns as f64));
    [
        share.host.clone(),
        format!("{} {}", share.agents, share.role.name()),
        share
            .operations_per_second
            .map_or_else(dash, |rate| format!("{}/s", human_count(rate.get()))),
        share
            .throughput_bits_per_second
            .map_or_else(dash, |bits| human_bit_rate(bits.get())),
        time(share.latency_p50_ns),
        time(share.latency_p99_ns),
        share
            .cpu_cores_busy
            .map_or_else(dash, |cores| format!("{:.2}", cores.get())),
        grouped(share.errors),
    ]
}

/// `load-2 on host load-host-2 was lost 3.2 s after the go: its 4 connections are counted as unfinished, ...`.
pub(crate) fn missing(lost: &LostAgent) -> String {
    let after = human_duration_ns(lost.after_ns);
    let what = match lost.connections {
        0 => "what it counted is in no number".to_owned(),
        connections => format!(
            "its {} counted as unfinished, and the {} that it had told of are in no number",
            match connections {
                1 => "connection is".to_owned(),
                many => format!("{} connections are", grouped(many)),
            },
            counted(lost.operations_told, "operation")
        ),
    };
    format!(
        "{} on host {} was lost {after} after the go: {what}. {}",
        lost.agent, lost.host, lost.reason
    )
}

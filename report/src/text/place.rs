//! Where it ran: engines, threads, CPUs, sockets and machines.

use super::layout::Paper;
use super::profile;
use crate::document::{ClockOffset, Document, Host, Round, Side, Target, Worker};
use crate::units::{counted, human_duration_ns};

pub(crate) fn section(document: &Document, round: &Round, paper: &mut Paper) {
    paper.heading("Where it ran");
    for side in round.load.iter().chain(&round.testee) {
        paper.hanging(&side.agent, &side_line(side));
    }
    if round.testee.is_empty() {
        let target = target(&document.plan.target);
        paper.hanging(
            "testee",
            &format!("{target}, no process of this run: its CPU and counters are not known."),
        );
    }
    for host in &document.hosts {
        paper.hanging(&host.id, &host_line(host));
        if let Some(applied) = &host.profile {
            profile::lines(&host.id, applied, paper);
        }
    }
    paper.blank();
}

/// A name with the address that was behind it.
fn target(target: &Target) -> String {
    match &target.address {
        _ if target.addresses.len() > 1 => {
            format!(
                "{} at {} in turn",
                target.endpoint,
                target.addresses.join(", ")
            )
        }
        Some(address) if *address != target.endpoint => {
            format!("{} at {address}", target.endpoint)
        }
        _ => target.endpoint.clone(),
    }
}

fn side_line(side: &Side) -> String {
    let engine = &side.engine;
    // By its name, with or without options.
    let by_name = engine.requested.split(':').next() == Some(&engine.used);
    let mut parts = vec![if by_name {
        engine.requested.clone()
    } else {
        format!(
            "{} (asked for {}: {})",
            engine.used, engine.requested, engine.reason
        )
    }];
    parts.push(format!(
        "{} {}",
        counted(u64::from(side.threads), "thread"),
        cpus(&side.workers)
    ));
    let connections: Vec<u64> = side
        .workers
        .iter()
        .map(|worker| worker.connections)
        .collect();
    if let (Some(least), Some(most)) = (connections.iter().min(), connections.iter().max()) {
        parts.push(match (side.workers.len(), least == most) {
            (1, _) => counted(*most, "connection"),
            (_, true) => format!("{} each", counted(*most, "connection")),
            (_, false) => format!("{least} to {most} connections each"),
        });
    }
    if let Some(strategy) = side.accept_strategy {
        parts.push(format!("accepting by {}", strategy.words()));
    }
    let options: Vec<String> = side
        .socket_options
        .iter()
        .filter_map(|option| Some(format!("{} {}", option.name, option.granted.as_ref()?)))
        .collect();
    if !options.is_empty() {
        parts.push(format!("sockets have {}", options.join(", ")));
    }
    format!("on {}: {}.", side.host, parts.join(", "))
}

/// `on CPU 2`, `on CPUs 2, 3`, `on whatever CPU the kernel chose`.
fn cpus(workers: &[Worker]) -> String {
    let pinned: Option<Vec<u32>> = workers
        .iter()
        .map(
            |worker| match (worker.cpu_requested, worker.cpus_granted[..].as_ref()) {
                (Some(wanted), [granted]) if wanted == *granted => Some(wanted),
                _ => None,
            },
        )
        .collect();
    match pinned.as_deref() {
        Some([one]) => format!("pinned to CPU {one}"),
        Some(several @ [_, ..]) => {
            let list: Vec<String> = several.iter().map(u32::to_string).collect();
            format!("pinned to CPUs {}", list.join(", "))
        }
        _ if workers.iter().any(|worker| worker.cpu_requested.is_some()) => {
            "pinned otherwise than asked for".to_owned()
        }
        _ => "not pinned".to_owned(),
    }
}

/// `its clock 1.00 h ahead, to 12 us`; of ours, nothing.
fn clock(offset: ClockOffset) -> Option<String> {
    let ahead = match offset.offset_ns {
        0 => return None,
        1.. => "ahead",
        _ => "behind",
    };
    Some(format!(
        "its clock {} {ahead}, known to {}",
        human_duration_ns(offset.offset_ns.unsigned_abs()),
        human_duration_ns(offset.error_ns)
    ))
}

fn host_line(host: &Host) -> String {
    let via = host.via.as_ref();
    let mut parts: Vec<String> = via
        .map(|via| format!("through '{via}'"))
        .into_iter()
        .collect();
    let from = host.joined_from.as_ref();
    parts.extend(from.map(|from| format!("joined from {from}")));
    parts.extend(host.clock_offset.and_then(clock));
    let known = [&host.kernel, &host.os, &host.cpu_model];
    parts.extend(known.into_iter().flatten().cloned());
    if let Some(count) = host.cpu_count {
        let cores = host.physical_cores.map_or_else(String::new, |cores| {
            format!(" on {}", counted(u64::from(cores), "core"))
        });
        parts.push(format!("{}{cores}", counted(u64::from(count), "CPU")));
    }
    let named = [
        ("governor", &host.governor),
        ("clocksource", &host.clocksource),
        ("hypervisor", &host.hypervisor),
        ("congestion control", &host.congestion_control),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            parts.push(format!("{name} {value}"));
        }
    }
    if let Some(interface) = &host.interface {
        let mtu = interface
            .mtu_bytes
            .map_or_else(String::new, |mtu| format!(" MTU {mtu} B"));
        let qdisc = interface
            .qdisc
            .as_ref()
            .map_or_else(String::new, |qdisc| format!(" qdisc {qdisc}"));
        parts.push(format!("{}{mtu}{qdisc}", interface.name));
    }
    format!("{}.", parts.join(", "))
}

//! What packets meet on their way: filters, interfaces, and sockets that wait.

use super::{Finding, Level};
use crate::document::Host;

/// From this share of the ephemeral ports on, sockets in TIME_WAIT are worth knowing of.
const SOME_WAITING: f64 = 0.25;
/// From here on they are in the way of new connections, if they are all of one address pair.
const MANY_WAITING: f64 = 0.75;
const LOOPBACK: [&str; 2] = ["lo", "lo0"];

pub fn connection_tracking(host: &Host) -> Option<Finding> {
    const CODE: &str = "conntrack";
    const EFFECT: &str = "every packet is looked up, on loopback too, and new connections fail when the table is full";
    if let Some(reason) = host.missing.get("netfilter.conntrack") {
        let seen = format!("whether connections are tracked is not known: {reason}");
        return Some(Finding::of(Level::Note, CODE, seen, EFFECT));
    }
    let state = host.facts.get("netfilter.conntrack")?;
    let seen = format!("connection tracking: {state}");
    let exempt = over_loopback(host) && state.ends_with("not over loopback");
    if !state.starts_with("loaded, tracks ") || state.contains("tracks nothing") || exempt {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(Level::Warning, CODE, seen, EFFECT);
    Some(finding.cure(exempt_from_tracking(host)))
}

/// The commands that exempt the traffic of the measurement. A table of family `inet` sees IPv4 and IPv6, and
/// one of its own is deleted as a whole. What comes in over loopback keeps the mark that it got on its way out;
/// from another host it needs one of its own. There only the other host is exempted: rules for the rest of the
/// interface's traffic (`ct state established accept`) may depend on tracking.
fn exempt_from_tracking(host: &Host) -> String {
    let chain = |hook: &str| {
        format!("nft 'add chain inet linerate {hook} {{ type filter hook {hook} priority raw; }}'")
    };
    let rule =
        |hook: &str, which: &str| format!("nft add rule inet linerate {hook} {which} notrack");
    let mut commands = vec!["nft add table inet linerate".to_owned(), chain("output")];
    if over_loopback(host) {
        commands.push(rule("output", "oif lo"));
    } else {
        let family = match host.facts.get("interface.address_family") {
            Some(family) if family == "IPv6" => "ip6",
            _ => "ip",
        };
        commands.push(rule("output", &format!("{family} daddr PEER")));
        commands.push(chain("prerouting"));
        commands.push(rule("prerouting", &format!("{family} saddr PEER")));
    }
    let whose = if over_loopback(host) {
        ""
    } else {
        " (PEER: the other host's address)"
    };
    format!(
        "{}{whose}; afterwards nft delete table inet linerate",
        commands.join("; ")
    )
}

fn over_loopback(host: &Host) -> bool {
    let interface = host.interface.as_ref();
    interface.is_some_and(|interface| LOOPBACK.contains(&interface.name.as_str()))
}

pub fn packet_filters(host: &Host) -> Option<Finding> {
    const CODE: &str = "netfilter";
    if let Some(reason) = host.missing.get("netfilter.hooks") {
        return Some(
            Finding::of(
                Level::Note,
                CODE,
                format!("whether packets are filtered is not known: {reason}"),
                "rules are walked for every packet, on loopback too",
            )
            .cure("linerate doctor as root, with nft (package nftables), tells"),
        );
    }
    let hooks = host.facts.get("netfilter.hooks")?;
    if hooks == "none" {
        return Some(Finding::fine(CODE, "no packet filters"));
    }
    let finding = Finding::of(
        Level::Note,
        CODE,
        format!("packets are filtered ({hooks})"),
        "rules are walked for every packet, on loopback too",
    );
    Some(finding.cure("look at `nft list ruleset`; an `iif lo accept` first is cheap, an empty ruleset is cheapest"))
}

/// The code of the finding about sockets in TIME_WAIT.
pub const TIME_WAIT: &str = "time_wait";

pub fn time_wait(host: &Host) -> Option<Finding> {
    const CODE: &str = TIME_WAIT;
    let waiting: u64 = host.facts.get("tcp.time_wait_sockets")?.parse().ok()?;
    let ports = ephemeral_ports(host)?;
    let seen =
        format!("{waiting} sockets in TIME_WAIT, of {ports} ephemeral ports per address pair");
    let share = waiting as f64 / ports as f64;
    if share < SOME_WAITING {
        return Some(Finding::fine(CODE, seen));
    }
    let level = if share < MANY_WAITING {
        Level::Note
    } else {
        Level::Warning
    };
    let finding = Finding::of(
        level,
        CODE,
        seen,
        "crr and cc may run out of ports, and each new connection searches longer for one",
    );
    Some(finding.cure(
        "wait a minute (TIME_WAIT lasts 60 s), or spread with --source, or close with --close rst",
    ))
}

fn ephemeral_ports(host: &Host) -> Option<u64> {
    let range = host.sysctls.get("net.ipv4.ip_local_port_range")?;
    let mut bounds = range.split_whitespace().map(str::parse::<u64>);
    let (low, high) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    (high.checked_sub(low)).map(|span| span + 1)
}

/// BBR paces by a model of bandwidth and delay that loopback does not fit: on fast local links it was
/// measured at half of cubic (kata-containers/packaging issue 1067).
pub fn congestion_control(host: &Host) -> Option<Finding> {
    const CODE: &str = "congestion_control";
    let control = host.congestion_control.as_deref()?;
    let seen = format!("the default congestion control is {control}");
    if !control.starts_with("bbr") {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(
        Level::Note,
        CODE,
        seen,
        "it paces by a model of the path that loopback and short links do not fit; streams there can be slower than \
         with cubic",
    );
    Some(finding.cure("linerate run stream --congestion cubic, to see the difference"))
}

/// No route leads there; none does over loopback where `lo` was never up, as in a new network namespace.
pub fn unreachable(host: &Host) -> Option<Finding> {
    let answer = host.facts.get("interface.unreachable")?;
    let finding = Finding::of(
        Level::Problem,
        "unreachable",
        format!("the target cannot be reached from here: {answer}"),
        "no connection can be opened",
    );
    Some(finding.cure(match over_loopback(host) {
        true => "ip link set lo up (a new network namespace has it down)",
        false => {
            "set the interface up and add a route; `ip route get ADDRESS` shows which is taken"
        }
    }))
}

pub fn interface(host: &Host) -> Option<Finding> {
    const CODE: &str = "interface";
    let interface = host.interface.as_ref()?;
    let fact = |name: &str| host.facts.get(&format!("interface.{name}"));
    let mut parts = Vec::new();
    parts.extend(interface.mtu_bytes.map(|mtu| format!("MTU {mtu}")));
    parts.extend(
        interface
            .qdisc
            .as_ref()
            .map(|qdisc| format!("qdisc {qdisc}")),
    );
    parts.extend(fact("driver").map(|driver| format!("driver {driver}")));
    parts.extend(fact("speed_megabits_per_second").map(|speed| format!("{speed} Mbit/s")));
    parts.extend(fact("offloads").cloned());
    let seen = format!("traffic through {}: {}", interface.name, parts.join(", "));
    let small = !LOOPBACK.contains(&interface.name.as_str())
        && interface.mtu_bytes.is_some_and(|mtu| mtu < 9000)
        && fact("offloads").is_some_and(|offloads| offloads.contains("TSO off"));
    if !small {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(
        Level::Note,
        CODE,
        seen,
        "without segmentation offload every packet is cut by the CPU; streams cost several times as much",
    );
    Some(finding.cure(format!(
        "ethtool -K {} tso on gso on gro on",
        interface.name
    )))
}

/// Interrupts of all queues on one CPU, with no RPS to spread them, make that CPU the limit.
pub fn spreading(host: &Host) -> Option<Finding> {
    const CODE: &str = "interrupts";
    let name = &host.interface.as_ref()?.name;
    if LOOPBACK.contains(&name.as_str()) {
        return None;
    }
    let fact = |name: &str| {
        host.facts
            .get(&format!("interface.{name}"))
            .map(String::as_str)
    };
    let queues: u32 = fact("rx_queues")?.parse().ok()?;
    let spread = [("RPS", "rps_cpus"), ("XPS", "xps_cpus")].map(|(shown, file)| {
        let cpus = fact(file).unwrap_or("unknown");
        format!("{shown} {cpus}")
    });
    let interrupts = fact("irq_cpus").map_or_else(
        || "where its interrupts go is not shown".to_owned(),
        |places| format!("interrupts {places}"),
    );
    let seen = format!(
        "{name}: {queues} receive queues, {}, {interrupts}",
        spread.join(", ")
    );
    let alone = queues == 1 && fact("rps_cpus") == Some("off") && host.cpu_count.unwrap_or(1) > 2;
    if !alone {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(
        Level::Note,
        CODE,
        seen,
        "one CPU receives everything: at high packet rates it, and not the testee, is the limit; pin away from it",
    );
    Some(finding.cure(format!(
        "ethtool -L {name} combined N, or a CPU mask in /sys/class/net/{name}/queues/rx-0/rps_cpus"
    )))
}

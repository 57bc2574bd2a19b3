//! Descriptors and ports, counted before the first connection and not in the middle.

use crate::error::Failure;
use crate::host::{available_bytes, process_memory};
use crate::plan::{AgentPlan, Plan};
use engine::endpoint::Target;
use engine::os::{raise_descriptor_limit, reserve_descriptors};
use engine::socket::{self, SocketOptions};
use report::document::Message;
use report::units::human_bytes;
use socket2::Domain;

/// Standard streams, wakers, rings, timers, files being read.
const OWN_DESCRIPTORS: u64 = 64;
const DESCRIPTORS_PER_THREAD: u64 = 8;

/// Raises the limit of descriptors, checks that the agent's connections over `threads` workers fit, and has room made for
/// them. Where operations close connections, as many again may be closing.
pub(super) fn check_descriptors(
    plan: &Plan,
    agent: &AgentPlan,
    threads: u32,
) -> Result<(), Failure> {
    let connections = agent.share.connections;
    let closing = u64::from(connections) * u64::from(plan.workload().reconnects());
    let limit = raise_descriptor_limit()
        .map_err(|error| Failure::machine(format!("read the descriptor limit: {error}")))?;
    let needed = needed(u64::from(connections) + closing, threads);
    fits(needed, connections, limit.soft, agent.role.name())?;
    reserve_descriptors(needed);
    Ok(())
}

/// Descriptors of a process with so many sockets of connections over `threads` workers.
pub(crate) fn needed(sockets: u64, threads: u32) -> u64 {
    sockets + OWN_DESCRIPTORS + DESCRIPTORS_PER_THREAD * u64::from(threads)
}

/// Checks that the kernel has the congestion control that was asked for: what it says to a socket in the middle of
/// preparing would be taken for a fault of the address.
pub(super) fn check_congestion(plan: &Plan) -> Result<(), Failure> {
    let Some(name) = &plan.socket.congestion_control else {
        return Ok(());
    };
    let options = SocketOptions {
        congestion_control: Some(name.clone()),
        ..SocketOptions::default()
    };
    let Err(error) = socket::connecting(Domain::IPV4, None, false, &options) else {
        return Ok(());
    };
    let known = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let known = known.map_or_else(
        |_| "what it has".to_owned(),
        |names| names.trim().replace(' ', ", "),
    );
    Err(Failure::machine(format!(
        "--congestion {name}: {error}; the kernel of this host has {known} (others may be modules that are not loaded)"
    )))
}

/// What is known of an operation in flight: when it was due, and when it was sent.
const OPERATION_BYTES: u64 = 16;

/// Checks that what the load must remember of operations in flight fits into memory: all agents of
/// this host have it at the same time.
pub(super) fn check_memory(plan: &Plan, agent: &AgentPlan) -> Result<(), Failure> {
    // Where it is not shown, the system itself refuses.
    let available = available_bytes().unwrap_or(u64::MAX);
    has_room(agent.host.connections, plan.depth(), available)
}

fn has_room(connections: u32, depth: u32, available_bytes: u64) -> Result<(), Failure> {
    let needed = u64::from(connections) * u64::from(depth) * OPERATION_BYTES;
    if needed <= available_bytes {
        return Ok(());
    }
    Err(Failure::machine(format!(
        "{connections} connections with a depth of {depth} need {} for their operations in flight, and {} of memory \
         are available: use a smaller --depth, or fewer --connections",
        human_bytes(needed as f64),
        human_bytes(available_bytes as f64)
    )))
}

fn fits(needed: u64, connections: u32, limit: u64, side: &str) -> Result<(), Failure> {
    if needed <= limit {
        return Ok(());
    }
    const RAISE: &str = "raise the hard limit (ulimit -Hn, LimitNOFILE= in a unit, or limits.conf)";
    let cure = match most(needed, connections, limit) {
        0 => format!("not even one connection fits beside what a process needs anyway: {RAISE}"),
        most => format!(
            "use at most {most} --connections, spread them over more processes with --{side}-agents, or {RAISE}"
        ),
    };
    Err(Failure::machine(format!(
        "{connections} connections need {needed} descriptors in the {side} process, and its limit is {limit}: \
         {cure}"
    )))
}

/// How many connections would fit.
fn most(needed: u64, connections: u32, limit: u64) -> u64 {
    let connections = u64::from(connections).max(1);
    let per_connection = if needed >= 2 * connections + OWN_DESCRIPTORS {
        2
    } else {
        1
    };
    let own = needed.saturating_sub(per_connection * connections);
    limit.saturating_sub(own) / per_connection
}

/// The local ports that the kernel gives out by itself: first and last (ip(7)).
pub(crate) fn port_range() -> Option<(u32, u32)> {
    let text = sysctl_profiles::read("net.ipv4.ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Some((first, last)),
        _ => None,
    }
}

/// Over how many source addresses so many connections to one address are spread from the beginning where spare ones are
/// there: so that the ports of each are at most half in use, for the kernel searches them one by one
/// (__inet_hash_connect() in net/ipv4/inet_hashtables.c). 1 unless the plan is to have many of them stand.
pub(crate) fn spread(plan: &Plan, connections: u32) -> u32 {
    match (plan.hold(), port_range()) {
        (Some(_), Some((first, last))) => {
            let half = (last.saturating_sub(first) + 1).div_ceil(2);
            connections.div_ceil(half).clamp(1, SPREAD_MAX)
        }
        _ => 1,
    }
}

/// As many addresses again are left for when ports run out all the same.
const SPREAD_MAX: u32 = 100;

/// Checks that the local ports of this host suffice for its `connections`.
pub(super) fn check_ports(
    target: &Target,
    connections: u32,
    reconnects: bool,
) -> Result<Vec<Message>, Failure> {
    if target
        .addresses
        .iter()
        .all(|address| address.as_socket().is_none())
    {
        return Ok(Vec::new());
    }
    let Some(range) = port_range() else {
        return Ok(Vec::new());
    };
    ports_suffice(target, connections, reconnects, range)
}

fn ports_suffice(
    target: &Target,
    connections: u32,
    reconnects: bool,
    (first, last): (u32, u32),
) -> Result<Vec<Message>, Failure> {
    let ports = u64::from(last.saturating_sub(first) + 1);
    let sources = target.sources.len().max(1) as u64 + u64::from(target.spare_sources());
    // A port is in use once for each address and port that it leads to.
    let connections = connections.div_ceil(target.addresses.len() as u32);
    let wanted = u64::from(connections);
    if wanted > ports * sources {
        return Err(Failure::machine(format!(
            "{connections} connections to one address and port need as many local ports, and \
             net.ipv4.ip_local_port_range gives {ports} ({first} to {last}) for each of {sources} source \
             addresses: give more addresses with --source A,B,..., widen the range, or use fewer --connections"
        )));
    }
    let mut warnings = Vec::new();
    if wanted > ports * target.sources.len().max(1) as u64 {
        warnings.push(Message::new(
            "spare_sources",
            format!(
                "{connections} connections are more than the {ports} local ports of one address: further \
                 addresses of 127.0.0.0/8 are used as sources"
            ),
        ));
    }
    if reconnects && !target.has_spare_sources() {
        warnings.push(
            Message::new(
                "time_wait_ports",
                format!(
                    "every operation uses a local port, which TIME_WAIT may hold for 60 s after it: {ports} ports \
                     on {} source addresses last for {} operations in that time",
                    target.sources.len().max(1),
                    ports * target.sources.len().max(1) as u64
                ),
            )
            .with_cure("give more addresses with --source, or close with --close rst"),
        );
    }
    Ok(warnings)
}

/// Largest resident memory so far, bytes.
pub(super) fn max_rss_bytes() -> Result<u64, String> {
    process_memory().map(|memory| memory.max_rss_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn target(address: &str, sources: &[&str]) -> Target {
        Target {
            addresses: vec![address.parse::<SocketAddr>().unwrap().into()],
            sources: sources
                .iter()
                .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0))
                .collect(),
            spread: 1,
        }
    }

    #[test]
    fn too_few_descriptors_are_said_with_numbers_and_cure() {
        assert!(fits(1024, 900, 1024, "load").is_ok());
        let error = fits(1072, 1000, 1024, "load").unwrap_err();
        assert_eq!(error.class.code(), 3);
        for part in [
            "1000 connections",
            "1072 descriptors",
            "limit is 1024",
            "at most 952",
        ] {
            assert!(error.text.contains(part), "{error}");
        }
        let error = fits(74, 1, 50, "load").unwrap_err();
        assert!(
            error.text.contains("not even one connection") && !error.text.contains("at most 0"),
            "{error}"
        );
    }

    #[test]
    fn memory_that_is_not_there_is_refused_with_the_sum() {
        let available = 8 << 30;
        assert!(has_room(19_000, 16, available).is_ok());
        let error = has_room(19_000, 65_536, available).unwrap_err();
        assert_eq!(error.class.code(), 3);
        for part in [
            "19000 connections",
            "depth of 65536",
            "18.6 GiB",
            "8.00 GiB",
            "--depth",
        ] {
            assert!(error.text.contains(part), "{error}");
        }
    }

    #[test]
    fn too_few_ports_are_an_error_before_the_first_connection() {
        let range = (32_768, 60_999);
        let remote = target("10.0.0.2:9000", &[]);
        assert!(ports_suffice(&remote, 28_232, false, range).is_ok());
        let error = ports_suffice(&remote, 28_233, false, range).unwrap_err();
        assert!(
            error.text.contains("28232") && error.text.contains("--source"),
            "{error}"
        );
        let two = target("10.0.0.2:9000", &["10.0.0.1", "10.0.0.3"]);
        assert!(ports_suffice(&two, 50_000, false, range).is_ok());
        let mut both = target("10.0.0.2:9000", &[]);
        both.addresses
            .extend(target("10.0.0.3:9000", &[]).addresses);
        assert!(ports_suffice(&both, 56_464, false, range).is_ok());
        assert!(ports_suffice(&both, 56_465, false, range).is_err());
    }

    #[test]
    fn loopback_has_spare_addresses_and_says_so() {
        let range = (32_768, 60_999);
        let local = target("127.0.0.1:9000", &[]);
        assert!(
            ports_suffice(&local, 1_000, true, range)
                .unwrap()
                .is_empty()
        );
        let warnings = ports_suffice(&local, 60_000, false, range).unwrap();
        assert_eq!(warnings[0].code, "spare_sources");
        let v6 = target("[::1]:9000", &[]);
        assert!(ports_suffice(&v6, 60_000, false, range).is_err());
        let warnings = ports_suffice(&v6, 1, true, range).unwrap();
        assert_eq!(warnings[0].code, "time_wait_ports");
    }
}

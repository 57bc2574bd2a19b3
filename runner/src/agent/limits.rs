//! Descriptors and ports, counted before the first connection and not in the middle.

use crate::error::Failure;
use crate::host::process_memory;
use crate::plan::{Plan, document_reconnects};
use engine::endpoint::Target;
use engine::os::raise_descriptor_limit;
use report::document::Message;

/// Standard streams, wakers, rings, timers, files being read.
const OWN_DESCRIPTORS: u64 = 64;
const DESCRIPTORS_PER_THREAD: u64 = 8;

/// Raises the limit of descriptors, and checks that the plan's connections over `threads` workers
/// fit. Where operations close connections, as many again may be closing.
pub(super) fn check_descriptors(plan: &Plan, threads: u32, side: &str) -> Result<(), Failure> {
    let connections = plan.connections;
    let closing = u64::from(connections) * u64::from(document_reconnects(plan.workload));
    let limit = raise_descriptor_limit()
        .map_err(|error| Failure::machine(format!("read the descriptor limit: {error}")))?;
    let needed = u64::from(connections)
        + closing
        + OWN_DESCRIPTORS
        + DESCRIPTORS_PER_THREAD * u64::from(threads);
    fits(needed, connections, limit.soft, side)
}

fn fits(needed: u64, connections: u32, limit: u64, side: &str) -> Result<(), Failure> {
    if needed <= limit {
        return Ok(());
    }
    Err(Failure::machine(format!(
        "{connections} connections need {needed} descriptors in the {side} process, and its limit is {limit}: \
         use at most {} --connections, or raise the hard limit (ulimit -Hn, LimitNOFILE= in a unit, or \
         limits.conf)",
        most(needed, connections, limit)
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
fn port_range() -> Option<(u32, u32)> {
    let text = sysctl_profiles::read("net.ipv4.ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Some((first, last)),
        _ => None,
    }
}

/// Checks that the local ports suffice for `connections` to one address and port.
pub(super) fn check_ports(
    target: &Target,
    connections: u32,
    reconnects: bool,
) -> Result<Vec<Message>, Failure> {
    if target.address.as_socket().is_none() {
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
            address: address.parse::<SocketAddr>().unwrap().into(),
            sources: sources.iter().map(|ip| ip.parse().unwrap()).collect(),
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

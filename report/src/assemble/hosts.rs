//! What came from each host.

use super::{known_rate, rate};
use crate::document::{Finite, HostShare, Role, Side, Totals};
use crate::histogram::HistogramError;
use crate::merge;

/// The share of each host in each role, in the order of their agents; empty where no role has several hosts.
pub(super) fn shares(load: &[Side], testee: &[Side]) -> Result<Vec<HostShare>, HistogramError> {
    let (loads, testees) = (by_host(load), by_host(testee));
    if loads.len() < 2 && testees.len() < 2 {
        return Ok(Vec::new());
    }
    let all = loads.iter().chain(&testees);
    all.map(|sides| share(sides)).collect()
}

/// The sides of each host.
fn by_host(sides: &[Side]) -> Vec<Vec<&Side>> {
    let mut hosts: Vec<Vec<&Side>> = Vec::new();
    for side in sides {
        match hosts.iter_mut().find(|known| known[0].host == side.host) {
            Some(known) => known.push(side),
            None => hosts.push(vec![side]),
        }
    }
    hosts
}

fn share(sides: &[&Side]) -> Result<HostShare, HistogramError> {
    let first = sides[0];
    let is_load = first.role == Role::Load;
    let sum = |pick: fn(&Totals) -> u64| -> u64 {
        sides.iter().map(|side| pick(&side.measured.totals)).sum()
    };
    let primary = sides.iter().map(|side| side.measured.latency.primary());
    let latency = merge::latencies(primary.map(|named| named.map(|(_, latency)| latency)))?;
    let operations = rate(sides, |side| side.measured.totals.operations);
    let bytes = rate(sides, |side| {
        side.measured.totals.bytes_sent + side.measured.totals.bytes_received
    });
    let cpu_ns = known_rate(sides, |process| process.cpu_ns);
    let errors = sides.iter().flat_map(|side| &side.measured.errors);
    Ok(HostShare {
        host: first.host.clone(),
        role: first.role,
        agents: sides.len() as u32,
        connections_opened: sum(|totals| totals.connections_opened),
        operations: if is_load {
            sum(|totals| totals.operations)
        } else {
            0
        },
        operations_per_second: operations.filter(|_| is_load).and_then(Finite::new),
        throughput_bits_per_second: bytes.and_then(|bytes| Finite::new(bytes * 8.0)),
        latency_p50_ns: latency.as_ref().map(|latency| latency.p50_ns),
        latency_p99_ns: latency.and_then(|latency| latency.percentile("p99")),
        cpu_cores_busy: cpu_ns.and_then(|ns| Finite::new(ns / 1e9)),
        errors: errors.map(|error| error.count).sum(),
    })
}

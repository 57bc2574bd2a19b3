//! Before the go: whom the load connects to, and its workers.

use super::super::{Agent, Note};
use crate::engines::Chosen;
use crate::error::Failure;
use crate::plan::{Plan, StopPlan};
use crate::wire::Task;
use crate::workers::{self, WorkerEnd};
use engine::driver::{LoadJob, LoadOutcome, Share};
use engine::endpoint::{Endpoint, Target};
use engine::meter::Published;
use engine::shape::{POISSON_SEED, Ramp, Stop};
use socket2::{SockAddr, Socket, Type};
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn target(task: &Task) -> Result<Target, Failure> {
    let text = task.target.as_deref().unwrap_or_default();
    let endpoint: Endpoint = text.parse().map_err(Failure::usage)?;
    let addresses = endpoint.resolve().map_err(|error| {
        Failure::peer(format!(
            "resolve the target {endpoint}: {error}; correct the name, or give an address"
        ))
    })?;
    let sources = task.plan.sources.clone();
    for source in &sources {
        check_source(*source)?;
    }
    let timeout = Duration::from_nanos(task.plan.connect_timeout_ns);
    let address = one_that_answers(&addresses, timeout).ok_or_else(|| {
        Failure::peer(format!(
            "the target {endpoint} has no address; correct the name"
        ))
    })?;
    if let (Some(source), Some(to)) = (sources.first(), address.as_socket())
        && source.is_ipv4() != to.is_ipv4()
    {
        return Err(Failure::usage(format!(
            "--source {source} and the target {endpoint} are of different IP versions; give sources of the same"
        )));
    }
    Ok(Target { address, sources })
}

/// Nothing but binding tells whether an address is one of this host.
fn check_source(source: IpAddr) -> Result<(), Failure> {
    UdpSocket::bind((source, 0)).map(drop).map_err(|error| {
        Failure::machine(format!(
            "--source {source}: {error}; give addresses of this host (`ip address` shows them)"
        ))
    })
}

/// A name may have addresses on which nobody listens (`localhost` is ::1 first): the first that
/// accepts a connection, or simply the first.
fn one_that_answers(addresses: &[SockAddr], timeout: Duration) -> Option<SockAddr> {
    let answers = |address: &&SockAddr| {
        Socket::new(address.domain(), Type::STREAM, None)
            .and_then(|socket| socket.connect_timeout(address, timeout))
            .is_ok()
    };
    match addresses {
        [] | [_] => addresses.first().cloned(),
        several => several.iter().find(answers).or(several.first()).cloned(),
    }
}

pub(super) fn start_workers<W: Write>(
    agent: &Agent<W>,
    plan: &Plan,
    engine: &Chosen,
    target: &Target,
    cpus: &[Option<u32>],
) -> Result<Vec<Arc<Published>>, Failure> {
    let mut published = Vec::with_capacity(cpus.len());
    for (index, cpu) in cpus.iter().enumerate() {
        let counters = Arc::new(Published::default());
        published.push(Arc::clone(&counters));
        let job = LoadJob {
            worker: index as u32,
            control: Arc::clone(&agent.control),
            wake: agent.control.seat().map_err(|error| {
                Failure::machine(format!(
                    "a socket pair to wake a worker: {error}; raise the descriptor limit (ulimit -n)"
                ))
            })?,
            published: counters,
            spec: plan.load.clone(),
            target: target.clone(),
            share: share(plan.connections, plan.threads, index as u32),
            ramp: Ramp::AtOnce,
            poisson_seed: POISSON_SEED,
            socket: plan.socket.clone(),
            warmup_ns: plan.warmup_ns,
            stop: stop(plan, index as u64),
            connect_timeout_ns: plan.connect_timeout_ns,
            operation_timeout_ns: plan.operation_timeout_ns,
            drain_ns: plan.drain_ns,
            engine_options: plan.engine.options.clone(),
        };
        let (driver, control) = (engine.driver, Arc::clone(&agent.control));
        let sender = agent.sender.clone();
        let report = move |end: WorkerEnd<LoadOutcome>| {
            let failed = end
                .result
                .as_ref()
                .err()
                .map(|failure| failure.text.clone());
            // The agent outlives its workers, or is exiting.
            let _ = sender.send(Note::Load(Box::new(end)));
            if let Some(text) = failed {
                control.report_failed(text);
            }
        };
        workers::spawn("load", index, *cpu, move || driver.load(job), report)?;
    }
    Ok(published)
}

/// The connections of worker `index`: as equal as they go.
fn share(connections: u32, threads: u32, index: u32) -> Share {
    let (each, rest) = (connections / threads, connections % threads);
    Share {
        first: index * each + index.min(rest),
        count: each + u32::from(index < rest),
        total: connections,
    }
}

fn stop(plan: &Plan, index: u64) -> Stop {
    let threads = u64::from(plan.threads);
    match plan.stop {
        StopPlan::After(ns) => Stop::After(ns),
        StopPlan::Count(count) => Stop::Count(count / threads + u64::from(index < count % threads)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlanRequest;

    #[test]
    fn shares_cover_all_connections_once() {
        for (connections, threads) in [(1, 1), (7, 3), (64, 64), (10, 4)] {
            let shares: Vec<Share> = (0..threads)
                .map(|i| share(connections, threads, i))
                .collect();
            let mut next = 0;
            for share in shares {
                assert_eq!((share.first, share.total), (next, connections));
                assert!(share.count >= 1);
                next += share.count;
            }
            assert_eq!(next, connections);
        }
    }

    #[test]
    fn counts_add_up_over_workers() {
        let plan = Plan::new(PlanRequest {
            count: Some(11),
            connections: Some(4),
            threads: Some(4),
            ..PlanRequest::default()
        })
        .unwrap();
        let sum: u64 = (0..4)
            .map(|index| match stop(&plan, index) {
                Stop::Count(count) => count,
                Stop::After(_) => 0,
            })
            .sum();
        assert_eq!(sum, 11);
    }
}

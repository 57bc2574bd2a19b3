//! Before the go: whom the load connects to, and its workers.

use super::super::{Agent, Note};
use crate::engines::Chosen;
use crate::error::Failure;
use crate::plan::{AgentPlan, Plan, StopPlan, deal};
use crate::wire::Task;
use crate::workers::{self, ThreadClock, WorkerEnd};
use engine::driver::{LoadJob, LoadOutcome};
use engine::endpoint::{Endpoint, Target};
use engine::meter::Published;
use engine::shape::{Ramp, Stop};
use socket2::{SockAddr, Socket, Type};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn target(task: &Task) -> Result<Target, Failure> {
    let text = task.endpoint.as_deref().unwrap_or_default();
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
    let address = one_that_answers(&addresses, &sources, timeout).ok_or_else(|| {
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
/// accepts a connection, or simply the first. The attempt comes from where the load will: the target
/// sees it as one more connection, which only a name with several addresses costs.
fn one_that_answers(
    addresses: &[SockAddr],
    sources: &[IpAddr],
    timeout: Duration,
) -> Option<SockAddr> {
    let answers = |address: &&SockAddr| attempt(address, sources.first(), timeout).is_ok();
    match addresses {
        [] | [_] => addresses.first().cloned(),
        several => several.iter().find(answers).or(several.first()).cloned(),
    }
}

fn attempt(address: &SockAddr, source: Option<&IpAddr>, timeout: Duration) -> io::Result<()> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(*source, 0).into())?;
    }
    socket.connect_timeout(address, timeout)
}

/// What is sampled of the workers while they run: their counters, and their CPU time.
type Started = (Vec<Arc<Published>>, Vec<Arc<ThreadClock>>);

pub(super) fn start_workers<W: Write>(
    agent: &Agent<W>,
    task: &Task,
    engine: &Chosen,
    target: &Target,
    cpus: &[Option<u32>],
) -> Result<Started, Failure> {
    let plan = &task.plan;
    let mut published = Vec::with_capacity(cpus.len());
    let mut clocks = Vec::with_capacity(cpus.len());
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
            spec: plan.load_spec().clone(),
            target: target.clone(),
            share: task.agent.share.of_worker(plan.threads, index as u32),
            ramp: Ramp::AtOnce,
            poisson_seed: task.poisson_seed,
            socket: plan.socket.clone(),
            warmup_ns: plan.warmup_ns,
            stop: stop(plan, &task.agent, index as u32),
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
        let clock = Arc::new(ThreadClock::default());
        clocks.push(Arc::clone(&clock));
        let work = move || driver.load(job);
        workers::spawn("load", index, *cpu, clock, work, report)?;
    }
    Ok((published, clocks))
}

/// When worker `index` ends: a count is dealt out.
fn stop(plan: &Plan, agent: &AgentPlan, index: u32) -> Stop {
    match (plan.stop, agent.share.operations) {
        (StopPlan::After(ns), _) => Stop::After(ns),
        (StopPlan::Count(all), own) => Stop::Count(deal(own.unwrap_or(all), plan.threads, index).1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CommonRequest, PlanRequest};

    #[test]
    fn of_several_addresses_the_one_that_answers_from_there_is_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own: SockAddr = listener.local_addr().unwrap().into();
        // Bound and not listening, so that it refuses.
        let silent = Socket::new(own.domain(), Type::STREAM, None).unwrap();
        silent
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let refusing = silent.local_addr().unwrap();
        let timeout = Duration::from_secs(5);
        let addresses = [refusing.clone(), own.clone()];
        let from = ["127.0.0.7".parse().unwrap()];
        let found = one_that_answers(&addresses, &from, timeout).unwrap();
        assert_eq!(found.as_socket(), own.as_socket());
        let (_, peer) = listener.accept().unwrap();
        assert!(!cfg!(target_os = "linux") || peer.ip() == from[0], "{peer}");
        let first = one_that_answers(&addresses[..1], &[], timeout).unwrap();
        assert_eq!(first.as_socket(), refusing.as_socket(), "one is not tried");
    }

    #[test]
    fn counts_add_up_over_agents_and_workers() {
        let plan = Plan::new(PlanRequest {
            common: CommonRequest {
                count: Some(11),
                connections: Some(8),
                threads: Some(2),
                load_agents: Some(2),
                ..CommonRequest::default()
            },
            ..PlanRequest::default()
        })
        .unwrap();
        let loads = plan.agents().split_off(1);
        assert_eq!(loads.len(), 2);
        let workers = loads
            .iter()
            .flat_map(|agent| [stop(&plan, agent, 0), stop(&plan, agent, 1)]);
        let sum: u64 = workers
            .map(|stop| match stop {
                Stop::Count(count) => count,
                Stop::After(_) => 0,
            })
            .sum();
        assert_eq!(sum, 11);
    }
}

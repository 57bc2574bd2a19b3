//! Before the go: whom the load connects to, and its workers.

use super::super::{Agent, Note, limits};
use crate::engines::Chosen;
use crate::error::Failure;
use crate::plan::{AgentPlan, Plan, StopPlan, deal};
use crate::protocol::Task;
use crate::workers::{self, ThreadClock, WorkerEnd};
use engine::address::Address;
use engine::driver::{LoadJob, LoadOutcome};
use engine::endpoint::{Endpoint, Target};
use engine::load::Rules;
use engine::meter::Published;
use engine::record::EventRecord;
use engine::shape::{Ramp, Stop};
use report::document::Message;
use socket2::{SockAddr, Socket, Type};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Whom the load connects to and from where, and what a reader must know of how that was found.
pub(super) fn target(task: &Task) -> Result<(Target, Vec<Message>), Failure> {
    let plan = &task.plan;
    let sources = plan
        .sources
        .iter()
        .map(check_source)
        .collect::<Result<Vec<_>, _>>()?;
    let (mut addresses, mut warnings) = (Vec::new(), Vec::new());
    for text in &task.endpoints {
        let (found, warning) = addresses_of(text, plan, sources.first().copied())?;
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        warnings.extend(warning);
    }
    // Connections take them in turn: nobody goes to the rest.
    addresses.truncate(task.agent.share.total as usize);
    let each = task
        .agent
        .host
        .connections
        .div_ceil(addresses.len().max(1) as u32);
    let target = Target {
        spread: limits::spread(plan, each),
        addresses,
        sources,
    };
    Ok((target, warnings))
}

/// The address of an endpoint that answers; all of them, where connections are to be spread over them.
fn addresses_of(
    text: &str,
    plan: &Plan,
    source: Option<SocketAddr>,
) -> Result<(Vec<SockAddr>, Option<Message>), Failure> {
    let endpoint: Endpoint = text.parse().map_err(Failure::usage)?;
    let addresses = endpoint.resolve().map_err(|error| {
        Failure::peer(format!(
            "resolve the target {endpoint}: {error}; correct the name, or give an address"
        ))
    })?;
    let of_version = |address: &SockAddr| match (source, address.as_socket()) {
        (Some(source), Some(to)) => source.is_ipv4() == to.is_ipv4(),
        _ => true,
    };
    let (fitting, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(of_version);
    if plan.request().common.spread && !fitting.is_empty() {
        return Ok((fitting, None));
    }
    let timeout = Duration::from_nanos(plan.connect_timeout_ns);
    let (address, probed) = match (
        one_that_answers(&fitting, source, timeout),
        source,
        others.is_empty(),
    ) {
        (Some(found), _, _) => found,
        (None, Some(source), false) => {
            return Err(Failure::usage(format!(
                "--source {} and the target {endpoint} are of different IP versions; give sources of the same",
                source.ip()
            )));
        }
        _ => {
            return Err(Failure::peer(format!(
                "the target {endpoint} has no address; correct the name"
            )));
        }
    };
    let warning = probed.then(|| probe_warning(&endpoint, fitting.len()));
    Ok((vec![address], warning))
}

/// Nothing but binding tells whether an address is one of this host.
fn check_source(source: &Address) -> Result<SocketAddr, Failure> {
    let bound = source.to_bind(0);
    let bound = bound.and_then(|address| UdpSocket::bind(address).map(|_| address));
    bound.map_err(|error| {
        Failure::machine(format!(
            "--source {source}: {error}; give addresses of this host (`ip address` shows them)"
        ))
    })
}

/// A name may have addresses on which nobody listens (`localhost` is ::1 first): the first that has a listener, or the
/// last. Also whether the target has seen a connection of that.
///
/// Of this host's own addresses the kernel tells it without a connection. Others are tried, from where the load will
/// come; the last needs no try, for it is taken in any case.
fn one_that_answers(
    addresses: &[SockAddr],
    source: Option<SocketAddr>,
    timeout: Duration,
) -> Option<(SockAddr, bool)> {
    let (last, before) = addresses.split_last()?;
    for address in before {
        match is_listened_on(address) {
            Some(true) => return Some((address.clone(), false)),
            Some(false) => {}
            None if answers(address, source, timeout) => {
                return Some((address.clone(), !CONCEALS));
            }
            None => {}
        }
    }
    Some((last.clone(), false))
}

/// Whether somebody listens on an address of this host: then bind(2) is refused to whoever does not share the port.
/// `None` where that tells nothing: the address is another host's, or the port is privileged.
fn is_listened_on(address: &SockAddr) -> Option<bool> {
    let socket = Socket::new(address.domain(), Type::STREAM, None).ok()?;
    // Connections in TIME_WAIT do not count.
    socket.set_reuse_address(true).ok()?;
    match socket.bind(address) {
        Ok(()) => Some(false),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Some(true),
        Err(_) => None,
    }
}

/// Whether a target does not hear of [`answers`].
const CONCEALS: bool = cfg!(target_os = "linux");

/// Whether a connection would be taken. On Linux the handshake is not finished: its last acknowledgement is held back,
/// and in its place goes a reset, before the target could accept anything.
fn answers(address: &SockAddr, source: Option<SocketAddr>, timeout: Duration) -> bool {
    let attempt = || {
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&source.into())?;
        }
        hold_acknowledgements(&socket)?;
        socket.connect_timeout(address, timeout)?;
        socket.set_linger(Some(Duration::ZERO))
    };
    attempt().is_ok()
}

/// Without TCP_QUICKACK the kernel waits up to 200 ms for data that an acknowledgement could go with, also with that of
/// a handshake (`tcp_rcv_synsent_state_process` in net/ipv4/tcp_input.c). HAProxy's plain checks do the same.
#[cfg(target_os = "linux")]
fn hold_acknowledgements(socket: &Socket) -> std::io::Result<()> {
    socket.set_tcp_quickack(false)
}

#[cfg(not(target_os = "linux"))]
fn hold_acknowledgements(_: &Socket) -> std::io::Result<()> {
    Ok(())
}

fn probe_warning(endpoint: &Endpoint, addresses: usize) -> Message {
    Message::new(
        "target_probe",
        format!(
            "{endpoint} has {addresses} addresses: a connection was opened and closed before the run, to find one that \
             accepts"
        ),
    )
    .with_cure("name the address, if the target must not count it")
}

/// What is sampled of the workers while they run: their counters, and their CPU time.
type Started = (Vec<Arc<Published>>, Vec<Arc<ThreadClock>>);

pub(super) fn start_workers<W: Write>(
    agent: &Agent<W>,
    task: &Task,
    engine: &Chosen,
    target: &Target,
    cpus: &[Option<u32>],
    events: Option<&Arc<EventRecord>>,
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
            event_record: events.cloned(),
            spec: plan.load_spec().clone(),
            rules: Rules {
                target: target.clone(),
                share: task.agent.share.of_worker(plan.threads, index as u32),
                ramp: plan.load_spec().ramp(),
                connects_at_once: plan.connects_at_once(),
                closing: plan.hold().map_or(Ramp::AtOnce, |hold| hold.closing),
                queue: plan.queue(),
                poisson_seed: task.poisson_seed,
                warmup_ns: plan.warmup_ns,
                stop: stop(plan, &task.agent, index as u32),
                connect_timeout_ns: plan.connect_timeout_ns,
                operation_timeout_ns: plan.operation_timeout_ns,
                drain_ns: plan.drain_ns,
            },
            socket: plan.socket.clone(),
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
    fn the_address_that_has_a_listener_is_found_without_a_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let addresses: Vec<SockAddr> = ["127.0.0.2", "127.0.0.1", "127.0.0.3"]
            .map(|ip| SockAddr::from(SocketAddr::new(ip.parse().unwrap(), port)))
            .into();
        let timeout = Duration::from_secs(1);
        let found = one_that_answers(&addresses, None, timeout).unwrap();
        assert_eq!((&found.0, found.1), (&addresses[1], false));
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "the target counts a probe");
        // Nobody listens on the others: the last is taken, and says what is wrong with it.
        let found = one_that_answers(&addresses[2..], None, timeout).unwrap();
        assert_eq!((&found.0, found.1), (&addresses[2], false));
        assert!(one_that_answers(&[], None, timeout).is_none());
    }

    #[test]
    fn another_hosts_address_is_tried_without_its_listener_hearing_of_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = SockAddr::from(listener.local_addr().unwrap());
        let timeout = Duration::from_secs(1);
        assert!(answers(&address, None, timeout));
        // From where the load will come, and from nowhere else: this address is nobody's here (RFC 5737).
        let nowhere = SocketAddr::from(([192, 0, 2, 1], 0));
        assert!(!answers(&address, Some(nowhere), timeout));
        listener.set_nonblocking(true).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let heard = listener.accept();
        assert!(heard.is_err() || !CONCEALS, "the target counts {heard:?}");
        drop(listener);
        // A child that another test is just starting may hold the listener until its exec.
        let refuses = (0..400).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            !answers(&address, None, timeout)
        });
        assert!(refuses);
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

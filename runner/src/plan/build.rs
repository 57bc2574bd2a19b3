//! From a request to a plan: defaults, ranges, and what excludes what.

use super::checks::{bitrate, duration, in_range, refuse, size};
use super::{
    CommonRequest, Plan, PlanError, PlanRequest, Shape, SocketRequest, StopPlan, TargetPlan,
    TesteePlan, agents, conflicts, connect, hosts,
    web_socket::{self, Around},
};
use crate::engines::{self, AUTO, EngineChoice};
use crate::host::parse_cpu_list;
use engine::address::Address;
use engine::endpoint::Endpoint;
use engine::shape::Ramp;
use engine::socket::SocketOptions;
use report::document::{self, Workload};
use report::units::human_duration_ns;

/// More than the ports of a hundred source addresses.
const CONNECTIONS_MAX: u32 = 10_000_000;
const THREADS_MAX: u32 = 1024;
const REPEAT_MAX: u32 = 10_000;
const INTERVALS_MAX: u64 = 100_000;
const INTERVAL_MIN_NS: u64 = 10_000_000;
const SECOND_NS: u64 = 1_000_000_000;

pub(super) fn plan(request: PlanRequest) -> Result<Plan, PlanError> {
    let PlanRequest { common, shape } = &request;
    conflicts::check(common)?;
    let default_connections = match shape.workload().holds() {
        true => connect::CONNECTIONS,
        false => 1,
    };
    let connections = in_range(
        "--connections",
        common.connections.unwrap_or(default_connections),
        1,
        CONNECTIONS_MAX,
    )?;
    let load_hosts = hosts::of_load(common)?;
    let load_agents = agents::agents(
        (
            "--load-agents",
            common.load_elsewhere().unwrap_or("--load-via"),
        ),
        common.load_agents,
        load_hosts.len(),
        connections,
    )?;
    let threads = threads("--threads", common.threads, connections / load_agents)?;
    let workload = shape.workload();
    let shape = shape.resolve(&Around {
        target: common.target.as_deref(),
        engine: common.engine.as_deref(),
    })?;
    check_ramp(ramp_ns(&shape, connections.into()))?;
    if workload.joins() {
        conflicts::check_count_of_clients(common, ramp_ns(&shape, connections.into()))?;
    }
    let stop = match &shape.hold {
        Some(hold) => {
            conflicts::check_connect(common, hold)?;
            StopPlan::Count(connections.into())
        }
        None => stop(common, u64::from(threads) * u64::from(load_agents))?,
    };
    let default_warmup_ns = match stop {
        StopPlan::Count(_) if !workload.joins() => 0,
        // A client is measured once all of them are there.
        _ => SECOND_NS + ramp_ns(&shape, connections.into()),
    };
    let target = target(common, workload, connections)?;
    let interval_ns = interval(common, stop, &shape)?;
    let socket = socket_options(common, &shape, &target)?;
    let load_here = common.load_elsewhere().is_none();
    let engine = engine_choice("--engine", common.engine.as_deref(), load_here)?;
    if engine.name != AUTO
        && let Some(driver) = engines::find(&engine.name)
    {
        if shape.described.queue == Some(document::Queue::Shared)
            && driver.capabilities().thread_per_connection
        {
            return Err(PlanError::Engine(no_shared_queue(&engine.name)));
        }
        if closes_one_by_one(&shape) && driver.capabilities().thread_per_connection {
            return Err(PlanError::Engine(no_closing_ramp(&engine.name)));
        }
        driver.check_load(&shape.load).map_err(|why| {
            PlanError::Engine(format!(
                "engine {} cannot run this load: {why}",
                engine.name
            ))
        })?;
    }
    Ok(Plan {
        connections,
        load_hosts,
        load_agents,
        threads,
        stop,
        warmup_ns: duration("--warmup", common.warmup_ns, default_warmup_ns, 0)?,
        repeat: in_range("--repeat", common.repeat.unwrap_or(1), 1, REPEAT_MAX)?,
        operation_timeout_ns: duration("--timeout", common.timeout_ns, 5 * SECOND_NS, 1_000_000)?,
        connect_timeout_ns: duration(
            "--connect-timeout",
            common
                .connect_timeout_ns
                .or(common.timeout_ns.filter(|_| shape.hold.is_some())),
            match workload {
                // What the C10K WebSocket test waits for.
                Workload::Ws => 2 * SECOND_NS,
                _ => 5 * SECOND_NS,
            },
            1_000_000,
        )?,
        drain_ns: duration("--drain", common.drain_ns, SECOND_NS, 0)?,
        interval_ns,
        sources: sources(common, &target)?,
        placement: common.placement.unwrap_or_default(),
        client_cpus: cpus("--client-cpus", common.client_cpus.as_deref())?,
        socket,
        engine,
        shape,
        target,
        request,
        earlier_rounds: 0,
        event_file: None,
    })
}

// ---- ranges --------------------------------------------------------------------------------

pub(super) fn threads(
    option: &'static str,
    threads: Option<u32>,
    connections: u32,
) -> Result<u32, PlanError> {
    let threads = in_range(option, threads.unwrap_or(1), 1, THREADS_MAX)?;
    if threads > connections {
        return Err(PlanError::OutOfRange {
            option,
            value: threads.to_string(),
            range: format!(
                "at most the number of connections of a process, which is {connections}"
            ),
            cure: "a thread without a connection would idle: use fewer threads or more --connections",
        });
    }
    Ok(threads)
}

fn stop(request: &CommonRequest, threads: u64) -> Result<StopPlan, PlanError> {
    let Some(count) = request.count else {
        return duration("--duration", request.duration_ns, 10 * SECOND_NS, 1_000_000)
            .map(StopPlan::After);
    };
    if count < threads {
        return Err(PlanError::OutOfRange {
            option: "--count",
            value: count.to_string(),
            range: format!("at least one operation per thread, which is {threads}"),
            cure: "count more operations or use fewer --threads",
        });
    }
    Ok(StopPlan::Count(count))
}

/// How long the ramp of so many connections takes, ns; 0 without one.
fn ramp_ns(shape: &Shape, connections: u64) -> u64 {
    let last = u32::try_from(connections.saturating_sub(1)).unwrap_or(u32::MAX);
    shape.load.ramp().offset_ns(last)
}

fn interval(request: &CommonRequest, stop: StopPlan, shape: &Shape) -> Result<u64, PlanError> {
    // A ramp is a picture, and one as fast as it goes is over soon.
    let default_ns = match (shape.hold, shape.load.ramp()) {
        (None, _) => SECOND_NS,
        (Some(_), Ramp::AtOnce) => SECOND_NS / 50,
        (Some(_), _) => SECOND_NS / 10,
    };
    let interval_ns = duration(
        "--interval",
        request.interval_ns,
        default_ns,
        INTERVAL_MIN_NS,
    )?;
    let length_ns = match stop {
        StopPlan::After(ns) => ns,
        StopPlan::Count(count) => ramp_ns(shape, count),
    };
    match length_ns {
        ns if ns / interval_ns > INTERVALS_MAX => Err(PlanError::OutOfRange {
            option: "--interval",
            value: human_duration_ns(interval_ns),
            range: format!("such that the window has at most {INTERVALS_MAX} intervals"),
            cure: "the whole series stands in the result: use longer intervals or a shorter --duration",
        }),
        _ => Ok(interval_ns),
    }
}

pub(super) fn cpus(
    option: &'static str,
    text: Option<&str>,
) -> Result<Option<Vec<u32>>, PlanError> {
    let Some(text) = text else { return Ok(None) };
    let unreadable = |why: String| PlanError::Unreadable {
        option,
        value: text.to_owned(),
        why,
    };
    let cpus: Vec<u32> = parse_cpu_list(text)
        .map_err(|error| unreadable(error.why))?
        .into_iter()
        .collect();
    if cpus.is_empty() {
        return Err(unreadable(
            "no CPU is named; write for example 0,2-3".to_owned(),
        ));
    }
    Ok(Some(cpus))
}

/// A ramp ends some day, and stands in the result.
fn check_ramp(length_ns: u64) -> Result<(), PlanError> {
    const RAMP_MAX_NS: u64 = 2 * 24 * 3600 * SECOND_NS;
    match length_ns <= RAMP_MAX_NS {
        true => Ok(()),
        false => Err(PlanError::OutOfRange {
            option: "--connections",
            value: human_duration_ns(length_ns),
            range: "such that the last is due within two days".to_owned(),
            cure: "open them faster: a shorter --delay, --ramp or --batch-delay, a higher --rate, or a larger --batch",
        }),
    }
}

/// Whether connections that were held are closed one after the other.
fn closes_one_by_one(shape: &Shape) -> bool {
    shape.hold.is_some_and(|hold| hold.closing != Ramp::AtOnce)
}

/// Why an engine cannot close connections one after the other.
pub(crate) fn no_closing_ramp(engine: &str) -> String {
    format!(
        "--close ramp: engine {engine} has a thread for every connection, and all of them end together; choose another \
         engine for the load, such as --engine epoll"
    )
}

/// Why an engine cannot have one queue for many connections.
pub(crate) fn no_shared_queue(engine: &str) -> String {
    format!(
        "--queue shared: engine {engine} has a thread for every connection, and threads share no queue; choose another \
         engine for the load, such as --engine epoll"
    )
}

pub(super) fn engine_choice(
    option: &'static str,
    text: Option<&str>,
    here: bool,
) -> Result<EngineChoice, PlanError> {
    let choice = EngineChoice::parse(text.unwrap_or(AUTO))
        .map_err(|why| PlanError::Engine(format!("{option}: {why}")))?;
    // An engine of another host is checked there.
    if here {
        choice.check().map_err(PlanError::Engine)?;
    }
    Ok(choice)
}

fn endpoint(text: &str) -> Result<Endpoint, PlanError> {
    text.parse().map_err(PlanError::Endpoint)
}

// ---- the target ----------------------------------------------------------------------------

fn target(
    request: &CommonRequest,
    workload: Workload,
    connections: u32,
) -> Result<TargetPlan, PlanError> {
    if let Some(text) = &request.target {
        let endpoint = match workload {
            Workload::Ws => web_socket::endpoint_of(text)?,
            _ => endpoint(text)?,
        };
        if matches!(endpoint, Endpoint::Tcp { port: 0, .. }) {
            return Err(PlanError::Endpoint(format!(
                "target '{text}': port 0 is no port to connect to; name the port that the server listens on"
            )));
        }
        let is_unix = matches!(endpoint, Endpoint::Unix(_));
        refuse(
            &[("--spread", request.spread && is_unix)],
            "a Unix socket",
            "it has one address; leave it out",
        )?;
        return Ok(TargetPlan::Foreign(endpoint));
    }
    let hosts = hosts::of_testee(request)?;
    let here = request.testee_via.is_empty();
    let agents = agents::agents(
        ("--testee-agents", "--testee-via"),
        request.testee_agents,
        hosts.len(),
        connections,
    )?;
    if agents > 1 && matches!(hosts[0].listen, Endpoint::Unix(_)) {
        return Err(PlanError::Conflict {
            option: "--testee-agents",
            with: "a Unix socket".to_owned(),
            cure: "it has one listener, which processes cannot share by address: use --testee-threads, or a \
                   tcp:// endpoint",
        });
    }
    Ok(TargetPlan::Own(TesteePlan {
        hosts,
        agents,
        engine: engine_choice("--testee-engine", request.testee_engine.as_deref(), here)?,
        threads: threads(
            "--testee-threads",
            request.testee_threads,
            connections / agents,
        )?,
        cpus: cpus("--testee-cpus", request.testee_cpus.as_deref())?,
    }))
}

fn sources(request: &CommonRequest, target: &TargetPlan) -> Result<Vec<Address>, PlanError> {
    let is_unix = matches!(endpoint_of(target), Endpoint::Unix(_));
    if is_unix && !request.sources.is_empty() {
        return Err(PlanError::Conflict {
            option: "--source",
            with: "a Unix socket".to_owned(),
            cure: "source addresses are for tcp:// targets",
        });
    }
    let parse = |text: &String| {
        text.parse().map_err(|why| PlanError::Unreadable {
            option: "--source",
            value: text.clone(),
            why: format!("{why}; write for example 10.0.0.1,10.0.0.2 or fe80::1%eth0"),
        })
    };
    request.sources.iter().map(parse).collect()
}

fn endpoint_of(target: &TargetPlan) -> &Endpoint {
    match target {
        TargetPlan::Foreign(endpoint) => endpoint,
        TargetPlan::Own(testee) => &testee.hosts[0].listen,
    }
}

// ---- socket options ------------------------------------------------------------------------

fn socket_options(
    request: &CommonRequest,
    shape: &Shape,
    target: &TargetPlan,
) -> Result<SocketOptions, PlanError> {
    let asked = &request.socket;
    if matches!(endpoint_of(target), Endpoint::Unix(_)) {
        conflicts::check_unix_options(asked)?;
    }
    let pacing = bitrate("--pacing-rate", shape.described.pacing_rate_bits_per_second)?;
    Ok(SocketOptions {
        nodelay: asked.nodelay.unwrap_or(shape.nodelay),
        pacing_bytes_per_second: pacing.map(|bits| ((bits / 8.0) as u64).max(1)),
        ..common_options(asked)?
    })
}

/// The options that need no workload to be understood.
pub(super) fn common_options(asked: &SocketRequest) -> Result<SocketOptions, PlanError> {
    let buffer = |option, bytes: Option<u64>| bytes.map(|bytes| size(option, bytes)).transpose();
    if asked
        .mss_bytes
        .is_some_and(|bytes| !(88..=65_495).contains(&bytes))
    {
        return Err(PlanError::OutOfRange {
            option: "--mss",
            value: asked.mss_bytes.unwrap_or_default().to_string(),
            range: "from 88 to 65495 bytes".to_owned(),
            cure: "1448 is usual on Ethernet",
        });
    }
    if asked.keepalive_s == Some(0) {
        return Err(PlanError::OutOfRange {
            option: "--keepalive",
            value: "0".to_owned(),
            range: "at least 1 s".to_owned(),
            cure: "leave it out to send no keep-alive probes",
        });
    }
    Ok(SocketOptions {
        nodelay: asked.nodelay.unwrap_or(true),
        send_buffer_bytes: buffer("--sndbuf", asked.send_buffer_bytes)?,
        receive_buffer_bytes: buffer("--rcvbuf", asked.receive_buffer_bytes)?,
        congestion_control: asked.congestion_control.clone(),
        mss_bytes: asked.mss_bytes,
        tos: asked.tos,
        busy_poll_us: asked.busy_poll_us,
        fast_open: asked.fast_open,
        keepalive_s: asked.keepalive_s,
        pacing_bytes_per_second: None,
    })
}

//! How many connections take how many processes, and what else they take: decided and told before there is one.

use super::{AgentPlan, Plan, PlanRequest};
use crate::agent::limits;
use crate::host::available_bytes;
use engine::os::raise_descriptor_limit;
use report::document::{Role, Target};
use report::units::{grouped, human_bytes};

/// What the kernel needs for one end of an established TCP connection that carries nothing, bytes, machine-wide
/// (slab; measured with `run connect -c 60k` on Linux 6.18, where the result has it for each run).
const SOCKET_BYTES: u64 = 5_000;

/// Where it takes more processes than this, the limit is what is to be changed.
const AGENTS_UNASKED_MAX: u32 = 32;

/// Takes as many processes as the connections of a run that opens each once have to be spread over, on each side of
/// this machine that nobody has said it for.
pub fn spread_over_agents(request: &mut PlanRequest) {
    let workload = request.shape.workload();
    if !workload.holds() && !workload.joins() {
        return;
    }
    let Ok(limit) = raise_descriptor_limit() else {
        return;
    };
    let common = &mut request.common;
    let connections = common.connections.unwrap_or(match workload.holds() {
        true => super::connect::CONNECTIONS,
        false => 1,
    });
    let fits = |share: u32, threads: u32| limits::needed(share.into(), threads) <= limit.soft;
    let most = AGENTS_UNASKED_MAX.min(connections);
    let is_here = common.target.is_none() && common.testee_via.is_empty();
    let unix = common
        .testee_listen
        .as_deref()
        .is_some_and(|text| text.starts_with("unix"));
    let (threads, testee_threads) = (
        common.threads.unwrap_or(1),
        common.testee_threads.unwrap_or(1),
    );
    let load_here = common.load_elsewhere().is_none();
    if load_here && common.load_agents.is_none() && !fits(connections, threads) {
        common.load_agents = (2..=most).find(|n| fits(connections.div_ceil(*n), threads));
    }
    if is_here && !unix && common.testee_agents.is_none() && !fits(connections, testee_threads) {
        let share = |n| super::agents::most_of(connections, n);
        common.testee_agents = (2..=most).find(|n| fits(share(*n), testee_threads));
    }
}

/// What a run that opens each connection once will use of this machine, a line each; nothing for other runs.
pub fn forecast(plan: &Plan) -> Vec<String> {
    if plan.hold().is_none() {
        return Vec::new();
    }
    let agents = plan.agents();
    if !plan.runs_here() {
        return Vec::new();
    }
    let of = |role: Role| {
        agents
            .iter()
            .filter(move |agent| agent.role == role && agent.is_here())
    };
    let target = plan.document_target();
    let mut lines = vec![processes(
        plan,
        of(Role::Load).collect(),
        of(Role::Testee).collect(),
    )];
    let here = of(Role::Load).next().map(|agent| agent.host.connections);
    lines.extend(here.and_then(|here| addresses(plan, here, &target)));
    lines.extend(backlog(plan));
    lines.extend(memory(plan, &target));
    lines
}

fn processes(plan: &Plan, loads: Vec<&AgentPlan>, testees: Vec<&AgentPlan>) -> String {
    let side = |agents: &[&AgentPlan], name: &str| {
        let most = agents.iter().map(|agent| agent.share.connections).max()?;
        Some(match agents.len() {
            1 => format!("1 {name} process with {} descriptors", grouped(most.into())),
            n => format!(
                "{n} {name} processes with at most {} descriptors each",
                grouped(most.into())
            ),
        })
    };
    let sides: Vec<String> = [side(&loads, "load"), side(&testees, "testee")]
        .into_iter()
        .flatten()
        .collect();
    let limit = raise_descriptor_limit().map_or_else(
        |_| "a limit that is not known".to_owned(),
        |limit| grouped(limit.soft),
    );
    format!(
        "{} connections: {}, of {limit} that a process may have",
        grouped(plan.connections.into()),
        sides.join(" and ")
    )
}

fn addresses(plan: &Plan, connections: u32, target: &Target) -> Option<String> {
    let (first, last) = limits::port_range()?;
    let ports = last.saturating_sub(first) + 1;
    let spread = limits::spread(plan, connections);
    let loopback = target.loopback && target.transport == "tcp";
    match (plan.sources.len(), loopback) {
        (0, true) if spread > 1 => Some(format!(
            "from {spread} source addresses of 127.0.0.0/8, each with {} local ports",
            grouped(ports.into())
        )),
        (0, _) => None,
        (sources, _) => Some(format!(
            "from {sources} source addresses, each with {} local ports",
            grouped(ports.into())
        )),
    }
}

fn backlog(plan: &Plan) -> Option<String> {
    let somaxconn: u64 = sysctl_profiles::read("net.core.somaxconn")
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let at_once =
        u64::from(plan.connects_at_once()) * u64::from(plan.threads) * u64::from(plan.load_agents);
    let own = plan.has_own_testee();
    let enough = match at_once <= somaxconn {
        true => String::new(),
        false => "; the rest may be dropped and tried again after a second (--at-once)".to_owned(),
    };
    own.then(|| {
        format!(
            "at most {} connects at a time, into a listen backlog of at most {} (net.core.somaxconn){enough}",
            grouped(at_once),
            grouped(somaxconn)
        )
    })
}

fn memory(plan: &Plan, target: &Target) -> Option<String> {
    let available = available_bytes().ok()?;
    let ends = 1 + u64::from(target.loopback);
    let needed = u64::from(plan.connections) * ends * SOCKET_BYTES;
    let enough = if needed < available {
        ""
    } else {
        ": that is not enough"
    };
    Some(format!(
        "about {} of kernel memory for their sockets on this machine, of {} available{enough}",
        human_bytes(needed as f64),
        human_bytes(available as f64)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CommonRequest, ConnectRequest, ShapeRequest};

    fn spread(common: CommonRequest, shape: ShapeRequest) -> (Option<u32>, Option<u32>) {
        let mut request = PlanRequest { common, shape };
        spread_over_agents(&mut request);
        (request.common.load_agents, request.common.testee_agents)
    }

    #[test]
    fn connections_are_spread_where_one_process_has_too_few_descriptors() {
        let limit = u32::try_from(raise_descriptor_limit().unwrap().soft).unwrap_or(u32::MAX);
        let connect = || ShapeRequest::Connect(ConnectRequest::default());
        let asked = |connections| CommonRequest {
            connections: Some(connections),
            ..CommonRequest::default()
        };
        assert_eq!(spread(asked(10), connect()), (None, None));
        let many = limit.saturating_mul(3).min(9_000_000);
        let (loads, testees) = spread(asked(many), connect());
        if many / 3 == limit {
            assert_eq!(loads, Some(4), "3 would leave nothing for anything else");
            assert!(testees >= loads, "the kernel spreads by hash");
        }
        let foreign = CommonRequest {
            target: Some("tcp://10.0.0.1:9".into()),
            load_agents: Some(1),
            ..asked(many)
        };
        assert_eq!(spread(foreign, connect()), (Some(1), None), "as was said");
        let rr = ShapeRequest::of(report::document::Workload::Rr);
        assert_eq!(spread(asked(many), rr), (None, None));
    }

    #[test]
    fn what_will_be_used_is_told() {
        let mut request = PlanRequest {
            shape: ShapeRequest::Connect(ConnectRequest::default()),
            ..PlanRequest::default()
        };
        request.common.connections = Some(60_000);
        request.common.load_agents = Some(4);
        request.common.testee_agents = Some(4);
        let lines = forecast(&Plan::new(request).unwrap());
        assert!(
            lines[0].starts_with("60,000 connections: 4 load processes with at most 15,000"),
            "{lines:?}"
        );
        assert!(forecast(&Plan::new(PlanRequest::default()).unwrap()).is_empty());
    }
}

//! The agents of a round, and what each of them is dealt.

use super::checks::in_range;
use super::hosts::{self, AGENTS_MAX, HostPlan, Start};
use super::{Plan, PlanError, TesteePlan};
use engine::load::Share;
use engine::needs::Needs;
use report::document::Role;
use serde::{Deserialize, Serialize};

/// One agent of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPlan {
    /// Its name, unique in the round: `load`, `load-2`, `testee` ...
    pub name: String,
    /// Which side it is of.
    pub role: Role,
    /// Its number among the agents of its side, from 0.
    pub number: u32,
    /// How many agents its side has.
    pub of: u32,
    /// Where it runs.
    pub host: AgentHost,
    /// Its part of the load.
    pub share: AgentShare,
}

/// Where an agent runs, and beside which others of its side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHost {
    /// Id of the host in the document.
    pub id: String,
    /// How it comes to be there.
    pub start: Start,
    /// The linerate binary over there, if it is not at this one's path.
    pub command: Option<String>,
    /// Its number among the agents of its side on that host, from 0.
    pub number: u32,
    /// How many agents of its side that host has.
    pub of: u32,
    /// Connections of all of them; for testees, how many they must be ready for together.
    pub connections: u32,
}

/// An agent's part of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentShare {
    /// Number of its first connection; 0 for a testee.
    pub first: u32,
    /// How many it opens; for a testee, how many it must be ready for.
    pub connections: u32,
    /// How many there are in the whole run.
    pub total: u32,
    /// Operations after which it ends, in a run that counts; null for a testee.
    pub operations: Option<u64>,
}

/// Connections of a transaction workload overlap with those that are closing.
const SPARE_CONNECTIONS: u32 = 1024;

/// Connections that a worker of a plan's testee takes at once.
pub(crate) fn testee_limit(plan: &Plan) -> u32 {
    plan.connections.saturating_add(SPARE_CONNECTIONS)
}

impl AgentPlan {
    /// What the workers of all agents of its side on its host will take, for they share its limits. Who is not the
    /// first of the side is told what was chosen, and asks for nothing.
    pub(crate) fn needs_of_side(&self, plan: &Plan) -> Vec<Needs> {
        let side = plan.agents().into_iter();
        let side = side.filter(|agent| agent.role == self.role && agent.host.id == self.host.id);
        side.flat_map(|agent| agent.needs(plan)).collect()
    }

    fn needs(&self, plan: &Plan) -> Vec<Needs> {
        let (share, load) = (self.share, plan.load_spec());
        match (self.role, plan.testee()) {
            (Role::Testee, Some(testee)) => {
                let (limit, bytes) = (testee_limit(plan), plan.shape.message_bytes);
                let expected = Some(share.of_testee_worker(testee.threads));
                let needs = plan.shape.testee.needs(limit, expected, bytes);
                vec![needs; testee.threads as usize]
            }
            (Role::Testee, None) => Vec::new(),
            (Role::Load, _) => (0..plan.threads)
                .map(|worker| load.needs(share.of_worker(plan.threads, worker).count))
                .collect(),
        }
    }

    /// Whether it is a child process of the conductor.
    pub fn is_here(&self) -> bool {
        self.host.start.is_here()
    }

    /// Whether its side has others.
    pub fn has_peers(&self) -> bool {
        self.of > 1
    }

    /// Whether its side has others on its host.
    pub(crate) fn shares_host(&self) -> bool {
        self.host.of > 1
    }

    /// Whether it is the first of its side on its host: who describes it, and finds what the others take over.
    pub(crate) fn leads_host(&self) -> bool {
        self.host.number == 0
    }

    /// ` on host load-host-2`, where its name does not say it.
    pub(crate) fn on_host(&self) -> String {
        match self.is_here() || self.host.id == self.role.name() {
            true => String::new(),
            false => format!(" on host {}", self.host.id),
        }
    }

    /// `the load-2 agent on host load-host-2`.
    pub(crate) fn called(&self) -> String {
        format!("the {} agent{}", self.name, self.on_host())
    }
}

impl AgentShare {
    /// Connections that each of a testee's `threads` expects.
    pub(crate) fn of_testee_worker(&self, threads: u32) -> u32 {
        self.connections.div_ceil(threads)
    }

    /// The connections of worker `index` of `threads`.
    pub fn of_worker(&self, threads: u32, index: u32) -> Share {
        let (first, count) = deal(self.connections.into(), threads, index);
        Share {
            first: self.first + first as u32,
            count: count as u32,
            total: self.total,
        }
    }
}

/// Part `index` of `parts` of `all` things: the number of its first, and how many; as equal as they go.
pub(crate) fn deal(all: u64, parts: u32, index: u32) -> (u64, u64) {
    let (parts, index) = (u64::from(parts), u64::from(index));
    let (each, rest) = (all / parts, all % parts);
    (
        index * each + index.min(rest),
        each + u64::from(index < rest),
    )
}

/// How many of `connections` one of `testees` agents must be ready for, among which the kernel spreads
/// them by hash: five standard deviations of a binomial distribution above its mean, which one run in
/// millions exceeds.
pub(crate) fn most_of(connections: u32, testees: u32) -> u32 {
    if testees == 1 {
        return connections;
    }
    let mean = f64::from(connections) / f64::from(testees);
    let most = mean + 5.0 * mean.sqrt();
    connections.min(most.ceil() as u32)
}

impl Plan {
    /// Every agent of a round in the order in which they are prepared: the testee's first.
    pub(crate) fn agents(&self) -> Vec<AgentPlan> {
        let testees = self
            .testee()
            .into_iter()
            .flat_map(|testee| (0..testee.agents).map(|number| self.testee_agent(testee, number)));
        let loads = (0..self.load_agents).map(|number| self.load_agent(number));
        testees.chain(loads).collect()
    }

    fn testee_agent(&self, testee: &TesteePlan, number: u32) -> AgentPlan {
        let hosts = testee.hosts.len() as u32;
        let (host, on_host, agents) = hosts::turn(number, testee.agents, hosts);
        // Connections take turns on the hosts' addresses, and are spread by hash over the agents of one.
        let connections = hosts::taking_turns(self.connections, hosts, host);
        let there = &testee.hosts[host as usize].host;
        AgentPlan {
            name: name(Role::Testee, number),
            role: Role::Testee,
            number,
            of: testee.agents,
            host: AgentHost {
                number: on_host,
                of: agents,
                connections,
                ..self.agent_host(there, &self.request.common.testee_command)
            },
            share: AgentShare {
                first: 0,
                connections: most_of(connections, agents),
                total: self.connections,
                operations: None,
            },
        }
    }

    fn load_agent(&self, number: u32) -> AgentPlan {
        let part = |number| deal(self.connections.into(), self.load_agents, number);
        let (first, connections) = part(number);
        let hosts = self.load_hosts.len() as u32;
        let (host, on_host, agents) = hosts::turn(number, self.load_agents, hosts);
        let beside = (host..self.load_agents).step_by(hosts as usize);
        let there = &self.load_hosts[host as usize];
        AgentPlan {
            name: name(Role::Load, number),
            role: Role::Load,
            number,
            of: self.load_agents,
            host: AgentHost {
                number: on_host,
                of: agents,
                connections: beside.map(|number| part(number).1 as u32).sum(),
                ..self.agent_host(there, &self.request.common.load_command)
            },
            share: AgentShare {
                first: first as u32,
                connections: connections as u32,
                total: self.connections,
                operations: self
                    .count()
                    .map(|all| deal(all, self.load_agents, number).1),
            },
        }
    }

    fn agent_host(&self, host: &HostPlan, command: &Option<String>) -> AgentHost {
        AgentHost {
            id: host.id.clone(),
            start: host.start.clone(),
            command: command.clone(),
            number: 0,
            of: 1,
            connections: 0,
        }
    }
}

fn name(role: Role, number: u32) -> String {
    match number {
        0 => role.name().to_owned(),
        more => format!("{}-{}", role.name(), more + 1),
    }
}

/// A number of agents, with one at least for each of `hosts` hosts, and each with a connection at least. `options`:
/// that of the number, and that of the hosts.
pub(super) fn agents(
    options: (&'static str, &'static str),
    agents: Option<u32>,
    hosts: usize,
    connections: u32,
) -> Result<u32, PlanError> {
    let (option, of_hosts) = options;
    let hosts = hosts as u32;
    let agents = in_range(option, agents.unwrap_or(hosts), 1, AGENTS_MAX)?;
    let refused = |range: String, cure| {
        Err(PlanError::OutOfRange {
            option,
            value: agents.to_string(),
            range,
            cure,
        })
    };
    if agents < hosts {
        return refused(
            format!("at least the number of {of_hosts}, which is {hosts}"),
            "they are all agents together, and a host without one would idle: use more of them, or fewer hosts",
        );
    }
    if agents > connections {
        return refused(
            format!("at most the number of connections, which is {connections}"),
            "an agent without a connection would idle: use fewer agents or more --connections",
        );
    }
    Ok(agents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlanRequest;

    fn planned(change: impl FnOnce(&mut PlanRequest)) -> Vec<AgentPlan> {
        let mut request = PlanRequest::default();
        change(&mut request);
        Plan::new(request).unwrap().agents()
    }

    #[test]
    fn one_of_each_is_a_special_case() {
        let agents = planned(|_| {});
        let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
        assert_eq!(names, ["testee", "load"]);
        assert!(
            agents
                .iter()
                .all(|agent| agent.is_here() && !agent.has_peers())
        );
        assert_eq!(agents[1].share.of_worker(1, 0).count, 1);
        let foreign = planned(|request| request.common.target = Some("tcp://10.0.0.2:9".into()));
        assert_eq!((foreign.len(), foreign[0].role), (1, Role::Load));
    }

    #[test]
    fn connections_and_counts_are_dealt_out_to_the_last() {
        for (connections, agents, threads) in [(2, 2, 1), (7, 3, 2), (64, 3, 5), (10, 4, 2)] {
            let planned = planned(|request| {
                request.common.connections = Some(connections);
                request.common.load_agents = Some(agents);
                request.common.threads = Some(threads);
                request.common.count = Some(1_000_003);
            });
            let loads: Vec<&AgentPlan> = planned
                .iter()
                .filter(|agent| agent.role == Role::Load)
                .collect();
            let shares = loads
                .iter()
                .flat_map(|agent| (0..threads).map(|index| agent.share.of_worker(threads, index)));
            let mut next = 0;
            for share in shares {
                assert_eq!((share.first, share.total), (next, connections));
                assert!(share.count >= 1);
                next += share.count;
            }
            assert_eq!(next, connections);
            let counted: u64 = loads
                .iter()
                .filter_map(|agent| agent.share.operations)
                .sum();
            assert_eq!(counted, 1_000_003);
        }
    }

    #[test]
    fn agents_take_turns_on_the_hosts() {
        let agents = planned(|request| {
            let common = &mut request.common;
            common.connections = Some(10);
            common.load_via = ["ssh a", "ssh b", "ssh c"].map(str::to_owned).into();
            common.testee_via = ["ssh d", "ssh e"].map(str::to_owned).into();
            common.testee_host = ["10.0.0.4", "10.0.0.5"].map(str::to_owned).into();
            common.load_agents = Some(4);
        });
        let seen: Vec<(&str, &str, u32, u32)> = agents
            .iter()
            .map(|agent| {
                let host = &agent.host;
                (
                    agent.name.as_str(),
                    host.id.as_str(),
                    host.number,
                    host.connections,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("testee", "testee-host-1", 0, 5),
                ("testee-2", "testee-host-2", 0, 5),
                ("load", "load-host-1", 0, 5),
                ("load-2", "load-host-2", 0, 3),
                ("load-3", "load-host-3", 0, 2),
                ("load-4", "load-host-1", 1, 5),
            ]
        );
        assert!(!agents.iter().any(AgentPlan::is_here));
        assert_eq!(
            agents[0].share.connections, 5,
            "exactly, for one agent has the port"
        );
    }

    #[test]
    fn each_rank_is_an_agent_on_a_host_of_its_own() {
        let mut request = PlanRequest::default();
        request.common.connections = Some(8);
        request.common.target = Some("tcp://10.0.0.9:9".into());
        request.common.ranks = Some(3);
        let plan = Plan::new(request).unwrap();
        assert!(!plan.runs_here());
        let agents = plan.agents();
        let seen: Vec<(&str, &Start, u32)> = agents
            .iter()
            .map(|agent| {
                let host = &agent.host;
                (host.id.as_str(), &host.start, agent.share.connections)
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("rank-0", &Start::Rank(0), 3),
                ("rank-1", &Start::Rank(1), 3),
                ("rank-2", &Start::Rank(2), 2),
            ]
        );
    }

    #[test]
    fn the_agents_are_all_together_and_one_on_each_host_at_least() {
        let asked = |agents| {
            let mut request = PlanRequest::default();
            let common = &mut request.common;
            common.connections = Some(10);
            common.load_via = vec!["ssh a".into(), "ssh b".into()];
            common.target = Some("tcp://10.0.0.9:9".into());
            common.load_agents = agents;
            Plan::new(request).map(|plan| plan.load_agents)
        };
        assert_eq!((asked(None), asked(Some(5))), (Ok(2), Ok(5)));
        let error = asked(Some(1)).unwrap_err().to_string();
        assert!(
            error.contains("--load-agents 1") && error.contains("--load-via, which is 2"),
            "{error}"
        );
    }

    #[test]
    fn testees_are_ready_for_more_than_their_mean() {
        let agents = planned(|request| {
            (request.common.connections, request.common.testee_agents) = (Some(10_000), Some(4));
        });
        let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
        assert_eq!(
            names,
            ["testee", "testee-2", "testee-3", "testee-4", "load"]
        );
        assert_eq!(agents[0].share.connections, 2_750);
        assert_eq!(most_of(3, 2), 3, "never more than there are");
    }
}

//! Which agents run on one machine, and which share its network: two hosts of a run may be one kernel.

use crate::boot::boot_id;
use crate::plan::AgentPlan;
use crate::protocol::AgentHello;

/// The machine that conducts.
const OWN: usize = 0;

/// The machine of each agent, by their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machines {
    numbers: Vec<usize>,
}

impl Machines {
    /// Agents that say the same of the running kernel share it. Of one that cannot tell (no Linux), its host is a
    /// machine of its own.
    pub fn of(agents: &[AgentPlan], hellos: &[AgentHello]) -> Self {
        let mut known = vec![boot_id()];
        let mut numbers = Vec::new();
        for (agent, hello) in agents.iter().zip(hellos) {
            let name = match (&hello.boot_id, agent.is_here()) {
                (_, true) => {
                    numbers.push(OWN);
                    continue;
                }
                (Some(boot), false) => boot.clone(),
                (None, false) => format!("host {}", agent.host.id),
            };
            let number = known.iter().position(|other| other.as_ref() == Some(&name));
            numbers.push(number.unwrap_or(known.len()));
            if number.is_none() {
                known.push(Some(name));
            }
        }
        Self { numbers }
    }

    /// Agent 0 runs on the first of these machines, and so on; 0 is the one that conducts.
    #[cfg(test)]
    pub fn of_numbers(numbers: Vec<usize>) -> Self {
        Self { numbers }
    }

    /// Whether the agent runs on the machine that conducts.
    pub fn is_own(&self, agent: usize) -> bool {
        self.numbers[agent] == OWN
    }

    /// Whether both agents run on one machine.
    pub fn share(&self, one: usize, other: usize) -> bool {
        self.numbers[one] == self.numbers[other]
    }

    /// Hosts of the run that are one machine: the ids of each such group, in the order of their agents.
    pub fn shared(&self, agents: &[AgentPlan]) -> Vec<Vec<String>> {
        let machines = self.numbers.iter().max().map_or(0, |most| most + 1);
        let hosts_of = |machine| {
            let mut hosts: Vec<String> = Vec::new();
            for (agent, number) in agents.iter().zip(&self.numbers) {
                if *number == machine && !hosts.contains(&agent.host.id) {
                    hosts.push(agent.host.id.clone());
                }
            }
            hosts
        };
        (0..machines)
            .map(hosts_of)
            .filter(|hosts| hosts.len() > 1)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, PlanRequest};

    fn hello(boot_id: Option<&str>) -> AgentHello {
        AgentHello {
            protocol: 0,
            version: String::new(),
            git_commit: None,
            build_target: None,
            boot_id: boot_id.map(str::to_owned),
            network_namespace: None,
        }
    }

    #[test]
    fn hosts_that_are_one_kernel_are_one_machine() {
        let mut request = PlanRequest::default();
        let common = &mut request.common;
        common.connections = Some(8);
        common.load_via = ["ssh a", "ssh b", "ssh c"].map(str::to_owned).into();
        common.testee_via = vec!["ip netns exec x".into()];
        common.testee_host = vec!["10.0.0.2".into()];
        let agents = Plan::new(request).unwrap().agents();
        let own = boot_id();
        let hellos = [
            hello(own.as_deref()),
            hello(Some("k")),
            hello(None),
            hello(Some("k")),
        ];
        let machines = Machines::of(&agents, &hellos);
        if own.is_some() {
            assert!(machines.is_own(0));
        }
        assert!(!machines.is_own(1) && machines.share(1, 3) && !machines.share(1, 2));
        assert_eq!(machines.shared(&agents), [["load-host-1", "load-host-3"]]);
    }
}

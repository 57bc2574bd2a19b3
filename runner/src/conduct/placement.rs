//! Which CPUs the agents get: named ones, or chosen so that they do not disturb each other. What is chosen for the
//! machine that conducts is chosen here; agents of another choose there, each knowing of the others.

use super::machines::Machines;
use crate::host::{Topology, allowed_cpus, default_placement};
use crate::plan::{AgentPlan, PlacementKind, Plan, Start};
use crate::protocol::CpuWish;
use report::document::Role;
use std::collections::BTreeSet;

/// The wishes of all agents by their number, and what a reader of the result must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wishes {
    pub of_agents: Vec<CpuWish>,
    pub notes: Vec<String>,
}

/// Decides for `agents` of `plan`, which run on `machines`.
pub(super) fn wishes(plan: &Plan, agents: &[AgentPlan], machines: &Machines) -> Wishes {
    let allowed = allowed_cpus().unwrap_or_default();
    decide(plan, agents, machines, &Topology::detect(), &allowed)
}

fn decide(
    plan: &Plan,
    agents: &[AgentPlan],
    machines: &Machines,
    topology: &Topology,
    allowed: &BTreeSet<u32>,
) -> Wishes {
    let crowd = Crowd {
        plan,
        agents,
        machines,
    };
    let own = own_machine(&crowd, topology, allowed);
    Wishes {
        of_agents: (0..agents.len())
            .map(|agent| crowd.wish(agent, &own))
            .collect(),
        notes: own.notes,
    }
}

/// What is chosen for the machine that conducts.
struct Chosen {
    load: CpuWish,
    testee: CpuWish,
    notes: Vec<String>,
}

fn own_machine(crowd: &Crowd<'_>, topology: &Topology, allowed: &BTreeSet<u32>) -> Chosen {
    let plan = crowd.plan;
    let threads = |role| {
        let here =
            |agent: &usize| crowd.machines.is_own(*agent) && crowd.agents[*agent].role == role;
        crowd.threads((0..crowd.agents.len()).filter(here)) as usize
    };
    let (load_threads, testee_threads) = (threads(Role::Load), threads(Role::Testee));
    let nobody = load_threads + testee_threads == 0;
    if nobody || plan.placement == PlacementKind::Unpinned {
        return Chosen {
            load: CpuWish::Unpinned,
            testee: CpuWish::Unpinned,
            notes: Vec::new(),
        };
    }
    if plan.placement == PlacementKind::SameCore {
        let both = default_placement(topology, allowed, 0, load_threads.max(testee_threads));
        let cpus = listed(both.load_cpus);
        return Chosen {
            load: cpus.clone(),
            testee: cpus,
            notes: both.notes,
        };
    }
    // A side with named CPUs needs none; the other keeps off them as far as it can.
    let named = [crowd.named(Role::Load), crowd.named(Role::Testee)];
    let taken: BTreeSet<u32> = named.into_iter().flatten().flatten().copied().collect();
    let free: BTreeSet<u32> = allowed.difference(&taken).copied().collect();
    let usable = if free.is_empty() { allowed } else { &free };
    let unless_named = |named: Option<&Vec<u32>>, threads| match named {
        Some(_) => 0,
        None => threads,
    };
    let chosen = default_placement(
        topology,
        usable,
        unless_named(named[1], testee_threads),
        unless_named(named[0], load_threads),
    );
    Chosen {
        load: listed(chosen.load_cpus),
        testee: listed(chosen.testee_cpus),
        notes: chosen.notes,
    }
}

/// All agents of a round, and on which machines they are.
struct Crowd<'a> {
    plan: &'a Plan,
    agents: &'a [AgentPlan],
    machines: &'a Machines,
}

impl Crowd<'_> {
    /// The wish of an agent: agents of a side take turns on its CPUs, as threads do, so that each has
    /// its own as long as there are enough.
    fn wish(&self, agent: usize, own: &Chosen) -> CpuWish {
        let role = self.agents[agent].role;
        let before_of_side = self.threads(
            self.beside(agent)
                .filter(|other| *other < agent && self.agents[*other].role == role),
        );
        let cpus = match (self.named(role), self.machines.is_own(agent)) {
            (Some(cpus), _) => CpuWish::List(cpus.clone()),
            // What starts a rank may have given it CPUs of its own (Slurm does), also on this machine.
            (None, _) if matches!(self.agents[agent].host.start, Start::Rank(_)) => {
                return self.choice_elsewhere(agent, before_of_side);
            }
            (None, false) => return self.choice_elsewhere(agent, before_of_side),
            (None, true) if role == Role::Load => own.load.clone(),
            (None, true) => own.testee.clone(),
        };
        match cpus {
            CpuWish::List(mut cpus) => {
                let turn = before_of_side as usize % cpus.len().max(1);
                cpus.rotate_left(turn);
                CpuWish::List(cpus)
            }
            other => other,
        }
    }

    fn choice_elsewhere(&self, agent: usize, before_of_side: u32) -> CpuWish {
        let threads_of = |role| {
            self.threads(
                self.beside(agent)
                    .filter(move |other| self.agents[*other].role == role),
            )
        };
        let unnamed = |other: &usize| self.named(self.agents[*other].role).is_none();
        match self.plan.placement {
            PlacementKind::Unpinned => CpuWish::Unpinned,
            PlacementKind::SameCore => CpuWish::Choose {
                first: before_of_side,
                of: threads_of(Role::Load).max(threads_of(Role::Testee)),
            },
            PlacementKind::DifferentCores => CpuWish::Choose {
                first: self.threads(
                    self.beside(agent)
                        .filter(unnamed)
                        .filter(|other| *other < agent),
                ),
                of: self.threads(self.beside(agent).filter(unnamed)),
            },
        }
    }

    /// The agents of its machine, itself among them.
    fn beside(&self, agent: usize) -> impl Iterator<Item = usize> {
        (0..self.agents.len()).filter(move |other| self.machines.share(agent, *other))
    }

    fn threads(&self, agents: impl Iterator<Item = usize>) -> u32 {
        let testee = self.plan.testee().map_or(1, |testee| testee.threads);
        let of = |agent: usize| match self.agents[agent].role {
            Role::Load => self.plan.threads,
            Role::Testee => testee,
        };
        agents.map(of).sum()
    }

    /// The CPUs that a side was given by name, on each of its machines.
    fn named(&self, role: Role) -> Option<&Vec<u32>> {
        match role {
            Role::Load => self.plan.client_cpus.as_ref(),
            Role::Testee => self.plan.testee()?.cpus.as_ref(),
        }
    }
}

fn listed(cpus: Vec<u32>) -> CpuWish {
    if cpus.is_empty() {
        CpuWish::Unpinned
    } else {
        CpuWish::List(cpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::LogicalCpu;
    use crate::plan::PlanRequest;

    fn four_cores() -> Topology {
        let cpus = (0..4).map(|cpu| LogicalCpu {
            cpu,
            package: 0,
            core: i64::from(cpu),
            speed: 1,
        });
        Topology {
            cpus: cpus.collect(),
            cores_known: true,
        }
    }

    /// The wishes of every agent: those of the load, and those of the testee.
    fn of_agents(
        change: impl FnOnce(&mut PlanRequest),
        testee_here: bool,
    ) -> (Vec<CpuWish>, Vec<CpuWish>) {
        let mut request = PlanRequest::default();
        change(&mut request);
        let topology = four_cores();
        let plan = Plan::new(request).unwrap();
        let agents = plan.agents();
        let machine = |agent: &AgentPlan| match (agent.role, testee_here) {
            (Role::Testee, false) => 1,
            _ => 0,
        };
        let machines = Machines::of_numbers(agents.iter().map(machine).collect());
        let wishes = decide(&plan, &agents, &machines, &topology, &(0..4).collect());
        let of = |role| {
            let agents = agents.iter().zip(&wishes.of_agents);
            let side = agents.filter(move |(agent, _)| agent.role == role);
            side.map(|(_, wish)| wish.clone()).collect()
        };
        (of(Role::Load), of(Role::Testee))
    }

    fn decided(change: impl FnOnce(&mut PlanRequest), testee_here: bool) -> (CpuWish, CpuWish) {
        let (mut load, mut testee) = of_agents(change, testee_here);
        (load.remove(0), testee.remove(0))
    }

    #[test]
    fn agents_of_a_side_take_turns_on_its_cpus() {
        let two_and_two = |request: &mut PlanRequest| {
            request.common.connections = Some(8);
            (request.common.load_agents, request.common.testee_agents) = (Some(2), Some(2));
        };
        let (load, testee) = of_agents(two_and_two, true);
        let first = |wish: &CpuWish| match wish {
            CpuWish::List(cpus) => cpus[0],
            other => panic!("{other:?}"),
        };
        let mut cpus: Vec<u32> = load.iter().chain(&testee).map(first).collect();
        cpus.sort_unstable();
        assert_eq!(cpus, [0, 1, 2, 3], "each agent has its own");
        let named = |request: &mut PlanRequest| {
            (request.common.connections, request.common.threads) = (Some(8), Some(2));
            (request.common.load_agents, request.common.client_cpus) =
                (Some(3), Some("0-2".into()));
        };
        let (load, _) = of_agents(named, true);
        assert_eq!(load[1], CpuWish::List(vec![2, 0, 1]), "threads go around");
        assert_eq!(load[2], CpuWish::List(vec![1, 2, 0]));
        let elsewhere = |request: &mut PlanRequest| {
            two_and_two(request);
            request.common.testee_via = vec!["ssh b".into()];
            request.common.testee_host = vec!["10.0.0.2".into()];
        };
        let (_, testee) = of_agents(elsewhere, false);
        assert_eq!(testee[1], CpuWish::Choose { first: 1, of: 2 });
    }

    #[test]
    fn on_each_machine_agents_keep_off_each_other_and_know_of_no_other_machine() {
        let mut request = PlanRequest::default();
        let common = &mut request.common;
        common.connections = Some(8);
        common.load_via = ["ssh a", "ssh b", "ssh c"].map(str::to_owned).into();
        common.testee_via = vec!["ssh b".into()];
        common.testee_host = vec!["10.0.0.2".into()];
        common.load_agents = Some(4);
        let plan = Plan::new(request).unwrap();
        // The testee, then the loads on a, b, c and again a; c is this very machine.
        let machines = Machines::of_numbers(vec![1, 2, 1, 0, 2]);
        let wishes = decide(
            &plan,
            &plan.agents(),
            &machines,
            &four_cores(),
            &(0..4).collect(),
        );
        let choose = |first, of| CpuWish::Choose { first, of };
        assert_eq!(
            wishes.of_agents[..3],
            [choose(0, 2), choose(0, 2), choose(1, 2)]
        );
        assert_eq!(wishes.of_agents[4], choose(1, 2));
        assert!(
            matches!(wishes.of_agents[3], CpuWish::List(_)),
            "{wishes:?}"
        );
    }

    #[test]
    fn sides_get_different_cores_by_default() {
        let (load, testee) = decided(|_| {}, true);
        assert_eq!(
            (load, testee),
            (CpuWish::List(vec![2]), CpuWish::List(vec![1]))
        );
    }

    #[test]
    fn same_core_and_unpinned_are_asked_for_by_name() {
        let (load, testee) = decided(|r| r.common.placement = Some(PlacementKind::SameCore), true);
        assert_eq!(load, testee);
        let (load, testee) = decided(|r| r.common.placement = Some(PlacementKind::Unpinned), true);
        assert_eq!((load, testee), (CpuWish::Unpinned, CpuWish::Unpinned));
    }

    #[test]
    fn the_side_without_named_cpus_keeps_off_the_others() {
        let (load, testee) = decided(|r| r.common.client_cpus = Some("1".into()), true);
        assert_eq!(load, CpuWish::List(vec![1]));
        assert_eq!(testee, CpuWish::List(vec![2]));
    }

    #[test]
    fn a_testee_elsewhere_chooses_for_itself() {
        let (load, testee) = decided(
            |r| {
                r.common.testee_via = vec!["ssh b".into()];
                r.common.testee_host = vec!["10.0.0.2".into()];
            },
            false,
        );
        assert_eq!(
            (load, testee),
            (CpuWish::List(vec![1]), CpuWish::Choose { first: 0, of: 1 })
        );
    }
}

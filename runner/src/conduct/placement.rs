//! Which CPUs the two sides get: named ones, or chosen so that the sides do not disturb each other.

use crate::host::{Topology, allowed_cpus, default_placement};
use crate::plan::{AgentPlan, PlacementKind, Plan};
use crate::protocol::CpuWish;
use report::document::Role;
use std::collections::BTreeSet;

/// The wishes of all agents, and what a reader of the result must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wishes {
    load: CpuWish,
    testee: CpuWish,
    pub notes: Vec<String>,
}

impl Wishes {
    /// The wish of an agent: agents of a side take turns on its CPUs, as threads do, so that each has
    /// its own as long as there are enough.
    pub fn of(&self, plan: &Plan, agent: &AgentPlan) -> CpuWish {
        let (side, threads) = match agent.role {
            Role::Load => (&self.load, plan.threads),
            Role::Testee => (
                &self.testee,
                plan.testee().map_or(1, |testee| testee.threads),
            ),
        };
        let first = agent.number * threads;
        match side {
            CpuWish::Unpinned => CpuWish::Unpinned,
            CpuWish::List(cpus) => {
                let mut cpus = cpus.clone();
                let turn = first as usize % cpus.len().max(1);
                cpus.rotate_left(turn);
                CpuWish::List(cpus)
            }
            CpuWish::Choose { .. } => CpuWish::Choose {
                first,
                of: agent.of * threads,
            },
        }
    }
}

/// Decides for `plan`; `testee_here`: the own testee runs on the load's machine.
pub(super) fn wishes(plan: &Plan, testee_here: bool) -> Wishes {
    let allowed = allowed_cpus().unwrap_or_default();
    decide(plan, testee_here, &Topology::detect(), &allowed)
}

fn decide(plan: &Plan, testee_here: bool, topology: &Topology, allowed: &BTreeSet<u32>) -> Wishes {
    let load_named = plan.client_cpus.clone().map(CpuWish::List);
    let testee_cpus = plan.testee().and_then(|testee| testee.cpus.clone());
    let testee_named = testee_cpus.clone().map(CpuWish::List);
    let load_threads = (plan.load_agents * plan.threads) as usize;
    let testee_threads = plan
        .testee()
        .map_or(0, |testee| (testee.agents * testee.threads) as usize);
    let (load, testee, notes) = match plan.placement {
        PlacementKind::Unpinned => (CpuWish::Unpinned, CpuWish::Unpinned, Vec::new()),
        PlacementKind::SameCore => {
            let both = default_placement(topology, allowed, 0, load_threads.max(testee_threads));
            let cpus = listed(both.load_cpus);
            (cpus.clone(), cpus, both.notes)
        }
        PlacementKind::DifferentCores => {
            // A side with named CPUs needs none; the other keeps off them as far as it can.
            let named = [&plan.client_cpus, &testee_cpus];
            let taken: BTreeSet<u32> = named.into_iter().flatten().flatten().copied().collect();
            let free: BTreeSet<u32> = allowed.difference(&taken).copied().collect();
            let usable = if free.is_empty() { allowed } else { &free };
            let testee_share = if testee_here && testee_named.is_none() {
                testee_threads
            } else {
                0
            };
            let load_share = if load_named.is_none() {
                load_threads
            } else {
                0
            };
            let chosen = default_placement(topology, usable, testee_share, load_share);
            let testee = if testee_here {
                listed(chosen.testee_cpus)
            } else {
                CpuWish::Choose { first: 0, of: 0 }
            };
            (listed(chosen.load_cpus), testee, chosen.notes)
        }
    };
    Wishes {
        load: load_named.unwrap_or(load),
        testee: testee_named.unwrap_or(testee),
        notes,
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

    /// The wishes of every agent: those of the load, and those of the testee.
    fn of_agents(
        change: impl FnOnce(&mut PlanRequest),
        testee_here: bool,
    ) -> (Vec<CpuWish>, Vec<CpuWish>) {
        let mut request = PlanRequest::default();
        change(&mut request);
        let cpus = (0..4).map(|cpu| LogicalCpu {
            cpu,
            package: 0,
            core: i64::from(cpu),
            speed: 1,
        });
        let topology = Topology {
            cpus: cpus.collect(),
            cores_known: true,
        };
        let plan = Plan::new(request).unwrap();
        let wishes = decide(&plan, testee_here, &topology, &(0..4).collect());
        let of = |role| {
            let agents = plan
                .agents()
                .into_iter()
                .filter(move |agent| agent.role == role);
            agents.map(|agent| wishes.of(&plan, &agent)).collect()
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
            request.common.testee_via = Some("ssh b".into());
            request.common.testee_host = Some("10.0.0.2".into());
        };
        let (_, testee) = of_agents(elsewhere, false);
        assert_eq!(testee[1], CpuWish::Choose { first: 1, of: 2 });
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
                r.common.testee_via = Some("ssh b".into());
                r.common.testee_host = Some("10.0.0.2".into());
            },
            false,
        );
        assert_eq!(
            (load, testee),
            (CpuWish::List(vec![1]), CpuWish::Choose { first: 0, of: 1 })
        );
    }
}

//! Which CPUs the two sides get: named ones, or chosen so that the sides do not disturb each other.

use crate::host::{Topology, allowed_cpus, default_placement};
use crate::plan::{PlacementKind, Plan};
use crate::wire::CpuWish;
use std::collections::BTreeSet;

/// The wishes of both sides, and what a reader of the result must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wishes {
    pub load: CpuWish,
    pub testee: CpuWish,
    pub notes: Vec<String>,
}

/// Decides for `plan`; `testee_here`: the own testee runs on the load's machine.
pub(super) fn wishes(plan: &Plan, testee_here: bool) -> Wishes {
    let allowed = allowed_cpus().unwrap_or_default();
    decide(plan, testee_here, &Topology::detect(), &allowed)
}

fn decide(plan: &Plan, testee_here: bool, topology: &Topology, allowed: &BTreeSet<u32>) -> Wishes {
    let load_named = plan.client_cpus.clone().map(CpuWish::List);
    let testee_named = plan
        .testee()
        .and_then(|testee| testee.cpus.clone())
        .map(CpuWish::List);
    let load_threads = plan.threads as usize;
    let testee_threads = plan.testee().map_or(0, |testee| testee.threads as usize);
    let (load, testee, notes) = match plan.placement {
        PlacementKind::Unpinned => (CpuWish::Unpinned, CpuWish::Unpinned, Vec::new()),
        PlacementKind::SameCore => {
            let both = default_placement(topology, allowed, 0, load_threads.max(testee_threads));
            let cpus = listed(both.load_cpus);
            (cpus.clone(), cpus, both.notes)
        }
        PlacementKind::DifferentCores => {
            // A side with named CPUs needs none; the other keeps off them as far as it can.
            let taken: BTreeSet<u32> = [
                &plan.client_cpus,
                &plan.testee().and_then(|t| t.cpus.clone()),
            ]
            .into_iter()
            .flatten()
            .flatten()
            .copied()
            .collect();
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
                CpuWish::Choose
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

    fn decided(change: impl FnOnce(&mut PlanRequest), testee_here: bool) -> (CpuWish, CpuWish) {
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
        (wishes.load, wishes.testee)
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
        let (load, testee) = decided(|r| r.placement = Some(PlacementKind::SameCore), true);
        assert_eq!(load, testee);
        let (load, testee) = decided(|r| r.placement = Some(PlacementKind::Unpinned), true);
        assert_eq!((load, testee), (CpuWish::Unpinned, CpuWish::Unpinned));
    }

    #[test]
    fn the_side_without_named_cpus_keeps_off_the_others() {
        let (load, testee) = decided(|r| r.client_cpus = Some("1".into()), true);
        assert_eq!(load, CpuWish::List(vec![1]));
        assert_eq!(testee, CpuWish::List(vec![2]));
    }

    #[test]
    fn a_testee_elsewhere_chooses_for_itself() {
        let (load, testee) = decided(
            |r| {
                r.testee_via = Some("ssh b".into());
                r.testee_host = Some("10.0.0.2".into());
            },
            false,
        );
        assert_eq!((load, testee), (CpuWish::List(vec![1]), CpuWish::Choose));
    }
}

//! Which CPUs the two sides of a measurement get when nobody chose.
//!
//! The rule: the testee and the load generator never share a physical core as long as there are two; both stay
//! in one package, because crossing to another socket is a different measurement; slow cores of a hybrid
//! processor and the core of CPU 0, where most interrupts land, are taken last. What could not be kept is said
//! in a note and never left silent.

use std::collections::{BTreeMap, BTreeSet};

use super::topology::{LogicalCpu, Topology};

/// CPUs for the threads of both sides, thread i on the i-th entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// One CPU per testee thread; empty means unpinned.
    pub testee_cpus: Vec<u32>,
    /// One CPU per load thread; empty means unpinned.
    pub load_cpus: Vec<u32>,
    /// What the reader of a result must know: shared cores, crossed packages, CPUs shared by threads.
    pub notes: Vec<String>,
}

/// One physical core: its usable CPUs in order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Core {
    package: i64,
    slow: bool,
    cpus: Vec<u32>,
}

/// Places `testee_threads` and `load_threads` on the CPUs of `topology` that are in `allowed`.
///
/// A pure function; [`Topology::detect`] and [`super::topology::allowed_cpus`] give the arguments on a live
/// machine. An empty `allowed` means that the allowed set is unknown, and all CPUs count. Zero threads (a
/// side on another host) get no CPUs.
#[must_use]
pub fn default_placement(
    topology: &Topology,
    allowed: &BTreeSet<u32>,
    testee_threads: usize,
    load_threads: usize,
) -> Placement {
    let cores = ordered_cores(topology, allowed, testee_threads + load_threads);
    if cores.is_empty() {
        let note = "no CPU could be told apart here, so all threads are unpinned".to_owned();
        return Placement {
            notes: vec![note],
            ..Placement::default()
        };
    }
    let mut placement = if cores.len() > 1 {
        let (testee, load) = split(&cores, testee_threads, load_threads);
        Placement {
            testee_cpus: fill(testee, testee_threads),
            load_cpus: fill(load, load_threads),
            notes: Vec::new(),
        }
    } else {
        on_one_core(&cores[0], testee_threads, load_threads)
    };
    placement.notes.extend(shortage_notes(&placement, &cores));
    placement
}

/// All usable cores, the best first.
fn ordered_cores(topology: &Topology, allowed: &BTreeSet<u32>, wanted: usize) -> Vec<Core> {
    let mut cores = usable_cores(topology, allowed);
    let mut fast_cores_in: BTreeMap<i64, usize> = BTreeMap::new();
    for core in &cores {
        *fast_cores_in.entry(core.package).or_default() += usize::from(!core.slow);
    }
    let holds_cpu_0 = |core: &Core| core.cpus.contains(&0);
    // A package that can hold everything wins over one that is merely numbered lower.
    let room = |core: &Core| fast_cores_in[&core.package].min(wanted);
    cores.sort_by_key(|core| {
        (
            core.slow,
            usize::MAX - room(core),
            core.package,
            holds_cpu_0(core),
            core.cpus[0],
        )
    });
    cores
}

fn usable_cores(topology: &Topology, allowed: &BTreeSet<u32>) -> Vec<Core> {
    let usable = |cpu: &&LogicalCpu| allowed.is_empty() || allowed.contains(&cpu.cpu);
    let fastest = topology
        .cpus
        .iter()
        .filter(usable)
        .map(|cpu| cpu.speed)
        .max()
        .unwrap_or(0);
    let mut cores: BTreeMap<(i64, i64), Core> = BTreeMap::new();
    for cpu in topology.cpus.iter().filter(usable) {
        // Below 3/4 of the fastest is another kind of core; within a kind turbo steps differ by less.
        let slow = cpu.speed < fastest / 4 * 3;
        let core = cores
            .entry((cpu.package, cpu.core))
            .or_insert_with(|| Core {
                package: cpu.package,
                slow,
                cpus: Vec::new(),
            });
        core.cpus.push(cpu.cpu);
    }
    cores
        .values_mut()
        .for_each(|core| core.cpus.sort_unstable());
    cores.into_values().collect()
}

/// Cuts the units in two: each side gets one per thread, or its share when they are too few (both at least one).
fn split<T>(units: &[T], testee_threads: usize, load_threads: usize) -> (&[T], &[T]) {
    let threads = testee_threads + load_threads;
    if testee_threads == 0 || load_threads == 0 {
        return (units, units);
    }
    if threads <= units.len() {
        return (&units[..testee_threads], &units[testee_threads..threads]);
    }
    let share = (units.len() * testee_threads + threads / 2) / threads;
    units.split_at(share.clamp(1, units.len() - 1))
}

/// One CPU per thread: first one of every core, then their siblings, then around again.
fn fill(cores: &[Core], threads: usize) -> Vec<u32> {
    let widest = cores.iter().map(|core| core.cpus.len()).max().unwrap_or(0);
    let breadth_first: Vec<u32> = (0..widest)
        .flat_map(|rank| {
            cores
                .iter()
                .filter_map(move |core| core.cpus.get(rank).copied())
        })
        .collect();
    breadth_first
        .iter()
        .copied()
        .cycle()
        .take(threads)
        .collect()
}

fn on_one_core(core: &Core, testee_threads: usize, load_threads: usize) -> Placement {
    let each: Vec<Core> = core
        .cpus
        .iter()
        .map(|&cpu| Core {
            cpus: vec![cpu],
            ..core.clone()
        })
        .collect();
    if let [only] = each.as_slice() {
        let only = std::slice::from_ref(only);
        return Placement {
            testee_cpus: fill(only, testee_threads),
            load_cpus: fill(only, load_threads),
            notes: Vec::new(),
        };
    }
    let (testee, load) = split(&each, testee_threads, load_threads);
    Placement {
        testee_cpus: fill(testee, testee_threads),
        load_cpus: fill(load, load_threads),
        notes: Vec::new(),
    }
}

fn shortage_notes(placement: &Placement, cores: &[Core]) -> Vec<String> {
    let testee: BTreeSet<u32> = placement.testee_cpus.iter().copied().collect();
    let load: BTreeSet<u32> = placement.load_cpus.iter().copied().collect();
    let mut notes = Vec::new();
    let usable: usize = cores.iter().map(|core| core.cpus.len()).sum();
    let threads = placement.testee_cpus.len() + placement.load_cpus.len();
    if !testee.is_disjoint(&load) {
        notes.push(format!(
            "testee and load share CPU {}: only {usable} CPU is usable here, so each slows the other",
            testee.intersection(&load).next().copied().unwrap_or_default()
        ));
    } else if cores
        .iter()
        .any(|core| touches(core, &testee) && touches(core, &load))
    {
        notes.push("testee and load run on sibling threads of one physical core, because no second core is \
                    usable here: each slows the other"
            .to_owned());
    }
    if threads > testee.union(&load).count() && (testee.is_disjoint(&load) || threads > 2) {
        notes.push(format!(
            "{threads} threads run on {} CPUs: some take turns",
            testee.union(&load).count()
        ));
    }
    notes.extend(mixed_notes(cores, &testee.union(&load).copied().collect()));
    notes
}

fn mixed_notes(cores: &[Core], used: &BTreeSet<u32>) -> Vec<String> {
    let used: Vec<&Core> = cores.iter().filter(|core| touches(core, used)).collect();
    let mut notes = Vec::new();
    if used.iter().any(|core| core.package != used[0].package) {
        notes.push(
            "the CPUs in use belong to more than one package, so traffic crosses sockets"
                .to_owned(),
        );
    }
    if used.iter().any(|core| core.slow != used[0].slow) {
        notes.push("the CPUs in use are of different kinds: fast and slow cores".to_owned());
    }
    notes
}

fn touches(core: &Core, cpus: &BTreeSet<u32>) -> bool {
    core.cpus.iter().any(|cpu| cpus.contains(cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cores` physical cores with `smt` threads each, numbered as Intel does: siblings are `cores` apart.
    fn machine(cores: u32, smt: u32) -> Topology {
        let cpus = (0..cores * smt)
            .map(|cpu| LogicalCpu {
                cpu,
                package: 0,
                core: i64::from(cpu % cores),
                speed: 1000,
            })
            .collect();
        Topology {
            cpus,
            cores_known: true,
        }
    }

    fn place(topology: &Topology, allowed: &[u32], testee: usize, load: usize) -> Placement {
        default_placement(topology, &allowed.iter().copied().collect(), testee, load)
    }

    #[test]
    fn one_cpu_is_shared_and_said() {
        let placement = place(&machine(1, 1), &[0], 1, 1);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[0][..], &[0][..])
        );
        assert_eq!(placement.notes.len(), 1, "{:?}", placement.notes);
        assert!(placement.notes[0].contains("share CPU 0"));
    }

    #[test]
    fn two_cpus_are_one_per_side_without_a_note() {
        let placement = place(&machine(2, 1), &[0, 1], 1, 1);
        assert_ne!(placement.testee_cpus, placement.load_cpus);
        assert!(placement.notes.is_empty(), "{:?}", placement.notes);
    }

    #[test]
    fn smt_machine_uses_two_physical_cores_and_spares_cpu_0() {
        let placement = place(&machine(4, 2), &[], 1, 1);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[1][..], &[2][..])
        );
        assert!(placement.notes.is_empty());
    }

    #[test]
    fn siblings_only_are_used_and_said() {
        // 4 cores of 2 threads, and the cpuset leaves both threads of core 1.
        let placement = place(&machine(4, 2), &[1, 5], 1, 1);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[1][..], &[5][..])
        );
        assert!(
            placement.notes[0].contains("sibling threads"),
            "{:?}",
            placement.notes
        );
    }

    #[test]
    fn a_restricted_cpuset_is_kept() {
        let placement = place(&machine(8, 1), &[3, 6], 1, 1);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[3][..], &[6][..])
        );
        let placement = place(&machine(4, 2), &[2, 6, 7], 1, 1);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[2][..], &[7][..])
        );
        assert!(placement.notes.is_empty());
    }

    #[test]
    fn too_many_threads_stay_on_their_sides_cores() {
        let placement = place(&machine(2, 2), &[], 2, 2);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[1, 3][..], &[0, 2][..])
        );
        assert!(placement.notes.is_empty(), "{:?}", placement.notes);
        let placement = place(&machine(2, 1), &[], 1, 3);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[1][..], &[0, 0, 0][..])
        );
        assert_eq!(
            placement.notes,
            ["4 threads run on 2 CPUs: some take turns"]
        );
    }

    #[test]
    fn a_side_elsewhere_leaves_all_cores_to_the_other() {
        let placement = place(&machine(2, 1), &[], 0, 2);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[][..], &[1, 0][..])
        );
        assert!(placement.notes.is_empty());
    }

    #[test]
    fn both_sides_stay_in_one_package() {
        let cpus = (0..4).map(|cpu| LogicalCpu {
            cpu,
            package: i64::from(cpu % 2),
            core: i64::from(cpu / 2),
            speed: 0,
        });
        let topology = Topology {
            cpus: cpus.collect(),
            cores_known: true,
        };
        let placement = place(&topology, &[], 1, 1);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[2][..], &[0][..])
        );
        // The cpuset leaves package 0 one core and package 1 two.
        let placement = place(&topology, &[0, 1, 3], 1, 1);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[1][..], &[3][..])
        );
        let placement = place(&topology, &[0, 1], 1, 1);
        assert!(
            placement.notes[0].contains("more than one package"),
            "{:?}",
            placement.notes
        );
    }

    #[test]
    fn slow_cores_come_last() {
        let cpus = (0..4).map(|cpu| LogicalCpu {
            cpu,
            package: 0,
            core: i64::from(cpu),
            speed: if cpu < 2 { 400 } else { 1024 },
        });
        let topology = Topology {
            cpus: cpus.collect(),
            cores_known: true,
        };
        let placement = place(&topology, &[], 1, 1);
        assert_eq!(
            (&placement.testee_cpus[..], &placement.load_cpus[..]),
            (&[2][..], &[3][..])
        );
        let placement = place(&topology, &[0, 2], 1, 1);
        assert!(
            placement.notes[0].contains("different kinds"),
            "{:?}",
            placement.notes
        );
    }

    #[test]
    fn nothing_known_is_unpinned_and_said() {
        let placement = place(&Topology::default(), &[], 1, 1);
        assert!(placement.testee_cpus.is_empty() && placement.load_cpus.is_empty());
        assert!(placement.notes[0].contains("unpinned"));
    }

    #[test]
    fn every_thread_gets_a_usable_cpu_whatever_the_numbers() {
        for (cores, smt) in [(1, 1), (1, 2), (2, 1), (3, 2), (16, 2)] {
            for (testee, load) in [(0, 1), (1, 1), (1, 7), (5, 2), (40, 40)] {
                let placement = place(&machine(cores, smt), &[], testee, load);
                assert_eq!(
                    (placement.testee_cpus.len(), placement.load_cpus.len()),
                    (testee, load)
                );
                let shared = placement
                    .testee_cpus
                    .iter()
                    .any(|cpu| placement.load_cpus.contains(cpu));
                assert_eq!(
                    shared,
                    cores * smt == 1 && testee * load > 0,
                    "{cores}x{smt} {testee}+{load}"
                );
            }
        }
    }
}

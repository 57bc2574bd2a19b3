//! The CPUs of this host: packages, physical cores, their threads, and which of them this process may use.

use std::collections::BTreeSet;
use std::path::Path;

use super::cpu_list::parse_cpu_list;
use super::files;

const SYS_CPU: &str = "/sys/devices/system/cpu";

/// One CPU as the scheduler counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalCpu {
    /// The number that pinning uses.
    pub cpu: u32,
    /// `topology/physical_package_id`; -1 where the platform does not say.
    pub package: i64,
    /// Unique within the package: CPUs that share it are threads of one physical core.
    pub core: i64,
    /// How fast the core is in comparison with others: `cpu_capacity`, else `cpufreq/cpuinfo_max_freq` in
    /// kHz, else 0. Only for comparing cores of one host.
    pub speed: u64,
}

/// The online CPUs of a host, in order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// All online CPUs.
    pub cpus: Vec<LogicalCpu>,
    /// False where the system does not show which CPUs share a core, and each counts as one.
    pub cores_known: bool,
}

impl Topology {
    /// Reads the topology of this host.
    ///
    /// Where it is not shown (other systems, bare containers) every CPU that this process may be pinned to
    /// counts as a core of its own.
    #[must_use]
    pub fn detect() -> Self {
        Self::read(Path::new(SYS_CPU)).unwrap_or_else(|_| Self::from_affinity())
    }

    /// Reads a tree that looks like `/sys/devices/system/cpu`.
    fn read(root: &Path) -> Result<Self, String> {
        let online = files::text(root.join("online"))?;
        let online = parse_cpu_list(&online).map_err(|error| error.to_string())?;
        Ok(Self {
            cpus: online.into_iter().map(|cpu| read_cpu(root, cpu)).collect(),
            cores_known: true,
        })
    }

    fn from_affinity() -> Self {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let mut cpus: Vec<LogicalCpu> = ids
            .into_iter()
            .filter_map(|id| u32::try_from(id.id).ok())
            .map(|cpu| LogicalCpu {
                cpu,
                package: 0,
                core: i64::from(cpu),
                speed: 0,
            })
            .collect();
        cpus.sort_by_key(|cpu| cpu.cpu);
        Self {
            cpus,
            cores_known: false,
        }
    }

    /// How many physical cores the online CPUs belong to.
    #[must_use]
    pub fn physical_cores(&self) -> usize {
        self.cpus
            .iter()
            .map(|cpu| (cpu.package, cpu.core))
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// How many packages (sockets) the online CPUs belong to.
    #[must_use]
    pub fn packages(&self) -> usize {
        self.cpus
            .iter()
            .map(|cpu| cpu.package)
            .collect::<BTreeSet<_>>()
            .len()
    }
}

/// The CPUs that this process may run on (`Cpus_allowed_list`, which a cpuset or taskset narrows).
///
/// # Errors
/// The reason, in one line, when `/proc/self/status` is not there or has no such field.
pub fn allowed_cpus() -> Result<BTreeSet<u32>, String> {
    parse_allowed(&files::text("/proc/self/status")?)
}

fn parse_allowed(status: &str) -> Result<BTreeSet<u32>, String> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .ok_or("/proc/self/status has no Cpus_allowed_list")?;
    parse_cpu_list(list).map_err(|error| error.to_string())
}

fn read_cpu(root: &Path, cpu: u32) -> LogicalCpu {
    let directory = root.join(format!("cpu{cpu}"));
    let package = files::number(directory.join("topology/physical_package_id")).unwrap_or(0);
    let speed = files::number(directory.join("cpu_capacity"))
        .or_else(|_| files::number(directory.join("cpufreq/cpuinfo_max_freq")))
        .unwrap_or(0);
    LogicalCpu {
        cpu,
        package,
        core: core_of(&directory, cpu),
        speed,
    }
}

/// The first thread of a core names it. `core_id` repeats across dies and clusters on some machines, so the
/// list of siblings is the better witness; it is called `core_cpus_list` since Linux 5.3.
fn core_of(directory: &Path, cpu: u32) -> i64 {
    let siblings = ["topology/core_cpus_list", "topology/thread_siblings_list"]
        .iter()
        .find_map(|name| parse_cpu_list(&files::text(directory.join(name)).ok()?).ok());
    let first = siblings.and_then(|siblings| siblings.first().copied());
    i64::from(first.unwrap_or(cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_list_is_found_in_status() {
        let status = "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,6\nMems_allowed:\t1\n";
        assert_eq!(parse_allowed(status), Ok([0, 1, 2, 3, 6].into()));
        assert!(parse_allowed("Name:\tx\n").is_err());
    }

    #[test]
    fn this_host_has_cpus() {
        let topology = Topology::detect();
        assert!(!topology.cpus.is_empty());
        assert!((1..=topology.cpus.len()).contains(&topology.physical_cores()));
        assert!(topology.packages() >= 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_tree_of_two_cores_with_two_threads_is_understood() {
        let root = std::env::temp_dir().join(format!("linerate-topology-{}", std::process::id()));
        for (cpu, siblings) in [(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")] {
            let directory = root.join(format!("cpu{cpu}/topology"));
            std::fs::create_dir_all(&directory).expect("a directory of our own");
            std::fs::write(
                directory.join("thread_siblings_list"),
                format!("{siblings}\n"),
            )
            .expect("written");
            std::fs::write(directory.join("physical_package_id"), "0\n").expect("written");
        }
        std::fs::write(root.join("online"), "0-3\n").expect("written");
        let topology = Topology::read(&root);
        std::fs::remove_dir_all(&root).expect("removed");
        let topology = topology.expect("a topology");
        assert_eq!((topology.cpus.len(), topology.physical_cores()), (4, 2));
        assert_eq!(
            topology.cpus[3],
            LogicalCpu {
                cpu: 3,
                package: 0,
                core: 1,
                speed: 0
            }
        );
    }
}

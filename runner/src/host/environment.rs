//! The machine as it is when the agent starts: what a reader needs to compare a result with another.
//!
//! The host's name is not reported: results are published, and names of machines are nobody's business.

use std::collections::BTreeSet;

use report::document::{Host, IoUringState, Limit, LimitValue, Limits};

use super::cpu_list::format_cpu_list;
use super::interface::{self, Traffic};
use super::reasons::Reasons;
use super::topology::{Topology, allowed_cpus};
use super::{cgroup, conntrack, files, machine, netfilter};

/// Describes this host. Never fails; call it after limits were raised and before anything is measured (it
/// reads some hundred files and starts `tc`, which takes some 10 ms, and at most about 1 s).
///
/// `id` and `roles` are left empty: the conductor gives them. `name`, `clock_offset` and `profile` are null with
/// a reason; whoever sets one removes its reason. `facts` are those without a field of their own, and `missing`
/// the sysctls and facts that could not be read: a missing key is a finding too.
///
/// `io_uring` is the engine's probe: what it granted, or the call that failed and the system's answer.
#[must_use]
pub fn describe(traffic: Traffic, io_uring: Result<(), String>) -> Host {
    let mut host = describe_machine();
    add_interface(&mut host, traffic);
    host.io_uring = Some(io_uring_state(io_uring));
    add_sysctls(&mut host);
    add_facts(&mut host);
    host
}

fn describe_machine() -> Host {
    let topology = Topology::detect();
    let mut reasons = Reasons::default();
    let name = reasons.known(
        "name",
        Err("not recorded, so that results can be published".to_owned()),
    );
    let clock_offset = reasons.known(
        "clock_offset",
        Err("not measured by the agent itself".to_owned()),
    );
    let profile = reasons.known("profile", Err("no profile was asked for".to_owned()));
    Host {
        name,
        clock_offset,
        profile,
        kernel: reasons.known("kernel", machine::kernel()),
        os: reasons.known("os", machine::os()),
        architecture: Some(std::env::consts::ARCH.to_owned()),
        cpu_model: reasons.known("cpu_model", machine::cpu_model()),
        cpu_count: reasons.known("cpu_count", cpu_count(&topology)),
        physical_cores: reasons.known("physical_cores", physical_cores(&topology)),
        governor: reasons.known("governor", machine::governors()),
        clocksource: reasons.known("clocksource", machine::clocksource()),
        mitigations: machine::mitigations(),
        congestion_control: reasons.known(
            "congestion_control",
            sysctl("net.ipv4.tcp_congestion_control"),
        ),
        limits: reasons.known("limits", limits()),
        hypervisor: reasons.known("hypervisor", machine::hypervisor()),
        unknown: reasons.into_unknown(),
        ..Host::default()
    }
}

fn cpu_count(topology: &Topology) -> Result<u32, String> {
    match u32::try_from(topology.cpus.len()) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("the CPUs could not be counted here".to_owned()),
    }
}

fn physical_cores(topology: &Topology) -> Result<u32, String> {
    if !topology.cores_known {
        return Err("which CPUs share a core is not shown here".to_owned());
    }
    u32::try_from(topology.physical_cores()).map_err(|_| "too many cores".to_owned())
}

fn sysctl(key: &str) -> Result<String, String> {
    sysctl_profiles::read(key).map_err(|error| error.to_string())
}

fn add_interface(host: &mut Host, traffic: Traffic) {
    let mut reasons = Reasons::default();
    if let Some((interface, facts)) = reasons.known("interface", interface::used_by(traffic)) {
        host.interface = Some(interface);
        host.facts.extend(facts);
    }
    if let Some(answer) = interface::unreachable(traffic) {
        host.facts
            .insert("interface.unreachable".to_owned(), answer);
    }
    host.unknown.extend(reasons.into_unknown());
}

fn io_uring_state(probe: Result<(), String>) -> IoUringState {
    let mut reasons = Reasons::default();
    let disabled = sysctl("kernel.io_uring_disabled").and_then(|text| {
        text.parse()
            .map_err(|_| format!("`{text}` is not a number"))
    });
    IoUringState {
        available: probe.is_ok(),
        disabled_sysctl: reasons.known("disabled_sysctl", disabled),
        probe: probe.err().unwrap_or_else(|| "ok".to_owned()),
        unknown: reasons.into_unknown(),
    }
}

fn add_sysctls(host: &mut Host) {
    for (key, value) in sysctl_profiles::read_recorded() {
        match value {
            Ok(value) => host.sysctls.insert(key.to_owned(), value),
            Err(error) => host.missing.insert(key.to_owned(), error.to_string()),
        };
    }
}

fn add_facts(host: &mut Host) {
    let facts: [(&str, Result<String, String>); 16] = [
        ("kernel.version", files::text("/proc/sys/kernel/version")),
        ("memory.total_bytes", machine::memory_total_bytes()),
        (
            "memory.transparent_hugepages",
            machine::transparent_hugepages(),
        ),
        (
            "cpu.packages",
            Ok(Topology::detect().packages().to_string()),
        ),
        (
            "cpu.smt",
            files::text("/sys/devices/system/cpu/smt/control"),
        ),
        (
            "cpu.allowed",
            allowed_cpus().map(|cpus| format_cpu_list(&cpus)),
        ),
        (
            "cpu.isolated",
            files::text("/sys/devices/system/cpu/isolated"),
        ),
        (
            "cpu.idle_driver",
            files::text("/sys/devices/system/cpu/cpuidle/current_driver"),
        ),
        ("cpu.turbo", machine::turbo()),
        ("clocksource.available", machine::clocksources_available()),
        ("cgroup.cpu_quota", cgroup::cpu_quota()),
        ("seccomp.mode", machine::seccomp_mode()),
        ("netfilter.conntrack", conntrack::state()),
        ("netfilter.hooks", netfilter::hooks()),
        ("tcp.time_wait_sockets", machine::time_wait_sockets()),
        ("audit.daemon", machine::audit_daemon()),
    ];
    for (name, value) in facts {
        match value {
            Ok(value) => host.facts.insert(name.to_owned(), value),
            Err(reason) => host.missing.insert(name.to_owned(), reason),
        };
    }
}

/// What matters is what linerate has when it measures, also where `doctor` asks, or before an agent raises it
/// for its connections. Raising again what is raised already changes nothing.
fn limits() -> Result<Limits, String> {
    let raised = descriptor_limits();
    // Where /proc does not show limits the raised one is all there is.
    files::text("/proc/self/limits").map_or(raised, |text| parse_limits(&text))
}

fn descriptor_limits() -> Result<Limits, String> {
    let limit =
        engine::os::raise_descriptor_limit().map_err(|error| format!("getrlimit: {error}"))?;
    let nofile = Limit {
        soft: LimitValue::Limited(limit.soft),
        hard: LimitValue::Limited(limit.hard),
    };
    Ok(Limits {
        nofile,
        memlock_bytes: None,
    })
}

fn parse_limits(text: &str) -> Result<Limits, String> {
    let nofile =
        limit(text, "Max open files").ok_or("/proc/self/limits shows no limit of open files")?;
    Ok(Limits {
        nofile,
        memlock_bytes: limit(text, "Max locked memory"),
    })
}

fn limit(text: &str, name: &str) -> Option<Limit> {
    let mut words = text
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace();
    let mut next = || match words.next()? {
        "unlimited" => Some(LimitValue::UNLIMITED),
        number => number.parse().ok().map(LimitValue::Limited),
    };
    Some(Limit {
        soft: next()?,
        hard: next()?,
    })
}

/// Values that differ between CPUs, each once.
pub(super) fn distinct(values: impl IntoIterator<Item = String>) -> Option<String> {
    let values: BTreeSet<String> = values.into_iter().collect();
    (!values.is_empty()).then(|| values.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_or_unlimited() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max open files            1024                 524288               files     \n\
            Max locked memory         8388608              unlimited            bytes     \n";
        let limits = parse_limits(text).expect("limits");
        assert_eq!(
            (limits.nofile.soft, limits.nofile.hard),
            (LimitValue::Limited(1024), LimitValue::Limited(524_288))
        );
        let memlock = limits.memlock_bytes.expect("shown");
        assert_eq!(
            (memlock.soft, memlock.hard),
            (LimitValue::Limited(8_388_608), LimitValue::UNLIMITED)
        );
        assert!(parse_limits("").is_err());
        assert_eq!(
            limit("Max open files   x y files\n", "Max open files"),
            None
        );
    }

    #[test]
    fn io_uring_says_which_wall_was_hit() {
        let state = io_uring_state(Err("io_uring_setup: Operation not permitted".to_owned()));
        assert!(!state.available && state.probe.contains("not permitted"));
        assert!(io_uring_state(Ok(())).available);
    }

    #[test]
    fn this_host_is_described_with_a_reason_for_every_null() {
        let report = describe(Traffic::To([127, 0, 0, 1].into()), Ok(()));
        let value = serde_json::to_value(&report).expect("serialises");
        let nulls: BTreeSet<&str> = value
            .as_object()
            .expect("an object")
            .iter()
            .filter(|(_, value)| value.is_null())
            .map(|(name, _)| name.as_str())
            .collect();
        let explained: BTreeSet<&str> = report
            .unknown
            .iter()
            .map(|entry| entry.field.as_str())
            .collect();
        assert_eq!(nulls, explained);
        assert_eq!(explained.len(), report.unknown.len(), "one reason each");
        let line = serde_json::to_string(&report).expect("serialises");
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Host>(&line).expect("parses"), report);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn on_linux_the_essentials_are_known() {
        let report = describe(Traffic::UnixSocket, Ok(()));
        assert!(
            report
                .kernel
                .as_deref()
                .is_some_and(|kernel| kernel.starts_with("Linux "))
        );
        assert!(
            report
                .limits
                .is_some_and(|limits| limits.memlock_bytes.is_some())
        );
        assert!(report.sysctls.contains_key("net.core.somaxconn"));
        for fact in ["memory.total_bytes", "cpu.allowed", "seccomp.mode"] {
            assert!(
                report.facts.contains_key(fact),
                "{fact}: {:?}",
                report.missing
            );
        }
    }
}

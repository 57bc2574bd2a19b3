//! The machine itself: engines, limits, clocks, CPUs.

use super::{Finding, Level};
use crate::document::{Host, LimitValue};

/// Descriptors below which a run with many connections cannot be made.
const FEW_DESCRIPTORS: u64 = 4096;
/// The kernel's default of RLIMIT_MEMLOCK since Linux 5.16 (include/uapi/linux/resource.h, MLOCK_LIMIT).
const USUAL_MEMLOCK_BYTES: u64 = 8 << 20;
/// Clock sources that the vDSO reads without a system call, on x86, ARM and in virtual machines.
const FAST_CLOCKS: [&str; 5] = [
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "timebase",
];

/// A machine that shows nothing of itself is not fit because nothing was found.
pub fn visibility(host: &Host) -> Option<Finding> {
    const CODE: &str = "visibility";
    if !host.sysctls.is_empty() {
        return Some(Finding::fine(CODE, "the kernel shows its settings"));
    }
    let reasons = || host.missing.values();
    let on_linux = reasons().find(|reason| reason.contains("/proc"));
    let reason = on_linux.or_else(|| reasons().next())?;
    let (level, cure) = match on_linux {
        Some(_) => (
            Level::Warning,
            "mount -t proc proc /proc, or start the container with its /proc",
        ),
        None => (
            Level::Note,
            "look at the limits, the governor and the neighbours with the tools of this system",
        ),
    };
    let finding = Finding::of(
        level,
        CODE,
        format!("most of what decides about a measurement cannot be seen here ({reason})"),
        "limits, clocks, filters and neighbours may spoil it, and nobody would know",
    );
    Some(finding.cure(cure))
}

pub fn io_uring(host: &Host) -> Option<Finding> {
    const CODE: &str = "io_uring";
    let state = host.io_uring.as_ref()?;
    if state.available {
        return Some(Finding::fine(CODE, "io_uring works here"));
    }
    let seccomp = host
        .facts
        .get("seccomp.mode")
        .is_some_and(|mode| mode != "off");
    let cure = match state.disabled_sysctl {
        Some(2) => "sysctl kernel.io_uring_disabled=0 (an administrator forbade it for everybody)",
        Some(1) => {
            "run as root, join the group kernel.io_uring_group, or sysctl kernel.io_uring_disabled=0"
        }
        _ if state.probe.contains("memory") => {
            "raise the limit of locked memory: ulimit -l unlimited, or LimitMEMLOCK= of the service"
        }
        _ if seccomp => {
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
        }
        _ => "boot a kernel with CONFIG_IO_URING=y, 6.1 or later for every feature",
    };
    let finding = Finding::of(
        Level::Warning,
        CODE,
        format!("io_uring does not work here: {}", state.probe),
        "the engines uring, tokio-uring and monoio cannot run; auto takes another",
    );
    Some(finding.cure(cure))
}

pub fn descriptors(host: &Host) -> Option<Finding> {
    const CODE: &str = "descriptors";
    let limit = host.limits.as_ref()?.nofile;
    let shown = match limit.soft {
        LimitValue::Limited(count) => count,
        LimitValue::Unlimited(_) => {
            return Some(Finding::fine(CODE, "open files are not limited"));
        }
    };
    let seen = format!("{shown} open files per process");
    if shown >= FEW_DESCRIPTORS {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(
        Level::Warning,
        CODE,
        seen,
        "a run with more connections than that is refused",
    );
    // linerate raises the soft limit to the hard one itself.
    Some(finding.cure(
        "as root, ulimit -n 1048576 in the shell that starts linerate, or LimitNOFILE= of the service",
    ))
}

pub fn locked_memory(host: &Host) -> Option<Finding> {
    const CODE: &str = "locked_memory";
    match host.limits.as_ref()?.memlock_bytes?.soft {
        LimitValue::Limited(bytes) if bytes < USUAL_MEMLOCK_BYTES => {
            let finding = Finding::of(
                Level::Warning,
                CODE,
                format!("{} KiB of locked memory per user", bytes / 1024),
                "rings and their buffers count against it for all but root: large rings, or many threads, get ENOMEM",
            );
            Some(finding.cure(
                "as root, ulimit -l unlimited in the shell that starts linerate, or LimitMEMLOCK= of the service",
            ))
        }
        LimitValue::Limited(bytes) => Some(Finding::fine(
            CODE,
            format!("{} KiB of locked memory per user", bytes / 1024),
        )),
        LimitValue::Unlimited(_) => Some(Finding::fine(CODE, "locked memory is not limited")),
    }
}

pub fn governor(host: &Host) -> Option<Finding> {
    const CODE: &str = "governor";
    let Some(governor) = host.governor.as_deref() else {
        return Some(Finding::of(
            Level::Note,
            CODE,
            "no frequency scaling is shown",
            "firmware or a hypervisor decides how fast the CPUs run, and may change its mind during a run",
        ));
    };
    if governor == "performance" {
        return Some(Finding::fine(
            CODE,
            "the CPUs are governed by 'performance'",
        ));
    }
    let finding = Finding::of(
        Level::Warning,
        CODE,
        format!("the CPUs are governed by '{governor}'"),
        "their speed may change during the run, and slow rises make light load look worse than heavy",
    );
    Some(finding.cure("cpupower frequency-set -g performance"))
}

pub fn turbo(host: &Host) -> Option<Finding> {
    const CODE: &str = "turbo";
    if host.facts.get("cpu.turbo")? == "off" {
        return Some(Finding::fine(CODE, "turbo clocks are off"));
    }
    let finding = Finding::of(
        Level::Note,
        CODE,
        "turbo clocks are on",
        "clocks depend on temperature and on how many cores work: first runs are faster than later ones",
    );
    Some(finding.cure(
        "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo, or echo 0 > /sys/devices/system/cpu/cpufreq/boost",
    ))
}

pub fn clocksource(host: &Host) -> Option<Finding> {
    const CODE: &str = "clocksource";
    let clock = host.clocksource.as_deref()?;
    let seen = format!("the time comes from '{clock}'");
    if FAST_CLOCKS.contains(&clock) {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(
        Level::Warning,
        CODE,
        seen,
        "reading it may be a system call or an access to a slow device: two reads are part of every latency",
    );
    let cure = match host.facts.get("clocksource.available") {
        Some(available) => format!(
            "echo NAME > /sys/devices/system/clocksource/clocksource0/current_clocksource, with one of: {available}"
        ),
        None => "choose a clock that the vDSO can read (tsc on x86)".to_owned(),
    };
    Some(finding.cure(cure))
}

pub fn mitigations(host: &Host) -> Option<Finding> {
    const CODE: &str = "mitigations";
    if host.mitigations.is_empty() {
        return None;
    }
    let active: Vec<&str> = host
        .mitigations
        .iter()
        .filter(|(_, state)| state.starts_with("Mitigation"))
        .map(|(name, _)| name.as_str())
        .collect();
    if active.is_empty() {
        return Some(Finding::fine(
            CODE,
            "no mitigation of CPU vulnerabilities is active",
        ));
    }
    let finding = Finding::of(
        Level::Note,
        CODE,
        format!("mitigations are active: {}", active.join(", ")),
        "each system call and each switch of tasks pays for them; engines that make fewer calls gain more here than \
         on a machine without",
    );
    Some(finding.cure(
        "the kernel argument mitigations=off, on a machine that runs nothing but your own code",
    ))
}

pub fn virtualisation(host: &Host) -> Option<Finding> {
    const CODE: &str = "virtualisation";
    let hypervisor = host.hypervisor.as_deref()?;
    if hypervisor == "none" {
        return Some(Finding::fine(CODE, "no hypervisor"));
    }
    Some(Finding::of(
        Level::Note,
        CODE,
        format!("a virtual machine ({hypervisor})"),
        "wake-ups between CPUs and tails of the latency are the hypervisor's too; compare in interleaved rounds only \
         (linerate compare), and watch the steal time",
    ))
}

pub fn cores(host: &Host) -> Option<Finding> {
    const CODE: &str = "cores";
    let cpus = host.cpu_count?;
    let seen = match host.physical_cores {
        Some(cores) => format!("{cpus} CPUs on {cores} physical cores"),
        None => format!("{cpus} CPUs; which of them share a core is not shown"),
    };
    if host.physical_cores.unwrap_or(cpus) >= 2 {
        return Some(Finding::fine(CODE, seen));
    }
    let finding = Finding::of(
        Level::Warning,
        CODE,
        seen,
        "load and testee share a core, so each slows the other",
    );
    Some(finding.cure("put the testee on another machine: --testee-via 'ssh HOST'"))
}

pub fn quota(host: &Host) -> Option<Finding> {
    const CODE: &str = "cpu_quota";
    let quota = host.facts.get("cgroup.cpu_quota")?;
    if quota == "none" {
        return Some(Finding::fine(CODE, "no CPU quota"));
    }
    let finding = Finding::of(
        Level::Warning,
        CODE,
        format!("a CPU quota of {quota}"),
        "when it is used up every thread stops until the next period: stalls of tens of milliseconds in the tail",
    );
    Some(finding.cure(
        "lift the quota (CPUQuota= of systemd, --cpus of the container, limits.cpu of the pod)",
    ))
}

pub fn seccomp(host: &Host) -> Option<Finding> {
    const CODE: &str = "seccomp";
    let mode = host.facts.get("seccomp.mode")?;
    if mode == "off" {
        return Some(Finding::fine(CODE, "system calls are not filtered"));
    }
    let finding = Finding::of(
        Level::Note,
        CODE,
        format!("system calls are filtered (seccomp: {mode})"),
        "every system call runs the filter; engines that make fewer calls gain more here than elsewhere",
    );
    Some(finding.cure("run outside the sandbox, or with --security-opt seccomp=unconfined"))
}

pub fn audit(host: &Host) -> Option<Finding> {
    const CODE: &str = "audit";
    let daemon = host.facts.get("audit.daemon")?;
    if daemon == "not running" {
        return Some(Finding::fine(CODE, "no audit daemon"));
    }
    let finding = Finding::of(
        Level::Note,
        CODE,
        format!("the audit daemon {daemon}"),
        "rules for system calls cost time in each of them",
    );
    Some(finding.cure(
        "auditctl -a never,task for the time of the measurement, then auditctl -d never,task",
    ))
}

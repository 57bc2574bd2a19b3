//! Single facts of the machine, each from the file in which Linux shows it.

use std::collections::BTreeMap;
use std::path::Path;

use super::environment::distinct;
use super::files;

const CLOCKSOURCE: &str = "/sys/devices/system/clocksource/clocksource0";

/// `Linux 6.18.44`.
pub fn kernel() -> Result<String, String> {
    let name = files::text("/proc/sys/kernel/ostype")?;
    Ok(format!(
        "{name} {}",
        files::text("/proc/sys/kernel/osrelease")?
    ))
}

/// The distribution as os-release(5) names it; elsewhere the system that this program was built for.
pub fn os() -> Result<String, String> {
    if !cfg!(target_os = "linux") {
        return Ok(std::env::consts::OS.to_owned());
    }
    let text = files::text("/etc/os-release").or_else(|_| files::text("/usr/lib/os-release"))?;
    pretty_name(&text).ok_or_else(|| "os-release names no system".to_owned())
}

fn pretty_name(text: &str) -> Option<String> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    let name = value("PRETTY_NAME").or_else(|| value("NAME"))?;
    Some(name.trim_matches(['"', '\'']).to_owned())
}

/// The processor as it names itself; ARM has numbers in place of a name.
pub fn cpu_model() -> Result<String, String> {
    let text = files::text("/proc/cpuinfo")?;
    parse_cpu_model(&text).ok_or_else(|| "/proc/cpuinfo names no model".to_owned())
}

fn parse_cpu_model(cpuinfo: &str) -> Option<String> {
    let named = ["model name", "cpu model", "cpu", "Hardware", "uarch"]
        .iter()
        .find_map(|field| distinct(cpuinfo_values(cpuinfo, field)));
    named.or_else(|| {
        let implementer = distinct(cpuinfo_values(cpuinfo, "CPU implementer"))?;
        let part = distinct(cpuinfo_values(cpuinfo, "CPU part"))?;
        Some(format!("ARM implementer {implementer}, part {part}"))
    })
}

fn cpuinfo_values<'a>(cpuinfo: &'a str, field: &'a str) -> impl Iterator<Item = String> + 'a {
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(move |(name, _)| name.trim() == field)
        .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|value| !value.is_empty())
}

/// All frequency governors in use.
pub fn governors() -> Result<String, String> {
    let directory = std::fs::read_dir("/sys/devices/system/cpu/cpufreq").ok();
    let policies = directory.into_iter().flatten().flatten();
    let governors =
        policies.filter_map(|policy| files::text(policy.path().join("scaling_governor")).ok());
    distinct(governors).ok_or_else(|| {
        if cfg!(target_os = "linux") {
            "no frequency scaling is shown here: firmware or a hypervisor decides".to_owned()
        } else {
            files::NOT_ON_THIS_SYSTEM.to_owned()
        }
    })
}

/// What the kernel reads the time from.
pub fn clocksource() -> Result<String, String> {
    files::text(Path::new(CLOCKSOURCE).join("current_clocksource"))
}

/// What it could read the time from.
pub fn clocksources_available() -> Result<String, String> {
    files::text(Path::new(CLOCKSOURCE).join("available_clocksource"))
}

/// Vulnerability to what the kernel does about it; empty where the kernel does not say.
pub fn mitigations() -> BTreeMap<String, String> {
    let directory = std::fs::read_dir("/sys/devices/system/cpu/vulnerabilities").ok();
    let entries = directory.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name, files::text(entry.path()).ok()?))
        })
        .collect()
}

/// Which hypervisor, `none`, or that there is one of unknown kind.
pub fn hypervisor() -> Result<String, String> {
    let cpuinfo = files::text("/proc/cpuinfo")?;
    let evidence = Evidence {
        flags: distinct(cpuinfo_values(&cpuinfo, "flags")),
        sys_hypervisor: files::text("/sys/hypervisor/type").ok(),
        vendor: files::text("/sys/class/dmi/id/sys_vendor").ok(),
        product: files::text("/sys/class/dmi/id/product_name").ok(),
        clocksources: clocksources_available().ok(),
    };
    evidence
        .hypervisor()
        .ok_or_else(|| "nothing here tells a virtual machine from a real one".to_owned())
}

/// What points to a hypervisor.
#[derive(Default)]
struct Evidence {
    flags: Option<String>,
    sys_hypervisor: Option<String>,
    vendor: Option<String>,
    product: Option<String>,
    clocksources: Option<String>,
}

impl Evidence {
    fn hypervisor(&self) -> Option<String> {
        if let Some(kind) = &self.sys_hypervisor {
            return Some(kind.clone());
        }
        // x86 has a flag that only hypervisors set (CPUID leaf 1, ECX bit 31).
        let flagged = self
            .flags
            .as_ref()
            .map(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
        match (flagged, self.name()) {
            (Some(false), _) => Some("none".to_owned()),
            (_, Some(name)) => Some(name),
            (Some(true), None) => Some("of unknown kind".to_owned()),
            (None, None) => None,
        }
    }

    fn name(&self) -> Option<String> {
        let firmware = [self.vendor.as_deref(), self.product.as_deref()];
        let firmware = firmware.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let known = [
            "KVM",
            "QEMU",
            "VMware",
            "VirtualBox",
            "Xen",
            "Microsoft",
            "Amazon EC2",
            "Google",
            "OpenStack",
            "Parallels",
            "Apple Virtualization",
        ];
        if let Some(name) = known.iter().find(|name| firmware.contains(**name)) {
            // Physical Surface machines say Microsoft too.
            let virtual_pc = *name != "Microsoft" || firmware.contains("Virtual Machine");
            return virtual_pc.then(|| firmware.clone());
        }
        let clocks = self.clocksources.as_deref().unwrap_or_default();
        let by_clock = [("kvm-clock", "KVM"), ("xen", "Xen"), ("hyperv", "Hyper-V")];
        by_clock
            .iter()
            .find(|(clock, _)| clocks.contains(clock))
            .map(|(_, name)| (*name).to_owned())
    }
}

/// Memory of the machine, bytes as text.
pub fn memory_total_bytes() -> Result<String, String> {
    let text = files::text("/proc/meminfo")?;
    let kib: Option<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.and_then(|kib| kib.checked_mul(1024))
        .map(|bytes| bytes.to_string())
        .ok_or_else(|| "/proc/meminfo has no MemTotal".to_owned())
}

/// `always`, `madvise` or `never`.
pub fn transparent_hugepages() -> Result<String, String> {
    let text = files::text("/sys/kernel/mm/transparent_hugepage/enabled")?;
    chosen(&text)
        .map(str::to_owned)
        .ok_or_else(|| format!("`{text}` marks no choice"))
}

/// The bracketed word of `always [madvise] never`.
fn chosen(text: &str) -> Option<&str> {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

/// Whether clocks above the nominal one are allowed: `on` or `off`.
pub fn turbo() -> Result<String, String> {
    let on = |allowed: bool| if allowed { "on" } else { "off" }.to_owned();
    if let Ok(no_turbo) = files::text("/sys/devices/system/cpu/intel_pstate/no_turbo") {
        return Ok(on(no_turbo == "0"));
    }
    files::text("/sys/devices/system/cpu/cpufreq/boost").map(|boost| on(boost == "1"))
}

/// Whether system calls of this process are filtered (proc_pid_status(5)): a cost per call, and a wall for
/// io_uring in containers.
pub fn seccomp_mode() -> Result<String, String> {
    parse_seccomp(&files::text("/proc/self/status")?)
}

fn parse_seccomp(status: &str) -> Result<String, String> {
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))
        .map(str::trim);
    match mode {
        Some("0") => Ok("off".to_owned()),
        Some("1") => Ok("strict".to_owned()),
        Some("2") => Ok("filter".to_owned()),
        Some(other) => Ok(format!("mode {other}")),
        None => Err("/proc/self/status does not show seccomp".to_owned()),
    }
}

/// Sockets in TIME_WAIT in this network namespace (proc_net(5), sockstat).
pub fn time_wait_sockets() -> Result<String, String> {
    let text = files::text("/proc/self/net/sockstat")?;
    parse_time_wait(&text).ok_or_else(|| "sockstat shows no TIME_WAIT sockets".to_owned())
}

fn parse_time_wait(sockstat: &str) -> Option<String> {
    let words = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = words.split_whitespace();
    words.find(|word| *word == "tw")?;
    words.next().map(str::to_owned)
}

/// Whether the audit daemon runs, whose rules cost time in every system call.
pub fn audit_daemon() -> Result<String, String> {
    if !cfg!(target_os = "linux") {
        return Err(files::NOT_ON_THIS_SYSTEM.to_owned());
    }
    let process = files::text("/run/auditd.pid")
        .ok()
        .filter(|pid| Path::new("/proc").join(pid).exists());
    Ok(process.map_or_else(
        || "not running".to_owned(),
        |pid| format!("runs as process {pid}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_names_itself() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n";
        assert_eq!(
            pretty_name(text).as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(pretty_name("NAME=Alpine\n").as_deref(), Some("Alpine"));
        assert_eq!(pretty_name("ID=x\n"), None);
    }

    #[test]
    fn cpu_models_of_several_architectures() {
        let x86 = "processor\t: 0\nmodel\t\t: 143\nmodel name\t: Intel(R)  Xeon(R) @ 2.50GHz\n\nmodel name\t: Intel(R)  Xeon(R) @ 2.50GHz\n";
        assert_eq!(
            parse_cpu_model(x86).as_deref(),
            Some("Intel(R) Xeon(R) @ 2.50GHz")
        );
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\nprocessor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n";
        assert_eq!(
            parse_cpu_model(arm).as_deref(),
            Some("ARM implementer 0x41, part 0xd05, 0xd0c")
        );
        assert_eq!(
            parse_cpu_model("cpu\t\t: POWER9, altivec supported\n").as_deref(),
            Some("POWER9, altivec supported")
        );
        assert_eq!(parse_cpu_model("processor : 0\n"), None);
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn hypervisors_and_none() {
        let bare = Evidence {
            flags: some("fpu sse"),
            vendor: some("Google"),
            ..Evidence::default()
        };
        assert_eq!(bare.hypervisor(), some("none"));
        let firecracker = Evidence {
            flags: some("fpu hypervisor"),
            clocksources: some("tsc kvm-clock"),
            ..Evidence::default()
        };
        assert_eq!(firecracker.hypervisor(), some("KVM"));
        let cloud = Evidence {
            flags: some("hypervisor"),
            vendor: some("Amazon EC2"),
            product: some("m5.large"),
            ..Evidence::default()
        };
        assert_eq!(cloud.hypervisor(), some("Amazon EC2 m5.large"));
        assert_eq!(
            Evidence {
                flags: some("hypervisor"),
                ..Evidence::default()
            }
            .hypervisor(),
            some("of unknown kind")
        );
        assert_eq!(
            Evidence {
                sys_hypervisor: some("xen"),
                ..Evidence::default()
            }
            .hypervisor(),
            some("xen")
        );
        assert_eq!(
            Evidence {
                vendor: some("Ampere"),
                ..Evidence::default()
            }
            .hypervisor(),
            None
        );
    }

    #[test]
    fn bracketed_choice() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always madvise"), None);
    }

    #[test]
    fn seccomp_modes() {
        assert_eq!(
            parse_seccomp("Seccomp:\t2\nSeccomp_filters:\t1\n").as_deref(),
            Ok("filter")
        );
        assert_eq!(parse_seccomp("Seccomp:\t0\n").as_deref(), Ok("off"));
        assert!(parse_seccomp("Seccomp_filters:\t1\n").is_err());
    }

    #[test]
    fn sockets_that_wait() {
        let sockstat = "sockets: used 19\nTCP: inuse 1 orphan 0 tw 28231 alloc 1 mem 246\nUDP: inuse 0 mem 0\n";
        assert_eq!(parse_time_wait(sockstat).as_deref(), Some("28231"));
        assert_eq!(parse_time_wait("UDP: tw 1\n"), None);
    }
}

//! What the kernel counts: CPU time by kind, network counters, and the changes between two moments.
//!
//! A snapshot only copies the kernel's texts into buffers that are used again, so that it disturbs the
//! measurement as little as possible; everything is parsed when the difference is asked for.
//!
//! The network counters are those of the network namespace of the process that reads them; CPU time and
//! softnet counters are those of the whole machine. All of them include what other processes did meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use report::document::{HostActivity, SystemCpu, Unknown};
use serde::{Deserialize, Serialize};

use super::counter_texts::{
    CpuTimes, memory_changes, network_changes, parse_cpu_times, socket_changes, softnet_changes,
};
use super::{cgroup, files};

/// The kernel's counters at one moment, as the texts in which the kernel gives them.
#[derive(Debug)]
pub struct CounterSnapshot {
    taken_at: Instant,
    cpu: KernelText,
    snmp: KernelText,
    netstat: KernelText,
    snmp6: KernelText,
    softnet: KernelText,
    sockstat: KernelText,
    meminfo: KernelText,
    throttled_us: Option<u64>,
}

/// What CPU quotas of control groups took, in us: of this process, and not of the host.
pub const THROTTLED: &str = "cgroup.throttled_us";

/// One kernel file and its text at the moment of the snapshot, or why it could not be read.
#[derive(Debug)]
struct KernelText {
    path: &'static Path,
    text: String,
    outcome: Result<(), String>,
}

impl KernelText {
    fn read(path: &'static str) -> Self {
        let mut file = Self {
            path: Path::new(path),
            text: String::new(),
            outcome: Ok(()),
        };
        file.again();
        file
    }

    fn again(&mut self) {
        self.outcome = files::read_into(self.path, &mut self.text);
    }

    fn get(&self) -> Result<&str, String> {
        self.outcome.clone().map(|()| self.text.as_str())
    }
}

impl CounterSnapshot {
    /// Reads all counters now. Takes some 100 us; does not fail, what cannot be read has its reason in the
    /// [`CounterDelta`].
    #[must_use]
    pub fn take() -> Self {
        Self {
            taken_at: Instant::now(),
            cpu: KernelText::read("/proc/stat"),
            snmp: KernelText::read("/proc/self/net/snmp"),
            netstat: KernelText::read("/proc/self/net/netstat"),
            snmp6: KernelText::read("/proc/self/net/snmp6"),
            softnet: KernelText::read("/proc/self/net/softnet_stat"),
            sockstat: KernelText::read("/proc/self/net/sockstat"),
            meminfo: KernelText::read("/proc/meminfo"),
            throttled_us: cgroup::throttled_us(),
        }
    }

    /// Reads all counters again into the same memory.
    pub fn retake(&mut self) {
        self.taken_at = Instant::now();
        for file in [
            &mut self.cpu,
            &mut self.snmp,
            &mut self.netstat,
            &mut self.snmp6,
            &mut self.softnet,
            &mut self.sockstat,
            &mut self.meminfo,
        ] {
            file.again();
        }
        self.throttled_us = cgroup::throttled_us();
    }
}

/// CPU time of one logical CPU between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuActivity {
    /// Number of the CPU.
    pub cpu: u32,
    /// What it did.
    pub times: CpuTimes,
}

/// What changed between two snapshots; travels from agent to conductor.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CounterDelta {
    /// Time between the snapshots.
    pub length_ns: u64,
    /// CPU time of the machine over all CPUs, sampled by the kernel's clock tick.
    pub cpu: Option<SystemCpu>,
    /// The same for each CPU that was online at both moments. A tick is some ms: too coarse for short windows.
    pub per_cpu: Vec<CpuActivity>,
    /// Counters that changed, named `Tcp.RetransSegs`, `TcpExt.TCPTimeouts`, `Ip6.InReceives`,
    /// `softnet.dropped`, `sockstat.TCP_inuse`, `memory.slab_bytes`. Gauges such as `Tcp.CurrEstab` can be negative.
    pub kernel_counters: BTreeMap<String, i64>,
    /// Why `cpu` is null, if it is.
    pub unknown: Vec<Unknown>,
    /// Sources of `kernel_counters` that could not be read, with the reason. Absence there means nothing then.
    pub missing_sources: Vec<String>,
}

impl CounterDelta {
    /// The changes from `before` to `after`, two snapshots of the same process.
    #[must_use]
    pub fn between(before: &CounterSnapshot, after: &CounterSnapshot) -> Self {
        let length = after.taken_at.saturating_duration_since(before.taken_at);
        let mut delta = Self {
            length_ns: u64::try_from(length.as_nanos()).unwrap_or(u64::MAX),
            ..Self::default()
        };
        delta.add_cpu(&before.cpu, &after.cpu);
        delta.add_counters(&before.snmp, &after.snmp, network_changes);
        delta.add_counters(&before.netstat, &after.netstat, network_changes);
        delta.add_counters(&before.snmp6, &after.snmp6, network_changes);
        delta.add_counters(&before.softnet, &after.softnet, softnet_changes);
        delta.add_counters(&before.sockstat, &after.sockstat, socket_changes);
        delta.add_counters(&before.meminfo, &after.meminfo, memory_changes);
        let throttled = after.throttled_us.zip(before.throttled_us);
        let throttled_us = throttled.map_or(0, |(after, before)| after.saturating_sub(before));
        if throttled_us > 0 {
            let changed = i64::try_from(throttled_us).unwrap_or(i64::MAX);
            delta.kernel_counters.insert(THROTTLED.to_owned(), changed);
        }
        delta
    }

    /// The document's form. `service_demand` is not known here: it needs the work that was done meanwhile.
    #[must_use]
    pub fn into_host_activity(self, host: &str) -> HostActivity {
        let mut unknown = self.unknown;
        unknown.push(Unknown::new(
            "service_demand",
            "the work done in the window was not known here",
        ));
        HostActivity {
            host: host.to_owned(),
            length_ns: self.length_ns,
            cpu: self.cpu,
            service_demand: None,
            slab_bytes_per_socket: None,
            kernel_counters: self.kernel_counters,
            unknown,
        }
    }

    fn add_cpu(&mut self, before: &KernelText, after: &KernelText) {
        match cpu_changes(before, after, clock_ticks_per_second()) {
            Ok((cpu, per_cpu)) => {
                self.cpu = Some(cpu);
                self.per_cpu = per_cpu;
            }
            Err(reason) => self.unknown.push(Unknown::new("cpu", reason)),
        }
    }

    fn add_counters(
        &mut self,
        before: &KernelText,
        after: &KernelText,
        changes: impl Fn(&str, &str) -> BTreeMap<String, i64>,
    ) {
        match (before.get(), after.get()) {
            (Ok(before), Ok(after)) => self.kernel_counters.extend(changes(before, after)),
            (Err(reason), _) | (_, Err(reason)) => self.missing_sources.push(reason),
        }
    }
}

fn cpu_changes(
    before: &KernelText,
    after: &KernelText,
    ticks_per_second: u64,
) -> Result<(SystemCpu, Vec<CpuActivity>), String> {
    let (before_all, before_each) = parse_cpu_times(before.get()?, ticks_per_second)?;
    let (after_all, after_each) = parse_cpu_times(after.get()?, ticks_per_second)?;
    let per_cpu: Vec<CpuActivity> = after_each
        .iter()
        .filter_map(|(cpu, times)| {
            let before = before_each.get(cpu)?;
            Some(CpuActivity {
                cpu: *cpu,
                times: times.since(before),
            })
        })
        .collect();
    let count = u32::try_from(after_each.len()).unwrap_or(u32::MAX);
    Ok((system_cpu(after_all.since(&before_all), count), per_cpu))
}

fn system_cpu(times: CpuTimes, cpu_count: u32) -> SystemCpu {
    SystemCpu::from_times(
        cpu_count,
        times.user_ns + times.nice_ns,
        times.system_ns,
        times.irq_ns + times.softirq_ns,
        times.steal_ns,
        times.idle_ns + times.iowait_ns,
    )
}

/// `AT_CLKTCK` of the auxiliary vector (getauxval(3)): what sysconf(_SC_CLK_TCK) answers, without libc.
/// 100 where it is not shown: USER_HZ of every Linux that Rust runs on.
fn clock_ticks_per_second() -> u64 {
    const AT_CLKTCK: usize = 17;
    let auxiliary = files::bytes(Path::new("/proc/self/auxv")).unwrap_or_default();
    auxiliary_value(&auxiliary, AT_CLKTCK)
        .and_then(|ticks| u64::try_from(ticks).ok())
        .filter(|&ticks| ticks > 0)
        .unwrap_or(100)
}

fn auxiliary_value(auxiliary: &[u8], kind: usize) -> Option<usize> {
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| bytes.try_into().map(usize::from_ne_bytes).ok();
    auxiliary
        .chunks_exact(2 * WORD)
        .find(|pair| word(&pair[..WORD]) == Some(kind))
        .and_then(|pair| word(&pair[WORD..]))
}

/// Memory of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// Resident now (`VmRSS`).
    pub rss_bytes: u64,
    /// Largest resident so far (`VmHWM`).
    pub max_rss_bytes: u64,
}

/// Memory of the calling process, from `/proc/self/status`.
///
/// # Errors
/// The reason, in one line, when the file or a field is not there.
pub fn process_memory() -> Result<ProcessMemory, String> {
    parse_memory(&files::text("/proc/self/status")?)
}

fn parse_memory(status: &str) -> Result<ProcessMemory, String> {
    Ok(ProcessMemory {
        rss_bytes: status_bytes(status, "VmRSS:")?,
        max_rss_bytes: status_bytes(status, "VmHWM:")?,
    })
}

fn status_bytes(status: &str, field: &str) -> Result<u64, String> {
    let kib: Option<u64> = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.and_then(|kib| kib.checked_mul(1024))
        .ok_or_else(|| format!("/proc/self/status has no {field} in kB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &'static str, text: &str) -> KernelText {
        KernelText {
            path: Path::new(path),
            text: text.to_owned(),
            outcome: Ok(()),
        }
    }

    #[test]
    fn cpu_time_is_summed_as_the_document_wants_it() {
        let before = text(
            "x",
            "cpu  10 1 5 100 2 1 3 4 0 0\ncpu0 10 1 5 100 2 1 3 4 0 0\n",
        );
        let after = text(
            "x",
            "cpu  30 2 15 180 1 2 6 9 5 0\ncpu0 30 2 15 180 1 2 6 9 5 0\n",
        );
        let (cpu, per_cpu) = cpu_changes(&before, &after, 100).expect("both parse");
        assert_eq!(
            (cpu.cpu_count, cpu.user_ns, cpu.system_ns),
            (1, 210_000_000, 100_000_000)
        );
        // iowait went backwards, which the kernel allows (proc(5)); that is no time, and no overflow.
        assert_eq!(
            (cpu.idle_ns, cpu.softirq_ns, cpu.steal_ns),
            (800_000_000, 40_000_000, 50_000_000)
        );
        assert_eq!(per_cpu.len(), 1);
        assert_eq!(per_cpu[0].times.nice_ns, 10_000_000);
    }

    #[test]
    fn what_a_quota_took_is_counted_where_it_took_something() {
        let mut before = CounterSnapshot::take();
        before.throttled_us = Some(40);
        let mut after = CounterSnapshot::take();
        after.throttled_us = Some(90);
        let delta = CounterDelta::between(&before, &after);
        assert_eq!(delta.kernel_counters.get(THROTTLED), Some(&50));
        after.throttled_us = None;
        let delta = CounterDelta::between(&before, &after);
        assert_eq!(delta.kernel_counters.get(THROTTLED), None);
    }

    #[test]
    fn auxiliary_vector_is_searched_by_kind() {
        let words: [usize; 6] = [6, 4096, 17, 250, 0, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(auxiliary_value(&bytes, 17), Some(250));
        assert_eq!(auxiliary_value(&bytes, 18), None);
        assert_eq!(auxiliary_value(&bytes[..5], 6), None);
    }

    #[test]
    fn memory_is_read_from_status() {
        let status = "Name:\tx\nVmHWM:\t    1700 kB\nVmRSS:\t    1600 kB\n";
        assert_eq!(
            parse_memory(status),
            Ok(ProcessMemory {
                rss_bytes: 1_638_400,
                max_rss_bytes: 1_740_800
            })
        );
        assert!(parse_memory("Name:\tkthread\n").is_err());
    }

    #[test]
    fn what_cannot_be_read_is_a_reason() {
        let gone = KernelText {
            path: Path::new("x"),
            text: String::new(),
            outcome: Err("no x here".to_owned()),
        };
        let mut delta = CounterDelta::default();
        delta.add_cpu(&gone, &gone);
        delta.add_counters(&gone, &gone, network_changes);
        assert_eq!(delta.unknown, [Unknown::new("cpu", "no x here")]);
        assert_eq!(delta.missing_sources, ["no x here"]);
        let activity = delta.into_host_activity("b");
        assert_eq!(activity.unknown.len(), 2, "one reason per null");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn live_counters_see_this_tests_traffic() {
        use std::net::UdpSocket;

        let mut before = CounterSnapshot::take();
        before.retake();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
        let address = socket.local_addr().expect("bound");
        for _ in 0..20 {
            socket.send_to(b"x", address).expect("sent to ourselves");
        }
        let after = CounterSnapshot::take();
        let delta = CounterDelta::between(&before, &after);
        assert!(delta.length_ns > 0);
        assert!(
            delta.kernel_counters["Udp.OutDatagrams"] >= 20,
            "{:?}",
            delta.kernel_counters
        );
        assert!(
            delta.cpu.is_some() && !delta.per_cpu.is_empty(),
            "{:?}",
            delta.unknown
        );
        let line = serde_json::to_string(&delta).expect("serialises");
        assert_eq!(
            serde_json::from_str::<CounterDelta>(&line).expect("parses"),
            delta
        );
        assert!(process_memory().expect("on Linux").rss_bytes > 0);
        assert_eq!(clock_ticks_per_second(), 100);
    }
}

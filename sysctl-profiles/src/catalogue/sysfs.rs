//! Files below `/sys` that change how fast a network is. A `*` stands for any device, queue or CPU.
//!
//! `/sys/class/net` shows the devices of the namespace that has mounted it, which need not be the caller's
//! (`unshare -n` alone shows the devices of before). So these count as the machine's: two namespaces that
//! name the same file are kept apart.

use super::entry::{INT, KeyInfo, Kind, LONG};

pub(super) const KEYS: &[KeyInfo] = &[
    KeyInfo::machine("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor", Kind::Name, "name")
        .default("of the distribution")
        .means("who decides the clock of a CPU; with powersave it may rise only after the burst"),
    KeyInfo::machine("/sys/devices/system/cpu/cpu*/cpufreq/energy_performance_preference", Kind::Name, "name")
        .default("of the distribution")
        .means("what the CPU itself prefers where it chooses its clock"),
    KeyInfo::machine("/sys/kernel/mm/transparent_hugepage/enabled", Kind::Choice, "name")
        .default("madvise or always")
        .means("whether memory comes in huge pages; assembling them stalls"),
    KeyInfo::machine("/sys/class/net/*/queues/rx-*/rps_cpus", Kind::CpuMask, "CPUs")
        .default("0")
        .means("CPUs that packets of this queue are spread over in software"),
    KeyInfo::machine("/sys/class/net/*/queues/rx-*/rps_flow_cnt", Kind::Amount(1), "flows")
        .range(0, INT)
        .rounded()
        .default("0")
        .means("flows of this queue that are steered to the CPU of their reader"),
    KeyInfo::machine("/sys/class/net/*/queues/tx-*/xps_cpus", Kind::CpuMask, "CPUs")
        .default("by the driver")
        .means("CPUs that send through this queue"),
    KeyInfo::machine("/sys/class/net/*/gro_flush_timeout", Kind::Number, "ns")
        .range(0, LONG)
        .default("0")
        .means("how long received packets may wait to be merged; with napi_defer_hard_irqs, how long interrupts stay off"),
    KeyInfo::machine("/sys/class/net/*/napi_defer_hard_irqs", Kind::Number, "polls")
        .range(0, INT)
        .default("0")
        .means("empty polls before the device's interrupt is switched on again"),
    KeyInfo::machine("/sys/class/net/*/threaded", Kind::Number, "switch")
        .range(0, 1)
        .default("0")
        .means("whether the device is polled by a thread of its own instead of a softirq"),
];

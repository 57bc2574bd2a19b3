//! Keys of the machine outside its network: files, memory, scheduling.

use super::entry::{INT, KeyInfo, Kind, LONG, SECONDS};

const AMOUNT: Kind = Kind::Amount(1);

pub(super) const KEYS: &[KeyInfo] = &[
    // Ceilings first: what they bound is written after them.
    KeyInfo::machine("fs.nr_open", AMOUNT, "descriptors")
        .range(64, 2_147_483_584)
        .default("1048576"),
    KeyInfo::machine("fs.file-max", AMOUNT, "files")
        .range(0, LONG)
        .default("a file per 10 KiB of memory; systemd sets 9223372036854775807"),
    KeyInfo::machine("fs.file-nr", Kind::Amount(3), "files").never("it only shows a count"),
    KeyInfo::machine("fs.pipe-max-size", AMOUNT, "bytes")
        .range(4096, 1 << 31)
        .rounded()
        .default("1048576"),
    KeyInfo::machine("fs.pipe-user-pages-soft", AMOUNT, "pages")
        .range(0, LONG)
        .default("16384"),
    KeyInfo::machine("fs.aio-max-nr", AMOUNT, "requests")
        .range(0, LONG)
        .default("65536"),
    KeyInfo::machine("fs.epoll.max_user_watches", AMOUNT, "watches")
        .range(0, LONG)
        .default("4 % of low memory"),
    KeyInfo::machine("vm.max_map_count", AMOUNT, "mappings")
        .range(0, INT)
        .default("65530"),
    KeyInfo::machine("vm.overcommit_memory", Kind::Number, "mode")
        .range(0, 2)
        .default("0"),
    KeyInfo::machine("vm.swappiness", Kind::Number, "")
        .range(0, 200)
        .default("60"),
    KeyInfo::machine("vm.stat_interval", Kind::Number, "s")
        .range(1, SECONDS)
        .default("1")
        .means("how often each CPU folds its counters of memory use: a periodic interruption"),
    KeyInfo::machine("kernel.numa_balancing", Kind::Number, "mode")
        .range(0, 3)
        .default("0 or 1"),
    KeyInfo::machine("kernel.timer_migration", Kind::Number, "switch")
        .range(0, 1)
        .default("1"),
    KeyInfo::machine("kernel.nmi_watchdog", Kind::Number, "switch")
        .range(0, 1)
        .default("0 or 1"),
    KeyInfo::machine("kernel.sched_autogroup_enabled", Kind::Number, "switch")
        .range(0, 1)
        .default("1"),
    KeyInfo::machine("kernel.sched_rt_runtime_us", Kind::Number, "us")
        .range(-1, INT)
        .default("950000"),
    KeyInfo::machine("kernel.hung_task_timeout_secs", Kind::Number, "s")
        .range(0, INT)
        .default("120")
        .means("how often blocked tasks are looked for"),
    KeyInfo::machine("kernel.sched_min_granularity_ns", Kind::Number, "ns")
        .removed("left /proc/sys in Linux 5.13; see /sys/kernel/debug/sched")
        .means("shortest time slice of a task"),
    KeyInfo::machine("kernel.sched_latency_ns", Kind::Number, "ns")
        .removed("left /proc/sys in Linux 5.13; see /sys/kernel/debug/sched")
        .means("period in which every task runs once"),
    KeyInfo::machine("kernel.sched_migration_cost_ns", Kind::Number, "ns")
        .removed("left /proc/sys in Linux 5.13; see /sys/kernel/debug/sched")
        .means("how long a task counts as cache-hot"),
    KeyInfo::machine("kernel.sched_wakeup_granularity_ns", Kind::Number, "ns")
        .removed("left /proc/sys in Linux 5.13; see /sys/kernel/debug/sched")
        .means("how soon a woken task may preempt"),
];

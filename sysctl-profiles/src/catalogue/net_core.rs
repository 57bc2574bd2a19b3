//! `net.core`, the connection tracker and the neighbour table.

use super::entry::{Acts, INT, KeyInfo, Kind};

const AMOUNT: Kind = Kind::Amount(1);
/// SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF depend on the kernel's build; below 2 KiB every kernel refuses.
const BUFFER_MIN: i128 = 2048;

pub(super) const KEYS: &[KeyInfo] = &[
    KeyInfo::own("net.core.somaxconn", AMOUNT, "connections")
        .acts(Acts::Listen)
        .default("4096"),
    // Before anything that depends on a device's queueing.
    KeyInfo::machine("net.core.default_qdisc", Kind::Name, "name")
        .acts(Acts::NewDevices)
        .not_on_loopback()
        .default("pfifo_fast"),
    KeyInfo::machine("net.core.netdev_max_backlog", AMOUNT, "packets per CPU").default("1000"),
    KeyInfo::own("net.core.optmem_max", AMOUNT, "bytes").default("131072"),
    KeyInfo::shown("net.core.rmem_max", AMOUNT, "bytes")
        .range(BUFFER_MIN, INT)
        .acts(Acts::NewSockets)
        .default("4194304"),
    KeyInfo::shown("net.core.wmem_max", AMOUNT, "bytes")
        .range(BUFFER_MIN, INT)
        .acts(Acts::NewSockets)
        .default("4194304"),
    KeyInfo::shown("net.core.rmem_default", AMOUNT, "bytes")
        .range(BUFFER_MIN, INT)
        .acts(Acts::NewSockets)
        .default("212992"),
    KeyInfo::shown("net.core.wmem_default", AMOUNT, "bytes")
        .range(BUFFER_MIN, INT)
        .acts(Acts::NewSockets)
        .default("212992"),
    KeyInfo::machine("net.core.busy_read", AMOUNT, "us")
        .acts(Acts::NewSockets)
        .not_on_loopback()
        .default("0"),
    KeyInfo::machine("net.core.busy_poll", AMOUNT, "us")
        .not_on_loopback()
        .default("0"),
    KeyInfo::machine("net.core.netdev_budget", AMOUNT, "packets").default("300"),
    // Less than two ticks (2e6/HZ us) is EINVAL, and HZ is not known here: the kernel's answer decides.
    KeyInfo::machine("net.core.netdev_budget_usecs", AMOUNT, "us")
        .default("two ticks: 8000 at HZ=250"),
    KeyInfo::machine("net.core.dev_weight", AMOUNT, "packets")
        .range(1, INT)
        .default("64"),
    KeyInfo::machine("net.core.gro_normal_batch", AMOUNT, "packets")
        .range(1, INT)
        .not_on_loopback()
        .default("8"),
    KeyInfo::machine("net.core.skb_defer_max", AMOUNT, "buffers").default("64"),
    KeyInfo::machine("net.core.mem_pcpu_rsv", AMOUNT, "pages")
        .range(256, INT)
        .default("256"),
    KeyInfo::machine("net.core.high_order_alloc_disable", Kind::Number, "switch")
        .range(0, 1)
        .default("0"),
    // 2^29 is the largest table that the kernel makes.
    KeyInfo::machine("net.core.rps_sock_flow_entries", AMOUNT, "entries")
        .range(0, 1 << 29)
        .rounded()
        .not_on_loopback()
        .default("0"),
    KeyInfo::machine("net.core.flow_limit_table_len", AMOUNT, "buckets")
        .not_on_loopback()
        .default("4096"),
    KeyInfo::own("net.core.txrehash", Kind::Number, "switch")
        .range(0, 1)
        .not_on_loopback()
        .default("1"),
    KeyInfo::shown("net.netfilter.nf_conntrack_buckets", AMOUNT, "buckets")
        .default("by memory, up to 262144"),
    KeyInfo::shown("net.netfilter.nf_conntrack_max", AMOUNT, "connections")
        .default("as many as buckets")
        .also(&["net.nf_conntrack_max"]),
    KeyInfo::own("net.ipv4.neigh.default.gc_thresh1", AMOUNT, "neighbours")
        .not_on_loopback()
        .default("128")
        .means("neighbours that are kept without cleaning up"),
    KeyInfo::own("net.ipv4.neigh.default.gc_thresh2", AMOUNT, "neighbours")
        .not_on_loopback()
        .default("512")
        .means("neighbours above which the table is cleaned up every 5 s"),
    KeyInfo::own("net.ipv4.neigh.default.gc_thresh3", AMOUNT, "neighbours")
        .not_on_loopback()
        .default("1024")
        .means("neighbours above which new ones are refused"),
];

//! `net.ipv4`: ports and TCP.

use super::entry::{Acts, INT, KeyInfo, Kind, LONG, SECONDS, UINT};

const AMOUNT: Kind = Kind::Amount(1);
const NUMBER: Kind = Kind::Number;
/// Stored in a byte: more is EINVAL.
const BYTE: i128 = 255;
const SINCE_CC: &str =
    "before Linux 4.13 it chose another send path; it has had no effect since 4.14";

pub(super) const KEYS: &[KeyInfo] = &[
    // Bounds the port range, so it comes first.
    KeyInfo::own("net.ipv4.ip_unprivileged_port_start", NUMBER, "port")
        .range(0, 65_535)
        .default("1024"),
    KeyInfo::own("net.ipv4.ip_local_port_range", Kind::PortRange, "ports")
        .range(1, 65_535)
        .default("32768 60999"),
    KeyInfo::own("net.ipv4.ip_local_reserved_ports", Kind::PortList, "ports")
        .range(0, 65_535)
        .default("empty"),
    // What may be chosen comes before the choice.
    KeyInfo::shown(
        "net.ipv4.tcp_available_congestion_control",
        Kind::Names,
        "names",
    )
    .never("it only shows what is there; load a module for more"),
    KeyInfo::shown(
        "net.ipv4.tcp_allowed_congestion_control",
        Kind::Names,
        "names",
    )
    .default("reno and the default"),
    KeyInfo::own("net.ipv4.tcp_congestion_control", Kind::Name, "name")
        .acts(Acts::NewSockets)
        .default("cubic, by the kernel's build"),
    KeyInfo::machine("net.ipv4.tcp_mem", Kind::Amount(3), "pages")
        .range(0, LONG)
        .default("4.7, 6.3 and 9.4 % of free memory"),
    KeyInfo::machine("net.ipv4.udp_mem", Kind::Amount(3), "pages")
        .range(0, LONG)
        .default("9.4, 12.5 and 18.8 % of free memory")
        .means("UDP memory of the whole system, pages: low, pressure, maximum"),
    KeyInfo::machine("net.ipv4.tcp_max_orphans", AMOUNT, "sockets")
        .default("half the connection hash table"),
    KeyInfo::own("net.ipv4.tcp_rmem", Kind::Amount(3), "bytes")
        .range(1, INT)
        .acts(Acts::NewSockets)
        .default("4096 131072 33554432"),
    KeyInfo::own("net.ipv4.tcp_wmem", Kind::Amount(3), "bytes")
        .range(1, INT)
        .acts(Acts::NewSockets)
        .default("4096 16384 4194304"),
    KeyInfo::own(
        "net.ipv4.tcp_max_syn_backlog",
        AMOUNT,
        "half-open connections",
    )
    .default("at least 128, by memory"),
    KeyInfo::own("net.ipv4.tcp_syncookies", NUMBER, "mode")
        .range(0, 2)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_fastopen", NUMBER, "bits")
        .range(0, INT)
        .acts(Acts::NewSockets)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_window_scaling", NUMBER, "switch")
        .range(0, BYTE)
        .acts(Acts::NewSockets)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_timestamps", NUMBER, "mode")
        .range(0, BYTE)
        .acts(Acts::NewSockets)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_sack", NUMBER, "switch")
        .range(0, BYTE)
        .acts(Acts::NewSockets)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_dsack", NUMBER, "switch")
        .range(0, BYTE)
        .default("1"),
    // Documented up to 5; how far a kernel goes is its answer.
    KeyInfo::own("net.ipv4.tcp_ecn", NUMBER, "mode")
        .range(0, 5)
        .acts(Acts::NewSockets)
        .default("2"),
    // Connection churn.
    KeyInfo::own("net.ipv4.tcp_tw_reuse", NUMBER, "mode")
        .range(0, 2)
        .default("2"),
    KeyInfo::own("net.ipv4.tcp_tw_reuse_delay", NUMBER, "ms")
        .range(1, 60_000)
        .default("1000"),
    KeyInfo::own("net.ipv4.tcp_max_tw_buckets", AMOUNT, "sockets")
        .default("half the connection hash table"),
    KeyInfo::own("net.ipv4.tcp_fin_timeout", NUMBER, "s")
        .range(0, SECONDS)
        .default("60"),
    KeyInfo::own("net.ipv4.tcp_abort_on_overflow", NUMBER, "switch")
        .range(0, BYTE)
        .default("0"),
    KeyInfo::own("net.ipv4.tcp_child_ehash_entries", AMOUNT, "buckets")
        .range(0, 16_777_216)
        .acts(Acts::NewNamespaces)
        .default("0"),
    KeyInfo::own("net.ipv4.tcp_ehash_entries", NUMBER, "buckets")
        .range(-INT, INT)
        .never("it only shows the size of a table"),
    KeyInfo::own("net.ipv4.tcp_keepalive_time", NUMBER, "s")
        .range(0, SECONDS)
        .default("7200")
        .means("idle time before a connection is probed"),
    KeyInfo::own("net.ipv4.tcp_syn_retries", NUMBER, "SYNs")
        .range(1, 127)
        .default("6")
        .means("SYNs that connect repeats before it gives up"),
    KeyInfo::own("net.ipv4.tcp_synack_retries", NUMBER, "SYN-ACKs")
        .range(0, BYTE)
        .default("5")
        .means("SYN-ACKs that a listener repeats"),
    // How bytes are cut, held back and acknowledged.
    KeyInfo::own("net.ipv4.tcp_notsent_lowat", NUMBER, "bytes")
        .range(0, UINT)
        .default("4294967295"),
    KeyInfo::own("net.ipv4.tcp_limit_output_bytes", AMOUNT, "bytes").default("4194304"),
    KeyInfo::own("net.ipv4.tcp_autocorking", NUMBER, "switch")
        .range(0, 1)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_slow_start_after_idle", NUMBER, "switch")
        .range(0, BYTE)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_no_metrics_save", NUMBER, "switch")
        .range(0, BYTE)
        .default("0"),
    KeyInfo::own("net.ipv4.tcp_no_ssthresh_metrics_save", NUMBER, "switch")
        .range(0, 1)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_moderate_rcvbuf", NUMBER, "switch")
        .range(0, BYTE)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_shrink_window", NUMBER, "switch")
        .range(0, 1)
        .default("0"),
    KeyInfo::own("net.ipv4.tcp_mtu_probing", NUMBER, "mode")
        .range(0, BYTE)
        .default("0"),
    KeyInfo::own("net.ipv4.tcp_min_tso_segs", NUMBER, "segments")
        .range(1, BYTE)
        .default("2"),
    KeyInfo::own("net.ipv4.tcp_tso_win_divisor", NUMBER, "")
        .range(0, BYTE)
        .default("3"),
    KeyInfo::own("net.ipv4.tcp_tso_rtt_log", NUMBER, "log2 us")
        .range(0, BYTE)
        .default("9"),
    KeyInfo::own("net.ipv4.tcp_pingpong_thresh", NUMBER, "replies")
        .range(1, BYTE)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_backlog_ack_defer", NUMBER, "switch")
        .range(0, 1)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_comp_sack_nr", NUMBER, "ACKs")
        .range(0, BYTE)
        .default("44"),
    KeyInfo::own("net.ipv4.tcp_comp_sack_delay_ns", NUMBER, "ns")
        .range(0, LONG)
        .default("1000000"),
    KeyInfo::own("net.ipv4.tcp_rto_min_us", NUMBER, "us")
        .range(1, INT)
        .default("200000"),
    KeyInfo::own("net.ipv4.tcp_rto_max_ms", NUMBER, "ms")
        .range(1_000, 120_000)
        .default("120000"),
    KeyInfo::own("net.ipv4.tcp_recovery", NUMBER, "bits")
        .range(0, BYTE)
        .default("1"),
    KeyInfo::own("net.ipv4.tcp_early_retrans", NUMBER, "mode")
        .range(0, 4)
        .default("3"),
    KeyInfo::own("net.unix.max_dgram_qlen", AMOUNT, "datagrams")
        .acts(Acts::NewSockets)
        .default("10")
        .means(
            "datagrams that wait on a Unix socket; on streams it bounds the accept queue's default",
        ),
    // Named by old guides.
    KeyInfo::machine("net.ipv4.tcp_low_latency", NUMBER, "switch")
        .range(0, 1)
        .no_op(SINCE_CC)
        .default("0"),
    KeyInfo::own("net.ipv4.tcp_fack", NUMBER, "switch")
        .range(0, BYTE)
        .no_op("forward acknowledgement left in Linux 4.15; RACK does its work")
        .default("0")
        .means("forward acknowledgement"),
    KeyInfo::own("net.ipv4.tcp_adv_win_scale", NUMBER, "log2")
        .range(-31, 31)
        .no_op("without effect since Linux 6.6, which learns the ratio of bytes to memory")
        .default("1")
        .means("share of the receive buffer that is offered as window"),
    KeyInfo::own("net.ipv4.tcp_tw_recycle", NUMBER, "switch")
        .removed("removed in Linux 4.12: it broke peers behind NAT; use tcp_tw_reuse")
        .means("fast recycling of TIME_WAIT"),
    KeyInfo::own("net.ipv4.tcp_abc", NUMBER, "mode")
        .removed("removed in Linux 3.9")
        .means("appropriate byte counting"),
    KeyInfo::own("net.ipv4.tcp_dma_copybreak", NUMBER, "bytes")
        .removed("removed in Linux 3.18 with receive offload to DMA engines")
        .means("smallest read that a DMA engine copied"),
    KeyInfo::own("net.ipv4.tcp_max_ssthresh", NUMBER, "segments")
        .removed("removed in Linux 3.17")
        .means("bound of limited slow start"),
    KeyInfo::own("net.ipv4.tcp_cookie_size", NUMBER, "bytes")
        .removed("removed in Linux 3.10 with TCP cookie transactions")
        .means("size of TCPCT cookies"),
];

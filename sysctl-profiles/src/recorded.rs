//! The keys that every result document records.

use crate::read::{ReadError, read};

/// One key of every result document, and why it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedKey {
    /// The dotted key.
    pub key: &'static str,
    /// How it can change a measurement, in one line.
    pub reason: &'static str,
}

const fn record(key: &'static str, reason: &'static str) -> RecordedKey {
    RecordedKey { key, reason }
}

/// What every result document records, in the document's order.
///
/// First the classic list ("Linux sysctl vars of interest" of the Twisted test of 2013, with the keys that
/// the WebSocket test of 2012 set), then what newer kernels (read on 6.18) added that can change a network
/// measurement. Keys that hold secrets (tcp_fastopen_key) are not recorded. A key that a kernel or a network
/// namespace does not have is recorded as absent, never left out.
pub const RECORDED_KEYS: &[RecordedKey] = &[
    // The classic list.
    record(
        "fs.file-max",
        "open files of the whole system; above it accept and socket fail with ENFILE",
    ),
    record(
        "fs.file-nr",
        "open files now, and the maximum: how near the system is to it",
    ),
    record(
        "fs.pipe-max-size",
        "largest pipe of an unprivileged user; bounds splice",
    ),
    record(
        "net.core.somaxconn",
        "listen(2) silently cuts its backlog to this",
    ),
    record(
        "net.core.netdev_max_backlog",
        "packets queued per CPU for loopback, veth and RPS; above it they are dropped",
    ),
    record(
        "net.core.optmem_max",
        "control and MSG_ZEROCOPY notification memory per socket, bytes",
    ),
    record(
        "net.core.rmem_default",
        "receive buffer of sockets other than TCP, bytes",
    ),
    record(
        "net.core.rmem_max",
        "SO_RCVBUF is silently cut to this, bytes; part of TCP's window scale",
    ),
    record(
        "net.core.wmem_default",
        "send buffer of sockets other than TCP, bytes",
    ),
    record(
        "net.core.wmem_max",
        "SO_SNDBUF is silently cut to this, bytes",
    ),
    record(
        "net.ipv4.ip_local_port_range",
        "ephemeral ports: how many connections one address pair can have",
    ),
    record(
        "net.ipv4.tcp_congestion_control",
        "how fast a stream grows, even over loopback",
    ),
    record(
        "net.ipv4.tcp_fastopen",
        "data in SYN: a round trip less per connection",
    ),
    record(
        "net.ipv4.tcp_low_latency",
        "named by old guides; no effect since Linux 4.14",
    ),
    record(
        "net.ipv4.tcp_max_orphans",
        "closed but unfinished connections; above it they are reset",
    ),
    record(
        "net.ipv4.tcp_max_syn_backlog",
        "half-open connections per listener; acts only when tcp_syncookies is 0",
    ),
    record(
        "net.ipv4.tcp_mem",
        "TCP memory of the whole system, pages: low, pressure, maximum",
    ),
    record(
        "net.ipv4.tcp_rmem",
        "receive buffer autotuning, bytes: minimum, start, maximum",
    ),
    record(
        "net.ipv4.tcp_syncookies",
        "what happens when the accept queue of a listener is full",
    ),
    record(
        "net.ipv4.tcp_window_scaling",
        "0 bounds every stream by a 64 KiB window",
    ),
    record(
        "net.ipv4.tcp_wmem",
        "send buffer autotuning, bytes: minimum, start, maximum",
    ),
    // Connection churn.
    record(
        "net.ipv4.tcp_tw_reuse",
        "whether connect may reuse a port in TIME_WAIT (2: on loopback only)",
    ),
    record(
        "net.ipv4.tcp_tw_reuse_delay",
        "ms before such a port may be reused: bounds connection storms",
    ),
    record(
        "net.ipv4.tcp_max_tw_buckets",
        "sockets in TIME_WAIT; above it the state is skipped",
    ),
    record(
        "net.ipv4.tcp_fin_timeout",
        "s that an orphan stays in FIN_WAIT_2",
    ),
    record(
        "net.ipv4.tcp_abort_on_overflow",
        "1: a full accept queue answers with RST, not with silence",
    ),
    record(
        "net.ipv4.tcp_timestamps",
        "12 bytes per segment; tcp_tw_reuse needs them",
    ),
    record(
        "net.ipv4.ip_local_reserved_ports",
        "ports taken out of the ephemeral range",
    ),
    record(
        "net.ipv4.ip_unprivileged_port_start",
        "lowest port that a user may bind",
    ),
    record(
        "net.ipv4.tcp_ehash_entries",
        "buckets of the connection hash table; negative: shared with the initial namespace",
    ),
    record(
        "net.ipv4.tcp_child_ehash_entries",
        "hash table of network namespaces made later",
    ),
    // How bytes are cut, held back and acknowledged.
    record(
        "net.ipv4.tcp_notsent_lowat",
        "unsent bytes at which a socket stops being writable",
    ),
    record(
        "net.ipv4.tcp_limit_output_bytes",
        "bytes of one socket allowed in the device queue",
    ),
    record(
        "net.ipv4.tcp_autocorking",
        "small writes are held back while an earlier packet is queued",
    ),
    record(
        "net.ipv4.tcp_slow_start_after_idle",
        "1: bursts after a pause start slowly again",
    ),
    record(
        "net.ipv4.tcp_no_metrics_save",
        "0: a run inherits cwnd and rtt of the run before it",
    ),
    record(
        "net.ipv4.tcp_no_ssthresh_metrics_save",
        "0: a run inherits ssthresh of the run before it",
    ),
    record(
        "net.ipv4.tcp_moderate_rcvbuf",
        "0 turns receive buffer autotuning off",
    ),
    record(
        "net.ipv4.tcp_shrink_window",
        "whether an offered window may be taken back",
    ),
    record(
        "net.ipv4.tcp_sack",
        "selective acknowledgement: recovery after loss",
    ),
    record(
        "net.ipv4.tcp_dsack",
        "duplicate selective acknowledgement: undo of needless recovery",
    ),
    record("net.ipv4.tcp_ecn", "whether queues mark instead of drop"),
    record(
        "net.ipv4.tcp_mtu_probing",
        "whether segment sizes are probed; matters with jumbo frames",
    ),
    record(
        "net.ipv4.tcp_min_tso_segs",
        "smallest burst handed to segmentation offload",
    ),
    record(
        "net.ipv4.tcp_tso_win_divisor",
        "share of the window that one burst may take",
    ),
    record(
        "net.ipv4.tcp_tso_rtt_log",
        "how round trip time enlarges bursts",
    ),
    record(
        "net.ipv4.tcp_pingpong_thresh",
        "when a connection counts as interactive: delayed ACK in rr",
    ),
    record(
        "net.ipv4.tcp_backlog_ack_defer",
        "ACKs are put off while the socket backlog is worked off",
    ),
    record(
        "net.ipv4.tcp_comp_sack_nr",
        "how many selective ACKs may be merged",
    ),
    record(
        "net.ipv4.tcp_comp_sack_delay_ns",
        "how long selective ACKs may wait, ns",
    ),
    record(
        "net.ipv4.tcp_rto_min_us",
        "shortest retransmission timeout, us: the length of a stall after loss",
    ),
    record(
        "net.ipv4.tcp_rto_max_ms",
        "longest retransmission timeout, ms",
    ),
    record("net.ipv4.tcp_recovery", "which loss detection is in use"),
    record(
        "net.ipv4.tcp_early_retrans",
        "whether tail loss probes are sent",
    ),
    record(
        "net.ipv4.tcp_available_congestion_control",
        "what --congestion can choose from",
    ),
    record(
        "net.ipv4.tcp_allowed_congestion_control",
        "what --congestion can choose without privilege",
    ),
    // Devices, softirq and batching.
    record(
        "net.core.busy_read",
        "us of polling the device in receive; no effect on loopback",
    ),
    record(
        "net.core.busy_poll",
        "us of polling the device in poll and epoll; no effect on loopback",
    ),
    record(
        "net.core.default_qdisc",
        "queueing of devices that come up later; loopback and veth stay noqueue",
    ),
    record(
        "net.core.dev_weight",
        "packets per device and poll, also for the loopback backlog",
    ),
    record(
        "net.core.flow_limit_table_len",
        "flows told apart when a backlog overflows",
    ),
    record(
        "net.core.gro_normal_batch",
        "packets handed up together after receive offload",
    ),
    record(
        "net.core.high_order_alloc_disable",
        "1: socket memory comes in single pages",
    ),
    record(
        "net.core.mem_pcpu_rsv",
        "pages of socket memory that each CPU keeps in advance",
    ),
    record("net.core.netdev_budget", "packets per softirq turn"),
    record("net.core.netdev_budget_usecs", "us per softirq turn"),
    record(
        "net.core.rps_sock_flow_entries",
        "receive flow steering: 0 is off",
    ),
    record(
        "net.core.skb_defer_max",
        "buffers freed on the CPU that allocated them, per batch",
    ),
    record(
        "net.core.bpf_jit_enable",
        "0: socket and traffic filters are interpreted",
    ),
    record(
        "net.core.txrehash",
        "whether a stalled flow may change its path",
    ),
    record(
        "net.netfilter.nf_conntrack_max",
        "tracked connections; above it new ones are dropped",
    ),
    record(
        "net.netfilter.nf_conntrack_buckets",
        "hash table of the connection tracker",
    ),
    // Limits and noise outside the network.
    record(
        "fs.nr_open",
        "highest descriptor limit that a process can have",
    ),
    record(
        "fs.pipe-user-pages-soft",
        "pipe pages of a user before new pipes shrink to two",
    ),
    record(
        "fs.epoll.max_user_watches",
        "descriptors that a user's epoll sets can watch",
    ),
    record("fs.aio-max-nr", "asynchronous I/O requests of the system"),
    record(
        "kernel.io_uring_disabled",
        "0: io_uring for all; 1: for one group; 2: for nobody",
    ),
    record(
        "kernel.io_uring_group",
        "the group that may use io_uring when the former is 1",
    ),
    record(
        "kernel.numa_balancing",
        "page migration faults during a run",
    ),
    record("kernel.timer_migration", "timers may move to busy CPUs"),
    record(
        "kernel.nmi_watchdog",
        "one performance counter and its interrupts",
    ),
    record(
        "kernel.sched_autogroup_enabled",
        "sessions share CPU time as groups",
    ),
    record(
        "kernel.sched_rt_runtime_us",
        "time that real-time threads may take of each period",
    ),
    record(
        "kernel.perf_event_paranoid",
        "whether a user can trace system calls",
    ),
    record(
        "kernel.randomize_va_space",
        "address layout, a source of differences between runs",
    ),
    record(
        "vm.max_map_count",
        "mappings of a process: many rings and buffers need many",
    ),
    record(
        "vm.overcommit_memory",
        "whether large buffers are granted before they are used",
    ),
    record(
        "vm.swappiness",
        "whether idle connections' memory goes to swap",
    ),
];

/// Reads all of [`RECORDED_KEYS`], in their order. A key that cannot be read has its reason.
///
/// About a hundred small files: below a millisecond, and still nothing to do inside a measuring window.
#[must_use]
pub fn read_recorded() -> Vec<(&'static str, Result<String, ReadError>)> {
    RECORDED_KEYS
        .iter()
        .map(|recorded| (recorded.key, read(recorded.key)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_valid_unique_and_explained() {
        let mut seen = BTreeSet::new();
        for recorded in RECORDED_KEYS {
            crate::relative_path(recorded.key).expect("a valid key");
            assert!(seen.insert(recorded.key), "{} is there twice", recorded.key);
            assert!(
                !recorded.reason.is_empty() && !recorded.reason.contains('\n'),
                "{}",
                recorded.key
            );
        }
    }

    #[test]
    fn the_classic_list_is_complete() {
        let classic = [
            "fs.file-max",
            "fs.pipe-max-size",
            "fs.file-nr",
            "net.core.somaxconn",
            "net.core.netdev_max_backlog",
            "net.ipv4.tcp_max_syn_backlog",
            "net.ipv4.tcp_max_orphans",
            "net.ipv4.ip_local_port_range",
            "net.core.optmem_max",
            "net.ipv4.tcp_mem",
            "net.core.rmem_default",
            "net.core.rmem_max",
            "net.ipv4.tcp_rmem",
            "net.core.wmem_default",
            "net.core.wmem_max",
            "net.ipv4.tcp_wmem",
            "net.ipv4.tcp_congestion_control",
            "net.ipv4.tcp_fastopen",
            "net.ipv4.tcp_low_latency",
            "net.ipv4.tcp_window_scaling",
            "net.ipv4.tcp_syncookies",
        ];
        for key in classic {
            assert!(
                RECORDED_KEYS.iter().any(|recorded| recorded.key == key),
                "{key} is not recorded"
            );
        }
    }

    #[test]
    fn every_key_is_answered_with_a_value_or_a_reason() {
        let read = read_recorded();
        assert_eq!(read.len(), RECORDED_KEYS.len());
        if cfg!(target_os = "linux") {
            let values = read.iter().filter(|(_, value)| value.is_ok()).count();
            assert!(values > 20, "only {values} keys could be read");
        }
        for (key, value) in read {
            if let Err(error) = value {
                assert!(error.to_string().contains(key), "{error}");
            }
        }
    }
}

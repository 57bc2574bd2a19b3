use std::collections::BTreeSet;

use super::*;

#[test]
fn keys_are_unique_and_explained() {
    let mut seen = BTreeSet::new();
    for info in keys() {
        assert!(seen.insert(info.key), "{} is there twice", info.key);
        assert!(!info.meaning().is_empty(), "{} has no meaning", info.key);
        let settable = matches!(info.access, Access::Settable | Access::NoOp(_));
        assert!(
            !info.default.is_empty() || !settable,
            "{} has no default",
            info.key
        );
        assert!(info.range.0 <= info.range.1, "{}", info.key);
        for alias in info.aliases {
            assert!(seen.insert(alias), "{alias} is there twice");
        }
    }
}

#[test]
fn a_meaning_is_written_once() {
    for info in keys().filter(|info| !info.meaning.is_empty()) {
        let recorded = RECORDED_KEYS
            .iter()
            .any(|recorded| recorded.key == info.key);
        assert!(!recorded, "{} is explained where it is recorded", info.key);
    }
}

#[test]
fn every_recorded_key_is_known_or_denied() {
    for recorded in RECORDED_KEYS {
        assert_ne!(
            find(recorded.key).err(),
            Some(Refusal::Unknown),
            "{}",
            recorded.key
        );
    }
}

#[test]
fn one_way_keys_secrets_and_guards_are_never_written() {
    for key in [
        "kernel.modules_disabled",
        "kernel.kexec_load_disabled",
        "kernel.unprivileged_bpf_disabled",
        "kernel.yama.ptrace_scope",
        "kernel.io_uring_disabled",
        "kernel.io_uring_group",
        "kernel.core_pattern",
        "net.ipv4.tcp_fastopen_key",
        "net/ipv4/tcp_fastopen_key",
        "/proc/sys/net/ipv4/tcp_fastopen_key",
        "net.ipv6.conf.eth0.stable_secret",
        "net.ipv4.ip_forward",
        "net.ipv4.conf.all.rp_filter",
        "net.ipv4.conf.eth0/100.rp_filter",
        "net.ipv4.route.flush",
        "vm.drop_caches",
        "fs.file-nr",
        "net.ipv4.tcp_available_congestion_control",
    ] {
        assert!(
            matches!(find(key), Err(Refusal::Never(_))),
            "{key}: {:?}",
            find(key)
        );
    }
}

#[test]
fn one_key_has_many_spellings() {
    for (spelling, key) in [
        ("net.core.somaxconn", "net.core.somaxconn"),
        ("net/core/somaxconn", "net.core.somaxconn"),
        ("/proc/sys/net/core/somaxconn", "net.core.somaxconn"),
        ("net.nf_conntrack_max", "net.netfilter.nf_conntrack_max"),
        (
            "/sys/class/net/eth0/threaded",
            "/sys/class/net/eth0/threaded",
        ),
        (
            "/sys/class/net/*/queues/rx-*/rps_cpus",
            "/sys/class/net/*/queues/rx-*/rps_cpus",
        ),
    ] {
        let (_, found) = find(spelling).unwrap_or_else(|refusal| panic!("{spelling}: {refusal:?}"));
        assert_eq!(found, key);
    }
}

#[test]
fn what_is_not_listed_is_refused() {
    for key in [
        "net.core.no_such_key",
        "dev.cdrom.autoclose",
        "/sys/power/state",
        "/sys/class/net/eth0/mtu",
    ] {
        assert_eq!(find(key).err(), Some(Refusal::Unknown), "{key}");
    }
    for key in [
        "",
        "net..core",
        "../etc/passwd",
        "/etc/passwd",
        "/sys/class/net/../../power/state",
        "/sys//x",
    ] {
        assert!(
            matches!(find(key), Err(Refusal::Invalid(_))),
            "{key:?}: {:?}",
            find(key)
        );
    }
}

#[test]
fn ceilings_come_before_what_they_bound() {
    let rank = |key: &str| find(key).expect("it is listed").0.rank();
    for (first, then) in [
        ("fs.nr_open", "fs.file-max"),
        ("fs.file-max", "net.core.somaxconn"),
        (
            "net.ipv4.ip_unprivileged_port_start",
            "net.ipv4.ip_local_port_range",
        ),
        ("net.core.default_qdisc", "net.ipv4.tcp_congestion_control"),
        (
            "net.ipv4.tcp_allowed_congestion_control",
            "net.ipv4.tcp_congestion_control",
        ),
        ("net.core.rmem_max", "net.ipv4.tcp_rmem"),
        ("net.ipv4.tcp_mem", "net.ipv4.tcp_rmem"),
    ] {
        assert!(rank(first) < rank(then), "{first}, {then}");
    }
}

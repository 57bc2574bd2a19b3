//! What is never written, whatever a profile says.

/// Why `key` is never written; `None` when it is not on the list.
pub(super) fn reason(key: &str) -> Option<&'static str> {
    DENIED
        .iter()
        .find(|(pattern, _)| covers(pattern, key))
        .map(|(_, why)| *why)
}

const ONE_WAY: &str = "once set it cannot be put back before a reboot";
const SECRET: &str = "it is a secret, and linerate would have to keep it in a file";
const TRIGGER: &str = "it is a command and not a value: there is nothing to put back";
const RESETS: &str = "writing it resets other settings, which could not all be put back";
const SECURITY: &str = "it protects the machine and has nothing to do with how fast a network is";
const PROGRAM: &str = "it names a program that the kernel runs as root";

/// A `*` at either end stands for anything.
const DENIED: &[(&str, &str)] = &[
    ("kernel.modules_disabled", ONE_WAY),
    ("kernel.kexec_load_disabled", ONE_WAY),
    ("kernel.kexec_load_limit_*", ONE_WAY),
    ("kernel.unprivileged_bpf_disabled", ONE_WAY),
    ("kernel.yama.ptrace_scope", ONE_WAY),
    ("kernel.dmesg_restrict", SECURITY),
    ("kernel.kptr_restrict", SECURITY),
    ("kernel.perf_event_paranoid", SECURITY),
    ("kernel.randomize_va_space", SECURITY),
    ("kernel.sysrq", SECURITY),
    ("kernel.io_uring_disabled", SECURITY),
    ("kernel.io_uring_group", SECURITY),
    ("kernel.apparmor_*", SECURITY),
    ("kernel.unprivileged_userns_*", SECURITY),
    ("kernel.core_pattern", PROGRAM),
    ("kernel.modprobe", PROGRAM),
    ("kernel.hotplug", PROGRAM),
    ("kernel.poweroff_cmd", PROGRAM),
    ("kernel.panic*", SECURITY),
    ("kernel.random.*", SECRET),
    ("fs.protected_*", SECURITY),
    ("fs.suid_dumpable", SECURITY),
    ("fs.binfmt_misc.*", PROGRAM),
    ("net.core.bpf_jit_harden", SECURITY),
    ("net.core.bpf_jit_enable", SECURITY),
    ("net.core.netdev_rss_key", SECRET),
    ("net.ipv4.tcp_fastopen_key", SECRET),
    ("*.stable_secret", SECRET),
    ("net.ipv4.ip_forward", RESETS),
    (
        "net.ipv4.conf.*",
        "it decides whom the machine talks to; linerate does not change reachability",
    ),
    (
        "net.ipv6.conf.*",
        "it decides whom the machine talks to; linerate does not change reachability",
    ),
    ("*.route.flush", TRIGGER),
    ("vm.drop_caches", TRIGGER),
    ("vm.compact_memory", TRIGGER),
    ("vm.mmap_*", SECURITY),
    ("vm.unprivileged_userfaultfd", SECURITY),
    ("user.max_*", SECURITY),
];

fn covers(pattern: &str, key: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(tail), _) => key.ends_with(tail),
        (None, Some(head)) => key.starts_with(head),
        (None, None) => pattern == key,
    }
}

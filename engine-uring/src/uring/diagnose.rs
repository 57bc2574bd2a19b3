//! Why io_uring refused: errno alone does not tell which wall was hit.
//!
//! EPERM comes from `kernel.io_uring_disabled`, from a seccomp filter or from a security module;
//! ENOSYS from an old or sandboxed kernel, and from other seccomp filters; ENOMEM from the
//! locked-memory limit. So the settings are read, and the text names the wall that stands.

use engine::os::Resource;
use std::fs;
use std::io;

/// Which call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Setup,
    Register,
    Enter,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Setup => "io_uring_setup",
            Self::Register => "io_uring_register",
            Self::Enter => "io_uring_enter",
        }
    }
}

/// What may stand in the way, as far as it can be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Walls {
    /// `kernel.io_uring_disabled`: 0 open, 1 privileged processes and one group only, 2 nobody.
    disabled: Option<i64>,
    /// `kernel.io_uring_group`: the group of level 1; -1 none.
    group: Option<i64>,
    /// `Seccomp:` of /proc/self/status: 0 none, 1 strict, 2 filter.
    seccomp: Option<i64>,
    /// RLIMIT_MEMLOCK, soft, bytes; `None` when unlimited.
    memlock_bytes: Option<u64>,
}

impl Walls {
    pub(super) fn read() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        Self {
            disabled: number("/proc/sys/kernel/io_uring_disabled"),
            group: number("/proc/sys/kernel/io_uring_group"),
            seccomp: fs::read_to_string("/proc/self/status")
                .ok()
                .and_then(|status| seccomp_of(&status)),
            memlock_bytes: memlock_bytes(),
        }
    }

    /// The reason and the cure for `errno` from `call`.
    pub(super) fn explain(&self, call: Call, errno: i32) -> (String, String) {
        let answer = format!("{} answered {}", call.name(), describe(errno));
        match errno {
            libc::EPERM | libc::EACCES => self.explain_forbidden(&answer),
            libc::ENOSYS => self.explain_missing(&answer),
            libc::ENOMEM => (
                format!("{answer}: the locked-memory limit is {}, for all rings of this user together", self.memlock_text()),
                "raise the limit: `ulimit -l unlimited`, LimitMEMLOCK=infinity in a systemd unit, or --ulimit memlock=-1 for a container".to_owned(),
            ),
            libc::EMFILE | libc::ENFILE => (
                format!("{answer}: no descriptor is left for the ring"),
                "raise the limit on open files (`ulimit -n`), or use fewer workers".to_owned(),
            ),
            libc::EINVAL => (
                format!("{answer}: this kernel's io_uring is too old for multishot receives and buffer rings (Linux 6.0)"),
                "use a newer kernel, or another engine: --engine epoll".to_owned(),
            ),
            _ => (
                format!("{answer}: this system offers io_uring in part or not at all"),
                "use another engine: --engine epoll".to_owned(),
            ),
        }
    }

    fn explain_forbidden(&self, answer: &str) -> (String, String) {
        match (self.disabled, self.group, self.seccomp) {
            (Some(2), ..) => (
                format!("{answer}: the sysctl kernel.io_uring_disabled is 2, which forbids io_uring to everybody"),
                "as root of the host: sysctl -w kernel.io_uring_disabled=0; or use --engine epoll".to_owned(),
            ),
            (Some(1), group, _) => (
                format!("{answer}: the sysctl kernel.io_uring_disabled is 1, which allows io_uring to privileged processes{} only", group_text(group)),
                "as root of the host: sysctl -w kernel.io_uring_disabled=0, or sysctl -w kernel.io_uring_group=GID with one of your groups; or use --engine epoll".to_owned(),
            ),
            (_, _, Some(1..)) => seccomp_wall(answer),
            _ => (
                format!("{answer}, though neither kernel.io_uring_disabled nor a seccomp filter is in force: probably a security module (SELinux, AppArmor)"),
                "look for a denial in the audit log; or use --engine epoll".to_owned(),
            ),
        }
    }

    fn explain_missing(&self, answer: &str) -> (String, String) {
        match self.seccomp {
            Some(1..) => seccomp_wall(answer),
            _ => (
                format!(
                    "{answer}: this kernel (or the sandbox that plays the kernel) has no io_uring"
                ),
                "run on Linux 6.0 or later, built with CONFIG_IO_URING; or use --engine epoll"
                    .to_owned(),
            ),
        }
    }

    fn memlock_text(&self) -> String {
        self.memlock_bytes.map_or("unlimited".to_owned(), |bytes| {
            format!("{} KiB", bytes / 1024)
        })
    }
}

fn seccomp_wall(answer: &str) -> (String, String) {
    (
        format!("{answer}: a seccomp filter is in force, and the default profiles of container runtimes forbid io_uring"),
        "start the container with a profile that allows io_uring_setup, io_uring_enter and io_uring_register (docker run --security-opt seccomp=PROFILE.json); or use --engine epoll".to_owned(),
    )
}

fn group_text(group: Option<i64>) -> String {
    match group {
        Some(gid @ 0..) => format!(" and members of group {gid}"),
        _ => String::new(),
    }
}

/// A refusal while a worker starts, as an error that says what was attempted and what helps.
pub(super) fn explain(
    call: Call,
    error: io::Error,
    sq_entries: u32,
    cq_entries: u32,
    buffers: u32,
) -> io::Error {
    let Some(errno) = error.raw_os_error() else {
        return error;
    };
    let (reason, cure) = Walls::read().explain(call, errno);
    let needed_kib = ring_bytes(sq_entries, cq_entries, buffers).div_ceil(1024);
    let attempt = match call {
        Call::Setup => {
            format!("a ring of {sq_entries} submission and {cq_entries} completion entries")
        }
        Call::Register | Call::Enter => format!("a ring of {buffers} receive buffers"),
    };
    let text = format!(
        "engine uring: cannot create {attempt} (about {needed_kib} KiB of locked memory for this worker): {reason}; {cure}"
    );
    io::Error::new(error.kind(), text)
}

/// Adds what was asked for to a refusal, for it may be the reason.
pub(super) fn with_options(error: io::Error, written: &[(String, String)]) -> io::Error {
    if written.is_empty() {
        return error;
    }
    let options: Vec<String> = written
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let text = format!("{error} (options asked for: {})", options.join(", "));
    io::Error::new(error.kind(), text)
}

/// The ring's own descriptor table was refused.
pub(super) fn no_table(error: &io::Error, entries: u32) -> io::Error {
    let text = format!(
        "engine uring: direct=true: cannot register a table of {entries} descriptors: {error}; it may have at most as \
         many entries as the limit on open files (`ulimit -n`): raise that, use fewer connections \
         (`serve --max-connections`), or leave direct out"
    );
    io::Error::new(error.kind(), text)
}

/// Memory charged to RLIMIT_MEMLOCK: 64 bytes a submission, 16 a completion, 16 a buffer, each
/// area rounded up to pages, and a page for the queue heads.
pub(super) fn ring_bytes(sq_entries: u32, cq_entries: u32, buffers: u32) -> u64 {
    let pages = |bytes: u64| bytes.next_multiple_of(4096);
    pages(u64::from(sq_entries) * 64)
        + pages(u64::from(cq_entries) * 16)
        + pages(u64::from(buffers) * 16)
        + 4096
}

/// Not "unavailable": the interface is there, a limit is too low.
pub(super) fn is_resource(errno: i32) -> bool {
    matches!(
        errno,
        libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EAGAIN
    )
}

fn describe(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => "EPERM",
        libc::EACCES => "EACCES",
        libc::ENOSYS => "ENOSYS",
        libc::ENOMEM => "ENOMEM",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::EINVAL => "EINVAL",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        _ => return format!("\"{}\"", io::Error::from_raw_os_error(errno)),
    };
    name.to_owned()
}

fn seccomp_of(status: &str) -> Option<i64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))?
        .trim()
        .parse()
        .ok()
}

fn memlock_bytes() -> Option<u64> {
    let limit = Resource::LockedMemory.limit().ok()?;
    (limit.soft != Resource::UNLIMITED).then_some(limit.soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: Walls = Walls {
        disabled: Some(0),
        group: Some(-1),
        seccomp: Some(0),
        memlock_bytes: Some(65_536),
    };

    #[test]
    fn each_wall_is_told_from_the_others() {
        let cases = [
            (
                Walls {
                    disabled: Some(2),
                    ..CLEAR
                },
                libc::EPERM,
                "io_uring_disabled is 2",
                "kernel.io_uring_disabled=0",
            ),
            (
                Walls {
                    disabled: Some(1),
                    ..CLEAR
                },
                libc::EPERM,
                "privileged processes only",
                "io_uring_group",
            ),
            (
                Walls {
                    disabled: Some(1),
                    group: Some(7),
                    ..CLEAR
                },
                libc::EPERM,
                "members of group 7",
                "io_uring_group",
            ),
            (
                Walls {
                    seccomp: Some(2),
                    ..CLEAR
                },
                libc::EPERM,
                "seccomp filter",
                "--security-opt",
            ),
            (
                Walls {
                    seccomp: Some(2),
                    ..CLEAR
                },
                libc::ENOSYS,
                "seccomp filter",
                "--security-opt",
            ),
            (CLEAR, libc::EPERM, "security module", "audit log"),
            (CLEAR, libc::ENOSYS, "has no io_uring", "CONFIG_IO_URING"),
            (CLEAR, libc::ENOMEM, "limit is 64 KiB", "ulimit -l"),
            (CLEAR, libc::EINVAL, "too old", "newer kernel"),
            (CLEAR, libc::EOPNOTSUPP, "EOPNOTSUPP", "--engine epoll"),
            (Walls::default(), libc::EPERM, "EPERM", "--engine epoll"),
        ];
        for (walls, errno, reason_part, cure_part) in cases {
            let (reason, cure) = walls.explain(Call::Setup, errno);
            assert!(reason.contains(reason_part), "{reason}");
            assert!(cure.contains(cure_part), "{cure}");
        }
    }

    #[test]
    fn a_memory_refusal_names_both_numbers() {
        let refused = io::Error::from_raw_os_error(libc::ENOMEM);
        let text = explain(Call::Setup, refused, 4096, 65_536, 1024).to_string();
        assert!(text.contains("1300 KiB of locked memory"), "{text}");
        assert!(text.contains("locked-memory limit is"), "{text}");
    }

    #[test]
    fn seccomp_is_read_from_a_status_file() {
        assert_eq!(
            seccomp_of("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
            Some(2)
        );
        assert_eq!(seccomp_of("Name:\tx\n"), None);
    }
}

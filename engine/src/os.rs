//! Small facts and settings of the running process that need a system call of their own.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Resource use of this process so far, from getrusage(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessUse {
    /// CPU time in user mode, ns. Sampled by the scheduler tick, so coarse.
    pub user_ns: u64,
    /// CPU time in the kernel, ns. Sampled likewise.
    pub system_ns: u64,
    /// Context switches because the process waited.
    pub voluntary_switches: u64,
    /// Context switches because the scheduler took the CPU away.
    pub involuntary_switches: u64,
}

/// Reads [`ProcessUse`].
pub fn process_use() -> ProcessUse {
    // SAFETY: all-zero bytes are a valid rusage: it is made of integers only.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid rusage for the duration of the call.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    ProcessUse {
        user_ns: ns(usage.ru_utime),
        system_ns: ns(usage.ru_stime),
        voluntary_switches: usage.ru_nvcsw as u64,
        involuntary_switches: usage.ru_nivcsw as u64,
    }
}

/// Lets the calling thread run wherever the main thread of the process may, instead of only where the
/// thread that started it is pinned. Nothing happens where that cannot be had: it only helps.
pub fn leave_the_cpu_of_a_worker() {
    #[cfg(target_os = "linux")]
    {
        // Room for 8192 CPUs, the most that Linux is configured for (NR_CPUS).
        let mut mask = [0u64; 128];
        let (bytes, ptr) = (size_of_val(&mask), mask.as_mut_ptr().cast());
        // SAFETY: `mask` has `bytes` writable bytes during the first call and is only read by the
        // second; pid 0 is the calling thread, and the process's id that of its main thread.
        unsafe {
            if libc::sched_getaffinity(libc::getpid(), bytes, ptr) == 0 {
                libc::sched_setaffinity(0, bytes, ptr);
            }
        }
    }
}

/// Soft and hard limit of open descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// In force.
    pub soft: u64,
    /// The most that this process may set.
    pub hard: u64,
}

/// Raises RLIMIT_NOFILE's soft limit to the hard limit and returns what is in force then.
///
/// # Errors
/// When the limit cannot be read.
pub fn raise_descriptor_limit() -> io::Result<DescriptorLimit> {
    let limit = Resource::Descriptors.limit()?;
    // macOS calls the hard limit infinite and refuses more than OPEN_MAX (sys/syslimits.h).
    let wanted = if cfg!(target_os = "macos") {
        limit.hard.min(10_240)
    } else {
        limit.hard
    };
    let raised = ResourceLimit {
        soft: wanted,
        ..limit
    };
    let granted = limit.soft >= wanted || Resource::Descriptors.set_limit(raised).is_ok();
    let limit = if granted && limit.soft < wanted {
        raised
    } else {
        limit
    };
    Ok(DescriptorLimit {
        soft: limit.soft,
        hard: limit.hard,
    })
}

/// Has the system make room for so many descriptors at once. On Linux a table that grows while threads share it waits
/// for RCU each time that it doubles (expand_fdtable() in fs/file.c), 6 to 15 ms: in the middle of a ramp, whoever
/// connects meanwhile would be said to be slow.
///
/// Nothing is lost where it is refused: the table grows later.
pub fn reserve_descriptors(count: u64) {
    let Ok(last) = libc::c_int::try_from(count.saturating_sub(1)) else {
        return;
    };
    // SAFETY: the call takes integers; what it returns is a new descriptor or -1.
    let last = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, last) };
    if last >= 0 {
        // SAFETY: it is open, and nobody else knows it.
        drop(unsafe { OwnedFd::from_raw_fd(last) });
    }
}

/// What a process may use only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// RLIMIT_NOFILE: open descriptors.
    Descriptors,
    /// RLIMIT_MEMLOCK: locked memory, bytes. Rings of io_uring count against it.
    LockedMemory,
}

/// Soft and hard limit of a resource. `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// In force.
    pub soft: u64,
    /// The most that an unprivileged process may set.
    pub hard: u64,
}

impl Resource {
    /// No limit at all.
    pub const UNLIMITED: u64 = u64::MAX;

    /// The limit of this process, from getrlimit(2).
    ///
    /// # Errors
    /// What the system answered.
    pub fn limit(self) -> io::Result<ResourceLimit> {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limit` is a valid rlimit for the duration of the call.
        let result = unsafe {
            match self {
                Self::Descriptors => libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit),
                Self::LockedMemory => libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit),
            }
        };
        match result {
            0 => Ok(ResourceLimit {
                soft: amount(limit.rlim_cur),
                hard: amount(limit.rlim_max),
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Sets the limit of this process with setrlimit(2); children inherit it.
    ///
    /// # Errors
    /// What the system answered: EPERM for a hard limit above the present one without
    /// CAP_SYS_RESOURCE, and on Linux for descriptors above fs.nr_open whoever asks.
    pub fn set_limit(self, wanted: ResourceLimit) -> io::Result<()> {
        let limit = libc::rlimit {
            rlim_cur: raw(wanted.soft),
            rlim_max: raw(wanted.hard),
        };
        // SAFETY: `limit` is a valid rlimit for the duration of the call.
        let result = unsafe {
            match self {
                Self::Descriptors => libc::setrlimit(libc::RLIMIT_NOFILE, &limit),
                Self::LockedMemory => libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit),
            }
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

// rlim_t is u64 on most systems and i64 on FreeBSD.
#[allow(clippy::unnecessary_cast)]
fn amount(raw: libc::rlim_t) -> u64 {
    match raw == libc::RLIM_INFINITY {
        true => Resource::UNLIMITED,
        false => raw as u64,
    }
}

#[allow(clippy::unnecessary_cast)]
fn raw(amount: u64) -> libc::rlim_t {
    match amount == Resource::UNLIMITED {
        true => libc::RLIM_INFINITY,
        false => amount as libc::rlim_t,
    }
}

/// Asks for exact timers on the calling thread. Linux rounds sleeps up by 50 us by default
/// (prctl(2), PR_SET_TIMERSLACK), which would show up as schedule lag. No effect elsewhere.
pub fn use_exact_timers() {
    #[cfg(target_os = "linux")]
    // SAFETY: PR_SET_TIMERSLACK takes an integer and touches no memory.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1usize, 0usize, 0usize, 0usize);
    }
}

/// SO_NETNS_COOKIE of the calling thread's network namespace: a number that no other namespace of this boot has had
/// or will have. Its inode is given to a later one. `None` where there is none: before Linux 5.14, and elsewhere.
///
/// # Errors
/// What the system answered, for instance that no descriptors are left.
pub fn network_namespace_cookie() -> io::Result<Option<u64>> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // Of any family: the option is of the socket's namespace.
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
        let mut cookie = 0_u64;
        let mut length = size_of::<u64>() as libc::socklen_t;
        // SAFETY: `cookie` and `length` are valid for the duration of the call, which writes at most `length`
        // bytes, and `socket` owns its descriptor until then.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut length,
            )
        };
        let error = match result {
            0 => return Ok(Some(cookie)),
            _ => io::Error::last_os_error(),
        };
        match error.raw_os_error() {
            Some(libc::ENOPROTOOPT) => Ok(None),
            _ => Err(error),
        }
    }
    #[cfg(not(target_os = "linux"))]
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_limit_is_raised_to_the_hard_limit() {
        let limit = raise_descriptor_limit().unwrap();
        assert!(limit.soft <= limit.hard && limit.soft > 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_table_has_room_for_what_was_reserved() {
        let limit = raise_descriptor_limit().unwrap().soft;
        let count = limit.min(3_000);
        reserve_descriptors(count);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        let size: u64 = size.unwrap().trim().parse().unwrap();
        assert!(size >= count, "{size}");
        // Beyond the limit there is none.
        reserve_descriptors(u64::MAX);
        reserve_descriptors(1 << 30);
    }

    #[test]
    fn a_limit_is_set_and_read_back() {
        let limit = Resource::LockedMemory.limit().unwrap();
        assert!(limit.soft <= limit.hard);
        // To what it is already: other tests of this process may depend on it.
        Resource::LockedMemory.set_limit(limit).unwrap();
        assert_eq!(Resource::LockedMemory.limit().unwrap(), limit);
        let above = ResourceLimit { soft: 2, hard: 1 };
        assert!(Resource::LockedMemory.set_limit(above).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_network_namespace_has_one_cookie() {
        let cookie = || network_namespace_cookie().unwrap();
        let other_thread = std::thread::spawn(cookie).join().unwrap();
        assert_eq!(cookie(), other_thread);
        assert_ne!(cookie(), Some(0));
        // SAFETY: unshare takes flags; it moves this new thread, and nothing else, to another namespace.
        let moved = std::thread::spawn(
            move || unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 && cookie() == other_thread,
        );
        assert!(
            other_thread.is_none() || !moved.join().unwrap(),
            "that of another namespace"
        );
    }

    #[test]
    fn process_use_reads_something() {
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(process_use().voluntary_switches > 0);
    }
}

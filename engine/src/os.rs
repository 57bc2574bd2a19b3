//! Small facts and settings of the running process that need a system call of their own.

use std::io;

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
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit for the duration of the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // macOS calls the hard limit infinite and refuses more than OPEN_MAX (sys/syslimits.h).
    let wanted = if cfg!(target_os = "macos") {
        limit.rlim_max.min(10_240)
    } else {
        limit.rlim_max
    };
    if limit.rlim_cur < wanted {
        let raised = libc::rlimit {
            rlim_cur: wanted,
            rlim_max: limit.rlim_max,
        };
        // SAFETY: `raised` is a valid rlimit for the duration of the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            limit = raised;
        }
    }
    // rlim_t is u64 on most systems and i64 on FreeBSD.
    #[allow(clippy::unnecessary_cast)]
    Ok(DescriptorLimit {
        soft: limit.rlim_cur as u64,
        hard: limit.rlim_max as u64,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_limit_is_raised_to_the_hard_limit() {
        let limit = raise_descriptor_limit().unwrap();
        assert!(limit.soft <= limit.hard && limit.soft > 0);
    }

    #[test]
    fn process_use_reads_something() {
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(process_use().voluntary_switches > 0);
    }
}

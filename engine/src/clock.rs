//! Time: nanoseconds of CLOCK_MONOTONIC, the one clock of a measurement.

/// CLOCK_MONOTONIC now, in ns. On Linux a vDSO read (about 25 ns with the tsc clock source), no
/// system call; both sides of one machine see the same clock.
#[inline]
pub fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CPU time that this process has used so far (all threads), in ns: CLOCK_PROCESS_CPUTIME_ID.
pub fn process_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time that the calling thread has used so far, in ns: CLOCK_THREAD_CPUTIME_ID.
pub fn own_thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Names the calling thread to [`thread_cpu_ns`].
#[cfg(target_os = "linux")]
pub fn own_thread() -> Option<i32> {
    // SAFETY: gettid takes no argument and cannot fail.
    Some(unsafe { libc::gettid() })
}

/// As on Linux; here no thread can read another's clock.
#[cfg(not(target_os = "linux"))]
pub fn own_thread() -> Option<i32> {
    None
}

/// CPU time that a thread of this process has used so far, in ns; `None` if it has ended.
///
/// The clock's number is made of the thread's, as pthread_getcpuclockid(3) does: MAKE_THREAD_CPUCLOCK
/// with CPUCLOCK_SCHED in the kernel's include/linux/posix-timers_types.h.
#[cfg(target_os = "linux")]
pub fn thread_cpu_ns(thread: i32) -> Option<u64> {
    const PER_THREAD_SCHED: i32 = 4 | 2;
    let clock = (!thread << 3) | PER_THREAD_SCHED;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the duration of the call.
    let answer = unsafe { libc::clock_gettime(clock, &mut time) };
    (answer == 0).then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// As on Linux, where a thread has a clock that others can read.
#[cfg(not(target_os = "linux"))]
pub fn thread_cpu_ns(_thread: i32) -> Option<u64> {
    None
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the duration of the call.
    let answer = unsafe { libc::clock_gettime(clock, &mut time) };
    debug_assert_eq!(answer, 0, "these clocks exist on every supported system");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_is_timed_by_another() {
        use std::sync::mpsc::channel;
        let (tell, told) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut sum = 0u64;
            while own_thread_cpu_ns() < 30_000_000 {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
            tell.send(own_thread().unwrap()).unwrap();
            let _ = ended.recv();
        });
        let number = told.recv().unwrap();
        let used_ns = thread_cpu_ns(number).unwrap();
        assert!((30_000_000..2_000_000_000).contains(&used_ns), "{used_ns}");
        drop(end);
        thread.join().unwrap();
        // The kernel may need a moment more than join(3) waits for.
        let begun = std::time::Instant::now();
        while thread_cpu_ns(number).is_some() {
            assert!(begun.elapsed().as_secs() < 10, "it has ended");
            std::thread::yield_now();
        }
    }

    #[test]
    fn clocks_move_forward() {
        let (before, cpu_before) = (now_ns(), process_cpu_ns());
        let mut sum = 0u64;
        for i in 0..2_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(i));
        }
        assert!(now_ns() > before);
        assert!(process_cpu_ns() > cpu_before);
    }
}

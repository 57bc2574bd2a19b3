//! How long a call may sleep, and for how many completions, in the terms of the kernel.

/// What one system call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// So many; 0: it does not wait.
    pub(super) completions: u32,
    /// At least so long for all of them; then one is enough.
    pub(super) min_wait_us: u32,
    /// At most so long.
    pub(super) timeout_ns: Option<u64>,
}

impl Wait {
    /// Longer than any measurement, for a wait that nothing else bounds.
    const LONG_NS: u64 = 3600 * 1_000_000_000;

    /// While the kernel waits for a whole batch it looks at no other deadline, so this wait must not be the longer
    /// one; and without a deadline behind it the end of this wait would be the end of the call, with
    /// or without a completion (io_uring/io_uring.c, `io_cqring_schedule_timeout` and
    /// `io_cqring_min_timer_wakeup`, Linux 6.12).
    pub(super) fn of(want: u32, min_wait_us: u32, timeout_ns: Option<u64>) -> Self {
        if want == 0 {
            return Self {
                completions: 0,
                min_wait_us: 0,
                timeout_ns: None,
            };
        }
        let left_us = timeout_ns.map_or(u64::MAX, |ns| ns / 1000);
        let min_wait_us = match want {
            1 => 0,
            _ => u64::from(min_wait_us).min(left_us) as u32,
        };
        if min_wait_us == 0 {
            return Self {
                completions: 1,
                min_wait_us,
                timeout_ns,
            };
        }
        Self {
            completions: want,
            min_wait_us,
            timeout_ns: Some(timeout_ns.unwrap_or(Self::LONG_NS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_waited_for_within_the_deadline() {
        let wait = |completions, min_wait_us, timeout_ns| Wait {
            completions,
            min_wait_us,
            timeout_ns,
        };
        let long = Some(Wait::LONG_NS);
        for (asked, expected) in [
            ((0, 50, Some(1_000_000)), wait(0, 0, None)),
            ((1, 50, None), wait(1, 0, None)),
            ((1, 50, Some(7)), wait(1, 0, Some(7))),
            ((8, 50, None), wait(8, 50, long)),
            ((8, 50, Some(1_000_000)), wait(8, 50, Some(1_000_000))),
            ((8, 50, Some(10_000)), wait(8, 10, Some(10_000))),
            // What is left is less than the kernel can count.
            ((8, 50, Some(999)), wait(1, 0, Some(999))),
            ((8, 50, Some(0)), wait(1, 0, Some(0))),
        ] {
            let (want, min_wait_us, timeout_ns) = asked;
            assert_eq!(
                Wait::of(want, min_wait_us, timeout_ns),
                expected,
                "{asked:?}"
            );
        }
    }
}

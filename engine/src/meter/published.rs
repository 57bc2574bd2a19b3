//! Counters that an agent samples while its workers run.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one load worker that the agent samples while it runs. Written by the worker alone
/// with plain stores. They count what belongs to the window and nothing else, on the very conditions of the
/// totals in [`super::Recorded`]: 0 at its start, the totals once the worker has returned.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Published {
    /// Operations completed.
    pub operations: AtomicU64,
    /// Bytes handed to the kernel.
    pub bytes_sent: AtomicU64,
    /// Bytes taken from the kernel.
    pub bytes_received: AtomicU64,
    /// Operations and connections that failed.
    pub errors: AtomicU64,
    /// Sum of the latencies of the operations, ns: in open loop from when they were due.
    pub latency_sum_ns: AtomicU64,
    /// Connections that are opened once and whose opening has begun.
    pub connections_started: AtomicU64,
    /// Of these, those that are clients and have shaken hands.
    pub connections_opened: AtomicU64,
    /// Of these, those that are clients and could not be opened.
    pub connections_failed: AtomicU64,
    /// Of these, those that were established and lost, in the window or after it.
    pub connections_lost: AtomicU64,
    /// Largest latency since the agent last took it (it swaps in 0), ns.
    pub latency_max_ns: AtomicU64,
}

impl Published {
    /// Those of which several workers have a sum: all but the largest latency.
    pub const SUMS: [fn(&Self) -> &AtomicU64; 9] = [
        |one| &one.operations,
        |one| &one.bytes_sent,
        |one| &one.bytes_received,
        |one| &one.errors,
        |one| &one.latency_sum_ns,
        |one| &one.connections_started,
        |one| &one.connections_opened,
        |one| &one.connections_failed,
        |one| &one.connections_lost,
    ];
}

/// Counters of one testee worker that the agent samples.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServePublished {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed, however.
    pub closed: AtomicU64,
    /// Bytes taken from the kernel.
    pub bytes_received: AtomicU64,
    /// Bytes handed to the kernel.
    pub bytes_sent: AtomicU64,
    /// Connections that ended in an error, those that their peer reset among them.
    pub failed: AtomicU64,
    /// Connections that their peer reset or left while there was something to send: the ordinary end of
    /// a stream whose receiver has had enough.
    pub reset: AtomicU64,
    /// Connections closed because they were idle for too long.
    pub idle_closed: AtomicU64,
    /// Times that receiving from a connection was paused because its peer did not read.
    pub peer_not_reading: AtomicU64,
    /// Times that accepting rested after it had failed, whatever the reason.
    pub accept_backoffs: AtomicU64,
    /// Of these, because the kernel had no memory.
    pub accept_backoffs_memory: AtomicU64,
    /// Of these, because there was no further thread to be had.
    pub accept_backoffs_threads: AtomicU64,
    /// Of these, for a reason that is none of descriptors, memory and threads.
    pub accept_backoffs_other: AtomicU64,
    /// Connections closed at once because the table, and the queue of those that wait for a place, was full.
    pub over_limit: AtomicU64,
    /// Connections that outlived the drain of a stop and were closed by the testee.
    pub cut_off: AtomicU64,
    /// System calls of the backend so far; stays 0 where the engine cannot know them.
    pub system_calls: AtomicU64,
}

impl ServePublished {
    /// Counts a connection that was lost to `errno`, by kind. Several threads may count at once.
    pub fn count_lost(&self, errno: i32) {
        self.failed.fetch_add(1, Relaxed);
        if matches!(errno, libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED) {
            self.reset.fetch_add(1, Relaxed);
        }
    }

    /// Counts that accepting rests, by kind; `errno` is that of the accept, `None` if it was a thread that
    /// could not be had. Several threads may count at once.
    pub fn count_accept_backoff(&self, errno: Option<i32>) {
        self.accept_backoffs.fetch_add(1, Relaxed);
        let kind = match errno {
            Some(libc::EMFILE | libc::ENFILE) => return,
            Some(libc::ENOBUFS | libc::ENOMEM) => &self.accept_backoffs_memory,
            None => &self.accept_backoffs_threads,
            Some(_) => &self.accept_backoffs_other,
        };
        kind.fetch_add(1, Relaxed);
    }
}

/// Adds to a counter that only the calling thread writes: a load and a store, no locked instruction.
#[inline]
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_counted_by_kind() {
        let published = ServePublished::default();
        for errno in [libc::ECONNRESET, libc::EPIPE, libc::ETIMEDOUT] {
            published.count_lost(errno);
        }
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        assert_eq!((of(&published.failed), of(&published.reset)), (3, 2));
        for errno in [
            Some(libc::EMFILE),
            Some(libc::ENOMEM),
            Some(libc::EINVAL),
            None,
        ] {
            published.count_accept_backoff(errno);
        }
        let kinds = [
            of(&published.accept_backoffs),
            of(&published.accept_backoffs_memory),
            of(&published.accept_backoffs_threads),
            of(&published.accept_backoffs_other),
        ];
        assert_eq!(kinds, [4, 1, 1, 1]);
    }
}

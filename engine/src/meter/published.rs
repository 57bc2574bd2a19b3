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
    /// Largest latency since the agent last took it (it swaps in 0), ns.
    pub latency_max_ns: AtomicU64,
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
    /// Connections that ended in an error (reset, for instance).
    pub failed: AtomicU64,
    /// Connections closed because they were idle for too long.
    pub idle_closed: AtomicU64,
    /// Times that receiving from a connection was paused because its peer did not read.
    pub peer_not_reading: AtomicU64,
    /// Times that accepting backed off because descriptors ran out.
    pub accept_backoffs: AtomicU64,
    /// Connections closed at once because the table was full.
    pub over_limit: AtomicU64,
    /// Connections that outlived the drain of a stop and were closed by the testee.
    pub cut_off: AtomicU64,
    /// System calls of the backend so far; stays 0 where the engine cannot know them.
    pub system_calls: AtomicU64,
}

/// Adds to a counter that only the calling thread writes: a load and a store, no locked instruction.
#[inline]
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

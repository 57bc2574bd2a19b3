//! What the workers of a listener have counted, added up.

use engine::meter::ServePublished;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Totals of one listener since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed, however.
    pub closed: u64,
    /// Payload bytes taken from the kernel.
    pub bytes_received: u64,
    /// Payload bytes handed to the kernel.
    pub bytes_sent: u64,
    /// Connections that ended in an error, those that their peer reset among them.
    pub failed: u64,
    /// Connections that their peer reset or left while there was something to send.
    pub reset: u64,
    /// Connections closed because they were idle for too long.
    pub idle_closed: u64,
    /// Times that a connection was not read from because its peer did not read.
    pub peer_not_reading: u64,
    /// Times that accepting rested after it had failed, whatever the reason.
    pub accept_backoffs: u64,
    /// Of these, because the kernel had no memory.
    pub accept_backoffs_memory: u64,
    /// Of these, because there was no further thread to be had.
    pub accept_backoffs_threads: u64,
    /// Of these, for a reason that is none of descriptors, memory and threads.
    pub accept_backoffs_other: u64,
    /// Connections closed at once because too many were open.
    pub over_limit: u64,
    /// Connections that outlived the drain and were closed by us.
    pub cut_off: u64,
    /// System calls of the engines.
    pub system_calls: u64,
}

impl ServeCounts {
    pub(crate) fn of(workers: &[Arc<ServePublished>]) -> Self {
        let sum =
            |pick: fn(&ServePublished) -> u64| workers.iter().map(|worker| pick(worker)).sum();
        Self {
            accepted: sum(|worker| worker.accepted.load(Relaxed)),
            closed: sum(|worker| worker.closed.load(Relaxed)),
            bytes_received: sum(|worker| worker.bytes_received.load(Relaxed)),
            bytes_sent: sum(|worker| worker.bytes_sent.load(Relaxed)),
            failed: sum(|worker| worker.failed.load(Relaxed)),
            reset: sum(|worker| worker.reset.load(Relaxed)),
            idle_closed: sum(|worker| worker.idle_closed.load(Relaxed)),
            peer_not_reading: sum(|worker| worker.peer_not_reading.load(Relaxed)),
            accept_backoffs: sum(|worker| worker.accept_backoffs.load(Relaxed)),
            accept_backoffs_memory: sum(|worker| worker.accept_backoffs_memory.load(Relaxed)),
            accept_backoffs_threads: sum(|worker| worker.accept_backoffs_threads.load(Relaxed)),
            accept_backoffs_other: sum(|worker| worker.accept_backoffs_other.load(Relaxed)),
            over_limit: sum(|worker| worker.over_limit.load(Relaxed)),
            cut_off: sum(|worker| worker.cut_off.load(Relaxed)),
            system_calls: sum(|worker| worker.system_calls.load(Relaxed)),
        }
    }

    /// Adds those of another process.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.accepted, other.accepted),
            (&mut self.closed, other.closed),
            (&mut self.bytes_received, other.bytes_received),
            (&mut self.bytes_sent, other.bytes_sent),
            (&mut self.failed, other.failed),
            (&mut self.reset, other.reset),
            (&mut self.idle_closed, other.idle_closed),
            (&mut self.peer_not_reading, other.peer_not_reading),
            (&mut self.accept_backoffs, other.accept_backoffs),
            (
                &mut self.accept_backoffs_memory,
                other.accept_backoffs_memory,
            ),
            (
                &mut self.accept_backoffs_threads,
                other.accept_backoffs_threads,
            ),
            (&mut self.accept_backoffs_other, other.accept_backoffs_other),
            (&mut self.over_limit, other.over_limit),
            (&mut self.cut_off, other.cut_off),
            (&mut self.system_calls, other.system_calls),
        ];
        for (own, others) in pairs {
            *own += others;
        }
    }

    /// Times that accepting rested because descriptors ran out.
    pub fn accept_backoffs_descriptors(&self) -> u64 {
        let others =
            self.accept_backoffs_memory + self.accept_backoffs_threads + self.accept_backoffs_other;
        self.accept_backoffs.saturating_sub(others)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.closed)
    }
}

//! What a worker's connections share where they have one queue: see `queue`.

use super::rules::{Rules, Share};
use crate::shape::{Pace, Pacer, Queue};
use std::collections::VecDeque;

/// A worker's own queue.
pub(super) struct WorkerQueue {
    /// What is due, and when.
    pub pacer: Pacer,
    /// Connections with room for an operation, longest waiting first; each at most once. Some of them may have
    /// none any more, or have ended.
    pub free: VecDeque<u32>,
}

impl WorkerQueue {
    /// The queue that `rules` ask for; `None` where every connection has its own.
    pub fn new(pace: Pace, rules: &Rules) -> Option<Self> {
        let Share {
            first,
            count,
            total,
        } = rules.share;
        (rules.queue == Queue::Shared && pace.is_open()).then(|| Self {
            pacer: Pacer::of_worker(pace, first, count, total, rules.poisson_seed),
            free: VecDeque::with_capacity(count as usize),
        })
    }

    /// How many operations one connection may begin at a time: one while others have room too.
    #[inline]
    pub fn starts_at_a_time(&self) -> u32 {
        if self.free.is_empty() { u32::MAX } else { 1 }
    }
}

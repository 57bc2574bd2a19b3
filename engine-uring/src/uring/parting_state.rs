//! Which descriptors are kept for their closing: see `parting`.

use std::os::fd::RawFd;

/// Descriptors that are kept, at most.
const MAX: usize = 16;

/// What is kept, and why.
pub(super) struct Parting {
    /// Asked for since the last submission.
    pub(super) asked: Vec<RawFd>,
    /// Kept back from the last submission.
    pub(super) kept: Vec<RawFd>,
    /// A connect is in the submission to come.
    pub(super) connects: bool,
}

impl Parting {
    pub(super) fn new() -> Self {
        Self {
            asked: Vec::with_capacity(MAX),
            kept: Vec::with_capacity(MAX),
            connects: false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.asked.len() + self.kept.len() >= MAX
    }

    /// The next to be closed in this submission: what was kept back from the last one, and of what was asked for
    /// since nothing beside a connect.
    pub(super) fn next(&mut self, connects: bool) -> Option<RawFd> {
        let fresh = || if connects { None } else { self.asked.pop() };
        self.kept.pop().or_else(fresh)
    }
}

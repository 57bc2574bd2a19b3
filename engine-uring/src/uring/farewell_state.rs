//! Which connections are being left with their last words under way: see `farewell`.

use super::slab::Slab;
use std::os::fd::RawFd;

/// A connection that has left the table, and what its peer is still to get.
pub(super) struct Farewell {
    pub(super) fd: RawFd,
    pub(super) from: *const u8,
    pub(super) left: usize,
}

impl Default for Farewell {
    fn default() -> Self {
        Self {
            fd: -1,
            from: std::ptr::null(),
            left: 0,
        }
    }
}

/// The farewells under way, by number.
pub(super) struct Farewells {
    pub(super) entries: Slab<Farewell>,
    /// Queued; a call has to take them yet.
    pub(super) queued: Vec<u32>,
    /// Taken by the call that began this turn: over, unless one of its completions says otherwise.
    pub(super) taken: Vec<u32>,
}

impl Farewells {
    pub(super) fn new() -> Self {
        Self {
            entries: Slab::new(),
            queued: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// One of those under way has something to say: silence will not be its end.
    pub(super) fn keep(&mut self, number: u32) -> &mut Farewell {
        for list in [&mut self.taken, &mut self.queued] {
            list.retain(|&other| other != number);
        }
        self.entries.get_mut(number)
    }
}

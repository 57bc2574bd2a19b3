//! Which connections are being left with their last words under way: see `farewell`.

use std::os::fd::RawFd;

/// A connection that has left the table, and what its peer is still to get.
pub(super) struct Farewell {
    pub(super) fd: RawFd,
    pub(super) from: *const u8,
    pub(super) left: usize,
}

/// The farewells under way, by number.
#[derive(Default)]
pub(super) struct Farewells {
    pub(super) entries: Vec<Farewell>,
    pub(super) free: Vec<u32>,
    /// Queued; a call has to take them yet.
    pub(super) queued: Vec<u32>,
    /// Taken by the call that began this turn: over, unless one of its completions says otherwise.
    pub(super) taken: Vec<u32>,
}

impl Farewells {
    pub(super) fn add(&mut self, farewell: Farewell) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = farewell;
                number
            }
            None => {
                self.entries.push(farewell);
                // So that giving back never allocates.
                self.free.reserve(self.entries.len());
                (self.entries.len() - 1) as u32
            }
        }
    }

    /// One of those taken has something to say: it is not over.
    pub(super) fn keep(&mut self, number: u32) -> &mut Farewell {
        for list in [&mut self.taken, &mut self.queued] {
            list.retain(|&other| other != number);
        }
        &mut self.entries[number as usize]
    }
}

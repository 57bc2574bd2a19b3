//! Connections that their peers have ended, on their way to be closed.
//!
//! close(2) is a sixth of what a short connection costs, and nobody waits for the end of one whose peer has
//! finished. So its close goes behind what the next connection has to say, while that one's peer works. It is kept
//! back only from a submission that begins a connect, and then that call does not sleep: a close is in the kernel
//! before the worker sleeps.

use super::UringProactor;
use engine::proactor::ConnectionId;

impl UringProactor {
    /// Takes the descriptor of a connection of which the kernel holds nothing, and frees its place. False if
    /// there are too many.
    pub(super) fn part_later(&mut self, id: ConnectionId) -> bool {
        if self.parting.is_full() {
            return false;
        }
        let fd = self.give_up_place(id);
        self.parting.asked.push(fd);
        true
    }

    /// Before a call: queues the closes that go with it. True if some are kept back, so that it must not sleep.
    #[inline]
    pub(super) fn part(&mut self) -> bool {
        let connects = std::mem::take(&mut self.parting.connects);
        if self.parting.kept.is_empty() && self.parting.asked.is_empty() {
            return false;
        }
        while let Some(fd) = self.parting.next(connects) {
            self.submit_silent_close(fd);
        }
        let parting = &mut self.parting;
        std::mem::swap(&mut parting.kept, &mut parting.asked);
        !parting.kept.is_empty()
    }
}

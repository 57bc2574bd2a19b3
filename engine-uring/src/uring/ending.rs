//! The end of a backend: everything is closed and cancelled, and the kernel lets go of our memory.

use super::connection::State;
use super::ring::BUFFER_GROUP;
use super::slab::Slab;
use super::{Buffers, UringProactor};
use engine::proactor::{ConnectionId, Proactor};
use engine::session::How;
use std::time::{Duration, Instant};

/// How long dropping waits for the kernel to let go of our memory.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

impl UringProactor {
    /// Closes and cancels everything, and waits until the kernel has finished with it, at most
    /// [`DRAIN_LIMIT`]. False if it has not.
    pub(super) fn drain(&mut self) -> bool {
        let limit = Instant::now() + DRAIN_LIMIT;
        self.draining = true;
        self.acceptor.wanted = false;
        for index in 0..self.connections.len() as u32 {
            let connection = &self.connections[index as usize];
            if connection.state == State::Open {
                self.close(
                    ConnectionId {
                        index,
                        generation: connection.generation,
                    },
                    How::Fin,
                );
            }
        }
        // Nothing is kept back any more.
        while self.part() {}
        self.submit_cancel_everything();
        while self.in_flight > 0 {
            if Instant::now() >= limit
                || self
                    .ring
                    .turn(Some(50_000_000), &mut self.counters)
                    .is_err()
            {
                return false;
            }
            while let Some(entry) = self.ring.pop() {
                // Events nobody will see: an accepted descriptor closes itself.
                drop(self.reap(entry.user_data(), entry.result(), entry.flags()));
            }
        }
        if !self.ring.has_told_all() {
            // Closes that nobody waits for.
            let _ = self.ring.turn(Some(0), &mut self.counters);
        }
        true
    }
}

impl Drop for UringProactor {
    fn drop(&mut self) {
        if self.release() {
            if matches!(self.buffers, Buffers::Group(_)) {
                let _ = self.ring.submitter().unregister_buf_ring(BUFFER_GROUP);
            }
        } else {
            // The kernel may still use this memory: better lost than written to by surprise.
            self.buffers.leak();
            std::mem::forget(std::mem::replace(&mut self.gathers, Slab::new()));
            std::mem::forget(std::mem::replace(&mut self.addresses, Slab::new()));
        }
    }
}

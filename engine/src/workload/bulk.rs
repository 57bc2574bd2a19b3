//! Bulk transfer: the stream workload of the load, and the discard, source and duplex roles.

use super::{Direction, LoadSession, LoadWorkload, ServeWorkload, Slot};
use crate::meter::Meter;
use crate::pattern::Pattern;
use crate::proactor::How;
use crate::session::{Boundary, Hints, Out, Session};
use crate::shape::{Pace, Pacer};
use std::sync::Arc;

/// Bytes of one receive when data comes in bulk: large enough that the system call is cheap, small
/// enough that a few of them stay in a level-2 cache.
const BULK_RECEIVE_BYTES: u32 = 128 * 1024;

/// The load's stream.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// Which way, seen from the load.
    pub direction: Direction,
    /// Bytes of one write, at least 1.
    pub message_bytes: u32,
    /// Bits per second over all connections, if limited.
    pub bitrate_bits_per_second: Option<f64>,
}

impl LoadWorkload for Bulk {
    type Session = BulkSession;
    const RECONNECTS: bool = false;

    fn slot(&self, index: u32, total: u32) -> Slot {
        let pace = self.bitrate_bits_per_second.map_or(Pace::Closed, |bits| {
            Pace::Constant(bits / 8.0 / f64::from(self.message_bytes))
        });
        Slot::new(
            index,
            Pacer::new(pace, index, total),
            1,
            Arc::new(Pattern::empty()),
        )
    }

    fn session(&self) -> BulkSession {
        BulkSession {
            sends: self.direction != Direction::Receive,
            receives: self.direction != Direction::Send,
            message_bytes: self.message_bytes,
            queued: false,
            message_bytes_seen: 0,
            progress_ns: 0,
        }
    }

    fn hints(&self) -> Hints {
        Hints {
            receive_bytes: BULK_RECEIVE_BYTES,
            bulk: self.direction != Direction::Send,
        }
    }

    fn pattern_bytes(&self) -> u32 {
        self.message_bytes
    }
}

/// One connection of [`Bulk`]: one message is in flight, the next follows it.
#[derive(Debug)]
pub struct BulkSession {
    sends: bool,
    receives: bool,
    message_bytes: u32,
    queued: bool,
    message_bytes_seen: u64,
    progress_ns: u64,
}

impl BulkSession {
    fn send_next<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        if !self.sends || self.queued {
            return;
        }
        let is_due = !slot.pacer.is_open() || slot.pacer.backlog() > 0;
        if is_due && out.meter().permit() {
            slot.pacer.take();
            out.shared(0..self.message_bytes);
            self.queued = true;
        }
    }
}

impl Session<Slot> for BulkSession {
    fn opened<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        self.progress_ns = out.now_ns();
        self.send_next(slot, out);
    }

    fn received<O: Out>(&mut self, _: &mut Slot, bytes: &mut [u8], _: Boundary, out: &mut O) {
        let now_ns = out.now_ns();
        self.progress_ns = now_ns;
        if self.sends {
            return;
        }
        // A stream that is only received has no writes of ours to count: its messages are.
        self.message_bytes_seen += bytes.len() as u64;
        while self.message_bytes_seen >= u64::from(self.message_bytes) {
            self.message_bytes_seen -= u64::from(self.message_bytes);
            out.meter().message(now_ns);
        }
    }

    fn sent<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        let now_ns = out.now_ns();
        self.progress_ns = now_ns;
        if self.queued {
            out.meter().message(now_ns);
        }
        self.queued = false;
        self.send_next(slot, out);
    }

    fn peer_finished<O: Out>(&mut self, _: &mut Slot, _: &mut O) {}
}

impl LoadSession for BulkSession {
    fn due<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        self.send_next(slot, out);
    }

    fn waiting_since_ns(&self, _: &Slot) -> Option<u64> {
        (self.queued || self.receives).then_some(self.progress_ns)
    }

    fn abandon(&mut self, _: &mut Slot, _: u64, _: &mut Meter) {
        // A stream has no operations that could be unfinished: its bytes are counted as they move.
    }
}

/// The discard, source and duplex roles: drops what it receives, and sends if told so.
#[derive(Clone, Copy, Debug)]
pub struct BulkServer {
    sends: bool,
    message_bytes: u32,
}

impl BulkServer {
    /// Sends `message_bytes` again and again if `sends`.
    pub fn new(sends: bool, message_bytes: u32) -> Self {
        Self {
            sends,
            message_bytes,
        }
    }
}

impl ServeWorkload for BulkServer {
    type Session = Self;

    fn session(&self) -> Self {
        *self
    }

    fn hints(&self, _: Option<u32>) -> Hints {
        Hints {
            receive_bytes: BULK_RECEIVE_BYTES,
            bulk: true,
        }
    }

    fn pattern_bytes(&self) -> u32 {
        self.message_bytes
    }
}

impl Session<()> for BulkServer {
    fn opened<O: Out>(&mut self, _: &mut (), out: &mut O) {
        if self.sends {
            out.shared(0..self.message_bytes);
        }
    }

    fn received<O: Out>(&mut self, _: &mut (), _: &mut [u8], _: Boundary, _: &mut O) {}

    fn sent<O: Out>(&mut self, _: &mut (), out: &mut O) {
        if self.sends {
            out.shared(0..self.message_bytes);
        }
    }

    fn peer_finished<O: Out>(&mut self, _: &mut (), out: &mut O) {
        self.sends = false;
        out.close(How::Fin);
    }
}

//! Bulk transfer: the stream workload of the load, and the discard, source and duplex roles.

use super::{Direction, ServeWorkload};
use crate::load::{Connects, LoadOut, LoadSession, LoadWorkload, Loss, Outcome};
use crate::meter::Meter;
use crate::pattern;
use crate::region::Region;
use crate::session::{Hints, How, Out, Session};
use crate::shape::Pace;
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
    type Slot = ();
    type Session = BulkSession;
    const CONNECTS: Connects = Connects::Ahead;
    const OWES: bool = false;

    fn pace(&self) -> Pace {
        self.bitrate_bits_per_second.map_or(Pace::Closed, |bits| {
            Pace::Constant(bits / 8.0 / f64::from(self.message_bytes))
        })
    }

    fn slot(&self, _: u32, _: &Arc<Region>) {}

    fn session(&self) -> BulkSession {
        BulkSession {
            sends: self.direction != Direction::Receive,
            receives: self.direction != Direction::Send,
            message_bytes: self.message_bytes,
            queued: false,
            queued_ns: 0,
            message_bytes_seen: 0,
            progress_ns: 0,
        }
    }

    fn hints(&self) -> Hints {
        Hints {
            receive_bytes: BULK_RECEIVE_BYTES,
            bulk: self.direction != Direction::Send,
            brief: false,
        }
    }

    fn region(&self) -> Region {
        pattern::region(self.message_bytes)
    }
}

/// One connection of [`Bulk`]: one message is in flight, the next follows it.
#[derive(Debug)]
pub struct BulkSession {
    sends: bool,
    receives: bool,
    message_bytes: u32,
    queued: bool,
    /// When the message in flight was due, ns.
    queued_ns: u64,
    message_bytes_seen: u64,
    progress_ns: u64,
}

impl BulkSession {
    fn send_next<O: LoadOut>(&mut self, out: &mut O) {
        if self.sends
            && !self.queued
            && let Some(intended_ns) = out.start()
        {
            out.shared(0..self.message_bytes);
            self.queued = true;
            self.queued_ns = intended_ns;
        }
    }
}

impl LoadSession<()> for BulkSession {
    fn opened<O: LoadOut>(&mut self, _: &mut (), out: &mut O) {
        self.progress_ns = out.now_ns();
        self.send_next(out);
    }

    fn due<O: LoadOut>(&mut self, _: &mut (), out: &mut O) {
        self.send_next(out);
    }

    fn received<O: LoadOut>(&mut self, _: &mut (), bytes: &mut [u8], out: &mut O) {
        let now_ns = out.now_ns();
        self.progress_ns = now_ns;
        if !self.receives {
            return out.end(Outcome::Failed(Loss::unsolicited()));
        }
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

    fn sent<O: LoadOut>(&mut self, _: &mut (), out: &mut O) {
        let now_ns = out.now_ns();
        self.progress_ns = now_ns;
        if self.queued {
            out.meter().message(now_ns);
        }
        self.queued = false;
        self.send_next(out);
    }

    fn waiting_since_ns(&self, _: &()) -> Option<u64> {
        (self.queued || self.receives).then_some(self.progress_ns)
    }

    fn fail(&mut self, _: &mut (), loss: &Loss, now_ns: u64, meter: &mut Meter) -> u64 {
        // Bytes are counted as they move; what fails is the message that did not go out whole.
        if !std::mem::take(&mut self.queued) {
            return 0;
        }
        let text = || loss.text.clone();
        meter.failure(loss.kind, Some(self.queued_ns), now_ns, text);
        1
    }

    fn abandon(&mut self, _: &mut (), _: u64, _: &mut Meter) -> u64 {
        0
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
            brief: false,
        }
    }

    fn region(&self) -> Region {
        pattern::region(self.message_bytes)
    }
}

impl Session for BulkServer {
    fn opened<O: Out>(&mut self, out: &mut O) {
        if self.sends {
            out.shared(0..self.message_bytes);
        }
    }

    fn received<O: Out>(&mut self, _: &mut [u8], _: &mut O) {}

    fn sent<O: Out>(&mut self, out: &mut O) {
        if self.sends {
            out.shared(0..self.message_bytes);
        }
    }

    fn peer_finished<O: Out>(&mut self, out: &mut O) {
        self.sends = false;
        out.close(How::Fin);
    }
}

//! The request/response role: every n request bytes are answered by m response bytes.

use super::ServeWorkload;
use crate::pattern::{self, PERIOD};
use crate::region::Region;
use crate::session::{Hints, How, Out, Session};

/// Answers every `request_bytes` received with `response_bytes`, whatever the segmentation.
#[derive(Clone, Copy, Debug)]
pub struct RrServer {
    /// Bytes of a request, at least 1.
    pub request_bytes: u32,
    /// Bytes of a response, at least 1.
    pub response_bytes: u32,
    /// Close after this many responses; 0 closes right after accepting.
    pub close_after: Option<u32>,
    /// How to close then.
    pub how: How,
}

/// The most that one send carries; what is owed beyond it waits as a number, not as memory.
const BURST_BYTES: u32 = 256 * 1024;

/// A connection with more responses than this is not over so soon that closing it is what costs.
const BRIEF_RESPONSES: u32 = 4;

impl ServeWorkload for RrServer {
    type Session = RrConnection;

    fn session(&self) -> RrConnection {
        RrConnection {
            role: *self,
            request_bytes_seen: 0,
            owed_bytes: 0,
            position: 0,
            answered: 0,
            sending: false,
            closing: false,
        }
    }

    fn hints(&self, _: Option<u32>) -> Hints {
        Hints {
            receive_bytes: self.request_bytes,
            bulk: false,
            brief: self
                .close_after
                .is_some_and(|limit| limit <= BRIEF_RESPONSES),
        }
    }

    fn region(&self) -> Region {
        pattern::region(BURST_BYTES.max(PERIOD))
    }
}

/// One connection of [`RrServer`]. A peer that asks and never reads costs two counters.
#[derive(Debug)]
pub struct RrConnection {
    role: RrServer,
    request_bytes_seen: u64,
    owed_bytes: u64,
    /// Bytes of the pattern sent so far: what a response says does not depend on segmentation.
    position: u64,
    answered: u32,
    sending: bool,
    /// The close was asked for.
    closing: bool,
}

impl RrConnection {
    fn pay<O: Out>(&mut self, out: &mut O) {
        if self.sending || self.owed_bytes == 0 {
            return;
        }
        self.send_burst(out);
        self.sending = true;
    }

    fn send_burst<O: Out>(&mut self, out: &mut O) {
        let burst = self.owed_bytes.min(u64::from(BURST_BYTES)) as u32;
        let from = (self.position % u64::from(PERIOD)) as u32;
        out.shared(from..from + burst);
        self.position += u64::from(burst);
        self.owed_bytes -= u64::from(burst);
    }

    /// All responses that there will ever be were asked for.
    fn is_at_its_limit(&self) -> bool {
        self.role
            .close_after
            .is_some_and(|limit| self.answered >= limit)
    }

    /// Asks for the close once nothing is left to ask for. One with FIN goes behind the last response by
    /// itself; a reset would cut it off, and waits until it was sent.
    fn close_if_done<O: Out>(&mut self, out: &mut O) {
        let is_due = self.role.how == How::Fin || !self.sending;
        if self.is_at_its_limit() && self.owed_bytes == 0 && is_due && !self.closing {
            self.closing = true;
            out.close(self.role.how);
        }
    }
}

impl Session for RrConnection {
    fn opened<O: Out>(&mut self, out: &mut O) {
        self.close_if_done(out);
    }

    fn received<O: Out>(&mut self, bytes: &mut [u8], out: &mut O) {
        self.request_bytes_seen += bytes.len() as u64;
        let mut complete = self.request_bytes_seen / u64::from(self.role.request_bytes);
        self.request_bytes_seen %= u64::from(self.role.request_bytes);
        if let Some(limit) = self.role.close_after {
            complete = complete.min(u64::from(limit - self.answered.min(limit)));
        }
        self.answered = self
            .answered
            .saturating_add(complete.min(u64::from(u32::MAX)) as u32);
        self.owed_bytes += complete * u64::from(self.role.response_bytes);
        self.pay(out);
        self.close_if_done(out);
    }

    fn sent<O: Out>(&mut self, out: &mut O) {
        self.sending = false;
        self.pay(out);
        self.close_if_done(out);
    }

    fn awaits_sent(&self) -> bool {
        self.owed_bytes > 0 || (self.is_at_its_limit() && !self.closing)
    }

    fn peer_finished<O: Out>(&mut self, out: &mut O) {
        // What is owed beyond the burst in flight is still paid: `close` waits for it only if it
        // has been asked for, so ask for all of it in bursts and close after the last.
        // A peer that asks for more than a gigabyte and half-closes is not owed patience.
        while self.owed_bytes > 0 && self.owed_bytes <= 1 << 30 {
            self.send_burst(out);
        }
        out.close(How::Fin);
    }
}

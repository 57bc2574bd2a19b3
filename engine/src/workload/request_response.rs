//! Requests and responses over connections that stay open: the rr and echo workloads.

use super::{Flight, LoadSession, LoadWorkload, Slot};
use crate::meter::{ErrorKind, Meter, PartOfAnswer};
use crate::pattern::{PERIOD, Pattern};
use crate::proactor::How;
use crate::session::{Boundary, Hints, Out, Session};
use crate::shape::{Pace, Pacer};
use std::sync::Arc;

/// The load's rr and echo. With `verify`, responses are the requests echoed and every byte is
/// compared with the pattern.
#[derive(Clone, Copy, Debug)]
pub struct RequestResponse {
    /// Bytes of a request, at least 1.
    pub request_bytes: u32,
    /// Bytes of a response, at least 1.
    pub response_bytes: u32,
    /// In flight per connection at most, at least 1.
    pub depth: u32,
    /// When to send.
    pub pace: Pace,
    /// Compare every byte.
    pub verify: bool,
}

impl LoadWorkload for RequestResponse {
    type Session = RequestResponseSession;
    const RECONNECTS: bool = false;

    fn slot(&self, index: u32, total: u32) -> Slot {
        Slot::new(
            index,
            Pacer::new(self.pace, index, total),
            self.depth,
            Arc::new(Pattern::empty()),
        )
    }

    fn session(&self) -> RequestResponseSession {
        RequestResponseSession {
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            verify: self.verify,
            response_bytes_seen: 0,
        }
    }

    fn hints(&self) -> Hints {
        let in_flight = u64::from(self.response_bytes) * u64::from(self.depth);
        Hints {
            receive_bytes: in_flight.min(u64::from(u32::MAX)) as u32,
            bulk: false,
        }
    }

    fn pattern_bytes(&self) -> u32 {
        self.request_bytes.max(PERIOD)
    }
}

/// One connection of [`RequestResponse`].
#[derive(Debug)]
pub struct RequestResponseSession {
    request_bytes: u32,
    response_bytes: u32,
    verify: bool,
    response_bytes_seen: u64,
}

impl RequestResponseSession {
    /// Sends as many requests as depth, schedule and permits allow.
    #[inline]
    fn fill<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        let now_ns = out.now_ns();
        while !slot.flights.is_full() {
            if slot.pacer.is_open() && slot.pacer.backlog() == 0 || !out.meter().permit() {
                return;
            }
            let intended_ns = slot.pacer.take().unwrap_or(now_ns);
            let all_answered = slot.flights.is_empty();
            slot.flights.push(Flight {
                intended_ns,
                sent_ns: now_ns,
            });
            let range = slot.pattern.range(slot.position_sent, self.request_bytes);
            if all_answered && slot.flights.is_full() {
                out.request(range);
            } else {
                out.shared(range);
            }
            slot.position_sent += u64::from(self.request_bytes);
        }
    }

    /// Ends the operations that are complete; false if the peer sent more than was asked for.
    #[inline]
    fn complete<O: Out>(&mut self, slot: &mut Slot, out: &mut O) -> bool {
        let now_ns = out.now_ns();
        while self.response_bytes_seen >= u64::from(self.response_bytes) {
            let Some(flight) = slot.flights.pop() else {
                return false;
            };
            self.response_bytes_seen -= u64::from(self.response_bytes);
            out.meter()
                .operation(flight.intended_ns, flight.sent_ns, now_ns);
        }
        self.response_bytes_seen == 0 || !slot.flights.is_empty()
    }

    fn give_up<O: Out>(&mut self, slot: &mut Slot, kind: ErrorKind, text: &str, out: &mut O) {
        let now_ns = out.now_ns();
        let intended_ns = slot.flights.pop().map(|flight| flight.intended_ns);
        out.meter()
            .failure(kind, intended_ns, now_ns, || text.to_owned());
        out.close(How::Rst);
    }
}

impl Session<Slot> for RequestResponseSession {
    fn opened<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        let start = Pattern::start(slot.index);
        slot.position_sent = start;
        slot.position_received = start;
        self.fill(slot, out);
    }

    fn received<O: Out>(&mut self, slot: &mut Slot, bytes: &mut [u8], _: Boundary, out: &mut O) {
        if self.verify && !slot.pattern.matches(slot.position_received, bytes) {
            let text = "the peer's answer differs from what was sent; is it an echo server?";
            return self.give_up(slot, ErrorKind::Mismatch, text, out);
        }
        slot.position_received += bytes.len() as u64;
        self.response_bytes_seen += bytes.len() as u64;
        if !self.complete(slot, out) {
            let text = "the peer sent more bytes than were asked for; check the response size";
            return self.give_up(slot, ErrorKind::Long, text, out);
        }
        self.fill(slot, out);
    }

    fn sent<O: Out>(&mut self, _: &mut Slot, _: &mut O) {}

    fn peer_finished<O: Out>(&mut self, _: &mut Slot, _: &mut O) {}
}

impl LoadSession for RequestResponseSession {
    fn due<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        self.fill(slot, out);
    }

    fn waiting_since_ns(&self, slot: &Slot) -> Option<u64> {
        slot.flights.oldest().map(|flight| flight.sent_ns)
    }

    fn part_of_answer(&self, _: &Slot) -> Option<PartOfAnswer> {
        (self.response_bytes_seen > 0).then_some(PartOfAnswer {
            received: self.response_bytes_seen,
            of: self.response_bytes.into(),
        })
    }

    fn abandon(&mut self, slot: &mut Slot, now_ns: u64, meter: &mut Meter) {
        while let Some(flight) = slot.flights.pop() {
            meter.unfinished(flight.intended_ns, now_ns, true);
        }
        if let Some(part) = self.part_of_answer(slot) {
            meter.answered_in_part(part);
        }
    }
}

//! Requests and responses over connections that stay open: the rr and echo workloads.

use super::flights::{Flight, Flights};
use crate::load::{Connects, LoadOut, LoadSession, LoadWorkload, Loss, Outcome};
use crate::meter::{ErrorKind, Meter, PartOfAnswer};
use crate::pattern::{self, PERIOD};
use crate::region::Region;
use crate::session::Hints;
use crate::shape::Pace;
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
    type Slot = RequestResponseSlot;
    type Session = RequestResponseSession;
    const CONNECTS: Connects = Connects::Ahead;
    const OWES: bool = true;

    fn pace(&self) -> Pace {
        self.pace
    }

    fn depth(&self) -> u32 {
        self.depth
    }

    fn slot(&self, index: u32, region: &Arc<Region>) -> RequestResponseSlot {
        RequestResponseSlot {
            flights: Flights::with_depth(self.depth),
            position_sent: pattern::start(index),
            position_received: 0,
            start: pattern::start(index),
            answered: 0,
            region: Arc::clone(region),
        }
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
            brief: false,
        }
    }

    fn region(&self) -> Region {
        pattern::region(self.request_bytes.max(PERIOD))
    }
}

/// What outlives a connection of [`RequestResponse`], allocated once.
#[derive(Debug)]
pub struct RequestResponseSlot {
    flights: Flights,
    /// Positions in the pattern, of what was sent and of what is to come back.
    position_sent: u64,
    position_received: u64,
    /// Where this connection's part of the pattern begins.
    start: u64,
    /// Requests of this connection that were answered.
    answered: u64,
    region: Arc<Region>,
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
    /// Sends as many requests as depth, schedule and count allow.
    #[inline]
    fn fill<O: LoadOut>(&mut self, slot: &mut RequestResponseSlot, out: &mut O) {
        while !slot.flights.is_full() {
            let Some(intended_ns) = out.start() else {
                return;
            };
            let all_answered = slot.flights.is_empty();
            let sent_ns = out.now_ns();
            out.record_sent(slot.answered + u64::from(slot.flights.len()), sent_ns);
            slot.flights.push(Flight {
                intended_ns,
                sent_ns,
            });
            let range = pattern::range(slot.position_sent, self.request_bytes);
            if all_answered && slot.flights.is_full() {
                out.request(range);
            } else {
                out.shared(range);
            }
            slot.position_sent += u64::from(self.request_bytes);
        }
    }

    /// Ends the operations that are complete. An answer is complete when it has its bytes, and is none if
    /// more follow that nobody asked for: one request has one outcome.
    #[inline]
    fn complete<O: LoadOut>(
        &mut self,
        slot: &mut RequestResponseSlot,
        out: &mut O,
    ) -> Result<(), Loss> {
        let now_ns = out.now_ns();
        let response_bytes = u64::from(self.response_bytes);
        while self.response_bytes_seen >= response_bytes {
            let is_last = slot.flights.len() == 1;
            if is_last && self.response_bytes_seen > response_bytes {
                return Err(Loss::too_long());
            }
            let Some(flight) = slot.flights.pop() else {
                break;
            };
            self.response_bytes_seen -= response_bytes;
            out.record_received(slot.answered, now_ns);
            slot.answered += 1;
            out.meter()
                .operation(flight.intended_ns, flight.sent_ns, now_ns);
        }
        if self.response_bytes_seen > 0 && slot.flights.is_empty() {
            return Err(Loss::unsolicited());
        }
        Ok(())
    }

    fn part_of_answer(&self) -> Option<PartOfAnswer> {
        (self.response_bytes_seen > 0).then_some(PartOfAnswer {
            received: self.response_bytes_seen,
            of: self.response_bytes.into(),
        })
    }
}

impl LoadSession<RequestResponseSlot> for RequestResponseSession {
    fn opened<O: LoadOut>(&mut self, slot: &mut RequestResponseSlot, out: &mut O) {
        slot.position_sent = slot.start;
        slot.position_received = slot.start;
        slot.answered = 0;
        self.fill(slot, out);
    }

    fn due<O: LoadOut>(&mut self, slot: &mut RequestResponseSlot, out: &mut O) {
        self.fill(slot, out);
    }

    fn received<O: LoadOut>(
        &mut self,
        slot: &mut RequestResponseSlot,
        bytes: &mut [u8],
        out: &mut O,
    ) {
        if slot.flights.is_empty() {
            return out.end(Outcome::Failed(Loss::unsolicited()));
        }
        if self.verify && !pattern::matches(&slot.region, slot.position_received, bytes) {
            let text = "the peer's answer differs from what was sent; is it an echo server?";
            return out.end(Outcome::Failed(Loss::new(ErrorKind::Mismatch, text)));
        }
        slot.position_received += bytes.len() as u64;
        self.response_bytes_seen += bytes.len() as u64;
        match self.complete(slot, out) {
            Ok(()) => self.fill(slot, out),
            Err(loss) => out.end(Outcome::Failed(loss)),
        }
    }

    fn waiting_since_ns(&self, slot: &RequestResponseSlot) -> Option<u64> {
        slot.flights.oldest().map(|flight| flight.sent_ns)
    }

    fn timed_out(&self, _: &RequestResponseSlot) -> Loss {
        Loss::no_answer(self.part_of_answer())
    }

    fn fail(
        &mut self,
        slot: &mut RequestResponseSlot,
        loss: &Loss,
        now_ns: u64,
        meter: &mut Meter,
    ) -> u64 {
        slot.flights.fail(loss, now_ns, meter)
    }

    fn abandon(&mut self, slot: &mut RequestResponseSlot, now_ns: u64, meter: &mut Meter) -> u64 {
        let abandoned = slot.flights.abandon(now_ns, meter);
        if let Some(part) = self.part_of_answer() {
            meter.answered_in_part(part);
        }
        abandoned
    }
}

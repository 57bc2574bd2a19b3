//! Connect, request, response, close (crr), and connect, close (cc).

use super::{Closer, LoadSession, LoadWorkload, Slot};
use crate::loading::Loss;
use crate::meter::{ErrorKind, Meter, PartOfAnswer};
use crate::pattern::{PERIOD, Pattern};
use crate::proactor::How;
use crate::session::{Boundary, Hints, Out, Session};
use crate::shape::{Pace, Pacer};
use std::sync::Arc;

/// The load's crr and cc. A transaction ends when the closing side's close is confirmed: the
/// client's FIN answered by the peer's, the peer's FIN or RST seen, or the client's RST sent.
#[derive(Clone, Copy, Debug)]
pub struct Transaction {
    /// Bytes of request and response; `None` for connect-close.
    pub exchange: Option<(u32, u32)>,
    /// When to start one.
    pub pace: Pace,
    /// Who closes first.
    pub closer: Closer,
    /// How.
    pub how: How,
}

impl LoadWorkload for Transaction {
    type Session = TransactionSession;
    const RECONNECTS: bool = true;

    fn slot(&self, index: u32, total: u32) -> Slot {
        Slot::new(
            index,
            Pacer::new(self.pace, index, total),
            1,
            Arc::new(Pattern::empty()),
        )
    }

    fn session(&self) -> TransactionSession {
        TransactionSession {
            plan: *self,
            request_sent_ns: 0,
            response_bytes_seen: 0,
            step: Step::Open,
        }
    }

    fn hints(&self) -> Hints {
        Hints {
            receive_bytes: self.exchange.map_or(1, |(_, response)| response),
            bulk: false,
        }
    }

    fn pattern_bytes(&self) -> u32 {
        self.exchange.map_or(1, |(request, _)| request).max(PERIOD)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The response is owed.
    Open,
    /// The exchange is over; waiting for the close to be confirmed.
    Closing,
    /// Recorded, well or not.
    Ended,
}

/// One transaction.
#[derive(Debug)]
pub struct TransactionSession {
    plan: Transaction,
    request_sent_ns: u64,
    response_bytes_seen: u64,
    step: Step,
}

impl TransactionSession {
    /// The exchange is complete: close, or wait for the peer to.
    fn exchanged<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        self.step = Step::Closing;
        match (self.plan.closer, self.plan.how) {
            (Closer::Client, How::Fin) => out.shutdown_write(),
            (Closer::Client, How::Rst) => self.end(slot, How::Rst, out),
            (Closer::Server, _) => {}
        }
    }

    fn end<O: Out>(&mut self, slot: &mut Slot, how: How, out: &mut O) {
        self.step = Step::Ended;
        let now_ns = out.now_ns();
        out.meter()
            .transaction(slot.connect_intended_ns, slot.connect_started_ns, now_ns);
        out.close(how);
    }

    fn fail<O: Out>(&mut self, slot: &mut Slot, kind: ErrorKind, text: &str, out: &mut O) {
        self.step = Step::Ended;
        let now_ns = out.now_ns();
        out.meter()
            .failure(kind, Some(slot.connect_intended_ns), now_ns, || {
                text.to_owned()
            });
        out.close(How::Rst);
    }

    /// Whether a reset by the peer is the agreed end.
    pub fn reset_is_the_end(&self) -> bool {
        self.step == Step::Closing
            && self.plan.closer == Closer::Server
            && self.plan.how == How::Rst
    }
}

impl Session<Slot> for TransactionSession {
    fn opened<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        match self.plan.exchange {
            None => self.exchanged(slot, out),
            Some((request_bytes, _)) => {
                self.request_sent_ns = out.now_ns();
                out.request(
                    slot.pattern
                        .range(Pattern::start(slot.index), request_bytes),
                );
            }
        }
    }

    fn received<O: Out>(&mut self, slot: &mut Slot, bytes: &mut [u8], _: Boundary, out: &mut O) {
        self.response_bytes_seen += bytes.len() as u64;
        let expected = self
            .plan
            .exchange
            .map_or(0, |(_, response_bytes)| u64::from(response_bytes));
        if self.step == Step::Ended {
            return;
        }
        if self.response_bytes_seen > expected {
            return self.fail(
                slot,
                ErrorKind::Long,
                "the peer sent more bytes than were asked for; check the response size",
                out,
            );
        }
        if self.response_bytes_seen == expected {
            let now_ns = out.now_ns();
            out.meter()
                .exchange(slot.connect_intended_ns, self.request_sent_ns, now_ns);
            self.exchanged(slot, out);
        }
    }

    fn sent<O: Out>(&mut self, _: &mut Slot, _: &mut O) {}

    fn peer_finished<O: Out>(&mut self, slot: &mut Slot, out: &mut O) {
        match self.step {
            Step::Open => self.fail(
                slot,
                ErrorKind::ClosedEarly,
                "the peer closed before its response was complete",
                out,
            ),
            Step::Closing => self.end(slot, How::Fin, out),
            Step::Ended => out.close(How::Fin),
        }
    }
}

impl LoadSession for TransactionSession {
    fn due<O: Out>(&mut self, _: &mut Slot, _: &mut O) {}

    fn waiting_since_ns(&self, slot: &Slot) -> Option<u64> {
        (self.step != Step::Ended).then_some(slot.connect_started_ns)
    }

    fn part_of_answer(&self, _: &Slot) -> Option<PartOfAnswer> {
        let (_, of) = self.plan.exchange?;
        let begun = self.step == Step::Open && self.response_bytes_seen > 0;
        begun.then_some(PartOfAnswer {
            received: self.response_bytes_seen,
            of: of.into(),
        })
    }

    fn timed_out(&self, slot: &Slot) -> Loss {
        match self.step {
            Step::Open => Loss::no_answer(self.part_of_answer(slot)),
            Step::Closing | Step::Ended => Loss::not_closed(),
        }
    }

    fn was_reset<O: Out>(&mut self, slot: &mut Slot, out: &mut O) -> bool {
        if self.reset_is_the_end() {
            self.end(slot, How::Rst, out);
        }
        self.step == Step::Ended
    }

    fn abandon(&mut self, slot: &mut Slot, now_ns: u64, meter: &mut Meter) {
        if self.step != Step::Ended {
            let part = self.part_of_answer(slot);
            self.step = Step::Ended;
            meter.unfinished(slot.connect_intended_ns, now_ns, true);
            if let Some(part) = part {
                meter.answered_in_part(part);
            }
        }
    }
}

//! Connect, request, response, close (crr), and connect, close (cc).

use super::Closer;
use crate::load::{Began, Connects, LoadOut, LoadSession, LoadWorkload, Loss, Outcome};
use crate::meter::{ErrorKind, Meter, PartOfAnswer};
use crate::pattern::{self, PERIOD};
use crate::region::Region;
use crate::session::{Hints, How};
use crate::shape::Pace;
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
    /// Where the connection's part of the pattern begins.
    type Slot = u64;
    type Session = TransactionSession;
    const CONNECTS: Connects = Connects::Each;
    const OWES: bool = true;

    fn pace(&self) -> Pace {
        self.pace
    }

    fn slot(&self, index: u32, _: &Arc<Region>) -> u64 {
        pattern::start(index)
    }

    fn session(&self) -> TransactionSession {
        TransactionSession {
            plan: *self,
            began: Began::default(),
            request_sent_ns: 0,
            response_bytes_seen: 0,
            step: Step::Open,
        }
    }

    fn hints(&self) -> Hints {
        Hints {
            receive_bytes: self.exchange.map_or(1, |(_, response)| response),
            bulk: false,
            brief: false,
        }
    }

    fn region(&self) -> Region {
        pattern::region(self.exchange.map_or(1, |(request, _)| request).max(PERIOD))
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
    began: Began,
    request_sent_ns: u64,
    response_bytes_seen: u64,
    step: Step,
}

impl TransactionSession {
    /// The exchange is complete: close, or wait for the peer to.
    fn exchanged<O: LoadOut>(&mut self, out: &mut O) {
        self.step = Step::Closing;
        match (self.plan.closer, self.plan.how) {
            (Closer::Client, How::Fin) => out.shutdown_write(),
            (Closer::Client, How::Rst) => self.end(How::Rst, out),
            (Closer::Server, _) => {}
        }
    }

    fn end<O: LoadOut>(&mut self, how: How, out: &mut O) {
        self.step = Step::Ended;
        let now_ns = out.now_ns();
        let Began {
            intended_ns,
            started_ns,
        } = self.began;
        out.meter().transaction(intended_ns, started_ns, now_ns);
        out.end(Outcome::Planned(how));
    }

    /// Whether a reset by the peer is the agreed end.
    fn reset_is_the_end(&self) -> bool {
        self.step == Step::Closing
            && self.plan.closer == Closer::Server
            && self.plan.how == How::Rst
    }

    fn part_of_answer(&self) -> Option<PartOfAnswer> {
        let (_, of) = self.plan.exchange?;
        let begun = self.step == Step::Open && self.response_bytes_seen > 0;
        begun.then_some(PartOfAnswer {
            received: self.response_bytes_seen,
            of: of.into(),
        })
    }
}

impl LoadSession<u64> for TransactionSession {
    fn connected<O: LoadOut>(&mut self, _: &mut u64, out: &mut O) {
        self.began = out.began();
        out.ready();
    }

    fn opened<O: LoadOut>(&mut self, start: &mut u64, out: &mut O) {
        match self.plan.exchange {
            None => self.exchanged(out),
            Some((request_bytes, _)) => {
                self.request_sent_ns = out.now_ns();
                out.record_sent(0, self.request_sent_ns);
                out.request(pattern::range(*start, request_bytes));
            }
        }
    }

    fn received<O: LoadOut>(&mut self, _: &mut u64, bytes: &mut [u8], out: &mut O) {
        self.response_bytes_seen += bytes.len() as u64;
        let Some((_, response_bytes)) = self.plan.exchange else {
            return out.end(Outcome::Failed(Loss::unsolicited()));
        };
        let expected = u64::from(response_bytes);
        if self.response_bytes_seen > expected {
            return out.end(Outcome::Failed(Loss::too_long()));
        }
        if self.response_bytes_seen == expected {
            let now_ns = out.now_ns();
            out.record_received(0, now_ns);
            let (intended_ns, sent_ns) = (self.began.intended_ns, self.request_sent_ns);
            out.meter().exchange(intended_ns, sent_ns, now_ns);
            self.exchanged(out);
        }
    }

    fn awaits_sent(&self) -> bool {
        false
    }

    fn peer_finished<O: LoadOut>(&mut self, _: &mut u64, out: &mut O) {
        match self.step {
            Step::Closing => self.end(How::Fin, out),
            Step::Open | Step::Ended => {
                let text = "the peer closed before its response was complete";
                out.end(Outcome::Failed(Loss::new(ErrorKind::ClosedEarly, text)));
            }
        }
    }

    fn lost<O: LoadOut>(&mut self, _: &mut u64, errno: i32, out: &mut O) {
        if self.reset_is_the_end() {
            return self.end(How::Rst, out);
        }
        out.end(Outcome::Failed(Loss::of_errno(errno)));
    }

    fn waiting_since_ns(&self, _: &u64) -> Option<u64> {
        (self.step != Step::Ended).then_some(self.began.started_ns)
    }

    fn timed_out(&self, _: &u64) -> Loss {
        match self.step {
            Step::Open => Loss::no_answer(self.part_of_answer()),
            Step::Closing | Step::Ended => Loss::not_closed(),
        }
    }

    fn fail(&mut self, _: &mut u64, loss: &Loss, now_ns: u64, meter: &mut Meter) -> u64 {
        self.step = Step::Ended;
        let text = || loss.text.clone();
        meter.failure(loss.kind, Some(self.began.intended_ns), now_ns, text);
        1
    }

    fn abandon(&mut self, _: &mut u64, now_ns: u64, meter: &mut Meter) -> u64 {
        if self.step == Step::Ended {
            return 0;
        }
        let part = self.part_of_answer();
        self.step = Step::Ended;
        meter.unfinished(self.began.intended_ns, now_ns, true);
        if let Some(part) = part {
            meter.answered_in_part(part);
        }
        1
    }
}

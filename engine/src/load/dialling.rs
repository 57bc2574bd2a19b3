//! Opening connections: at the beginning by the ramp, lost ones again after a rest, and one for each
//! operation in workloads whose operations connect.

use super::connection::{NEVER, Next, State};
use super::outcome::Loss;
use super::session::{Connects, LoadSession, LoadWorkload};
use super::{Life, Phase};
use crate::driver::EngineError;
use crate::meter::ErrorKind;
use crate::record::{Ending, Happening};
use crate::session::Out;
use crate::shape::Ramp;
use crate::socket;
use std::io;
use std::net::SocketAddr;

/// Connects under way at once: well below any listen backlog, so that ramping up does not
/// overflow it.
pub const CONNECTS_AT_ONCE: u32 = 128;

/// A Unix listener's full backlog is asked again after this long, ns.
const BACKLOG_RETRY_NS: u64 = 1_000_000;

/// A lost connection is opened again after this long (ns), doubled with each failure in a row ...
const REST_FIRST_NS: u64 = 10_000_000;
/// ... up to this.
pub(super) const REST_LAST_NS: u64 = 1_000_000_000;

/// How long a connection rests after so many failures in a row, ns.
pub(super) fn rest_ns(failures: u32) -> u64 {
    (REST_FIRST_NS << (failures.clamp(1, 8) - 1)).min(REST_LAST_NS)
}

/// A connect that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Which connection of this worker.
    pub index: u32,
    /// Its number in the whole run, which says where to ([`crate::endpoint::Target::address`]).
    pub number: u32,
    /// From where; `None`: the kernel chooses.
    pub source: Option<SocketAddr>,
}

impl<W: LoadWorkload> Life<W> {
    /// Whether connections are opened after the go.
    pub(super) const AFTER_GO: bool = !matches!(W::CONNECTS, Connects::Ahead);

    /// Whether connecting is an operation or a part of one.
    pub(super) const EACH: bool = matches!(W::CONNECTS, Connects::Each | Connects::Once);

    /// Whether each connection is opened once, and held.
    pub(super) const ONCE: bool = matches!(W::CONNECTS, Connects::Once);

    /// Whether each connection is a client, which is opened once and operates.
    pub(super) const JOINS: bool = matches!(W::CONNECTS, Connects::Joining);

    /// The load begins: connections that are opened ahead are opened now, by the ramp.
    pub fn begin(&mut self, now_ns: u64) {
        self.alive_ns = now_ns;
        if !Self::AFTER_GO {
            self.ramp_up(now_ns);
        }
    }

    pub(super) fn ramp_up(&mut self, from_ns: u64) {
        for index in 0..self.connections.len() as u32 {
            let connection = &mut self.connections[index as usize];
            let offset_ns = self.rules.ramp.offset_ns(connection.rank);
            connection.began.intended_ns = from_ns.saturating_add(offset_ns);
            match offset_ns {
                0 => self.dial_or_operate(index, from_ns),
                offset_ns => self.dial_at(index, from_ns.saturating_add(offset_ns)),
            }
        }
    }

    /// The next connect to make, with whom. [`Life::connected`] or [`Life::connect_failed`] follows.
    pub fn next_dial(&mut self, now_ns: u64) -> Option<Dial> {
        if !self.may_dial() {
            return None;
        }
        let index = self.to_dial.pop_front()?;
        let connection = &mut self.connections[index as usize];
        debug_assert_eq!(connection.state, State::Queued, "an index is queued once");
        connection.state = State::Connecting;
        connection.next = Next::Nothing;
        if !std::mem::take(&mut connection.is_retry) {
            self.accounts.started += 1;
            connection.began.started_ns = now_ns;
            if !Self::AFTER_GO {
                connection.began.intended_ns = now_ns;
            }
            if Self::JOINS {
                self.meter.connection_started();
            }
            if Self::ONCE {
                self.note_start(index, now_ns);
            }
            self.record(index, Happening::Start, || now_ns);
        }
        let connection = &mut self.connections[index as usize];
        connection.session = self.workload.session();
        connection.spare_source = self.spare_source;
        self.connecting += 1;
        let started_ns = connection.began.started_ns;
        let number = connection.global_index;
        let source = self.rules.target.source(number, self.spare_source);
        let limit_ns = started_ns.saturating_add(self.rules.connect_timeout_ns);
        self.timers.arm(index, limit_ns);
        Some(Dial {
            index,
            number,
            source,
        })
    }

    /// A connection that is opened once is being opened, as it was due or as soon as there was room for it.
    fn note_start(&mut self, index: u32, now_ns: u64) {
        let began = &mut self.connections[index as usize].began;
        if self.rules.ramp == Ramp::AtOnce {
            began.intended_ns = now_ns;
        } else {
            self.meter.schedule_lag(began.intended_ns, now_ns);
        }
        self.meter.permit(began.intended_ns);
        self.meter.connection_started();
    }

    /// [`Life::next_dial`], if it is for this connection: for an engine whose connections connect by
    /// themselves.
    pub fn next_dial_of(&mut self, index: u32, now_ns: u64) -> Option<Dial> {
        let is_next = self.to_dial.front() == Some(&index);
        is_next.then(|| self.next_dial(now_ns)).flatten()
    }

    /// A connect has ended well.
    pub fn connected<O: Out>(&mut self, index: u32, out: &mut O) {
        let now_ns = out.now_ns();
        self.observe(now_ns);
        if !self.is_connecting(index) {
            return;
        }
        self.connecting -= 1;
        self.established += 1;
        // A stream's peer that only accepts gives no sign of life.
        if W::OWES {
            self.alive_ns = now_ns;
        }
        let connection = &mut self.connections[index as usize];
        connection.state = State::Shaking;
        let started_ns = connection.began.started_ns;
        self.meter.connected(started_ns, now_ns, Self::EACH);
        self.tell(index, out, |session, slot, out| {
            session.connected(slot, out);
        });
    }

    /// A connect has failed, or there was not even a socket for it. The executor closes what there is
    /// of it and says [`Life::closed`].
    pub fn connect_failed<O: Out>(&mut self, index: u32, error: &io::Error, out: &mut O) {
        let now_ns = out.now_ns();
        self.observe(now_ns);
        if !self.is_connecting(index) {
            return;
        }
        let errno = socket::errno_of(error);
        // A refused connect says ECONNREFUSED; ECONNRESET says that it was established and reset
        // before we looked. To a transaction whose server closes by RST that is the agreed end.
        if Self::AFTER_GO && errno == libc::ECONNRESET {
            self.connected(index, out);
            return self.lost(index, errno, out);
        }
        match self.retry_at_ns(index, errno, now_ns) {
            Some(at_ns) => self.leave(index, Next::Retry(at_ns)),
            None => self.lose_connect(index, self.refusal(index, errno, error), now_ns),
        }
        self.settle(index);
    }

    /// Whether the connection is being opened, and what becomes of that is of interest still.
    fn is_connecting(&self, index: u32) -> bool {
        self.state(index) == State::Connecting && self.phase < Phase::Over
    }

    /// When to try the same connect again, if what went wrong was neither the peer nor time.
    fn retry_at_ns(&mut self, index: u32, errno: i32, now_ns: u64) -> Option<u64> {
        let connection = &self.connections[index as usize];
        let started_ns = connection.began.started_ns;
        let used = connection.spare_source;
        if ErrorKind::of_errno(errno) == ErrorKind::NoPorts && used < self.spare_source {
            // Others have found out before, and have gone on to the next source.
            return Some(now_ns);
        }
        if let Some(next) = self.rules.target.next_spare(used, errno) {
            self.spare_source = next;
            return Some(now_ns);
        }
        // A Unix listener whose backlog is full (unix(7)): not a refusal, ask again.
        let young = now_ns.saturating_sub(started_ns) < self.rules.connect_timeout_ns;
        (errno == libc::EAGAIN && young).then(|| now_ns + BACKLOG_RETRY_NS)
    }

    fn refusal(&self, index: u32, errno: i32, error: &io::Error) -> Loss {
        let number = self.connections[index as usize].global_index;
        match errno {
            // A bounded blocking connect that ran out of time says EINPROGRESS (socket(7)).
            libc::EINPROGRESS | libc::EAGAIN => Loss::connect_timed_out(&self.rules, number),
            _ => Loss::connect_failed(&self.rules, number, error),
        }
    }

    /// Records that a connection could not be opened.
    pub(super) fn lose_connect(&mut self, index: u32, loss: Loss, now_ns: u64) {
        let connection = &mut self.connections[index as usize];
        connection.failures = connection.failures.saturating_add(1);
        let intended_ns = Self::EACH.then_some(connection.began.intended_ns);
        self.ended(index, loss.ending_of_connect(), || now_ns);
        match Self::JOINS {
            true => self.meter.client_not_opened(loss.kind, || loss.text),
            false => self
                .meter
                .failure(loss.kind, intended_ns, now_ns, || loss.text),
        }
        self.leave(index, Next::Rest);
    }

    /// Why the run cannot begin: before it is ready, and as long as nobody has answered a load that
    /// connects only after the go, the first failure ends it.
    pub fn refused(&self) -> Option<EngineError> {
        let nobody_yet =
            W::CONNECTS == Connects::Each && self.established == 0 && self.phase == Phase::Running;
        if self.is_prepared && !nobody_yet {
            return None;
        }
        let (kind, text) = self.meter.recorded().error_texts.first()?;
        Some(cannot_begin(*kind, text, self.established))
    }

    /// The socket of a connection is closed, or there was none.
    pub fn closed(&mut self, index: u32, now_ns: u64) {
        self.observe(now_ns);
        let connection = &mut self.connections[index as usize];
        if connection.state != State::Closing {
            return;
        }
        connection.state = State::Idle;
        let running = self.phase == Phase::Running;
        match std::mem::replace(&mut connection.next, Next::Nothing) {
            Next::Retry(at_ns) if self.phase < Phase::Draining => {
                connection.is_retry = true;
                if at_ns <= now_ns {
                    self.queue_dial(index);
                } else {
                    self.dial_at(index, at_ns);
                }
            }
            Next::Retry(_) => self.never_connected(index, now_ns),
            Next::Another if running || self.phase == Phase::Preparing => {
                self.dial_or_operate(index, now_ns);
            }
            Next::Rest if running => {
                let at_ns = now_ns + rest_ns(connection.failures);
                self.dial_at(index, at_ns);
            }
            Next::Another | Next::Rest | Next::Nothing => {}
        }
        self.settle(index);
    }

    /// A connect that was tried and is not tried again, for the run is over.
    pub(super) fn never_connected(&mut self, index: u32, now_ns: u64) {
        if self.phase == Phase::Over {
            return;
        }
        self.ended(index, Ending::Unfinished, || now_ns);
        if Self::EACH {
            let intended_ns = self.connections[index as usize].began.intended_ns;
            // Opened once, its beginning was the operation's.
            self.meter.unfinished(intended_ns, now_ns, Self::ONCE);
        }
    }

    /// Connects it at once; or, where that is a part of an operation, when one is due and permitted.
    pub(super) fn dial_or_operate(&mut self, index: u32, now_ns: u64) {
        if !Self::EACH || Self::ONCE {
            // Nothing else is to be due or permitted.
            return self.queue_dial(index);
        }
        let connection = &mut self.connections[index as usize];
        let rests = connection.dial_at_ns != NEVER;
        if self.phase != Phase::Running || connection.state != State::Idle || rests {
            return;
        }
        let pacer = self.pacer(index);
        let intended_ns = match pacer.is_open() {
            true => pacer.oldest_ns(),
            false => Some(now_ns),
        };
        let Some(intended_ns) = intended_ns else {
            return self.has_room(index);
        };
        if self.meter.permit(intended_ns) {
            self.pacer(index).take();
            self.connections[index as usize].began.intended_ns = intended_ns;
            self.queue_dial(index);
        }
    }

    fn queue_dial(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        debug_assert_eq!(connection.state, State::Idle, "an index is queued once");
        connection.state = State::Queued;
        self.to_dial.push_back(index);
    }

    fn dial_at(&mut self, index: u32, at_ns: u64) {
        let connection = &mut self.connections[index as usize];
        self.exact_instants += u32::from(connection.dial_at_ns == NEVER);
        connection.dial_at_ns = at_ns;
        self.timers.arm(index, at_ns);
    }

    /// A rest, or the pause of the ramp, is over.
    pub(super) fn rested(&mut self, index: u32, now_ns: u64) {
        let connection = &mut self.connections[index as usize];
        connection.dial_at_ns = NEVER;
        self.exact_instants -= 1;
        if connection.is_retry {
            self.queue_dial(index);
        } else {
            self.dial_or_operate(index, now_ns);
        }
    }
}

/// Why a run cannot begin whose next connection, after `established` others, fails in this way.
fn cannot_begin(kind: ErrorKind, text: &str, established: u64) -> EngineError {
    match kind {
        ErrorKind::NoPorts | ErrorKind::NoDescriptors => {
            let kind = kind.name();
            EngineError::Machine(format!("{kind} after {established} connections: {text}"))
        }
        _ => EngineError::Peer(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::rest_ns;

    #[test]
    fn rests_double_up_to_a_second() {
        let ms = [0, 1, 2, 3, 7, 8, u32::MAX].map(|failures| rest_ns(failures) / 1_000_000);
        assert_eq!(ms, [10, 10, 20, 40, 640, 1_000, 1_000]);
    }
}

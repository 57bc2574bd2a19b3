//! What happens on a connection, from its handshake to its end.

use super::connection::{NEVER, Next, State};
use super::dialling::REST_LAST_NS;
use super::outcome::{Loss, Outcome};
use super::session::{LoadSession, LoadWorkload};
use super::speaker::LoadSpeaker;
use super::{Life, Phase};
use crate::record::{Ending, Happening};
use crate::session::{How, Out};

impl<W: LoadWorkload> Life<W> {
    /// Bytes arrived on a connection.
    #[inline]
    pub fn received<O: Out>(&mut self, index: u32, bytes: &mut [u8], out: &mut O) {
        let now_ns = out.now_ns();
        self.observe(now_ns);
        self.alive_ns = now_ns;
        self.meter.bytes_received(bytes.len() as u64, now_ns);
        let connection = &mut self.connections[index as usize];
        if !connection.state.is_established() {
            return;
        }
        connection.failures = 0;
        self.tell(index, out, |session, slot, out| {
            session.received(slot, bytes, out);
        });
    }

    /// The kernel has taken bytes of a connection's output.
    #[inline]
    pub fn moved(&mut self, bytes: u64, now_ns: u64) {
        self.observe(now_ns);
        if !W::OWES {
            self.alive_ns = now_ns;
        }
        self.meter.bytes_sent(bytes, now_ns);
    }

    /// The kernel has taken everything that a connection was asked to send.
    #[inline]
    pub fn sent<O: Out>(&mut self, index: u32, out: &mut O) {
        if self.state(index).is_established() {
            self.tell(index, out, |session, slot, out| session.sent(slot, out));
        }
    }

    /// Whether nothing on this connection waits to be told that all was sent.
    #[inline]
    pub fn awaits_sent(&self, index: u32) -> bool {
        self.connections[index as usize].session.awaits_sent()
    }

    /// The peer of a connection will send nothing more.
    pub fn peer_finished<O: Out>(&mut self, index: u32, out: &mut O) {
        self.observe_by(out);
        if self.state(index).is_established() {
            self.tell(index, out, |session, slot, out| {
                session.peer_finished(slot, out);
            });
        }
    }

    /// A connection was lost: receiving or sending failed with this errno.
    pub fn lost<O: Out>(&mut self, index: u32, errno: i32, out: &mut O) {
        self.observe_by(out);
        if !self.state(index).is_established() {
            return;
        }
        self.tell(index, out, |session, slot, out| {
            session.lost(slot, errno, out);
        });
        if self.state(index).is_established() {
            let loss = Loss::of_errno(errno);
            self.conclude(index, Outcome::Failed(loss), out);
            self.settle(index);
        }
    }

    /// The next connection that is to be spoken on, by [`Life::speak`]: at the go, when arrivals came
    /// due, when its session's timer has. In one turn each connection's schedule is looked at once.
    pub fn next_speaker(&mut self, now_ns: u64) -> Option<u32> {
        if let Some(index) = self.to_speak.pop_front() {
            self.connections[index as usize].queued_to_speak = false;
            return Some(index);
        }
        if self.phase != Phase::Running {
            return None;
        }
        if self.queue.is_some() {
            return self.next_taker(now_ns);
        }
        loop {
            let due_ns = self.schedule.peek()?.0.0;
            if due_ns > now_ns || self.turns_left == 0 {
                return None;
            }
            if due_ns >= self.window_end_ns {
                self.schedule.clear();
                return None;
            }
            self.turns_left -= 1;
            if let Some(index) = self.take_arrivals(now_ns) {
                return Some(index);
            }
        }
    }

    /// Takes in what came due on the connection that is first in the schedule; returns it if it is
    /// to speak.
    fn take_arrivals(&mut self, now_ns: u64) -> Option<u32> {
        let index = self.schedule.peek()?.0.1;
        let connection = &mut self.connections[index as usize];
        connection.pacer.arrive(now_ns, &mut self.meter);
        let next_ns = connection.pacer.next_due_ns();
        let state = connection.state;
        // A client that has left has none, and comes in no more.
        match (self.schedule.peek_mut(), next_ns) {
            (Some(mut first), Some(next_ns)) => first.0.0 = next_ns,
            (Some(first), None) => drop(std::collections::binary_heap::PeekMut::pop(first)),
            (None, _) => {}
        }
        match state {
            State::Open => return Some(index),
            State::Idle if Self::EACH => {
                self.observe(now_ns);
                self.dial_or_operate(index, now_ns);
            }
            _ => {}
        }
        None
    }

    /// Lets a connection speak that [`Life::next_speaker`] named.
    pub fn speak<O: Out>(&mut self, index: u32, out: &mut O) {
        self.observe_by(out);
        if self.state(index) == State::Waiting && self.phase > Phase::Preparing {
            self.open(index, out);
        }
        let connection = &mut self.connections[index as usize];
        if std::mem::take(&mut connection.timer_due) && connection.state.is_established() {
            self.tell(index, out, |session, slot, out| session.timer(slot, out));
        }
        if W::PARTS && self.phase == Phase::Draining && self.state(index) == State::Open {
            return self.tell(index, out, |session, slot, out| session.part(slot, out));
        }
        if self.state(index) == State::Open && self.pacer(index).is_open() {
            self.tell(index, out, |session, slot, out| session.due(slot, out));
        }
    }

    pub(super) fn queue_to_speak(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if !std::mem::replace(&mut connection.queued_to_speak, true) {
            self.to_speak.push_back(index);
        }
    }

    /// The next connection that is to be closed, and how. [`Life::closed`] follows.
    pub fn next_close(&mut self) -> Option<(u32, How)> {
        self.to_close.pop_front()
    }

    /// Tells a session something, and hears what it says about its connection.
    #[inline]
    pub(super) fn tell<O: Out>(
        &mut self,
        index: u32,
        out: &mut O,
        tell: impl FnOnce(&mut W::Session, &mut W::Slot, &mut LoadSpeaker<'_, O>),
    ) {
        let connection = &mut self.connections[index as usize];
        let (shares, starts_left, pacer) = match &mut self.queue {
            None => (false, u32::MAX, &mut connection.pacer),
            Some(queue) => (true, queue.starts_at_a_time(), &mut queue.pacer),
        };
        let mut speaker = LoadSpeaker {
            out,
            meter: &mut self.meter,
            pacer,
            said: &mut self.said,
            recorder: &mut self.recorder,
            client: connection.global_index,
            starts_left,
            shares,
            began: connection.began,
            running: connection.state == State::Open,
        };
        tell(&mut connection.session, &mut connection.slot, &mut speaker);
        if self.said.is_anything() {
            self.hear(index, out);
        }
        if self.phase == Phase::Draining {
            self.settle(index);
        }
    }

    /// Acts on what a session said.
    fn hear<O: Out>(&mut self, index: u32, out: &mut O) {
        if let Some(at_ns) = self.said.after_ns.take() {
            self.set_timer(index, at_ns);
        }
        let is_ready = std::mem::take(&mut self.said.ready);
        if std::mem::take(&mut self.said.has_room) {
            self.has_room(index);
        }
        if let Some(outcome) = self.said.outcome.take() {
            return self.conclude(index, outcome, out);
        }
        if is_ready && self.state(index) == State::Shaking {
            self.record(index, Happening::Open, || out.now_ns());
            self.ready += u32::from(self.phase == Phase::Preparing);
            self.connections[index as usize].state = State::Waiting;
            if self.phase > Phase::Preparing {
                self.open(index, out);
            }
        }
    }

    pub(super) fn set_timer(&mut self, index: u32, at_ns: u64) {
        let connection = &mut self.connections[index as usize];
        self.exact_instants += u32::from(connection.timer_ns == NEVER);
        connection.timer_ns = at_ns;
        connection.timer_due = false;
        self.timers.arm(index, at_ns);
    }

    /// Lets traffic flow.
    fn open<O: Out>(&mut self, index: u32, out: &mut O) {
        let connection = &mut self.connections[index as usize];
        connection.state = State::Open;
        connection.opened_ns = out.now_ns();
        self.open += 1;
        // Where connecting is a part of the operation, its time counts.
        let since_ns = match Self::EACH {
            true => connection.began.started_ns,
            false => connection.opened_ns,
        };
        let limit_ns = since_ns.saturating_add(self.rules.operation_timeout_ns);
        self.timers.arm(index, limit_ns);
        if Self::ONCE && self.is_dismissed {
            // It was being opened when the others were to be closed.
            self.set_timer(index, out.now_ns());
        }
        if W::PARTS && self.phase > Phase::Running {
            return self.tell(index, out, |session, slot, out| session.part(slot, out));
        }
        if Self::JOINS {
            let now_ns = out.now_ns();
            self.joined += 1;
            self.meter.client_opened();
            self.start_schedule(index, now_ns);
        }
        self.tell(index, out, |session, slot, out| session.opened(slot, out));
    }

    /// A connection has ended: counts it, and closes it.
    fn conclude<O: Out>(&mut self, index: u32, outcome: Outcome, out: &mut O) {
        let how = match outcome {
            Outcome::Planned(how) => {
                self.ended(index, Ending::Normal, || out.now_ns());
                self.connections[index as usize].failures = 0;
                self.leave(index, Next::Another);
                how
            }
            Outcome::Failed(loss) => {
                self.lose(index, &loss, out.now_ns());
                How::Rst
            }
        };
        out.close(how);
    }

    /// Records the failure of a connection, and of every operation in flight on it. When the window is over,
    /// nobody is owed anything but an answer to what is in flight.
    pub(super) fn lose(&mut self, index: u32, loss: &Loss, now_ns: u64) {
        let connection = &mut self.connections[index as usize];
        if connection.state == State::Open
            && now_ns.saturating_sub(connection.opened_ns) > REST_LAST_NS
        {
            // It stood for longer than any rest: not another failure in a row.
            connection.failures = 0;
        }
        connection.failures = connection.failures.saturating_add(1);
        self.progress.lost_since = true;
        self.accounts.lost += 1;
        self.ended(index, loss.ending(), || now_ns);
        let connection = &mut self.connections[index as usize];
        if Self::ONCE {
            self.meter.connection_lost(loss.kind, || loss.text.clone());
            return self.leave(index, Next::Nothing);
        }
        if Self::JOINS {
            return self.lose_client(index, loss, now_ns);
        }
        let operations =
            connection
                .session
                .fail(&mut connection.slot, loss, now_ns, &mut self.meter);
        if operations == 0 && self.phase < Phase::Draining {
            self.meter
                .failure(loss.kind, None, now_ns, || loss.text.clone());
        }
        self.leave(index, Next::Rest);
    }

    /// A client has left: with it what was in flight and what was due, and nothing takes its place.
    fn lose_client(&mut self, index: u32, loss: &Loss, now_ns: u64) {
        let connection = &mut self.connections[index as usize];
        let text = || loss.text.clone();
        match connection.state {
            // After the window nobody is expected to stay.
            State::Open if self.phase > Phase::Running => {}
            State::Open => self.meter.connection_lost(loss.kind, text),
            _ => self.meter.client_not_opened(loss.kind, text),
        }
        connection
            .session
            .fail(&mut connection.slot, loss, now_ns, &mut self.meter);
        if self.phase == Phase::Running {
            self.end_schedule(index, loss, now_ns);
        }
        self.leave(index, Next::Nothing);
    }

    /// From now on a connection is only waited for until it is closed.
    pub(super) fn leave(&mut self, index: u32, next: Next) {
        let connection = &mut self.connections[index as usize];
        match connection.state {
            State::Connecting => self.connecting -= 1,
            State::Open => self.open -= 1,
            State::Waiting => self.ready -= u32::from(self.phase == Phase::Preparing),
            _ => {}
        }
        connection.state = State::Closing;
        connection.next = match next {
            Next::Another | Next::Rest if Self::ONCE || Self::JOINS => Next::Nothing,
            next => next,
        };
        self.gone += u32::from(connection.next == Next::Nothing);
        self.exact_instants -= u32::from(connection.timer_ns != NEVER);
        connection.timer_ns = NEVER;
        connection.timer_due = false;
    }

    fn observe_by<O: Out>(&mut self, out: &mut O) {
        let now_ns = out.now_ns();
        self.observe(now_ns);
    }
}

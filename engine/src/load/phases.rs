//! The phases of a load: the go, the measured window, the drain, the end.

use super::connection::{NEVER, State};
use super::outcome::Loss;
use super::session::{LoadSession, LoadWorkload};
use super::{Life, Phase, Progress};
use crate::meter::{Meter, Recorded};
use crate::record::Ending;
use crate::session::How;
use crate::shape::{EXACT_ARRIVALS, Pace, Pacer, Ramp};
use std::cmp::Reverse;
use std::sync::Arc;

/// What was due for a client that is lost is gone through one by one: a bounded number, whatever its rate.
const DUE_AT_ONCE_MAX: u32 = 1 << 16;

impl<W: LoadWorkload> Life<W> {
    /// Whether everything is prepared for the go; from then on failures are counted and end nothing.
    pub fn is_prepared(&mut self) -> bool {
        self.is_prepared |= Self::AFTER_GO || self.ready == self.connections.len() as u32;
        self.is_prepared
    }

    /// The go, for the instant `go_ns`, which has come.
    pub fn go(&mut self, go_ns: u64, now_ns: u64) {
        let (start_ns, end_ns) = self.rules.window_ns(go_ns);
        self.boundary_ns = start_ns;
        self.window_end_ns = end_ns;
        self.meter.begin(start_ns, end_ns);
        self.phase = Phase::Running;
        self.alive_ns = go_ns;
        self.progress.at_ns = go_ns;
        // Before the window is opened: what a run that counts forgets then is known from where its schedule begins.
        self.start_schedules(go_ns);
        self.observe(now_ns);
        for index in 0..self.connections.len() as u32 {
            let connection = &self.connections[index as usize];
            match connection.state {
                State::Waiting => self.queue_to_speak(index),
                // Lost between being ready and the go.
                State::Idle if !Self::AFTER_GO && connection.dial_at_ns == NEVER => {
                    self.dial_or_operate(index, now_ns);
                }
                _ => {}
            }
        }
        if Self::AFTER_GO {
            self.ramp_up(now_ns);
        }
    }

    fn start_schedules(&mut self, go_ns: u64) {
        self.go_ns = go_ns;
        // A client has its schedule from when it is opened.
        if self.start_queue(go_ns) || Self::JOINS {
            return;
        }
        for (connection, index) in self.connections.iter_mut().zip(0..) {
            connection.pacer.start(go_ns);
            if let Some(due_ns) = connection.pacer.next_due_ns() {
                self.schedule.push(Reverse((due_ns, index)));
            }
        }
    }

    /// The schedule of a client that has just been opened: what the whole load's has for it from now on, or its own.
    pub(super) fn start_schedule(&mut self, index: u32, now_ns: u64) {
        if self.queue.is_some() {
            return;
        }
        let connection = &mut self.connections[index as usize];
        let (pace, total) = (self.workload.pace(), self.rules.share.total);
        let seed = self.rules.poisson_seed;
        let mut pacer = Pacer::new(pace, connection.global_index, total, seed);
        match pace {
            // What is independent of all that came before may begin now.
            Pace::Each(_) | Pace::Poisson(_) => pacer.start(now_ns),
            Pace::Closed | Pace::Constant(_) => {
                pacer.start(self.go_ns);
                pacer.forget_before(now_ns, EXACT_ARRIVALS / u64::from(total));
            }
        }
        connection.pacer = pacer;
        let due_ns = pacer.next_due_ns();
        self.schedule
            .extend(due_ns.map(|due_ns| Reverse((due_ns, index))));
    }

    /// A client is lost: what was due for it and not sent has failed with it, and nothing more is due.
    pub(super) fn end_schedule(&mut self, index: u32, loss: &Loss, now_ns: u64) {
        let pacer = &mut self.connections[index as usize].pacer;
        for _ in 0..DUE_AT_ONCE_MAX {
            pacer.arrive(now_ns, &mut self.meter);
            let due_ns = pacer.take();
            let Some(intended_ns) = due_ns.filter(|&due_ns| self.meter.permit(due_ns)) else {
                break;
            };
            let text = || loss.text.clone();
            self.meter
                .failure(loss.kind, Some(intended_ns), now_ns, text);
        }
        *pacer = Pacer::never();
    }

    /// The instant from which the next event belongs to the window: an engine that keeps counters of its
    /// own reads them before it passes that event on. `u64::MAX` if there is none.
    #[inline]
    pub fn boundary_ns(&self) -> u64 {
        self.boundary_ns
    }

    /// Opens the window if its time has come: before anything is recorded, so that a run that counts
    /// hands out exactly its count.
    #[inline]
    pub(super) fn observe(&mut self, now_ns: u64) {
        if now_ns >= self.boundary_ns {
            self.open_window();
        }
    }

    #[cold]
    fn open_window(&mut self) {
        self.boundary_ns = u64::MAX;
        self.window_open = true;
        self.meter.open_window();
        if self.rules.count().is_some() && self.workload.pace().is_open() {
            self.forget_the_warm_ups_backlog();
        }
    }

    /// Whether the window has been opened.
    pub fn was_window_open(&self) -> bool {
        self.window_open
    }

    /// Time has passed: opens and ends the window, gives up what took too long, ends rests. Once a turn,
    /// where [`Life::has_work`].
    pub fn pass(&mut self, now_ns: u64) {
        self.observe(now_ns);
        self.turns_left = self.connections.len() as u32;
        self.look_after_the_late(now_ns);
        if self.phase != Phase::Running {
            return;
        }
        if let Some(reached_ns) = self.meter.count_reached_ns() {
            // What completed the count belongs to the window.
            self.close_window(reached_ns + 1, now_ns, false);
        } else if now_ns >= self.window_end_ns {
            self.close_window(self.window_end_ns, now_ns, false);
        } else if self.is_given_up(now_ns) {
            self.meter.give_up_count(self.alive_ns, now_ns);
            self.close_window(now_ns, now_ns, true);
        }
    }

    /// Whether a run that counts is to be given up: nothing is heard of the peer any more. Of a stream nothing is owed, so
    /// that a connection which stands says nothing; and one that is lost again and again, before a message is
    /// complete, brings none however many bytes come.
    fn is_given_up(&mut self, now_ns: u64) -> bool {
        if Self::JOINS {
            return self.is_deserted();
        }
        // Of those that are opened once each ends by its own time-out.
        if self.rules.count().is_none() || Self::ONCE {
            return false;
        }
        let ended = self.meter.ended();
        if ended != self.progress.ended {
            self.progress = Progress {
                ended,
                at_ns: now_ns,
                lost_since: false,
            };
        }
        let heard_ns = match !W::OWES && self.progress.lost_since {
            true => self.progress.at_ns,
            false => self.alive_ns,
        };
        (self.open == 0 || !W::OWES) && self.rules.is_out_of_patience(heard_ns, now_ns)
    }

    /// The run is to end early: what is in flight may still be answered.
    pub fn stop(&mut self, now_ns: u64) {
        if self.phase == Phase::Running {
            self.end_early(now_ns);
        }
        if Self::ONCE && self.phase == Phase::Draining {
            self.dismiss(now_ns);
        }
    }

    fn end_early(&mut self, now_ns: u64) {
        match self.meter.count_reached_ns() {
            Some(reached_ns) => self.close_window(reached_ns + 1, now_ns, false),
            None => {
                // What is being opened belongs to the window.
                let end_ns = (now_ns + u64::from(Self::ONCE)).min(self.window_end_ns);
                self.close_window(end_ns, now_ns, end_ns < self.window_end_ns);
            }
        }
    }

    fn close_window(&mut self, end_ns: u64, now_ns: u64, interrupted: bool) {
        self.observe(end_ns);
        self.window_end_ns = end_ns;
        self.boundary_ns = u64::MAX;
        self.meter.end_window(end_ns, interrupted);
        if Self::ONCE {
            // Those that were not even begun.
            let start_ns = self.meter.recorded().window_start_ns;
            self.meter.give_up_count(start_ns, now_ns);
        }
        self.meter.forbid();
        self.phase = Phase::Draining;
        self.drain_until_ns = match Self::ONCE {
            // They are held until somebody says so.
            true => u64::MAX,
            false => now_ns.saturating_add(self.rules.drain_ns),
        };
        self.schedule.clear();
        self.forget_undialled(now_ns);
        for index in 0..self.connections.len() as u32 {
            if W::PARTS && self.state(index) == State::Open {
                self.queue_to_speak(index);
            }
            self.settle(index);
        }
    }

    /// Operations whose connect was not even started, and connects that were to be tried again.
    fn forget_undialled(&mut self, now_ns: u64) {
        while let Some(index) = self.to_dial.pop_front() {
            let connection = &mut self.connections[index as usize];
            connection.state = State::Idle;
            let intended_ns = connection.began.intended_ns;
            if connection.is_retry {
                self.retry_never(index, now_ns);
            } else if Self::EACH
                && !Self::ONCE
                && (connection.pacer.is_open() || self.rules.count().is_some())
            {
                // In a closed loop nothing was due, unless it is one of a count.
                self.meter.unfinished(intended_ns, now_ns, false);
            }
        }
        for index in 0..self.connections.len() as u32 {
            let connection = &mut self.connections[index as usize];
            if connection.dial_at_ns == NEVER {
                continue;
            }
            connection.dial_at_ns = NEVER;
            self.exact_instants -= 1;
            if connection.is_retry {
                self.retry_never(index, now_ns);
            }
        }
    }

    fn retry_never(&mut self, index: u32, now_ns: u64) {
        self.connections[index as usize].is_retry = false;
        self.never_connected(index, now_ns);
    }

    /// Connections that were held are to be closed: all at the end, or one after the other.
    fn dismiss(&mut self, now_ns: u64) {
        if std::mem::replace(&mut self.is_dismissed, true) {
            return;
        }
        let mut last_ns = now_ns;
        for index in 0..self.connections.len() as u32 {
            let connection = &self.connections[index as usize];
            let offset_ns = self.rules.closing.offset_ns(connection.rank);
            if connection.state == State::Open && self.rules.closing != Ramp::AtOnce {
                let at_ns = now_ns.saturating_add(offset_ns);
                self.set_timer(index, at_ns);
                last_ns = last_ns.max(at_ns);
            }
            self.settle(index);
        }
        self.drain_until_ns = last_ns.saturating_add(self.rules.drain_ns);
    }

    /// Whether nothing is owed any more, or the time for it is over.
    pub fn is_drained(&self, now_ns: u64) -> bool {
        let may_end = !Self::ONCE || self.is_dismissed;
        self.phase >= Phase::Draining
            && may_end
            && (self.owed == 0 || now_ns >= self.drain_until_ns)
    }

    /// Keeps count of the connections that the drain waits for.
    #[inline]
    pub(super) fn settle(&mut self, index: u32) {
        if self.phase != Phase::Draining {
            return;
        }
        let connection = &mut self.connections[index as usize];
        let owed = match connection.state {
            // Held, it waits for its turn to be closed.
            State::Open if Self::ONCE => self.rules.closing != Ramp::AtOnce,
            State::Open => {
                let session = &connection.session;
                let waits = session.waiting_since_ns(&connection.slot).is_some();
                W::OWES && (W::PARTS || waits)
            }
            State::Connecting | State::Shaking => Self::EACH,
            _ => false,
        };
        match (std::mem::replace(&mut connection.owed, owed), owed) {
            (false, true) => self.owed += 1,
            (true, false) => self.owed -= 1,
            _ => {}
        }
    }

    /// Connections that stand, for questions about their sockets.
    pub fn standing(&self) -> impl Iterator<Item = u32> + '_ {
        self.in_states(|state| matches!(state, State::Open | State::Waiting))
    }

    /// Connections whose sockets are to be closed at the end, and how: streams are cut, for what is
    /// queued in the kernel is of no interest any more.
    pub fn remaining(&self) -> impl Iterator<Item = (u32, How)> + '_ {
        let how = if W::OWES { How::Fin } else { How::Rst };
        let has_socket = |state: State| state.is_established() || state == State::Connecting;
        self.in_states(has_socket).map(move |index| (index, how))
    }

    fn in_states(&self, is: impl Fn(State) -> bool) -> impl Iterator<Item = u32> {
        let connections = self.connections.iter().zip(0..);
        connections.filter_map(move |(connection, index)| is(connection.state).then_some(index))
    }

    /// The run is over: accounts for everything that stands, and for what came due and was never sent.
    /// Sockets are closed afterwards, and what they say then is of no interest.
    pub fn finish(&mut self, now_ns: u64) {
        if self.phase < Phase::Draining {
            // Never begun, or ended by an abort.
            let interrupted = now_ns < self.window_end_ns;
            let end_ns = now_ns + u64::from(Self::ONCE);
            self.close_window(end_ns.min(self.window_end_ns), now_ns, interrupted);
        }
        for index in 0..self.connections.len() as u32 {
            self.account_for(index, now_ns);
            W::conclude(&self.connections[index as usize].slot, &mut self.meter);
        }
        self.give_up_schedules(now_ns);
        self.phase = Phase::Over;
    }

    fn account_for(&mut self, index: u32, now_ns: u64) {
        let connection = &mut self.connections[index as usize];
        let intended_ns = connection.began.intended_ns;
        match connection.state {
            State::Open | State::Waiting | State::Shaking => {
                let owes =
                    connection
                        .session
                        .abandon(&mut connection.slot, now_ns, &mut self.meter);
                let ending = match owes > 0 || connection.state == State::Shaking {
                    true => Ending::Unfinished,
                    false => Ending::Normal,
                };
                self.ended(index, ending, || now_ns);
            }
            State::Connecting => {
                self.ended(index, Ending::Unfinished, || now_ns);
                if Self::EACH {
                    self.meter.unfinished(intended_ns, now_ns, true);
                }
            }
            State::Closing => {
                if let super::connection::Next::Retry(_) = connection.next {
                    self.never_connected(index, now_ns);
                }
            }
            State::Idle | State::Queued => {}
        }
    }

    /// Takes the record out, once it is over.
    pub fn take_recorded(&mut self) -> Recorded {
        let nothing = Meter::new(false, None, Arc::default());
        std::mem::replace(&mut self.meter, nothing).into_recorded()
    }
}

//! What is due at an instant: time-outs, rests that are over, and the sessions' own timers.

use super::connection::{NEVER, State};
use super::outcome::Loss;
use super::session::{LoadSession, LoadWorkload};
use super::{Life, Phase};
use crate::session::How;

impl<W: LoadWorkload> Life<W> {
    pub(super) fn look_after_the_late(&mut self, now_ns: u64) {
        while let Some(index) = self.timers.pop_due(now_ns) {
            self.look_after(index, now_ns);
        }
    }

    /// The timer of a connection has fired. Timers are lazy: it was armed for an instant at which
    /// something might be due, and is armed again for what is due next.
    fn look_after(&mut self, index: u32, now_ns: u64) {
        let connection = &mut self.connections[index as usize];
        if connection.timer_ns <= now_ns {
            connection.timer_ns = NEVER;
            connection.timer_due = true;
            self.exact_instants -= 1;
            self.queue_to_speak(index);
        }
        let limit_ns = match self.state(index) {
            State::Connecting | State::Shaking => self.connect_limit_ns(index, now_ns),
            State::Open => self.answer_limit_ns(index, now_ns),
            State::Idle => self.rest_limit_ns(index, now_ns),
            State::Queued | State::Waiting | State::Closing => None,
        };
        let timer_ns = self.connections[index as usize].timer_ns;
        let next_ns = limit_ns.unwrap_or(NEVER).min(timer_ns);
        if next_ns != NEVER {
            // Never at once: whoever is looked after is looked after once in a turn.
            self.timers.arm(index, next_ns.max(now_ns + 1));
        }
    }

    /// When connecting takes too long; `None` if it has.
    fn connect_limit_ns(&mut self, index: u32, now_ns: u64) -> Option<u64> {
        let connection = &self.connections[index as usize];
        let (started_ns, number) = (connection.began.started_ns, connection.global_index);
        let limit_ns = started_ns.saturating_add(self.rules.connect_timeout_ns);
        if now_ns < limit_ns {
            return Some(limit_ns);
        }
        let loss = match self.state(index) {
            State::Shaking => Loss::handshake_timed_out(&self.rules, number),
            _ => Loss::connect_timed_out(&self.rules, number),
        };
        self.lose_connect(index, loss, now_ns);
        self.close(index);
        None
    }

    /// When what the connection waits for takes too long, or may at the earliest; `None` if it has.
    fn answer_limit_ns(&mut self, index: u32, now_ns: u64) -> Option<u64> {
        let timeout_ns = self.rules.operation_timeout_ns;
        let connection = &self.connections[index as usize];
        let since_ns = connection.session.waiting_since_ns(&connection.slot);
        let limit_ns = since_ns.unwrap_or(now_ns).saturating_add(timeout_ns);
        if now_ns < limit_ns {
            return Some(limit_ns);
        }
        if self.phase != Phase::Running {
            // The drain has a limit of its own.
            return None;
        }
        let loss = connection.session.timed_out(&connection.slot);
        self.lose(index, &loss, now_ns);
        self.close(index);
        None
    }

    fn rest_limit_ns(&mut self, index: u32, now_ns: u64) -> Option<u64> {
        let dial_at_ns = self.connections[index as usize].dial_at_ns;
        if dial_at_ns > now_ns {
            return Some(dial_at_ns).filter(|&at| at != NEVER);
        }
        self.rested(index, now_ns);
        None
    }

    fn close(&mut self, index: u32) {
        self.to_close.push_back((index, How::Rst));
        self.settle(index);
    }
}

//! What took too long, and what has rested long enough.

use super::{Loader, Phase, State};
use crate::proactor::Proactor;
use crate::workload::{LoadSession, LoadWorkload};

impl<P: Proactor, W: LoadWorkload> Loader<P, W> {
    /// Opens the connection again at `at_ns`.
    pub(super) fn rest(&mut self, index: u32, at_ns: u64) {
        self.places[index as usize].retry_at_ns = Some(at_ns);
        self.sweep_at_ns = self.sweep_at_ns.min(at_ns);
    }

    /// Looks for operations and connects that took too long, and opens lost connections again.
    pub(super) fn sweep(&mut self) {
        let now = self.turn_ns;
        self.sweep_at_ns = now + self.sweep_every_ns;
        for index in 0..self.places.len() as u32 {
            let place = &mut self.places[index as usize];
            let age_ns = |since: u64| now.saturating_sub(since);
            match place.state {
                State::Connecting
                    if age_ns(place.slot.connect_started_ns) >= self.job.connect_timeout_ns =>
                {
                    self.connect_timed_out(index);
                }
                State::Open => {
                    let waiting = place.wire.session.waiting_since_ns(&place.slot);
                    if waiting.is_some_and(|since| age_ns(since) >= self.job.operation_timeout_ns)
                        && self.phase == Phase::Running
                    {
                        let loss = place.wire.session.timed_out(&place.slot);
                        self.lose(index, loss);
                    }
                }
                State::Idle => self.reopen_if_rested(index, now),
                _ => {}
            }
        }
    }

    fn reopen_if_rested(&mut self, index: u32, now: u64) {
        let place = &mut self.places[index as usize];
        match place.retry_at_ns {
            Some(at_ns) if now >= at_ns => place.retry_at_ns = None,
            Some(at_ns) => return self.sweep_at_ns = self.sweep_at_ns.min(at_ns),
            None => return,
        }
        if W::RECONNECTS && place.reopen_after_ns.is_none() {
            self.open_next_transaction(index, now);
        } else {
            self.queue_open(index);
        }
    }
}

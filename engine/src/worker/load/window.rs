//! The phases of a load: the go, the measured window, the drain.

use super::{Loader, Phase, Place, State};
use crate::clock::now_ns;
use crate::control::Order;
use crate::driver::{EngineError, Stop};
use crate::proactor::Proactor;
use crate::workload::{LoadSession, LoadWorkload};
use std::cmp::Reverse;

impl<P: Proactor, W: LoadWorkload> Loader<P, W> {
    /// Waits for the go while keeping an eye on the connections; `None` when aborted.
    pub(super) fn wait_for_go(&mut self) -> Result<Option<u64>, EngineError> {
        loop {
            if self.job.control.order() != Order::Run {
                return Ok(None);
            }
            let go_ns = self.job.control.go_ns();
            if let Some(go_ns) = go_ns.filter(|&at| now_ns() >= at) {
                return Ok(Some(go_ns));
            }
            self.bench.wait(go_ns)?;
            self.drain_events();
        }
    }

    pub(super) fn start(&mut self, go_ns: u64) -> Result<(), EngineError> {
        (self.window_start_ns, self.window_end_ns) = self.job.window_ns(go_ns);
        self.bench
            .meter
            .begin(self.window_start_ns, self.window_end_ns);
        self.phase = Phase::Running;
        self.alive_ns = go_ns;
        self.sweep_at_ns = go_ns + self.sweep_every_ns;
        self.open_window_if_due(go_ns);
        for index in 0..self.places.len() as u32 {
            let place = &mut self.places[index as usize];
            place.slot.pacer.start(go_ns);
            if let Some(due_ns) = place.slot.pacer.next_due_ns() {
                self.schedule.push(Reverse((due_ns, index)));
            }
            if W::RECONNECTS {
                self.open_next_transaction(index, now_ns());
            } else if place.state == State::Waiting {
                self.begin_traffic(index, now_ns());
            } else if place.state == State::Idle && place.retry_at_ns.is_none() {
                // Lost between being ready and the go.
                self.queue_open(index);
            }
        }
        self.drain_to_open()
    }

    /// Called before anything is sent, so that a run that counts hands out exactly its count.
    #[inline]
    pub(super) fn open_window_if_due(&mut self, now: u64) {
        if !self.window_open && now >= self.window_start_ns && self.phase == Phase::Running {
            self.open_window();
        }
    }

    #[cold]
    fn open_window(&mut self) {
        self.window_open = true;
        self.bench.meter.open_window();
        self.backend_at_start = self.counters_now();
        if matches!(self.job.stop, Stop::Count(_)) {
            self.refill();
        }
    }

    /// In a run that counts, connections that fell idle for want of permits in the warm-up go on.
    fn refill(&mut self) {
        for index in 0..self.places.len() as u32 {
            if self.places[index as usize].state == State::Open {
                self.tell_due(index, now_ns());
            }
        }
    }

    pub(super) fn advance_phase(&mut self) {
        let now = self.turn_ns;
        self.open_window_if_due(now);
        let ordered = self.job.control.order() != Order::Run;
        let over = now >= self.window_end_ns || self.bench.meter.count_reached();
        let gone = !over && self.peer_is_gone(now);
        if gone {
            self.bench.meter.give_up_count(self.alive_ns, now);
        }
        if over || ordered || gone {
            self.close_window(now, !over);
        }
    }

    fn peer_is_gone(&self, now: u64) -> bool {
        self.job.is_out_of_patience(self.alive_ns, now)
            && !self.places.iter().any(|place| place.state == State::Open)
    }

    fn close_window(&mut self, now: u64, interrupted: bool) {
        let end_ns = now.min(self.window_end_ns);
        // What came due inside the window and was not even noticed yet belongs to it.
        for place in &mut self.places {
            place.slot.pacer.arrive(end_ns, &mut self.bench.meter);
        }
        self.bench.meter.end_window(end_ns, interrupted);
        self.bench.meter.forbid();
        self.backend_in_window = self
            .window_open
            .then(|| self.counters_now().since(&self.backend_at_start));
        self.phase = Phase::Draining;
        self.drain_until_ns = now + self.job.drain_ns;
        self.schedule.clear();
        self.forget_unopened(now);
    }

    /// Transactions that came due inside the window and whose connect was not even started.
    fn forget_unopened(&mut self, now: u64) {
        while let Some(index) = self.to_open.pop_front() {
            self.places[index as usize].state = State::Idle;
            self.places[index as usize].reopen_after_ns = Some(0);
        }
        for place in &mut self.places {
            let untried = place.reopen_after_ns.take().is_some()
                && matches!(place.state, State::Idle | State::Closing);
            place.retry_at_ns = None;
            if untried && W::RECONNECTS {
                self.bench
                    .meter
                    .unfinished(place.slot.connect_intended_ns, now, false);
            }
        }
    }

    pub(super) fn drained(&self) -> bool {
        let busy = |place: &Place<W::Session>| match place.state {
            State::Open => {
                place.wire.session.waiting_since_ns(&place.slot).is_some() && !self.is_stream()
            }
            State::Connecting => W::RECONNECTS,
            _ => false,
        };
        self.job.control.order() == Order::Abort
            || now_ns() >= self.drain_until_ns
            || !self.places.iter().any(busy)
    }

    pub(super) fn is_stream(&self) -> bool {
        self.job.spec.is_stream()
    }
}

//! The end of a load: everything is accounted for, and closed.

use super::super::{CLOSING_LIMIT_NS, TCP_INFO_SAMPLES, let_go};
use super::{Loader, Phase, Place, State};
use crate::clock::now_ns;
use crate::driver::LoadOutcome;
use crate::proactor::{BackendCounters, How, Proactor};
use crate::tcp_info::{self, TcpInfoSummary};
use crate::workload::{LoadSession, LoadWorkload};

impl<P: Proactor, W: LoadWorkload> Loader<P, W> {
    pub(super) fn counters_now(&self) -> BackendCounters {
        let mut counters = self.bench.proactor.counters().clone();
        counters.system_calls += self.system_calls;
        counters
    }

    pub(super) fn finish(mut self) -> LoadOutcome {
        let now = now_ns();
        self.bench
            .meter
            .end_window(now, self.phase != Phase::Draining);
        let infos: Vec<_> = self
            .places
            .iter()
            .filter(|place| matches!(place.state, State::Open | State::Waiting))
            .take(TCP_INFO_SAMPLES)
            .filter_map(|place| tcp_info::read(self.bench.proactor.descriptor(place.wire.id)))
            .collect();
        for place in &mut self.places {
            match place.state {
                State::Open => {
                    place
                        .wire
                        .session
                        .abandon(&mut place.slot, now, &mut self.bench.meter)
                }
                State::Connecting if W::RECONNECTS => {
                    self.bench
                        .meter
                        .unfinished(place.slot.connect_intended_ns, now, true);
                }
                _ => {}
            }
            place
                .slot
                .end_schedule(&self.job.spec, now, &mut self.bench.meter);
        }
        self.close_all();
        let_go(&mut self.bench, &mut self.places);
        let features = self.bench.proactor.features();
        let options_granted = self.bench.proactor.options_granted();
        LoadOutcome {
            recorded: self.bench.meter.into_recorded(),
            backend: self.backend_in_window,
            features,
            options_granted,
            granted: self.granted,
            tcp_info: TcpInfoSummary::of(&infos),
            connections_opened: self.opened,
            spare_sources_used: self.spare_source,
        }
    }

    /// Closes everything and waits, bounded, until the backend references none of it.
    fn close_all(&mut self) {
        self.phase = Phase::Draining;
        self.bench.meter.forbid();
        for index in 0..self.places.len() as u32 {
            // Streams are cut: what is queued in the kernel is of no interest any more.
            let how = if self.is_stream() { How::Rst } else { How::Fin };
            self.close(index, how);
        }
        let is_closing = |place: &&Place<W::Session>| place.state == State::Closing;
        let closing = self.places.iter().filter(is_closing).count();
        let give_up_ns = now_ns() + CLOSING_LIMIT_NS;
        for _ in 0..closing {
            match self.bench.next_closed(give_up_ns) {
                Some(id) => self.closed(id.index),
                None => return,
            }
        }
    }
}

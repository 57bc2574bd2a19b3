//! Opening the load's connections: all of them before the go, lost ones again, and one per
//! transaction in workloads that reconnect.

use super::{Loader, Phase, Place, State};
use crate::clock::now_ns;
use crate::control::Order;
use crate::driver::EngineError;
use crate::loading::{BACKLOG_RETRY_NS, CONNECTS_AT_ONCE, Loss, cannot_begin, rest_ns};
use crate::proactor::Proactor;
use crate::socket;
use crate::workload::LoadWorkload;
use std::io;

impl<P: Proactor, W: LoadWorkload> Loader<P, W> {
    /// Opens every connection, before the go. Transactions open theirs after it.
    pub(super) fn open_all(&mut self) -> Result<(), EngineError> {
        if W::RECONNECTS {
            return Ok(());
        }
        for index in 0..self.places.len() as u32 {
            self.queue_open(index);
        }
        while self.opened < self.places.len() as u32 {
            if self.job.control.order() != Order::Run {
                return Err(EngineError::Peer("stopped while connecting".into()));
            }
            self.drain_to_open()?;
            self.bench.wait(Some(now_ns() + self.sweep_every_ns))?;
            self.drain_events();
            self.turn_ns = now_ns();
            if self.turn_ns >= self.sweep_at_ns {
                self.sweep();
            }
            self.fail_if_refused()?;
        }
        Ok(())
    }

    /// Before the go a connection that cannot be opened ends the run, with what the system said;
    /// so does the very first of the workloads that connect only after it.
    fn fail_if_refused(&mut self) -> Result<(), EngineError> {
        let first = W::RECONNECTS && self.opened == 0;
        if self.phase != Phase::Preparing && !first {
            return Ok(());
        }
        match self.bench.meter.recorded().error_texts.first() {
            None => Ok(()),
            Some((kind, text)) => Err(cannot_begin(*kind, text, self.opened)),
        }
    }

    /// Starts the next transaction of a connection, if one is due and permitted.
    pub(super) fn open_next_transaction(&mut self, index: u32, now: u64) {
        self.open_window_if_due(now);
        let place = &mut self.places[index as usize];
        let is_due = !place.slot.pacer.is_open() || place.slot.pacer.backlog() > 0;
        if self.phase == Phase::Running
            && place.state == State::Idle
            && is_due
            && self.bench.meter.permit()
        {
            place.slot.connect_intended_ns = place.slot.pacer.take().unwrap_or(now);
            self.queue_open(index);
        }
    }

    /// Queues a connection to be opened.
    pub(super) fn queue_open(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        debug_assert_eq!(place.state, State::Idle, "an index is queued once");
        place.state = State::Queued;
        self.to_open.push_back(index);
    }

    /// Starts the connects that are waiting, up to [`CONNECTS_AT_ONCE`].
    pub(super) fn drain_to_open(&mut self) -> Result<(), EngineError> {
        while self.connecting < CONNECTS_AT_ONCE {
            let Some(index) = self.to_open.pop_front() else {
                return Ok(());
            };
            if let Err(error) = self.start_connect(index) {
                self.connect_failed(index, &error);
            }
            self.fail_if_refused()?;
        }
        Ok(())
    }

    fn start_connect(&mut self, index: u32) -> io::Result<()> {
        let place = &mut self.places[index as usize];
        place.state = State::Idle;
        place.slot.reset_connection();
        if place.reopen_after_ns.take().is_none() {
            place.slot.connect_started_ns = now_ns();
        }
        let source = self.job.target.source(place.slot.index, self.spare_source);
        let fd = socket::connecting(
            self.job.target.domain(),
            source,
            P::NONBLOCKING,
            &self.job.socket,
        )?;
        // socket(2), TCP_NODELAY, and bind(2) with its option: the usual calls of a new socket.
        self.system_calls += 2 + 2 * u64::from(source.is_some());
        place.wire.id = place.wire.id.next_generation();
        place.wire.session = self.workload.session();
        place.wire.receive_paused = false;
        place.wire.shutdown_done = false;
        self.bench.proactor.open(place.wire.id, fd)?;
        place.state = State::Connecting;
        self.connecting += 1;
        self.bench
            .proactor
            .connect(place.wire.id, &self.job.target.address);
        Ok(())
    }

    pub(super) fn connected(&mut self, index: u32, result: Result<(), i32>) {
        let place = &mut self.places[index as usize];
        if place.state != State::Connecting {
            return;
        }
        // A refused connect says ECONNREFUSED; ECONNRESET says that it was established and reset
        // before we looked. To a transaction whose server closes by RST that is the agreed end.
        let reset = W::RECONNECTS && result == Err(libc::ECONNRESET);
        if let Err(errno) = result
            && !reset
        {
            if self.try_spare_source(errno) {
                return self.close_and_reopen(index, 0);
            }
            // A Unix listener whose backlog is full (unix(7)): not a refusal, ask again.
            let started_ns = self.places[index as usize].slot.connect_started_ns;
            let young = now_ns().saturating_sub(started_ns) < self.job.connect_timeout_ns;
            if errno == libc::EAGAIN && young {
                return self.close_and_reopen(index, BACKLOG_RETRY_NS);
            }
            return self.connect_failed(index, &io::Error::from_raw_os_error(errno));
        }
        let now = now_ns();
        self.open_window_if_due(now);
        let place = &mut self.places[index as usize];
        self.connecting -= 1;
        self.opened += 1;
        self.alive_ns = now;
        let Place {
            wire,
            slot,
            failures,
            state,
            ..
        } = place;
        *failures = 0;
        self.bench
            .meter
            .connected(slot.connect_started_ns, now, W::RECONNECTS);
        if self.granted.is_none() {
            self.granted = Some(socket::granted(self.bench.proactor.descriptor(wire.id)));
        }
        *state = State::Waiting;
        if reset {
            self.begin_traffic(index, now);
            return self.lost(index, libc::ECONNRESET);
        }
        self.bench.proactor.receive_many(wire.id);
        if self.phase != Phase::Preparing {
            self.begin_traffic(index, now);
        }
    }

    /// Ports ran out: go on from the next spare loopback address, if there is one.
    fn try_spare_source(&mut self, errno: i32) -> bool {
        let next = self.job.target.next_spare(self.spare_source, errno);
        self.spare_source = next.unwrap_or(self.spare_source);
        next.is_some()
    }

    /// Tries the same connect again, on a new socket. The started instant is kept by intention:
    /// the time that was lost is part of what connecting took.
    fn close_and_reopen(&mut self, index: u32, after_ns: u64) {
        let place = &mut self.places[index as usize];
        self.connecting -= 1;
        place.state = State::Closing;
        place.reopen_after_ns = Some(after_ns);
        self.bench
            .proactor
            .close(place.wire.id, crate::proactor::How::Fin);
    }

    pub(super) fn connect_timed_out(&mut self, index: u32) {
        self.record_connect_failure(index, Loss::connect_timed_out(&self.job));
    }

    fn connect_failed(&mut self, index: u32, error: &io::Error) {
        self.record_connect_failure(index, Loss::connect_failed(&self.job, error));
    }

    fn record_connect_failure(&mut self, index: u32, Loss { kind, text }: Loss) {
        let now = now_ns();
        let place = &mut self.places[index as usize];
        place.failures = place.failures.saturating_add(1);
        let intended_ns = W::RECONNECTS.then_some(place.slot.connect_intended_ns);
        self.bench.meter.failure(kind, intended_ns, now, || text);
        if place.state == State::Connecting {
            self.close(index, crate::proactor::How::Rst);
        } else {
            // Not even a socket: rest before the next try, or it would spin.
            self.rest(index, now + rest_ns(1));
        }
    }
}

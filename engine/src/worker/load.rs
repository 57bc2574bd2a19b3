//! The load's loop: open, wait for the go, run, drain, account for everything.

mod ending;
mod lateness;
mod opening;
mod window;

use super::{Bench, Pumped, Wire, buffer_group, let_go};
use crate::clock::now_ns;
use crate::driver::{EngineError, LoadJob, LoadOutcome, Stop};
use crate::loading::{CONNECTS_AT_ONCE, Loss, rest_ns};
use crate::meter::Meter;
use crate::outbox::Outbox;
use crate::proactor::{BackendCounters, ConnectionId, Event, How, Lease, Proactor};
use crate::session::Session;
use crate::socket::Granted;
use crate::workload::{LoadSession, LoadVisitor, LoadWorkload, Slot};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Workers look up at least this often (ns), for the end of the window and for timeouts.
const TICK_NS: u64 = 20_000_000;

/// Loads `job` on backend `P`. See [`crate::driver::Driver::load`].
///
/// # Errors
/// What makes the backend or the target unusable before the go.
pub fn load<P: Proactor>(job: LoadJob) -> Result<LoadOutcome, EngineError> {
    struct Visit<P>(LoadJob, PhantomData<P>);
    impl<P: Proactor> LoadVisitor for Visit<P> {
        type Output = Result<LoadOutcome, EngineError>;
        fn visit<W: LoadWorkload>(self, workload: W) -> Self::Output {
            Loader::<P, W>::new(self.0, workload)?.run()
        }
    }
    let spec = job.spec.clone();
    spec.dispatch(Visit::<P>(job, PhantomData))
}

/// Where a connection of the load is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected, and nothing under way.
    Idle,
    /// In the queue of those to be opened.
    Queued,
    /// A connect is under way.
    Connecting,
    /// Established before the go.
    Waiting,
    /// Traffic may flow.
    Open,
    /// `Proactor::close` was called; `Event::Closed` is to come.
    Closing,
}

/// One connection of the load, the whole run long.
struct Place<S> {
    state: State,
    wire: Wire<S>,
    slot: Slot,
    /// Times in a row that it could not be opened or was lost.
    failures: u32,
    /// When to open it again.
    retry_at_ns: Option<u64>,
    /// The same connect is to be tried once more, after this long (ns): it keeps its start.
    reopen_after_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connecting, then waiting for the go.
    Preparing,
    /// Warm-up and window.
    Running,
    /// The window is over; operations in flight may still be answered.
    Draining,
}

struct Loader<P: Proactor, W: LoadWorkload> {
    bench: Bench<P>,
    places: Vec<Place<W::Session>>,
    workload: W,
    job: LoadJob,
    phase: Phase,
    /// Next due instants, earliest first: at most one entry per connection.
    schedule: BinaryHeap<Reverse<(u64, u32)>>,
    again: VecDeque<u32>,
    /// Connections in state Connecting.
    connecting: u32,
    /// Connections in state Queued: each index at most once.
    to_open: VecDeque<u32>,
    window_start_ns: u64,
    window_end_ns: u64,
    window_open: bool,
    /// The end of the running turn.
    turn_ns: u64,
    /// When something was received or a connection established last.
    alive_ns: u64,
    sweep_at_ns: u64,
    sweep_every_ns: u64,
    drain_until_ns: u64,
    backend_at_start: BackendCounters,
    backend_in_window: Option<BackendCounters>,
    granted: Option<Granted>,
    spare_source: u32,
    opened: u32,
    system_calls: u64,
}

impl<P: Proactor, W: LoadWorkload> Loader<P, W> {
    fn new(job: LoadJob, workload: W) -> Result<Self, EngineError> {
        let count = job.share.count;
        let limit = match job.stop {
            Stop::Count(count) => Some(count),
            Stop::After(_) => None,
        };
        let bench = Bench::new(
            count,
            buffer_group(workload.hints(), count),
            workload.pattern_bytes(),
            &job.wake,
            &job.engine_options,
            Meter::new(job.spec.is_open_loop(), limit, Arc::clone(&job.published)),
        )?;
        let places = (0..count)
            .map(|index| {
                let mut slot = workload.slot(job.share.first + index, job.share.total);
                slot.pattern = Arc::clone(&bench.pattern);
                let id = ConnectionId {
                    index,
                    generation: 0,
                };
                let wire = Wire::new(id, workload.session(), Outbox::default());
                Place {
                    state: State::Idle,
                    wire,
                    slot,
                    failures: 0,
                    retry_at_ns: None,
                    reopen_after_ns: None,
                }
            })
            .collect();
        Ok(Self {
            bench,
            places,
            workload,
            phase: Phase::Preparing,
            schedule: BinaryHeap::with_capacity(count as usize + 1),
            again: VecDeque::with_capacity(count as usize),
            connecting: 0,
            to_open: VecDeque::with_capacity(count as usize),
            window_start_ns: u64::MAX,
            window_end_ns: u64::MAX,
            window_open: false,
            turn_ns: 0,
            alive_ns: 0,
            sweep_at_ns: 0,
            sweep_every_ns: job.sweep_every_ns(),
            drain_until_ns: u64::MAX,
            backend_at_start: BackendCounters::default(),
            backend_in_window: None,
            granted: None,
            spare_source: 0,
            opened: 0,
            system_calls: 0,
            job,
        })
    }

    fn run(mut self) -> Result<LoadOutcome, EngineError> {
        match self.work() {
            Ok(()) => Ok(self.finish()),
            Err(error) => {
                let_go(&mut self.bench, &mut self.places);
                Err(error)
            }
        }
    }

    fn work(&mut self) -> Result<(), EngineError> {
        self.open_all()?;
        self.job.control.report_ready();
        let Some(go_ns) = self.wait_for_go()? else {
            return Ok(());
        };
        self.start(go_ns)?;
        let period = Duration::from_nanos(self.sweep_every_ns.min(TICK_NS));
        let _ticker = self.job.control.tick_every(period);
        while self.phase == Phase::Running {
            self.turn()?;
            self.advance_phase();
        }
        while !self.drained() {
            self.turn()?;
        }
        Ok(())
    }

    /// Lets traffic flow on an established connection.
    fn begin_traffic(&mut self, index: u32, now_ns: u64) {
        let place = &mut self.places[index as usize];
        place.state = State::Open;
        let Place { wire, slot, .. } = place;
        self.bench
            .tell(wire, now_ns, |session, out| session.opened(slot, out));
        self.pump(index, now_ns);
    }

    /// One turn: wait, handle what happened, send what came due, look after the late.
    fn turn(&mut self) -> Result<(), EngineError> {
        let deadline_ns = self.next_deadline_ns();
        self.bench.wait(deadline_ns)?;
        self.drain_events();
        if !self.schedule.is_empty() {
            self.send_due();
        }
        if !self.again.is_empty() {
            self.go_round_again();
        }
        if !self.to_open.is_empty() {
            self.drain_to_open()?;
        }
        // What was received in this turn told the time: an operation costs one look at the clock.
        self.turn_ns = if self.alive_ns > self.turn_ns {
            self.alive_ns
        } else {
            now_ns()
        };
        if self.turn_ns >= self.sweep_at_ns {
            self.sweep();
        }
        Ok(())
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.bench.proactor.next() {
            self.handle(event);
        }
    }

    /// When to look again even if nothing happens; `None` where the tick suffices: while a closed
    /// loop runs, nothing is due at an exact instant (the window is judged by time stamps).
    fn next_deadline_ns(&self) -> Option<u64> {
        if !self.again.is_empty() || !self.to_open.is_empty() && self.connecting < CONNECTS_AT_ONCE
        {
            return Some(0);
        }
        if self.phase != Phase::Running {
            return Some(self.drain_until_ns.min(self.sweep_at_ns));
        }
        let Reverse((due_ns, _)) = self.schedule.peek()?;
        let boundary_ns = if self.window_open {
            self.window_end_ns
        } else {
            self.window_start_ns
        };
        Some((*due_ns).min(boundary_ns).min(self.sweep_at_ns))
    }

    // ---- events ----------------------------------------------------------------------------

    fn handle(&mut self, event: Event) {
        match event {
            Event::Received(id, lease) => self.received(id.index, lease),
            Event::Sent(id, Ok(bytes)) => self.sent(id.index, bytes as u64),
            Event::Sent(id, Err(errno)) => self.lost(id.index, errno),
            Event::Connected(id, result) => self.connected(id.index, result),
            Event::Finished(id) => self.finished(id.index),
            Event::ReceiveFailed(id, errno) => self.lost(id.index, errno),
            Event::Closed(id) => self.closed(id.index),
            Event::Woken => {}
            Event::Accepted(_) | Event::AcceptFailed(_) => {
                debug_assert!(false, "a load does not accept")
            }
        }
    }

    #[inline]
    fn received(&mut self, index: u32, lease: Lease) {
        let now = now_ns();
        self.open_window_if_due(now);
        self.alive_ns = now;
        let place = &mut self.places[index as usize];
        if place.state == State::Closing {
            return self.bench.proactor.give_back(lease);
        }
        self.bench.meter.bytes_received(u64::from(lease.len), now);
        if place.state != State::Open {
            // Before the go nothing was asked for. A peer that speaks first is not one of ours.
            return self.bench.proactor.give_back(lease);
        }
        let Place { wire, slot, .. } = place;
        self.bench.deliver(wire, slot, lease, now);
        self.pump(index, now);
    }

    #[inline]
    fn sent(&mut self, index: u32, bytes: u64) {
        let now = now_ns();
        self.bench.meter.bytes_sent(bytes, now);
        let place = &mut self.places[index as usize];
        if place.state != State::Open {
            return;
        }
        let Place { wire, slot, .. } = place;
        self.bench.sent(wire, slot, now);
        self.pump(index, now);
    }

    fn finished(&mut self, index: u32) {
        let now = now_ns();
        let place = &mut self.places[index as usize];
        if place.state == State::Closing {
            return;
        }
        if !W::RECONNECTS {
            return self.lose(index, Loss::closed_by_peer());
        }
        let Place { wire, slot, .. } = place;
        self.bench
            .tell(wire, now, |session, out| session.peer_finished(slot, out));
        self.pump(index, now);
    }

    fn lost(&mut self, index: u32, errno: i32) {
        let now = now_ns();
        let place = &mut self.places[index as usize];
        if place.state == State::Closing {
            return;
        }
        let Place { wire, slot, .. } = place;
        let mut agreed = false;
        self.bench.tell(wire, now, |session, out| {
            agreed = session.was_reset(slot, out)
        });
        if agreed {
            self.places[index as usize].wire.outbox.close = Some(How::Rst);
            return self.pump(index, now);
        }
        self.lose(index, Loss::of_errno(errno));
    }

    /// Records the failure of a connection, and of every operation in flight on it, and closes it.
    fn lose(&mut self, index: u32, loss: Loss) {
        let (draining, meter) = (self.phase == Phase::Draining, &mut self.bench.meter);
        let slot = &mut self.places[index as usize].slot;
        slot.lose(loss, W::RECONNECTS, draining, now_ns(), meter);
        self.close(index, How::Rst);
    }

    fn close(&mut self, index: u32, how: How) {
        let place = &mut self.places[index as usize];
        if matches!(
            place.state,
            State::Connecting | State::Waiting | State::Open
        ) {
            self.connecting -= u32::from(place.state == State::Connecting);
            place.state = State::Closing;
            self.bench.proactor.close(place.wire.id, how);
        }
    }

    fn closed(&mut self, index: u32) {
        let now = now_ns();
        let place = &mut self.places[index as usize];
        place
            .wire
            .outbox
            .clear(&mut self.bench.proactor, &mut self.bench.pool);
        place.slot.give_up(now, &mut self.bench.meter);
        place.state = State::Idle;
        if let Some(after_ns) = place
            .reopen_after_ns
            .filter(|_| self.phase != Phase::Draining)
        {
            return self.rest(index, now + after_ns);
        }
        if self.phase != Phase::Running {
            return;
        }
        if W::RECONNECTS && place.failures == 0 {
            return self.open_next_transaction(index, now);
        }
        place.failures = place.failures.saturating_add(1);
        let wait_ns = rest_ns(place.failures);
        self.rest(index, now + wait_ns);
    }

    #[inline]
    fn pump(&mut self, index: u32, now: u64) {
        let place = &mut self.places[index as usize];
        let Place { wire, slot, .. } = place;
        let (pumped, taken) = self.bench.pump(wire, slot, now);
        if taken > 0 {
            self.bench.meter.bytes_sent(taken, now);
        }
        match pumped {
            Pumped::Open => {}
            Pumped::Again if wire.in_line => {}
            Pumped::Again => {
                wire.in_line = true;
                self.again.push_back(index);
            }
            Pumped::Closing => place.state = State::Closing,
            Pumped::Lost(errno) => self.lost(index, errno),
        }
    }

    // ---- schedule and timeouts -------------------------------------------------------------

    fn send_due(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        let mut now = now_ns();
        while let Some(&Reverse((due_ns, index))) = self.schedule.peek() {
            if due_ns > now {
                // Handling what was due took time: look again before going to sleep.
                now = now_ns();
                if due_ns > now {
                    break;
                }
            }
            if due_ns >= self.window_end_ns {
                self.schedule.clear();
                break;
            }
            self.schedule.pop();
            let place = &mut self.places[index as usize];
            place.slot.pacer.arrive(now, &mut self.bench.meter);
            if let Some(next_ns) = place.slot.pacer.next_due_ns() {
                self.schedule.push(Reverse((next_ns, index)));
            }
            match place.state {
                State::Open => self.tell_due(index, now),
                State::Idle if W::RECONNECTS => self.open_next_transaction(index, now),
                _ => {}
            }
        }
    }

    fn tell_due(&mut self, index: u32, now: u64) {
        self.open_window_if_due(now);
        let Place { wire, slot, .. } = &mut self.places[index as usize];
        self.bench
            .tell(wire, now, |session, out| session.due(slot, out));
        self.pump(index, now);
    }

    fn go_round_again(&mut self) {
        for _ in 0..self.again.len() {
            let Some(index) = self.again.pop_front() else {
                return;
            };
            let place = &mut self.places[index as usize];
            place.wire.in_line = false;
            if place.state == State::Open {
                self.pump(index, now_ns());
            }
        }
    }
}

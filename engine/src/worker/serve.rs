//! The testee's loop.

use super::{Bench, CLOSING_LIMIT_NS, Party, Pumped, TCP_INFO_SAMPLES, Wire, earlier, let_go};
use crate::accepting::{ACCEPT_BACKOFF_NS, Dealer};
use crate::clock::now_ns;
use crate::control::Order;
use crate::driver::{EngineError, ServeJob, ServeOutcome};
use crate::meter::{ServePublished, bump};
use crate::needs::Needs;
use crate::proactor::{ConnectionId, Event, Lease, Proactor};
use crate::session::{How, Session};
use crate::socket;
use crate::speaker::Speaker;
use crate::tcp_info::{self, TcpInfoSummary};
use crate::timers::Timers;
use crate::workload::{ServeVisitor, ServeWorkload};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Accepted connections that may wait for a place: more than a backlog holds.
const WAITING_MAX: usize = 8192;

/// Serves `job` on backend `P` until told to stop. See [`crate::driver::Driver::serve`].
///
/// # Errors
/// What makes the backend unusable.
pub fn serve<P: Proactor>(job: ServeJob) -> Result<ServeOutcome, EngineError> {
    struct Visit<P>(ServeJob, PhantomData<P>);
    impl<P: Proactor> ServeVisitor for Visit<P> {
        type Output = Result<ServeOutcome, EngineError>;
        fn visit<W: ServeWorkload>(self, workload: W) -> Self::Output {
            Server::<P, W>::new(self.0, workload)?.run()
        }
    }
    let spec = job.spec.clone();
    spec.dispatch(Visit::<P>(job, PhantomData))
}

/// One place in the connection table.
struct Place<S> {
    wire: Wire,
    /// Of the connection that has the place.
    session: Option<S>,
    last_traffic_ns: u64,
}

impl<S> Place<S> {
    /// The connection that has the place, unless it is being closed.
    #[inline]
    fn talking(&mut self) -> Option<(&mut Wire, Talking<'_, S>)> {
        let session = self.session.as_mut().filter(|_| !self.wire.closing)?;
        Some((&mut self.wire, Talking(session)))
    }
}

/// A session, as the loop speaks with it.
struct Talking<'a, S>(&'a mut S);

impl<S: Session> Party for Talking<'_, S> {
    #[inline]
    fn received(&mut self, bytes: &mut [u8], out: &mut Speaker<'_>) {
        self.0.received(bytes, out);
    }

    #[inline]
    fn sent(&mut self, out: &mut Speaker<'_>) {
        self.0.sent(out);
    }

    #[inline]
    fn awaits_sent(&self) -> bool {
        self.0.awaits_sent()
    }
}

struct Server<P: Proactor, W: ServeWorkload> {
    // Dropped first: nothing may reference the outboxes' memory once they go.
    bench: Bench<P>,
    places: Vec<Place<W::Session>>,
    free: Vec<u32>,
    again: VecDeque<u32>,
    job: ServeJob,
    workload: W,
    accepting: bool,
    accept_again_ns: Option<u64>,
    dealer: Dealer,
    /// Accepted connections for which there is no place yet.
    waiting: VecDeque<OwnedFd>,
    granted: Option<socket::Granted>,
    is_ip: bool,
    open: u32,
    stop_at_ns: Option<u64>,
    /// When to look after a place: whether it is idle, and for its session's own timer. Traffic does not
    /// move them: a timer fires, and what it finds then decides.
    timers: Timers,
}

impl<P: Proactor, W: ServeWorkload> Server<P, W> {
    fn new(mut job: ServeJob, workload: W) -> Result<Self, EngineError> {
        let needs = Needs::of_testee(
            workload.hints(job.expected_message_bytes),
            job.limits.connections,
            job.expected_connections,
        );
        if let Some(listener) = &job.listener {
            socket::set_nonblocking(listener.as_fd(), P::NONBLOCKING)
                .map_err(|error| EngineError::Machine(format!("listener: {error}")))?;
        }
        let mut bench = Bench::new(needs, workload.region(), &job.wake, &job.engine_options)?;
        // The end of a send is traffic, of which an idle timeout must hear when it happens.
        bench.lazy = job.limits.idle_timeout_ns.is_none();
        let is_ip = job.listener.as_ref().is_none_or(|fd| {
            socket::local_address(fd.as_fd()).is_ok_and(|address| address.as_socket().is_some())
        });
        Ok(Self {
            bench,
            places: Vec::new(),
            free: Vec::new(),
            again: VecDeque::new(),
            workload,
            accepting: false,
            accept_again_ns: None,
            dealer: Dealer::new(job.handoff.take(), Arc::clone(&job.published)),
            waiting: VecDeque::new(),
            granted: None,
            is_ip,
            open: 0,
            stop_at_ns: None,
            timers: Timers::default(),
            job,
        })
    }

    fn run(mut self) -> Result<ServeOutcome, EngineError> {
        match self.work() {
            Ok(()) => Ok(self.finish()),
            Err(error) => {
                let_go(&mut self.bench, &mut self.places);
                Err(error)
            }
        }
    }

    fn work(&mut self) -> Result<(), EngineError> {
        self.job.control.report_ready();
        self.accept_if_room();
        loop {
            self.follow_orders();
            if self
                .stop_at_ns
                .is_some_and(|at| self.open == 0 || now_ns() >= at)
            {
                break;
            }
            let deadline_ns = self.next_deadline_ns();
            self.bench.wait(deadline_ns)?;
            while let Some(event) = self.bench.proactor.next() {
                self.handle(event);
            }
            self.go_round_again();
            self.sweep();
            let calls = self.bench.proactor.counters().system_calls;
            self.published().system_calls.store(calls, Relaxed);
        }
        Ok(())
    }

    fn follow_orders(&mut self) {
        match self.job.control.order() {
            Order::Run => {}
            Order::Stop if self.stop_at_ns.is_none() => {
                self.stop_listening();
                self.stop_at_ns = Some(now_ns() + self.job.limits.drain_ns);
            }
            Order::Stop => {}
            Order::Abort => {
                self.stop_listening();
                self.stop_at_ns = Some(0);
            }
        }
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        if !self.again.is_empty() {
            return Some(0);
        }
        let soonest = earlier(self.accept_again_ns, self.stop_at_ns);
        earlier(soonest, self.timers.next_ns())
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted(fd) => self.accepted(fd),
            Event::AcceptFailed(errno) => self.accept_failed(errno),
            Event::Received(id, lease) => self.received(id, lease),
            Event::Finished(id) => self.finished(id),
            Event::ReceiveFailed(id, errno) => self.lost(id.index, errno),
            Event::Sent(id, Ok(bytes)) => self.sent(id, bytes as u64),
            Event::Sent(id, Err(errno)) => self.lost(id.index, errno),
            Event::Closed(id) => self.closed(id),
            Event::Woken => self.take_handed(),
            Event::Connected(..) => debug_assert!(false, "a testee does not connect"),
        }
    }

    // ---- accepting -------------------------------------------------------------------------

    fn accept_if_room(&mut self) {
        let Some(listener) = &self.job.listener else {
            return;
        };
        let room = self.open < self.job.limits.connections || self.dealer.accepts_for_others();
        if room && !self.accepting && self.stop_at_ns.is_none() && self.accept_again_ns.is_none() {
            self.accepting = true;
            self.bench.proactor.accept_many(listener.as_raw_fd());
        }
    }

    fn stop_listening(&mut self) {
        self.stop_accepting();
        while self.waiting.pop_front().is_some() {
            self.dealer.over_limit();
        }
        if let Some(listener) = &self.job.listener {
            socket::stop_listening(listener.as_fd());
        }
    }

    fn stop_accepting(&mut self) {
        if std::mem::take(&mut self.accepting) {
            self.bench.proactor.accept_stop();
        }
        self.accept_again_ns = None;
    }

    fn accepted(&mut self, fd: OwnedFd) {
        if let Some(fd) = self.dealer.deal(fd) {
            self.admit(fd);
        }
    }

    fn take_handed(&mut self) {
        while let Some(fd) = self.dealer.take() {
            self.admit(fd);
        }
    }

    /// Takes a connection in: one that this worker accepted, or one handed to it.
    fn admit(&mut self, fd: OwnedFd) {
        if self.open >= self.job.limits.connections {
            return self.let_wait(fd);
        }
        socket::accepted(fd.as_fd(), self.is_ip, &self.job.socket);
        if self.granted.is_none() {
            self.granted = Some(socket::granted(fd.as_raw_fd()));
        }
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.places.len() as u32;
            self.places.push(Place {
                wire: Wire::new(index),
                session: None,
                last_traffic_ns: 0,
            });
            index
        });
        let now_ns = now_ns();
        let place = &mut self.places[index as usize];
        let id = place.wire.next_tenant();
        if self.bench.proactor.open(id, fd).is_err() {
            self.free.push(index);
            bump(&self.job.published.failed, 1);
            bump(&self.job.published.closed, 1);
            return;
        }
        let session = place.session.insert(self.workload.session());
        place.last_traffic_ns = now_ns;
        self.open += 1;
        if let Some(idle_ns) = self.job.limits.idle_timeout_ns {
            self.timers.arm(index, now_ns.saturating_add(idle_ns));
        }
        self.bench.proactor.receive_many(id);
        session.opened(&mut self.bench.speaker(&mut place.wire.outbox, now_ns));
        self.pump(index, now_ns);
        if self.open >= self.job.limits.connections && !self.dealer.accepts_for_others() {
            self.stop_accepting();
        }
    }

    /// The kernel has delivered more than there are places: several at once, or before accepting stopped.
    /// They wait for a place as those in the backlog do.
    fn let_wait(&mut self, fd: OwnedFd) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(fd);
        } else {
            self.dealer.over_limit();
        }
    }

    fn accept_failed(&mut self, errno: i32) {
        self.accepting = false;
        self.published().count_accept_backoff(Some(errno));
        // Whatever it was, accepting again at once could spin: the connection stays in the backlog.
        self.accept_again_ns = Some(now_ns() + ACCEPT_BACKOFF_NS);
    }

    // ---- traffic ---------------------------------------------------------------------------

    fn received(&mut self, id: ConnectionId, lease: Lease) {
        let place = &mut self.places[id.index as usize];
        if place.wire.id != id || place.wire.closing || place.session.is_none() {
            return self.bench.proactor.give_back(lease);
        }
        bump(&self.job.published.bytes_received, u64::from(lease.len));
        let mut now = 0;
        if self.job.limits.idle_timeout_ns.is_some() {
            now = now_ns();
            place.last_traffic_ns = now;
        }
        if let Some((wire, mut talking)) = place.talking() {
            self.bench.deliver(wire, &mut talking, lease, now);
        }
        self.pump(id.index, now);
    }

    fn finished(&mut self, id: ConnectionId) {
        let place = &mut self.places[id.index as usize];
        if let Some((wire, talking)) = place.talking() {
            let mut out = self.bench.speaker(&mut wire.outbox, 0);
            talking.0.peer_finished(&mut out);
            self.pump(id.index, 0);
        }
    }

    fn sent(&mut self, id: ConnectionId, bytes: u64) {
        let place = &mut self.places[id.index as usize];
        if place.talking().is_none() {
            return;
        }
        let counted = u64::from(std::mem::take(&mut place.wire.lazy_bytes));
        bump(&self.job.published.bytes_sent, bytes - counted);
        if self.job.limits.idle_timeout_ns.is_some() {
            place.last_traffic_ns = now_ns();
        }
        if let Some((wire, mut talking)) = place.talking() {
            self.bench.sent(wire, &mut talking, 0);
        }
        self.pump(id.index, 0);
    }

    #[inline]
    fn pump(&mut self, index: u32, now_ns: u64) {
        let place = &mut self.places[index as usize];
        let Some((wire, mut talking)) = place.talking() else {
            return;
        };
        let was_paused = wire.receive_paused;
        let (pumped, taken) = self.bench.pump(wire, &mut talking, now_ns);
        let paused = wire.receive_paused && !was_paused;
        let timer_ns = wire.outbox.timer_ns;
        bump(&self.job.published.bytes_sent, taken);
        if taken > 0 && self.job.limits.idle_timeout_ns.is_some() {
            place.last_traffic_ns = crate::clock::now_ns();
        }
        if paused {
            bump(&self.job.published.peer_not_reading, 1);
        }
        if let Some(at_ns) = timer_ns {
            // Never at once: whoever is looked after is looked after once in a turn.
            let earliest_ns = crate::clock::now_ns() + 1;
            self.timers.arm(index, at_ns.max(earliest_ns));
        }
        match pumped {
            Pumped::Open | Pumped::Closing => {}
            Pumped::Again if place.wire.in_line => {}
            Pumped::Again => {
                place.wire.in_line = true;
                self.again.push_back(index);
            }
            Pumped::Lost(errno) => self.lost(index, errno),
        }
    }

    fn go_round_again(&mut self) {
        for _ in 0..self.again.len() {
            let Some(index) = self.again.pop_front() else {
                return;
            };
            self.places[index as usize].wire.in_line = false;
            self.pump(index, 0);
        }
    }

    // ---- ends ------------------------------------------------------------------------------

    fn lost(&mut self, index: u32, errno: i32) {
        let place = &mut self.places[index as usize];
        if place.session.is_some() && !place.wire.closing {
            self.job.published.count_lost(errno);
            self.bench.close(&mut place.wire, How::Fin);
        }
    }

    fn closed(&mut self, id: ConnectionId) {
        let place = &mut self.places[id.index as usize];
        if place.session.take().is_some() {
            let Bench { proactor, pool, .. } = &mut self.bench;
            place.wire.outbox.clear(proactor, pool);
            self.free.push(id.index);
            self.open -= 1;
            bump(&self.job.published.closed, 1);
        }
        if self.job.limits.one_off && self.open == 0 {
            self.job.control.order_all(Order::Stop);
        }
        self.accept_again_ns = None;
        while self.stop_at_ns.is_none()
            && self.open < self.job.limits.connections
            && let Some(fd) = self.waiting.pop_front()
        {
            self.admit(fd);
        }
        self.accept_if_room();
    }

    fn sweep(&mut self) {
        if self.accept_again_ns.is_none() && self.timers.next_ns().is_none() {
            return;
        }
        let now = now_ns();
        if self.accept_again_ns.is_some_and(|at| now >= at) {
            self.accept_again_ns = None;
            self.accept_if_room();
        }
        while let Some(index) = self.timers.pop_due(now) {
            self.look_after(index, now);
        }
    }

    /// A place's timer fired: calls its session's, and closes its connection if nothing has moved for
    /// too long.
    fn look_after(&mut self, index: u32, now_ns: u64) {
        let place = &mut self.places[index as usize];
        let Some((wire, talking)) = place.talking() else {
            return;
        };
        match wire.outbox.timer_ns {
            Some(at_ns) if at_ns <= now_ns => {
                wire.outbox.timer_ns = None;
                let mut out = self.bench.speaker(&mut wire.outbox, now_ns);
                talking.0.timer(&mut out);
                self.pump(index, now_ns);
            }
            Some(at_ns) => self.timers.arm(index, at_ns),
            None => {}
        }
        if let Some(idle_ns) = self.job.limits.idle_timeout_ns {
            self.look_for_traffic(index, now_ns, idle_ns);
        }
    }

    fn look_for_traffic(&mut self, index: u32, now_ns: u64, idle_ns: u64) {
        let place = &mut self.places[index as usize];
        if place.talking().is_none() {
            return;
        }
        let idle_at_ns = place.last_traffic_ns.saturating_add(idle_ns);
        if now_ns < idle_at_ns {
            return self.timers.arm(index, idle_at_ns);
        }
        bump(&self.job.published.idle_closed, 1);
        self.bench.close(&mut place.wire, How::Fin);
    }

    fn finish(mut self) -> ServeOutcome {
        let open: Vec<_> = self
            .places
            .iter_mut()
            .filter_map(|place| place.talking().map(|(wire, _)| wire.id))
            .collect();
        let infos: Vec<_> = open
            .iter()
            .take(TCP_INFO_SAMPLES)
            .filter_map(|id| tcp_info::read(self.bench.proactor.descriptor(*id)))
            .collect();
        bump(&self.published().cut_off, open.len() as u64);
        for id in open {
            let wire = &mut self.places[id.index as usize].wire;
            self.bench.close(wire, How::Fin);
        }
        self.close_out();
        let_go(&mut self.bench, &mut self.places);
        ServeOutcome {
            backend: Some(self.bench.proactor.counters().clone()),
            features: self.bench.proactor.features(),
            options_granted: self.bench.proactor.options_granted(),
            granted: self.granted.take(),
            tcp_info: TcpInfoSummary::of(&infos),
        }
    }

    /// Waits, bounded, until the backend references none of the connections' memory.
    fn close_out(&mut self) {
        let give_up_ns = now_ns() + CLOSING_LIMIT_NS;
        while self.open > 0
            && let Some(id) = self.bench.next_closed(give_up_ns)
        {
            self.closed(id);
        }
    }

    fn published(&self) -> &ServePublished {
        &self.job.published
    }
}

#[cfg(test)]
mod tests;

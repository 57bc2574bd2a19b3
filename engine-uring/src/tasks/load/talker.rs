//! One connection of the load: its session, and what outlives it.

use super::super::output::{Output, Speaker};
use super::super::wire::Party;
use super::{Phase, Stage};
use engine::clock::now_ns;
use engine::loading::{BACKLOG_RETRY_NS, CONNECTS_AT_ONCE, Loss, rest_ns};
use engine::proactor::How;
use engine::session::{Boundary, Session};
use engine::socket;
use engine::workload::{LoadSession, LoadWorkload, Slot};
use std::cmp::Reverse;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Poll;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not connected, and nothing under way.
    Idle,
    /// Waiting until fewer others are connecting.
    Queued,
    /// It may connect.
    Called,
    /// A connect is under way.
    Connecting,
    /// Established before the go.
    Waiting,
    /// Traffic may flow.
    Open,
}

/// What to do after a connect that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The same once more, now.
    Now,
    /// The same once more, at this instant (ns).
    At(u64),
    /// It has failed.
    No,
}

/// See the module's text.
pub struct Talker<W: LoadWorkload> {
    stage: Rc<Stage<W>>,
    /// In the worker.
    index: u32,
    session: W::Session,
    /// What outlives a connection.
    pub slot: Slot,
    /// Where it is.
    pub state: State,
    /// The connect takes too long, or the run is over.
    pub given_up: bool,
    /// It was opened, or tried, before the go.
    attempted: bool,
    /// Times in a row that it could not be opened or was lost.
    failures: u32,
    /// When to open it again.
    retry_at_ns: Option<u64>,
    /// When its session was told something last.
    told_ns: u64,
}

impl<W: LoadWorkload> Talker<W> {
    /// A connection that is not open yet.
    pub fn new(stage: Rc<Stage<W>>, index: u32) -> Self {
        let share = stage.job.share;
        let mut slot = stage.workload.slot(share.first + index, share.total);
        slot.pattern = std::sync::Arc::clone(&stage.pattern);
        Self {
            index,
            session: stage.workload.session(),
            slot,
            state: State::Idle,
            given_up: false,
            attempted: false,
            failures: 0,
            retry_at_ns: None,
            told_ns: 0,
            stage,
        }
    }

    /// Its number in the worker.
    pub fn index(&self) -> u32 {
        self.index
    }

    // ---- opening ---------------------------------------------------------------------------

    /// Whether it is to be opened now; pending while it is not, false when it is over.
    pub fn wants_to_open(&mut self) -> Poll<bool> {
        match self.stage.phase.get() {
            Phase::Draining | Phase::Over => return Poll::Ready(false),
            // A connection that was lost before the go is opened again after it.
            Phase::Preparing if W::RECONNECTS || self.attempted => return Poll::Pending,
            Phase::Preparing | Phase::Running => {}
        }
        match self.state {
            State::Idle => {}
            State::Called => return Poll::Ready(true),
            _ => return Poll::Pending,
        }
        let now = now_ns();
        if self.retry_at_ns.is_some_and(|at| now < at) {
            return Poll::Pending;
        }
        self.retry_at_ns = None;
        if W::RECONNECTS && !self.begin_transaction(now) {
            return Poll::Pending;
        }
        let stage = &self.stage;
        let room = stage.connecting.get() < CONNECTS_AT_ONCE;
        if room && stage.to_open.borrow().is_empty() {
            stage.connecting.set(stage.connecting.get() + 1);
            self.state = State::Called;
            return Poll::Ready(true);
        }
        self.state = State::Queued;
        stage.to_open.borrow_mut().push_back(self.index);
        stage.bell.ring();
        Poll::Pending
    }

    /// Takes the next transaction, if one is due and permitted.
    fn begin_transaction(&mut self, now: u64) -> bool {
        self.stage.open_window_if_due(now);
        let is_due = !self.slot.pacer.is_open() || self.slot.pacer.backlog() > 0;
        let begins = is_due && self.stage.meter.borrow_mut().permit();
        if begins {
            self.slot.connect_intended_ns = self.slot.pacer.take().unwrap_or(now);
        }
        begins
    }

    /// A connect begins.
    pub fn connecting(&mut self) {
        self.state = State::Connecting;
        self.attempted = true;
        self.given_up = false;
        self.session = self.stage.workload.session();
        self.slot.reset_connection();
        self.slot.connect_started_ns = now_ns();
    }

    fn connect_ended(&mut self) {
        let stage = &self.stage;
        stage.connecting.set(stage.connecting.get() - 1);
        if !stage.to_open.borrow().is_empty() || stage.phase.get() != Phase::Running {
            stage.bell.ring();
        }
    }

    /// The connection is established. False: too late, it is not wanted any more.
    pub fn connected(&mut self, fd: Option<RawFd>, output: &mut Output) -> bool {
        self.connect_ended();
        let stage = &self.stage;
        if stage.phase.get() == Phase::Over {
            self.state = State::Idle;
            return false;
        }
        let now = now_ns();
        stage.open_window_if_due(now);
        stage.opened.set(stage.opened.get() + 1);
        stage.alive_ns.set(now);
        let started_ns = self.slot.connect_started_ns;
        stage
            .meter
            .borrow_mut()
            .connected(started_ns, now, W::RECONNECTS);
        let mut granted = stage.granted.borrow_mut();
        if granted.is_none() {
            *granted = fd.map(socket::granted);
        }
        drop(granted);
        self.failures = 0;
        self.state = State::Waiting;
        if self.stage.phase.get() != Phase::Preparing {
            self.begin_traffic(now, output);
        }
        true
    }

    /// The connect ended with an error.
    pub fn connect_failed(&mut self, error: &io::Error, output: &mut Output) -> Again {
        let errno = socket::errno_of(error);
        let now = now_ns();
        if self.stage.phase.get() == Phase::Over {
            self.connect_ended();
            self.state = State::Idle;
            return Again::No;
        }
        // A refused connect says ECONNREFUSED; ECONNRESET says that it was established and reset
        // before we looked. To a transaction whose server closes by RST that is the agreed end.
        if W::RECONNECTS && errno == libc::ECONNRESET {
            self.connected(None, output);
            self.lost(errno, output);
            self.closed();
            return Again::No;
        }
        let age_ns = now.saturating_sub(self.slot.connect_started_ns);
        let patience_ns = self.stage.job.connect_timeout_ns;
        if !self.given_up && self.try_spare_source(errno) {
            return Again::Now;
        }
        // A Unix listener whose backlog is full (unix(7)): not a refusal, ask again.
        if !self.given_up && errno == libc::EAGAIN && age_ns < patience_ns {
            return Again::At(now + BACKLOG_RETRY_NS);
        }
        self.connect_ended();
        let job = &self.stage.job;
        let Loss { kind, text } = match self.given_up || errno == libc::EAGAIN {
            true => Loss::connect_timed_out(job),
            false => Loss::connect_failed(job, error),
        };
        let intended_ns = W::RECONNECTS.then_some(self.slot.connect_intended_ns);
        let mut meter = self.stage.meter.borrow_mut();
        meter.failure(kind, intended_ns, now, || text);
        drop(meter);
        self.state = State::Idle;
        self.rest(now);
        // Before anything was opened, this may be the end of the run.
        self.stage.bell.ring();
        Again::No
    }

    /// Ports ran out: go on from the next spare loopback address, if there is one.
    fn try_spare_source(&self, errno: i32) -> bool {
        let spare = &self.stage.spare_source;
        let next = self.stage.job.target.next_spare(spare.get(), errno);
        spare.set(next.unwrap_or(spare.get()));
        next.is_some()
    }

    /// Waits longer with every failure in a row.
    fn rest(&mut self, now: u64) {
        self.failures = self.failures.saturating_add(1);
        let until_ns = now + rest_ns(self.failures);
        self.retry_at_ns = Some(until_ns);
        self.stage.wake_at(until_ns, self.index);
    }

    // ---- traffic ---------------------------------------------------------------------------

    /// Tells the session something.
    #[inline]
    fn say<T>(
        &mut self,
        now_ns: u64,
        output: &mut Output,
        tell: impl FnOnce(&mut W::Session, &mut Slot, &mut Speaker<'_>) -> T,
    ) -> T {
        self.told_ns = now_ns;
        let stage = &self.stage;
        let mut meter = stage.meter.borrow_mut();
        let mut speaker = Speaker {
            output,
            meter: &mut meter,
            now_ns,
        };
        let answer = tell(&mut self.session, &mut self.slot, &mut speaker);
        if meter.count_reached() || stage.phase.get() == Phase::Draining {
            stage.bell.ring();
        }
        answer
    }

    /// Lets traffic flow on an established connection.
    pub fn begin_traffic(&mut self, now: u64, output: &mut Output) {
        self.state = State::Open;
        self.say(now, output, |session, slot, out| session.opened(slot, out));
    }

    /// Arrivals came due, or permits are there again.
    pub fn due(&mut self, now: u64, output: &mut Output) {
        self.stage.open_window_if_due(now);
        self.say(now, output, |session, slot, out| session.due(slot, out));
    }

    /// When the oldest thing that it waits for began, ns.
    pub fn waiting_since_ns(&self) -> Option<u64> {
        self.session.waiting_since_ns(&self.slot)
    }

    /// Why it is given up, if it waits for too long.
    pub fn timed_out(&self) -> Loss {
        self.session.timed_out(&self.slot)
    }

    /// Whether the drain waits for it.
    pub fn is_busy(&self) -> bool {
        match self.state {
            State::Open => self.waiting_since_ns().is_some() && !self.stage.is_stream(),
            State::Connecting => W::RECONNECTS,
            _ => false,
        }
    }

    // ---- ends ------------------------------------------------------------------------------

    /// Records the failure of the connection, and of every operation in flight on it.
    pub fn lose(&mut self, loss: Loss) {
        let draining = self.stage.phase.get() == Phase::Draining;
        let mut meter = self.stage.meter.borrow_mut();
        self.slot
            .lose(loss, W::RECONNECTS, draining, now_ns(), &mut meter);
        self.stage.bell.ring();
    }

    /// The socket is given back.
    pub fn closed(&mut self) {
        let now = now_ns();
        self.state = State::Idle;
        self.slot.give_up(now, &mut self.stage.meter.borrow_mut());
        match self.stage.phase.get() {
            Phase::Running if !W::RECONNECTS => self.rest(now),
            Phase::Draining => self.stage.bell.ring(),
            _ => {}
        }
    }

    /// The run is over: counts what was not answered, and what was never sent.
    pub fn abandon(&mut self, now: u64) {
        let mut meter = self.stage.meter.borrow_mut();
        match self.state {
            State::Open => self.session.abandon(&mut self.slot, now, &mut meter),
            State::Connecting if W::RECONNECTS => {
                meter.unfinished(self.slot.connect_intended_ns, now, true);
            }
            _ => {}
        }
        self.slot
            .end_schedule(&self.stage.job.spec, now, &mut meter);
        self.slot.flights.clear();
    }
}

impl<W: LoadWorkload> Stage<W> {
    /// Wakes a connection's task at an instant.
    pub fn wake_at(&self, at_ns: u64, index: u32) {
        self.rests.borrow_mut().push(Reverse((at_ns, index)));
        // The conductor sets its timer by the earliest.
        self.bell.ring();
    }
}

impl<W: LoadWorkload> Party for Talker<W> {
    #[inline]
    fn received(&mut self, bytes: &mut [u8], output: &mut Output) {
        let now = now_ns();
        self.stage.open_window_if_due(now);
        self.stage.alive_ns.set(now);
        let mut meter = self.stage.meter.borrow_mut();
        meter.bytes_received(bytes.len() as u64, now);
        drop(meter);
        // Before the go nothing was asked for. A peer that speaks first is not one of ours.
        if self.state == State::Open {
            self.say(now, output, |session, slot, out| {
                session.received(slot, bytes, Boundary::Stream, out);
            });
        }
    }

    #[inline]
    fn moved(&mut self, bytes: usize) {
        // Only streams want to know when it was sent. To others it belongs to what they were told
        // when they asked for it: one look at the clock per operation, as with our own loops.
        if self.stage.is_stream() {
            self.told_ns = now_ns();
        }
        let mut meter = self.stage.meter.borrow_mut();
        meter.bytes_sent(bytes as u64, self.told_ns);
    }

    #[inline]
    fn sent(&mut self, output: &mut Output) {
        if self.state == State::Open {
            // It has just moved.
            self.say(self.told_ns, output, |session, slot, out| {
                session.sent(slot, out)
            });
        }
    }

    fn finished(&mut self, output: &mut Output) -> bool {
        if !W::RECONNECTS {
            self.lose(Loss::closed_by_peer());
            return false;
        }
        self.say(now_ns(), output, |session, slot, out| {
            session.peer_finished(slot, out);
        });
        true
    }

    fn lost(&mut self, errno: i32, output: &mut Output) -> How {
        let agreed = self.say(now_ns(), output, |session, slot, out| {
            session.was_reset(slot, out)
        });
        if !agreed {
            self.lose(Loss::of_errno(errno));
        }
        How::Rst
    }
}

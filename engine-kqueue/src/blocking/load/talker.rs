//! One thread of the load: one connection of the share, all the run long.

mod connecting;

use super::super::line::{End, Line, Next, Party, converse};
use super::super::seats::Seat;
use super::{Phase, Share, Stage};
use engine::clock::now_ns;
use engine::driver::Stop;
use engine::loading::{Loss, rest_ns};
use engine::meter::{Meter, Published};
use engine::pattern::Pattern;
use engine::proactor::{BackendCounters, How};
use engine::session::{Boundary, Session};
use engine::workload::{LoadSession, LoadWorkload, Slot};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::atomic::Ordering::Relaxed;

/// See the module text.
pub struct Talker<W: LoadWorkload> {
    stage: Arc<Stage>,
    workload: W,
    /// Index within the share.
    index: u32,
    session: W::Session,
    slot: Slot,
    meter: Meter,
    /// Taken out while a conversation runs on it.
    line: Option<Line>,
    connected: bool,
    failures: u32,
    window_start_ns: u64,
    window_end_ns: u64,
    window_open: bool,
    window_closed: bool,
    calls: BackendCounters,
    calls_in_window: Option<BackendCounters>,
    /// When the kernel took the last bytes, ns.
    moved_ns: u64,
    /// When something was received or the connection established last, ns.
    alive_ns: u64,
}

impl<W: LoadWorkload> Talker<W> {
    /// The thread of connection `index` of the share.
    pub fn new(
        stage: Arc<Stage>,
        workload: &W,
        index: u32,
        published: Arc<Published>,
        pattern: Arc<Pattern>,
    ) -> Self {
        let job = &stage.job;
        let count = match job.stop {
            Stop::After(_) => None,
            // The worker's operations are dealt out evenly.
            Stop::Count(all) => {
                let (each, rest) = (
                    all / u64::from(job.share.count),
                    all % u64::from(job.share.count),
                );
                Some(each + u64::from(u64::from(index) < rest))
            }
        };
        let mut slot = workload.slot(job.share.first + index, job.share.total);
        slot.pattern = Arc::clone(&pattern);
        let line = Line::new(
            workload.hints().own_buffer_bytes(),
            pattern,
            stage.options.spin,
        );
        Self {
            session: workload.session(),
            meter: Meter::new_growing(job.spec.is_open_loop(), count, published),
            workload: workload.clone(),
            index,
            slot,
            line: Some(line),
            connected: false,
            failures: 0,
            window_start_ns: u64::MAX,
            window_end_ns: u64::MAX,
            window_open: false,
            window_closed: false,
            calls: BackendCounters::default(),
            calls_in_window: None,
            moved_ns: 0,
            alive_ns: 0,
            stage,
        }
    }

    /// The thread's life.
    pub fn run(mut self) -> Share {
        engine::os::use_exact_timers();
        if !W::RECONNECTS
            && let Err(refused) = self.connect()
        {
            self.fail(refused);
        } else {
            self.stage.report(|progress| progress.ready += 1);
            if let Some(go_ns) = self.stage.wait_for_go() {
                self.begin(go_ns);
                if W::RECONNECTS {
                    self.transact();
                } else {
                    self.talk();
                }
            }
        }
        self.finish()
    }

    fn begin(&mut self, go_ns: u64) {
        (self.window_start_ns, self.window_end_ns) = self.stage.job.window_ns(go_ns);
        self.meter.begin(self.window_start_ns, self.window_end_ns);
        self.slot.pacer.start(go_ns);
        self.alive_ns = go_ns;
    }

    fn seat(&self) -> &Seat {
        &self.stage.seats[self.index as usize]
    }

    // ---- the window ------------------------------------------------------------------------

    /// Opens and closes the window when its time has come; false once it is closed.
    #[inline]
    fn tick(&mut self, now: u64) -> bool {
        if !self.window_open && now >= self.window_start_ns && !self.window_closed {
            self.window_open = true;
            self.meter.open_window();
            self.calls_in_window = Some(self.calls_now());
        }
        if !self.window_closed
            && (now >= self.window_end_ns
                || self.stage.phase() != Phase::Running
                || self.meter.count_reached())
        {
            self.close_window(now);
        }
        !self.window_closed
    }

    #[cold]
    fn close_window(&mut self, now: u64) {
        self.window_closed = true;
        let cut_ns = self.stage.end_ns.load(Ordering::SeqCst);
        let end_ns = now.min(self.window_end_ns).min(cut_ns);
        // What came due inside the window and was not even noticed yet belongs to it.
        self.slot.pacer.arrive(end_ns, &mut self.meter);
        let interrupted = self.stage.interrupted.load(Ordering::SeqCst);
        self.meter.end_window(end_ns, interrupted);
        self.meter.forbid();
        let now = self.calls_now();
        self.calls_in_window = self.calls_in_window.take().map(|start| now.since(&start));
    }

    /// All calls so far; those of a conversation that runs are in its line.
    fn calls_now(&self) -> BackendCounters {
        let mut calls = self.calls.clone();
        if let Some(line) = &self.line {
            calls.add(&line.counters);
        }
        calls
    }

    /// Arrivals that came due while the thread was bound to its one operation are noticed when it
    /// is free again, and their lag says so.
    fn note_arrivals(&mut self, now: u64) {
        self.slot.pacer.arrive(now, &mut self.meter);
    }

    // ---- connections that stay -------------------------------------------------------------

    fn talk(&mut self) {
        loop {
            if self.connected {
                let end = self.converse();
                self.settle(end);
            }
            // Still connected: it has done its share, or the run is over.
            if self.connected || !self.tick(now_ns()) || self.gives_up() || !self.rest() {
                return;
            }
            if let Err(Loss { kind, text }) = self.connect() {
                self.failures = self.failures.saturating_add(1);
                self.meter.failure(kind, None, now_ns(), || text);
            }
        }
    }

    /// Whether this thread has waited long enough for a peer that is gone.
    fn gives_up(&mut self) -> bool {
        let now = now_ns();
        let gone = self.stage.job.is_out_of_patience(self.alive_ns, now);
        if gone {
            self.meter.give_up_count(self.alive_ns, now);
            self.stage.interrupted.store(true, Ordering::SeqCst);
        }
        gone
    }

    /// Rests before the next try, longer with each failure; false when the run is over.
    fn rest(&self) -> bool {
        let until_ns = now_ns() + rest_ns(self.failures);
        self.stage.sleep_until(until_ns.min(self.window_end_ns))
    }

    fn converse(&mut self) -> End {
        let Some(mut line) = self.line.take() else {
            return End::Left;
        };
        let end = converse(&mut line, self);
        self.calls.add(&line.counters);
        line.counters = BackendCounters::default();
        self.line = Some(line);
        end
    }

    /// Records how a conversation ended, and closes the connection if it is not to stay.
    fn settle(&mut self, end: End) {
        let now = now_ns();
        self.tick(now);
        // Shut down by the conductor, because nothing is owed any more: `finish` accounts for it.
        let phase = self.stage.phase();
        let idle = !W::RECONNECTS && self.slot.flights.is_empty();
        let over =
            phase == Phase::Over || phase != Phase::Running && (idle || self.stage.is_stream());
        match end {
            End::Left => {}
            End::Finished | End::Lost(_) | End::TimedOut if over => {}
            End::Closed(how) => {
                // A session that gave up a lasting connection has recorded why.
                self.failures += u32::from(!W::RECONNECTS);
                self.close(how);
                self.slot.give_up(now, &mut self.meter);
            }
            End::Finished => self.lose(Loss::closed_by_peer()),
            End::TimedOut => self.lose(self.session.timed_out(&self.slot)),
            End::Lost(errno) => self.lose(Loss::of_errno(errno)),
        }
    }

    fn lose(&mut self, loss: Loss) {
        let (draining, meter) = (self.window_closed, &mut self.meter);
        self.slot
            .lose(loss, W::RECONNECTS, draining, now_ns(), meter);
        self.failures = self.failures.saturating_add(1);
        self.close(How::Rst);
    }

    fn close(&mut self, how: How) {
        self.connected = false;
        self.calls.system_calls += self.seat().close(how);
    }

    // ---- connections that come and go ------------------------------------------------------

    fn transact(&mut self) {
        while self.tick(now_ns()) && self.wait_until_due() && self.meter.permit() {
            let now = now_ns();
            self.slot.connect_intended_ns = self.slot.pacer.take().unwrap_or(now);
            match self.connect() {
                Ok(()) => {
                    let end = self.converse();
                    self.settle_transaction(end);
                }
                Err(refused) if self.stage.opened.load(Relaxed) == 0 => {
                    // The very first: there is nobody to be measured.
                    return self.fail(refused);
                }
                Err(refused) if self.stage.phase() == Phase::Over => {
                    let _ = refused;
                    let due_ns = self.slot.connect_intended_ns;
                    self.meter.unfinished(due_ns, now_ns(), true);
                }
                Err(refused) => {
                    self.failures = self.failures.saturating_add(1);
                    self.lose(refused);
                }
            }
            if self.failures > 0 && (self.gives_up() || !self.rest()) {
                return;
            }
        }
    }

    /// Waits for the next arrival, in open loop; false when the run is over.
    fn wait_until_due(&mut self) -> bool {
        if !self.slot.pacer.is_open() {
            return true;
        }
        self.note_arrivals(now_ns());
        while self.slot.pacer.backlog() == 0 {
            let due_ns = self.slot.pacer.next_due_ns().unwrap_or(u64::MAX);
            self.stage.sleep_until(due_ns.min(self.window_end_ns));
            let now = now_ns();
            if !self.tick(now) {
                return false;
            }
            self.slot.pacer.arrive(now, &mut self.meter);
        }
        true
    }

    fn settle_transaction(&mut self, end: End) {
        let reset = matches!(end, End::Lost(_)) && {
            let now = now_ns();
            let Self {
                session,
                slot,
                meter,
                line,
                ..
            } = self;
            line.as_mut().is_some_and(|line| {
                let (_, mut out) = line.speak(meter, now, 0);
                session.was_reset(slot, &mut out)
            })
        };
        if reset {
            return self.close(How::Rst);
        }
        self.settle(end);
        if self.connected {
            // Shut down by the conductor in the middle of it.
            self.session
                .abandon(&mut self.slot, now_ns(), &mut self.meter);
            self.close(How::Fin);
        }
    }

    // ---- end -------------------------------------------------------------------------------

    fn finish(mut self) -> Share {
        let now = now_ns();
        if !self.window_closed {
            // Never begun, or stopped before its end.
            self.close_window(now);
        }
        if self.connected {
            self.session.abandon(&mut self.slot, now, &mut self.meter);
        }
        let spec = &self.stage.job.spec;
        self.slot.end_schedule(spec, now, &mut self.meter);
        // The socket stays in its seat: the conductor reads TCP_INFO and closes it.
        self.stage.report(|progress| progress.done += 1);
        Share {
            recorded: self.meter.into_recorded(),
            counters: self.calls_in_window.filter(|_| self.window_open),
        }
    }
}

impl<W: LoadWorkload> Party for Talker<W> {
    fn opened(&mut self, line: &mut Line) {
        let now = now_ns();
        self.tick(now);
        self.note_arrivals(now);
        let (_, mut out) = line.speak(&mut self.meter, now, 0);
        self.session.opened(&mut self.slot, &mut out);
    }

    #[inline]
    fn received(&mut self, line: &mut Line, len: usize) {
        let now = now_ns();
        self.alive_ns = now;
        self.meter.bytes_received(len as u64, now);
        self.tick_on(line, now);
        self.note_arrivals(now);
        let (bytes, mut out) = line.speak(&mut self.meter, now, len);
        self.session
            .received(&mut self.slot, bytes, Boundary::Stream, &mut out);
    }

    #[inline]
    fn moved(&mut self, bytes: usize) {
        self.moved_ns = now_ns();
        self.meter.bytes_sent(bytes as u64, self.moved_ns);
    }

    #[inline]
    fn sent(&mut self, line: &mut Line) {
        let now = self.moved_ns;
        self.tick_on(line, now);
        self.note_arrivals(now);
        let (_, mut out) = line.speak(&mut self.meter, now, 0);
        self.session.sent(&mut self.slot, &mut out);
    }

    fn finished(&mut self, line: &mut Line) -> bool {
        if !W::RECONNECTS || self.stage.phase() == Phase::Over {
            return false;
        }
        let (_, mut out) = line.speak(&mut self.meter, now_ns(), 0);
        self.session.peer_finished(&mut self.slot, &mut out);
        true
    }

    fn due(&mut self, line: &mut Line) {
        let now = now_ns();
        self.tick_on(line, now);
        if self.window_closed {
            return;
        }
        self.slot.pacer.arrive(now, &mut self.meter);
        let (_, mut out) = line.speak(&mut self.meter, now, 0);
        self.session.due(&mut self.slot, &mut out);
    }

    #[inline]
    fn next(&mut self) -> Next {
        if self.stage.phase() == Phase::Over {
            return Next::Leave;
        }
        let waiting = self.session.waiting_since_ns(&self.slot).is_some();
        if self.window_closed {
            let owed = waiting && !self.stage.is_stream();
            return if owed { Next::Receive } else { Next::Leave };
        }
        let paced = self.slot.pacer.is_open() && !W::RECONNECTS;
        if paced && (!waiting || self.stage.is_stream()) {
            let due_ns = self.slot.pacer.next_due_ns().unwrap_or(u64::MAX);
            return Next::Until(due_ns.min(self.window_end_ns));
        }
        if waiting || W::RECONNECTS {
            Next::Receive
        } else {
            // Nothing is owed and nothing may be sent: a run that counts has dealt out its share.
            Next::Leave
        }
    }

    fn blocked(&mut self) -> bool {
        match self.stage.phase() {
            Phase::Running => true,
            Phase::Draining => !self.stage.is_stream(),
            Phase::Over => false,
        }
    }

    fn patience_ns(&self) -> Option<u64> {
        Some(self.stage.job.operation_timeout_ns)
    }

    fn waited_too_long(&mut self) -> bool {
        let Some(since_ns) = self.session.waiting_since_ns(&self.slot) else {
            return false;
        };
        !self.window_closed
            && now_ns().saturating_sub(since_ns) >= self.stage.job.operation_timeout_ns
    }

    fn resting(&mut self, begins: bool) -> bool {
        // Said before the phase is looked at, so that either this thread sees the end or the
        // conductor sees it resting.
        self.seat().resting.store(begins, Ordering::SeqCst);
        self.stage.phase() == Phase::Running
    }
}

impl<W: LoadWorkload> Talker<W> {
    /// [`Talker::tick`] during a conversation, whose calls are counted in its line.
    #[inline]
    fn tick_on(&mut self, line: &mut Line, now: u64) {
        let opens = !self.window_open && now >= self.window_start_ns;
        let closes = !self.window_closed
            && (now >= self.window_end_ns || self.stage.phase() != Phase::Running);
        if opens || closes || self.meter.count_reached() {
            self.calls.add(&line.counters);
            line.counters = BackendCounters::default();
        }
        self.tick(now);
    }
}

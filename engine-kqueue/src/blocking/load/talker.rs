//! One thread of the load: executes the life of one connection of the share, all the run long.

use super::super::line::{End, Line, Next, Party, converse};
use super::super::seats::Seat;
use super::gate::{Gate, Place};
use super::stage::Stage;
use crate::sys;
use engine::clock::now_ns;
use engine::control::Order;
use engine::load::{Accounts, Connects, Dial, Life, LoadWorkload, Phase, Rules, Share};
use engine::meter::{Meter, Published, Recorded};
use engine::proactor::BackendCounters;
use engine::region::Region;
use engine::session::{How, Out};
use engine::shape::Stop;
use engine::socket;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// See the module text.
pub struct Talker<W: LoadWorkload> {
    stage: Arc<Stage>,
    /// Index within the share.
    index: u32,
    life: Life<W>,
    /// Operations are sent on a schedule.
    paced: bool,
    /// How long one wait lasts before the clock is looked at, ns.
    look_every_ns: u64,
    /// Taken out while a conversation runs on it.
    line: Option<Line>,
    connected: bool,
    /// The latest that this thread has seen of the clock, ns.
    now_ns: u64,
    calls: BackendCounters,
    calls_at_start: BackendCounters,
    calls_in_window: Option<BackendCounters>,
}

/// What a thread brings home.
pub struct ThreadOutcome {
    /// What its connections did.
    pub recorded: Recorded,
    /// What became of them.
    pub accounts: Accounts,
    /// System calls and the like inside the window; `None` if it never opened.
    pub counters: Option<BackendCounters>,
}

/// The only connection of a thread's life.
const OWN: u32 = 0;

impl<W: LoadWorkload> Talker<W> {
    /// The thread of connection `index` of the share.
    pub fn new(
        stage: Arc<Stage>,
        workload: &W,
        index: u32,
        published: Arc<Published>,
        region: Arc<Region>,
    ) -> Self {
        let job = &stage.job;
        let rules = own_rules(job.rules.clone(), index);
        let look_every_ns = rules.look_every_ns();
        let meter = Meter::new_growing(
            job.spec.is_open_loop(),
            rules.count(),
            published,
            Arc::clone(&stage.reads),
        );
        let line = Line::new(
            workload.hints().own_buffer_bytes(),
            Arc::clone(&region),
            stage.options.spin,
        );
        let recorder = job.recorder(job.rules.share.count);
        Self {
            life: Life::new(workload.clone(), rules, region, meter).recording(recorder),
            paced: workload.pace().is_open(),
            look_every_ns,
            index,
            line: Some(line),
            connected: false,
            now_ns: 0,
            calls: BackendCounters::default(),
            calls_at_start: BackendCounters::default(),
            calls_in_window: None,
            stage,
        }
    }

    /// The thread's life.
    pub fn run(mut self) -> ThreadOutcome {
        engine::os::use_exact_timers();
        if self.prepare() {
            self.stage.report(|progress| progress.ready += 1);
            if let Some(go_ns) = self.stage.wait_for_go() {
                self.life.go(go_ns, now_ns());
                if self.life.was_window_open() {
                    self.calls_at_start = self.calls_now();
                }
                self.live();
            }
        }
        self.finish()
    }

    /// Until everything is ready for the go; false if it will not be.
    fn prepare(&mut self) -> bool {
        self.life.begin(now_ns());
        while !self.life.is_prepared() {
            if self.stage.order() != Order::Run {
                return false;
            }
            if self.connected {
                // It shakes hands.
                let end = self.converse();
                self.settle(end);
            } else {
                self.act();
            }
            if self.ends_the_run() {
                return false;
            }
        }
        true
    }

    /// From the go to the end.
    fn live(&mut self) {
        while !self.is_over(now_ns(), &BackendCounters::default()) {
            if self.connected {
                let end = self.converse();
                if !self.settle(end) {
                    return;
                }
            } else {
                self.act();
            }
            if self.ends_the_run() {
                return;
            }
        }
    }

    /// Does the next thing that the life wants done while there is no conversation, or waits for it.
    fn act(&mut self) {
        let now = now_ns();
        self.cross(now, &BackendCounters::default());
        self.life.pass(now);
        let speaks = self.life.next_speaker(now);
        debug_assert_eq!(speaks, None, "nobody speaks without a connection");
        let shared_spare = self.stage.spare_source.load(Relaxed);
        self.life.skip_to_spare_source(shared_spare);
        let gate = self.enter_gate();
        let dial = self
            .life
            .next_dial(if gate.is_some() { now_ns() } else { now });
        match dial {
            Some(dial) => {
                self.dial(dial);
                drop(gate);
            }
            // Nothing is connected any more, and nobody is owed anything.
            None if self.life.phase() >= Phase::Draining => {}
            None => {
                if let Some(line) = &mut self.line {
                    line.part();
                }
                let until_ns = self.life.next_wake_ns();
                self.stage.sleep_until(until_ns);
            }
        }
    }

    /// A place among those that connect at the same time, where each connection is opened once and this one is to be;
    /// waits for it unless the run ends.
    fn enter_gate(&mut self) -> Option<Place> {
        let is_once = matches!(W::CONNECTS, Connects::Once | Connects::Joining);
        let is_due = is_once && self.life.next_wake_ns() == 0;
        is_due
            .then(|| Gate::enter(&self.stage.gate, || self.stage.order() == Order::Run))
            .flatten()
    }

    /// Whether this thread's failure is that of the whole run, which has not begun.
    fn ends_the_run(&mut self) -> bool {
        if self.stage.established.load(Relaxed) > 0 && self.life.is_prepared() {
            return false;
        }
        let Some(refused) = self.life.refused() else {
            return false;
        };
        self.stage.report(|progress| {
            progress.failed.get_or_insert(refused);
        });
        true
    }

    /// Whether nothing is to be done any more; `running` are the calls of a conversation.
    fn is_over(&mut self, now: u64, running: &BackendCounters) -> bool {
        self.cross(now, running);
        match self.stage.order() {
            Order::Run => {}
            Order::Stop => {
                let cut_ns = self.stage.end_ns.load(SeqCst);
                self.life.stop(now.min(cut_ns));
            }
            Order::Abort => return true,
        }
        if self.life.phase() < Phase::Draining {
            return false;
        }
        self.note_end_of_window(running);
        self.life.is_drained(now) || !self.connected
    }

    fn seat(&self) -> &Seat {
        &self.stage.seats[self.index as usize]
    }

    // ---- counters --------------------------------------------------------------------------

    /// All calls so far; those of a conversation that runs are in its line.
    fn calls_now(&self) -> BackendCounters {
        let mut calls = self.calls.clone();
        if let Some(line) = &self.line {
            calls.add(&line.counters);
        }
        calls
    }

    /// The calls are read before the first event of the window; `running` are those of a conversation.
    #[inline]
    fn cross(&mut self, now: u64, running: &BackendCounters) {
        self.now_ns = now;
        if now >= self.life.boundary_ns() {
            self.calls_at_start = self.calls_now();
            self.calls_at_start.add(running);
        }
    }

    fn note_end_of_window(&mut self, running: &BackendCounters) {
        if self.calls_in_window.is_none() && self.life.was_window_open() {
            let mut calls = self.calls_now();
            calls.add(running);
            self.calls_in_window = Some(calls.since(&self.calls_at_start));
        }
    }

    // ---- connecting ------------------------------------------------------------------------

    fn dial(&mut self, dial: Dial) {
        let Some(mut line) = self.line.take() else {
            return;
        };
        line.clear();
        match self.try_connect(dial, &mut line) {
            Ok(fd) => {
                line.attach(fd);
                self.connected = true;
                if self.stage.established.fetch_add(1, Relaxed) == 0 {
                    self.stage.progress().granted = Some(socket::granted(fd));
                }
                self.life.connected(OWN, &mut line.speaker(now_ns()));
            }
            // What a socket says that was shut down while it connected is not the peer's doing.
            Err(_) if self.stage.order() == Order::Abort => {}
            Err(error) => {
                let mut out = line.speaker(now_ns());
                self.life.connect_failed(OWN, &error, &mut out);
                self.life.closed(OWN, now_ns());
                let spare = self.life.spare_source();
                self.stage.spare_source.fetch_max(spare, Relaxed);
            }
        }
        self.line = Some(line);
    }

    fn try_connect(
        &mut self,
        Dial { number, source, .. }: Dial,
        line: &mut Line,
    ) -> io::Result<std::os::fd::RawFd> {
        let stage = Arc::clone(&self.stage);
        let job = &stage.job;
        let address = job.rules.target.address(number);
        let fd = socket::connecting(address.domain(), source, false, &job.socket)?;
        self.calls.system_calls += 5 + 2 * u64::from(source.is_some());
        self.calls.system_calls += sys::suppress_sigpipe(fd.as_raw_fd());
        sys::bound_waiting(fd.as_raw_fd(), false, job.rules.connect_timeout_ns);
        // An answer that takes too long is noticed as soon as on other engines.
        sys::bound_waiting(fd.as_raw_fd(), true, self.look_every_ns);
        let fd = stage.seats[self.index as usize].put(fd);
        // A peer that serves one after the other may accept nobody before the socket that is kept is closed.
        let keeps = line.keeps_socket();
        self.calls.system_calls += 2 * u64::from(keeps);
        let mut part = || line.part();
        let before_waiting = keeps.then_some(&mut part as &mut dyn FnMut());
        sys::connect(fd, address, before_waiting).map_err(|errno| {
            self.calls.system_calls += self.seat().close(How::Fin);
            io::Error::from_raw_os_error(errno)
        })?;
        Ok(fd)
    }

    // ---- a conversation --------------------------------------------------------------------

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

    /// Acts on how a conversation ended; false if the connection stays as it is, for the end.
    fn settle(&mut self, end: End) -> bool {
        let now = now_ns();
        let how = match end {
            End::Left | End::Finished => return false,
            End::Lost(_) | End::TimedOut if self.is_shut_down() => return false,
            End::Closed(how) => how,
            End::TimedOut => self.life.next_close().map_or(How::Rst, |(_, how)| how),
            End::Lost(errno) => {
                if let Some(line) = &mut self.line {
                    self.life.lost(OWN, errno, &mut line.speaker(now));
                }
                How::Rst
            }
        };
        self.connected = false;
        self.close(how);
        self.life.closed(OWN, now_ns());
        true
    }

    /// Closes the socket, or keeps it for that until there is nothing better to do, where nobody waits for it.
    fn close(&mut self, how: How) {
        let socket = self.seat().leave();
        match &mut self.line {
            Some(line) if how == How::Fin && line.has_finished() => line.part_later(socket),
            _ => self.calls.system_calls += socket.map_or(0, |socket| sys::close(socket, how)),
        }
    }

    /// The conductor has shut the socket down because nothing is owed any more: what the socket says
    /// then is not the peer's doing.
    fn is_shut_down(&self) -> bool {
        match self.stage.order() {
            Order::Run => false,
            // Who parts with words is not shut down before that.
            Order::Stop => !W::OWES || !(W::PARTS || self.life.waits(OWN)),
            Order::Abort => true,
        }
    }

    /// Speaks if something is due; whether it has.
    fn speak_if_due(&mut self, line: &mut Line, now: u64) -> bool {
        let speaker = self.life.next_speaker(now);
        if speaker.is_some() {
            self.life.speak(OWN, &mut line.speaker(now));
        }
        speaker.is_some()
    }

    fn finish(mut self) -> ThreadOutcome {
        self.note_end_of_window(&BackendCounters::default());
        self.life.finish(now_ns());
        // The socket stays in its seat: the conductor reads TCP_INFO and closes it.
        self.stage.report(|progress| progress.done += 1);
        ThreadOutcome {
            accounts: self.life.accounts(),
            counters: self.calls_in_window,
            recorded: self.life.take_recorded(),
        }
    }
}

impl<W: LoadWorkload> Party for Talker<W> {
    fn opened(&mut self, line: &mut Line) {
        let now = now_ns();
        self.cross(now, &line.counters);
        // What the peer said before the go is heard before anything is said to it.
        if W::CONNECTS == Connects::Ahead
            && let Err(errno) = line.hear_what_came(self)
        {
            self.life.lost(OWN, errno, &mut line.speaker(now));
        }
        self.life.pass(now);
        self.speak_if_due(line, now);
    }

    #[inline]
    fn received(&mut self, line: &mut Line, len: usize) {
        let now = now_ns();
        self.cross(now, &line.counters);
        let (bytes, mut out) = line.speak(now, len);
        self.life.received(OWN, bytes, &mut out);
    }

    #[inline]
    fn moved(&mut self, bytes: usize, calls: &BackendCounters) {
        let now = now_ns();
        self.cross(now, calls);
        self.life.moved(bytes as u64, now);
    }

    #[inline]
    fn sent(&mut self, line: &mut Line) {
        let now = self.now_ns;
        self.cross(now, &line.counters);
        self.life.sent(OWN, &mut line.speaker(now));
    }

    fn finished(&mut self, line: &mut Line) -> bool {
        if self.is_shut_down() {
            return false;
        }
        let now = now_ns();
        self.cross(now, &line.counters);
        self.life.peer_finished(OWN, &mut line.speaker(now));
        true
    }

    fn due(&mut self, _: &mut Line) {
        // `next` looks.
        self.now_ns = now_ns();
    }

    #[inline]
    fn next(&mut self, line: &mut Line) -> Next {
        if self.stage.order() != Order::Run || self.life.has_work(self.now_ns) {
            let now = now_ns();
            self.cross(now, &line.counters);
            self.life.pass(now);
            if let Some((_, how)) = self.life.next_close() {
                // It took too long, though something came again and again.
                line.speaker(now).close(how);
                return Next::Again;
            }
            if self.is_over(now, &line.counters) {
                return Next::Leave;
            }
            // Arrivals that found no room have said nothing: a schedule faster than the loop must not keep it from
            // receiving.
            if self.speak_if_due(line, now) && line.has_something_to_do() {
                return Next::Again;
            }
        }
        if self.life.phase() == Phase::Preparing && self.life.is_prepared() {
            return Next::Leave;
        }
        let waits = self.life.waits(OWN);
        let bound = waits && W::OWES;
        if (bound || waits && !self.paced) && !self.life.has_timer(OWN) {
            // One operation at a time, and its answer is waited for: a thread cannot do more.
            return Next::Receive;
        }
        let wake_ns = self.life.next_wake_ns();
        Next::Until(match W::PARTS {
            true => wake_ns.min(self.now_ns.saturating_add(HEAR_ORDERS_EVERY_NS)),
            false => wake_ns,
        })
    }

    fn blocked(&mut self) -> bool {
        match self.stage.order() {
            Order::Run => true,
            Order::Stop => W::OWES,
            Order::Abort => false,
        }
    }

    fn patience_ns(&self) -> Option<u64> {
        Some(self.look_every_ns)
    }

    fn waited_too_long(&mut self, line: &mut Line) -> bool {
        let now = now_ns();
        self.cross(now, &line.counters);
        self.life.pass(now);
        !self.life.stands(OWN)
    }

    fn resting(&mut self, begins: bool) -> bool {
        // Said before the phase is looked at, so that either this thread sees the end or the
        // conductor sees it resting.
        // Nobody shuts down who is to say goodbye.
        self.seat().resting.store(begins && !W::PARTS, SeqCst);
        match self.stage.order() {
            Order::Run => true,
            Order::Stop => W::PARTS,
            Order::Abort => false,
        }
    }
}

/// A thread that nobody wakes, because its connection is to say goodbye first, looks for orders so often, ns.
const HEAR_ORDERS_EVERY_NS: u64 = 500_000_000;

/// The rules for connection `index` of a share: the worker's operations are dealt out evenly.
fn own_rules(mut rules: Rules, index: u32) -> Rules {
    let count = u64::from(rules.share.count);
    if let Stop::Count(all) = rules.stop {
        let own = all / count + u64::from(u64::from(index) < all % count);
        rules.stop = Stop::Count(own);
    }
    rules.share = Share {
        first: rules.share.first + index,
        count: 1,
        total: rules.share.total,
    };
    rules
}

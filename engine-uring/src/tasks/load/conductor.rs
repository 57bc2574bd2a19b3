//! The conductor of a load: phases, schedule and time-outs. It runs as the runtime's main task.

use super::super::buffer::abandon;
use super::super::runtime::Runtime;
use super::super::settings::Settings;
use super::super::sys::Alarm;
use super::super::watch::Watch;
use super::super::wire::Wire;
use super::super::{END_PATIENCE_NS, machine};
use super::life::live;
use super::talker::{State, Talker};
use super::{Line, Phase, Stage};
use engine::clock::now_ns;
use engine::control::Order;
use engine::driver::{EngineError, LoadJob, LoadOutcome};
use engine::loading::{CONNECTS_AT_ONCE, cannot_begin};
use engine::meter::Meter;
use engine::proactor::How;
use engine::tcp_info::{self, TcpInfoSummary};
use engine::workload::LoadWorkload;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// See the module's text.
pub struct Conductor<W: LoadWorkload> {
    stage: Rc<Stage<W>>,
    lines: Vec<Rc<Line<W>>>,
    /// Next due instants, earliest first: at most one entry per connection.
    schedule: BinaryHeap<Reverse<(u64, u32)>>,
    ready: bool,
    sweep_at_ns: u64,
    sweep_every_ns: u64,
    drain_until_ns: u64,
}

/// What a step of the conductor led to.
type Step = Poll<Result<(), EngineError>>;

impl<W: LoadWorkload> Conductor<W> {
    /// With all connections, none of them open.
    pub fn new(job: LoadJob, workload: W) -> Self {
        let count = job.share.count;
        let sweep_every_ns = job.sweep_every_ns();
        let stage = Rc::new(Stage::new(job, workload));
        let line = |index| {
            let talker = Talker::new(Rc::clone(&stage), index);
            let (pool, pattern) = (Rc::clone(&stage.pool), Rc::clone(&stage.pattern));
            Wire::new(talker, pool, pattern, Rc::clone(&stage.turns))
        };
        Self {
            lines: (0..count).map(line).collect(),
            schedule: BinaryHeap::with_capacity(count as usize + 1),
            ready: false,
            sweep_at_ns: now_ns() + sweep_every_ns,
            sweep_every_ns,
            drain_until_ns: u64::MAX,
            stage,
        }
    }

    /// The whole run.
    pub async fn run<R: Runtime>(
        mut self,
        settings: &Settings,
    ) -> Result<LoadOutcome, EngineError> {
        let alarm = Alarm::new().map_err(|error| machine("a timer", &error))?;
        let stage = Rc::clone(&self.stage);
        let watch = Watch::<R>::new(&stage.job.wake, &alarm)
            .map_err(|error| machine("watching the timer and the waker", &error))?;
        let mut watching = pin!(watch.watch());
        let turns = Rc::clone(&stage.turns);
        R::spawn(async move { turns.usher().await });
        for line in &self.lines {
            stage.tasks.set(stage.tasks.get() + 1);
            R::spawn(live::<R, W>(Rc::clone(line), Rc::clone(&stage)));
        }
        let result = poll_fn(|context| {
            stage.bell.listen(context.waker());
            let _ = watching.as_mut().poll(context);
            let step = self.step();
            if step.is_pending() {
                alarm.set(self.next_deadline_ns());
            }
            step
        })
        .await;
        let tcp_info = self.finish();
        let give_up_ns = now_ns() + END_PATIENCE_NS;
        poll_fn(|context| {
            stage.bell.listen(context.waker());
            let _ = watching.as_mut().poll(context);
            alarm.set(Some(give_up_ns));
            match stage.tasks.get() == 0 || now_ns() >= give_up_ns {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        if stage.tasks.get() > 0 {
            abandon(&stage.pool, &stage.pattern);
        }
        stage.bell.forget();
        stage.turns.end();
        result?;
        Ok(self.outcome(R::features(), settings, tcp_info))
    }

    /// Looks at clocks and orders, and at what the tasks have done. `Ready`: the run is over.
    fn step(&mut self) -> Step {
        if let Err(error) = self.fail_if_refused() {
            return Poll::Ready(Err(error));
        }
        self.call_waiting();
        self.wake_rested();
        if self.stage.phase.get() == Phase::Preparing {
            let step = self.prepare();
            if step.is_ready() || self.stage.phase.get() == Phase::Preparing {
                return step;
            }
        }
        self.send_due();
        self.refill();
        let now = now_ns();
        self.sweep(now);
        if self.stage.phase.get() == Phase::Running {
            self.advance_phase(now);
        }
        match self.stage.phase.get() == Phase::Draining && self.drained(now) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        let stage = &self.stage;
        let rested = stage.rests.borrow().peek().map(|Reverse((at, _))| *at);
        let soonest = rested.map_or(self.sweep_at_ns, |at| at.min(self.sweep_at_ns));
        Some(match stage.phase.get() {
            Phase::Preparing if self.ready => stage.job.control.go_ns()?,
            Phase::Preparing => soonest,
            Phase::Running => {
                let boundary_ns = match stage.window_open.get() {
                    true => stage.window_end_ns.get(),
                    false => stage.window_start_ns.get(),
                };
                let due = self.schedule.peek().map(|Reverse((at, _))| *at);
                due.unwrap_or(u64::MAX).min(boundary_ns).min(soonest)
            }
            Phase::Draining | Phase::Over => soonest.min(self.drain_until_ns),
        })
    }

    // ---- phases ----------------------------------------------------------------------------

    /// Before the go a connection that cannot be opened ends the run, with what the system said;
    /// so does the very first of the workloads that connect only after it.
    fn fail_if_refused(&self) -> Result<(), EngineError> {
        let stage = &self.stage;
        let opened = stage.opened.get();
        let first = W::RECONNECTS && opened == 0 && stage.phase.get() == Phase::Running;
        if self.ready && !first {
            return Ok(());
        }
        match stage.meter.borrow().recorded().error_texts.first() {
            None => Ok(()),
            Some((kind, text)) => Err(cannot_begin(*kind, text, opened)),
        }
    }

    /// Until the go.
    fn prepare(&mut self) -> Step {
        let stage = Rc::clone(&self.stage);
        let control = &stage.job.control;
        if control.order() != Order::Run {
            return Poll::Ready(match self.ready {
                true => Ok(()),
                false => Err(EngineError::Peer("stopped while connecting".into())),
            });
        }
        if !self.ready {
            self.sweep(now_ns());
            if !W::RECONNECTS && stage.opened.get() < stage.job.share.count {
                return Poll::Pending;
            }
            self.ready = true;
            control.report_ready();
        }
        if let Some(go_ns) = control.go_ns().filter(|&at| now_ns() >= at) {
            self.start(go_ns);
        }
        Poll::Pending
    }

    fn start(&mut self, go_ns: u64) {
        let stage = Rc::clone(&self.stage);
        let (start_ns, end_ns) = stage.job.window_ns(go_ns);
        stage.window_start_ns.set(start_ns);
        stage.window_end_ns.set(end_ns);
        stage.meter.borrow_mut().begin(start_ns, end_ns);
        stage.phase.set(Phase::Running);
        stage.alive_ns.set(go_ns);
        self.sweep_at_ns = go_ns + self.sweep_every_ns;
        stage.open_window_if_due(go_ns);
        for (index, line) in self.lines.iter().enumerate() {
            let due_ns = line.tell(|talker, output| {
                talker.slot.pacer.start(go_ns);
                if talker.state == State::Waiting {
                    talker.begin_traffic(now_ns(), output);
                }
                talker.slot.pacer.next_due_ns()
            });
            if let Some(due_ns) = due_ns {
                self.schedule.push(Reverse((due_ns, index as u32)));
            }
        }
    }

    fn advance_phase(&mut self, now: u64) {
        let stage = &self.stage;
        stage.open_window_if_due(now);
        let ordered = stage.job.control.order() != Order::Run;
        let counted = stage.meter.borrow().count_reached();
        let over = now >= stage.window_end_ns.get() || counted;
        let gone = !over && self.peer_is_gone(now);
        if gone {
            let alive_ns = stage.alive_ns.get();
            stage.meter.borrow_mut().give_up_count(alive_ns, now);
        }
        if over || ordered || gone {
            self.close_window(now, !over);
        }
    }

    fn peer_is_gone(&self, now: u64) -> bool {
        let alive_ns = self.stage.alive_ns.get();
        self.stage.job.is_out_of_patience(alive_ns, now)
            && !self.any(|talker| talker.state == State::Open)
    }

    fn any(&self, is: impl Fn(&Talker<W>) -> bool) -> bool {
        self.lines.iter().any(|line| line.with(|talker| is(talker)))
    }

    fn close_window(&mut self, now: u64, interrupted: bool) {
        let stage = &self.stage;
        let end_ns = now.min(stage.window_end_ns.get());
        let mut meter = stage.meter.borrow_mut();
        for line in &self.lines {
            line.with(|talker| {
                // What came due inside the window and was not even noticed yet belongs to it.
                talker.slot.pacer.arrive(end_ns, &mut meter);
                // Transactions whose connect was not even started.
                let untried = matches!(talker.state, State::Queued | State::Called);
                if untried && W::RECONNECTS {
                    meter.unfinished(talker.slot.connect_intended_ns, now, false);
                }
            });
        }
        meter.end_window(end_ns, interrupted);
        meter.forbid();
        stage.phase.set(Phase::Draining);
        self.drain_until_ns = now + stage.job.drain_ns;
        self.schedule.clear();
        stage.to_open.borrow_mut().clear();
    }

    fn drained(&self, now: u64) -> bool {
        self.stage.job.control.order() == Order::Abort
            || now >= self.drain_until_ns
            || !self.any(Talker::is_busy)
    }

    // ---- tasks, schedule and timeouts ------------------------------------------------------

    /// Lets those connect that waited until fewer others did.
    fn call_waiting(&self) {
        let stage = &self.stage;
        while stage.connecting.get() < CONNECTS_AT_ONCE {
            let Some(index) = stage.to_open.borrow_mut().pop_front() else {
                return;
            };
            stage.connecting.set(stage.connecting.get() + 1);
            let line = &self.lines[index as usize];
            line.with(|talker| talker.state = State::Called);
            line.ring();
        }
    }

    fn wake_rested(&self) {
        let mut rests = self.stage.rests.borrow_mut();
        while let Some(&Reverse((at_ns, index))) = rests.peek() {
            if at_ns > now_ns() {
                return;
            }
            rests.pop();
            self.lines[index as usize].ring();
        }
    }

    /// Sends what came due; at most as many as there are connections, then the others have their
    /// turn.
    fn send_due(&mut self) {
        let stage = &self.stage;
        if stage.phase.get() != Phase::Running {
            return;
        }
        for _ in 0..self.schedule.len() {
            let now = now_ns();
            let Some(&Reverse((due_ns, index))) = self.schedule.peek() else {
                return;
            };
            if due_ns > now {
                return;
            }
            if due_ns >= stage.window_end_ns.get() {
                return self.schedule.clear();
            }
            self.schedule.pop();
            let next_ns = self.lines[index as usize].tell(|talker, output| {
                let mut meter = stage.meter.borrow_mut();
                talker.slot.pacer.arrive(now, &mut meter);
                drop(meter);
                if talker.state == State::Open {
                    talker.due(now, output);
                }
                talker.slot.pacer.next_due_ns()
            });
            if let Some(next_ns) = next_ns {
                self.schedule.push(Reverse((next_ns, index)));
            }
        }
    }

    /// In a run that counts, connections that fell idle for want of permits in the warm-up go on.
    fn refill(&self) {
        if !self.stage.refill.take() {
            return;
        }
        for line in &self.lines {
            line.tell(|talker, output| {
                if talker.state == State::Open {
                    talker.due(now_ns(), output);
                }
            });
        }
    }

    /// Looks for operations and connects that took too long.
    fn sweep(&mut self, now: u64) {
        if now < self.sweep_at_ns {
            return;
        }
        self.sweep_at_ns = now + self.sweep_every_ns;
        let job = &self.stage.job;
        let running = self.stage.phase.get() == Phase::Running;
        let older = |since_ns: u64, limit_ns| now.saturating_sub(since_ns) >= limit_ns;
        for line in &self.lines {
            let (state, since_ns) = line.with(|talker| match talker.state {
                State::Connecting => (State::Connecting, Some(talker.slot.connect_started_ns)),
                state => (state, talker.waiting_since_ns()),
            });
            match (state, since_ns) {
                (State::Connecting, Some(since)) if older(since, job.connect_timeout_ns) => {
                    line.with(|talker| talker.given_up = true);
                    line.ring();
                }
                (State::Open, Some(since))
                    if running && older(since, job.operation_timeout_ns) && !line.is_ending() =>
                {
                    line.with(|talker| talker.lose(talker.timed_out()));
                    line.cut(How::Rst);
                }
                _ => {}
            }
        }
    }

    // ---- end -------------------------------------------------------------------------------

    /// Accounts for everything and ends all connections.
    fn finish(&mut self) -> Option<TcpInfoSummary> {
        let now = now_ns();
        let stage = &self.stage;
        let drained = stage.phase.get() == Phase::Draining;
        stage.meter.borrow_mut().end_window(now, !drained);
        let open = |line: &&Rc<Line<W>>| {
            line.with(|talker| matches!(talker.state, State::Open | State::Waiting))
        };
        let open = self.lines.iter().filter(open);
        let infos: Vec<_> = open
            .filter_map(|line| line.descriptor())
            .take(tcp_info::SAMPLES)
            .filter_map(tcp_info::read)
            .collect();
        stage.phase.set(Phase::Over);
        // Streams are cut: what is queued in the kernel is of no interest any more.
        let how = match stage.is_stream() {
            true => How::Rst,
            false => How::Fin,
        };
        for line in &self.lines {
            line.with(|talker| {
                talker.abandon(now);
                talker.given_up = true;
            });
            line.cut(how);
        }
        TcpInfoSummary::of(&infos)
    }

    fn outcome(
        &self,
        mut features: Vec<(String, String)>,
        settings: &Settings,
        tcp_info: Option<TcpInfoSummary>,
    ) -> LoadOutcome {
        let stage = &self.stage;
        features.extend(super::super::features(&stage.pool));
        let meter = stage.meter.replace(Meter::new(false, None, Arc::default()));
        LoadOutcome {
            recorded: meter.into_recorded(),
            // The runtime makes the system calls, and does not count them.
            backend: None,
            features,
            options_granted: settings.granted(),
            granted: stage.granted.take(),
            tcp_info,
            connections_opened: stage.opened.get(),
            spare_sources_used: stage.spare_source.get(),
        }
    }
}

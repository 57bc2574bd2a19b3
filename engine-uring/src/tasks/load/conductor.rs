//! The conductor of a load, which runs as the runtime's main task: orders, clocks, and what the life
//! wants done that is not for a connection's own task.

use super::super::bench::Bench;
use super::super::runtime::Runtime;
use super::super::settings::Settings;
use super::super::sys::Alarm;
use super::super::watch::Watch;
use super::super::wire::Wire;
use super::super::{END_PATIENCE_NS, machine};
use super::line::{Line, live};
use super::stage::Stage;
use super::talker::Talker;
use engine::clock::now_ns;
use engine::control::Order;
use engine::driver::{EngineError, LoadJob, LoadOutcome};
use engine::load::{LoadWorkload, Phase};
use engine::session::How;
use engine::tcp_info::{self, TcpInfoSummary};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// See the module's text.
pub struct Conductor<W: LoadWorkload> {
    stage: Rc<Stage<W>>,
    lines: Vec<Rc<Line<W>>>,
    bench: Rc<Bench>,
    is_ready: bool,
}

/// What a step of the conductor led to.
type Step = Poll<Result<(), EngineError>>;

impl<W: LoadWorkload> Conductor<W> {
    /// With all connections, none of them open.
    pub fn new(job: LoadJob, workload: W) -> Self {
        let count = job.rules.share.count;
        let buffer_bytes = workload.hints().own_buffer_bytes();
        let stage = Rc::new(Stage::new(job, workload));
        let region = Arc::clone(stage.life.borrow().region());
        let bench = Bench::new(buffer_bytes, region);
        let line = |index| {
            let talker = Talker::new(Rc::clone(&stage), index);
            Wire::new(talker, Rc::clone(&bench))
        };
        Self {
            lines: (0..count).map(line).collect(),
            is_ready: false,
            stage,
            bench,
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
        let bench = Rc::clone(&self.bench);
        R::spawn(async move { bench.turns.usher().await });
        stage.life.borrow_mut().begin(now_ns());
        for line in &self.lines {
            stage.tasks.set(stage.tasks.get() + 1);
            R::spawn(live::<R, W>(Rc::clone(line), Rc::clone(&stage)));
        }
        let result = poll_fn(|context| {
            stage.bell.listen(context.waker());
            let _ = watching.as_mut().poll(context);
            let step = self.step();
            if step.is_pending() {
                let wake_ns = self.wake_at_ns();
                stage.alarm_ns.set(wake_ns);
                alarm.set(Some(wake_ns).filter(|&at| at != u64::MAX));
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
            self.bench.abandon();
        }
        stage.bell.forget();
        self.bench.turns.end();
        result?;
        Ok(self.outcome(R::features(), settings, tcp_info))
    }

    /// Looks at orders and clocks, and does what the life wants done. `Ready`: the run is over.
    fn step(&mut self) -> Step {
        let stage = Rc::clone(&self.stage);
        let order = stage.job.control.order();
        if order != Order::Run && stage.life.borrow().phase() == Phase::Preparing {
            return Poll::Ready(match self.is_ready {
                true => Ok(()),
                false => Err(EngineError::Peer("stopped while connecting".into())),
            });
        }
        if order == Order::Stop {
            stage.life.borrow_mut().stop(now_ns());
        }
        self.obey();
        let mut life = stage.life.borrow_mut();
        if let Some(refused) = life.refused() {
            return Poll::Ready(Err(refused));
        }
        if !self.is_ready && life.is_prepared() {
            self.is_ready = true;
            stage.job.control.report_ready();
        }
        let go_ns = self.go_ns().filter(|&at| now_ns() >= at);
        if let Some(go_ns) = go_ns.filter(|_| life.phase() == Phase::Preparing) {
            life.go(go_ns, now_ns());
            drop(life);
            self.obey();
            life = stage.life.borrow_mut();
        }
        match order == Order::Abort || life.is_drained(now_ns()) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    /// The starting instant, once it is known and everything is ready.
    fn go_ns(&self) -> Option<u64> {
        self.stage.job.control.go_ns().filter(|_| self.is_ready)
    }

    /// Does what the life wants done by now.
    fn obey(&self) {
        let life = &self.stage.life;
        life.borrow_mut().pass(now_ns());
        loop {
            let speaker = life.borrow_mut().next_speaker(now_ns());
            let Some(index) = speaker else { break };
            self.lines[index as usize].tell(Talker::speak);
        }
        loop {
            let close = life.borrow_mut().next_close();
            let Some((index, how)) = close else { break };
            let line = &self.lines[index as usize];
            line.with(Talker::give_up);
            line.cut(how);
        }
        loop {
            let dial = life.borrow_mut().next_dial(now_ns());
            let Some(dial) = dial else { break };
            let line = &self.lines[dial.index as usize];
            line.with(|talker| talker.call(dial));
            line.ring();
        }
    }

    fn wake_at_ns(&self) -> u64 {
        let life = self.stage.life.borrow();
        let go_ns = match life.phase() {
            Phase::Preparing => self.go_ns().unwrap_or(u64::MAX),
            _ => u64::MAX,
        };
        life.next_wake_ns().min(go_ns)
    }

    // ---- end -------------------------------------------------------------------------------

    /// Accounts for everything and ends all connections.
    fn finish(&mut self) -> Option<TcpInfoSummary> {
        let mut life = self.stage.life.borrow_mut();
        let infos: Vec<_> = life
            .standing()
            .filter_map(|index| self.lines[index as usize].descriptor())
            .take(tcp_info::SAMPLES)
            .filter_map(tcp_info::read)
            .collect();
        life.finish(now_ns());
        let remaining: Vec<_> = life.remaining().collect();
        drop(life);
        for (index, how) in remaining {
            self.lines[index as usize].cut(how);
        }
        for line in &self.lines {
            line.with(Talker::give_up);
            // Whoever is being closed already is called home, too.
            line.cut(How::Rst);
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
        features.extend(super::super::features(&self.bench));
        let mut life = stage.life.borrow_mut();
        LoadOutcome {
            recorded: life.take_recorded(),
            // The runtime makes the system calls, and does not count them.
            backend: None,
            features,
            options_granted: settings.granted(),
            granted: stage.granted.take(),
            tcp_info,
            connections_opened: life.established(),
            accounts: life.accounts(),
            spare_sources_used: life.spare_source(),
        }
    }
}

//! The load: the calling thread conducts, and a thread per connection talks.

mod gate;
mod stage;
mod talker;

use super::{STACK_BYTES, features};
use crate::options::BlockingOptions;
use crate::sys;
use engine::clock::now_ns;
use engine::control::{Order, WakeEnd, Waker};
use engine::driver::{EngineError, LoadJob, LoadOutcome};
use engine::load::{Accounts, CONNECTS_AT_ONCE, LoadWorkload};
use engine::meter::{Published, Recorded};
use engine::proactor::BackendCounters;
use engine::session::How;
use engine::tcp_info::{self, TcpInfoSummary};
use engine::workload::LoadVisitor;
use stage::Stage;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use talker::{Talker, ThreadOutcome};

/// How often the threads' counters are added up for the agent (ns): often against its interval,
/// rarely against an operation.
const PUBLISH_EVERY_NS: u64 = 20_000_000;

/// Loads `job`.
pub fn load(job: LoadJob, options: BlockingOptions) -> Result<LoadOutcome, EngineError> {
    struct Visit(LoadJob, BlockingOptions);
    impl LoadVisitor for Visit {
        type Output = Result<LoadOutcome, EngineError>;
        fn visit<W: LoadWorkload>(self, workload: W) -> Self::Output {
            Conductor::start(self.0, self.1, workload)?.run()
        }
    }
    let spec = job.spec.clone();
    spec.dispatch(Visit(job, options))
}

struct Conductor {
    stage: Arc<Stage>,
    own_end: WakeEnd,
    threads: Vec<JoinHandle<ThreadOutcome>>,
    /// One for each thread, if there are several: a counter has one writer.
    parts: Vec<Arc<Published>>,
}

impl Conductor {
    /// Starts the threads, which connect.
    fn start<W: LoadWorkload>(
        job: LoadJob,
        options: BlockingOptions,
        workload: W,
    ) -> Result<Self, EngineError> {
        engine::os::use_exact_timers();
        let machine = |what: &str, error| EngineError::Machine(format!("{what}: {error}"));
        let (waker, own_end) =
            Waker::pair().map_err(|error| machine("a socket pair to be woken", error))?;
        let count = job.rules.share.count;
        let region = Arc::new(workload.region());
        let stage = Arc::new(Stage::new(job, options, W::OWES, waker));
        let mut conductor = Self {
            stage,
            own_end,
            threads: Vec::with_capacity(count as usize),
            parts: Vec::new(),
        };
        for index in 0..count {
            let published = conductor.published_of(index);
            let stage = Arc::clone(&conductor.stage);
            let talker = Talker::new(stage, &workload, index, published, Arc::clone(&region));
            let thread = std::thread::Builder::new()
                .name("blocking".into())
                .stack_size(STACK_BYTES)
                .spawn(move || talker.run());
            match thread {
                Ok(thread) => conductor.threads.push(thread),
                Err(error) => {
                    conductor.end(Order::Abort);
                    conductor.join();
                    let what = format!("thread {index} of {count} (one per connection)");
                    return Err(machine(&what, error));
                }
            }
            if !conductor.wait_ready((index + 1).saturating_sub(CONNECTS_AT_ONCE)) {
                break;
            }
        }
        Ok(conductor)
    }

    fn published_of(&mut self, index: u32) -> Arc<Published> {
        if self.stage.job.rules.share.count == 1 {
            return Arc::clone(&self.stage.job.published);
        }
        self.parts.push(Arc::default());
        Arc::clone(&self.parts[index as usize])
    }

    /// Waits until `count` threads are ready; false if one has failed or an order came.
    fn wait_ready(&self, count: u32) -> bool {
        loop {
            {
                let progress = self.stage.progress();
                let ordered = self.stage.job.control.order() != Order::Run;
                if progress.failed.is_some() || ordered {
                    return false;
                }
                if progress.ready >= count {
                    return true;
                }
            }
            self.wait(None);
        }
    }

    /// Waits for an order, a report of a thread, or an instant.
    fn wait(&self, until_ns: Option<u64>) {
        let mut entries = [
            sys::watch(self.stage.job.wake.descriptor(), libc::POLLIN),
            sys::watch(self.own_end.descriptor(), libc::POLLIN),
        ];
        sys::poll(&mut entries, until_ns);
        self.stage.job.wake.clear();
        self.own_end.clear();
    }

    fn run(mut self) -> Result<LoadOutcome, EngineError> {
        let job = &self.stage.job;
        if !self.wait_ready(job.rules.share.count) {
            let failed = self.stage.progress().failed.take();
            self.end(Order::Abort);
            self.join();
            return Err(
                failed.unwrap_or_else(|| EngineError::Peer("stopped while connecting".into()))
            );
        }
        job.control.report_ready();
        while job.control.order() == Order::Run && job.control.go_ns().is_none() {
            self.wait(None);
        }
        if let Some(go_ns) = job
            .control
            .go_ns()
            .filter(|_| job.control.order() == Order::Run)
        {
            self.stage.announce(|progress| progress.go_ns = Some(go_ns));
            self.watch_window(go_ns);
        } else {
            self.end(Order::Abort);
        }
        self.drain();
        self.finish()
    }

    /// Watches over the run until the window is over.
    fn watch_window(&self, go_ns: u64) {
        let job = &self.stage.job;
        let (_, end_ns) = job.rules.window_ns(go_ns);
        loop {
            let now = now_ns();
            let ordered = job.control.order() != Order::Run;
            let progress = self.stage.progress();
            let all_done = progress.done == job.rules.share.count || progress.failed.is_some();
            drop(progress);
            if ordered || all_done || now >= end_ns {
                return self.end(Order::Stop);
            }
            let mut until_ns = end_ns;
            if !self.parts.is_empty() {
                self.publish();
                until_ns = until_ns.min(now + PUBLISH_EVERY_NS);
            }
            self.wait(Some(until_ns).filter(|&at| at != u64::MAX));
        }
    }

    /// Gives the threads this order, and wakes those that nobody owes anything.
    fn end(&self, order: Order) {
        self.stage.give(order);
        for seat in &self.stage.seats {
            // What a stream has in flight is of no interest any more.
            if order == Order::Abort || !self.stage.owes {
                seat.shut();
            } else {
                seat.shut_if_resting();
            }
        }
    }

    /// Waits for operations in flight, within the drain time; then for nothing.
    fn drain(&self) {
        let job = &self.stage.job;
        let until_ns = now_ns() + job.rules.drain_ns;
        while self.stage.progress().done < job.rules.share.count
            && now_ns() < until_ns
            && job.control.order() != Order::Abort
        {
            self.wait(Some(until_ns));
        }
        self.end(Order::Abort);
    }

    /// Adds the threads' counters up for the agent.
    fn publish(&self) {
        let whole = &self.stage.job.published;
        for field in Published::SUMS {
            let sum = self
                .parts
                .iter()
                .map(|part| field(part).load(Relaxed))
                .sum();
            field(whole).store(sum, Relaxed);
        }
        for part in &self.parts {
            let largest = part.latency_max_ns.swap(0, Relaxed);
            whole.latency_max_ns.fetch_max(largest, Relaxed);
        }
    }

    fn join(&mut self) -> Vec<ThreadOutcome> {
        let threads = self.threads.drain(..);
        // A panic was printed by the thread; what the others recorded still counts.
        threads.filter_map(|thread| thread.join().ok()).collect()
    }

    fn finish(mut self) -> Result<LoadOutcome, EngineError> {
        let count = self.threads.len();
        let outcomes = self.join();
        if !self.parts.is_empty() {
            self.publish();
        }
        if outcomes.len() < count {
            let lost = count - outcomes.len();
            return Err(EngineError::Machine(format!(
                "{lost} threads of the engine panicked"
            )));
        }
        let stage = &self.stage;
        let mut recorded = Recorded::new();
        let mut backend: Option<BackendCounters> = None;
        let mut accounts = Accounts::default();
        for outcome in &outcomes {
            accounts.add(outcome.accounts);
            recorded.merge(&outcome.recorded);
            if let Some(counters) = &outcome.counters {
                backend.get_or_insert_default().add(counters);
            }
        }
        let infos: Vec<_> = stage
            .seats
            .iter()
            .take(tcp_info::SAMPLES)
            .filter_map(|seat| seat.ask(tcp_info::read))
            .collect();
        for seat in &stage.seats {
            // Streams are cut: what is queued in the kernel is of no interest any more.
            seat.close(if stage.owes { How::Fin } else { How::Rst });
        }
        let mut progress = stage.progress();
        if let Some(failed) = progress.failed.take() {
            return Err(failed);
        }
        Ok(LoadOutcome {
            recorded,
            backend,
            features: features(),
            options_granted: stage.options.granted(),
            granted: progress.granted.take(),
            tcp_info: TcpInfoSummary::of(&infos),
            connections_opened: stage.established.load(Relaxed),
            accounts,
            spare_sources_used: stage.spare_source.load(Relaxed),
        })
    }
}

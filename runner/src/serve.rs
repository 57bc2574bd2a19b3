//! The testee as a server of its own: `linerate serve`. It runs in the calling process.

mod processes;
mod state;

pub(crate) use processes::{Said, Told};
pub(crate) use state::Share;
pub use state::{Limit, ListenerState, ServeObserver, ServeTotals};

use crate::agent::limits;
use crate::cancel::Cancel;
use crate::engines::{self, Chosen};
use crate::error::Failure;
use crate::listening::{ListenerTask, Listening};
use crate::plan::{ListenerPlan, ServePlan, most_of};
use crate::protocol::CpuWish;
use crate::workers::{WorkerEnd, cpus_for};
use engine::control::{Control, Order};
use engine::driver::{ServeLimits, ServeOutcome};
use engine::needs::Needs;
use engine::os::{raise_descriptor_limit, reserve_descriptors};
use processes::Processes;
use state::END_MARGIN;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often the caller's cancellation is looked at, and debugging listeners report at most.
const LOOK: Duration = Duration::from_millis(100);
const START_DEADLINE: Duration = Duration::from_secs(10);

pub use crate::serve_counts::ServeCounts;

/// Serves `plan` until `cancel` is raised (once: drain; twice: at once) or `--one-off` is done.
/// Sockets of the file system are removed on every way out.
///
/// # Errors
/// What the system refused; nothing is left behind.
pub fn serve(
    plan: &ServePlan,
    observer: &mut dyn ServeObserver,
    cancel: &Cancel,
) -> Result<ServeTotals, Failure> {
    run(plan, spread(plan)?, observer, cancel)
}

/// Serves in this process, and in those that it starts.
pub(crate) fn run(
    plan: &ServePlan,
    share: Share,
    observer: &mut dyn ServeObserver,
    cancel: &Cancel,
) -> Result<ServeTotals, Failure> {
    let control = Arc::new(Control::default());
    let (sender, ends) = channel();
    let report = move |end: WorkerEnd<ServeOutcome>| {
        // Nobody listens any more only after the end.
        let _ = sender.send(end);
    };
    let mut running = Running {
        control: Arc::clone(&control),
        listeners: Vec::new(),
        ends,
        returned: 0,
        workers: 0,
        others: Processes::default(),
        told_full: Vec::new(),
    };
    reserve_descriptors(descriptors(plan, share));
    let needs = needs(plan, share);
    let mut states = Vec::new();
    for listener in &plan.listeners {
        let engine = listener.engine.choose(&needs).map_err(Failure::machine)?;
        let (task, state) = prepare(plan, listener, engine, share)?;
        let listening = task.open(&control, &report, &mut running.workers)?;
        states.push(ListenerState {
            endpoint: listening.endpoint.to_string(),
            accept: listening.strategy.name(),
            ..state
        });
        running.listeners.push((listener.clone(), listening));
    }
    control
        .wait_ready(running.workers, START_DEADLINE)
        .map_err(|why| {
            running
                .first_failure()
                .unwrap_or_else(|| Failure::machine(why))
        })?;
    running.others = Processes::start(plan, &states, share)?;
    observer.listening(&states);
    running.wait_for_stop(&states, observer, cancel)?;
    observer.draining(running.open(), Duration::from_nanos(plan.drain_ns));
    running.drain(plan, cancel)
}

/// Where it takes more processes than this, the limit is what is to be changed.
const PROCESSES_UNASKED_MAX: u32 = 16;

/// How the connections are spread, given the limit of descriptors: over as many processes as were asked for, or over as
/// many as it takes where more connections were asked for than one has descriptors for.
fn spread(plan: &ServePlan) -> Result<Share, Failure> {
    let limit = raise_descriptor_limit()
        .map_err(|error| Failure::machine(format!("read the descriptor limit: {error}")))?;
    let threads = plan.listeners.iter().map(|l| l.threads).sum();
    let workers = u64::from(threads);
    let most = limit.soft.saturating_sub(limits::needed(0, threads)) / workers.max(1);
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    let asked = plan.request.max_connections;
    let part = |processes| most_of(plan.max_connections, processes);
    let needed = match (plan.processes, asked) {
        (Some(processes), _) => Some(processes),
        (None, Some(_)) if part(1) > most && plan.may_share_ports() => {
            (2..=PROCESSES_UNASKED_MAX).find(|processes| part(*processes) <= most)
        }
        (None, _) => Some(1),
    };
    let processes = needed.unwrap_or(1);
    let max_connections = match asked {
        Some(_) => part(processes),
        // Nobody asked for these.
        None => plan.max_connections.min(most),
    };
    if max_connections > most || most == 0 {
        return Err(Failure::machine(format!(
            "--max-connections {} on {workers} threads of {processes} processes need {} descriptors in each, and the limit \
             is {}: raise it (ulimit -Hn, or LimitNOFILE= in a unit), take more --processes, or fewer connections",
            plan.max_connections,
            limits::needed(u64::from(max_connections.max(1)) * workers, threads),
            limit.soft
        )));
    }
    Ok(Share {
        processes,
        max_connections,
        shares_port: processes > 1,
    })
}

/// Descriptors of one process whose workers have all the connections that they take.
fn descriptors(plan: &ServePlan, share: Share) -> u64 {
    let threads = plan.listeners.iter().map(|l| l.threads).sum();
    limits::needed(
        u64::from(share.max_connections) * u64::from(threads),
        threads,
    )
}

/// What the workers of all listeners will take that may choose io_uring, or have to. They share its limits.
fn needs(plan: &ServePlan, share: Share) -> Vec<Needs> {
    let max_connections = share.max_connections;
    let on_rings = |listener: &&ListenerPlan| {
        let named = engines::find(&listener.engine.name);
        named.is_none_or(|driver| driver.capabilities().is_io_uring)
    };
    let listeners = plan.listeners.iter().filter(on_rings);
    listeners
        .flat_map(|listener| {
            let needs = listener
                .role
                .needs(max_connections, None, listener.message_bytes);
            vec![needs; (listener.threads * share.processes) as usize]
        })
        .collect()
}

fn prepare(
    plan: &ServePlan,
    listener: &ListenerPlan,
    engine: Chosen,
    share: Share,
) -> Result<(ListenerTask, ListenerState), Failure> {
    let max_connections = share.max_connections;
    let wish = match &listener.cpus {
        Some(cpus) => CpuWish::List(cpus.clone()),
        None => CpuWish::Unpinned,
    };
    let (cpus, _) = cpus_for(&wish, listener.threads)?;
    let state = ListenerState {
        id: listener.id.clone(),
        endpoint: listener.endpoint.to_string(),
        role: listener.role.name(),
        engine: engine.driver.name(),
        engine_reason: engine.reason.clone(),
        passed_over: engine.passed_over.clone(),
        threads: listener.threads,
        accept: "",
        cpus: cpus.iter().flatten().copied().collect(),
        max_connections: u64::from(max_connections)
            * u64::from(listener.threads)
            * u64::from(share.processes),
        processes: share.processes,
        fitted: share.processes == 1 && max_connections < plan.max_connections,
    };
    let task = ListenerTask {
        name: "serve".to_owned(),
        endpoint: listener.endpoint.clone(),
        shares_port: share.shares_port,
        backlog: listener.backlog,
        role: listener.role.clone(),
        engine,
        engine_options: listener.engine.options.clone(),
        cpus,
        accept: listener.accept,
        socket: listener.socket.clone(),
        limits: ServeLimits {
            connections: max_connections,
            idle_timeout_ns: plan.idle_timeout_ns,
            one_off: plan.one_off,
            drain_ns: plan.drain_ns,
        },
        expected_connections: None,
        message_bytes: listener.message_bytes,
    };
    Ok((task, state))
}

/// The running listeners. Dropping it ends their workers.
struct Running {
    control: Arc<Control>,
    listeners: Vec<(ListenerPlan, Listening)>,
    ends: Receiver<WorkerEnd<ServeOutcome>>,
    returned: usize,
    workers: usize,
    others: Processes,
    /// Listeners of which it was told that they are full.
    told_full: Vec<usize>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // On the way out of an error workers still run: they must not outlive their sockets' paths.
        if self.returned < self.workers {
            self.order(Order::Abort);
            let give_up = Instant::now() + END_MARGIN;
            while self.returned < self.workers && Instant::now() < give_up {
                // The first failure is on its way to the user already.
                let _ = self.next_end(LOOK);
            }
        }
    }
}

impl Running {
    fn order(&self, order: Order) {
        self.control.order_all(order);
    }

    /// The next worker that returns within `timeout`.
    fn next_end(&mut self, timeout: Duration) -> Result<Option<ServeOutcome>, Failure> {
        match self.ends.recv_timeout(timeout) {
            Ok(end) => {
                self.returned += 1;
                end.result.map(Some)
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                self.returned = self.workers;
                Ok(None)
            }
        }
    }

    /// Why the first worker failed, if one did.
    fn first_failure(&mut self) -> Option<Failure> {
        while self.returned < self.workers {
            match self.next_end(LOOK) {
                Err(failure) => return Some(failure),
                Ok(None) => return None,
                Ok(Some(_)) => {}
            }
        }
        None
    }

    fn wait_for_stop(
        &mut self,
        states: &[ListenerState],
        observer: &mut dyn ServeObserver,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let mut report_at = Instant::now() + Duration::from_secs(1);
        while !cancel.is_raised() && self.control.order() == Order::Run {
            self.next_end(LOOK)?;
            if cancel.is_raised() {
                // Whoever has asked may have ended the others too.
                break;
            }
            self.others.check()?;
            self.tell_full(states, observer);
            if Instant::now() >= report_at {
                report_at += Duration::from_secs(1);
                observer.every_second(&self.counts());
                for (plan, listening) in self.listeners.iter().filter(|(plan, _)| plan.debug) {
                    let mut counts = ServeCounts::of(&listening.published);
                    self.others.add_counts(&plan.id, &mut counts);
                    observer.counted(&plan.id, &counts);
                }
            }
        }
        Ok(())
    }

    /// Tells, once of each listener, that a limit of the testee ends the story and not its clients.
    fn tell_full(&mut self, states: &[ListenerState], observer: &mut dyn ServeObserver) {
        for (index, (plan, listening)) in self.listeners.iter().enumerate() {
            let counts = ServeCounts::of(&listening.published);
            let most = states[index].max_connections / u64::from(states[index].processes);
            let full_elsewhere = self.others.full(&plan.id);
            let limit = match () {
                () if self.told_full.contains(&index) => continue,
                () if full_elsewhere.is_some() => full_elsewhere.unwrap_or(Limit::Descriptors),
                () if counts.accept_backoffs_descriptors() > 0 => Limit::Descriptors,
                () if counts.over_limit > 0 || counts.open() >= most => Limit::Connections(most),
                () => continue,
            };
            self.told_full.push(index);
            observer.full(&plan.id, limit);
        }
    }

    /// What each listener of this process has counted.
    fn counts(&self) -> Vec<(String, ServeCounts)> {
        self.listeners
            .iter()
            .map(|(plan, listening)| (plan.id.clone(), ServeCounts::of(&listening.published)))
            .collect()
    }

    /// Connections that are open in all processes, as far as is known.
    fn open(&self) -> u64 {
        let own: u64 = self.counts().iter().map(|(_, counts)| counts.open()).sum();
        own + self.others.open()
    }

    fn drain(&mut self, plan: &ServePlan, cancel: &Cancel) -> Result<ServeTotals, Failure> {
        self.order(Order::Stop);
        self.others.stop();
        let drain = Duration::from_nanos(plan.drain_ns);
        let started = Instant::now();
        while self.returned < self.workers {
            self.next_end(Duration::from_millis(20))?;
            let now = Instant::now();
            if cancel.is_raised_twice() || now >= started + drain + END_MARGIN {
                self.order(Order::Abort);
                self.others.abort();
            }
            if now >= started + drain + 2 * END_MARGIN {
                return Err(Failure::machine(
                    "a worker did not return after its connections were closed; this is a bug in linerate",
                ));
            }
        }
        let listeners = self.counts();
        let cut_off = listeners.iter().map(|(_, counts)| counts.cut_off).sum();
        let mut totals = ServeTotals { listeners, cut_off };
        if !cancel.is_raised_twice() {
            let patience = (drain + 2 * END_MARGIN).saturating_sub(started.elapsed());
            processes::add(&mut totals, &self.others.totals(patience)?);
        }
        Ok(totals)
    }
}

#[cfg(test)]
mod tests;

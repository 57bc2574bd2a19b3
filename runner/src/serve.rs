//! The testee as a server of its own: `linerate serve`. It runs in the calling process.

use crate::cancel::Cancel;
use crate::engines::{self, Chosen};
use crate::error::Failure;
use crate::listening::{ListenerTask, Listening};
use crate::plan::{ListenerPlan, ServePlan};
use crate::protocol::CpuWish;
use crate::workers::{WorkerEnd, cpus_for};
use engine::control::{Control, Order};
use engine::driver::{ServeLimits, ServeOutcome};
use engine::needs::Needs;
use engine::os::raise_descriptor_limit;
use report::document::Message;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often the caller's cancellation is looked at, and debugging listeners report at most.
const LOOK: Duration = Duration::from_millis(100);
const START_DEADLINE: Duration = Duration::from_secs(10);
/// Workers close what is left and return within this after their drain.
const END_MARGIN: Duration = Duration::from_secs(3);

/// Watches a testee.
pub trait ServeObserver {
    /// All listeners listen.
    fn listening(&mut self, listeners: &[ListenerState]) {
        let _ = listeners;
    }

    /// Once a second, for listeners with `debug`.
    fn counted(&mut self, id: &str, counts: &ServeCounts) {
        let _ = (id, counts);
    }

    /// A stop was asked for, or `--one-off` is done: connections may end within the deadline.
    fn draining(&mut self, open_connections: u64, deadline: Duration) {
        let _ = (open_connections, deadline);
    }
}

/// A listener that listens.
#[derive(Clone, Debug)]
pub struct ListenerState {
    /// Its name.
    pub id: String,
    /// Where it really listens: port 0 is resolved.
    pub endpoint: String,
    /// Its role.
    pub role: &'static str,
    /// Engine in use.
    pub engine: &'static str,
    /// Why this one.
    pub engine_reason: String,
    /// See [`Chosen::passed_over`].
    pub passed_over: Option<Message>,
    /// Worker threads.
    pub threads: u32,
    /// How connections come to the workers: `reuseport`, `shared` or `handoff`.
    pub accept: &'static str,
    /// The CPU of each worker; empty: unpinned.
    pub cpus: Vec<u32>,
    /// Connections that it takes at once, over all workers.
    pub max_connections: u64,
    /// That is fewer than by default, because the limit of open files leaves room for no more.
    pub fitted: bool,
}

pub use crate::serve_counts::ServeCounts;

/// What a testee did, listener by listener.
#[derive(Clone, Debug, Default)]
pub struct ServeTotals {
    /// Name and totals of each listener, in the order of the plan.
    pub listeners: Vec<(String, ServeCounts)>,
    /// Connections that were cut off because they outlived the drain.
    pub cut_off: u64,
}

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
    let max_connections = check_descriptors(plan)?;
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
    };
    let needs = needs(plan, max_connections);
    let mut states = Vec::new();
    for listener in &plan.listeners {
        let engine = listener.engine.choose(&needs).map_err(Failure::machine)?;
        let (task, state) = prepare(plan, listener, engine, max_connections)?;
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
    observer.listening(&states);
    running.wait_for_stop(observer, cancel)?;
    observer.draining(running.open(), Duration::from_nanos(plan.drain_ns));
    running.drain(plan, cancel)
}

/// Connections that each worker may have, given the limit of descriptors.
fn check_descriptors(plan: &ServePlan) -> Result<u32, Failure> {
    let limit = raise_descriptor_limit()
        .map_err(|error| Failure::machine(format!("read the descriptor limit: {error}")))?;
    let workers: u64 = plan.listeners.iter().map(|l| u64::from(l.threads)).sum();
    let own = 64 + 8 * workers;
    let asked = plan.request.max_connections.is_some();
    let most = limit.soft.saturating_sub(own) / workers.max(1);
    let max_connections = u64::from(plan.max_connections);
    if max_connections <= most {
        return Ok(plan.max_connections);
    }
    if asked || most == 0 {
        return Err(Failure::machine(format!(
            "--max-connections {max_connections} on {workers} threads need {} descriptors, and the limit is {}: \
             raise it (ulimit -Hn, or LimitNOFILE= in a unit), or take fewer",
            max_connections * workers + own,
            limit.soft
        )));
    }
    Ok(most as u32)
}

/// What the workers of all listeners will take that may choose io_uring, or have to. They share its limits.
fn needs(plan: &ServePlan, max_connections: u32) -> Vec<Needs> {
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
            vec![needs; listener.threads as usize]
        })
        .collect()
}

fn prepare(
    plan: &ServePlan,
    listener: &ListenerPlan,
    engine: Chosen,
    max_connections: u32,
) -> Result<(ListenerTask, ListenerState), Failure> {
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
        max_connections: u64::from(max_connections) * u64::from(listener.threads),
        fitted: max_connections < plan.max_connections,
    };
    let task = ListenerTask {
        name: "serve".to_owned(),
        endpoint: listener.endpoint.clone(),
        shares_port: false,
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
        observer: &mut dyn ServeObserver,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let mut report_at = Instant::now() + Duration::from_secs(1);
        while !cancel.is_raised() && self.control.order() == Order::Run {
            self.next_end(LOOK)?;
            if Instant::now() >= report_at {
                report_at += Duration::from_secs(1);
                for (plan, listening) in self.listeners.iter().filter(|(plan, _)| plan.debug) {
                    observer.counted(&plan.id, &ServeCounts::of(&listening.published));
                }
            }
        }
        Ok(())
    }

    fn open(&self) -> u64 {
        self.listeners
            .iter()
            .map(|(_, listening)| ServeCounts::of(&listening.published).open())
            .sum()
    }

    fn drain(&mut self, plan: &ServePlan, cancel: &Cancel) -> Result<ServeTotals, Failure> {
        self.order(Order::Stop);
        let drain = Duration::from_nanos(plan.drain_ns);
        let started = Instant::now();
        while self.returned < self.workers {
            self.next_end(Duration::from_millis(20))?;
            let now = Instant::now();
            if cancel.is_raised_twice() || now >= started + drain + END_MARGIN {
                self.order(Order::Abort);
            }
            if now >= started + drain + 2 * END_MARGIN {
                return Err(Failure::machine(
                    "a worker did not return after its connections were closed; this is a bug in linerate",
                ));
            }
        }
        let listeners: Vec<_> = self
            .listeners
            .iter()
            .map(|(plan, listening)| (plan.id.clone(), ServeCounts::of(&listening.published)))
            .collect();
        let cut_off = listeners.iter().map(|(_, counts)| counts.cut_off).sum();
        Ok(ServeTotals { listeners, cut_off })
    }
}

#[cfg(test)]
mod tests;

//! The load's agent: opens connections, starts at the go, samples the window, brings home what the
//! workers recorded.

mod starting;

use super::event_record::EventWriter;
use super::ramp_series::RampSeries;
use super::samples::{AHEAD_NS, Edges, NEVER_BEGAN, Series};
use super::{ABORT_MARGIN_NS, Agent, Ended, Note, ROUND_DEADLINE_NS, limits, side};
use crate::engines::{self, Chosen};
use crate::error::Failure;
use crate::host::Traffic;
use crate::plan::{Plan, no_closing_ramp, no_shared_queue};
use crate::protocol::{AgentResult, FromAgent, Task, ToAgent};
use crate::workers::{ThreadClock, WorkerEnd, cpus_for};
use engine::clock::now_ns;
use engine::control::Order;
use engine::driver::LoadOutcome;
use engine::endpoint::Endpoint;
use engine::load::Accounts;
use engine::meter::{Published, Recorded};
use engine::shape::Queue;
use engine::tcp_info::TcpInfoSummary;
use report::document::{EngineUse, Message, Side, Unknown, Window};
use report::histogram::HistogramError;
use report::units::human_ns;
use starting::{start_workers, target};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Beyond drain and timeouts, for workers on a busy machine.
const END_MARGIN_NS: u64 = 10_000_000_000;

pub(super) fn run<W: Write>(agent: &mut Agent<W>, task: &Task) -> Result<(), Ended> {
    let plan = &task.plan;
    let needs = task.agent.needs_of_side(plan);
    let engine =
        (plan.engine.choose_as(task.engine.as_deref(), &needs)).map_err(Failure::machine)?;
    check_engine(plan, &engine)?;
    limits::check_descriptors(plan, &task.agent, plan.threads)?;
    limits::check_congestion(plan)?;
    limits::check_memory(plan, &task.agent)?;
    let (target, mut warnings) = target(task)?;
    let reconnects = plan.workload().reconnects();
    warnings.extend(engine.passed_over.clone());
    let connections = task.agent.host.connections;
    warnings.extend(limits::check_ports(&target, connections, reconnects)?);
    let (cpus, notes) = cpus_for(&task.cpus, plan.threads)?;
    warnings.extend(
        notes
            .into_iter()
            .map(|note| Message::new("placement", note)),
    );
    let traffic = match target.address(0).as_socket() {
        Some(address) => Traffic::to(address),
        None => Traffic::UnixSocket,
    };
    let events = EventWriter::start(task)?;
    let record = events.as_ref().map(EventWriter::record);
    let (published, clocks) = start_workers(agent, task, &engine, &target, &cpus, record.as_ref())?;
    agent.wait_ready(plan.threads as usize, opening_time(plan), &plan.engine)?;
    let addresses = target.addresses.iter().filter_map(Endpoint::of_address);
    let addresses = addresses.map(|endpoint| endpoint.to_string()).collect();
    agent.prepared(task, addresses, traffic, &engine, warnings)?;
    let Some(go_ns) = agent.wait_for_go()? else {
        agent.control.order_all(Order::Abort);
        return Ok(());
    };
    let late_ns = now_ns().saturating_sub(go_ns);
    // The rings are no connection's memory.
    let rings_bytes = record.map_or(0, |record| record.bytes());
    let rss_before_bytes = agent.rss_before_bytes.map(|bytes| bytes + rings_bytes);
    let mut round = Round::new(task, go_ns, published, clocks, rss_before_bytes);
    round.conduct(agent)?;
    agent.say(&FromAgent::Over)?;
    let mut result = round.result(task, &engine)?;
    result.warnings.extend(late_go(late_ns, plan));
    result.side.event_record = events.map(EventWriter::end);
    wait_for_finish(agent)?;
    agent.end_settings(&mut result);
    agent.say(&FromAgent::Result(Box::new(result)))
}

/// The result is wanted only when the conductor says so: encoding it costs CPU time that must not
/// fall into the testee's window. Others of a run that counts may take much longer, and one that is silent is waited for.
fn wait_for_finish<W: Write>(agent: &mut Agent<W>) -> Result<(), Ended> {
    let deadline_ns = now_ns() + ROUND_DEADLINE_NS;
    loop {
        match agent.next(deadline_ns)? {
            Some(Note::Said(ToAgent::Finish)) | None => return Ok(()),
            Some(_) => {}
        }
    }
}

fn check_engine(plan: &Plan, engine: &Chosen) -> Result<(), Failure> {
    if plan.queue() == Queue::Shared && side::has_thread_per_connection(engine) {
        return Err(Failure::usage(no_shared_queue(engine.driver.name())));
    }
    if plan.closing_ns() > 0 && side::has_thread_per_connection(engine) {
        return Err(Failure::usage(no_closing_ramp(engine.driver.name())));
    }
    engine.driver.check_load(plan.load_spec()).map_err(|why| {
        Failure::usage(format!(
            "engine {} cannot run this load: {why}",
            engine.driver.name()
        ))
    })
}

/// Connecting may take its timeout, and many connections take their time.
fn opening_time(plan: &Plan) -> Duration {
    Duration::from_nanos(plan.connect_timeout_ns + END_MARGIN_NS)
        + Duration::from_millis(u64::from(plan.connections))
}

/// How often it is looked whether all connections are established or have failed, ns.
const LOOK_NS: u64 = 5_000_000;

/// Connections that are opened once and held.
struct Holding {
    /// How many there are.
    connections: u64,
    /// How often is told how many are left, ns.
    interval_ns: u64,
    /// Since when all of them are established or have failed, ns.
    since_ns: Option<u64>,
    /// When they were to be closed, ns.
    until_ns: Option<u64>,
    /// When it is looked next, ns.
    look_at_ns: u64,
}

impl Holding {
    fn of(plan: &Plan, connections: u32) -> Option<Self> {
        plan.hold().map(|_| Self {
            connections: connections.into(),
            interval_ns: plan.interval_ns.max(HELD_INTERVAL_MIN_NS),
            since_ns: None,
            until_ns: None,
            look_at_ns: 0,
        })
    }

    /// For how long they have been held, ns; 0 if it never came to that.
    fn length_ns(&self) -> u64 {
        let since_ns = self.since_ns.unwrap_or(u64::MAX);
        self.until_ns
            .unwrap_or_else(now_ns)
            .saturating_sub(since_ns)
    }
}

/// People look at what is held, and nothing is measured.
const HELD_INTERVAL_MIN_NS: u64 = 1_000_000_000;

/// From the go to the last worker's return.
struct Round {
    go_ns: u64,
    window_start_ns: u64,
    /// `None` for a run that counts.
    window_end_ns: Option<u64>,
    /// When workers that have not returned are told to.
    give_up_ns: Option<u64>,
    edges: Edges,
    series: Series,
    /// Where connections are clients: how they come up.
    ramp: Option<RampSeries>,
    /// Where connections are held: how that stands.
    holding: Option<Holding>,
    ends: Vec<WorkerEnd<LoadOutcome>>,
    /// What all workers recorded, once they have returned.
    recorded: Recorded,
    workers: usize,
    drain_ns: u64,
    /// How long closing what is held one after the other takes, ns.
    closing_ns: u64,
    stopped: bool,
    aborted: bool,
}

impl Round {
    fn new(
        task: &Task,
        go_ns: u64,
        published: Vec<Arc<Published>>,
        clocks: Vec<Arc<ThreadClock>>,
        rss_before_bytes: Option<u64>,
    ) -> Self {
        let plan = &task.plan;
        let window_start_ns = go_ns + plan.warmup_ns;
        let window_end_ns = plan.duration_ns().map(|ns| window_start_ns + ns);
        Self {
            go_ns,
            window_start_ns,
            window_end_ns,
            give_up_ns: window_end_ns.map(|end| end + plan.drain_ns + END_MARGIN_NS),
            edges: Edges::new(clocks, rss_before_bytes),
            workers: published.len(),
            ramp: RampSeries::of(plan, &task.agent, &published, go_ns),
            series: Series::new(
                published,
                plan.interval_ns,
                window_start_ns,
                plan.workload().holds(),
            ),
            holding: Holding::of(plan, task.agent.share.connections),
            ends: Vec::new(),
            recorded: Recorded::new(),
            drain_ns: plan.drain_ns,
            closing_ns: plan.closing_ns(),
            stopped: false,
            aborted: false,
        }
    }

    fn conduct<W: Write>(&mut self, agent: &mut Agent<W>) -> Result<(), Ended> {
        if self.window_start_ns == self.go_ns {
            self.edges.begin_before(self.window_start_ns);
        }
        agent.control.go(self.go_ns);
        while self.ends.len() < self.workers {
            match agent.next(self.next_instant_ns())? {
                None => self.sample_what_is_due(agent)?,
                Some(Note::Load(end)) => {
                    if let Err(failure) = &end.result {
                        return Err(Ended::Failed(failure.clone()));
                    }
                    self.ends.push(*end);
                }
                Some(Note::Said(ToAgent::Stop)) => self.stop(agent),
                Some(_) => {}
            }
        }
        self.edges.end();
        for outcome in self.ends.iter().filter_map(|end| end.result.as_ref().ok()) {
            self.recorded.merge(&outcome.recorded);
        }
        match self.series.finish(&self.recorded) {
            Some(last) => agent.interval(last),
            None => Ok(()),
        }
    }

    fn next_instant_ns(&self) -> u64 {
        let holding = self
            .holding
            .as_ref()
            .filter(|holding| holding.until_ns.is_none());
        let look_at_ns = holding.map_or(u64::MAX, |holding| holding.look_at_ns);
        let ramp_ns = self.ramp.as_ref().map_or(u64::MAX, RampSeries::next_ns);
        self.next_instant_of_window_ns()
            .min(look_at_ns)
            .min(ramp_ns)
    }

    fn next_instant_of_window_ns(&self) -> u64 {
        let give_up_ns = self.give_up_ns.unwrap_or(u64::MAX);
        if !self.edges.has_begun() && !self.stopped {
            let ahead_ns = match self.edges.is_prepared() {
                true => 0,
                false => AHEAD_NS,
            };
            return (self.window_start_ns - ahead_ns).min(give_up_ns);
        }
        if self.edges.has_ended() || self.stopped {
            return give_up_ns;
        }
        let end_ns = self.window_end_ns.unwrap_or(u64::MAX);
        self.series.next_ns().min(end_ns).min(give_up_ns)
    }

    fn sample_what_is_due<W: Write>(&mut self, agent: &mut Agent<W>) -> Result<(), Ended> {
        let now = now_ns();
        if self.give_up_ns.is_some_and(|at| now >= at) {
            return self.give_up(agent);
        }
        if let Some(point) = self.ramp.as_mut().and_then(|ramp| ramp.look(now)) {
            agent.say(&FromAgent::Joining(point))?;
        }
        if !self.edges.has_begun() {
            if now >= self.window_start_ns && !self.stopped {
                self.edges.begin();
            } else if !self.edges.is_prepared() {
                self.edges.prepare();
            }
            return Ok(());
        }
        self.look_after_held(agent, now)?;
        if self.edges.has_ended() {
            return Ok(());
        }
        let over = self.window_end_ns.is_some_and(|end| now >= end);
        if over {
            // The last interval is cut with what the workers bring home.
            self.edges.end();
            return Ok(());
        }
        if now >= self.series.next_ns()
            && let Some(interval) = self.series.cut()
        {
            agent.interval(interval)?;
        }
        Ok(())
    }

    /// Says when all connections are established or have failed, and then how many of them are left.
    fn look_after_held<W: Write>(&mut self, agent: &mut Agent<W>, now: u64) -> Result<(), Ended> {
        let Some(holding) = &mut self.holding else {
            return Ok(());
        };
        if holding.until_ns.is_some() || now < holding.look_at_ns {
            return Ok(());
        }
        if holding.since_ns.is_none() {
            holding.look_at_ns = now + LOOK_NS;
            if self.series.settled() < holding.connections {
                return Ok(());
            }
            holding.since_ns = Some(now);
            if let Some(last) = self.series.cut() {
                agent.interval(last)?;
            }
            self.series.hold();
            self.edges.end();
            agent.say(&FromAgent::Settled)?;
        }
        holding.look_at_ns = now + holding.interval_ns;
        let (standing, lost) = self.series.held();
        agent.say(&FromAgent::Held { standing, lost })
    }

    /// The window ends now, if it has not ended yet: the user ends the run early, or what is held is to be closed.
    fn stop<W: Write>(&mut self, agent: &Agent<W>) {
        agent.control.order_all(Order::Stop);
        if let Some(holding) = &mut self.holding {
            holding.until_ns.get_or_insert_with(now_ns);
        }
        self.edges.end();
        let give_up_ns = now_ns() + self.closing_ns + self.drain_ns + END_MARGIN_NS;
        self.give_up_ns = Some(self.give_up_ns.map_or(give_up_ns, |at| at.min(give_up_ns)));
        self.stopped = true;
    }

    fn give_up<W: Write>(&mut self, agent: &Agent<W>) -> Result<(), Ended> {
        if !self.aborted {
            self.aborted = true;
            agent.control.order_all(Order::Abort);
            self.give_up_ns = Some(now_ns() + ABORT_MARGIN_NS);
            return Ok(());
        }
        Err(Failure::machine(format!(
            "{} of {} workers of the load did not return after the window and its drain; the machine is \
             overloaded, or this is a bug in linerate",
            self.workers - self.ends.len(),
            self.workers
        ))
        .into())
    }

    fn result(mut self, task: &Task, engine: &Chosen) -> Result<AgentResult, Failure> {
        let plan = &task.plan;
        self.ends.sort_by_key(|end| end.index);
        let (pins, outcomes): (Vec<_>, Vec<LoadOutcome>) = self
            .ends
            .into_iter()
            .filter_map(|end| Some((end.pinned, end.result.ok()?)))
            .unzip();
        let recorded = self.recorded;
        self.edges
            .correct(recorded.process_at_start, recorded.process_at_end);
        let backend = side::backend_sum(outcomes.iter().map(|outcome| &outcome.backend));
        let granted = outcomes.iter().find_map(|outcome| outcome.granted.as_ref());
        let infos: Vec<&TcpInfoSummary> = outcomes
            .iter()
            .filter_map(|o| o.tcp_info.as_ref())
            .collect();
        let opened = outcomes.iter().map(|o| o.connections_opened).sum();
        let mut unknown = vec![Unknown::new(
            "accept_strategy",
            "the load accepts no connections",
        )];
        let tcp_info = side::tcp_info(&infos, granted)
            .map_err(|why| unknown.push(Unknown::new("tcp_info", why)))
            .ok();
        let mut accounts = Accounts::default();
        for outcome in &outcomes {
            accounts.add(outcome.accounts);
        }
        let held_ns = self.holding.as_ref().map(Holding::length_ns);
        let intervals = self.series.into_intervals();
        let broken = |error: HistogramError| Failure::machine(error.to_string());
        let mut measured =
            side::measurement(&recorded, opened, accounts, intervals, held_ns).map_err(broken)?;
        if let Some(ramp) = self.ramp {
            let asked = u64::from(task.agent.share.connections);
            let clients = side::clients(&recorded, asked, ramp.into_points());
            measured.clients = Some(clients.map_err(broken)?);
        }
        let syscalls = backend
            .as_ref()
            .map(|counters| counters.system_calls)
            .ok_or_else(|| match self.edges.has_begun() {
                true => format!("the engine {} does not count them", engine.driver.name()),
                false => NEVER_BEGAN.to_owned(),
            });
        let threads_ns = self.edges.threads_cpu_ns();
        let threads_ns = match side::has_thread_per_connection(engine) {
            true => vec![None; threads_ns.len()],
            false => threads_ns,
        };
        let features = outcomes.iter().flat_map(|o| o.features.clone());
        let options = outcomes.iter().flat_map(|o| o.options_granted.clone());
        let side = Side {
            agent: task.agent.name.clone(),
            role: task.agent.role,
            host: String::new(),
            pid: Some(std::process::id()),
            window: window(&recorded, self.go_ns, plan),
            engine: EngineUse {
                other: other_engine(task, engine),
                ..side::engine_use(&plan.engine, engine, features.collect(), options.collect())
            },
            threads: plan.threads,
            thread_per_connection: side::has_thread_per_connection(engine),
            busiest_thread_share: self.edges.busiest_share(&threads_ns),
            workers: pins
                .iter()
                .zip(&outcomes)
                .zip(threads_ns)
                .map(|((pin, outcome), cpu_ns)| {
                    side::worker(pin, outcome.connections_opened, cpu_ns)
                })
                .collect(),
            accept_strategy: None,
            process: self.edges.cost(syscalls),
            engine_counters: backend
                .as_ref()
                .map(side::engine_counters)
                .unwrap_or_default(),
            measured,
            tcp_info,
            socket_options: side::socket_options(plan, granted),
            event_record: None,
            unknown,
        };
        Ok(AgentResult {
            activity: self.edges.activity(),
            ended_early: recorded.interrupted || self.aborted,
            drifts: Vec::new(),
            not_put_back: None,
            warnings: {
                let mut found = warnings(&outcomes, &recorded);
                found.extend(self.edges.other_cpus());
                found
            },
            side,
        })
    }
}

/// What could run in place of `engine`. It is looked for once per run.
fn other_engine(task: &Task, engine: &Chosen) -> Option<String> {
    let needs = task.agent.needs_of_side(&task.plan);
    let other = (task.describe_host).then(|| engines::instead_of(engine.driver, &needs));
    other.flatten().map(|driver| driver.name().to_owned())
}

fn window(recorded: &Recorded, go_ns: u64, plan: &Plan) -> Window {
    let began = recorded.window_start_ns != u64::MAX;
    Window {
        start_offset_ns: if began {
            recorded.window_start_ns.saturating_sub(go_ns)
        } else {
            plan.warmup_ns
        },
        length_ns: if began {
            recorded
                .window_end_ns
                .saturating_sub(recorded.window_start_ns)
        } else {
            0
        },
        warmup_ns: plan.warmup_ns,
        nominal_ns: plan.duration_ns(),
    }
}

/// The go names an instant to come. One that has passed cuts the warm-up short, or the window itself.
fn late_go(late_ns: u64, plan: &Plan) -> Option<Message> {
    (late_ns > 0).then(|| {
        let cut = if late_ns > plan.warmup_ns {
            "a part of the window had passed"
        } else {
            "the warm-up was shorter by that"
        };
        Message::new(
            "late_go",
            format!(
                "the load heard the go {} after its instant: {cut}",
                human_ns(late_ns as f64)
            ),
        )
        .with_cure("the machine, or the way to the agent, was busy: repeat, with a longer --warmup")
    })
}

fn warnings(outcomes: &[LoadOutcome], recorded: &Recorded) -> Vec<Message> {
    let mut warnings = Vec::new();
    let spare = outcomes
        .iter()
        .map(|o| o.spare_sources_used)
        .max()
        .unwrap_or(0);
    if spare > 0 {
        warnings.push(Message::new(
            "spare_sources_used",
            format!(
                "local ports ran out, and {spare} further loopback addresses were used as sources"
            ),
        ));
    }
    if recorded.errors_before_window > 0 {
        warnings.push(Message::new(
            "errors_in_warmup",
            format!(
                "{} operations or connections failed before the window; they are not in its counts",
                recorded.errors_before_window
            ),
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CommonRequest, PlanRequest};

    #[test]
    fn a_late_go_is_told_with_what_it_cut() {
        let plan = Plan::new(PlanRequest {
            common: CommonRequest {
                warmup_ns: Some(1_000_000_000),
                ..CommonRequest::default()
            },
            ..PlanRequest::default()
        })
        .unwrap();
        assert_eq!(late_go(0, &plan), None);
        let warned = |late_ns| late_go(late_ns, &plan).expect("a warning").text;
        assert!(warned(1_000_000).contains("the warm-up was shorter"));
        assert!(warned(1_000_000_001).contains("of the window"));
    }

    #[test]
    fn a_window_that_never_began_has_no_length() {
        let plan = Plan::new(PlanRequest::default()).unwrap();
        let window = window(&Recorded::new(), 5, &plan);
        assert_eq!(
            (window.start_offset_ns, window.length_ns),
            (plan.warmup_ns, 0)
        );
    }
}

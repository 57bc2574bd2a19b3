//! The testee's agent: listens, serves, and samples itself in the load's window.

use super::samples::{AHEAD_NS, Edges, NEVER_BEGAN};
use super::{ABORT_MARGIN_NS, Agent, Ended, Note, ROUND_DEADLINE_NS, limits, side};
use crate::engines::Chosen;
use crate::error::Failure;
use crate::host::Traffic;
use crate::listening::{self, ListenerTask, Listening};
use crate::plan::{Plan, TesteePlan, testee_limit};
use crate::protocol::{AgentResult, FromAgent, Task, ToAgent};
use crate::serve_counts::ServeCounts;
use crate::workers::{WorkerEnd, cpus_for};
use engine::address::Address;
use engine::clock::now_ns;
use engine::control::Order;
use engine::driver::{AcceptStrategy, ServeLimits, ServeOutcome};
use engine::endpoint::Endpoint;
use engine::tcp_info::TcpInfoSummary;
use report::document::{Measurement, Message, Side, Totals, Unknown, Window};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

const READY_DEADLINE: Duration = Duration::from_secs(10);
/// The load has closed its connections already.
const DRAIN_NS: u64 = 200_000_000;

pub(super) fn run<W: Write>(agent: &mut Agent<W>, task: &Task) -> Result<(), Ended> {
    let plan = &task.plan;
    let Some(testee) = plan.testee() else {
        return Err(Failure::usage("a testee agent was given a plan with a foreign target").into());
    };
    let needs = task.agent.needs_of_side(plan);
    let engine =
        (testee.engine.choose_as(task.engine.as_deref(), &needs)).map_err(Failure::machine)?;
    limits::check_descriptors(plan, &task.agent, testee.threads)?;
    limits::check_congestion(plan)?;
    let listen = endpoint(task, testee)?;
    let (cpus, notes) = cpus_for(&task.cpus, testee.threads)?;
    let notes = notes
        .into_iter()
        .map(|note| Message::new("placement", note));
    let warnings = engine
        .passed_over
        .clone()
        .into_iter()
        .chain(notes)
        .collect();
    let sender = agent.sender.clone();
    let report = move |end: WorkerEnd<ServeOutcome>| {
        // The agent outlives its workers, or is exiting.
        let _ = sender.send(Note::Testee(Box::new(end)));
    };
    let listening =
        listener(task, testee, listen, &engine, cpus).open(&agent.control, &report, &mut 0)?;
    // From here on every way out ends the workers before the socket's path goes.
    let outcome = serve(agent, task, testee, &engine, &listening, warnings);
    if outcome.is_err() {
        agent.control.order_all(Order::Abort);
    }
    outcome
}

/// Where it listens: the first of several finds the port that the others share.
fn endpoint(task: &Task, testee: &TesteePlan) -> Result<Endpoint, Failure> {
    if task.agent.shares_host() && !listening::reuseport_balances() {
        return Err(Failure::machine(
            "--testee-agents: on this system connections are not spread over processes that listen on one \
             port (Linux and FreeBSD do); use --testee-threads",
        ));
    }
    match (task.endpoints.first(), testee.host(&task.agent.host.id)) {
        (Some(text), _) => text.parse().map_err(Failure::usage),
        (None, Some(host)) => Ok(host.listen.clone()),
        (None, None) => Err(Failure::usage(
            "a testee agent was given a plan without its host",
        )),
    }
}

fn listener(
    task: &Task,
    testee: &TesteePlan,
    endpoint: Endpoint,
    engine: &Chosen,
    cpus: Vec<Option<u32>>,
) -> ListenerTask {
    let (plan, agent) = (&task.plan, &task.agent);
    ListenerTask {
        name: "testee".to_owned(),
        endpoint,
        shares_port: agent.shares_host(),
        backlog: plan.connections.clamp(1024, 65_535),
        role: plan.shape.testee.clone(),
        engine: engine.clone(),
        engine_options: testee.engine.options.clone(),
        cpus,
        accept: None,
        socket: plan.socket.clone(),
        limits: ServeLimits {
            connections: testee_limit(plan),
            idle_timeout_ns: None,
            one_off: false,
            drain_ns: DRAIN_NS,
        },
        expected_connections: Some(agent.share.of_testee_worker(testee.threads)),
        message_bytes: plan.shape.message_bytes,
    }
}

fn serve<W: Write>(
    agent: &mut Agent<W>,
    task: &Task,
    testee: &TesteePlan,
    engine: &Chosen,
    listening: &Listening,
    warnings: Vec<Message>,
) -> Result<(), Ended> {
    let plan = &task.plan;
    agent.wait_ready(testee.threads as usize, READY_DEADLINE, &testee.engine)?;
    let listen = vec![listening.endpoint.to_string()];
    agent.prepared(task, listen, traffic(&listening.endpoint), engine, warnings)?;
    let Some(go_ns) = agent.wait_for_go()? else {
        agent.control.order_all(Order::Abort);
        return Ok(());
    };
    let mut round = Round {
        edges: Edges::new(listening.clocks.clone(), agent.rss_before_bytes),
        at_start: ServeCounts::default(),
        at_end: ServeCounts::default(),
        ends: Vec::new(),
    };
    round.conduct(agent, plan, go_ns, listening)?;
    round.stop(agent, testee.threads as usize)?;
    let mut result = round.result(task, testee, engine, listening, go_ns);
    agent.end_settings(&mut result);
    agent.say(&FromAgent::Result(Box::new(result)))
}

fn traffic(endpoint: &Endpoint) -> Traffic {
    match endpoint {
        Endpoint::Unix(_) => Traffic::UnixSocket,
        // The endpoint of a bound socket holds an address and no name.
        Endpoint::Tcp { host, .. } => host
            .parse::<Address>()
            .map_or(Traffic::UnixSocket, |address| Traffic::At(address.ip())),
    }
}

struct Round {
    edges: Edges,
    at_start: ServeCounts,
    at_end: ServeCounts,
    ends: Vec<WorkerEnd<ServeOutcome>>,
}

impl Round {
    /// Samples at the edges of the load's window, until the load is over.
    fn conduct<W: Write>(
        &mut self,
        agent: &mut Agent<W>,
        plan: &Plan,
        go_ns: u64,
        listening: &Listening,
    ) -> Result<(), Ended> {
        let start_ns = go_ns + plan.warmup_ns;
        let end_ns = plan.duration_ns().map_or(u64::MAX, |ns| start_ns + ns);
        let deadline_ns = go_ns + ROUND_DEADLINE_NS;
        if start_ns == go_ns {
            // Nothing is sent before the go, and all that is sent belongs to the window.
            self.at_start = ServeCounts::of(&listening.published);
            self.edges.begin_before(start_ns);
        }
        loop {
            let until_ns = match (self.edges.has_begun(), self.edges.has_ended()) {
                (false, _) if !self.edges.is_prepared() => start_ns - AHEAD_NS,
                (false, _) => start_ns,
                (true, false) => end_ns.min(deadline_ns),
                (true, true) => deadline_ns,
            };
            match agent.next(until_ns)? {
                None if !self.edges.is_prepared() && now_ns() < start_ns => self.edges.prepare(),
                None if !self.edges.has_begun() => {
                    self.edges.begin();
                    self.at_start = ServeCounts::of(&listening.published);
                }
                None if !self.edges.has_ended() => self.end_window(listening),
                None => return Err(super::silent("finish")),
                Some(Note::Said(ToAgent::Finish)) => {
                    self.end_window(listening);
                    return Ok(());
                }
                // The load ends early: so does the window of both.
                Some(Note::Said(ToAgent::Stop)) => self.end_window(listening),
                Some(Note::Testee(end)) => {
                    return Err(super::early_end(end.index, end.result.err()));
                }
                Some(_) => {}
            }
        }
    }

    fn end_window(&mut self, listening: &Listening) {
        if self.edges.has_begun() && !self.edges.has_ended() {
            self.at_end = ServeCounts::of(&listening.published);
            self.edges.end();
        }
    }

    fn stop<W: Write>(&mut self, agent: &mut Agent<W>, workers: usize) -> Result<(), Ended> {
        let mut orders = [
            (Order::Stop, DRAIN_NS + ABORT_MARGIN_NS),
            (Order::Abort, ABORT_MARGIN_NS),
        ]
        .into_iter();
        let mut until_ns = 0;
        while self.ends.len() < workers {
            if now_ns() >= until_ns {
                let Some((order, patience_ns)) = orders.next() else {
                    return Err(Failure::machine(
                        "a worker of the testee did not return after it was told to; the machine is overloaded, \
                         or this is a bug in linerate",
                    )
                    .into());
                };
                agent.control.order_all(order);
                until_ns = now_ns() + patience_ns;
            }
            if let Some(Note::Testee(end)) = agent.next(until_ns)? {
                if let Err(failure) = &end.result {
                    return Err(Ended::Failed(failure.clone()));
                }
                self.ends.push(*end);
            }
        }
        Ok(())
    }

    fn result(
        mut self,
        task: &Task,
        testee: &TesteePlan,
        engine: &Chosen,
        listening: &Listening,
        go_ns: u64,
    ) -> AgentResult {
        let plan = &task.plan;
        self.ends.sort_by_key(|end| end.index);
        let accepted = listening
            .published
            .iter()
            .map(|worker| ServeCounts::of(std::slice::from_ref(worker)).accepted);
        let threads_ns = self.edges.threads_cpu_ns();
        let threads_ns = match side::has_thread_per_connection(engine) {
            true => vec![None; threads_ns.len()],
            false => threads_ns,
        };
        let busiest_thread_share = self.edges.busiest_share(&threads_ns);
        let workers = self
            .ends
            .iter()
            .zip(accepted)
            .zip(threads_ns)
            .map(|((end, accepted), cpu_ns)| side::worker(&end.pinned, accepted, cpu_ns))
            .collect();
        let outcomes: Vec<&ServeOutcome> = self
            .ends
            .iter()
            .filter_map(|end| end.result.as_ref().ok())
            .collect();
        let granted = outcomes.iter().find_map(|outcome| outcome.granted.as_ref());
        let infos: Vec<&TcpInfoSummary> = outcomes
            .iter()
            .filter_map(|o| o.tcp_info.as_ref())
            .collect();
        let mut unknown = Vec::new();
        let tcp_info = side::tcp_info(&infos, granted)
            .map_err(|why| unknown.push(Unknown::new("tcp_info", why)))
            .ok();
        let features = outcomes.iter().flat_map(|o| o.features.clone());
        let options = outcomes.iter().flat_map(|o| o.options_granted.clone());
        let side = Side {
            agent: task.agent.name.clone(),
            role: task.agent.role,
            host: String::new(),
            pid: Some(std::process::id()),
            window: self.window(plan, go_ns),
            engine: side::engine_use(
                &testee.engine,
                engine,
                features.collect(),
                options.collect(),
            ),
            threads: testee.threads,
            thread_per_connection: side::has_thread_per_connection(engine),
            busiest_thread_share,
            workers,
            accept_strategy: Some(document_strategy(listening.strategy)),
            process: self.edges.cost(self.system_calls(&outcomes)),
            engine_counters: self.engine_counters(&outcomes),
            measured: self.measured(),
            tcp_info,
            socket_options: side::socket_options(plan, granted),
            event_record: None,
            unknown,
        };
        AgentResult {
            side,
            activity: self.edges.activity(),
            ended_early: false,
            drifts: Vec::new(),
            not_put_back: None,
            warnings: self.edges.other_cpus().into_iter().collect(),
        }
    }

    fn window(&self, plan: &Plan, go_ns: u64) -> Window {
        let (start_ns, end_ns) = self.edges.instants_ns().unwrap_or_default();
        Window {
            start_offset_ns: match start_ns {
                0 => plan.warmup_ns,
                start_ns => start_ns.saturating_sub(go_ns),
            },
            length_ns: end_ns - start_ns,
            warmup_ns: plan.warmup_ns,
            nominal_ns: plan.duration_ns(),
        }
    }

    fn measured(&self) -> Measurement {
        let (start, end) = (&self.at_start, &self.at_end);
        Measurement {
            totals: Totals {
                operations: 0,
                bytes_sent: end.bytes_sent.saturating_sub(start.bytes_sent),
                bytes_received: end.bytes_received.saturating_sub(start.bytes_received),
                // Connections that stay open were accepted before the window.
                connections_opened: end.accepted,
            },
            ..Measurement::default()
        }
    }

    /// System calls of the engine inside the window, or why they are not known.
    fn system_calls(&self, outcomes: &[&ServeOutcome]) -> Result<u64, String> {
        if !self.edges.has_begun() {
            return Err(NEVER_BEGAN.to_owned());
        }
        if outcomes.iter().any(|outcome| outcome.backend.is_none()) {
            return Err("this engine does not count them".to_owned());
        }
        Ok(self
            .at_end
            .system_calls
            .saturating_sub(self.at_start.system_calls))
    }

    /// What the engines counted over the life of the process, and what happened to connections in
    /// the window.
    fn engine_counters(&self, outcomes: &[&ServeOutcome]) -> BTreeMap<String, u64> {
        let backend = side::backend_sum(outcomes.iter().map(|outcome| &outcome.backend));
        let mut counters: BTreeMap<String, u64> = backend
            .map(|sum| side::engine_counters(&sum))
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (format!("{name}_in_lifetime"), value))
            .collect();
        let (start, end) = (&self.at_start, &self.at_end);
        let in_window = [
            (
                "connections_failed",
                end.failed.saturating_sub(start.failed),
            ),
            ("connections_reset", end.reset.saturating_sub(start.reset)),
            (
                "accept_backoffs_descriptors",
                end.accept_backoffs_descriptors()
                    .saturating_sub(start.accept_backoffs_descriptors()),
            ),
            (
                "peer_not_reading",
                end.peer_not_reading.saturating_sub(start.peer_not_reading),
            ),
            (
                "accept_backoffs",
                end.accept_backoffs.saturating_sub(start.accept_backoffs),
            ),
            (
                "over_limit",
                end.over_limit.saturating_sub(start.over_limit),
            ),
        ];
        counters.extend(in_window.map(|(name, value)| (name.to_owned(), value)));
        counters
    }
}

fn document_strategy(strategy: AcceptStrategy) -> report::document::AcceptStrategy {
    match strategy {
        AcceptStrategy::Reuseport => report::document::AcceptStrategy::Reuseport,
        AcceptStrategy::Shared => report::document::AcceptStrategy::SharedListener,
        AcceptStrategy::Handoff => report::document::AcceptStrategy::Handoff,
    }
}

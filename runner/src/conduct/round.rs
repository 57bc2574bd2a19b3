//! One round: fresh agents, from their hello to their bye. It returns facts; what becomes of them in
//! the document is [`super::record`]'s.

use super::clocks;
use super::hearing::{Event, Hearing};
use super::holding::Holding;
use super::joining::Joining;
use super::link::Launcher;
use super::losses::Losses;
use super::machines::Machines;
use super::observer::{Observer, Phase};
use super::placement::{Wishes, wishes};
use super::preparation::{Preparation, reached};
use super::profiles;
use crate::build_info::VERSION;
use crate::cancel::Cancel;
use crate::error::Failure;
use crate::event_record::EventRecordTask;
use crate::plan::{AgentPlan, Plan, TargetPlan, TesteePlan};
use crate::profile::ProfileTask;
use crate::protocol::{AgentHello, AgentResult, FromAgent, Task, ToAgent, check_versions};
use engine::clock::now_ns;
use engine::endpoint::Endpoint;
use engine::shape::Pace;
use report::document::{ClockOffset, LostAgent, Role};
use report::merge::Together;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HELLO_DEADLINE: Duration = Duration::from_secs(20);
/// A launcher may have to build up a connection first.
const HELLO_DEADLINE_VIA: Duration = Duration::from_secs(60);
const PREPARE_MARGIN: Duration = Duration::from_secs(30);
/// From deciding on the go to the go: every agent must have heard of it by then.
const GO_AHEAD_NS: u64 = 100_000_000;
const RESULT_DEADLINE: Duration = Duration::from_secs(30);
/// What the load's agents allow themselves beyond drain, twice, and some more.
const END_MARGIN: Duration = Duration::from_secs(30);
/// Longer than any round may take.
const COUNT_DEADLINE: Duration = Duration::from_secs(8 * 24 * 3600);

/// What the agents of a round brought home.
#[derive(Debug)]
pub(super) struct RoundOutcome {
    /// Seed of the gaps of its Poisson schedule, if it has one.
    pub poisson_seed: Option<u64>,
    /// The clocks of other hosts against ours, by their ids.
    pub clock_offsets: Vec<(String, ClockOffset)>,
    /// When they were told to go, Unix time.
    pub go_unix_ns: u64,
    /// Within what time the loads of several hosts went; `None` where there is one.
    pub start_skew_ns: Option<u64>,
    /// Those of each side, which know their host.
    pub load: Vec<AgentResult>,
    pub testee: Vec<AgentResult>,
    /// The user has cut it short.
    pub is_cut: bool,
    /// Agents that brought nothing home.
    pub lost: Vec<LostAgent>,
    /// Why the run ends with this round, if it does.
    pub failure: Option<Failure>,
}

/// A round in progress. Dropping it before its end aborts what is left of it.
pub(super) struct Round<'a> {
    plan: &'a Plan,
    number: u32,
    hearing: Hearing<'a>,
    losses: Losses,
    /// Removed after the agents have ended, if a killed testee could not. Dropped last.
    leftover: Option<Leftover>,
}

/// The path of a Unix socket that a testee of this host makes.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        // The testee removes it itself, unless it was killed.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl<'a> Round<'a> {
    /// Round `number`, in which nothing has happened yet.
    pub fn new(plan: &'a Plan, number: u32, cancel: &'a Cancel) -> Self {
        Self {
            plan,
            number,
            hearing: Hearing::new(plan, cancel),
            losses: Losses::default(),
            leftover: None,
        }
    }

    // ---- preparing -------------------------------------------------------------------------

    /// Starts the agents and prepares them: testees listen, loads have their connections. What is
    /// known is in `found`, also where it fails.
    pub fn prepare(
        &mut self,
        launcher: &dyn Launcher,
        found: &mut Preparation,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        observer.phase(Phase::Preparing);
        let agents = self.plan.agents();
        for agent in &agents {
            self.hearing.launch(launcher, agent)?;
        }
        let hellos = self.greet()?;
        let machines = Machines::of(&agents, &hellos);
        found.one_machine = machines.shared(&agents);
        let wishes = wishes(self.plan, &agents, &machines);
        found.placement_notes.clone_from(&wishes.notes);
        let profiles = profiles::decide(self.plan, &agents, &hellos)?;
        let orders = Orders { wishes, profiles };
        let plan = self.plan;
        found.targets = match &plan.target {
            TargetPlan::Foreign(endpoint) => vec![endpoint.to_string()],
            TargetPlan::Own(testee) => self.prepare_testees(testee, &orders, found, observer)?,
        };
        self.prepare_loads(&orders, found, observer)
    }

    /// Prepares the load agents. A name may have several addresses: the first agent finds those that
    /// all of them use.
    fn prepare_loads(
        &mut self,
        orders: &Orders,
        found: &mut Preparation,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let [first, others @ ..] = self.stages(Role::Load, orders);
        let targets = found.targets.clone();
        self.order(&first, |_| targets.clone(), None, orders);
        self.await_prepared(&first, found, observer)?;
        let (addresses, engine) = found.last();
        let addresses = match addresses.is_empty() {
            true => targets,
            false => addresses,
        };
        for stage in others {
            self.order(&stage, |_| addresses.clone(), engine.as_deref(), orders);
            self.await_prepared(&stage, found, observer)?;
        }
        Ok(())
    }

    /// The agents of a side in the order in which they are prepared, those of a stage together: the first, which finds
    /// what all take over; who applies the settings of a kernel, before others on it listen or connect; the first of
    /// each other host; and the rest.
    fn stages(&self, role: Role, orders: &Orders) -> [Vec<usize>; 4] {
        let mut stages: [Vec<usize>; 4] = Default::default();
        for agent in self.hearing.of(role) {
            let plan = self.hearing.agent(agent);
            let applies = orders.profiles[agent]
                .as_ref()
                .is_some_and(|task| task.settings);
            let stage = match (plan.number, applies, plan.leads_host()) {
                (0, ..) => 0,
                (_, true, _) => 1,
                (_, false, true) => 2,
                (_, false, false) => 3,
            };
            stages[stage].push(agent);
        }
        stages
    }

    fn greet(&mut self) -> Result<Vec<AgentHello>, Failure> {
        let hello = ToAgent::Hello {
            protocol: crate::protocol::PROTOCOL,
            version: VERSION.to_owned(),
        };
        let agents = self.hearing.all();
        self.hearing.say_to(&agents, &hello);
        let via = !self.hearing.agents().all(AgentPlan::is_here);
        let deadline = if via {
            HELLO_DEADLINE_VIA
        } else {
            HELLO_DEADLINE
        };
        let mut hellos = Vec::new();
        for agent in agents {
            let hello = self
                .hearing
                .expect(agent, "hello", deadline, |said| match said {
                    FromAgent::Hello(hello) => Ok(*hello),
                    other => Err(other),
                })?;
            let whose = self.hearing.agent(agent).called();
            check_versions(VERSION, hello.protocol, &hello.version, &whose)?;
            hellos.push(hello);
        }
        self.hearing.set_greeted();
        Ok(hellos)
    }

    /// Prepares the own testee and returns where the load reaches it, on each of its hosts. The first agent of a host
    /// finds the port, which its others share.
    fn prepare_testees(
        &mut self,
        testee: &TesteePlan,
        orders: &Orders,
        found: &mut Preparation,
        observer: &mut dyn Observer,
    ) -> Result<Vec<String>, Failure> {
        let [first, others @ ..] = self.stages(Role::Testee, orders);
        self.order(&first, |_| Vec::new(), None, orders);
        self.await_prepared(&first, found, observer)?;
        if let (true, Endpoint::Unix(path)) = (testee.is_here(), &testee.hosts[0].listen) {
            self.leftover = Some(Leftover(path.clone()));
        }
        let (_, engine) = found.last();
        for stage in others {
            self.order(
                &stage,
                |agent| found.listen(&agent.host.id),
                engine.as_deref(),
                orders,
            );
            self.await_prepared(&stage, found, observer)?;
        }
        let reached = testee.hosts.iter().map(|host| {
            let listen = found.listen(&host.host.id).pop().unwrap_or_default();
            reached(host, listen)
        });
        Ok(reached.collect())
    }

    /// Tells agents what to do.
    fn order(
        &mut self,
        agents: &[usize],
        endpoints: impl Fn(&AgentPlan) -> Vec<String>,
        engine: Option<&str>,
        orders: &Orders,
    ) {
        for &number in agents {
            let agent = self.hearing.agent(number).clone();
            let task = Task {
                cpus: orders.wishes.of_agents[number].clone(),
                // Once per host and run is enough.
                describe_host: self.number == 1 && agent.leads_host(),
                event_record: self.event_record_of(&agent),
                endpoints: endpoints(&agent),
                agent,
                plan: self.plan.clone(),
                engine: engine.map(str::to_owned),
                poisson_seed: self.plan.poisson_seed(self.number),
                profile: orders.profiles[number].clone(),
            };
            self.hearing
                .say_to(&[number], &ToAgent::Plan(Box::new(task)));
        }
    }

    /// Where an agent records every event, if it is to.
    fn event_record_of(&self, agent: &AgentPlan) -> Option<EventRecordTask> {
        let file = self.plan.event_file.clone();
        let file = file.filter(|_| agent.role == Role::Load);
        file.map(|file| EventRecordTask {
            file,
            round: self.number,
        })
    }

    /// Hears of each that it is prepared.
    fn await_prepared(
        &mut self,
        agents: &[usize],
        found: &mut Preparation,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let deadline = Duration::from_nanos(self.plan.connect_timeout_ns)
            + Duration::from_millis(u64::from(self.plan.connections))
            + PREPARE_MARGIN;
        for &agent in agents {
            let mut prepared =
                self.hearing
                    .expect(agent, "prepared", deadline, |said| match said {
                        FromAgent::Prepared(prepared) => Ok(*prepared),
                        other => Err(other),
                    })?;
            if let Some(host) = &mut prepared.host {
                let from = self.hearing.joined_from(agent);
                host.joined_from = from.map(|address| address.to_string());
            }
            let agent = self.hearing.agent(agent).clone();
            observer.prepared(&agent.name, &prepared.engine, &prepared.engine_reason);
            found.agents.push((agent, prepared));
        }
        Ok(())
    }

    // ---- running ---------------------------------------------------------------------------

    /// Lets the prepared agents go at one instant, and brings home what came of it. Of agents that are lost on the way
    /// nothing comes, and the others end.
    ///
    /// # Errors
    /// Why there is nothing to bring home: no load agent is left, or the user wants out.
    pub fn measure(&mut self, observer: &mut dyn Observer) -> Result<RoundOutcome, Failure> {
        let offsets = clocks::compare(&mut self.hearing)?;
        let go_unix_ns = self.start(&offsets, observer);
        self.losses.begin(self.hearing.all().len());
        let is_cut = self.watch(observer)?;
        let agents: Vec<AgentPlan> = self.hearing.agents().cloned().collect();
        let results = self.collect()?;
        let is_poisson = matches!(self.plan.shape.pace, Pace::Poisson(_));
        let mut outcome = RoundOutcome {
            poisson_seed: is_poisson.then(|| self.plan.poisson_seed(self.number)),
            go_unix_ns,
            clock_offsets: clocks::of_hosts(&agents, &offsets),
            start_skew_ns: clocks::start_skew_ns(&agents, &offsets),
            load: Vec::new(),
            testee: Vec::new(),
            is_cut,
            lost: self.losses.told(&agents),
            failure: self.losses.failure(&agents),
        };
        for (role, result) in results {
            match role {
                Role::Load => outcome.load.push(result),
                Role::Testee => outcome.testee.push(result),
            }
        }
        match outcome.failure {
            Some(failure) if outcome.load.is_empty() => Err(failure),
            failure => Ok(RoundOutcome { failure, ..outcome }),
        }
    }

    /// Tells all the instant to go, which is returned in Unix time.
    fn start(&mut self, offsets: &[ClockOffset], observer: &mut dyn Observer) -> u64 {
        let slowest_ns = offsets.iter().map(|offset| offset.error_ns).max();
        let ahead_ns = GO_AHEAD_NS + 4 * slowest_ns.unwrap_or(0);
        let (at_ns, at_unix_ns) = (now_ns() + ahead_ns, now_unix_ns() + ahead_ns);
        for (agent, offset) in offsets.iter().enumerate() {
            let go = ToAgent::Go {
                at_ns: at_ns.wrapping_add_signed(offset.offset_ns),
            };
            self.hearing.say_to(&[agent], &go);
        }
        observer.phase(if self.plan.warmup_ns > 0 {
            Phase::WarmingUp
        } else {
            Phase::Measuring
        });
        at_unix_ns
    }

    /// Relays intervals until the workers of every load agent have returned. Whether the user has cut it short, and not
    /// ended what was to be held until then.
    fn watch(&mut self, observer: &mut dyn Observer) -> Result<bool, Failure> {
        let started = Instant::now();
        let warm = started + Duration::from_nanos(self.plan.warmup_ns + GO_AHEAD_NS);
        let mut deadline = started
            + self.plan.duration_ns().map_or(COUNT_DEADLINE, |ns| {
                Duration::from_nanos(ns + self.plan.warmup_ns + self.plan.drain_ns + GO_AHEAD_NS)
                    + END_MARGIN
            });
        // A load tells of each interval, and of what it holds; it is silent while it drains and closes.
        let plan = self.plan;
        let silence =
            Duration::from_nanos(plan.interval_ns + plan.drain_ns + plan.closing_ns()) + END_MARGIN;
        let mut heard: Vec<Instant> = self.hearing.all().iter().map(|_| warm).collect();
        let mut running = self.hearing.of(Role::Load);
        let first_load = running.first().copied().unwrap_or(0);
        let mut together = Together::new(running.len(), self.plan.interval_ns);
        let mut holding = Holding::new(self.plan, running.len());
        let mut joining = Joining::new(running.len());
        let (mut warming, mut stopping) = (self.plan.warmup_ns > 0, false);
        let mut is_cut = false;
        while !running.is_empty() {
            let now = Instant::now();
            if warming && !stopping && now >= warm {
                warming = false;
                observer.phase(Phase::Measuring);
            }
            if self.hearing.is_cancelled() && !stopping {
                stopping = true;
                is_cut = !holding.is_until_told();
                observer.phase(match is_cut {
                    true => Phase::Stopping,
                    false => Phase::Closing,
                });
                deadline = self.stop(now);
            }
            if !stopping && holding.is_over(now) {
                stopping = true;
                holding.end();
                observer.phase(Phase::Closing);
                deadline = self.stop(now);
            }
            let event = self.hearing.next_event(deadline, true)?;
            if let Some(Event::Said(agent, _)) = &event {
                heard[*agent] = Instant::now();
            }
            let lost = match event {
                Some(Event::Said(agent, FromAgent::Over)) if running.contains(&agent) => {
                    running.retain(|&other| other != agent);
                    together.end(agent - first_load);
                    holding.leave(agent - first_load);
                    if !stopping {
                        self.settle(agent - first_load, &mut holding, &mut together, observer);
                    }
                    None
                }
                Some(Event::Said(agent, FromAgent::Settled)) if running.contains(&agent) => {
                    // Who is told to end settles nothing any more.
                    if !stopping {
                        together.end(agent - first_load);
                        self.settle(agent - first_load, &mut holding, &mut together, observer);
                    }
                    None
                }
                Some(Event::Said(agent, FromAgent::Held { standing, lost }))
                    if running.contains(&agent) =>
                {
                    let now = Instant::now();
                    let told = holding.add(agent - first_load, (standing, lost), now);
                    if let Some((standing, lost)) = told {
                        observer.held(standing, lost);
                    }
                    None
                }
                Some(Event::Said(agent, FromAgent::Joining(point))) if running.contains(&agent) => {
                    if let Some(all) = joining.add(agent - first_load, point) {
                        observer.joining(&all);
                    }
                    None
                }
                Some(Event::Said(agent, FromAgent::Interval(interval))) => {
                    let name = &self.hearing.agent(agent).name;
                    observer.interval(self.number, name, &interval);
                    self.losses.note(agent, &interval);
                    together.add(agent.wrapping_sub(first_load), interval);
                    while let Some(part) = together.next_part() {
                        observer.window_part(self.number, &part);
                    }
                    None
                }
                Some(Event::Said(agent, said)) => {
                    return Err(self.hearing.confused(agent, "over", &said));
                }
                Some(Event::Lost(agent, failure)) => Some((agent, failure)),
                None => {
                    let now = Instant::now();
                    let late = |agent: &&usize| now >= deadline || now >= heard[**agent] + silence;
                    let late = running.iter().find(late).copied();
                    late.map(|agent| (agent, self.hearing.silent(agent, "over")))
                }
            };
            if let Some((agent, failure)) = lost {
                self.lose(agent, failure);
                if running.contains(&agent) {
                    running.retain(|&other| other != agent);
                    together.end(agent - first_load);
                    holding.leave(agent - first_load);
                }
                // It would be another load than the one that was asked for.
                if !stopping {
                    stopping = true;
                    observer.phase(Phase::Stopping);
                    deadline = self.stop(Instant::now());
                }
            }
        }
        if let Some(part) = together.take_rest() {
            observer.window_part(self.number, &part);
        }
        Ok(is_cut)
    }

    /// Ends the window of all, or the hold; returns until when they must have closed everything.
    fn stop(&mut self, now: Instant) -> Instant {
        let all = self.hearing.all();
        self.hearing.say_to(&all, &ToAgent::Stop);
        now + Duration::from_nanos(self.plan.closing_ns() + self.plan.drain_ns) + END_MARGIN
    }

    /// All connections of a load are established or have failed. Where that holds of all loads, the testees' window ends
    /// with it.
    fn settle(
        &mut self,
        load: usize,
        holding: &mut Holding,
        together: &mut Together,
        observer: &mut dyn Observer,
    ) {
        if holding.settle(load, Instant::now()) {
            if let Some(part) = together.take_rest() {
                observer.window_part(self.number, &part);
            }
            let testees = self.hearing.of(Role::Testee);
            self.hearing.say_to(&testees, &ToAgent::Stop);
            observer.phase(Phase::Holding);
        }
    }

    /// Nothing more will come of an agent.
    fn lose(&mut self, agent: usize, failure: Failure) {
        self.hearing.give_up(agent);
        self.losses.add(agent, failure);
    }

    /// Asks for the results, and for the agents' end.
    fn collect(&mut self) -> Result<Vec<(Role, AgentResult)>, Failure> {
        let agents = self.hearing.all();
        self.hearing.say_to(&agents, &ToAgent::Finish);
        let mut results: Vec<Option<AgentResult>> = agents.iter().map(|_| None).collect();
        let deadline = Instant::now() + RESULT_DEADLINE;
        while let Some(late) = self.hearing.first_that_stays() {
            match self.hearing.next_event(deadline, true)? {
                Some(Event::Said(agent, FromAgent::Result(mut result))) => {
                    result
                        .side
                        .host
                        .clone_from(&self.hearing.agent(agent).host.id);
                    results[agent] = Some(*result);
                }
                Some(Event::Said(agent, FromAgent::Bye)) if results[agent].is_some() => {
                    self.hearing.set_gone(agent);
                }
                // What the end of the round has cut off.
                Some(Event::Said(
                    _,
                    FromAgent::Interval(_)
                    | FromAgent::Held { .. }
                    | FromAgent::Joining(_)
                    | FromAgent::Settled
                    | FromAgent::Over,
                )) => {}
                Some(Event::Said(agent, said)) => {
                    return Err(self.hearing.confused(agent, "result", &said));
                }
                Some(Event::Lost(agent, failure)) => self.lose(agent, failure),
                None if Instant::now() >= deadline => {
                    let failure = self.hearing.silent(late, "result");
                    self.lose(late, failure);
                }
                None => {}
            }
        }
        let roles: Vec<Role> = self.hearing.agents().map(|agent| agent.role).collect();
        self.hearing.see_off();
        // Whoever has said what it measured may be lost afterwards: nothing of it is.
        self.losses.retain(|agent| results[agent].is_none());
        let results = roles.into_iter().zip(results);
        Ok(results
            .filter_map(|(role, result)| Some((role, result?)))
            .collect())
    }
}

/// The time of day, Unix time.
pub(super) fn now_unix_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |passed| passed.as_nanos() as u64)
}

/// What the agents are told beside the plan.
struct Orders {
    wishes: Wishes,
    /// By agent.
    profiles: Vec<Option<ProfileTask>>,
}

//! One round: fresh agents, from their hello to their bye. It returns facts; what becomes of them in
//! the document is [`super::record`]'s.

use super::hearing::Hearing;
use super::holding::Holding;
use super::joining::Joining;
use super::link::Launcher;
use super::observer::{Observer, Phase};
use super::placement::{Wishes, wishes};
use super::profiles;
use crate::boot::boot_id;
use crate::build_info::VERSION;
use crate::cancel::Cancel;
use crate::error::Failure;
use crate::event_record::EventRecordTask;
use crate::plan::{AgentPlan, Plan, TargetPlan};
use crate::profile::ProfileTask;
use crate::protocol::{
    AgentHello, AgentResult, FromAgent, Prepared, Task, ToAgent, check_versions,
};
use engine::address::Address;
use engine::clock::now_ns;
use engine::endpoint::Endpoint;
use engine::shape::Pace;
use report::document::{ClockOffset, Role};
use report::merge::Together;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const HELLO_DEADLINE: Duration = Duration::from_secs(20);
/// A launcher may have to build up a connection first.
const HELLO_DEADLINE_VIA: Duration = Duration::from_secs(60);
const PREPARE_MARGIN: Duration = Duration::from_secs(30);
const PONG_DEADLINE: Duration = Duration::from_secs(10);
const PINGS: u32 = 16;
/// From deciding on the go to the go: every agent must have heard of it by then.
const GO_AHEAD_NS: u64 = 100_000_000;
const RESULT_DEADLINE: Duration = Duration::from_secs(30);
/// What the load's agents allow themselves beyond drain, twice, and some more.
const END_MARGIN: Duration = Duration::from_secs(30);
/// Longer than any round may take.
const COUNT_DEADLINE: Duration = Duration::from_secs(8 * 24 * 3600);

/// What preparing a round brought, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Preparation {
    /// Where the sides run.
    pub machines: Option<Machines>,
    /// What a reader must know of where the threads run.
    pub placement_notes: Vec<String>,
    /// The agents that are prepared, in order.
    pub agents: Vec<(AgentPlan, Prepared)>,
    /// The endpoint that the load really connects to.
    pub target: Option<String>,
}

impl Preparation {
    /// Where the agent that was prepared last listens or connects, and what engine it took.
    fn last(&self) -> (Option<String>, Option<String>) {
        let last = self.agents.last().map(|(_, prepared)| prepared);
        (
            last.and_then(|prepared| prepared.endpoint.clone()),
            last.map(|prepared| prepared.engine.clone()),
        )
    }
}

/// Where the sides run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machines {
    /// All agents are plain processes of this host.
    pub here: bool,
    /// The testee's host is the load's, maybe in another namespace.
    pub same: bool,
}

/// What the agents of a round brought home.
#[derive(Debug)]
pub(super) struct RoundOutcome {
    /// Seed of the gaps of its Poisson schedule, if it has one.
    pub poisson_seed: Option<u64>,
    /// The testee's clock against ours, where it is another host's.
    pub clock_offset: Option<ClockOffset>,
    pub load: Vec<AgentResult>,
    pub testee: Vec<AgentResult>,
    /// The user has cut it short.
    pub is_cut: bool,
}

/// A round in progress. Dropping it before its end aborts what is left of it.
pub(super) struct Round<'a> {
    plan: &'a Plan,
    number: u32,
    hearing: Hearing<'a>,
    machines: Machines,
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
            machines: Machines {
                here: true,
                same: true,
            },
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
        self.machines = machines(&agents, &hellos);
        found.machines = Some(self.machines);
        let wishes = wishes(self.plan, self.machines.same);
        found.placement_notes.clone_from(&wishes.notes);
        let profiles = profiles::decide(self.plan, &agents, &hellos)?;
        let orders = Orders { wishes, profiles };
        let target = match &self.plan.target {
            TargetPlan::Foreign(endpoint) => endpoint.to_string(),
            TargetPlan::Own(_) => self.prepare_testees(&orders, found, observer)?,
        };
        found.target = Some(target.clone());
        self.prepare_loads(&target, &orders, found, observer)
    }

    /// Prepares the load agents. A name may have several addresses: the first agent finds the one that
    /// all of them use.
    fn prepare_loads(
        &mut self,
        target: &str,
        orders: &Orders,
        found: &mut Preparation,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let loads = self.hearing.of(Role::Load);
        let (first, others) = loads.split_at(1);
        self.order(first, Some(target), None, orders);
        self.await_prepared(first, found, observer)?;
        let (address, engine) = found.last();
        let address = address.as_deref().or(Some(target));
        self.order(others, address, engine.as_deref(), orders);
        self.await_prepared(others, found, observer)
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
            let whose = format!("the {} agent", self.hearing.agent(agent).name);
            check_versions(VERSION, hello.protocol, &hello.version, &whose)?;
            hellos.push(hello);
        }
        self.hearing.set_greeted();
        Ok(hellos)
    }

    /// Prepares the own testee and returns where the load reaches it. The first agent finds the port,
    /// which the others share.
    fn prepare_testees(
        &mut self,
        orders: &Orders,
        found: &mut Preparation,
        observer: &mut dyn Observer,
    ) -> Result<String, Failure> {
        let testees = self.hearing.of(Role::Testee);
        let (first, others) = testees.split_at(1);
        self.order(first, None, None, orders);
        self.await_prepared(first, found, observer)?;
        let (listen, engine) = found.last();
        let listen = listen.unwrap_or_default();
        let asked = self.plan.testee().map(|testee| &testee.listen);
        if let (true, Some(Endpoint::Unix(path))) = (self.machines.here, asked) {
            self.leftover = Some(Leftover(path.clone()));
        }
        self.order(others, Some(&listen), engine.as_deref(), orders);
        self.await_prepared(others, found, observer)?;
        // A testee that was given a name, or all addresses, is reached as the user said.
        Ok(match (asked, listen.parse()) {
            (Some(Endpoint::Tcp { host, .. }), Ok(Endpoint::Tcp { port, .. })) => Endpoint::Tcp {
                host: self.reachable(host),
                port,
            }
            .to_string(),
            _ => listen,
        })
    }

    /// All addresses are no address to connect to: the host that the user named, or loopback. Nor is a link-local one
    /// without the zone that it has on this host.
    fn reachable(&self, host: &str) -> String {
        let named = self.plan.request.common.testee_host.as_deref();
        let named = named.map(|host| host.trim_matches(['[', ']']));
        let link_local = host.parse().is_ok_and(|host: Address| host.is_link_local());
        match host {
            host if link_local => named.unwrap_or(host).to_owned(),
            "0.0.0.0" => named.unwrap_or("127.0.0.1").to_owned(),
            "::" => named.unwrap_or("::1").to_owned(),
            host => host.to_owned(),
        }
    }

    /// Tells agents what to do.
    fn order(
        &mut self,
        agents: &[usize],
        endpoint: Option<&str>,
        engine: Option<&str>,
        orders: &Orders,
    ) {
        for &number in agents {
            let agent = self.hearing.agent(number).clone();
            let task = Task {
                cpus: orders.wishes.of(self.plan, &agent),
                // Once per host and run is enough.
                describe_host: self.number == 1 && agent.number == 0,
                event_record: self.event_record_of(&agent),
                agent,
                plan: self.plan.clone(),
                endpoint: endpoint.map(str::to_owned),
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
            let prepared = self
                .hearing
                .expect(agent, "prepared", deadline, |said| match said {
                    FromAgent::Prepared(prepared) => Ok(*prepared),
                    other => Err(other),
                })?;
            let agent = self.hearing.agent(agent).clone();
            observer.prepared(&agent.name, &prepared.engine, &prepared.engine_reason);
            found.agents.push((agent, prepared));
        }
        Ok(())
    }

    // ---- running ---------------------------------------------------------------------------

    /// Lets the prepared agents go at one instant, and brings home what came of it.
    pub fn measure(&mut self, observer: &mut dyn Observer) -> Result<RoundOutcome, Failure> {
        let offsets = self.compare_clocks()?;
        let of_testee = offsets.first().copied();
        self.start(&offsets, observer);
        let is_cut = self.watch(observer)?;
        let results = self.collect()?;
        let is_poisson = matches!(self.plan.shape.pace, Pace::Poisson(_));
        let mut outcome = RoundOutcome {
            poisson_seed: is_poisson.then(|| self.plan.poisson_seed(self.number)),
            clock_offset: of_testee.filter(|_| !self.machines.here),
            load: Vec::new(),
            testee: Vec::new(),
            is_cut,
        };
        for (role, result) in results {
            match role {
                Role::Load => outcome.load.push(result),
                Role::Testee => outcome.testee.push(result),
            }
        }
        Ok(outcome)
    }

    /// Every agent's clock against ours, from the ping with the shortest round trip.
    fn compare_clocks(&mut self) -> Result<Vec<ClockOffset>, Failure> {
        let mut offsets = Vec::new();
        for agent in self.hearing.all() {
            let mut best: Option<(u64, i64)> = None;
            for number in 0..PINGS {
                let sent_ns = now_ns();
                self.hearing.say_to(&[agent], &ToAgent::Ping { number });
                let at_ns =
                    self.hearing
                        .expect(agent, "pong", PONG_DEADLINE, |said| match said {
                            FromAgent::Pong { number: n, at_ns } if n == number => Ok(at_ns),
                            other => Err(other),
                        })?;
                let round_trip_ns = now_ns() - sent_ns;
                let middle_ns = sent_ns + round_trip_ns / 2;
                if best.is_none_or(|(shortest_ns, _)| round_trip_ns < shortest_ns) {
                    best = Some((round_trip_ns, at_ns.wrapping_sub(middle_ns) as i64));
                }
            }
            let (round_trip_ns, offset_ns) = best.unwrap_or_default();
            let error_ns = round_trip_ns / 2 + 1;
            // Within its error, the same clock is the better explanation.
            let same = offset_ns.unsigned_abs() <= error_ns;
            offsets.push(ClockOffset {
                offset_ns: if same { 0 } else { offset_ns },
                error_ns,
            });
        }
        Ok(offsets)
    }

    fn start(&mut self, offsets: &[ClockOffset], observer: &mut dyn Observer) {
        let slowest_ns = offsets.iter().map(|offset| offset.error_ns).max();
        let at_ns = now_ns() + GO_AHEAD_NS + 4 * slowest_ns.unwrap_or(0);
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
        let mut running = self.hearing.of(Role::Load);
        let first_load = running.first().copied().unwrap_or(0);
        let mut together = Together::new(running.len(), self.plan.interval_ns);
        let mut holding = Holding::new(self.plan, running.len());
        let mut joining = Joining::new(running.len());
        let (mut warming, mut stopping) = (self.plan.warmup_ns > 0, false);
        let mut is_cut = false;
        while let Some(&next) = running.first() {
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
            match self.hearing.next(deadline, true)? {
                Some((agent, FromAgent::Over)) if running.contains(&agent) => {
                    running.retain(|&other| other != agent);
                    together.end(agent - first_load);
                    holding.leave(agent - first_load);
                    if !stopping {
                        self.settle(agent - first_load, &mut holding, &mut together, observer);
                    }
                }
                // Who is told to end settles nothing any more.
                Some((agent, FromAgent::Settled)) if running.contains(&agent) && stopping => {}
                Some((agent, FromAgent::Settled)) if running.contains(&agent) => {
                    together.end(agent - first_load);
                    self.settle(agent - first_load, &mut holding, &mut together, observer);
                }
                Some((agent, FromAgent::Held { standing, lost })) if running.contains(&agent) => {
                    let now = Instant::now();
                    let told = holding.add(agent - first_load, (standing, lost), now);
                    if let Some((standing, lost)) = told {
                        observer.held(standing, lost);
                    }
                }
                Some((agent, FromAgent::Joining(point))) if running.contains(&agent) => {
                    if let Some(all) = joining.add(agent - first_load, point) {
                        observer.joining(&all);
                    }
                }
                Some((agent, FromAgent::Interval(interval))) => {
                    let name = &self.hearing.agent(agent).name;
                    observer.interval(self.number, name, &interval);
                    together.add(agent.wrapping_sub(first_load), interval);
                    while let Some(part) = together.next_part() {
                        observer.window_part(self.number, &part);
                    }
                }
                Some((agent, said)) => return Err(self.hearing.confused(agent, "over", &said)),
                None if Instant::now() >= deadline => {
                    return Err(self.hearing.silent(next, "over"));
                }
                None => {}
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

    /// Asks for the results, and for the agents' end.
    fn collect(&mut self) -> Result<Vec<(Role, AgentResult)>, Failure> {
        let agents = self.hearing.all();
        self.hearing.say_to(&agents, &ToAgent::Finish);
        let mut results: Vec<Option<AgentResult>> = agents.iter().map(|_| None).collect();
        let deadline = Instant::now() + RESULT_DEADLINE;
        while let Some(late) = self.hearing.first_that_stays() {
            match self.hearing.next(deadline, true)? {
                Some((agent, FromAgent::Result(result))) => results[agent] = Some(*result),
                Some((agent, FromAgent::Bye)) if results[agent].is_some() => {
                    self.hearing.set_gone(agent);
                }
                // An interval that the user's stop has cut off.
                Some((
                    _,
                    FromAgent::Interval(_) | FromAgent::Held { .. } | FromAgent::Joining(_),
                )) => {}
                Some((agent, said)) => return Err(self.hearing.confused(agent, "result", &said)),
                None if Instant::now() >= deadline => {
                    return Err(self.hearing.silent(late, "result"));
                }
                None => {}
            }
        }
        let roles: Vec<Role> = self.hearing.agents().map(|agent| agent.role).collect();
        self.hearing.see_off();
        let results = roles.into_iter().zip(results);
        Ok(results
            .filter_map(|(role, result)| Some((role, result?)))
            .collect())
    }
}

/// What the agents are told beside the plan.
struct Orders {
    wishes: Wishes,
    /// By agent.
    profiles: Vec<Option<ProfileTask>>,
}

fn machines(agents: &[AgentPlan], hellos: &[AgentHello]) -> Machines {
    let here = agents.iter().all(AgentPlan::is_here);
    let own = boot_id();
    let same = here || own.is_some() && hellos.first().is_some_and(|hello| hello.boot_id == own);
    Machines { here, same }
}

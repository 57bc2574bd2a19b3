//! One round: fresh agents, from their hello to their bye.

use super::link::{Heard, Launcher, Link, Sound};
use super::placement::wishes;
use super::profiles;
use super::record::{Record, RoundOutcome};
use super::{Cancel, Observer, Phase, interrupted};
use crate::agent::boot_id;
use crate::build_info::VERSION;
use crate::error::{ExitClass, Failure};
use crate::plan::{Plan, TargetPlan, TesteePlan};
use crate::profile::ProfileTask;
use crate::wire::{
    AgentHello, AgentResult, CpuWish, FromAgent, Prepared, Task, ToAgent, check_versions,
};
use engine::clock::now_ns;
use engine::endpoint::Endpoint;
use report::document::{ClockOffset, Message, Role};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the user's wish to end is looked at.
const LOOK: Duration = Duration::from_millis(50);
const HELLO_DEADLINE: Duration = Duration::from_secs(20);
/// A launcher may have to build up a connection first.
const HELLO_DEADLINE_VIA: Duration = Duration::from_secs(60);
const PREPARE_MARGIN: Duration = Duration::from_secs(30);
const PONG_DEADLINE: Duration = Duration::from_secs(10);
const PINGS: u32 = 16;
/// From deciding on the go to the go: every agent must have heard of it by then.
const GO_AHEAD_NS: u64 = 100_000_000;
const RESULT_DEADLINE: Duration = Duration::from_secs(30);
/// What the load's agent allows itself beyond drain, twice, and some more.
const END_MARGIN: Duration = Duration::from_secs(30);
/// Longer than any round may take.
const COUNT_DEADLINE: Duration = Duration::from_secs(8 * 24 * 3600);

/// Runs one round.
pub(super) fn run(
    launcher: &dyn Launcher,
    plan: &Plan,
    number: u32,
    record: &mut Record,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<RoundOutcome, Failure> {
    observer.phase(Phase::Preparing);
    let (sender, heard) = channel();
    let mut stage = Stage {
        plan,
        number,
        agents: Vec::new(),
        heard,
        observer,
        cancel,
        held: Vec::new(),
        greeted: false,
        gone: Vec::new(),
        leftover: None,
    };
    let outcome = stage.play(launcher, sender, record);
    if outcome.is_err() {
        let at_once = stage.cancel.is_raised_twice();
        for agent in &mut stage.agents {
            agent.say(&ToAgent::Abort);
            if at_once {
                agent.end_at_once();
            }
        }
    }
    outcome
}

/// A round in progress.
struct Stage<'a> {
    plan: &'a Plan,
    number: u32,
    agents: Vec<Link>,
    heard: Receiver<Heard>,
    observer: &'a mut dyn Observer,
    cancel: &'a Cancel,
    /// What was said before it was asked for.
    held: Vec<(usize, FromAgent)>,
    /// Agents that have said hello: what they print before is a launcher's greeting.
    greeted: bool,
    /// Agents that have said bye.
    gone: Vec<usize>,
    /// Removed after the agents have ended, if a killed testee could not. Dropped last.
    leftover: Option<Leftover>,
}

/// Where an agent's threads run, and the profile of its side.
type Wish = (CpuWish, Option<ProfileTask>);

/// The path of a Unix socket that a testee of this host makes.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        // The testee removes it itself, unless it was killed.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Stage<'_> {
    fn play(
        &mut self,
        launcher: &dyn Launcher,
        sender: Sender<Heard>,
        record: &mut Record,
    ) -> Result<RoundOutcome, Failure> {
        let testee = self.plan.testee();
        if let Some(testee) = testee {
            let via = Some(testee).filter(|testee| !testee.via.is_empty());
            self.agents
                .push(launcher.launch("testee", 0, via, sender.clone())?);
        }
        let load = self.agents.len();
        self.agents
            .push(launcher.launch("load", load, None, sender)?);
        let hellos = self.greet(testee)?;
        let here = testee.is_none_or(|testee| testee.via.is_empty());
        let same_machine = here || hellos[0].boot_id.is_some() && hellos[0].boot_id == boot_id();
        let wishes = wishes(self.plan, same_machine);
        let profiles = profiles::decide(self.plan, &hellos)?;
        if self.number == 1 {
            for note in &wishes.notes {
                record.warn(Message::new("placement", note.clone()), self.observer);
            }
            record.set_machines(here, same_machine, self.observer);
        }
        let target = match &self.plan.target {
            TargetPlan::Foreign(endpoint) => endpoint.to_string(),
            TargetPlan::Own(testee) => {
                let wish = (wishes.testee, profiles.testee);
                self.prepare_testee(testee, wish, record)?
            }
        };
        if self.number == 1 {
            record.set_target(&target);
        }
        let wish = (wishes.load, profiles.load);
        let prepared = self.prepare(load, Role::Load, Some(target), wish)?;
        record.add_prepared("load", Role::Load, prepared, self.observer);
        let offsets = self.compare_clocks()?;
        if let (1, false, Some(offset)) = (self.number, here, offsets.first()) {
            record.set_clock_offset(*offset);
        }
        self.start(&offsets);
        self.watch(load)?;
        let results = self.collect()?;
        outcome(results)
    }

    // ---- preparing -------------------------------------------------------------------------

    fn greet(&mut self, testee: Option<&TesteePlan>) -> Result<Vec<AgentHello>, Failure> {
        let hello = ToAgent::Hello {
            protocol: crate::wire::PROTOCOL,
            version: VERSION.to_owned(),
        };
        for agent in &mut self.agents {
            agent.say(&hello);
        }
        let via = testee.is_some_and(|testee| !testee.via.is_empty());
        let deadline = if via {
            HELLO_DEADLINE_VIA
        } else {
            HELLO_DEADLINE
        };
        let mut hellos = Vec::new();
        for agent in 0..self.agents.len() {
            let hello = self.expect(agent, "hello", deadline, |said| match said {
                FromAgent::Hello(hello) => Ok(*hello),
                other => Err(other),
            })?;
            let whose = format!("the {} agent", self.agents[agent].name);
            check_versions(VERSION, hello.protocol, &hello.version, &whose)?;
            hellos.push(hello);
        }
        self.greeted = true;
        Ok(hellos)
    }

    /// Prepares the own testee and returns where it listens.
    fn prepare_testee(
        &mut self,
        testee: &TesteePlan,
        wish: Wish,
        record: &mut Record,
    ) -> Result<String, Failure> {
        let prepared = self.prepare(0, Role::Testee, None, wish)?;
        let listen = prepared.listen.clone().unwrap_or_default();
        if let (true, Endpoint::Unix(path)) = (testee.via.is_empty(), &testee.listen) {
            self.leftover = Some(Leftover(path.clone()));
        }
        record.add_prepared("testee", Role::Testee, prepared, self.observer);
        // A testee that was given a name, or all addresses, is reached as the user said.
        Ok(match (&testee.listen, listen.parse()) {
            (Endpoint::Tcp { host, .. }, Ok(Endpoint::Tcp { port, .. })) => Endpoint::Tcp {
                host: self.reachable(host),
                port,
            }
            .to_string(),
            _ => listen,
        })
    }

    /// All addresses are no address to connect to: the host that the user named, or loopback.
    fn reachable(&self, host: &str) -> String {
        let named = self.plan.request.testee_host.as_deref();
        match host {
            "0.0.0.0" => named.unwrap_or("127.0.0.1").to_owned(),
            "::" => named.unwrap_or("::1").to_owned(),
            host => host.to_owned(),
        }
    }

    fn prepare(
        &mut self,
        agent: usize,
        role: Role,
        target: Option<String>,
        (cpus, profile): Wish,
    ) -> Result<Prepared, Failure> {
        let task = Task {
            agent: self.agents[agent].name.clone(),
            role,
            plan: self.plan.clone(),
            target,
            cpus,
            describe_host: self.number == 1,
            profile,
        };
        self.agents[agent].say(&ToAgent::Plan(Box::new(task)));
        let deadline = Duration::from_nanos(self.plan.connect_timeout_ns)
            + Duration::from_millis(u64::from(self.plan.connections))
            + PREPARE_MARGIN;
        self.expect(agent, "prepared", deadline, |said| match said {
            FromAgent::Prepared(prepared) => Ok(*prepared),
            other => Err(other),
        })
    }

    /// Every agent's clock against ours, from the ping with the shortest round trip.
    fn compare_clocks(&mut self) -> Result<Vec<ClockOffset>, Failure> {
        let mut offsets = Vec::new();
        for agent in 0..self.agents.len() {
            let mut best: Option<(u64, i64)> = None;
            for number in 0..PINGS {
                let sent_ns = now_ns();
                self.agents[agent].say(&ToAgent::Ping { number });
                let at_ns = self.expect(agent, "pong", PONG_DEADLINE, |said| match said {
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

    // ---- running ---------------------------------------------------------------------------

    fn start(&mut self, offsets: &[ClockOffset]) {
        let slowest_ns = offsets.iter().map(|offset| offset.error_ns).max();
        let at_ns = now_ns() + GO_AHEAD_NS + 4 * slowest_ns.unwrap_or(0);
        for (agent, offset) in self.agents.iter_mut().zip(offsets) {
            agent.say(&ToAgent::Go {
                at_ns: at_ns.wrapping_add_signed(offset.offset_ns),
            });
        }
        self.observer.phase(if self.plan.warmup_ns > 0 {
            Phase::WarmingUp
        } else {
            Phase::Measuring
        });
    }

    /// Relays intervals until the load's workers have returned.
    fn watch(&mut self, load: usize) -> Result<(), Failure> {
        let started = Instant::now();
        let warm = started + Duration::from_nanos(self.plan.warmup_ns + GO_AHEAD_NS);
        let mut deadline = started
            + self.plan.duration_ns().map_or(COUNT_DEADLINE, |ns| {
                Duration::from_nanos(ns + self.plan.warmup_ns + self.plan.drain_ns + GO_AHEAD_NS)
                    + END_MARGIN
            });
        let (mut warming, mut stopping) = (self.plan.warmup_ns > 0, false);
        loop {
            let now = Instant::now();
            if warming && !stopping && now >= warm {
                warming = false;
                self.observer.phase(Phase::Measuring);
            }
            if self.cancel.is_raised() && !stopping {
                stopping = true;
                self.observer.phase(Phase::Stopping);
                self.agents
                    .iter_mut()
                    .for_each(|agent| agent.say(&ToAgent::Stop));
                deadline = now + Duration::from_nanos(self.plan.drain_ns) + END_MARGIN;
            }
            match self.next(deadline, true)? {
                Some((agent, FromAgent::Over)) if agent == load => return Ok(()),
                Some((agent, FromAgent::Interval(interval))) => {
                    let name = self.agents[agent].name.clone();
                    self.observer.interval(self.number, &name, &interval);
                }
                Some((agent, said)) => return Err(self.confused(agent, "over", &said)),
                None if Instant::now() >= deadline => return Err(self.silent(load, "over")),
                None => {}
            }
        }
    }

    /// Asks for the results, the load's agent last, and for the agents' end.
    fn collect(&mut self) -> Result<Vec<AgentResult>, Failure> {
        self.agents
            .iter_mut()
            .for_each(|agent| agent.say(&ToAgent::Finish));
        let mut results: Vec<Option<AgentResult>> = self.agents.iter().map(|_| None).collect();
        let deadline = Instant::now() + RESULT_DEADLINE;
        while self.gone.len() < self.agents.len() {
            match self.next(deadline, true)? {
                Some((agent, FromAgent::Result(result))) => results[agent] = Some(*result),
                Some((agent, FromAgent::Bye)) if results[agent].is_some() => self.gone.push(agent),
                // An interval that the user's stop has cut off.
                Some((_, FromAgent::Interval(_))) => {}
                Some((agent, said)) => return Err(self.confused(agent, "result", &said)),
                None if Instant::now() >= deadline => {
                    let late = (0..self.agents.len()).find(|agent| !self.gone.contains(agent));
                    return Err(self.silent(late.unwrap_or(0), "result"));
                }
                None => {}
            }
        }
        // Agents that said bye exit by themselves; dropping them awaits it.
        self.agents.clear();
        Ok(results.into_iter().flatten().collect())
    }

    // ---- hearing ---------------------------------------------------------------------------

    fn expect<T>(
        &mut self,
        agent: usize,
        what: &str,
        patience: Duration,
        pick: impl Fn(FromAgent) -> Result<T, FromAgent>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let held = self.held.iter().position(|(from, _)| *from == agent);
            let said = match held {
                Some(index) => Some(self.held.remove(index)),
                None => self.next(deadline, false)?,
            };
            match said {
                Some((from, said)) if from == agent => {
                    return pick(said).map_err(|other| self.confused(agent, what, &other));
                }
                // Hellos may come in any order.
                Some((from, said @ FromAgent::Hello(_))) => self.held.push((from, said)),
                Some((from, said)) => return Err(self.confused(from, "nothing", &said)),
                None if Instant::now() >= deadline => return Err(self.silent(agent, what)),
                None => {}
            }
        }
    }

    /// What is said next, within [`LOOK`]. `orderly`: a first wish to end is handled by the caller.
    fn next(
        &mut self,
        deadline: Instant,
        orderly: bool,
    ) -> Result<Option<(usize, FromAgent)>, Failure> {
        if self.cancel.is_raised_twice() || self.cancel.is_raised() && !orderly {
            return Err(interrupted());
        }
        let patience = LOOK.min(deadline.saturating_duration_since(Instant::now()));
        let heard = match self.heard.recv_timeout(patience) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
        };
        match heard.what {
            Sound::Said(FromAgent::Failed(failure)) => Err(self.failed(heard.agent, failure)),
            Sound::Said(said) => Ok(Some((heard.agent, said))),
            Sound::Other { text, why } => self.overheard(heard.agent, &text, &why),
            Sound::Closed => self.closed(heard.agent),
        }
    }

    fn failed(&mut self, agent: usize, failure: Failure) -> Failure {
        // What looks like a bad peer may be the other agent's death.
        let dead = (0..self.agents.len()).find(|&other| {
            other != agent && !self.gone.contains(&other) && self.agents[other].has_ended()
        });
        if let Some(dead) = dead {
            return self.death(dead);
        }
        let name = &self.agents[agent].name;
        let refused = failure.class == ExitClass::Peer
            && !self.plan.has_own_testee()
            && failure.text.starts_with("connect");
        let text = match (name.as_str(), refused) {
            ("load", true) => format!(
                "{}; check the address, and that a server listens there and answers",
                failure.text
            ),
            ("load", false) => failure.text,
            (name, _) => format!("{name}: {}", failure.text),
        };
        Failure { text, ..failure }
    }

    fn overheard(
        &mut self,
        agent: usize,
        text: &str,
        why: &str,
    ) -> Result<Option<(usize, FromAgent)>, Failure> {
        if !self.greeted {
            return Ok(None);
        }
        Err(Failure::peer(format!(
            "the {} agent said something that is no message ({why}): '{text}'; its launcher must leave stdout alone",
            self.agents[agent].name
        )))
    }

    fn closed(&mut self, agent: usize) -> Result<Option<(usize, FromAgent)>, Failure> {
        if self.gone.contains(&agent) {
            return Ok(None);
        }
        Err(self.death(agent))
    }

    fn death(&mut self, agent: usize) -> Failure {
        let via = self.plan.request.testee_via.as_deref();
        let agent = &mut self.agents[agent];
        let launcher = via
            .filter(|_| agent.name == "testee")
            .map_or_else(String::new, |via| format!(", started through '{via}',"));
        let cure = if self.greeted {
            "look for it in the system's log (the out-of-memory killer, for instance) and run again"
        } else {
            "try the command by hand: it must start linerate and pass stdin and stdout through"
        };
        let (how, last_words) = agent.obituary();
        Failure::peer(format!(
            "the {} agent{launcher} {how} before the round was over{last_words}; {cure}",
            agent.name
        ))
    }

    fn confused(&self, agent: usize, expected: &str, said: &FromAgent) -> Failure {
        let said = serde_json::to_string(said).unwrap_or_default();
        let said: String = said.chars().take(100).collect();
        Failure::peer(format!(
            "the {} agent said {said} when '{expected}' was expected; this is a bug in linerate",
            self.agents[agent].name
        ))
    }

    fn silent(&self, agent: usize, what: &str) -> Failure {
        Failure::peer(format!(
            "the {} agent did not say '{what}' in time; its machine or launcher hangs: try again, or look at it there",
            self.agents[agent].name
        ))
    }
}

/// The testee's agent comes first, if there is one.
fn outcome(mut results: Vec<AgentResult>) -> Result<RoundOutcome, Failure> {
    let load = results
        .pop()
        .ok_or_else(|| Failure::peer("no agent brought a result; this is a bug in linerate"))?;
    Ok(RoundOutcome {
        load,
        testee: results.pop(),
    })
}

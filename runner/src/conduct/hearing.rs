//! All agents of a round as the conductor holds them: what is said to them, what is heard of them and
//! from whom, and what it means when one of them falls silent or dies.

use super::Cancel;
use super::link::{Heard, Launcher, Link, Sound};
use crate::error::{ExitClass, Failure};
use crate::plan::{AgentPlan, Plan};
use crate::wire::{FromAgent, ToAgent};
use report::document::Role;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the user's wish to end is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The agents of a round, by their number in it. Dropped before all have said bye, it tells those that
/// are left to abort.
pub(super) struct Hearing<'a> {
    plan: &'a Plan,
    cancel: &'a Cancel,
    links: Vec<Link>,
    sender: Sender<Heard>,
    heard: Receiver<Heard>,
    /// What was said before it was asked for.
    held: Vec<(usize, FromAgent)>,
    /// Agents have said hello: what they print before is a launcher's greeting.
    greeted: bool,
    /// Agents that have said bye.
    gone: Vec<usize>,
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        let at_once = self.cancel.is_raised_twice();
        for link in &mut self.links {
            link.say(&ToAgent::Abort);
            if at_once {
                link.end_at_once();
            }
        }
    }
}

impl<'a> Hearing<'a> {
    pub fn new(plan: &'a Plan, cancel: &'a Cancel) -> Self {
        let (sender, heard) = channel();
        Self {
            plan,
            cancel,
            links: Vec::new(),
            sender,
            heard,
            held: Vec::new(),
            greeted: false,
            gone: Vec::new(),
        }
    }

    /// Starts an agent, which gets the next number.
    pub fn launch(&mut self, launcher: &dyn Launcher, agent: &AgentPlan) -> Result<(), Failure> {
        let number = self.links.len();
        let link = launcher.launch(agent, number, self.sender.clone())?;
        self.links.push(link);
        Ok(())
    }

    pub fn agents(&self) -> impl Iterator<Item = &AgentPlan> {
        self.links.iter().map(|link| &link.agent)
    }

    pub fn agent(&self, number: usize) -> &AgentPlan {
        &self.links[number].agent
    }

    /// The numbers of all agents.
    pub fn all(&self) -> Vec<usize> {
        (0..self.links.len()).collect()
    }

    /// The numbers of the agents of a side.
    pub fn of(&self, role: Role) -> Vec<usize> {
        let mut all = self.all();
        all.retain(|&number| self.agent(number).role == role);
        all
    }

    pub fn say_to(&mut self, agents: &[usize], message: &ToAgent) {
        for &agent in agents {
            self.links[agent].say(message);
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_raised()
    }

    /// From now on everything that is said is a message.
    pub fn set_greeted(&mut self) {
        self.greeted = true;
    }

    /// The agent has said bye.
    pub fn set_gone(&mut self, agent: usize) {
        self.gone.push(agent);
    }

    /// The first agent that has not said bye.
    pub fn first_that_stays(&self) -> Option<usize> {
        (0..self.links.len()).find(|agent| !self.gone.contains(agent))
    }

    /// Agents that said bye exit by themselves; this awaits it.
    pub fn see_off(&mut self) {
        self.links.clear();
    }

    /// Waits until `agent` says what `pick` takes.
    pub fn expect<T>(
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
                // Agents that were asked together answer in any order.
                Some((from, said @ (FromAgent::Hello(_) | FromAgent::Prepared(_)))) => {
                    self.held.push((from, said));
                }
                Some((from, said)) => return Err(self.confused(from, "nothing", &said)),
                None if Instant::now() >= deadline => return Err(self.silent(agent, what)),
                None => {}
            }
        }
    }

    /// What is said next, within [`LOOK`]. `orderly`: a first wish to end is handled by the caller.
    pub fn next(
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
        // What looks like a bad peer may be another agent's death.
        let dead = (0..self.links.len()).find(|&other| {
            other != agent && !self.gone.contains(&other) && self.links[other].has_ended()
        });
        if let Some(dead) = dead {
            return self.death(dead);
        }
        let agent = self.agent(agent);
        let refused = failure.class == ExitClass::Peer
            && !self.plan.has_own_testee()
            && failure.text.starts_with("connect");
        let cure = match agent.role == Role::Load && refused {
            true => "; check the address, and that a server listens there and answers",
            false => "",
        };
        // There is no doubt about whose failure it is where there is one load.
        let whose = match agent.role == Role::Load && !agent.has_peers() {
            true => String::new(),
            false => format!("{}: ", agent.name),
        };
        Failure {
            text: format!("{whose}{}{cure}", failure.text),
            ..failure
        }
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
            self.agent(agent).name
        )))
    }

    fn closed(&mut self, agent: usize) -> Result<Option<(usize, FromAgent)>, Failure> {
        if self.gone.contains(&agent) {
            return Ok(None);
        }
        Err(self.death(agent))
    }

    fn death(&mut self, agent: usize) -> Failure {
        let via = self.plan.request.common.testee_via.as_deref();
        let link = &mut self.links[agent];
        let launcher = via
            .filter(|_| !link.agent.is_here())
            .map_or_else(String::new, |via| format!(", started through '{via}',"));
        let cure = if self.greeted {
            "look for it in the system's log (the out-of-memory killer, for instance) and run again"
        } else {
            "try the command by hand: it must start linerate and pass stdin and stdout through"
        };
        let (how, last_words) = link.obituary();
        Failure::peer(format!(
            "the {} agent{launcher} {how} before the round was over{last_words}; {cure}",
            link.agent.name
        ))
    }

    pub fn confused(&self, agent: usize, expected: &str, said: &FromAgent) -> Failure {
        let said = serde_json::to_string(said).unwrap_or_default();
        let said: String = said.chars().take(100).collect();
        Failure::peer(format!(
            "the {} agent said {said} when '{expected}' was expected; this is a bug in linerate",
            self.agent(agent).name
        ))
    }

    pub fn silent(&self, agent: usize, what: &str) -> Failure {
        Failure::peer(format!(
            "the {} agent did not say '{what}' in time; its machine or launcher hangs: try again, or look at it there",
            self.agent(agent).name
        ))
    }
}

/// The failure of a run that the user ended before there was anything to report.
fn interrupted() -> Failure {
    Failure {
        class: ExitClass::Interrupted,
        text: "interrupted before the round could be measured".to_owned(),
    }
}

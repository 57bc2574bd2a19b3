//! All agents of a round as the conductor holds them: what is said to them, what is heard of them and
//! from whom, and what it means when one of them falls silent or dies.

use super::link::{Heard, Launcher, Link, Sound};
use crate::cancel::Cancel;
use crate::error::{ExitClass, Failure};
use crate::plan::{AgentPlan, Plan};
use crate::protocol::{FromAgent, ToAgent};
use report::document::Role;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the user's wish to end is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What was heard of an agent, by its number.
pub(super) enum Event {
    Said(usize, FromAgent),
    /// Nothing more will come of it.
    Lost(usize, Failure),
}

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

    /// Where the agent of a rank joined from.
    pub fn joined_from(&self, number: usize) -> Option<IpAddr> {
        self.links[number].joined_from
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

    /// Nothing more is wanted of an agent that may still live.
    pub fn give_up(&mut self, agent: usize) {
        self.links[agent].say(&ToAgent::Abort);
        self.set_gone(agent);
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
                None => self.next(deadline)?,
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

    /// What is said next, within [`LOOK`], where the loss of an agent is the end.
    fn next(&mut self, deadline: Instant) -> Result<Option<(usize, FromAgent)>, Failure> {
        match self.next_event(deadline, false)? {
            Some(Event::Said(agent, said)) => Ok(Some((agent, said))),
            Some(Event::Lost(_, failure)) => Err(failure),
            None => Ok(None),
        }
    }

    /// What is heard next, within [`LOOK`]. `orderly`: a first wish to end is handled by the caller.
    pub fn next_event(
        &mut self,
        deadline: Instant,
        orderly: bool,
    ) -> Result<Option<Event>, Failure> {
        if self.cancel.is_raised_twice() || self.cancel.is_raised() && !orderly {
            return Err(interrupted());
        }
        let patience = LOOK.min(deadline.saturating_duration_since(Instant::now()));
        let heard = match self.heard.recv_timeout(patience) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return self.check_stopped().map(|()| None);
            }
        };
        let agent = heard.agent;
        Ok(match heard.what {
            // Of whom nothing is wanted any more.
            _ if self.gone.contains(&agent) => None,
            Sound::Said(FromAgent::Failed(failure)) => Some(self.failed(agent, failure)),
            Sound::Said(said) => Some(Event::Said(agent, said)),
            Sound::Other { text, why } => self
                .overheard(agent, &text, &why)
                .map(|failure| Event::Lost(agent, failure)),
            Sound::Closed => Some(Event::Lost(agent, self.death(agent))),
        })
    }

    /// A launcher that wants to ask its user something is stopped by the terminal, and would never say hello.
    fn check_stopped(&mut self) -> Result<(), Failure> {
        if self.greeted {
            return Ok(());
        }
        let asks = |link: &&mut Link| !link.agent.is_here() && link.is_stopped();
        let Some(stopped) = self.links.iter_mut().find(asks) else {
            return Ok(());
        };
        stopped.end_at_once();
        let via = stopped
            .agent
            .host
            .start
            .launcher()
            .unwrap_or_default()
            .to_owned();
        Err(Failure::peer(format!(
            "{}, started through '{via}', was stopped by the terminal: it wants to ask something there \
             (a password, a passphrase, whether a host is known), and agents run in the background; {}",
            stopped.agent.called(),
            without_questions(&stopped.agent, &via)
        )))
    }

    fn failed(&mut self, agent: usize, failure: Failure) -> Event {
        // What looks like a bad peer may be another agent's death.
        let dead = (0..self.links.len()).find(|&other| {
            other != agent && !self.gone.contains(&other) && self.links[other].has_ended()
        });
        if let Some(dead) = dead {
            return Event::Lost(dead, self.death(dead));
        }
        let number = agent;
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
            false => format!("{}{}: ", agent.name, agent.on_host()),
        };
        let text = format!("{whose}{}{cure}", failure.text);
        Event::Lost(number, Failure { text, ..failure })
    }

    /// Before agents have said hello, a launcher may greet.
    fn overheard(&self, agent: usize, text: &str, why: &str) -> Option<Failure> {
        self.greeted.then(|| {
            Failure::peer(format!(
                "{} said something that is no message ({why}): '{text}'; its launcher must leave stdout alone",
                self.agent(agent).called()
            ))
        })
    }

    fn death(&mut self, agent: usize) -> Failure {
        let link = &mut self.links[agent];
        let came = match (link.agent.host.start.launcher(), link.joined_from) {
            (Some(via), _) => format!(", started through '{via}',"),
            (None, Some(from)) => format!(", which joined from {from},"),
            (None, None) => String::new(),
        };
        let cure = match (self.greeted, link.joined_from) {
            (true, _) => {
                "look for it in the system's log (the out-of-memory killer, for instance) and run again"
            }
            (false, None) => {
                "try the command by hand: it must start linerate and pass stdin and stdout through"
            }
            (false, Some(_)) => "look at what it said where it was started",
        };
        let (how, last_words) = link.obituary();
        Failure::peer(format!(
            "{}{came} {how} before the round was over{last_words}; {cure}",
            link.agent.called()
        ))
    }

    pub fn confused(&self, agent: usize, expected: &str, said: &FromAgent) -> Failure {
        let said = serde_json::to_string(said).unwrap_or_default();
        let said: String = said.chars().take(100).collect();
        Failure::peer(format!(
            "{} said {said} when '{expected}' was expected; this is a bug in linerate",
            self.agent(agent).called()
        ))
    }

    pub fn silent(&self, agent: usize, what: &str) -> Failure {
        let agent = self.agent(agent);
        let via = agent.host.start.launcher();
        Failure::peer(match via.filter(|_| what == "hello") {
            Some(via) => format!(
                "{}, started through '{via}', did not say '{what}' in time: its machine or launcher hangs, \
                 or waits for an answer (a password, whether a host is known); {}",
                agent.called(),
                without_questions(agent, via)
            ),
            None => format!(
                "{} did not say '{what}' in time; its machine or launcher hangs: try again, or look at it there",
                agent.called()
            ),
        })
    }
}

/// What helps where a launcher asks its user.
fn without_questions(agent: &AgentPlan, via: &str) -> String {
    let side = agent.role.name();
    match via.strip_prefix("ssh ") {
        Some(rest) => format!(
            "`ssh -o BatchMode=yes {rest} true` says what it would ask; log in with a key that an agent holds, then \
             use --{side}-via 'ssh -o BatchMode=yes {rest}'"
        ),
        None => {
            "use a launcher that asks nothing (ssh: -o BatchMode=yes, sudo: -n), and try it by hand"
                .to_owned()
        }
    }
}

/// The failure of a run that the user ended before there was anything to report.
fn interrupted() -> Failure {
    Failure {
        class: ExitClass::Interrupted,
        text: "interrupted before the round could be measured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_questions;
    use crate::plan::{Plan, PlanRequest};

    #[test]
    fn a_launcher_that_asks_is_answered_with_how_not_to() {
        let agents = Plan::new(PlanRequest::default()).unwrap().agents();
        let ssh = without_questions(&agents[0], "ssh -p 22 b");
        assert!(
            ssh.contains("--testee-via 'ssh -o BatchMode=yes -p 22 b'"),
            "{ssh}"
        );
        let ssh = without_questions(&agents[1], "ssh b");
        assert!(ssh.contains("--load-via 'ssh"), "{ssh}");
        assert!(without_questions(&agents[1], "sudo -u x").contains("sudo: -n"));
    }
}

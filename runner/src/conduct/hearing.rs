//! All agents of a round as the conductor holds them: what is said to them, what is heard of them and
//! from whom, and what it means when one of them falls silent or dies.

use super::link::{Heard, Launcher, Link, Sound};
use crate::cancel::Cancel;
use crate::error::{ExitClass, Failure};
use crate::plan::{AgentPlan, Plan};
use crate::protocol::{FromAgent, ToAgent};
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
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return self.check_stopped().map(|()| None);
            }
        };
        match heard.what {
            Sound::Said(FromAgent::Failed(failure)) => Err(self.failed(heard.agent, failure)),
            Sound::Said(said) => Ok(Some((heard.agent, said))),
            Sound::Other { text, why } => self.overheard(heard.agent, &text, &why),
            Sound::Closed => self.closed(heard.agent),
        }
    }

    /// A launcher that wants to ask its user something is stopped by the terminal, and would never say hello.
    fn check_stopped(&mut self) -> Result<(), Failure> {
        let via = self.plan.request.common.testee_via.clone();
        let (Some(via), false) = (via, self.greeted) else {
            return Ok(());
        };
        let Some(stopped) = self.links.iter_mut().find(|link| link.is_stopped()) else {
            return Ok(());
        };
        stopped.end_at_once();
        Err(Failure::peer(format!(
            "the {} agent, started through '{via}', was stopped by the terminal: it wants to ask something there \
             (a password, a passphrase, whether a host is known), and agents run in the background; {}",
            stopped.agent.name,
            without_questions(&via)
        )))
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
        let agent = self.agent(agent);
        let via = self.plan.request.common.testee_via.as_deref();
        Failure::peer(match via.filter(|_| what == "hello" && !agent.is_here()) {
            Some(via) => format!(
                "the {} agent, started through '{via}', did not say '{what}' in time: its machine or launcher hangs, \
                 or waits for an answer (a password, whether a host is known); {}",
                agent.name,
                without_questions(via)
            ),
            None => format!(
                "the {} agent did not say '{what}' in time; its machine or launcher hangs: try again, or look at it there",
                agent.name
            ),
        })
    }
}

/// What helps where a launcher asks its user.
fn without_questions(via: &str) -> String {
    match via.strip_prefix("ssh ") {
        Some(rest) => format!(
            "`ssh -o BatchMode=yes {rest} true` says what it would ask; log in with a key that an agent holds, then \
             use --testee-via 'ssh -o BatchMode=yes {rest}'"
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

    #[test]
    fn a_launcher_that_asks_is_answered_with_how_not_to() {
        let ssh = without_questions("ssh -p 22 b");
        assert!(ssh.contains("'ssh -o BatchMode=yes -p 22 b'"), "{ssh}");
        assert!(without_questions("sudo -u x").contains("sudo: -n"));
    }
}

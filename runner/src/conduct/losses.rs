//! Agents that are lost while a round runs: what is known of them, and what it means for the run.

use crate::error::{ExitClass, Failure};
use crate::plan::AgentPlan;
use report::document::{Interval, LostAgent, Role};
use report::units::counted;
use std::time::Instant;

/// What is known of the agents of a round that may be lost.
#[derive(Default)]
pub(super) struct Losses {
    began: Option<Instant>,
    /// Operations that each has told of, by its number.
    operations_told: Vec<u64>,
    lost: Vec<Loss>,
}

struct Loss {
    agent: usize,
    failure: Failure,
    after_ns: u64,
}

impl Losses {
    /// So many agents are told to go.
    pub fn begin(&mut self, agents: usize) {
        self.began = Some(Instant::now());
        self.operations_told = vec![0; agents];
    }

    /// An agent has told of a part of its window.
    pub fn note(&mut self, agent: usize, interval: &Interval) {
        if let Some(told) = self.operations_told.get_mut(agent) {
            *told += interval.operations;
        }
    }

    /// An agent is lost.
    pub fn add(&mut self, agent: usize, failure: Failure) {
        let after = self.began.map(|began| began.elapsed());
        self.lost.push(Loss {
            agent,
            failure,
            after_ns: after.unwrap_or_default().as_nanos() as u64,
        });
    }

    /// Forgets those of which `keep` is not true.
    pub fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        self.lost.retain(|loss| keep(loss.agent));
    }

    /// Each that is lost, as it stands in the document.
    pub fn told(&self, agents: &[AgentPlan]) -> Vec<LostAgent> {
        let told = |loss: &Loss| {
            let agent = &agents[loss.agent];
            LostAgent {
                agent: agent.name.clone(),
                role: agent.role,
                host: agent.host.id.clone(),
                connections: match agent.role {
                    Role::Load => agent.share.connections.into(),
                    Role::Testee => 0,
                },
                operations_told: self.operations_told[loss.agent],
                after_ns: loss.after_ns,
                reason: loss.failure.text.clone(),
            }
        };
        self.lost.iter().map(told).collect()
    }

    /// Why the run is no full one, if an agent is lost. Where its side has others, the result is partial, which is a
    /// check that failed; the loss of a whole side is what it was.
    pub fn failure(&self, agents: &[AgentPlan]) -> Option<Failure> {
        let first = self.lost.first()?;
        let of = |role| {
            agents
                .iter()
                .filter(move |agent| agent.role == role)
                .count()
        };
        let lost_of = |role| {
            let lost = self.lost.iter().map(|loss| &agents[loss.agent]);
            lost.filter(|agent| agent.role == role).count()
        };
        let is_whole = |role| lost_of(role) > 0 && lost_of(role) == of(role);
        if is_whole(Role::Load) || is_whole(Role::Testee) {
            return Some(first.failure.clone());
        }
        let others = self.lost.len() - 1;
        let others = match others {
            0 => String::new(),
            _ => format!(
                " ({} more of it were lost)",
                counted(others as u64, "agent")
            ),
        };
        let left = agents.len() - self.lost.len();
        Some(Failure {
            class: ExitClass::CheckFailed,
            text: format!(
                "{}{others}; the other {} ended with that, and what they measured until then is a partial result",
                first.failure.text,
                counted(left as u64, "agent")
            ),
        })
    }
}

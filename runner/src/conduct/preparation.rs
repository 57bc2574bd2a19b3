//! What preparing a round brings: the agents as they are, and where the load reaches the testee.

use crate::plan::{AgentPlan, TesteeHost};
use crate::protocol::Prepared;
use engine::address::Address;
use engine::endpoint::Endpoint;
use report::document::Role;

/// What preparing a round brought, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Preparation {
    /// Hosts that are one machine: the ids of each such group.
    pub one_machine: Vec<Vec<String>>,
    /// What a reader must know of where the threads run.
    pub placement_notes: Vec<String>,
    /// The agents that are prepared, in order.
    pub agents: Vec<(AgentPlan, Prepared)>,
    /// The endpoints that the load really connects to, in turn.
    pub targets: Vec<String>,
}

impl Preparation {
    /// What the agent that was prepared last said.
    pub fn last(&self) -> (Vec<String>, Option<String>) {
        let last = self.agents.last().map(|(_, prepared)| prepared);
        (
            last.map(|prepared| prepared.endpoints.clone())
                .unwrap_or_default(),
            last.map(|prepared| prepared.engine.clone()),
        )
    }

    /// Where the first testee of a host listens; empty before that is known.
    pub fn listen(&self, host: &str) -> Vec<String> {
        let mut testees = self.agents.iter();
        let first = testees.find(|(agent, _)| agent.role == Role::Testee && agent.host.id == host);
        first
            .map(|(_, prepared)| prepared.endpoints.clone())
            .unwrap_or_default()
    }
}

/// Where the load reaches a testee that listens there. One that was given a name, or all addresses, is reached as the
/// user said.
pub(super) fn reached(host: &TesteeHost, listen: String) -> String {
    match (&host.listen, listen.parse()) {
        (Endpoint::Tcp { host: asked, .. }, Ok(Endpoint::Tcp { port, .. })) => Endpoint::Tcp {
            host: reachable(host, asked),
            port,
        }
        .to_string(),
        _ => listen,
    }
}

/// All addresses are no address to connect to: the host that the user named, or loopback. Nor is a link-local one
/// without the zone that it has on this host.
fn reachable(host: &TesteeHost, asked: &str) -> String {
    let named = host.reached_at.as_deref();
    let link_local = asked
        .parse()
        .is_ok_and(|address: Address| address.is_link_local());
    match asked {
        asked if link_local => named.unwrap_or(asked).to_owned(),
        "0.0.0.0" => named.unwrap_or("127.0.0.1").to_owned(),
        "::" => named.unwrap_or("::1").to_owned(),
        asked => asked.to_owned(),
    }
}

//! What the conductor and its agents say to each other: one JSON object per line, the conductor on
//! the agent's stdin, the agent on its stdout.
//!
//! `hello` -> `plan` -> `prepared` -> `ping`/`pong` -> `go` -> `interval` ... -> `over` ->
//! `finish` -> `result` -> `bye`. Every state has a deadline on both sides. An agent whose input
//! ends stops its workers, cleans up and exits. A message that is not known is refused, never
//! skipped: both ends are the same version, which `hello` checks.

use crate::error::{ExitClass, Failure};
use crate::event_record::EventRecordTask;
use crate::host::CounterDelta;
use crate::plan::{AgentPlan, Plan};
use crate::profile::{Drift, ProfileTask};
use report::document::{AppliedProfile, Host, Interval, Message, RampPoint, Side};
use serde::{Deserialize, Serialize};

/// Raised with every change of the messages.
pub const PROTOCOL: u32 = 7;

/// From the conductor to an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToAgent {
    /// Opens the conversation.
    Hello {
        /// [`PROTOCOL`] of the conductor.
        protocol: u32,
        /// Version of the conductor.
        version: String,
    },
    /// What to do.
    Plan(Box<Task>),
    /// Asks for the agent's clock.
    Ping {
        /// Comes back in [`FromAgent::Pong`].
        number: u32,
    },
    /// Start at this instant.
    Go {
        /// The agent's own monotonic clock, ns.
        at_ns: u64,
    },
    /// End early but orderly: a valid result follows.
    Stop,
    /// The load is over: bring the result home.
    Finish,
    /// Stop at once; no result is wanted.
    Abort,
}

/// From an agent to the conductor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromAgent {
    /// Answers [`ToAgent::Hello`].
    Hello(Box<AgentHello>),
    /// Workers run; a load's connections are open, a testee listens.
    Prepared(Box<Prepared>),
    /// The agent cannot go on; it exits after this.
    Failed(Failure),
    /// Answers [`ToAgent::Ping`].
    Pong {
        /// Number of the ping.
        number: u32,
        /// The agent's monotonic clock, ns.
        at_ns: u64,
    },
    /// A part of the window has passed (load agents).
    Interval(Interval),
    /// Each connection that is opened once is established or has failed: from now on they are held (load agents).
    Settled,
    /// How many of those that are held have been lost so far (load agents).
    Held {
        /// Established and not lost.
        standing: u64,
        /// Lost so far.
        lost: u64,
    },
    /// How clients have come up so far (load agents).
    Joining(RampPoint),
    /// All workers of the load have returned.
    Over,
    /// What came out.
    Result(Box<AgentResult>),
    /// Everything is cleaned up; the agent exits.
    Bye,
}

/// What an agent is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentHello {
    /// [`PROTOCOL`] of the agent.
    pub protocol: u32,
    /// Version of linerate.
    pub version: String,
    /// Commit it was built from.
    pub git_commit: Option<String>,
    /// Target triple of the build.
    pub build_target: Option<String>,
    /// Names the running kernel, so that the conductor knows whether two agents share a machine.
    pub boot_id: Option<String>,
    /// Names the network namespace within that kernel: with it, whether they share their sysctls.
    pub network_namespace: Option<String>,
}

/// One agent's part of a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// Which agent it is, and its share.
    pub agent: AgentPlan,
    /// The whole plan.
    pub plan: Plan,
    /// Where a load connects to, in turn. A testee: where the first of its host listens, for all of it share one port;
    /// empty for that first one.
    pub endpoints: Vec<String>,
    /// What the first agent of its side took where it chose by itself; null for that first one.
    pub engine: Option<String>,
    /// Seed of the gaps of a Poisson schedule in this round.
    pub poisson_seed: u64,
    /// Where the worker threads run.
    pub cpus: CpuWish,
    /// Whether the environment of the host is wanted (once per run is enough).
    pub describe_host: bool,
    /// The profile of this side.
    pub profile: Option<ProfileTask>,
    /// Where a load writes every event of its clients, if it is to.
    pub event_record: Option<EventRecordTask>,
}

/// Where an agent's worker threads run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CpuWish {
    /// Wherever the scheduler likes.
    Unpinned,
    /// Thread i on the i-th CPU, around again when there are more threads.
    List(Vec<u32>),
    /// No agent runs where the conductor does, and so many threads run together on its machine: it chooses for all of
    /// them, and takes those from `first` on.
    Choose {
        /// Threads of those before it.
        first: u32,
        /// Threads of all of them.
        of: u32,
    },
}

/// A prepared agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prepared {
    /// Where a testee really listens; where a load really connects to in turn, for a name has addresses.
    pub endpoints: Vec<String>,
    /// The environment, if it was asked for.
    pub host: Option<Host>,
    /// Engine in use.
    pub engine: String,
    /// Why this one.
    pub engine_reason: String,
    /// The profile in force, if one was asked for.
    pub profile: Option<AppliedProfile>,
    /// What a reader of the result must know.
    pub warnings: Vec<Message>,
}

/// What an agent brings home.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentResult {
    /// The document's form; the conductor fills in the host.
    pub side: Side,
    /// What the host did in the window.
    pub activity: CounterDelta,
    /// The window was cut short.
    pub ended_early: bool,
    /// Settings of the profile that somebody else wrote meanwhile: the round is invalid.
    pub drifts: Vec<Drift>,
    /// Why settings of the profile could not be put back. The round is none the worse, and the run has failed.
    pub not_put_back: Option<Failure>,
    /// What a reader of the result must know.
    pub warnings: Vec<Message>,
}

/// Whether two builds understand each other.
///
/// # Errors
/// Both versions, and what to do.
pub fn check_versions(own: &str, protocol: u32, version: &str, whose: &str) -> Result<(), Failure> {
    if protocol == PROTOCOL && version == own {
        return Ok(());
    }
    Err(Failure {
        class: ExitClass::Peer,
        text: format!(
            "{whose} is linerate {version} with agent protocol {protocol}, and this is linerate {own} with \
             protocol {PROTOCOL}: install the same version on all hosts"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::{Line, read_line, write_line};
    use crate::plan::PlanRequest;
    use serde::de::DeserializeOwned;

    fn there_and_back<T: Serialize + DeserializeOwned>(message: &T) -> T {
        let mut bytes = Vec::new();
        write_line(&mut bytes, message).unwrap();
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
        match read_line(&mut bytes.as_slice(), &mut Vec::new()).unwrap() {
            Line::Message(message) => message,
            other => panic!("{:?}", matches!(other, Line::End)),
        }
    }

    #[test]
    fn messages_are_one_line_each_and_come_back() {
        let plan = Plan::new(PlanRequest::default()).unwrap();
        let task = Task {
            agent: plan.agents().remove(1),
            plan,
            endpoints: vec!["unix:///a\nb".into()],
            engine: Some("epoll".into()),
            poisson_seed: 7,
            cpus: CpuWish::List(vec![3]),
            describe_host: true,
            profile: None,
            event_record: None,
        };
        let ToAgent::Plan(back) = there_and_back(&ToAgent::Plan(Box::new(task.clone()))) else {
            panic!("another message came back");
        };
        assert_eq!((back.endpoints, back.cpus), (task.endpoints, task.cpus));
        assert_eq!(back.agent, task.agent);
        assert_eq!(back.plan.request(), task.plan.request());
        for message in [ToAgent::Stop, ToAgent::Finish, ToAgent::Abort] {
            assert_eq!(
                format!("{message:?}"),
                format!("{:?}", there_and_back(&message))
            );
        }
        let result = FromAgent::Result(Box::new(AgentResult {
            side: Side::default(),
            activity: CounterDelta::default(),
            ended_early: false,
            drifts: Vec::new(),
            not_put_back: None,
            warnings: vec![Message::new("a", "b")],
        }));
        assert!(matches!(there_and_back(&result), FromAgent::Result(_)));
        let failed = there_and_back(&FromAgent::Failed(Failure::peer("x")));
        assert!(matches!(
            failed,
            FromAgent::Failed(Failure {
                class: ExitClass::Peer,
                ..
            })
        ));
    }

    #[test]
    fn what_is_not_a_message_is_shown() {
        let text: &[u8] = b"\n  \nWelcome to host b!\n{\"say\":\"dance\"}\n{\"say\":\"stop\"}\n";
        let mut reader = text;
        let mut buffer = Vec::new();
        let mut next = || read_line::<ToAgent>(&mut reader, &mut buffer).unwrap();
        assert!(matches!(next(), Line::Other { text, .. } if text == "Welcome to host b!"));
        assert!(matches!(next(), Line::Other { why, .. } if why.contains("dance")));
        assert!(matches!(next(), Line::Message(ToAgent::Stop)));
        assert!(matches!(next(), Line::End));
    }

    #[test]
    fn other_versions_are_refused_clearly() {
        assert!(check_versions("1.0", PROTOCOL, "1.0", "it").is_ok());
        let error = check_versions("1.0", PROTOCOL, "1.1", "the testee's agent").unwrap_err();
        assert!(error.text.contains("1.1") && error.text.contains("same version"));
        assert!(check_versions("1.0", PROTOCOL + 1, "1.0", "it").is_err());
    }
}

//! What is to be measured: validated, with every default filled in.
//!
//! [`PlanRequest`] is what a user asked for, plain data with serde. [`Plan`] is made from it by
//! [`Plan::new`] and in no other way, so that an invalid plan does not exist; its serialised form
//! is the request again, and reading it back validates it again.

mod agents;
mod build;
mod checks;
mod conflicts;
mod connect;
mod document;
mod error;
mod hosts;
mod pace;
mod request;
mod serve;
mod shape;
mod spread;
mod web_socket;

pub use agents::{AgentHost, AgentPlan, AgentShare};
pub(crate) use agents::{deal, most_of, testee_limit};
pub(crate) use build::{no_closing_ramp, no_shared_queue};
pub(crate) use conflicts::ONE_SET;
pub use connect::ConnectRequest;
pub(crate) use document::is_loopback;
pub use error::PlanError;
pub use hosts::Start;
pub(crate) use hosts::{LOCAL, TesteeHost};
pub use pace::PaceRequest;
pub use request::{CommonRequest, PlacementKind, PlanRequest, SocketRequest};
pub use serve::{ListenerPlan, ListenerRequest, RoleName, ServeFile, ServePlan, ServeRequest};
pub use shape::*;
pub use spread::{forecast, spread_over_agents};
pub use web_socket::WebSocketRequest;

use crate::engines::EngineChoice;
use crate::event_record::EventFile;
use engine::address::Address;
use engine::endpoint::Endpoint;
use engine::load::CONNECTS_AT_ONCE;
use engine::shape::{POISSON_SEED, Queue};
use engine::socket::SocketOptions;
use engine::workload::LoadSpec;
use hosts::HostPlan;
use report::document::Workload;
use serde::{Deserialize, Serialize};

/// A validated plan of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "PlanRequest", into = "PlanRequest")]
pub struct Plan {
    pub(crate) request: PlanRequest,
    /// Rounds of the same comparison before the first of this plan.
    earlier_rounds: u32,
    /// Where every event of the load's clients is recorded. Not a part of what is asked for: a plan that is read back
    /// writes no file.
    pub(crate) event_file: Option<EventFile>,
    pub(crate) shape: Shape,
    pub(crate) target: TargetPlan,
    pub(crate) engine: EngineChoice,
    pub(crate) connections: u32,
    /// Where the load is made; at least one, and this host where no other is named.
    pub(crate) load_hosts: Vec<HostPlan>,
    /// Processes that make the load, over all hosts.
    pub(crate) load_agents: u32,
    /// Threads of each of them.
    pub(crate) threads: u32,
    pub(crate) stop: StopPlan,
    pub(crate) warmup_ns: u64,
    pub(crate) repeat: u32,
    pub(crate) operation_timeout_ns: u64,
    pub(crate) connect_timeout_ns: u64,
    pub(crate) drain_ns: u64,
    pub(crate) interval_ns: u64,
    pub(crate) sources: Vec<Address>,
    pub(crate) socket: SocketOptions,
    pub(crate) placement: PlacementKind,
    pub(crate) client_cpus: Option<Vec<u32>>,
}

/// Whom the load talks to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TargetPlan {
    /// A server that linerate did not start.
    Foreign(Endpoint),
    /// A testee that linerate starts for the run.
    Own(TesteePlan),
}

/// The own testee.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TesteePlan {
    /// Where it is; at least one, and this host where no other is named.
    pub(crate) hosts: Vec<TesteeHost>,
    pub(crate) engine: EngineChoice,
    /// Processes over all hosts; those of a host share a port.
    pub(crate) agents: u32,
    /// Threads of each of them.
    pub(crate) threads: u32,
    pub(crate) cpus: Option<Vec<u32>>,
}

/// When the window ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopPlan {
    /// After this time, ns.
    After(u64),
    /// After this many operations of all workers together.
    Count(u64),
}

impl TesteePlan {
    /// Whether it runs on the host that conducts.
    pub(crate) fn is_here(&self) -> bool {
        self.hosts.iter().all(|host| host.host.start.is_here())
    }

    /// Its host with this id.
    pub(crate) fn host(&self, id: &str) -> Option<&TesteeHost> {
        self.hosts.iter().find(|host| host.host.id == id)
    }
}

impl TryFrom<PlanRequest> for Plan {
    type Error = PlanError;

    fn try_from(request: PlanRequest) -> Result<Self, PlanError> {
        Self::new(request)
    }
}

impl From<Plan> for PlanRequest {
    fn from(plan: Plan) -> Self {
        plan.request
    }
}

impl Plan {
    /// Validates `request` and fills in every default.
    ///
    /// # Errors
    /// What cannot be run, with what to write instead.
    pub fn new(request: PlanRequest) -> Result<Self, PlanError> {
        build::plan(request)
    }

    /// The plan as one of a comparison, in which so many rounds were before: schedules that are drawn at
    /// random are then those of that round, the same for all that take part in it.
    pub(crate) fn after_rounds(mut self, earlier_rounds: u32) -> Self {
        self.earlier_rounds = earlier_rounds;
        self
    }

    /// Seed of the gaps of a Poisson schedule in round `number`, which counts from 1. Rounds are a sample
    /// only if their arrivals differ; a round can be repeated, for its seed follows from its number.
    pub(crate) fn poisson_seed(&self, number: u32) -> u64 {
        let round = u64::from(self.earlier_rounds) + u64::from(number);
        // Weyl sequence of the golden ratio, as splitmix64 has it (Steele et al. 2014).
        POISSON_SEED.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Refuses an event record of what has no events.
    ///
    /// # Errors
    /// What to do instead.
    pub fn check_event_record(&self) -> Result<(), PlanError> {
        if let Some(elsewhere) = self.request.common.load_elsewhere() {
            return Err(PlanError::Conflict {
                option: "--event-record",
                with: elsewhere.to_owned(),
                cure: "the file is written where the load runs: record a load of this host",
            });
        }
        match self.workload().is_bulk() {
            false => Ok(()),
            true => Err(PlanError::Conflict {
                option: "--event-record",
                with: "stream".to_owned(),
                cure: "a stream has no messages that come back; take another workload, or --events for what it moves meanwhile",
            }),
        }
    }

    /// The plan with every event of the load's clients recorded in `file`.
    pub fn recording_events(self, file: EventFile) -> Self {
        Self {
            event_file: Some(file),
            ..self
        }
    }

    /// What was asked for.
    pub fn request(&self) -> &PlanRequest {
        &self.request
    }

    /// The workload.
    pub fn workload(&self) -> Workload {
        self.request.shape.workload()
    }

    /// Connections of the load.
    pub fn connections(&self) -> u32 {
        self.connections
    }

    /// Length of the window, ns; `None` for a run that counts.
    pub fn duration_ns(&self) -> Option<u64> {
        match self.stop {
            StopPlan::After(ns) => Some(ns),
            StopPlan::Count(_) => None,
        }
    }

    /// Operations after which the run ends; `None` for a run that is timed.
    pub fn count(&self) -> Option<u64> {
        match self.stop {
            StopPlan::After(_) => None,
            StopPlan::Count(count) => Some(count),
        }
    }

    /// Time before the window, ns.
    pub fn warmup_ns(&self) -> u64 {
        self.warmup_ns
    }

    /// Length of an interval of the series, ns.
    pub fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// Number of rounds.
    pub fn repeat(&self) -> u32 {
        self.repeat
    }

    /// How many ranks join for the load, where something else starts them.
    pub fn ranks(&self) -> Option<u32> {
        self.request.common.ranks
    }

    /// Whether any agent runs on the host that conducts.
    pub(crate) fn runs_here(&self) -> bool {
        self.agents().iter().any(AgentPlan::is_here)
    }

    /// Whether linerate starts the testee itself.
    pub fn has_own_testee(&self) -> bool {
        matches!(self.target, TargetPlan::Own(_))
    }

    /// The target as the user named it; `None` with a testee of linerate's own.
    pub fn target(&self) -> Option<&Endpoint> {
        match &self.target {
            TargetPlan::Foreign(endpoint) => Some(endpoint),
            TargetPlan::Own(_) => None,
        }
    }

    /// What the load does.
    pub fn load_spec(&self) -> &LoadSpec {
        &self.shape.load
    }

    /// Where operations that are due wait for a connection.
    pub(crate) fn queue(&self) -> Queue {
        match self.shape.described.queue {
            Some(report::document::Queue::Shared) => Queue::Shared,
            Some(report::document::Queue::Own) | None => Queue::Own,
        }
    }

    /// How connections are held, where that is the workload.
    pub(crate) fn hold(&self) -> Option<&connect::Hold> {
        self.shape.hold.as_ref()
    }

    /// How long closing what is held one after the other takes, ns; 0 where all of it is closed at once.
    pub(crate) fn closing_ns(&self) -> u64 {
        let last = self.connections - 1;
        self.hold().map_or(0, |hold| hold.closing.offset_ns(last))
    }

    /// Connects under way at the same time for each thread, at most.
    pub(crate) fn connects_at_once(&self) -> u32 {
        self.hold().map_or(CONNECTS_AT_ONCE, |hold| hold.at_once)
    }

    /// Whether connections are held until somebody ends it.
    pub fn holds_until_told(&self) -> bool {
        self.hold().is_some_and(|hold| hold.ns.is_none())
    }

    /// Operations in flight per connection at most.
    pub(crate) fn depth(&self) -> u32 {
        self.shape.described.depth.unwrap_or(1)
    }

    pub(crate) fn testee(&self) -> Option<&TesteePlan> {
        match &self.target {
            TargetPlan::Foreign(_) => None,
            TargetPlan::Own(testee) => Some(testee),
        }
    }
}

#[cfg(test)]
mod tests;

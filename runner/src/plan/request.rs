//! What a user asks for, as plain data. `None` asks for the default.

use super::ShapeRequest;
use crate::profile::Profile;
use report::document::Workload;
use serde::{Deserialize, Serialize};

/// A run as asked for. The command line fills it in, and so can a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// What can be asked of every workload.
    pub common: CommonRequest,
    /// What one operation is.
    pub shape: ShapeRequest,
}

/// What can be asked of every workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommonRequest {
    /// `tcp://HOST:PORT` or `unix:///PATH`; none starts a testee for the run.
    pub target: Option<String>,
    /// Connections go to all addresses of the target's name in turn, and not to the first that answers.
    pub spread: bool,
    /// Command prefixes that start load agents, for example `ssh a`, one for each host of the load.
    pub load_via: Vec<String>,
    /// Load agents that something else starts, and that join: so many ranks.
    pub ranks: Option<u32>,
    /// The linerate binary on the load's hosts; default: this binary's own path.
    pub load_command: Option<String>,
    /// Command prefixes that start testee agents, for example `ssh b`, one for each host of the testee.
    pub testee_via: Vec<String>,
    /// Addresses at which the testees of `testee_via` are reached, one for each.
    pub testee_host: Vec<String>,
    /// The linerate binary on the testee's hosts; default: this binary's own path.
    pub testee_command: Option<String>,
    /// Where the own testee listens; default `tcp://127.0.0.1:0`, port 0 lets the kernel choose.
    pub testee_listen: Option<String>,
    /// Engine of the load, `NAME` or `NAME:key=value,...`; default `auto`.
    pub engine: Option<String>,
    /// Engine of the own testee; default `auto`.
    pub testee_engine: Option<String>,
    /// Connections at the same time, over all load agents; default 1.
    pub connections: Option<u32>,
    /// Processes that make the load, over all its hosts, each with its share of the connections; default one for each
    /// host.
    pub load_agents: Option<u32>,
    /// Threads of each load agent; default 1.
    pub threads: Option<u32>,
    /// Processes of the own testee, over all its hosts, which share one port on each; default one for each host.
    pub testee_agents: Option<u32>,
    /// Threads of each of the own testee's processes; default 1.
    pub testee_threads: Option<u32>,
    /// Length of the window, ns; default 10 s.
    pub duration_ns: Option<u64>,
    /// Operations after which the run ends, instead of a duration.
    pub count: Option<u64>,
    /// Time before the window that is run and not counted, ns; default 1 s, and 0 with a count.
    pub warmup_ns: Option<u64>,
    /// Rounds; default 1.
    pub repeat: Option<u32>,
    /// An operation without an answer for so long has failed, ns; default 5 s.
    pub timeout_ns: Option<u64>,
    /// A connection that takes longer to establish has failed, ns; default 5 s.
    pub connect_timeout_ns: Option<u64>,
    /// How long operations in flight may take after the window, ns; default 1 s.
    pub drain_ns: Option<u64>,
    /// Length of one interval of the series, ns; default 1 s.
    pub interval_ns: Option<u64>,
    /// Local addresses to connect from; empty: the kernel's choice.
    pub sources: Vec<String>,
    /// Options of every socket on both sides.
    pub socket: SocketRequest,
    /// Where threads run, as far as no CPUs are named.
    pub placement: Option<PlacementKind>,
    /// CPUs of the load's threads, for example `2,4-6`.
    pub client_cpus: Option<String>,
    /// CPUs of the own testee's threads.
    pub testee_cpus: Option<String>,
    /// Profile of the load's host.
    pub profile_load: Option<Profile>,
    /// Profile of the own testee's host.
    pub profile_testee: Option<Profile>,
    /// A profile may make values smaller.
    pub profile_allow_lower: bool,
    /// Leave settings as they are that nobody can write there.
    pub profile_skip_read_only: bool,
}

impl CommonRequest {
    /// The option that has the load made on other hosts, if one does.
    pub(crate) fn load_elsewhere(&self) -> Option<&'static str> {
        match (self.load_via.is_empty(), self.ranks) {
            (_, Some(_)) => Some("--ranks"),
            (false, None) => Some("--load-via"),
            (true, None) => None,
        }
    }

    /// Hosts of the load.
    pub(crate) fn load_hosts(&self) -> usize {
        let ranks = self.ranks.map_or(0, |ranks| ranks as usize);
        ranks.max(self.load_via.len()).max(1)
    }
}

impl Default for PlanRequest {
    fn default() -> Self {
        Self::of(Workload::Rr)
    }
}

impl PlanRequest {
    /// The defaults of a workload.
    pub fn of(workload: Workload) -> Self {
        Self {
            common: CommonRequest::default(),
            shape: ShapeRequest::of(workload),
        }
    }
}

/// Socket options as asked for. `None` leaves the system's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketRequest {
    /// TCP_NODELAY; default on, off for streams.
    pub nodelay: Option<bool>,
    /// SO_SNDBUF, bytes.
    pub send_buffer_bytes: Option<u64>,
    /// SO_RCVBUF, bytes.
    pub receive_buffer_bytes: Option<u64>,
    /// TCP_CONGESTION, by name.
    pub congestion_control: Option<String>,
    /// TCP_MAXSEG, bytes.
    pub mss_bytes: Option<u32>,
    /// IP_TOS or IPV6_TCLASS.
    pub tos: Option<u8>,
    /// SO_BUSY_POLL, us.
    pub busy_poll_us: Option<u32>,
    /// TCP Fast Open on both sides.
    pub fast_open: bool,
    /// SO_KEEPALIVE with this idle time and interval, s.
    pub keepalive_s: Option<u32>,
}

/// Where threads run when no CPUs are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementKind {
    /// Load and testee on different physical cores of one package.
    #[default]
    DifferentCores,
    /// Load and testee on the same CPUs.
    SameCore,
    /// Wherever the scheduler likes.
    Unpinned,
}

impl PlacementKind {
    /// In words, for the document.
    pub fn words(self) -> &'static str {
        match self {
            Self::DifferentCores => "different physical cores",
            Self::SameCore => "same core",
            Self::Unpinned => "unpinned",
        }
    }
}

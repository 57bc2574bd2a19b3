//! What a user asks for, as plain data. `None` asks for the default.

use crate::profile::Profile;
use report::document::{CloseHow, Closer, Direction, Workload};
use serde::{Deserialize, Serialize};

/// A run as asked for. The command line fills it in, and so can a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanRequest {
    /// What one operation is.
    pub workload: Workload,
    /// `tcp://HOST:PORT` or `unix:///PATH`; none starts a testee for the run.
    pub target: Option<String>,
    /// Command prefix that starts the testee agent, for example `ssh b`.
    pub testee_via: Option<String>,
    /// Address at which a testee started through `testee_via` is reached.
    pub testee_host: Option<String>,
    /// The linerate binary on the testee's host; default: this binary's own path.
    pub testee_command: Option<String>,
    /// Where the own testee listens; default `tcp://127.0.0.1:0`, port 0 lets the kernel choose.
    pub testee_listen: Option<String>,
    /// Engine of the load, `NAME` or `NAME:key=value,...`; default `auto`.
    pub engine: Option<String>,
    /// Engine of the own testee; default `auto`.
    pub testee_engine: Option<String>,
    /// Connections at the same time; default 1.
    pub connections: Option<u32>,
    /// Threads of the load; default 1.
    pub threads: Option<u32>,
    /// Threads of the own testee; default 1.
    pub testee_threads: Option<u32>,
    /// Length of the window, ns; default 10 s.
    pub duration_ns: Option<u64>,
    /// Operations after which the run ends, instead of a duration.
    pub count: Option<u64>,
    /// Time before the window that is run and not counted, ns; default 1 s, and 0 with a count.
    pub warmup_ns: Option<u64>,
    /// Rounds; default 1.
    pub repeat: Option<u32>,
    /// Open loop: operations per second in total. None: closed loop.
    pub rate_per_second: Option<f64>,
    /// Open loop with exponential instead of equal gaps.
    pub poisson: bool,
    /// Limit of a stream that the load sends, bits per second in total.
    pub bitrate_bits_per_second: Option<u64>,
    /// Limit that the kernel puts on each connection, bits per second (`SO_MAX_PACING_RATE`).
    pub pacing_rate_bits_per_second: Option<u64>,
    /// Requests in flight per connection (rr, echo); default 1.
    pub depth: Option<u32>,
    /// Bytes of a request (rr, crr); default 1.
    pub request_bytes: Option<u64>,
    /// Bytes of a response (rr, crr); default 1.
    pub response_bytes: Option<u64>,
    /// Bytes of a message (echo: default 64; stream: default 128 KiB).
    pub message_bytes: Option<u64>,
    /// Which way a stream flows; default send.
    pub direction: Option<Direction>,
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
    /// Who closes first (crr, cc); default client.
    pub closer: Option<Closer>,
    /// How the closer closes (crr, cc); default FIN.
    pub close: Option<CloseHow>,
    /// Compare every echoed byte (echo); default on.
    pub verify: Option<bool>,
    /// Profile of the load's host.
    pub profile_load: Option<Profile>,
    /// Profile of the own testee's host.
    pub profile_testee: Option<Profile>,
    /// A profile may make values smaller.
    pub profile_allow_lower: bool,
    /// Leave settings as they are that nobody can write there.
    pub profile_skip_read_only: bool,
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
            workload,
            target: None,
            testee_via: None,
            testee_host: None,
            testee_command: None,
            testee_listen: None,
            engine: None,
            testee_engine: None,
            connections: None,
            threads: None,
            testee_threads: None,
            duration_ns: None,
            count: None,
            warmup_ns: None,
            repeat: None,
            rate_per_second: None,
            poisson: false,
            bitrate_bits_per_second: None,
            pacing_rate_bits_per_second: None,
            depth: None,
            request_bytes: None,
            response_bytes: None,
            message_bytes: None,
            direction: None,
            timeout_ns: None,
            connect_timeout_ns: None,
            drain_ns: None,
            interval_ns: None,
            sources: Vec::new(),
            socket: SocketRequest::default(),
            placement: None,
            client_cpus: None,
            testee_cpus: None,
            closer: None,
            close: None,
            verify: None,
            profile_load: None,
            profile_testee: None,
            profile_allow_lower: false,
            profile_skip_read_only: false,
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

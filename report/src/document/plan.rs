//! What was asked for, with every default filled in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Finite;

/// The resolved plan. A null in here means "not asked for" or "does not apply to this workload".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// What one operation is.
    pub workload: Workload,
    /// Which way a stream flows, seen from the load side; null for other workloads.
    pub direction: Option<Direction>,
    /// What the load was sent to.
    pub target: Target,
    /// Number of load agents, over all hosts.
    pub load_agents: u32,
    /// Command prefixes through which load agents were started, one for each host; left out for child processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_via: Vec<String>,
    /// Load agents that something else started, and that joined the run; left out where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<u32>,
    /// Connections held open at the same time, over all load agents.
    pub connections: u64,
    /// Worker threads of each load agent.
    pub threads: u32,
    /// Worker threads of each of linerate's own testee agents; null with a target that the run did not start.
    pub testee_threads: Option<u32>,
    /// Number of linerate's own testee agents over all hosts, which share one port on each; null with a target that the run did
    /// not start, and in documents of versions that had one.
    #[serde(default)]
    pub testee_agents: Option<u32>,
    /// Engines asked for, as given (`auto`, `uring`, `epoll` ...).
    pub engine: EngineRequest,
    /// Nominal length of the measured window; null if the run ends by count.
    pub duration_ns: Option<u64>,
    /// Operations after which the run ends; null if it ends by time.
    pub count: Option<u64>,
    /// Time before the window that is run and not counted.
    pub warmup_ns: u64,
    /// Length of one interval of the series.
    pub interval_ns: u64,
    /// Number of rounds.
    pub repeat: u32,
    /// When operations are started.
    pub pace: Pace,
    /// Where operations of an open loop that are due wait for a connection; null in a closed loop, and in documents of
    /// versions in which each connection always had its own.
    #[serde(default)]
    pub queue: Option<Queue>,
    /// How connections are opened, held and closed; null unless opening them is the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialing: Option<Dialing>,
    /// What clients ask for and send over WebSockets; null for other workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_socket: Option<WebSocketPlan>,
    /// Limit that linerate itself puts on a stream, total over all connections.
    pub bitrate_bits_per_second: Option<u64>,
    /// Limit that the kernel puts on each connection (`SO_MAX_PACING_RATE`).
    pub pacing_rate_bits_per_second: Option<u64>,
    /// Operations in flight per connection.
    pub depth: u32,
    /// Sizes of what is sent.
    pub sizes: Sizes,
    /// An operation without an answer for so long is counted as timed out.
    pub timeout_ns: u64,
    /// A connection that is not established within this time is counted as failed.
    pub connect_timeout_ns: u64,
    /// True if every received byte was compared with what it should be.
    pub verify: bool,
    /// Who closes first, and so where TIME_WAIT lands; null unless operations close connections.
    pub closer: Option<Closer>,
    /// How the closer closes; null unless operations close connections.
    pub close: Option<CloseHow>,
    /// Socket options asked for by the user, name to value. What was granted stands with each side.
    pub socket_options: BTreeMap<String, String>,
    /// Local addresses to connect from; empty for the kernel's choice.
    pub sources: Vec<String>,
    /// Where the threads were asked to run.
    pub placement: PlacementRequest,
}

/// What one operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// A message is sent and the same bytes come back.
    Echo,
    /// Bytes flow as fast as they can; one operation is one message handed to or by the kernel.
    Stream,
    /// A request is answered by a response.
    Rr,
    /// Connect, request, response, close.
    Crr,
    /// Connect, close.
    Cc,
    /// Connect, each connection once, and hold: one operation is a connection that is established.
    Connect,
    /// A message over a WebSocket is sent and comes back.
    Ws,
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 7] = [
        Workload::Rr,
        Workload::Echo,
        Workload::Stream,
        Workload::Crr,
        Workload::Cc,
        Workload::Connect,
        Workload::Ws,
    ];

    /// Whether bytes are what counts: then the result is a throughput, one operation is whatever one
    /// system call moved, and there is no latency.
    pub fn is_bulk(self) -> bool {
        matches!(self, Workload::Stream)
    }

    /// Whether every operation opens and closes a connection.
    pub fn reconnects(self) -> bool {
        matches!(self, Workload::Crr | Workload::Cc)
    }

    /// Whether each connection is opened once, as the operation, and held.
    pub fn holds(self) -> bool {
        matches!(self, Workload::Connect)
    }

    /// Whether each connection is a client that is opened once, operates, and is not replaced.
    pub fn joins(self) -> bool {
        matches!(self, Workload::Ws)
    }

    /// What its operations are called, in the plural.
    pub fn operations(self) -> &'static str {
        match self {
            Workload::Cc | Workload::Connect => "connections",
            Workload::Ws => "messages",
            _ => "operations",
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Echo => "echo",
            Workload::Stream => "stream",
            Workload::Rr => "rr",
            Workload::Crr => "crr",
            Workload::Cc => "cc",
            Workload::Connect => "connect",
            Workload::Ws => "ws",
        }
    }
}

/// Which way a stream flows, seen from the load side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Load to testee.
    Send,
    /// Testee to load.
    Receive,
    /// Both at the same time.
    Both,
}

impl Direction {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Send => "send",
            Direction::Receive => "receive",
            Direction::Both => "both",
        }
    }
}

/// What the load was sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Where the load connected to, for example `tcp://127.0.0.1:9000` or `unix:///run/x.sock`.
    pub endpoint: String,
    /// The address that was used, where the endpoint has a name; left out where it is the address itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The addresses that connections took in turn, where there were several; left out where there was one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// `tcp` or `unix`.
    pub transport: String,
    /// True if the path to the target never leaves the machine: a loopback address or a Unix
    /// socket.
    pub loopback: bool,
    /// True if the testee was an agent of this run, so that its side is known.
    pub own_testee: bool,
    /// Command prefix through which the testee agent was started; null for a child process.
    pub testee_via: Option<String>,
    /// The prefixes of the testee's other hosts; left out where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_testee_via: Vec<String>,
}

/// Engines asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineRequest {
    /// For the load side.
    pub load: String,
    /// For the testee; null with a target that the run did not start.
    pub testee: Option<String>,
}

/// When operations are started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Pace {
    /// Closed loop: the next operation starts when an earlier one is answered. A slow answer also
    /// delays the operations behind it, and that waiting is in no latency.
    Closed,
    /// Open loop: operations are due at equal distances, answered or not.
    Constant {
        /// Operations per second in total.
        rate_per_second: Finite,
    },
    /// Open loop: operations are due at exponentially distributed distances.
    Poisson {
        /// Mean operations per second in total.
        rate_per_second: Finite,
        /// Seed of the random distances in documents of versions that had one for all rounds; null where
        /// each round has its own (`poisson_seed`).
        seed: Option<u64>,
    },
    /// Open loop: each client has a schedule of its own, and its first operation is due as soon as it is opened.
    Each {
        /// From one operation of a client to its next.
        every_ns: u64,
        /// Operations per second in total while all clients are there.
        rate_per_second: Finite,
    },
}

/// Where operations that are due wait until a connection is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// With the connection that they were dealt to, also while others are free.
    Own,
    /// With the thread of the load: whichever of its connections is free takes the oldest.
    Shared,
}

impl Pace {
    /// The scheduled operations per second; `None` for a closed loop.
    pub fn rate_per_second(&self) -> Option<Finite> {
        match self {
            Pace::Closed => None,
            Pace::Constant { rate_per_second }
            | Pace::Each {
                rate_per_second, ..
            }
            | Pace::Poisson {
                rate_per_second, ..
            } => Some(*rate_per_second),
        }
    }
}

/// How connections are opened, held and closed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dialing {
    /// Connections that come due per second, at equal distances; null without such a schedule.
    pub rate_per_second: Option<Finite>,
    /// Connections that come due together; null without batches.
    pub batch: Option<u64>,
    /// From the beginning of one batch to the next; null without batches.
    pub batch_delay_ns: Option<u64>,
    /// Connects under way at the same time, at most, for each thread of the load.
    pub at_once: u64,
    /// For how long they are held once each of them is established or has failed; null: until somebody ends it.
    pub hold_ns: Option<u64>,
    /// How they are closed.
    pub closing: Closing,
}

/// What clients ask for and send over WebSockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebSocketPlan {
    /// Path and query of the request.
    pub path: String,
    /// Its field Origin; null without.
    pub origin: Option<String>,
    /// Subprotocols asked for, best first.
    pub subprotocols: Vec<String>,
    /// Further fields, `Name: value`.
    pub headers: Vec<String>,
    /// What messages are sent as.
    pub sends: MessageKind,
    /// Bytes of the payload of a frame at most; null: a message is a frame.
    pub fragment_bytes: Option<u64>,
    /// From the opening of one client to that of the next; null: as fast as they go.
    pub client_every_ns: Option<u64>,
    /// From one message of a client to its next; null unless each has a schedule of its own.
    pub message_every_ns: Option<u64>,
}

/// What messages of WebSockets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl MessageKind {
    /// The name in text.
    pub fn name(self) -> &'static str {
        match self {
            MessageKind::Text => "text",
            MessageKind::Binary => "binary",
        }
    }
}

/// How connections that were held are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// All at once.
    AllAtOnce,
    /// One after the other, as they were opened.
    Ramp,
}

/// Sizes of what is sent. Only those of the workload are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Sizes {
    /// Bytes of one request (rr, crr).
    pub request_bytes: Option<u64>,
    /// Bytes of one response (rr, crr).
    pub response_bytes: Option<u64>,
    /// Bytes of one message (echo, stream, ws).
    pub message_bytes: Option<u64>,
}

/// Who closes a connection first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Closer {
    /// The load side; TIME_WAIT stays with it.
    Client,
    /// The testee; TIME_WAIT stays there.
    Server,
}

/// How a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloseHow {
    /// In order, leaving TIME_WAIT with the closer.
    Fin,
    /// By reset (`SO_LINGER` of zero), leaving no TIME_WAIT.
    Rst,
}

/// Where the threads were asked to run, in the words of the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlacementRequest {
    /// For the load side, for example `different physical cores`, `0,2-3` or `unpinned`.
    pub load: String,
    /// For the testee; null with a target that the run did not start.
    pub testee: Option<String>,
}

//! The common trait of all engines, and the jobs that they are given.
//!
//! A [`Driver`] runs one role of one workload on the calling, already pinned thread until it is
//! told to stop. The workload is matched once, inside [`LoadSpec::dispatch`] and
//! [`ServeSpec::dispatch`]; everything below is monomorphised.

use crate::control::{Control, WakeEnd, Waker};
use crate::load::{Accounts, Rules};
use crate::meter::{Published, Recorded, ServePublished};
use crate::needs::Needs;
use crate::options::{EngineOption, Options};
use crate::proactor::BackendCounters;
use crate::record::{EventRecord, Recorder};
use crate::socket::{Granted, SocketOptions};
use crate::tcp_info::TcpInfoSummary;
use crate::workload::{LoadSpec, ServeSpec};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// An engine: one way of moving bytes through the kernel.
pub trait Driver: Sync {
    /// The name users type: `uring`, `epoll`, `kqueue`, `blocking` ...
    fn name(&self) -> &'static str;

    /// One line on what it is.
    fn describe(&self) -> &'static str;

    /// Whether it runs here, with which features, or why not and what to do about it. Makes real
    /// system calls; never looks at kernel versions.
    fn probe(&self) -> Probe;

    /// As [`Driver::probe`], with room for workers that take so much, all at once. An engine whose workers
    /// take nothing that runs out need not look.
    fn probe_for(&self, workers: &[Needs]) -> Probe {
        let _ = workers;
        self.probe()
    }

    /// Serves connections until [`crate::control::Order::Stop`], then drains.
    ///
    /// # Errors
    /// What makes the engine unusable; a failing connection is counted, not returned.
    fn serve(&self, job: ServeJob) -> Result<ServeOutcome, EngineError>;

    /// Opens its share of connections, reports ready, starts at the go, and returns when the
    /// window and the drain are over.
    ///
    /// # Errors
    /// What makes the engine or the target unusable before the go; later failures are counted.
    fn load(&self, job: LoadJob) -> Result<LoadOutcome, EngineError>;

    /// What sets this engine apart, so that nobody has to know it by name.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Refuses what this engine cannot do, with the reason, before anything starts.
    ///
    /// # Errors
    /// The reason, in words for the user.
    fn check_load(&self, spec: &LoadSpec) -> Result<(), String> {
        let _ = spec;
        Ok(())
    }

    /// The options that users may write after the name, `uring:receive=single`; none unless the
    /// engine says so.
    fn options(&self) -> &'static [EngineOption] {
        &[]
    }

    /// Refuses what is no option of this engine, a value that it does not accept, and options that
    /// exclude each other. Called when a plan is built: it looks at nothing but what was written.
    /// What this machine cannot do shows when the engine starts, as [`EngineError::Machine`].
    ///
    /// # Errors
    /// The reason, in words for the user.
    fn check_options(&self, written: &[(String, String)]) -> Result<(), String> {
        Options::parse(self.name(), self.options(), written).map(drop)
    }
}

/// What sets an engine apart. The default is what most are: a loop on each worker's thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Each connection has a thread, so that a worker is a group of threads.
    pub thread_per_connection: bool,
    /// It is io_uring with nothing between: its probe says whether, and how far, io_uring works here.
    pub is_io_uring: bool,
}

/// What [`Driver::probe`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It runs; the features found, name and value.
    Available(Vec<(String, String)>),
    /// The interface is there, but a limit of this process or user (locked memory, open files)
    /// leaves no room for it. Not "unavailable": nobody should take another engine for that reason
    /// without being told, so `auto` warns when it goes on to the next.
    Limited {
        /// Which limit, with its numbers.
        reason: String,
        /// How to raise it.
        cure: String,
    },
    /// It does not run here.
    Unavailable {
        /// What stands in the way.
        reason: String,
        /// What the user can do about it.
        cure: String,
    },
}

/// Why a driver gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// This machine cannot: a limit, a privilege, a missing feature. Exit code 3.
    Machine(String),
    /// The peer refused or failed. Exit code 4.
    Peer(String),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(text) | Self::Peer(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for EngineError {}

/// One worker's half of a load.
#[derive(Debug)]
pub struct LoadJob {
    /// Number of this worker, from 0.
    pub worker: u32,
    /// Steering.
    pub control: Arc<Control>,
    /// This worker's end of its waker.
    pub wake: WakeEnd,
    /// Counters that the agent samples while the worker runs.
    pub published: Arc<Published>,
    /// Where every event of its clients is recorded, if that is wanted.
    pub event_record: Option<Arc<EventRecord>>,
    /// What to say.
    pub spec: LoadSpec,
    /// With whom, when and for how long.
    pub rules: Rules,
    /// Options for every connecting socket.
    pub socket: SocketOptions,
    /// Engine options as written, key to value.
    pub engine_options: Vec<(String, String)>,
}

impl LoadJob {
    /// A recorder for one of the `threads` that share this worker's connections, if events are recorded.
    pub fn recorder(&self, threads: u32) -> Option<Recorder> {
        let record = self.event_record.as_ref();
        record.map(|record| record.recorder(self.worker, threads))
    }
}

/// What a load worker brings home.
#[derive(Debug)]
pub struct LoadOutcome {
    /// Window, totals, errors, histograms.
    pub recorded: Recorded,
    /// The backend's own counters inside the window; `None` where the engine cannot know them.
    pub backend: Option<BackendCounters>,
    /// Features granted.
    pub features: Vec<(String, String)>,
    /// Every engine option as it is in force, key to value: what was granted, not what was written.
    pub options_granted: Vec<(String, String)>,
    /// Socket options read back from the first connection.
    pub granted: Option<Granted>,
    /// TCP_INFO over the connections that were open at the end.
    pub tcp_info: Option<TcpInfoSummary>,
    /// Connections that were established, reconnects included.
    pub connections_opened: u64,
    /// How many connections were started, and what became of them.
    pub accounts: Accounts,
    /// Source addresses beyond the first that had to be used because ports ran out.
    pub spare_sources_used: u32,
}

/// How connections reach the workers of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptStrategy {
    /// Each worker has its own listener in an `SO_REUSEPORT` group (Linux), hashed by the kernel.
    Reuseport,
    /// All workers accept on one listener.
    Shared,
    /// The first worker accepts and hands connections to all in turn.
    Handoff,
}

impl AcceptStrategy {
    /// The name in arguments and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reuseport => "reuseport",
            Self::Shared => "shared",
            Self::Handoff => "handoff",
        }
    }
}

/// One worker's place in a [`AcceptStrategy::Handoff`].
#[derive(Debug)]
pub enum Handoff {
    /// This worker accepts, keeps its share and hands on the rest: one sender and waker per
    /// other worker.
    Give(Vec<(SyncSender<OwnedFd>, Waker)>),
    /// This worker only takes.
    Take(Receiver<OwnedFd>),
}

/// Bounds of a testee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections open at once per worker; more are not accepted until some close.
    pub connections: u32,
    /// A connection without traffic for this long is closed, ns.
    pub idle_timeout_ns: Option<u64>,
    /// Stop by itself after the first connection has closed (`--one-off`).
    pub one_off: bool,
    /// After a stop, how long to let open connections end by themselves, ns.
    pub drain_ns: u64,
}

/// One worker's half of a testee.
#[derive(Debug)]
pub struct ServeJob {
    /// Number of this worker, from 0.
    pub worker: u32,
    /// Steering.
    pub control: Arc<Control>,
    /// This worker's end of its waker.
    pub wake: WakeEnd,
    /// Counters that the agent samples.
    pub published: Arc<ServePublished>,
    /// What to do with connections.
    pub spec: ServeSpec,
    /// The listening socket, bound and listening; `None` for a handoff taker.
    pub listener: Option<OwnedFd>,
    /// Place in a handoff, if that is the strategy.
    pub handoff: Option<Handoff>,
    /// Options for every accepted socket.
    pub socket: SocketOptions,
    /// Bounds.
    pub limits: ServeLimits,
    /// How many connections are expected at once, if that is known: buffers are sized by it.
    pub expected_connections: Option<u32>,
    /// Bytes of one message, if that is known.
    pub expected_message_bytes: Option<u32>,
    /// Engine options as written.
    pub engine_options: Vec<(String, String)>,
}

/// What a testee worker brings home. Its totals are in [`ServeJob::published`].
#[derive(Debug)]
pub struct ServeOutcome {
    /// The backend's own counters; `None` where the engine cannot know them.
    pub backend: Option<BackendCounters>,
    /// Features granted.
    pub features: Vec<(String, String)>,
    /// Every engine option as it is in force, key to value: what was granted, not what was written.
    pub options_granted: Vec<(String, String)>,
    /// Socket options read back from the first accepted connection.
    pub granted: Option<Granted>,
    /// TCP_INFO over the connections still open when the stop came.
    pub tcp_info: Option<TcpInfoSummary>,
}

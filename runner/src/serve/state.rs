//! What is known of a testee that serves, and who is told.

use crate::serve_counts::ServeCounts;
use report::document::Message;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Workers close what is left and return within this after their drain.
pub(super) const END_MARGIN: Duration = Duration::from_secs(3);

/// Watches a testee.
pub trait ServeObserver {
    /// All listeners listen.
    fn listening(&mut self, listeners: &[ListenerState]) {
        let _ = listeners;
    }

    /// Once a second, for listeners with `debug`.
    fn counted(&mut self, id: &str, counts: &ServeCounts) {
        let _ = (id, counts);
    }

    /// Once a second: what each listener of this process has counted.
    fn every_second(&mut self, counts: &[(String, ServeCounts)]) {
        let _ = counts;
    }

    /// A listener has come to one of this testee's own limits.
    fn full(&mut self, id: &str, limit: Limit) {
        let _ = (id, limit);
    }

    /// A stop was asked for, or `--one-off` is done: connections may end within the deadline.
    fn draining(&mut self, open_connections: u64, deadline: Duration) {
        let _ = (open_connections, deadline);
    }
}

/// What keeps a testee from taking more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// So many are open in a process, and it takes no more.
    Connections(u64),
    /// Descriptors ran out.
    Descriptors,
}

/// A listener that listens.
#[derive(Clone, Debug)]
pub struct ListenerState {
    /// Its name.
    pub id: String,
    /// Where it really listens: port 0 is resolved.
    pub endpoint: String,
    /// Its role.
    pub role: &'static str,
    /// Engine in use.
    pub engine: &'static str,
    /// Why this one.
    pub engine_reason: String,
    /// Why `auto` did not take another engine.
    pub passed_over: Option<Message>,
    /// Worker threads.
    pub threads: u32,
    /// How connections come to the workers: `reuseport`, `shared` or `handoff`.
    pub accept: &'static str,
    /// The CPU of each worker; empty: unpinned.
    pub cpus: Vec<u32>,
    /// Connections that it takes at once, over all workers of all processes.
    pub max_connections: u64,
    /// Processes that listen there together.
    pub processes: u32,
    /// That is fewer than by default, because the limit of open files leaves room for no more.
    pub fitted: bool,
}

/// What a testee did, listener by listener.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ServeTotals {
    /// Name and totals of each listener, in the order of the plan.
    pub listeners: Vec<(String, ServeCounts)>,
    /// Connections that were cut off because they outlived the drain.
    pub cut_off: u64,
}

/// How many processes there are, and what one of them takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub processes: u32,
    /// Connections of each worker.
    pub max_connections: u32,
    /// Other processes listen on the same ports.
    pub shares_port: bool,
}

//! A load's life, written once and without I/O: ramp, connect, handshake, traffic, retry, time-outs,
//! phases, window, accounting.
//!
//! A [`Life`] is told what happened (*connected, failed, received, sent, peer finished, lost, closed,
//! time passed*) and answers what to do: connect this ([`Life::next_dial`]), let that speak
//! ([`Life::next_speaker`]), close that ([`Life::next_close`]), wake me at ([`Life::wake_at_ns`]). Every
//! engine's load loop executes these answers and decides nothing. So connections are rested, given up and
//! counted alike on all engines, and any order of events can be tried in a test.
//!
//! What it costs: an operation costs no look at any other connection, no heap and no clock of its own.
//! Everything that is due at an instant is in a heap; a turn in which nothing is due looks at one number.

mod accounts;
mod connection;
mod dialling;
mod events;
mod lateness;
mod outcome;
mod phases;
mod queue;
mod rules;
mod session;
mod speaker;
mod worker_queue;

pub use accounts::Accounts;
pub use dialling::CONNECTS_AT_ONCE;
pub use dialling::Dial;
pub use outcome::{Loss, Outcome};
pub use rules::{Rules, Share};
pub use session::{Began, Connects, LoadOut, LoadSession, LoadWorkload};

use crate::meter::Meter;
use crate::record::{ClientEvent, Ending, Happening, Recorder};
use crate::region::Region;
use crate::session::How;
use crate::timers::Timers;
use connection::{Connection, State};
use speaker::Said;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use worker_queue::WorkerQueue;

/// Where a run is. The order matters: it only moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Connecting, then waiting for the go.
    Preparing,
    /// Warm-up and window.
    Running,
    /// The window is over; operations in flight may still be answered.
    Draining,
    /// Everything is counted; what happens now is of no interest.
    Over,
}

/// The last that was seen of operations ending.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// How many had ended ...
    ended: u64,
    /// ... and when that was seen, ns.
    at_ns: u64,
    /// A connection was lost since.
    lost_since: bool,
}

/// The life of all connections of one worker. See the module's text.
pub struct Life<W: LoadWorkload> {
    workload: W,
    rules: Rules,
    region: Arc<Region>,
    connections: Box<[Connection<W>]>,
    meter: Meter,
    phase: Phase,
    /// When the window opens, ns; `u64::MAX` once it is open: every event compares itself with it.
    boundary_ns: u64,
    window_end_ns: u64,
    window_open: bool,
    drain_until_ns: u64,
    /// When the peer gave a sign of life last, ns: something was received, a connection established; of a stream, bytes
    /// have moved.
    alive_ns: u64,
    /// Whether operations end, for a run that counts.
    progress: Progress,
    /// Next due instants of the schedule, earliest first: at most one entry per connection.
    schedule: BinaryHeap<Reverse<(u64, u32)>>,
    /// The one schedule of all connections, where they share it: `schedule` then holds its next instant.
    queue: Option<WorkerQueue>,
    /// Everything else that is due at an instant: time-outs, rests, the sessions' own timers.
    timers: Timers,
    /// To be connected, in this order.
    to_dial: VecDeque<u32>,
    /// To be spoken on, in this order.
    to_speak: VecDeque<u32>,
    /// How many of the schedule may still speak in this turn.
    turns_left: u32,
    /// To be closed, in this order.
    to_close: VecDeque<(u32, How)>,
    /// Connects under way.
    connecting: u32,
    /// Connections on which traffic may flow.
    open: u32,
    /// Connections that are ready for traffic and wait for the go.
    ready: u32,
    /// Everything was ready once.
    is_prepared: bool,
    /// Connections that rest, or whose session has set a timer: their instants matter exactly.
    exact_instants: u32,
    /// Connections that the drain waits for; kept while draining only.
    owed: u32,
    /// Connections that are held may be closed.
    is_dismissed: bool,
    /// What a session said beyond its output, while it is being told something.
    said: Said,
    accounts: Accounts,
    /// Where every event of the connections is recorded, if it is.
    recorder: Option<Recorder>,
    /// Spare source address in use ([`crate::endpoint::Target::source`]).
    spare_source: u32,
    /// Connections established so far, reconnects included.
    established: u64,
    /// Of clients: those that have shaken hands, and those that have gone for good.
    joined: u32,
    gone: u32,
    /// When the go was, ns.
    go_ns: u64,
}

impl<W: LoadWorkload> Life<W> {
    /// All connections of `rules.share`, none of them open. `meter` records; `region` is the memory
    /// that the workload's sessions send from.
    pub fn new(workload: W, rules: Rules, region: Arc<Region>, meter: Meter) -> Self {
        let share = rules.share;
        let count = share.count as usize;
        let connection = |index| Connection::new(&workload, &rules, share.first + index, &region);
        let connections = (0..share.count).map(connection).collect();
        Self {
            queue: WorkerQueue::new(workload.pace(), &rules),
            connections,
            meter,
            phase: Phase::Preparing,
            boundary_ns: u64::MAX,
            window_end_ns: u64::MAX,
            window_open: false,
            drain_until_ns: u64::MAX,
            alive_ns: 0,
            progress: Progress::default(),
            schedule: BinaryHeap::with_capacity(count + 1),
            timers: Timers::with_capacity(count),
            to_dial: VecDeque::with_capacity(count),
            to_speak: VecDeque::with_capacity(count),
            turns_left: 0,
            to_close: VecDeque::with_capacity(count),
            connecting: 0,
            open: 0,
            ready: 0,
            is_prepared: false,
            exact_instants: 0,
            owed: 0,
            is_dismissed: false,
            said: Said::default(),
            accounts: Accounts::default(),
            recorder: None,
            spare_source: 0,
            established: 0,
            joined: 0,
            gone: 0,
            go_ns: 0,
            workload,
            rules,
            region,
        }
    }

    /// Records every event of the connections too, if there is a recorder. Call it before [`Life::begin`].
    pub fn recording(self, recorder: Option<Recorder>) -> Self {
        Self { recorder, ..self }
    }

    /// Where the run is.
    #[inline]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The memory that sessions send from.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// What is recorded.
    #[inline]
    pub fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    /// How the connections stand.
    pub fn accounts(&self) -> Accounts {
        self.accounts
    }

    /// Connections established so far, reconnects included.
    pub fn established(&self) -> u64 {
        self.established
    }

    /// Spare source addresses beyond the first that had to be used because ports ran out.
    pub fn spare_source(&self) -> u32 {
        self.spare_source
    }

    /// Another worker has come to this spare source already: nobody tries the used up ones again.
    pub fn skip_to_spare_source(&mut self, spare: u32) {
        self.spare_source = self.spare_source.max(spare);
    }

    /// Whether anything is to be done besides receiving: something is queued, or due by `now_ns`.
    /// What is not is a turn that costs nothing more.
    #[inline]
    pub fn has_work(&self, now_ns: u64) -> bool {
        self.has_queued()
            || self.next_instant_ns() <= now_ns
            || self.is_count_reached()
            || self.is_deserted()
    }

    #[inline]
    fn is_count_reached(&self) -> bool {
        self.meter.is_count_reached() && self.phase == Phase::Running
    }

    /// All clients are gone, and the run has no other end than what they do; or none of them was ever there.
    #[inline]
    fn is_deserted(&self) -> bool {
        Self::JOINS
            && self.gone == self.connections.len() as u32
            && self.phase == Phase::Running
            && (self.joined == 0 || self.rules.count().is_some())
    }

    #[inline]
    fn has_queued(&self) -> bool {
        self.may_dial() || !self.to_speak.is_empty() || !self.to_close.is_empty()
    }

    #[inline]
    fn may_dial(&self) -> bool {
        !self.to_dial.is_empty() && self.connecting < self.rules.connects_at_once
    }

    /// The earliest instant at which something is due, `u64::MAX` if nothing is.
    #[inline]
    fn next_instant_ns(&self) -> u64 {
        let timer_ns = self.timers.next_ns().unwrap_or(u64::MAX);
        let due_ns = self
            .schedule
            .peek()
            .map_or(u64::MAX, |Reverse((at, _))| *at);
        let phase_ns = match self.phase {
            Phase::Running => self.boundary_ns.min(self.window_end_ns),
            Phase::Draining => self.drain_until_ns,
            Phase::Preparing | Phase::Over => u64::MAX,
        };
        timer_ns.min(due_ns).min(phase_ns)
    }

    /// When to be told the time even if nothing happens; 0: at once. `None`: there is no instant that
    /// a look now and then (a few times in each time-out) would miss.
    pub fn wake_at_ns(&self) -> Option<u64> {
        if self.has_queued() || self.is_deserted() {
            return Some(0);
        }
        let exact =
            self.phase != Phase::Running || !self.schedule.is_empty() || self.exact_instants > 0;
        exact
            .then(|| self.next_instant_ns())
            .filter(|&at| at != u64::MAX)
    }

    /// Like [`Life::wake_at_ns`], for an engine that has nobody to look now and then.
    pub fn next_wake_ns(&self) -> u64 {
        if self.has_queued() || self.is_deserted() {
            return 0;
        }
        self.next_instant_ns()
    }

    /// Entries of timers looked at since the beginning, for tests of what a turn costs.
    pub fn timer_visits(&self) -> u64 {
        self.timers.visits()
    }

    /// Whether a connection is established and has not ended.
    #[inline]
    pub fn stands(&self, index: u32) -> bool {
        self.state(index).is_established()
    }

    /// Whether a connection's session has set a timer.
    #[inline]
    pub fn has_timer(&self, index: u32) -> bool {
        self.connections[index as usize].timer_ns != connection::NEVER
    }

    /// Whether a connection waits for something of its peer.
    #[inline]
    pub fn waits(&self, index: u32) -> bool {
        let connection = &self.connections[index as usize];
        connection.state.is_established()
            && connection
                .session
                .waiting_since_ns(&connection.slot)
                .is_some()
    }

    #[inline]
    fn state(&self, index: u32) -> State {
        self.connections[index as usize].state
    }

    /// A connection that was started has ended. It is counted here and nowhere else.
    fn ended(&mut self, index: u32, ending: Ending, now_ns: impl FnOnce() -> u64) {
        match ending {
            Ending::Normal => self.accounts.succeeded += 1,
            Ending::Unfinished => self.accounts.unfinished += 1,
            Ending::ConnectTimeout | Ending::Failed { .. } => self.accounts.failed += 1,
        }
        self.record(index, Happening::Exit(ending), now_ns);
    }

    /// Records what happened to a connection. The clock is asked only where somebody wants to know.
    #[inline]
    fn record(&mut self, index: u32, what: Happening, now_ns: impl FnOnce() -> u64) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(ClientEvent {
                at_ns: now_ns(),
                client: self.connections[index as usize].global_index,
                what,
            });
        }
    }
}

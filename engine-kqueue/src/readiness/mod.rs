//! The readiness core: [`Proactor`] over any [`Selector`]. All logic of the `epoll` and `kqueue`
//! engines is here.
//!
//! - [`Proactor::wait`] makes one selector turn. [`Proactor::next`] then takes one ready connection
//!   after the other and receives into the buffer that was used last, so that the bytes are in the
//!   cache when the session looks at them.
//! - Read interest is registered once, as an edge. A connection that may have more to give stays
//!   in the own queue of the ready; nothing relies on a selector reporting it again. With the option
//!   `trigger=level` it is the other way round: one receive per report, and read interest is taken
//!   back while receiving is paused or has ended, or the selector would report it for ever.
//! - One connection gets at most [`RECEIVE_BUDGET`] receives a turn, and the ready are served in
//!   rotation, so no flooder starves the others.
//! - A send is tried at once. Write interest exists only while a send is blocked (or a connect is
//!   under way) and is changed lazily at the next wait, so a stream that blocks time and again
//!   keeps it without any change.
//! - FIN and errors are acted on only when a receive says so: reports may carry an EOF mark while
//!   bytes are still to be read.

#[cfg(test)]
mod fake_tests;
mod interests;
mod reports;
#[cfg(test)]
mod socket_tests;
mod table;
mod tokens;

use crate::options::ReadinessOptions;
use crate::selector::{Change, Filter, Op, Ready, Selector};
use crate::sys;
use engine::clock::now_ns;
use engine::proactor::{
    BackendCounters, ConnectionId, Event, Lease, Piece, Proactor, Sending, Settings,
};
use engine::session::How;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;
use table::{Blocked, BlockedSends, Buffers, Connection, Received};
use tokens::{KIND_WAKE, special};

/// Receives of one connection per turn, at most.
pub const RECEIVE_BUDGET: u32 = 16;

/// Accepted connections per turn, at most.
pub const ACCEPT_BUDGET: u32 = 64;

/// Sockets that are kept for their closing, at most.
const PARTING_MAX: usize = 16;

/// An event that did not come from the selector.
#[derive(Clone, Copy, Debug)]
enum Queued {
    Connected(ConnectionId, Result<(), i32>),
    Closed(ConnectionId),
}

/// The listener's state.
#[derive(Debug, Default)]
struct Accepting {
    /// The listener, while accepting is asked for.
    listener: Option<RawFd>,
    /// How many more accepts to try in this turn.
    left: u32,
    /// How many to try where the selector does not tell how many there are.
    batch: u32,
    /// The turn of the last report.
    reported: u32,
    /// When a larger batch is tried again.
    larger: Seldom<63>,
}

impl Accepting {
    /// How many to try for a report in `turn`. Connections arriving turn after turn are taken in
    /// growing batches. One at a time, they cost no second accept that finds nothing: what found
    /// nothing is tried again ever more rarely.
    fn begin_batch(&mut self, turn: u32) -> u32 {
        let again = self.reported.wrapping_add(1) == turn;
        self.reported = turn;
        if !again {
            self.batch = 1;
        } else if self.larger.is_due() {
            self.batch = (self.batch * 2).clamp(1, ACCEPT_BUDGET);
        }
        self.batch
    }

    /// There were fewer than were tried.
    fn found_nothing(&mut self, taken: u32) {
        self.left = 0;
        self.batch = taken.max(1);
        self.larger.failed();
    }

    /// There were as many as were tried.
    fn found_all(&mut self) {
        if self.batch > 1 {
            self.larger.succeeded();
        }
    }
}

/// When something is worth trying that may be for nothing: ever more rarely while it is, with up to `MAX`
/// occasions left out in between.
#[derive(Debug, Default)]
struct Seldom<const MAX: u32> {
    /// Occasions to come before it is tried again ...
    rest: u32,
    /// ... and how many that were the last time.
    rested: u32,
}

impl<const MAX: u32> Seldom<MAX> {
    /// On each occasion: whether this is one to try it.
    fn is_due(&mut self) -> bool {
        let is_due = self.rest == 0;
        self.rest = self.rest.saturating_sub(1);
        is_due
    }

    fn failed(&mut self) {
        self.rested = (2 * self.rested + 1).min(MAX);
        self.rest = self.rested;
    }

    fn succeeded(&mut self) {
        self.rested = 0;
    }
}

/// A backend on a selector. See the module text.
#[derive(Debug)]
pub struct Readiness<S: Selector> {
    selector: S,
    options: ReadinessOptions,
    changes: Vec<Change>,
    reports: Vec<Ready>,
    /// The next of `reports` to look at.
    cursor: usize,
    /// Grows as indices are used, within what was reserved at the beginning.
    connections: Vec<Connection>,
    buffers: Buffers,
    blocked: BlockedSends,
    /// Connections to receive from in this turn, by index.
    ready: VecDeque<u32>,
    /// Connections whose budget of this turn is used up.
    later: VecDeque<u32>,
    /// Connections that were just accepted, and whose first bytes may be here already. The next wait
    /// watches for them anyhow.
    fresh: VecDeque<u32>,
    /// Connections whose interest may have changed.
    dirty: Vec<u32>,
    queue: VecDeque<Queued>,
    accepting: Accepting,
    /// When a connect is asked about right after its beginning.
    asking: Seldom<255>,
    /// Sockets whose peers have finished, closed before the selector is asked again.
    parting: Vec<OwnedFd>,
    /// The selector was not asked in this turn.
    unasked: bool,
    wake_fd: RawFd,
    turn: u32,
    /// Why the wake descriptor cannot be watched, which makes the backend unusable.
    broken: Option<i32>,
    counters: BackendCounters,
}

impl<S: Selector> Readiness<S> {
    fn with_selector(selector: S, options: ReadinessOptions, settings: &Settings) -> Self {
        let count = settings.connections as usize;
        // The common number of changes and reports in a turn; only a mass start needs more.
        let burst = (2 * count + 8).min(8192);
        let mut changes = Vec::with_capacity(burst);
        changes.push(Change {
            fd: settings.wake_fd,
            filter: Filter::Read,
            op: Op::Add,
            clear: true,
            shared: false,
            oneshot: false,
            lowat: None,
            token: special(KIND_WAKE).0,
        });
        Self {
            selector,
            options,
            changes,
            reports: Vec::with_capacity(burst),
            cursor: 0,
            connections: Vec::with_capacity(count),
            buffers: Buffers::new(settings.buffers, settings.buffer_bytes),
            blocked: BlockedSends::new(settings.connections),
            ready: VecDeque::with_capacity(count),
            later: VecDeque::with_capacity(count),
            fresh: VecDeque::with_capacity(ACCEPT_BUDGET as usize),
            dirty: Vec::with_capacity(count),
            queue: VecDeque::with_capacity(2 * count + 8),
            accepting: Accepting::default(),
            asking: Seldom::default(),
            parting: Vec::with_capacity(PARTING_MAX),
            unasked: false,
            wake_fd: settings.wake_fd,
            turn: 0,
            broken: None,
            counters: BackendCounters::default(),
        }
    }

    /// The selector, for tests that script it.
    #[cfg(test)]
    pub(crate) fn selector_mut(&mut self) -> &mut S {
        &mut self.selector
    }

    #[inline]
    fn connection(&mut self, id: ConnectionId) -> &mut Connection {
        let connection = &mut self.connections[id.index as usize];
        debug_assert!(connection.is(id), "{id:?} is not open");
        connection
    }

    fn descriptor_at(&self, index: u32) -> RawFd {
        self.connections[index as usize]
            .socket
            .as_ref()
            .map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Puts a connection that may have bytes into the ready queue.
    #[inline]
    fn enqueue(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.receiving && !connection.paused && connection.readable && !connection.queued {
            connection.queued = true;
            self.ready.push_back(index);
        }
    }

    #[inline]
    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let calls = self
            .selector
            .turn(&mut self.changes, &mut self.reports, timeout)?;
        self.counters.system_calls += calls;
        Ok(())
    }

    /// Closes what was kept while the caller was told of its own calls, and no longer.
    #[inline]
    fn part(&mut self) {
        if !self.parting.is_empty() {
            self.counters.system_calls += self.parting.len() as u64;
            self.parting.clear();
        }
    }

    #[inline]
    fn sleep(&mut self, deadline_ns: Option<u64>) -> io::Result<()> {
        match self.options.spin.is_zero() {
            true => self.turn(deadline_ns.map(remaining)),
            false => self.spin(deadline_ns),
        }
    }

    /// Looks for reports without sleeping as long as the options say, and sleeps then for what is
    /// left until `deadline_ns`.
    fn spin(&mut self, deadline_ns: Option<u64>) -> io::Result<()> {
        let spin_until_ns = now_ns() + self.options.spin.as_nanos() as u64;
        let until_ns = deadline_ns.map_or(spin_until_ns, |deadline| deadline.min(spin_until_ns));
        loop {
            self.turn(Some(Duration::ZERO))?;
            if !self.reports.is_empty() || self.broken.is_some() {
                return Ok(());
            }
            if now_ns() >= until_ns {
                break;
            }
            std::hint::spin_loop();
        }
        self.turn(deadline_ns.map(remaining))
    }

    /// Whether a connect that was just begun has succeeded meanwhile, as over loopback all do: then no
    /// selector has to watch for that. Where it was not so it is asked ever more rarely.
    fn is_connected_already(&mut self, id: ConnectionId) -> bool {
        // Elsewhere room to send may mean an error, and loopback takes its time.
        if !cfg!(target_os = "linux") || !self.asking.is_due() {
            return false;
        }
        self.counters.system_calls += 1;
        let is_connected = sys::is_writable(self.descriptor_at(id.index));
        match is_connected {
            true => self.asking.succeeded(),
            false => self.asking.failed(),
        }
        is_connected
    }

    /// Whether `next` has something to do without any report.
    fn has_work(&self) -> bool {
        !self.queue.is_empty() || (!self.ready.is_empty() && self.buffers.free() > 0)
    }

    fn next_event(&mut self) -> Option<Event> {
        if !self.queue.is_empty()
            && let Some(event) = self.next_queued()
        {
            return Some(event);
        }
        while let Some(&report) = self.reports.get(self.cursor) {
            self.cursor += 1;
            if let Some(event) = self.report(report) {
                return Some(event);
            }
        }
        if self.accepting.left > 0
            && let Some(event) = self.accept_one()
        {
            return Some(event);
        }
        if let Some(event) = self.receive_one() {
            return Some(event);
        }
        while let Some(index) = self.fresh.pop_front() {
            self.connections[index as usize].readable = true;
            self.enqueue(index);
            if let Some(event) = self.receive_one() {
                return Some(event);
            }
        }
        None
    }

    fn next_queued(&mut self) -> Option<Event> {
        while let Some(queued) = self.queue.pop_front() {
            match queued {
                Queued::Closed(id) => return Some(Event::Closed(id)),
                // Nothing but Closed follows a close.
                Queued::Connected(id, result) if self.connections[id.index as usize].is(id) => {
                    return Some(Event::Connected(id, result));
                }
                Queued::Connected(..) => {}
            }
        }
        None
    }

    fn accept_one(&mut self) -> Option<Event> {
        let listener = self.accepting.listener?;
        while self.accepting.left > 0 {
            self.accepting.left -= 1;
            self.counters.system_calls += 1;
            match sys::accept(listener, Self::NONBLOCKING) {
                Ok(socket) => {
                    self.counters.system_calls += sys::ACCEPT_CALLS - 1;
                    if self.accepting.left == 0 {
                        self.accepting.found_all();
                    }
                    return Some(Event::Accepted(socket));
                }
                Err(errno) if sys::would_block(errno) => {
                    // Another worker was faster, or this was one too many.
                    let tried = self.accepting.left + 1;
                    let taken = self.accepting.batch.saturating_sub(tried);
                    self.accepting.found_nothing(taken);
                }
                Err(errno) if sys::accept_error_is_transient(errno) => {}
                Err(errno) => {
                    self.accept_stop();
                    return Some(Event::AcceptFailed(errno));
                }
            }
        }
        None
    }

    /// Receives from the connections of the ready queue until one gives something to report.
    #[inline]
    fn receive_one(&mut self) -> Option<Event> {
        while let Some(index) = self.ready.pop_front() {
            let connection = &mut self.connections[index as usize];
            if !connection.receiving || connection.paused || !connection.readable {
                connection.queued = false;
                continue;
            }
            if connection.turn != self.turn {
                connection.turn = self.turn;
                connection.receives = 0;
            }
            if connection.receives == RECEIVE_BUDGET {
                self.later.push_back(index);
                continue;
            }
            let Some(buffer) = self.buffers.top() else {
                // It stays where it is until a lease is given back.
                self.ready.push_front(index);
                if !connection.starved {
                    connection.starved = true;
                    self.counters.no_buffers += 1;
                }
                return None;
            };
            connection.starved = false;
            connection.receives += 1;
            self.counters.system_calls += 1;
            let fd = connection.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let (capacity, answer) = (buffer.len(), sys::receive_now(fd, buffer));
            let received = connection.received(capacity, answer);
            if self.options.level {
                self.forget_level(index);
            }
            let connection = &mut self.connections[index as usize];
            if connection.readable && connection.receiving {
                self.ready.push_back(index);
            } else {
                connection.queued = false;
            }
            let id = connection.id(index);
            match received {
                Received::Nothing => {}
                Received::Bytes(len) => {
                    return Some(Event::Received(id, self.buffers.lease(len)));
                }
                Received::Finished => return Some(Event::Finished(id)),
                Received::Failed(errno) => return Some(Event::ReceiveFailed(id, errno)),
            }
        }
        None
    }
}

/// Time from now to `deadline_ns`.
fn remaining(deadline_ns: u64) -> Duration {
    Duration::from_nanos(deadline_ns.saturating_sub(now_ns()))
}

impl<S: Selector> Proactor for Readiness<S> {
    const NONBLOCKING: bool = true;

    fn new(settings: &Settings) -> io::Result<Self> {
        let connections = settings.connections;
        let options = ReadinessOptions::read(S::NAME, &settings.options, connections)
            .map_err(|refused| io::Error::new(io::ErrorKind::InvalidInput, refused))?;
        let selector = S::new(connections, options.batch)?;
        Ok(Self::with_selector(selector, options, settings))
    }

    fn features(&self) -> Vec<(String, String)> {
        let mut features = vec![("selector".to_owned(), S::NAME.to_owned())];
        features.extend(self.selector.features());
        features.push(("receive_budget".into(), RECEIVE_BUDGET.to_string()));
        features
    }

    fn options_granted(&self) -> Vec<(String, String)> {
        self.options.granted()
    }

    fn accept_many(&mut self, listener: RawFd) {
        if self.accepting.listener.is_none() {
            self.accepting.listener = Some(listener);
            self.watch_listener(listener, Op::Add);
        }
    }

    fn accept_stop(&mut self) {
        self.accepting.left = 0;
        if let Some(listener) = self.accepting.listener.take() {
            self.watch_listener(listener, Op::Delete);
        }
    }

    fn open(&mut self, id: ConnectionId, socket: OwnedFd) -> io::Result<()> {
        let place = id.index as usize;
        if place >= self.connections.len() {
            self.connections.resize_with(place + 1, Connection::default);
        }
        let connection = &mut self.connections[place];
        debug_assert!(connection.socket.is_none(), "index {} is in use", id.index);
        self.counters.system_calls += sys::suppress_sigpipe(socket.as_raw_fd());
        connection.occupy(id, socket);
        Ok(())
    }

    fn descriptor(&self, id: ConnectionId) -> RawFd {
        self.descriptor_at(id.index)
    }

    fn connect(&mut self, id: ConnectionId, address: &socket2::SockAddr) {
        let level = self.options.level;
        self.counters.system_calls += 1;
        self.connection(id).connected_here = true;
        match sys::begin_connect(self.descriptor_at(id.index), address) {
            Err(libc::EINPROGRESS) if self.is_connected_already(id) => {
                self.queue.push_back(Queued::Connected(id, Ok(())));
            }
            Err(libc::EINPROGRESS) => {
                let connection = self.connection(id);
                connection.connecting = true;
                connection.write_wanted = true;
                // Reading will be wanted too, and one change is cheaper than two. A level is asked
                // for only when it is wanted.
                connection.read_wanted = !level;
                self.mark(id.index);
            }
            // EAGAIN is a Unix listener's full backlog, which is not waited for by the kernel.
            result => self.queue.push_back(Queued::Connected(id, result)),
        }
    }

    fn receive_many(&mut self, id: ConnectionId) {
        let connection = self.connection(id);
        connection.receiving = true;
        connection.read_wanted = true;
        // Who was connected to speaks first or not at all; who connects has often spoken already,
        // and where that was all, no selector has to hear of the connection.
        let is_fresh = !connection.connected_here && !connection.readable;
        self.mark(id.index);
        self.enqueue(id.index);
        if is_fresh && self.fresh.len() < ACCEPT_BUDGET as usize {
            self.fresh.push_back(id.index);
        }
    }

    fn receive_pause(&mut self, id: ConnectionId) {
        self.connection(id).paused = true;
        if self.options.level {
            self.set_read_wanted(id, false);
        }
    }

    fn receive_resume(&mut self, id: ConnectionId) {
        // Edges that came meanwhile were noted.
        self.connection(id).paused = false;
        if self.options.level {
            self.set_read_wanted(id, true);
        }
        self.enqueue(id.index);
    }

    unsafe fn send(&mut self, id: ConnectionId, pieces: &[Piece]) -> Sending {
        debug_assert!(self.connection(id).blocked.is_none(), "one send at a time");
        let total = pieces.iter().map(|piece| piece.len).sum();
        self.counters.system_calls += 1;
        // SAFETY: the caller keeps the pieces valid during the call and beyond it.
        let taken = match unsafe { sys::send(self.descriptor_at(id.index), pieces, true) } {
            Ok(taken) if taken == total => return Sending::Done(Ok(total)),
            Ok(taken) => taken,
            Err(errno) if sys::would_block(errno) => 0,
            Err(errno) => return Sending::Done(Err(errno)),
        };
        let mut blocked = Blocked::new(pieces, total);
        blocked.advance(taken);
        blocked.short = taken > 0;
        self.counters.short_sends += u64::from(blocked.short);
        let index = self.blocked.insert(blocked);
        let connection = self.connection(id);
        connection.blocked = Some(index);
        connection.write_wanted = true;
        self.mark(id.index);
        Sending::Pending
    }

    fn shutdown_write(&mut self, id: ConnectionId) {
        self.counters.system_calls += 1;
        sys::shutdown_write(self.descriptor_at(id.index));
    }

    fn close(&mut self, id: ConnectionId, how: How) {
        let connection = self.connection(id);
        if let Some(index) = connection.blocked.take() {
            self.blocked.remove(index);
        }
        let connection = &mut self.connections[id.index as usize];
        // The load's: a testee's close may be what its peer waits for.
        let nobody_waits = how == How::Fin && connection.finished && connection.connected_here;
        // It may still stand in the ready queue: what is found there must not be received from.
        connection.receiving = false;
        connection.readable = false;
        connection.paused = false;
        let Some(socket) = connection.socket.take() else {
            return;
        };
        self.selector.closing(socket.as_raw_fd());
        // It can be done while the next one's peer works.
        if nobody_waits && self.parting.len() < PARTING_MAX {
            self.parting.push(socket);
        } else {
            self.counters.system_calls += sys::close(socket, how);
        }
        self.queue.push_back(Queued::Closed(id));
    }

    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        self.buffers.bytes(lease)
    }

    fn give_back(&mut self, lease: Lease) {
        self.buffers.give_back(lease);
    }

    fn buffers_free(&self) -> u32 {
        self.buffers.free()
    }

    fn wait(&mut self, deadline_ns: Option<u64>) -> io::Result<()> {
        if self.cursor < self.reports.len() {
            // The caller has not asked for everything of the last turn.
            return Ok(());
        }
        // What the caller's own calls have brought about is told at once; the selector is asked in every
        // second turn at the least.
        self.unasked = !self.unasked && !self.queue.is_empty();
        if self.unasked {
            return Ok(());
        }
        self.reports.clear();
        self.cursor = 0;
        self.turn = self.turn.wrapping_add(1);
        self.fresh.clear();
        // Guarded, because these are empty in most turns, and to find that out costs more inside.
        if !self.later.is_empty() {
            self.ready.append(&mut self.later);
        }
        if !self.dirty.is_empty() {
            self.flush();
        }
        self.part();
        if self.has_work() {
            self.turn(Some(Duration::ZERO))?;
        } else {
            self.sleep(deadline_ns)?;
        }
        self.counters.waits += u64::from(!self.reports.is_empty());
        match self.broken {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    #[inline]
    fn next(&mut self) -> Option<Event> {
        // Asked once more in every turn than there are events, so the end must be cheap to see.
        if self.ready.is_empty()
            && self.cursor == self.reports.len()
            && self.accepting.left == 0
            && self.queue.is_empty()
            && self.fresh.is_empty()
        {
            return None;
        }
        let event = self.next_event()?;
        self.counters.events += 1;
        Some(event)
    }

    fn counters(&self) -> &BackendCounters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut BackendCounters {
        &mut self.counters
    }
}

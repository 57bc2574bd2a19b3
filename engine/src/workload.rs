//! What is said on a connection: the testee's roles and the load's workloads.
//!
//! A new workload is one file here and one arm of its `dispatch`.

mod bulk;
mod echo;
mod request_response;
mod serve_rr;
mod transaction;

pub use bulk::{Bulk, BulkServer};
pub use echo::EchoServer;
pub use request_response::RequestResponse;
pub use serve_rr::RrServer;
pub use transaction::Transaction;

use crate::loading::Loss;
use crate::meter::{Meter, PartOfAnswer};
use crate::pattern::Pattern;
use crate::proactor::How;
use crate::session::{Hints, Out, Session};
use crate::shape::{Pace, Pacer};
use std::sync::Arc;

/// Who closes first, and so where TIME_WAIT lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Closer {
    /// The load.
    #[default]
    Client,
    /// The testee.
    Server,
}

/// Which way a stream flows, seen from the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// The load sends.
    #[default]
    Send,
    /// The load receives.
    Receive,
    /// Both at once.
    Both,
}

/// A load, validated. Bytes are >= 1 everywhere.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadSpec {
    /// Requests and responses over connections that stay open.
    RequestResponse {
        /// Bytes of a request.
        request_bytes: u32,
        /// Bytes of a response.
        response_bytes: u32,
        /// Requests in flight per connection at most.
        depth: u32,
        /// When to send.
        pace: Pace,
        /// The response is the request itself (an echo), and every byte of it is compared.
        verify: bool,
        /// Responses are echoes: the testee's role is echo.
        echo: bool,
    },
    /// Bulk transfer.
    Stream {
        /// Which way.
        direction: Direction,
        /// Bytes of one write.
        message_bytes: u32,
        /// Bits per second that the load sends in total over all connections, if limited.
        bitrate_bits_per_second: Option<f64>,
    },
    /// Connect, request, response, close; or without the request: connect, close.
    Transaction {
        /// Bytes of request and response; `None` for connect-close.
        exchange: Option<(u32, u32)>,
        /// When to start one.
        pace: Pace,
        /// Who closes first.
        closer: Closer,
        /// How.
        how: How,
    },
}

/// A testee's role, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServeSpec {
    /// Sends back what it receives.
    Echo,
    /// Reads and drops.
    Discard,
    /// Sends as fast as the peer reads.
    Source {
        /// Bytes of one write.
        message_bytes: u32,
    },
    /// Both at once.
    Duplex {
        /// Bytes of one write.
        message_bytes: u32,
    },
    /// Answers every `request_bytes` received with `response_bytes`.
    Rr {
        /// Bytes of a request.
        request_bytes: u32,
        /// Bytes of a response.
        response_bytes: u32,
        /// Close after this many responses (0: at once after accepting).
        close_after: Option<u32>,
        /// How to close then.
        how: How,
    },
}

impl ServeSpec {
    /// The role's name in arguments and documents.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Source { .. } => "source",
            Self::Duplex { .. } => "duplex",
            Self::Rr { .. } => "rr",
        }
    }

    /// Calls `visitor` with the workload of this role: the one place that lists them.
    pub fn dispatch<V: ServeVisitor>(&self, visitor: V) -> V::Output {
        match *self {
            Self::Echo => visitor.visit(EchoServer),
            Self::Discard => visitor.visit(BulkServer::new(false, 1)),
            Self::Source { message_bytes } => visitor.visit(BulkServer::new(true, message_bytes)),
            Self::Duplex { message_bytes } => visitor.visit(BulkServer::new(true, message_bytes)),
            Self::Rr {
                request_bytes,
                response_bytes,
                close_after,
                how,
            } => visitor.visit(RrServer {
                request_bytes,
                response_bytes,
                close_after,
                how,
            }),
        }
    }
}

impl LoadSpec {
    /// Whether operations are sent on a schedule.
    pub fn is_open_loop(&self) -> bool {
        match self {
            Self::RequestResponse { pace, .. } | Self::Transaction { pace, .. } => pace.is_open(),
            Self::Stream { .. } => false,
        }
    }

    /// Whether it is a bulk transfer, of which nothing is owed when the window is over.
    #[inline]
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }

    /// Calls `visitor` with the workload: the one place that lists them.
    pub fn dispatch<V: LoadVisitor>(&self, visitor: V) -> V::Output {
        match *self {
            Self::RequestResponse {
                request_bytes,
                response_bytes,
                depth,
                pace,
                verify,
                ..
            } => visitor.visit(RequestResponse {
                request_bytes,
                response_bytes,
                depth,
                pace,
                verify,
            }),
            Self::Stream {
                direction,
                message_bytes,
                bitrate_bits_per_second,
            } => visitor.visit(Bulk {
                direction,
                message_bytes,
                bitrate_bits_per_second,
            }),
            Self::Transaction {
                exchange,
                pace,
                closer,
                how,
            } => visitor.visit(Transaction {
                exchange,
                pace,
                closer,
                how,
            }),
        }
    }
}

/// Code generic over a testee's role.
pub trait ServeVisitor {
    /// What it yields.
    type Output;
    /// Called once, by [`ServeSpec::dispatch`].
    fn visit<W: ServeWorkload>(self, workload: W) -> Self::Output;
}

/// Code generic over a load's workload.
pub trait LoadVisitor {
    /// What it yields.
    type Output;
    /// Called once, by [`LoadSpec::dispatch`].
    fn visit<W: LoadWorkload>(self, workload: W) -> Self::Output;
}

/// The testee's side of a workload. No slot: nothing outlives a connection there.
pub trait ServeWorkload: Clone + Send + 'static {
    /// One connection.
    type Session: Session<()> + Send;
    /// A session for a connection just accepted.
    fn session(&self) -> Self::Session;
    /// What to prepare for; `message_bytes` if it is known from elsewhere.
    fn hints(&self, message_bytes: Option<u32>) -> Hints;
    /// Bytes of pattern that one send may need.
    fn pattern_bytes(&self) -> u32;
}

/// The load's side of a workload.
pub trait LoadWorkload: Clone + Send + 'static {
    /// One connection.
    type Session: LoadSession + Send;

    /// Whether a closed connection is part of the plan and is followed by another (connect-close
    /// workloads), rather than a failure.
    const RECONNECTS: bool;

    /// The slot of connection `index` of `total`, allocated once.
    fn slot(&self, index: u32, total: u32) -> Slot;
    /// A session for a connection just opened.
    fn session(&self) -> Self::Session;
    /// What to prepare for.
    fn hints(&self) -> Hints;
    /// Bytes of pattern that one send may need.
    fn pattern_bytes(&self) -> u32;
}

/// What the load asks of its sessions beyond [`Session`].
pub trait LoadSession: Session<Slot> {
    /// Arrivals came due in [`Slot::pacer`] (open loop, or a paced stream): send what may be sent.
    fn due<O: Out>(&mut self, slot: &mut Slot, out: &mut O);

    /// When the oldest thing that this connection waits for began (ns), for timeouts; `None` when
    /// it waits for nothing.
    fn waiting_since_ns(&self, slot: &Slot) -> Option<u64>;

    /// What there is of the answer that it waits for; `None` if nothing came, or there is no answer.
    fn part_of_answer(&self, slot: &Slot) -> Option<PartOfAnswer> {
        let _ = slot;
        None
    }

    /// Why it is given up after the operation timeout.
    fn timed_out(&self, slot: &Slot) -> Loss {
        Loss::no_answer(self.part_of_answer(slot))
    }

    /// The peer reset the connection. Returns true if that was the agreed end, or if the session
    /// has recorded its failure itself; false if the driver is to record one.
    fn was_reset<O: Out>(&mut self, slot: &mut Slot, out: &mut O) -> bool {
        let _ = (slot, out);
        false
    }

    /// Counts everything that was sent and has no answer into [`Meter::unfinished`].
    fn abandon(&mut self, slot: &mut Slot, now_ns: u64, meter: &mut Meter);
}

/// What outlives one connection of the load.
#[derive(Debug)]
pub struct Slot {
    /// Global index of the connection in the run.
    pub index: u32,
    /// The schedule, in open loop.
    pub pacer: Pacer,
    /// Operations in flight, oldest first; its capacity is the depth.
    pub flights: Flights,
    /// Monotonic instant of the first step of connecting, ns.
    pub connect_started_ns: u64,
    /// When the connection was due: the intended instant of a scheduled transaction, else the
    /// start of connecting, ns.
    pub connect_intended_ns: u64,
    /// Bytes of the pattern sent and expected so far on this connection (positions).
    pub position_sent: u64,
    /// See [`Slot::position_sent`].
    pub position_received: u64,
    /// The bytes to send and to compare with.
    pub pattern: Arc<Pattern>,
}

impl Slot {
    /// A slot with room for `depth` operations in flight.
    pub fn new(index: u32, pacer: Pacer, depth: u32, pattern: Arc<Pattern>) -> Self {
        Self {
            index,
            pacer,
            flights: Flights::with_depth(depth),
            connect_started_ns: 0,
            connect_intended_ns: 0,
            position_sent: 0,
            position_received: 0,
            pattern,
        }
    }

    /// Forgets what belonged to the previous connection.
    pub fn reset_connection(&mut self) {
        self.flights.clear();
        self.position_sent = 0;
        self.position_received = 0;
    }
}

/// One operation in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flight {
    /// When it was due, ns; in closed loop the same as `sent_ns`.
    pub intended_ns: u64,
    /// When it was sent, ns.
    pub sent_ns: u64,
}

/// A ring of [`Flight`]s of fixed capacity: responses come in the order of their requests.
#[derive(Debug)]
pub struct Flights {
    ring: Box<[Flight]>,
    head: u32,
    len: u32,
}

impl Flights {
    fn with_depth(depth: u32) -> Self {
        Self {
            ring: vec![Flight::default(); depth.max(1) as usize].into_boxed_slice(),
            head: 0,
            len: 0,
        }
    }

    /// How many are in flight.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// None are in flight.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// No more fit.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len as usize == self.ring.len()
    }

    /// Adds the newest. Panics when full: sessions check first.
    #[inline]
    pub fn push(&mut self, flight: Flight) {
        assert!(!self.is_full(), "more operations in flight than the depth");
        let mut at = self.head as usize + self.len as usize;
        if at >= self.ring.len() {
            at -= self.ring.len();
        }
        self.ring[at] = flight;
        self.len += 1;
    }

    /// Removes the oldest.
    #[inline]
    pub fn pop(&mut self) -> Option<Flight> {
        if self.len == 0 {
            return None;
        }
        let flight = self.ring[self.head as usize];
        self.head += 1;
        if self.head as usize == self.ring.len() {
            self.head = 0;
        }
        self.len -= 1;
        Some(flight)
    }

    /// The oldest.
    #[inline]
    pub fn oldest(&self) -> Option<Flight> {
        (self.len > 0).then(|| self.ring[self.head as usize])
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.head = 0;
        self.len = 0;
    }
}

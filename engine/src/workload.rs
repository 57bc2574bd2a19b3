//! What is said on a connection: the testee's roles and the load's workloads.
//!
//! A new workload is one file here and one arm of its `dispatch`.

mod bulk;
mod connect;
mod echo;
mod flights;
mod numbered;
mod request_response;
mod serve_rr;
mod transaction;
mod web_socket;
mod web_socket_server;

pub use bulk::{Bulk, BulkServer};
pub use connect::Connect;
pub use echo::EchoServer;
pub use flights::{Flight, Flights};
pub use request_response::RequestResponse;
pub use serve_rr::RrServer;
pub use transaction::Transaction;
pub use web_socket::{NUMBER_BYTES, WebSocket};
pub use web_socket_server::WebSocketServer;

use crate::load::LoadWorkload;
use crate::needs::Needs;
use crate::region::Region;
use crate::session::{Hints, How, Session};
use crate::shape::{Pace, Ramp};

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
    /// Connect, each connection once, and hold.
    Connect {
        /// When each is due.
        ramp: Ramp,
    },
    /// Messages over WebSockets that come back.
    WebSocket {
        /// What each client says.
        client: WebSocket,
        /// When each client is opened.
        ramp: Ramp,
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
    /// Sends back the messages of WebSockets.
    WebSocket {
        /// Bytes of a message at most.
        limit_message_bytes: u64,
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
            Self::WebSocket { .. } => "ws",
        }
    }

    /// Calls `visitor` with the workload of this role: the one place that lists them.
    pub fn dispatch<V: ServeVisitor>(&self, visitor: V) -> V::Output {
        match *self {
            Self::Echo => visitor.visit(EchoServer),
            Self::Discard => visitor.visit(BulkServer::new(false, 1)),
            Self::WebSocket {
                limit_message_bytes,
            } => visitor.visit(WebSocketServer {
                limit_message_bytes,
            }),
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

    /// What a worker will take that serves `limit` connections at once, of which so many are expected, with
    /// messages of so many bytes, as far as that is known.
    pub fn needs(&self, limit: u32, expected: Option<u32>, message_bytes: Option<u32>) -> Needs {
        struct Visit(Option<u32>);
        impl ServeVisitor for Visit {
            type Output = Hints;
            fn visit<W: ServeWorkload>(self, workload: W) -> Hints {
                workload.hints(self.0)
            }
        }
        Needs::of_testee(self.dispatch(Visit(message_bytes)), limit, expected)
    }
}

impl LoadSpec {
    /// What a worker with so many connections will take.
    pub fn needs(&self, connections: u32) -> Needs {
        let (hints, ..) = self.properties();
        Needs::of_load(hints, connections)
    }

    /// Whether operations are sent on a schedule.
    pub fn is_open_loop(&self) -> bool {
        let (_, pace, _) = self.properties();
        let opens_on_schedule = matches!(self, Self::Connect { ramp } if *ramp != Ramp::AtOnce);
        pace.is_open() || opens_on_schedule
    }

    /// When its connections are opened.
    pub fn ramp(&self) -> Ramp {
        match *self {
            Self::Connect { ramp } | Self::WebSocket { ramp, .. } => ramp,
            _ => Ramp::AtOnce,
        }
    }

    /// Operations in flight per connection at most.
    pub fn depth(&self) -> u32 {
        let (.., depth) = self.properties();
        depth
    }

    /// What the workload says of itself: its hints, its pace and its depth.
    fn properties(&self) -> (Hints, Pace, u32) {
        struct Ask;
        impl LoadVisitor for Ask {
            type Output = (Hints, Pace, u32);
            fn visit<W: LoadWorkload>(self, workload: W) -> Self::Output {
                (workload.hints(), workload.pace(), workload.depth())
            }
        }
        self.dispatch(Ask)
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
            Self::Connect { .. } => visitor.visit(Connect),
            Self::WebSocket { ref client, .. } => visitor.visit(client.clone()),
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
pub trait ServeWorkload: Clone + Send + Sync + 'static {
    /// One connection.
    type Session: Session + Send;
    /// A session for a connection just accepted.
    fn session(&self) -> Self::Session;
    /// What to prepare for; `message_bytes` if it is known from elsewhere.
    fn hints(&self, message_bytes: Option<u32>) -> Hints;
    /// The memory that sessions send from, filled.
    fn region(&self) -> Region;
}

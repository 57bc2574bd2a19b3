//! What the workloads of `run` ask for, each in a shape of its own, so that what a workload does not
//! have cannot be asked of it. A workload is a shape here, an arm of [`ShapeRequest`], and its file in
//! the engine; nothing else of the runner knows it by name.

use super::PlanError;
use super::checks::{bitrate, in_range, refuse, size};
use super::connect::{ConnectRequest, Hold};
use super::pace::PaceRequest;
use super::web_socket::{Around, LIMIT_MESSAGE_BYTES, WebSocketRequest};
use engine::session::How;
use engine::shape::Pace;
use engine::workload::{self, LoadSpec, ServeSpec, WebSocket};
use report::document::{
    CloseHow, Closer, Dialing, Direction, Queue, Sizes, WebSocketPlan, Workload,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const DEPTH_MAX: u32 = 65_536;

/// What one operation is. `None` asks for the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "workload", rename_all = "snake_case")]
pub enum ShapeRequest {
    /// Request and response over connections that stay open.
    Rr(RrRequest),
    /// Messages that come back.
    Echo(EchoRequest),
    /// Bytes as fast as they go.
    Stream(StreamRequest),
    /// Connect, request, response, close.
    Crr(CrrRequest),
    /// Connect, close.
    Cc(CcRequest),
    /// Connect, each connection once, and hold.
    Connect(ConnectRequest),
    /// Messages over WebSockets that come back.
    Ws(WebSocketRequest),
}

/// Sizes of a request and its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExchangeRequest {
    /// Bytes of a request; default 1.
    pub request_bytes: Option<u64>,
    /// Bytes of a response; default 1.
    pub response_bytes: Option<u64>,
}

/// How connections end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndingRequest {
    /// Who closes first; default client.
    pub closer: Option<Closer>,
    /// How the closer closes; default FIN.
    pub close: Option<CloseHow>,
}

/// The shape of `rr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RrRequest {
    /// Sizes.
    pub exchange: ExchangeRequest,
    /// Requests in flight per connection; default 1.
    pub depth: Option<u32>,
    /// When operations start.
    pub pace: PaceRequest,
}

/// The shape of `echo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EchoRequest {
    /// Bytes of a message; default 64.
    pub message_bytes: Option<u64>,
    /// Messages in flight per connection; default 1.
    pub depth: Option<u32>,
    /// Compare every byte that comes back; default on.
    pub verify: Option<bool>,
    /// When operations start.
    pub pace: PaceRequest,
}

/// The shape of `stream`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamRequest {
    /// Which way it flows; default send.
    pub direction: Option<Direction>,
    /// Bytes of one write; default 128 KiB.
    pub message_bytes: Option<u64>,
    /// Limit of what the load sends, bits per second in total.
    pub bitrate_bits_per_second: Option<u64>,
    /// Limit that the kernel puts on each connection, bits per second (`SO_MAX_PACING_RATE`).
    pub pacing_rate_bits_per_second: Option<u64>,
}

/// The shape of `crr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrrRequest {
    /// Sizes.
    pub exchange: ExchangeRequest,
    /// How connections end.
    pub ending: EndingRequest,
    /// When operations start.
    pub pace: PaceRequest,
}

/// The shape of `cc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CcRequest {
    /// How connections end.
    pub ending: EndingRequest,
    /// When operations start.
    pub pace: PaceRequest,
}

/// A shape with every default filled in: what engines do, and what the document says of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    /// What the load does.
    pub load: LoadSpec,
    /// The role of the testee that answers it.
    pub testee: ServeSpec,
    /// Bytes of one message as the testee receives it, for the size of its buffers.
    pub message_bytes: Option<u32>,
    /// When operations start.
    pub pace: Pace,
    /// TCP_NODELAY where nobody asked.
    pub nodelay: bool,
    /// How connections are held, where that is the workload.
    pub hold: Option<Hold>,
    /// In the document's words.
    pub described: Described,
}

/// The parts of the document's plan that only some workloads have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Described {
    pub sizes: Sizes,
    /// Operations in flight per connection; 1 where there can be no others.
    pub depth: Option<u32>,
    /// Where operations wait; `None` in a closed loop.
    pub queue: Option<Queue>,
    pub verify: bool,
    pub direction: Option<Direction>,
    pub bitrate_bits_per_second: Option<u64>,
    pub pacing_rate_bits_per_second: Option<u64>,
    pub closer: Option<Closer>,
    pub close: Option<CloseHow>,
    pub dialing: Option<Dialing>,
    pub web_socket: Option<WebSocketPlan>,
}

impl ShapeRequest {
    /// The defaults of a workload.
    pub fn of(workload: Workload) -> Self {
        match workload {
            Workload::Rr => Self::Rr(RrRequest::default()),
            Workload::Echo => Self::Echo(EchoRequest::default()),
            Workload::Stream => Self::Stream(StreamRequest::default()),
            Workload::Crr => Self::Crr(CrrRequest::default()),
            Workload::Cc => Self::Cc(CcRequest::default()),
            Workload::Connect => Self::Connect(ConnectRequest::default()),
            Workload::Ws => Self::Ws(WebSocketRequest::default()),
        }
    }

    /// Which workload it is.
    pub fn workload(&self) -> Workload {
        match self {
            Self::Rr(_) => Workload::Rr,
            Self::Echo(_) => Workload::Echo,
            Self::Stream(_) => Workload::Stream,
            Self::Crr(_) => Workload::Crr,
            Self::Cc(_) => Workload::Cc,
            Self::Connect(_) => Workload::Connect,
            Self::Ws(_) => Workload::Ws,
        }
    }

    /// Fills in the defaults.
    ///
    /// # Errors
    /// What cannot be, with what to write instead.
    pub(super) fn resolve(&self, around: &Around) -> Result<Shape, PlanError> {
        match self {
            Self::Rr(rr) => rr.resolve(),
            Self::Echo(echo) => echo.resolve(),
            Self::Stream(stream) => stream.resolve(),
            Self::Crr(crr) => transaction(Some(crr.exchange), crr.ending, crr.pace),
            Self::Cc(cc) => transaction(None, cc.ending, cc.pace),
            Self::Connect(connect) => held(connect),
            Self::Ws(web_socket) => conversation(web_socket, around),
        }
    }
}

impl RrRequest {
    fn resolve(&self) -> Result<Shape, PlanError> {
        let ((request_bytes, response_bytes), sizes) = self.exchange.resolve()?;
        let (depth, pace) = (depth(self.depth)?, self.pace.resolve()?);
        Ok(Shape {
            load: LoadSpec::RequestResponse {
                request_bytes,
                response_bytes,
                depth,
                pace,
                verify: false,
                echo: false,
            },
            testee: answers(request_bytes, response_bytes, None, How::Fin),
            message_bytes: Some(request_bytes),
            pace,
            nodelay: true,
            hold: None,
            described: Described {
                sizes,
                depth: Some(depth),
                queue: self.pace.queue()?,
                ..Described::default()
            },
        })
    }
}

impl EchoRequest {
    fn resolve(&self) -> Result<Shape, PlanError> {
        let bytes = size("--size", self.message_bytes.unwrap_or(64))?;
        let (depth, pace) = (depth(self.depth)?, self.pace.resolve()?);
        let verify = self.verify.unwrap_or(true);
        Ok(Shape {
            load: LoadSpec::RequestResponse {
                request_bytes: bytes,
                response_bytes: bytes,
                depth,
                pace,
                verify,
                echo: true,
            },
            testee: ServeSpec::Echo,
            message_bytes: Some(bytes),
            pace,
            nodelay: true,
            hold: None,
            described: Described {
                sizes: of_messages(bytes),
                depth: Some(depth),
                queue: self.pace.queue()?,
                verify,
                ..Described::default()
            },
        })
    }
}

impl StreamRequest {
    fn resolve(&self) -> Result<Shape, PlanError> {
        let direction = self.direction.unwrap_or(Direction::Send);
        let limited = self.bitrate_bits_per_second.is_some();
        refuse(
            &[("--bitrate", limited && direction == Direction::Receive)],
            "--direction receive",
            "it limits what the load sends; use --pacing-rate to have the testee's kernel limit it",
        )?;
        let message_bytes = size("--size", self.message_bytes.unwrap_or(128 * 1024))?;
        let (way, testee) = match direction {
            Direction::Send => (workload::Direction::Send, ServeSpec::Discard),
            Direction::Receive => (
                workload::Direction::Receive,
                ServeSpec::Source { message_bytes },
            ),
            Direction::Both => (
                workload::Direction::Both,
                ServeSpec::Duplex { message_bytes },
            ),
        };
        Ok(Shape {
            load: LoadSpec::Stream {
                direction: way,
                message_bytes,
                bitrate_bits_per_second: bitrate("--bitrate", self.bitrate_bits_per_second)?,
            },
            testee,
            message_bytes: Some(message_bytes),
            pace: Pace::Closed,
            // Large writes fill their segments; Nagle's algorithm spares the others.
            nodelay: false,
            hold: None,
            described: Described {
                sizes: of_messages(message_bytes),
                direction: Some(direction),
                bitrate_bits_per_second: self.bitrate_bits_per_second,
                pacing_rate_bits_per_second: self.pacing_rate_bits_per_second,
                ..Described::default()
            },
        })
    }
}

/// A connection for each operation, with or without a request on it.
fn transaction(
    exchange: Option<ExchangeRequest>,
    ending: EndingRequest,
    pace: PaceRequest,
) -> Result<Shape, PlanError> {
    let exchange = exchange.map(|exchange| exchange.resolve()).transpose()?;
    let (bytes, sizes) = exchange.unzip();
    let (pace, queue) = (pace.resolve()?, pace.queue()?);
    let closer = ending.closer.unwrap_or(Closer::Client);
    let close = ending.close.unwrap_or(CloseHow::Fin);
    let how = match close {
        CloseHow::Fin => How::Fin,
        CloseHow::Rst => How::Rst,
    };
    let (by, close_after) = match closer {
        Closer::Client => (workload::Closer::Client, None),
        Closer::Server => (workload::Closer::Server, Some(u32::from(bytes.is_some()))),
    };
    let (request_bytes, response_bytes) = bytes.unwrap_or((1, 1));
    Ok(Shape {
        load: LoadSpec::Transaction {
            exchange: bytes,
            pace,
            closer: by,
            how,
        },
        testee: answers(request_bytes, response_bytes, close_after, how),
        message_bytes: bytes.map(|(request, _)| request),
        pace,
        nodelay: true,
        hold: None,
        described: Described {
            sizes: sizes.unwrap_or_default(),
            queue,
            closer: Some(closer),
            close: Some(close),
            ..Described::default()
        },
    })
}

/// Clients whose messages come back.
fn conversation(request: &WebSocketRequest, around: &Around) -> Result<Shape, PlanError> {
    let conversation = request.resolve(around)?;
    let depth = depth(request.depth.or(Some(conversation.default_depth)))?;
    let (message_bytes, pace) = (conversation.message_bytes, conversation.pace);
    let verify = request.verify.unwrap_or(true);
    Ok(Shape {
        load: LoadSpec::WebSocket {
            client: WebSocket {
                opening: Arc::new(conversation.opening),
                message_bytes,
                frame_bytes: conversation.frame_bytes,
                kind: conversation.kind,
                depth,
                pace,
                verify,
            },
            ramp: conversation.ramp,
        },
        testee: ServeSpec::WebSocket {
            limit_message_bytes: LIMIT_MESSAGE_BYTES.max(message_bytes.into()),
        },
        message_bytes: Some(message_bytes),
        pace,
        nodelay: true,
        hold: None,
        described: Described {
            sizes: of_messages(message_bytes),
            depth: Some(depth),
            queue: request.pace.queue()?,
            verify,
            web_socket: Some(conversation.described),
            ..Described::default()
        },
    })
}

/// Connections that are opened once and held.
fn held(request: &ConnectRequest) -> Result<Shape, PlanError> {
    let (ramp, hold, dialing) = request.resolve()?;
    Ok(Shape {
        load: LoadSpec::Connect { ramp },
        // It says nothing unless it is spoken to, and has a small buffer.
        testee: ServeSpec::Echo,
        message_bytes: Some(1),
        pace: Pace::Closed,
        nodelay: true,
        hold: Some(hold),
        described: Described {
            dialing: Some(dialing),
            ..Described::default()
        },
    })
}

impl ExchangeRequest {
    fn resolve(&self) -> Result<((u32, u32), Sizes), PlanError> {
        let request_bytes = size("--request", self.request_bytes.unwrap_or(1))?;
        let response_bytes = size("--response", self.response_bytes.unwrap_or(1))?;
        let sizes = Sizes {
            request_bytes: Some(request_bytes.into()),
            response_bytes: Some(response_bytes.into()),
            ..Sizes::default()
        };
        Ok(((request_bytes, response_bytes), sizes))
    }
}

fn depth(asked: Option<u32>) -> Result<u32, PlanError> {
    in_range("--depth", asked.unwrap_or(1), 1, DEPTH_MAX)
}

fn of_messages(bytes: u32) -> Sizes {
    Sizes {
        message_bytes: Some(bytes.into()),
        ..Sizes::default()
    }
}

fn answers(
    request_bytes: u32,
    response_bytes: u32,
    close_after: Option<u32>,
    how: How,
) -> ServeSpec {
    ServeSpec::Rr {
        request_bytes,
        response_bytes,
        close_after,
        how,
    }
}

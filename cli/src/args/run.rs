//! `linerate run`: one subcommand per workload.

use clap::{Args, Subcommand, ValueEnum};

use report::document as doc;
use report::units::{parse_duration_ns, parse_rate, parse_size};
use runner::plan::{
    CcRequest, ConnectRequest, CrrRequest, EchoRequest, EndingRequest, ExchangeRequest,
    PlanRequest, RrRequest, ShapeRequest, StreamRequest, WebSocketRequest,
};

use super::ranks::RanksArgs;
use super::run_groups::{PaceArgs, RunOutputArgs, ShapeArgs, WorkloadArgs, either};
use super::{count_u32, operation_rate};

const EXAMPLES: &str = "\
Examples:
  linerate run rr                                        starts its own testee, measures, cleans up
  linerate run echo tcp://127.0.0.1:9000 -c 64 --size 1K
  linerate run stream --direction both --duration 30s
  linerate run crr --closer server --close rst
  linerate run rr --rate 10k --arrival poisson           latency that users would feel
  linerate run rr --engine epoll --format json --output result.json
  linerate run stream --testee-via 'ssh b' --testee-host 10.0.0.2
  linerate run crr --profile many-connections            sysctls and limits, put back afterwards

Each workload has options of its own: linerate run rr --help";

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    about = "Put load on a testee and report what came out",
    long_about = "Put load on a testee and report what came out.\n\n\
        Without a TARGET linerate starts its own testee as a process of its own, measures, and ends it. \
        Rates divide by the window that really passed, percentiles come from histograms in nanoseconds, \
        and a failed operation is never counted as a fast one.",
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct RunArgs {
    /// What to measure.
    #[command(subcommand)]
    pub workload: Workload,
}

/// The workloads.
#[derive(Debug, Subcommand)]
#[command(
    subcommand_value_name = "WORKLOAD",
    subcommand_help_heading = "Workloads"
)]
pub enum Workload {
    /// Request and response over connections that stay open
    #[command(after_help = concat!("\
Examples:
  linerate run rr                                       1 byte each way, one in flight: the round trip
  linerate run rr --connections 64 --request 100 --response 4K
  linerate run rr unix:///run/x.sock --connections 100  a testee started elsewhere, role rr or echo
  linerate run rr --rate 10k --arrival poisson          open loop: latency from when it was due
  linerate run rr --repeat 5                            with a 95 % confidence interval
  linerate run rr --placement same-core                 no wake-up crosses cores

", units!()))]
    Rr(Box<WorkloadArgs<RrShape>>),

    /// Messages that come back; every byte is compared
    #[command(after_help = concat!("\
Examples:
  linerate run echo                                     64-byte messages against its own testee
  linerate run echo tcp://127.0.0.1:9000 -c 64 --size 1K --duration 10s
  linerate run echo --size 64K --depth 4                four messages in flight per connection
  linerate run echo --no-verify                         without comparing, to see what comparing costs

", units!()))]
    Echo(Box<WorkloadArgs<EchoShape>>),

    /// Bytes one way or both, as fast as they go
    #[command(after_help = concat!("\
Examples:
  linerate run stream                                   to its own testee, which discards
  linerate run stream tcp://127.0.0.1:9001 --direction receive
  linerate run stream --direction both --connections 4 --size 1M
  linerate run stream --bitrate 2G                      linerate paces itself; --pacing-rate: the kernel does
  linerate run stream --testee-via 'ssh b' --testee-host 10.0.0.2

A testee started elsewhere needs the role that fits: send to discard, receive from source, both with
duplex. What a target received that this run did not start is not known; such a rate reads
\"sender side, unconfirmed\".

", units!()))]
    Stream(Box<WorkloadArgs<StreamShape>>),

    /// Connect, request, response, close: over and over
    #[command(after_help = concat!("\
Examples:
  linerate run crr                                      one transaction at a time
  linerate run crr tcp://[::1]:9000 --connections 16    sixteen at a time
  linerate run crr --closer server                      TIME_WAIT stays with the testee
  linerate run crr --close rst                          no TIME_WAIT, and no orderly end

Connect, response and total time are reported apart. With --closer server a testee started elsewhere
must close after one response: linerate serve --listen ... --role rr --close-after 1

", units!()))]
    Crr(Box<WorkloadArgs<CrrShape>>),

    /// Connect and close: over and over
    #[command(after_help = concat!("\
Examples:
  linerate run cc                                       how fast connections are accepted
  linerate run cc tcp://127.0.0.1:9000 --connections 32 --duration 5s
  linerate run cc --rate 1k                             a thousand connections per second
  linerate run cc --close rst                           without TIME_WAIT

", units!()))]
    Cc(Box<WorkloadArgs<CcShape>>),

    /// Connect, each connection once, and hold: how many a server takes, how fast, and whether it keeps them
    #[command(after_help = concat!("\
Examples:
  linerate run connect tcp://127.0.0.1:9000             100 connections, one every 10 ms, held for 1 s
  linerate run connect -c 60k --delay 0 --hold 60s      as fast as they go, against its own testee
  linerate run connect -c 60k --batch 1000 --batch-delay 600ms
  linerate run connect tcp://127.0.0.1:9000 --rate 500 -c 5k --hold
  linerate run connect unix:///run/x.sock -c 1k --delay 1ms --close ramp

Nothing is sent on the connections; what the peer sends is read and ignored. --hold without a duration
holds them until Enter or Ctrl-C. Where the connections are more than one process has descriptors for,
linerate takes several, on either side that it starts itself, and says so.

Exit code: 0 all were established and kept; 1 some were not, or were lost; 4 none was.

", units!()))]
    Connect(Box<WorkloadArgs<ConnectShape>>),

    /// Messages over WebSockets that come back: how a server answers many clients
    #[command(after_help = concat!("\
Examples:
  linerate run ws                                       one client, one message in flight, its own testee
  linerate run ws ws://127.0.0.1:9001/echo -c 64 --size 1K --text
  linerate run ws --clients 10000 --ramp 1ms --message-every 1s --duration 300s   the C10K WebSocket test
  linerate run ws ws://127.0.0.1:9001 -c 100 --rate 10k --header 'Authorization: Bearer x'

Each client is opened once, after the go, as --ramp says, and sends from then on; one that cannot be opened
or is lost is counted and not replaced. Unless --warmup says otherwise the window begins when the ramp is
over. A message carries a number, so that its echo is known in whatever order it comes.

Exit code: 0 all clients were opened and kept; 1 some were not, or were lost; 4 none was.

", units!()))]
    Ws(Box<WorkloadArgs<WsShape>>),
}

/// The shape of `run rr`.
#[derive(Debug, Clone, Args)]
pub struct RrShape {
    #[command(flatten)]
    pub exchange: ExchangeArgs,
    #[command(flatten)]
    pub depth: DepthArgs,
    #[command(flatten)]
    pub pace: PaceArgs,
}

/// The shape of `run echo`.
#[derive(Debug, Clone, Args)]
pub struct EchoShape {
    #[command(flatten)]
    pub message: MessageArgs,
    #[command(flatten)]
    pub depth: DepthArgs,
    #[command(flatten)]
    pub pace: PaceArgs,
}

/// The shape of `run crr`.
#[derive(Debug, Clone, Args)]
pub struct CrrShape {
    #[command(flatten)]
    pub exchange: ExchangeArgs,
    #[command(flatten)]
    pub ending: EndingArgs,
    #[command(flatten)]
    pub pace: PaceArgs,
}

/// The shape of `run cc`.
#[derive(Debug, Clone, Args)]
pub struct CcShape {
    #[command(flatten)]
    pub ending: EndingArgs,
    #[command(flatten)]
    pub pace: PaceArgs,
}

/// The shape of `run connect`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape")]
pub struct ConnectShape {
    /// Open a connection every so often, over all processes and threads; 0: as fast as they go [default: 10ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub delay: Option<u64>,

    /// Instead of --delay: so many per second
    #[arg(long, value_name = "PER_SECOND", value_parser = operation_rate, allow_negative_numbers = true)]
    pub rate: Option<f64>,

    /// Instead of --delay: so many together, then a pause
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub batch: Option<u32>,

    /// From the beginning of one batch to the next [default: 600ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns, requires = "batch")]
    pub batch_delay: Option<u64>,

    /// Connects under way at the same time in each thread, at most: more than the peer's listen backlog takes are
    /// dropped there, and tried again by the kernel after a second [default: 128, or --batch if that is more]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub at_once: Option<u32>,

    /// Hold them for so long once each is established or has failed; without a duration until Enter or Ctrl-C
    /// [default: 1s]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, value_parser = hold_duration)]
    #[expect(
        clippy::option_option,
        reason = "clap's form of an option whose value may be left out"
    )]
    pub hold: Option<Option<u64>>,

    /// How they are closed: all at once, or as they were opened [default: all-at-once]
    #[arg(long, value_name = "HOW", value_enum)]
    pub close: Option<Closing>,
}

/// The shape of `run ws`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape")]
pub struct WsShape {
    /// Open a client every so often, over all processes and threads; 0: as fast as they go [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub ramp: Option<u64>,

    /// Open loop: each client sends a message so often, answered or not, the first as soon as it is opened
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns, conflicts_with = "rate")]
    pub message_every: Option<u64>,

    #[command(flatten)]
    pub pace: PaceArgs,

    /// Messages in flight per client [default: 1, with --message-every or --rate 16]
    #[arg(long, value_name = "N", value_parser = count_u32, help_heading = "Shape")]
    pub depth: Option<u32>,

    #[command(flatten)]
    pub message: MessageArgs,

    /// Send text messages, of ASCII characters, instead of binary ones
    #[arg(long, help_heading = "Shape")]
    pub text: bool,

    /// Send messages in fragments of at most so many bytes [default: in one frame]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Shape")]
    pub fragment: Option<u64>,

    /// Path and query of the request [default: those of the target, or /]
    #[arg(long, value_name = "PATH", help_heading = "Handshake")]
    pub path: Option<String>,

    /// A further field of the request; may be given several times
    #[arg(long, value_name = "'NAME: VALUE'", help_heading = "Handshake")]
    pub header: Vec<String>,

    /// The field Origin of the request
    #[arg(long, value_name = "ORIGIN", help_heading = "Handshake")]
    pub origin: Option<String>,

    /// A subprotocol to ask for; may be given several times, best first
    #[arg(long, value_name = "NAME", help_heading = "Handshake")]
    pub subprotocol: Vec<String>,
}

/// How connections that were held are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Closing {
    // All at once
    AllAtOnce,
    // One after the other, as they were opened
    Ramp,
}

/// The duration of `--hold`, behind which a target may have been written.
fn hold_duration(text: &str) -> Result<u64, String> {
    parse_duration_ns(text).map_err(|error| match text.contains(['/', ':']) {
        true => "to hold without a duration, write --hold last".to_owned(),
        false => error.to_string(),
    })
}

/// Sizes of a request and its response.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape")]
pub struct ExchangeArgs {
    /// Size of a request [default: 1]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub request: Option<u64>,

    /// Size of a response [default: 1]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub response: Option<u64>,
}

/// How much is in flight.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape")]
pub struct DepthArgs {
    /// Requests in flight per connection [default: 1]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub depth: Option<u32>,
}

/// Messages that come back.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape")]
pub struct MessageArgs {
    /// Size of a message [default: 64]
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size)]
    pub size: Option<u64>,

    /// Compare every byte that comes back with the one that went (default)
    #[arg(long, overrides_with = "no_verify")]
    pub verify: bool,

    /// Only count the bytes that come back
    #[arg(long, overrides_with = "verify")]
    pub no_verify: bool,
}

/// The shape of `run stream`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape")]
pub struct StreamShape {
    /// Which way the bytes flow, seen from the load [default: send]
    #[arg(long, value_name = "WAY", value_enum)]
    pub direction: Option<Direction>,

    /// Size of one write [default: 128K]
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size)]
    pub size: Option<u64>,

    /// Send no faster than this in total over all connections; linerate paces itself
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub bitrate: Option<u64>,

    /// Let the kernel pace each connection to this rate (SO_MAX_PACING_RATE, Linux)
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub pacing_rate: Option<u64>,
}

/// Which way a stream flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    // Load to testee
    Send,
    // Testee to load
    Receive,
    // Both at the same time
    Both,
}

/// How connections end.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape")]
pub struct EndingArgs {
    /// Who closes first, and so where TIME_WAIT stays [default: client]
    #[arg(long, value_name = "SIDE", value_enum)]
    pub closer: Option<Closer>,

    /// How: in order, or by reset, which leaves no TIME_WAIT [default: fin]
    #[arg(long, value_name = "HOW", value_enum)]
    pub close: Option<CloseHow>,
}

/// Who closes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Closer {
    // The load
    Client,
    // The testee
    Server,
}

/// How a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CloseHow {
    // In order (FIN)
    Fin,
    // By reset (RST)
    Rst,
}

impl Workload {
    /// What is asked for, with nothing filled in, where ranks join, and where the result goes.
    fn parts(&self) -> (PlanRequest, &RanksArgs, &RunOutputArgs) {
        match self {
            Self::Rr(args) => (args.plan.request(), &args.ranks, &args.output),
            Self::Echo(args) => (args.plan.request(), &args.ranks, &args.output),
            Self::Stream(args) => (args.plan.request(), &args.ranks, &args.output),
            Self::Crr(args) => (args.plan.request(), &args.ranks, &args.output),
            Self::Cc(args) => (args.plan.request(), &args.ranks, &args.output),
            Self::Connect(args) => (args.plan.request(), &args.ranks, &args.output),
            Self::Ws(args) => (args.plan.request(), &args.ranks, &args.output),
        }
    }

    /// What is asked for, with nothing filled in.
    pub fn request(&self) -> PlanRequest {
        self.parts().0
    }

    /// Where ranks join.
    pub fn ranks(&self) -> &RanksArgs {
        self.parts().1
    }

    /// Where the result goes.
    pub fn output(&self) -> &RunOutputArgs {
        self.parts().2
    }
}

/// The expression with `$shape` standing for the arguments of a workload that is known by its name only.
macro_rules! with_shape {
    ($workload:expr, $shape:ident => $body:expr) => {{
        use crate::args::run;
        use report::document::Workload;
        match $workload {
            Workload::Rr => {
                type $shape = run::RrShape;
                $body
            }
            Workload::Echo => {
                type $shape = run::EchoShape;
                $body
            }
            Workload::Stream => {
                type $shape = run::StreamShape;
                $body
            }
            Workload::Crr => {
                type $shape = run::CrrShape;
                $body
            }
            Workload::Cc => {
                type $shape = run::CcShape;
                $body
            }
            Workload::Connect => {
                type $shape = run::ConnectShape;
                $body
            }
            Workload::Ws => {
                type $shape = run::WsShape;
                $body
            }
        }
    }};
}
pub(crate) use with_shape;

impl ShapeArgs for RrShape {
    fn shape(&self) -> ShapeRequest {
        ShapeRequest::Rr(RrRequest {
            exchange: self.exchange.request(),
            depth: self.depth.depth,
            pace: self.pace.request(),
        })
    }
}

impl ShapeArgs for EchoShape {
    fn shape(&self) -> ShapeRequest {
        ShapeRequest::Echo(EchoRequest {
            message_bytes: self.message.size,
            depth: self.depth.depth,
            verify: either(self.message.verify, self.message.no_verify),
            pace: self.pace.request(),
        })
    }
}

impl ShapeArgs for StreamShape {
    fn shape(&self) -> ShapeRequest {
        ShapeRequest::Stream(StreamRequest {
            direction: self.direction.map(Into::into),
            message_bytes: self.size,
            bitrate_bits_per_second: self.bitrate,
            pacing_rate_bits_per_second: self.pacing_rate,
        })
    }
}

impl ShapeArgs for CrrShape {
    fn shape(&self) -> ShapeRequest {
        ShapeRequest::Crr(CrrRequest {
            exchange: self.exchange.request(),
            ending: self.ending.request(),
            pace: self.pace.request(),
        })
    }
}

impl ShapeArgs for CcShape {
    fn shape(&self) -> ShapeRequest {
        ShapeRequest::Cc(CcRequest {
            ending: self.ending.request(),
            pace: self.pace.request(),
        })
    }
}

impl ShapeArgs for ConnectShape {
    fn shape(&self) -> ShapeRequest {
        ShapeRequest::Connect(ConnectRequest {
            delay_ns: self.delay,
            rate_per_second: self.rate,
            batch: self.batch,
            batch_delay_ns: self.batch_delay,
            at_once: self.at_once,
            hold_ns: self.hold.flatten(),
            hold_until_told: self.hold == Some(None),
            closing: self.close.map(|how| match how {
                Closing::AllAtOnce => doc::Closing::AllAtOnce,
                Closing::Ramp => doc::Closing::Ramp,
            }),
        })
    }
}

impl ShapeArgs for WsShape {
    fn shape(&self) -> ShapeRequest {
        ShapeRequest::Ws(WebSocketRequest {
            ramp_ns: self.ramp,
            message_every_ns: self.message_every,
            pace: self.pace.request(),
            depth: self.depth,
            message_bytes: self.message.size,
            fragment_bytes: self.fragment,
            text: self.text,
            verify: either(self.message.verify, self.message.no_verify),
            path: self.path.clone(),
            headers: self.header.clone(),
            origin: self.origin.clone(),
            subprotocols: self.subprotocol.clone(),
        })
    }
}

impl ExchangeArgs {
    fn request(&self) -> ExchangeRequest {
        ExchangeRequest {
            request_bytes: self.request,
            response_bytes: self.response,
        }
    }
}

impl EndingArgs {
    fn request(&self) -> EndingRequest {
        EndingRequest {
            closer: self.closer.map(Into::into),
            close: self.close.map(Into::into),
        }
    }
}

impl From<Direction> for doc::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Send => doc::Direction::Send,
            Direction::Receive => doc::Direction::Receive,
            Direction::Both => doc::Direction::Both,
        }
    }
}

impl From<Closer> for doc::Closer {
    fn from(closer: Closer) -> Self {
        match closer {
            Closer::Client => doc::Closer::Client,
            Closer::Server => doc::Closer::Server,
        }
    }
}

impl From<CloseHow> for doc::CloseHow {
    fn from(how: CloseHow) -> Self {
        match how {
            CloseHow::Fin => doc::CloseHow::Fin,
            CloseHow::Rst => doc::CloseHow::Rst,
        }
    }
}

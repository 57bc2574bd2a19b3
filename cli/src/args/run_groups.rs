//! Groups of options that the workloads of `run` share, one structure per heading of the help.
//!
//! Defaults stand in the help as text and are filled in by the runner, so that there is one place for
//! them; a test compares the two. The values of an option are explained in its help and not one by one:
//! clap would otherwise set every help text in its long form, a screen per group.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use report::document::Queue;
use report::units::{parse_count, parse_duration_ns, parse_size};
use runner::plan::{
    CommonRequest, PaceRequest, PlacementKind, PlanRequest, ShapeRequest, SocketRequest,
};

use super::fill::Fill;
use super::profile::ProfileArgs;
use super::ranks::RanksArgs;
use super::{byte, count_u32, operation_rate, size_u32, whole_s, whole_us};

/// What every workload of `run` takes: what is measured, and where the result goes.
#[derive(Debug, Clone, Args)]
pub struct WorkloadArgs<S: Args> {
    #[command(flatten)]
    pub plan: PlanArgs<S>,
    #[command(flatten)]
    pub ranks: RanksArgs,
    #[command(flatten)]
    pub output: RunOutputArgs,
}

/// What a plan is made from, around the shape that is the workload's own. The order is that of the help.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs<S: Args> {
    #[command(flatten)]
    pub testee: TesteeArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub shape: S,
    #[command(flatten)]
    pub socket: SocketArgs,
    #[command(flatten)]
    pub placement: PlacementArgs,
    #[command(flatten)]
    pub engines: EngineArgs,
    #[command(flatten)]
    pub profile: ProfileArgs,
    #[command(flatten)]
    pub series: SeriesArgs,
}

/// The part of a command line that is the workload's own.
pub trait ShapeArgs: Args {
    /// What is asked for.
    fn shape(&self) -> ShapeRequest;
}

impl<S: ShapeArgs> PlanArgs<S> {
    /// What is asked for, with nothing filled in.
    pub fn request(&self) -> PlanRequest {
        let mut common = CommonRequest {
            socket: self.socket.request(),
            interval_ns: self.series.interval,
            ..CommonRequest::default()
        };
        self.testee.fill(&mut common);
        self.load.fill(&mut common);
        self.placement.fill(&mut common);
        self.engines.fill(&mut common);
        self.profile.fill(&mut common);
        PlanRequest {
            common,
            shape: self.shape.shape(),
        }
    }
}

/// Whom to measure.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Testee")]
pub struct TesteeArgs {
    /// Where to connect: tcp://HOST:PORT or unix:///PATH (HOST:PORT and /PATH will do; ws://HOST:PORT/PATH for ws).
    /// Without it linerate starts its own testee, a process of its own on this machine, and ends it afterwards
    #[arg(value_name = "TARGET", help_heading = None::<&'static str>)]
    pub target: Option<String>,

    /// Spread the connections in turn over all addresses that the name in TARGET has, instead of using the first that
    /// answers
    #[arg(long)]
    pub spread: bool,

    /// Start the testee through this command, for example 'ssh b' or 'ip netns exec b'. Its CPU, its
    /// counters and the bytes that it received come back with the result. Repeat it for several hosts, over which
    /// the connections are spread in turn
    #[arg(long, value_name = "PREFIX")]
    pub testee_via: Vec<String>,

    /// Address at which the load reaches the testee that --testee-via started, one for each; a link-local one with
    /// the interface of this host, fe80::2%eth0
    #[arg(long, value_name = "HOST")]
    pub testee_host: Vec<String>,

    /// linerate on the testee's hosts [default: the path of this one]
    #[arg(long, value_name = "COMMAND")]
    pub testee_command: Option<String>,

    /// Where linerate's own testee listens: tcp://HOST:PORT (port 0: any free one) or unix:///PATH
    /// [default: a free port on loopback, or on --testee-host]
    #[arg(long, value_name = "ENDPOINT")]
    pub testee_listen: Option<String>,

    /// Processes of linerate's own testee, over all its hosts together, which listen on one port on each: each has its
    /// own limit of descriptors (TCP only) [default: one on each host, for connect as many as the connections need]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub testee_agents: Option<u32>,

    /// Threads of each of linerate's own testee processes [default: 1]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub testee_threads: Option<u32>,
}

impl Fill for TesteeArgs {
    fn fill(&self, request: &mut CommonRequest) {
        request.target = self.target.clone();
        request.spread = self.spread;
        request.testee_via = self.testee_via.clone();
        request.testee_host = self.testee_host.clone();
        request.testee_command = self.testee_command.clone();
        request.testee_listen = self.testee_listen.clone();
        request.testee_agents = self.testee_agents;
        request.testee_threads = self.testee_threads;
    }
}

/// How much load, and for how long.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadArgs {
    /// Connections open at the same time; of ws: --clients [default: 1, for connect 100]
    #[arg(short, long, alias = "clients", value_name = "N", value_parser = count_u32)]
    pub connections: Option<u32>,

    /// Start load agents through this command, for example 'ssh a'. Repeat it for several hosts: they begin at one
    /// instant, and their results become one
    #[arg(long, value_name = "PREFIX")]
    pub load_via: Vec<String>,

    /// Load agents that something else starts (Slurm, Kubernetes, MPI, a shell loop), and that join at --join: see
    /// linerate agent --help
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub ranks: Option<u32>,

    /// linerate on the load's hosts [default: the path of this one]
    #[arg(long, value_name = "COMMAND")]
    pub load_command: Option<String>,

    /// Load processes, over all hosts together (they are dealt to the hosts in turn), each with its share of the
    /// connections and its own limit of descriptors [default: one on each host, for connect as many as the
    /// connections need]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub load_agents: Option<u32>,

    /// Threads of each load process, each with its share of the connections [default: 1]
    #[arg(short, long, value_name = "N", value_parser = count_u32)]
    pub threads: Option<u32>,

    /// Length of the measured window [default: 10s]
    #[arg(short, long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub duration: Option<u64>,

    /// End after this many operations instead of after a time
    #[arg(short = 'n', long, value_name = "N", value_parser = parse_count)]
    pub count: Option<u64>,

    /// Run this long before the window; what happens in it is not counted [default: 1s, with --count 0]
    #[arg(short, long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub warmup: Option<u64>,

    /// Measure so many times with fresh processes and sockets; from 2 on with a confidence interval
    /// [default: 1]
    #[arg(short, long, value_name = "N", value_parser = count_u32)]
    pub repeat: Option<u32>,

    /// An operation without an answer for so long has failed; for stream, a silence [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub timeout: Option<u64>,

    /// A connection that is not established within this time, its handshake included, has failed [default: 5s, of
    /// ws 2s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub connect_timeout: Option<u64>,

    /// Wait so long after the window for operations in flight; the rest counts as unfinished
    /// [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub drain: Option<u64>,

    /// Local addresses to connect from, used in turn (10.0.0.1, fe80::1%eth0). Without it the kernel
    /// chooses, and towards 127.0.0.1 spare loopback addresses are used when ports run out
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',')]
    pub source: Vec<String>,
}

impl Fill for LoadArgs {
    fn fill(&self, request: &mut CommonRequest) {
        request.connections = self.connections;
        request.load_via = self.load_via.clone();
        request.ranks = self.ranks;
        request.load_command = self.load_command.clone();
        request.load_agents = self.load_agents;
        request.threads = self.threads;
        request.duration_ns = self.duration;
        request.count = self.count;
        request.warmup_ns = self.warmup;
        request.repeat = self.repeat;
        request.timeout_ns = self.timeout;
        request.connect_timeout_ns = self.connect_timeout;
        request.drain_ns = self.drain;
        request.sources = self.source.clone();
    }
}

/// When operations start.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape")]
pub struct PaceArgs {
    /// Open loop: start this many operations per second in total, answered or not. Latency then counts
    /// from when an operation was due. Operations are dealt to the connections in turn, and each connection
    /// queues for itself (see --queue). Without it: closed loop, as fast as answers come
    #[arg(long, value_name = "PER_SECOND", value_parser = operation_rate, allow_negative_numbers = true)]
    pub rate: Option<f64>,

    /// Distances between the operations of --rate: equal, or random as those of independent users, which come
    /// in bunches [default: constant]
    #[arg(long, value_name = "KIND", value_enum, requires = "rate")]
    pub arrival: Option<Arrival>,

    /// Where operations of --rate that are due wait for a connection. own: each connection has a queue, so that with
    /// one in flight (--depth 1) what is due waits for the answer before it, also while others are free.
    /// shared: as a pool of connections does, whichever is free takes the oldest; one queue per thread
    /// (--threads), not with engine blocking [default: own]
    #[arg(long, value_name = "WHERE", value_enum, requires = "rate")]
    pub queue: Option<QueueKind>,
}

/// Where what is due waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueueKind {
    // With the connection that it was dealt to
    Own,
    // With the thread, for whichever connection is free
    Shared,
}

/// Distances between operations of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arrival {
    // Equal distances
    Constant,
    // Exponentially distributed distances
    Poisson,
}

impl PaceArgs {
    /// What was asked for.
    pub fn request(&self) -> PaceRequest {
        PaceRequest {
            rate_per_second: self.rate,
            poisson: self.arrival == Some(Arrival::Poisson),
            queue: self.queue.map(|kind| match kind {
                QueueKind::Own => Queue::Own,
                QueueKind::Shared => Queue::Shared,
            }),
        }
    }
}

/// Options of the sockets, on both sides where linerate runs both.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Socket")]
pub struct SocketArgs {
    /// Send small segments at once (TCP_NODELAY) [default: on, off for stream]
    #[arg(long, overrides_with = "no_nodelay")]
    pub nodelay: bool,

    /// Let the kernel wait for more before it sends a small segment (Nagle)
    #[arg(long, overrides_with = "nodelay")]
    pub no_nodelay: bool,

    /// Send buffer (SO_SNDBUF). Linux doubles it and cuts it at net.core.wmem_max; the result says what
    /// was granted
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub sndbuf: Option<u64>,

    /// Receive buffer (SO_RCVBUF). Setting it also stops the kernel from adapting it
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub rcvbuf: Option<u64>,

    /// Congestion control by name, for example cubic or bbr (TCP_CONGESTION)
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,

    /// Largest segment (TCP_MAXSEG)
    #[arg(long, value_name = "SIZE", value_parser = size_u32)]
    pub mss: Option<u32>,

    /// Type of service or traffic class, 0 to 255 or 0x00 to 0xff (IP_TOS, IPV6_TCLASS)
    #[arg(long, value_name = "BYTE", value_parser = byte)]
    pub tos: Option<u8>,

    /// Poll the device this long instead of waiting for its interrupt (SO_BUSY_POLL; Linux, not on
    /// loopback)
    #[arg(long, value_name = "DURATION", value_parser = whole_us)]
    pub busy_poll: Option<u32>,

    /// TCP Fast Open: data in the first segment of a connection
    #[arg(long)]
    pub fast_open: bool,

    /// Keepalive probes after this long without traffic (SO_KEEPALIVE)
    #[arg(long, value_name = "DURATION", value_parser = whole_s)]
    pub keepalive: Option<u32>,
}

impl SocketArgs {
    /// What was asked for.
    pub fn request(&self) -> SocketRequest {
        SocketRequest {
            nodelay: either(self.nodelay, self.no_nodelay),
            send_buffer_bytes: self.sndbuf,
            receive_buffer_bytes: self.rcvbuf,
            congestion_control: self.congestion.clone(),
            mss_bytes: self.mss,
            tos: self.tos,
            busy_poll_us: self.busy_poll,
            fast_open: self.fast_open,
            keepalive_s: self.keepalive,
        }
    }
}

/// `--this` or `--no-this` or neither; the later one won already.
pub fn either(yes: bool, no: bool) -> Option<bool> {
    match (yes, no) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// Which CPUs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Placement")]
pub struct PlacementArgs {
    /// CPUs for the load threads, for example 2 or 0,2-3
    #[arg(long, value_name = "CPUS")]
    pub client_cpus: Option<String>,

    /// CPUs for the threads of linerate's own testee
    #[arg(long, value_name = "CPUS")]
    pub testee_cpus: Option<String>,

    /// Where threads go when no CPUs are named. default: one thread a side on different physical cores;
    /// same-core: both sides on one, so no wake-up crosses cores; unpinned: the kernel decides
    #[arg(long, value_name = "HOW", value_enum)]
    pub placement: Option<PlacementChoice>,
}

/// Where threads go when no CPUs are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlacementChoice {
    // One thread a side on different physical cores
    Default,
    // Both sides on one core
    SameCore,
    // Where the kernel puts them
    Unpinned,
}

impl Fill for PlacementArgs {
    fn fill(&self, request: &mut CommonRequest) {
        request.client_cpus = self.client_cpus.clone();
        request.testee_cpus = self.testee_cpus.clone();
        request.placement = self.placement.map(|choice| match choice {
            PlacementChoice::Default => PlacementKind::DifferentCores,
            PlacementChoice::SameCore => PlacementKind::SameCore,
            PlacementChoice::Unpinned => PlacementKind::Unpinned,
        });
    }
}

/// Ways through the kernel.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Engines")]
pub struct EngineArgs {
    /// Engine of the load: auto, uring, epoll, kqueue, blocking, or a runtime: tokio-uring, monoio,
    /// monoio-legacy. `linerate engines` shows which run here, `linerate engines --options` what can follow
    /// the name, as in uring:send=zc. A named engine that cannot run is an error; auto takes the first that
    /// runs, and says which [default: auto]
    #[arg(short, long, value_name = "ENGINE")]
    pub engine: Option<String>,

    /// Engine of linerate's own testee, likewise [default: auto]
    #[arg(long, value_name = "ENGINE")]
    pub testee_engine: Option<String>,
}

impl Fill for EngineArgs {
    fn fill(&self, request: &mut CommonRequest) {
        request.engine = self.engine.clone();
        request.testee_engine = self.testee_engine.clone();
    }
}

/// How finely the window is cut.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct SeriesArgs {
    /// Length of an interval of the series, of --events and of progress lines [default: 1s, for
    /// connect 100ms, with --delay 0 20ms]
    #[arg(short, long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub interval: Option<u64>,
}

/// Where a result goes, and what is said meanwhile: the same for `run` and `compare`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Form of the result: text and markdown for people, html with plots, json with everything, csv in
    /// long form, hgrm (latency of a run) for HdrHistogram plotters, prom for Prometheus [default: what
    /// the name of --output ends in, else text]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub format: Option<Format>,

    /// Write the result to this file instead of stdout. It is checked before measuring, and appears
    /// whole at the end
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write a page with plots to this file as well, whatever the form of the result
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Progress on stderr. bar: one line, redrawn; plain: a line per interval, in a comparison per run;
    /// auto: a bar on a terminal, else plain
    #[arg(long, value_name = "KIND", value_enum, default_value = "auto")]
    pub progress: ProgressChoice,

    /// Nothing on stderr but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// The same, and the events of a run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct RunOutputArgs {
    #[command(flatten)]
    pub result: OutputArgs,

    /// Write what happens while it happens to this file, one JSON object per line. With - they go to
    /// stdout, and the text result to stderr
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,

    /// Record every event of every client in this file: start, open, each message sent and received, exit,
    /// with its instant. Warm-up and drain are in it too. `linerate events stats FILE` adds up, `linerate
    /// events cat FILE` shows all
    #[arg(long, value_name = "FILE")]
    pub event_record: Option<PathBuf>,
}

/// Forms of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    // For people
    Text,
    // For people, as GitHub shows it
    Markdown,
    // Everything, after a versioned schema
    Json,
    // One row per round, side, metric and statistic
    Csv,
    // A page with plots
    Html,
    // The latency as HdrHistogram's percentile distribution
    Hgrm,
    // Metrics in Prometheus' text format
    Prom,
}

impl OutputArgs {
    /// The form of the result.
    pub fn form(&self) -> Format {
        Format::choose(self.format, self.output.as_deref())
    }
}

impl Format {
    /// All of them.
    const ALL: [Format; 7] = [
        Format::Text,
        Format::Markdown,
        Format::Json,
        Format::Csv,
        Format::Html,
        Format::Hgrm,
        Format::Prom,
    ];

    /// What was asked for, or what the name of the file promises.
    pub fn choose(asked: Option<Format>, path: Option<&Path>) -> Self {
        asked
            .or_else(|| Self::promised(path?))
            .unwrap_or(Format::Text)
    }

    /// A line where a file gets another form than its name promises.
    pub fn broken_promise(self, path: Option<&Path>) -> Option<String> {
        let path = path?;
        let promised = Self::promised(path).filter(|promised| *promised != self)?;
        Some(format!(
            "{} gets {}, as --format says, and its name promises {}",
            path.display(),
            self.extension(),
            promised.extension()
        ))
    }

    /// The form that the end of a name stands for.
    fn promised(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "markdown" => Some(Format::Markdown),
            "htm" => Some(Format::Html),
            known => Self::ALL.into_iter().find(|form| form.extension() == known),
        }
    }

    /// How the name of a file ends that holds it.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Text => "txt",
            Format::Markdown => "md",
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Html => "html",
            Format::Hgrm => "hgrm",
            Format::Prom => "prom",
        }
    }
}

/// Kinds of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressChoice {
    // A bar on a terminal, plain lines elsewhere
    Auto,
    // A bar that is redrawn in place
    Bar,
    // A line per interval
    Plain,
    // Nothing
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_was_asked_for_or_what_the_name_promises() {
        for (name, form) in [
            ("x.json", Format::Json),
            ("a/b.HTML", Format::Html),
            ("x.htm", Format::Html),
            ("x.md", Format::Markdown),
            ("x.csv", Format::Csv),
            ("x.txt", Format::Text),
            ("x.hgrm", Format::Hgrm),
            ("x.prom", Format::Prom),
            ("x.log", Format::Text),
            ("json", Format::Text),
        ] {
            let path = Some(Path::new(name));
            assert_eq!(Format::choose(None, path), form, "{name}");
            assert_eq!(form.broken_promise(path), None, "{name}");
            assert_eq!(Format::choose(Some(Format::Csv), path), Format::Csv);
        }
        let said = Format::Json.broken_promise(Some(Path::new("x.html")));
        assert_eq!(
            said.as_deref(),
            Some("x.html gets json, as --format says, and its name promises html")
        );
        assert_eq!(Format::Json.broken_promise(None), None);
    }
}

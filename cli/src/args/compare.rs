//! `linerate compare`: which arms, and how they are measured; everything else is that of `run`.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand, ValueEnum};
use report::comparison::{MetricName, Vary};
use report::document as doc;
use report::units::parse_duration_ns;

use super::count_u32;
use super::ranks::RanksArgs;
use super::run::{CcShape, ConnectShape, CrrShape, EchoShape, RrShape, StreamShape, WsShape};
use super::run_groups::{OutputArgs, PlanArgs};
use crate::arms::RunLine;

/// By hand, for clap would show the two files of one argument as `[OLD] [NEW]`, and the ways in as one.
const USAGE: &str = "\
linerate compare <WORKLOAD> --engines <ENGINE,...> [OPTIONS]
       linerate compare <WORKLOAD> --profiles <NAME,...> [OPTIONS]
       linerate compare --plan <FILE> [OPTIONS]
       linerate compare --resume <LOG> [OPTIONS]
       linerate compare --again <FILE> [OPTIONS]
       linerate compare <OLD> <NEW> [OPTIONS]";

// Lines of at most 80 columns: clap breaks longer ones in the middle.
const EXAMPLES: &str = "\
Examples:
  linerate compare rr --engines uring,epoll,blocking --connections 1,16,256
  linerate compare stream --engines uring,uring:send=zc --vary load
  linerate compare rr --engines epoll,uring --rate 10k  latency at the same load
  linerate compare --plan plan.toml            plans that differ in anything
  linerate compare rr --engines epoll,uring --metric cpu_per_op     what decides
  linerate compare crr --profiles none,many-connections
  linerate compare --again result.json        another look at a saved comparison
  linerate compare --resume result.trials.jsonl    it was ended before its end
  linerate compare old.json new.json           two saved results; they tell less

A plan file is TOML: options of run WORKLOAD by their long names, and an [[arm]]
for each thing to compare, with what differs. The first arm is the baseline:
  workload = \"rr\"
  connections = [1, 16]             # each a question of its own
  duration = \"3s\"

  [[arm]]
  name = \"small buffers\"
  sndbuf = \"16K\"
  rcvbuf = \"16K\"

  [[arm]]
  name = \"as the kernel likes\"

How it measures: in every round each arm runs once, in random order, with fresh
processes and sockets. The baseline runs twice, and what it seems to differ by
from itself is the noise. The first round is discarded. Each run gives one
number per metric, and rounds are compared, so that drift of the machine
cancels. A verdict is faster, slower, equivalent, inconclusive or invalid. The
rounds never end because of what a test said.

Every finished round is on disk before the next begins, in a log beside --output
(x.trials.jsonl for x.json) or in ~/.local/state/linerate/trials, which keeps
the newest 20. --again analyses a log as far as it goes, --resume goes on with
it.

Exit code with --fail-on: 1 a condition holds, 5 nothing can be said of one,
0 all are known not to hold.

Each workload has options of its own: linerate compare rr --help";

/// Arguments of `compare`.
#[derive(Debug, Args)]
#[command(
    about = "Compare engines, options or plans, so that the answer can be believed",
    long_about = "Compare engines, options or whole plans in interleaved rounds, with a control that shows the noise, \
        confidence intervals, and verdicts that a sceptic accepts.",
    override_usage = USAGE,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub struct CompareArgs {
    /// What to measure.
    #[command(subcommand)]
    pub workload: Option<Compared>,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arms that do not stand on the command line.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Arms")]
pub struct SourceArgs {
    /// Take the arms from this TOML file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["again", "files"])]
    pub plan: Option<PathBuf>,

    /// Go on with the comparison of this log, which was ended before its end: the same plan, the same seed, the
    /// rounds that are missing
    #[arg(long, value_name = "LOG",
        conflicts_with_all = ["plan", "again", "files", "metric", "rounds", "budget", "precision", "pause", "seed"])]
    pub resume: Option<PathBuf>,

    /// Analyse this saved comparison, or the log of one, again instead of measuring
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "metric"])]
    pub again: Option<PathBuf>,

    /// Compare OLD and NEW although they are of different work (connections, sizes, rate ...): what differs is said
    /// first, and is in every number
    #[arg(long, requires = "files")]
    pub allow_different: bool,

    /// Two saved results of run --repeat, the baseline first. They were not measured in turn, so that a change of
    /// the machine between them looks like a difference
    #[arg(value_names = ["OLD", "NEW"], num_args = 1..=2)]
    pub files: Vec<PathBuf>,
}

/// The workloads.
#[derive(Debug, Subcommand)]
#[command(
    subcommand_value_name = "WORKLOAD",
    subcommand_help_heading = "Workloads"
)]
pub enum Compared {
    /// Request and response over connections that stay open
    #[command(after_help = concat!("\
Examples:
  linerate compare rr --engines uring,epoll,blocking --connections 1,16,256
  linerate compare rr --engines epoll,uring:receive=single,buffers=64
  linerate compare rr --engines monoio,monoio:taskrun=coop
  linerate compare rr --engines uring,epoll --rate 10k  CPU, latency at one rate
  linerate compare rr --engines uring,epoll --precision 1 --budget 10m

A part key=value is an option of the engine before it: the second example has
two engines, uring with two options. --precision 1: until it is known to 1 %.

", units!()))]
    Rr(Box<ComparedArgs<RrShape>>),

    /// Messages that come back; every byte is compared
    #[command(after_help = concat!("\
Examples:
  linerate compare echo --engines uring,epoll --connections 16 --size 1K

", units!()))]
    Echo(Box<ComparedArgs<EchoShape>>),

    /// Bytes one way or both, as fast as they go
    #[command(after_help = concat!("\
Examples:
  linerate compare stream --engines uring,uring:send=zc --vary load
  linerate compare stream --engines uring,epoll --direction receive

", units!()))]
    Stream(Box<ComparedArgs<StreamShape>>),

    /// Connect, request, response, close: over and over
    #[command(after_help = concat!("\
Examples:
  linerate compare crr --engines uring,epoll --connections 16

", units!()))]
    Crr(Box<ComparedArgs<CrrShape>>),

    /// Connect and close: over and over
    #[command(after_help = concat!("\
Examples:
  linerate compare cc --engines uring,epoll --close rst

", units!()))]
    Cc(Box<ComparedArgs<CcShape>>),

    /// Connect, each connection once, and hold
    #[command(after_help = concat!("\
Examples:
  linerate compare connect --engines uring,epoll -c 10k --delay 0 --hold 0s

", units!()))]
    Connect(Box<ComparedArgs<ConnectShape>>),

    /// Messages over WebSockets that come back
    #[command(after_help = concat!("\
Examples:
  linerate compare ws --engines uring,epoll -c 64
  linerate compare ws --engines uring,epoll -c 1k --message-every 100ms

", units!()))]
    Ws(Box<ComparedArgs<WsShape>>),
}

/// What every workload of `compare` takes.
#[derive(Debug, Clone, Args)]
pub struct ComparedArgs<S: Args + Clone + 'static> {
    #[command(flatten)]
    pub arms: ArmsArgs,
    #[command(flatten)]
    pub options: RunOptions<S>,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is compared.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Arms")]
pub struct ArmsArgs {
    /// Engines to compare, with or without options: uring,epoll or uring:send=zc,buffers=64,epoll. A part of
    /// the form key=value belongs to the engine before it. May be repeated; the first is the baseline
    #[arg(
        short = 'E',
        long,
        value_name = "ENGINE,...",
        required_unless_present = "profiles"
    )]
    pub engines: Vec<String>,

    /// Profiles of sysctls and limits to compare, applied before each run and put back after it (needs root);
    /// none is the machine as it is. Both sides have the engines of --engine and --testee-engine
    #[arg(long, value_name = "NAME|FILE,...", value_delimiter = ',',
        conflicts_with_all = ["engines", "profile", "profile_load", "profile_testee"])]
    pub profiles: Vec<String>,

    /// The engine or profile that the others are compared with [default: the first]
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,

    /// Which side has these engines or profiles. testee: the load is the same in all arms (--engine, or auto);
    /// load: the testee is (--testee-engine, or auto); both: both sides have them [default: testee, of
    /// profiles both]
    #[arg(long, value_name = "SIDE", value_enum)]
    pub vary: Option<Side>,
}

impl ArmsArgs {
    /// Which side differs: an engine is most often that of a server, and a kernel has one set of settings for both.
    pub fn vary(&self) -> Side {
        self.vary.unwrap_or(match self.profiles.is_empty() {
            true => Side::Testee,
            false => Side::Both,
        })
    }
}

/// The side that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    // The testee
    Testee,
    // The load
    Load,
    // Both alike
    Both,
}

impl From<Side> for Vary {
    fn from(side: Side) -> Self {
        match side {
            Side::Testee => Vary::Testee,
            Side::Load => Vary::Load,
            Side::Both => Vary::Both,
        }
    }
}

/// How it is measured.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Method")]
pub struct MethodArgs {
    /// What decides, and nothing else: rate, throughput, mean, p50, p99, p99.9, cpu_per_op or cpu_per_kib (of the
    /// side that is varied), load_cpu_per_op, testee_cpu_per_op. Of several the first one decides, and all share the
    /// error rate [default: rate, at a fixed rate p99, and CPU where the other side is the limit]
    #[arg(long, value_name = "METRIC,...", value_delimiter = ',', value_parser = str::parse::<MetricName>)]
    pub metric: Vec<MetricName>,

    /// Rounds that count; with --budget or --precision, at most so many. No fewer than it takes to tell
    /// anything from chance, no more than 30 [default: 12; with --budget or --precision 30]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub rounds: Option<u32>,

    /// End within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub budget: Option<u64>,

    /// End when every confidence interval is within plus or minus this many percent
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub precision: Option<f64>,

    /// Pause before each run [default: 200ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub pause: Option<u64>,

    /// Decides on the order of the runs; the same seed gives the same order [default: from the clock]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Exit with code 1 if a difference beyond this is found, for example rate<-5%, p99>+10% or
    /// cpu_per_op>3%, and with code 5 if nothing can be said of it. May be repeated
    #[arg(long, value_name = "CONDITION")]
    pub fail_on: Vec<String>,

    #[command(flatten)]
    pub ranks: RanksArgs,
}

/// A share, written in percent.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent.is_finite() => Ok(percent / 100.0),
        _ => Err("write a number of percent, for example 2 or 0.5".to_owned()),
    }
}

/// The options of `run WORKLOAD`, taken as they were written: every arm is a command line of `run`.
#[derive(Debug, Clone)]
pub struct RunOptions<S> {
    /// Long names with their values, none for a switch; without `connections`.
    pub options: Vec<(String, Vec<String>)>,
    /// Whom to measure, if it is no testee of linerate's own.
    pub target: Option<String>,
    /// Numbers of connections, each a cell; empty for the default.
    pub connections: Vec<u32>,
    shape: PhantomData<S>,
}

const CONNECTIONS: &str = "connections";
const REPEAT: &str = "repeat";

impl<S: Args> Args for RunOptions<S> {
    fn augment_args(command: Command) -> Command {
        PlanArgs::<S>::augment_args(command)
            .mut_arg(CONNECTIONS, |argument| {
                argument
                    .value_name("N,...")
                    .value_delimiter(',')
                    .action(clap::ArgAction::Append)
                    .help("Connections open at the same time; each number is a question of its own [default: 1]")
            })
            // It is `--rounds` here; it stays known, so that the answer to it can say so.
            .mut_arg(REPEAT, |argument| argument.hide(true))
            .mut_arg("duration", |argument| {
                argument.help("Length of the measured window of each run [default: 2s]")
            })
            .mut_arg("interval", |argument| {
                argument
                    .help("Length of the slices by which steadiness is judged [default: 100ms]")
                    .help_heading("Method")
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Args> FromArgMatches for RunOptions<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if given(REPEAT) {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::UnknownArgument,
                "--repeat is for run; a comparison has --rounds",
            ));
        }
        let mut options = RunOptions {
            options: Vec::new(),
            target: None,
            connections: Vec::new(),
            shape: PhantomData,
        };
        let command = PlanArgs::<S>::augment_args(Command::new("run"));
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            if !given(id) {
                continue;
            }
            let values = matches.get_raw(id).into_iter().flatten();
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            match argument.get_long() {
                None => options.target = values.first().map(|value| value.clone().into_owned()),
                Some(CONNECTIONS) => {
                    let counts = matches.get_many::<u32>(id).into_iter().flatten();
                    options.connections = counts.copied().collect();
                }
                Some(long) => {
                    let takes = argument.get_action().takes_values();
                    let values = values.into_iter().filter(|_| takes);
                    let values = values.map(Cow::into_owned).collect();
                    options.options.push((long.to_owned(), values));
                }
            }
        }
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What a command line of `compare WORKLOAD` asks for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What is compared.
    pub arms: &'a ArmsArgs,
    /// What all arms have in common.
    pub line: RunLine,
    /// Numbers of connections, each a cell; empty for the default.
    pub connections: &'a [u32],
    /// How it is measured.
    pub method: &'a MethodArgs,
    /// Where the result goes.
    pub output: &'a OutputArgs,
}

impl Compared {
    /// What is asked for.
    pub fn asked(&self) -> Asked<'_> {
        match self {
            Self::Rr(args) => args.asked(doc::Workload::Rr),
            Self::Echo(args) => args.asked(doc::Workload::Echo),
            Self::Stream(args) => args.asked(doc::Workload::Stream),
            Self::Crr(args) => args.asked(doc::Workload::Crr),
            Self::Cc(args) => args.asked(doc::Workload::Cc),
            Self::Connect(args) => args.asked(doc::Workload::Connect),
            Self::Ws(args) => args.asked(doc::Workload::Ws),
        }
    }
}

impl<S: Args + Clone> ComparedArgs<S> {
    fn asked(&self, workload: doc::Workload) -> Asked<'_> {
        let mut line = RunLine::of(workload);
        if let Some(target) = &self.options.target {
            line.set_target(target);
        }
        for (name, values) in &self.options.options {
            match values.is_empty() {
                true => line.set(name, None),
                false => line.set_list(name, values),
            }
        }
        Asked {
            arms: &self.arms,
            line,
            connections: &self.options.connections,
            method: &self.method,
            output: &self.output,
        }
    }
}

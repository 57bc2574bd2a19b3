//! `linerate events`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Arguments of `events`.
#[derive(Debug, Args)]
#[command(
    about = "Read the event record of a run: its events, and what they add up to",
    long_about = "Read the file that `run --event-record` wrote. It has every event of every client: start, open (connected, and its \
        handshake done), each message sent and received, and exit (normal, connect timeout, crash with its reason, \
        unfinished). Of a file that was cut short or damaged, what can be read is shown, with what cannot; the exit code \
        is then 1.",
    after_help = "\
Examples:
  linerate events cat run.events                        every event, merged in time
  linerate events stats run.events                      what they add up to",
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct EventsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: EventsCommand,
}

/// What can be done with an event record.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Show every event, merged in time over all workers
    #[command(after_help = "\
Examples:
  linerate events cat run.events                        a line each
  linerate events cat run.events --format ndjson        at_ns counts from when the record began")]
    Cat(CatArgs),

    /// Add up: clients, handshakes, messages, time-outs, crashes, and statistics of handshake time and latency
    #[command(after_help = "\
Examples:
  linerate events stats run.events
  linerate events stats run.events --format json

Times are in ms and from every sample: nothing is drawn or binned before. A percentile p is the sample number
round(p n / 100) in ascending order. Variance divides by n - 1; skewness and kurtosis are the third and fourth
moment about the mean over that standard deviation, the kurtosis minus 3. An answer belongs to the message of its
number on the same connection. Those without a partner are counted apart.")]
    Stats(StatsArgs),
}

/// Arguments of `events cat`.
#[derive(Debug, Args)]
pub struct CatArgs {
    /// File that `run --event-record` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Form: text, a line per event; ndjson, an object per event
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: CatFormat,
}

/// Forms of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CatFormat {
    // For people
    Text,
    // A JSON object per line
    Ndjson,
}

/// Arguments of `events stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// File that `run --event-record` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Form: text for people, json for programs
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: StatsFormat,
}

/// Forms of aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatsFormat {
    // For people
    Text,
    // One JSON object
    Json,
}

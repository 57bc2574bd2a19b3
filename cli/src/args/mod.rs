//! What users type: clap structures, and their translation into plans.
//!
//! Each subcommand has a file. Nothing in here measures, opens a file or prints.

/// Units, the same in every help text. A macro, because `concat!` takes literals only.
macro_rules! units {
    () => {
        "\
Units:
  sizes      are binary bytes: 64K = 64KiB = 65536 bytes; K, M, G
  rates      are decimal bits per second: 10G = 10^10 bit/s; k, M, G
  durations  have a unit: 10s, 500ms, 250us, 1m30s
  counts     are decimal: 10k = 10000
  endpoints  are tcp://HOST:PORT, tcp://[IPV6]:PORT or unix:///PATH;
             tcp:// and unix:// may be left out"
    };
}

pub mod agent;
pub mod compare;
pub mod doctor;
pub mod engines;
pub mod events;
mod fill;
pub mod profile;
pub mod ranks;
pub mod report;
pub mod run;
pub mod run_groups;
pub mod serve;
pub mod supervise;
pub mod sysctl;

#[cfg(test)]
mod help_tests;
#[cfg(test)]
mod run_tests;

use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use runner::build_info::{GIT_COMMIT, VERSION};

const ABOUT: &str =
    "Measure how fast this machine moves bytes through its kernel, and what changes that";

const EXAMPLES: &str = "\
Examples:
  linerate run rr                                   measure this machine; nothing else is needed
  linerate run stream --engine epoll                the same machine, another way through the kernel
  linerate compare rr --engines uring,epoll,blocking    which of them is faster, and by how much
  linerate serve --listen tcp://127.0.0.1:9000 --role echo
  linerate run echo tcp://127.0.0.1:9000 --connections 64 --size 1K
  linerate engines                                  what runs here, and why the rest does not
  linerate report result.json --format html --output result.html
  linerate doctor                                   is this machine fit to measure
  linerate sysctl list                              profiles of sysctls and limits, for --profile

Exit codes:
  0 done     1 a check failed     2 wrong usage     3 this machine cannot
  4 the peer failed     5 nothing can be said     130 interrupted";

/// `0.1.0 (commit 0123456789ab)`, or without the commit where the build did not know it.
fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| match GIT_COMMIT {
        Some(commit) => format!("{VERSION} (commit {commit})"),
        None => VERSION.to_owned(),
    });
    &TEXT
}

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "linerate",
    version = version(),
    about = ABOUT,
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put load on a testee and report what came out
    Run(run::RunArgs),
    /// Compare engines, options or plans, so that the answer can be believed
    Compare(Box<compare::CompareArgs>),
    /// Be the testee: listen and answer until told to stop
    Serve(Box<serve::ServeArgs>),
    /// Show which engines run on this machine, and why the others do not
    Engines(engines::EnginesArgs),
    /// Say whether this machine is fit to measure, and what would make it fitter
    Doctor(doctor::DoctorArgs),
    /// Show profiles of sysctls and limits, compare them with this machine, apply them and put back
    Sysctl(sysctl::SysctlArgs),
    /// Show saved results again, in any form
    Report(report::ReportArgs),
    /// Read the event record of a run: its events, and what they add up to
    Events(events::EventsArgs),
    /// Take part in a measurement: started by `run`, or by something else to join one (--join)
    Agent(agent::AgentArgs),
    /// Put settings back when the process that applied them has ended (started by `run`)
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
}

/// A size that fits 32 bits.
///
/// # Errors
/// When the text is no size or is too large.
pub fn size_u32(text: &str) -> Result<u32, String> {
    let bytes = ::report::units::parse_size(text).map_err(|error| error.to_string())?;
    u32::try_from(bytes).map_err(|_| "it is 4G or more".to_owned())
}

/// A count that fits 32 bits.
///
/// # Errors
/// When the text is no count or is too large.
pub fn count_u32(text: &str) -> Result<u32, String> {
    let count = ::report::units::parse_count(text).map_err(|error| error.to_string())?;
    u32::try_from(count).map_err(|_| format!("{text} is too large"))
}

/// Operations per second; a fraction is fine (`0.5`), and so is `20k`.
///
/// # Errors
/// When the text is no number.
pub fn operation_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => ::report::units::parse_count(text)
            .map(|count| count as f64)
            .map_err(|error| error.to_string()),
    }
}

/// A duration in whole microseconds that fits the kernel's 31 bits.
///
/// # Errors
/// When the text is no such duration.
pub fn whole_us(text: &str) -> Result<u32, String> {
    whole(text, 1_000, "microseconds", "50us")
}

/// A duration in whole seconds that fits the kernel's 31 bits.
///
/// # Errors
/// When the text is no such duration.
pub fn whole_s(text: &str) -> Result<u32, String> {
    whole(text, 1_000_000_000, "seconds", "30s")
}

fn whole(text: &str, unit_ns: u64, unit: &str, example: &str) -> Result<u32, String> {
    let ns = ::report::units::parse_duration_ns(text).map_err(|error| error.to_string())?;
    i32::try_from(ns / unit_ns)
        .ok()
        .filter(|&count| count > 0 && ns % unit_ns == 0)
        .map(|count| count as u32)
        .ok_or_else(|| {
            format!("the kernel counts whole {unit}, at least 1; write for example {example}")
        })
}

/// A byte as `16` or `0x10`.
///
/// # Errors
/// When the text is neither.
pub fn byte(text: &str) -> Result<u8, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "it must be 0 to 255, or 0x00 to 0xff".to_owned())
}

//! `linerate engines`.

use clap::{Args, ValueEnum};

/// Arguments of `engines`.
#[derive(Debug, Args)]
#[command(
    about = "Show which engines run on this machine, and why the others do not",
    long_about = "Show which engines run on this machine with which features, why the others do not and what would \
        help, and which one `auto` takes. Features are tried with real system calls; nothing is concluded from a \
        kernel version.",
    after_help = "\
Examples:
  linerate engines
  linerate engines --options                     every option of every engine
  linerate run rr --engine uring:receive=single  ... and how to set one
  linerate engines --format json"
)]
pub struct EnginesArgs {
    /// Form of the list
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: EnginesFormat,

    /// List the options of each engine instead, to be written as --engine NAME:key=value,key=value
    /// (the JSON form always has them)
    #[arg(long)]
    pub options: bool,
}

/// Forms of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EnginesFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

//! `linerate supervise`: hidden, started by whoever applies a profile.

use clap::Args;

/// Arguments of `supervise`.
#[derive(Debug, Args)]
#[command(
    about = "Put settings back when the process that applied them has ended (started by `run`)",
    long_about = "Apply a profile and put everything back: one JSON object per line on stdin and stdout. Whoever \
        applies a profile starts it. When its stdin closes, for whatever reason, it puts back what it wrote, and ends.",
    after_help = "\
Examples:
  linerate run rr --profile 10gbe      starts `linerate supervise` beside the agent that applies the profile"
)]
pub struct SuperviseArgs {}

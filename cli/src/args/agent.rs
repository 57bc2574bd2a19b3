//! `linerate agent`: hidden, started by `run` on either host.

use clap::Args;

/// Arguments of `agent`.
#[derive(Debug, Args)]
#[command(
    about = "Take part in a measurement over stdin and stdout (started by `run`)",
    long_about = "Take part in a measurement: one JSON object per line on stdin and stdout. `linerate run` starts \
        it, directly or through --testee-via. It ends, and cleans up, when its stdin closes.",
    after_help = "\
Examples:
  linerate run rr --testee-via 'ssh b' --testee-host 10.0.0.2     starts `linerate agent` on b"
)]
pub struct AgentArgs {
    /// Be a further process of `linerate serve`, which starts it
    #[arg(long)]
    pub serve: bool,
}

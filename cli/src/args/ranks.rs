//! Where processes that something else starts join a run.

use std::path::PathBuf;

use clap::Args;
use report::units::parse_duration_ns;
use runner::ranks::Token;

use crate::problem::Problem;

/// The conductor's side of `--ranks`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Ranks")]
pub struct RanksArgs {
    /// Where the processes of --ranks join: an address of this host that they reach, or 0.0.0.0 for all of them, and a
    /// port
    #[arg(long, value_name = "tcp://HOST:PORT")]
    pub join: Option<String>,

    #[command(flatten)]
    pub joining: JoinArgs,
}

/// What both ends of `--join` take.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Ranks")]
pub struct JoinArgs {
    /// The token that both ends know, in a file; without it the environment has it in LINERATE_TOKEN
    #[arg(long, value_name = "FILE", requires = "join")]
    pub token_file: Option<PathBuf>,

    /// How long to wait for the other end before the first round [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns, requires = "join")]
    pub join_timeout: Option<u64>,
}

/// A batch system may start the others much later.
const JOIN_TIMEOUT_NS: u64 = 300_000_000_000;

impl JoinArgs {
    /// How long to wait for the other end, ns.
    pub fn join_timeout_ns(&self) -> u64 {
        self.join_timeout.unwrap_or(JOIN_TIMEOUT_NS)
    }

    /// What both ends know.
    ///
    /// # Errors
    /// There is none, or it is no token.
    pub fn token(&self) -> Result<Token, Problem> {
        Ok(Token::read(self.token_file.as_deref())?)
    }
}

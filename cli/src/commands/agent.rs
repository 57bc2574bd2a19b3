//! `linerate agent`: one side of a measurement, driven over stdin and stdout, or a rank that joins a run.

use std::time::Duration;

use engine::endpoint::Endpoint;
use runner::error::{ExitClass, Failure};
use runner::ranks::{Joining, Leave, rank_from};

use crate::args::agent::AgentArgs;
use crate::problem::Problem;
use crate::progress::say;
use crate::signals;

/// Takes part in a measurement until it is over or stdin closes. Signals of the terminal do not reach it: agents have
/// process groups of their own, and only `run` interprets Ctrl-C.
///
/// # Errors
/// Of a rank: why it could not join.
pub fn agent(args: &AgentArgs) -> Result<ExitClass, Problem> {
    match (&args.join, args.serve) {
        (Some(place), _) => join(place, args),
        (None, true) => Ok(serve_process()),
        (None, false) => Ok(runner::agent::main()),
    }
}

/// A service manager signals every process of a unit: the first process of the testee is asked, and asks the others.
fn serve_process() -> ExitClass {
    // Without a handler a signal would cut its connections; then it ends with its input all the same.
    let _ = signals::notice(|| ());
    runner::testee_process::main(std::io::stdin(), std::io::stdout())
}

/// A rank. A signal ends it orderly: its agent puts back what it has changed.
fn join(place: &str, args: &AgentArgs) -> Result<ExitClass, Problem> {
    let endpoint = place
        .parse::<Endpoint>()
        .map_err(|error| Problem::usage(format!("--join {place}: {error}")))?;
    if !matches!(endpoint, Endpoint::Tcp { .. }) {
        return Err(
            Problem::usage(format!("--join {place}: ranks join over TCP"))
                .with_cure("write tcp://HOST:PORT"),
        );
    }
    let joining = Joining {
        place: endpoint,
        rank: match args.rank {
            Some(rank) => rank,
            None => rank_from(|name| std::env::var(name).ok())?,
        },
        token: args.joining.token()?,
        timeout: Duration::from_nanos(args.joining.join_timeout_ns()),
    };
    let leave = Leave::default();
    let told = leave.clone();
    signals::watch(move || told.tell(), || (), || ())
        .map_err(|error| Failure::machine(format!("watch for signals: {error}")))?;
    Ok(joining.take_part(&leave, &|news| say(&format!("linerate: {news}")))?)
}

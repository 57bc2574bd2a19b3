//! Where the ranks of a run or a comparison join.

use std::time::Duration;

use engine::endpoint::Endpoint;
use runner::ranks::RankListener;

use crate::args::ranks::RanksArgs;
use crate::problem::Problem;

/// Opens it, where the plan has ranks.
///
/// # Errors
/// Ranks that have nowhere to join or nothing to join, or a place where this process cannot listen.
pub fn open(args: &RanksArgs, ranks: Option<u32>) -> Result<Option<RankListener>, Problem> {
    let (join, ranks) = match (&args.join, ranks) {
        (None, None) => return Ok(None),
        (Some(join), Some(ranks)) => (join, ranks),
        (None, Some(_)) => {
            return Err(Problem::usage("--ranks needs a place where they join")
                .with_cure("add --join tcp://0.0.0.0:9470, or any other port"));
        }
        (Some(_), None) => {
            return Err(
                Problem::usage("--join is where --ranks join, and none are awaited")
                    .with_cure("say how many with --ranks N"),
            );
        }
    };
    let place: Endpoint = join
        .parse()
        .map_err(|error| Problem::usage(format!("--join {join}: {error}")))?;
    let patience = Duration::from_nanos(args.joining.join_timeout_ns());
    Ok(Some(RankListener::open(
        &place,
        args.joining.token()?,
        ranks,
        patience,
    )?))
}

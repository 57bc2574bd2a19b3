//! What the answer must not be quoted without: operations that failed, a schedule that was not kept.

use crate::assemble::counted;
use crate::document::Document;
use crate::units::{grouped, human_percent};
use crate::warnings;

/// A smaller share of failures is told by their number, for it would be rounded to nothing.
const SHARE_SHOWN: f64 = 0.001;

/// The operations per second that were asked for, if a round that counts fell short of them.
pub(crate) fn overload(document: &Document) -> Option<f64> {
    let rounds = counted(&document.rounds);
    rounds
        .iter()
        .find_map(|round| warnings::shortfall(&document.plan, round))
        .map(|shortfall| shortfall.scheduled_per_second)
}

/// `3.1 % of operations failed`, over the rounds that count; `None` if none did.
pub(crate) fn failures(document: &Document) -> Option<String> {
    let rounds = counted(&document.rounds);
    let errors = rounds.iter().flat_map(|round| &round.measured.errors);
    let failed: u64 = errors.map(|error| error.count).sum();
    let succeeded: u64 = rounds
        .iter()
        .map(|round| round.measured.totals.operations)
        .sum();
    let share = failed as f64 / (failed + succeeded).max(1) as f64;
    match failed {
        0 => None,
        // What fails in a stream is a connection, and its operations are single writes or reads.
        _ if document.plan.workload.is_bulk() => Some(match failed {
            1 => "1 failure".to_owned(),
            _ => format!("{} failures", grouped(failed)),
        }),
        _ if share >= SHARE_SHOWN => Some(format!("{} of operations failed", human_percent(share))),
        1 => Some("1 operation failed".to_owned()),
        _ => Some(format!("{} operations failed", grouped(failed))),
    }
}

//! What the answer must not be quoted without: operations that failed, a schedule that was not kept.

use super::clients;
use crate::assemble::counted;
use crate::document::{Document, Unfinished};
use crate::units::{grouped, human_ns, human_percent};
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

/// What goes into the first sentence, each defect in a few words.
pub(crate) fn all(document: &Document) -> Vec<String> {
    let of_operations = [failures(document), unanswered(document)];
    let of_operations = of_operations.into_iter().flatten();
    of_operations.chain(clients::defects(document)).collect()
}

/// What has no answer in the rounds that count, together.
fn unfinished(document: &Document) -> Unfinished {
    let rounds = counted(&document.rounds);
    let each = || rounds.iter().map(|round| &round.measured.unfinished);
    Unfinished {
        count: each().map(|unfinished| unfinished.count).sum(),
        never_sent: each()
            .filter(|unfinished| unfinished.count > 0)
            .map(|unfinished| unfinished.never_sent)
            .sum(),
        oldest_age_ns: each()
            .filter_map(|unfinished| unfinished.oldest_age_ns)
            .max(),
        ..Unfinished::default()
    }
}

/// `5 operations have no answer, the oldest waited 11.0 s`; `None` where [`no_latency`] says so.
fn unanswered(document: &Document) -> Option<String> {
    let unfinished = unfinished(document);
    if document.plan.workload.holds() {
        return not_opened(&unfinished);
    }
    let is_told = no_latency(document).is_some();
    (unfinished.count > 0 && !is_told).then(|| with_age(&unfinished))
}

/// `729 were not initiated, 3 were being opened at the end`.
fn not_opened(unfinished: &Unfinished) -> Option<String> {
    let never = unfinished.never_sent.unwrap_or(0);
    let parts = [
        (never, "not initiated"),
        (
            unfinished.count.saturating_sub(never),
            "being opened at the end",
        ),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, what)| format!("{} {what}", grouped(*count)))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Where nothing of an open loop that was due in the window was answered: `no response time: 200,000 operations due
/// were never sent, the oldest waited 1.0 s`.
pub(crate) fn no_latency(document: &Document) -> Option<String> {
    let unfinished = unfinished(document);
    let rounds = counted(&document.rounds);
    let measured = rounds
        .iter()
        .any(|round| round.measured.latency.primary().is_some());
    let is_open = document.plan.pace.rate_per_second().is_some();
    (is_open && !measured && unfinished.count > 0).then(|| {
        let what = with_age(&unfinished).replacen("s were never sent", "s due were never sent", 1);
        format!("no response time: {what}")
    })
}

fn with_age(unfinished: &Unfinished) -> String {
    let age = unfinished.oldest_age_ns;
    let age = age.map_or_else(String::new, |ns| {
        format!(", the oldest waited {}", human_ns(ns as f64))
    });
    unfinished.words() + &age
}

/// `3.1 % of operations failed`, over the rounds that count; `None` if none did.
fn failures(document: &Document) -> Option<String> {
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
        // The answer has said how many there were.
        _ if document.plan.workload.holds() => Some(format!("{} failed", grouped(failed))),
        _ if share >= SHARE_SHOWN => Some(format!("{} of operations failed", human_percent(share))),
        1 => Some("1 operation failed".to_owned()),
        _ => Some(format!("{} operations failed", grouped(failed))),
    }
}

//! Whether a round has a result at all. A run in which everything failed is no success, whatever its rate of nothing.

use crate::document::{
    Closer, Confirmation, Direction, Document, ErrorCount, ErrorKind, EventRecordUse, Interval,
    Measurement, Plan, Round, Workload,
};
use crate::text::clients;
use crate::units::{counted, grouped, human_ns};

/// Why a round is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nothing {
    /// What there was instead, and what to do.
    pub text: String,
    /// What most failed with; `None` where nothing failed.
    pub worst: Option<ErrorKind>,
}

/// Whether nothing came through: no operation, of a stream not a byte that anybody counted.
pub(crate) fn moved_nothing(plan: &Plan, round: &Round) -> bool {
    let totals = &round.measured.totals;
    match plan.workload.is_bulk() {
        // A message may be larger than what a window takes.
        true => {
            let rates = &round.rates;
            let bits = rates.throughput_bits_per_second;
            bits.map_or(totals.bytes_sent + totals.bytes_received == 0, |bits| {
                bits.get() == 0.0
            })
        }
        false => totals.operations == 0,
    }
}

/// Of a run that opens each connection once: what kept it from being complete, in all rounds that it has; `None` if
/// all were established and kept, and for all other workloads.
pub fn incomplete(document: &Document) -> Option<String> {
    if document.plan.workload.joins() {
        let defects = clients::defects(document);
        return (!defects.is_empty()).then(|| defects.join(", "));
    }
    if !document.plan.workload.holds() {
        return None;
    }
    let measured = || document.rounds.iter().map(|round| &round.measured);
    let sum = |pick: fn(&Measurement) -> u64| measured().map(pick).sum::<u64>();
    let established = sum(|one| one.totals.operations);
    let lost = sum(|one| one.held.as_ref().map_or(0, |held| total(&held.lost)));
    let failed = sum(|one| total(&one.errors));
    let unfinished = sum(|one| one.unfinished.count);
    if lost + failed + unfinished == 0 {
        return None;
    }
    let of = established + failed + unfinished;
    let parts = [
        (failed, "failed"),
        (unfinished, "were not opened to the end"),
        (lost, "were established and lost"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, what)| format!("{} {what}", grouped(*count)))
        .collect();
    Some(format!(
        "of {}, {}",
        counted(of, "connection"),
        parts.join(", ")
    ))
}

/// Events that were to be recorded and are in no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingEvents {
    /// What is missing, of how much, and why.
    pub text: String,
    /// Why a file took no more, if that is why.
    pub failure: Option<String>,
}

/// What the event record of these rounds lacks; `None` where it is complete, or none was asked for.
pub fn missing_events(rounds: &[Round]) -> Option<MissingEvents> {
    let sides = rounds.iter().flat_map(|round| &round.load);
    let records: Vec<&EventRecordUse> = sides
        .filter_map(|side| side.event_record.as_ref())
        .collect();
    let sum = |pick: fn(&EventRecordUse) -> u64| records.iter().map(|one| pick(one)).sum();
    let (missing, events): (u64, u64) = (sum(EventRecordUse::missing), sum(|one| one.events));
    let failure = records.iter().find_map(|one| one.failure.clone());
    if missing == 0 && failure.is_none() {
        return None;
    }
    let why = failure.as_deref();
    let text = format!(
        "the event record lacks {} of {}: {}",
        grouped(missing),
        counted(events, "event"),
        why.unwrap_or("they came faster than they could be written")
    );
    Some(MissingEvents { text, failure })
}

fn total(errors: &[ErrorCount]) -> u64 {
    errors.iter().map(|error| error.count).sum()
}

/// Why nothing in the round succeeded, if that is so.
pub fn nothing_succeeded(plan: &Plan, round: &Round) -> Option<Nothing> {
    let errors = &round.measured.errors;
    let worst = errors.iter().max_by_key(|error| error.count);
    let why = if moved_nothing(plan, round) {
        let what = match plan.workload.holds() {
            true => "no connection was established",
            false => "no operation succeeded",
        };
        format!("{what} in round {}: {}", round.number, instead(plan, round))
    } else if every_stream_was_lost(plan, round) {
        let failed: u64 = errors.iter().map(|error| error.count).sum();
        format!(
            "every connection of round {} was lost ({} failures, most of them: {}), and nobody says that anything \
             arrived; check that the target reads what it is sent",
            round.number,
            grouped(failed),
            worst.map_or("unknown", |error| error.kind.words())
        )
    } else if let Some(why) = target_went_away(plan, round) {
        why
    } else {
        nothing_due_was_answered(plan, round)?
    };
    Some(Nothing {
        text: why,
        worst: worst.map(|error| error.kind),
    })
}

/// The role of `serve` that answers this workload.
fn role_for(plan: &Plan) -> &'static str {
    match (plan.workload, plan.direction, plan.closer) {
        (Workload::Stream, Some(Direction::Receive), _) => "source",
        (Workload::Stream, Some(Direction::Both), _) => "duplex",
        (Workload::Stream, ..) => "discard",
        (Workload::Crr, _, Some(Closer::Server)) => "rr --close-after 1, with these sizes",
        (Workload::Cc, _, Some(Closer::Server)) => "rr --close-after 0",
        (Workload::Ws, ..) => "ws",
        (Workload::Rr | Workload::Crr, ..) => "rr, with these sizes",
        (Workload::Echo | Workload::Cc | Workload::Connect, ..) => "echo",
    }
}

fn instead(plan: &Plan, round: &Round) -> String {
    let measured = &round.measured;
    let part = |text: &Option<String>| {
        let text = text.as_ref();
        text.map_or_else(String::new, |text| format!(" ({text})"))
    };
    let role = match plan.workload.holds() {
        true => "check the address, and that a server listens there and accepts",
        false => &format!(
            "check that the target plays the role that this workload needs (linerate serve --role {})",
            role_for(plan)
        ),
    };
    let of_clients = measured.clients.iter();
    let of_clients = of_clients.flat_map(|all| all.failed.iter().chain(&all.lost));
    let worst = measured.errors.iter().chain(of_clients);
    let worst = worst.max_by_key(|error| error.count);
    let why = match worst {
        Some(error) => format!(
            "{} times {}{}",
            grouped(error.count),
            error.kind.words(),
            part(&error.text)
        ),
        None if measured.unfinished.count > 0 => {
            measured.unfinished.words() + &part(&measured.unfinished.text)
        }
        // Our own testee plays its role.
        None if plan.target.own_testee => {
            return "its window may be too short for this machine, which may be busy with other things; measure for \
                    longer (--duration), and see linerate doctor"
                .to_owned();
        }
        None => "the window may be too short, or the peer moves no bytes".to_owned(),
    };
    match (plan.target.own_testee, worst) {
        (false, _) => format!("{why}; {role}"),
        (true, None) => format!(
            "{why}; linerate's own testee answers as soon as it gets a CPU: see what else runs (linerate doctor), or ask \
             for less"
        ),
        (true, Some(_)) => why,
    }
}

/// Bytes that the kernel took for connections all of which failed arrived nowhere, as far as is known.
fn every_stream_was_lost(plan: &Plan, round: &Round) -> bool {
    let failed: u64 = round.measured.errors.iter().map(|error| error.count).sum();
    let opened = round.measured.totals.connections_opened;
    plan.workload.is_bulk()
        && round.rates.confirmation == Confirmation::SenderUnconfirmed
        && round.measured.totals.bytes_received == 0
        && failed > 0
        // All that were opened, or again and again all but those that were open at the end.
        && (failed >= opened.max(plan.connections)
            || failed > plan.connections && failed + plan.connections >= opened)
}

/// A rate over a window in which there was a target for a part of it only says nothing of either part: no connection was
/// left at the end, and nothing came for a tenth of the window or more.
fn target_went_away(plan: &Plan, round: &Round) -> Option<String> {
    let accounts = round.measured.connections.as_ref()?;
    let stood = accounts.succeeded + accounts.unfinished > 0 || accounts.failed == 0;
    if stood || plan.workload.reconnects() || plan.workload.holds() {
        return None;
    }
    let is_silent = |one: &&Interval| {
        one.operations + one.bytes_received == 0
            && (one.bytes_sent == 0 || !plan.workload.is_bulk())
    };
    let silent = round.measured.intervals.iter().rev().take_while(is_silent);
    let silent_ns: u64 = silent.map(|one| one.length_ns).sum();
    (silent_ns > 0 && silent_ns >= round.window.length_ns / 10).then(|| {
        format!(
            "the target went away in round {}, and no connection was left at the end ({}): the rate of the whole window says \
             nothing of it",
            round.number,
            accounts.words()
        )
    })
}

/// An open loop that answered only what was due before its window has measured nothing of what was asked for.
fn nothing_due_was_answered(plan: &Plan, round: &Round) -> Option<String> {
    plan.pace.rate_per_second()?;
    let unfinished = &round.measured.unfinished;
    if round.measured.latency.primary().is_some() || unfinished.count == 0 {
        return None;
    }
    let age = unfinished.oldest_age_ns;
    Some(format!(
        "nothing that was due in round {} was answered: {}{}; ask for a lower --rate",
        round.number,
        unfinished.words(),
        age.map_or_else(String::new, |ns| format!(
            ", the oldest waited {}",
            human_ns(ns as f64)
        ))
    ))
}

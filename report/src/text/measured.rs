//! Throughput, latency and errors.

use super::headline::bytes;
use super::hosts;
use super::layout::{Paper, Table};
use super::rounds::dash;
use crate::document::{
    ConnectionAccounts, Document, Finite, LatencySummary, Plan, Round, Unfinished,
};
use crate::units::{grouped, human_bit_rate, human_count, human_ns};

pub(crate) fn throughput(document: &Document, round: &Round, paper: &mut Paper) {
    let totals = &round.measured.totals;
    let rates = &round.rates;
    paper.heading("Throughput");
    let mut table = Table::headed(["", "total", "rate", "counted by"]);
    table.row([
        "operations".to_owned(),
        grouped(totals.operations),
        rate(rates.operations_per_second, |value| {
            format!("{}/s", human_count(value))
        }),
        "load".to_owned(),
    ]);
    if let Some(scheduled) = document.plan.pace.rate_per_second() {
        table.row([
            "scheduled".to_owned(),
            String::new(),
            format!("{}/s", human_count(scheduled.get())),
        ]);
    }
    let to_testee = if round.testee.is_empty() {
        totals.bytes_sent
    } else {
        round
            .testee
            .iter()
            .map(|side| side.measured.totals.bytes_received)
            .sum()
    };
    if to_testee > 0 {
        table.row([
            "load to testee".to_owned(),
            bytes(to_testee),
            rate(rates.to_testee_bits_per_second, human_bit_rate),
            rates.confirmation.words().to_owned(),
        ]);
    }
    if totals.bytes_received > 0 {
        table.row([
            "testee to load".to_owned(),
            bytes(totals.bytes_received),
            rate(rates.to_load_bits_per_second, human_bit_rate),
            "receiver".to_owned(),
        ]);
    }
    paper.table(&table);
    for entry in &rates.unknown {
        paper.note(&format!("{}: not known, {}.", entry.field, entry.reason));
    }
    paper.blank();
}

fn rate(value: Option<Finite>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), |value| show(value.get()))
}

type Pick = fn(&LatencySummary) -> String;
const STATISTICS: [(&str, Pick); 4] = [
    ("count", |latency| grouped(latency.count)),
    ("min", |latency| human_ns(latency.min_ns as f64)),
    ("mean", |latency| human_ns(latency.mean_ns.get())),
    ("stddev", |latency| human_ns(latency.stddev_ns.get())),
];

pub(crate) fn latency(plan: &Plan, round: &Round, paper: &mut Paper) {
    let latency = &round.measured.latency;
    let mut columns: Vec<(&str, &LatencySummary)> = latency
        .named()
        .into_iter()
        .filter_map(|(name, summary)| Some((name, summary?)))
        // Where connecting is the operation, its service time is that of connecting.
        .filter(|(name, _)| !plan.workload.holds() || *name != "service")
        .collect();
    if let Some(lag) = &round.measured.schedule_lag {
        columns.push(("schedule lag", lag));
    }
    if columns.is_empty() {
        return;
    }
    paper.heading("Latency");
    paper.table(&latency_table(&columns));
    for (name, _) in &columns {
        paper.note(&format!("{name}: {}", meaning(name)));
    }
    paper.blank();
}

fn latency_table(columns: &[(&str, &LatencySummary)]) -> Table {
    let names = columns.iter().map(|(name, _)| *name);
    let mut table = Table::headed(std::iter::once("").chain(names));
    let mut row = |name: &str, cells: Vec<String>| {
        table.row(std::iter::once(name.to_owned()).chain(cells));
    };
    let summaries = || columns.iter().map(|(_, summary)| *summary);
    for (name, show) in STATISTICS {
        row(name, summaries().map(show).collect());
    }
    let percentiles: Vec<_> = summaries().map(LatencySummary::percentiles).collect();
    for (place, (name, _)) in percentiles[0].iter().enumerate() {
        let values = || percentiles.iter().map(|of_one| of_one[place].1);
        // Where no column has enough values for it, a row would repeat the largest under a better name.
        if values().any(|value| value.is_some()) {
            let show = |value: Option<u64>| value.map_or_else(dash, |ns| human_ns(ns as f64));
            row(name, values().map(show).collect());
        }
    }
    let largest = summaries().map(|summary| human_ns(summary.max_ns as f64));
    row("max", largest.collect());
    table
}

fn meaning(name: &str) -> &'static str {
    match name {
        "service" => "from when the request was really sent until its answer was complete.",
        "response" => "from when the operation was due until it was complete, waiting included.",
        "handshake" => "from asking for a connection until the handshake of its protocol was done.",
        "connect" => "from asking for a connection until it was established.",
        "total" => {
            "the whole operation, from asking for a connection until the peer closed it or we reset it."
        }
        "error" => "operations that failed, from when they were due until the failure was known.",
        _ => "how late the generator noticed that operations were due.",
    }
}

/// What has no answer, by whether it was sent, where that is known.
fn without_answer(unfinished: &Unfinished) -> Vec<(&'static str, u64)> {
    let named = match unfinished.never_sent {
        None => vec![("not answered, or never sent", unfinished.count)],
        Some(never_sent) => vec![
            (
                "sent, not answered",
                unfinished.count.saturating_sub(never_sent),
            ),
            ("due, never sent", never_sent),
        ],
    };
    named.into_iter().filter(|(_, count)| *count > 0).collect()
}

pub(crate) fn errors(round: &Round, paper: &mut Paper) {
    let measured = &round.measured;
    paper.heading("Errors");
    let mut table = Table::new();
    for error in &measured.errors {
        table.row([error.kind.words().to_owned(), grouped(error.count)]);
    }
    let unfinished = &measured.unfinished;
    for (name, count) in without_answer(unfinished) {
        table.row([name.to_owned(), grouped(count)]);
    }
    if measured.errors.is_empty() && unfinished.count == 0 {
        table.row(["none"]);
    }
    paper.table(&table);
    for error in &measured.errors {
        if let Some(text) = &error.text {
            paper.note(&format!("{}: {text}", error.kind.words()));
        }
    }
    if let Some(text) = &unfinished.text {
        paper.note(&format!("sent, not answered: {text}"));
    }
    for agent in &round.lost {
        paper.note(&hosts::missing(agent));
    }
    let lost = |accounts: &ConnectionAccounts| accounts.failed + accounts.unfinished > 0;
    if let Some(accounts) = measured.connections.filter(lost) {
        paper.note(&format!("{}, in the whole round.", accounts.words()));
    }
    if let Some(age) = unfinished.oldest_age_ns {
        paper.note(&format!(
            "The oldest without an answer was due {} before the end.",
            human_ns(age as f64)
        ));
    }
    paper.blank();
}

//! The document for people: the answer first, then what it rests on.

pub mod checkup;
pub(crate) mod clients;
pub mod comparison;
pub(crate) mod cost;
mod defects;
mod generator;
pub(crate) mod headline;
pub(crate) mod hosts;
pub(crate) mod layout;
pub(crate) mod measured;
pub(crate) mod next;
pub(crate) mod place;
mod profile;
pub(crate) mod ramp;
pub(crate) mod rounds;
mod style;

use crate::assemble::counted;
use crate::document::{Document, Finite, Pace, Round};
use layout::{Paint, Paper};
pub use next::{as_typed, to_repeat};
pub use style::Style;

/// The document as text, ending in a newline.
pub fn render(document: &Document, style: &Style) -> String {
    let mut paper = Paper::new(*style);
    write(document, &mut paper);
    paper.finish()
}

/// What became of a profile's settings, in one line: `9 raised, 2 unchanged of 11 settings`.
pub fn profile_summary(profile: &crate::document::AppliedProfile) -> String {
    profile::summary(profile)
}

/// The document on a paper.
pub(crate) fn write(document: &Document, paper: &mut Paper) {
    paper.sentence(&headline::sentence(document), Paint::Headline);
    paper.blank();
    headline::conditions(document, paper);
    messages(document, paper);
    if let Some(round) = shown_round(document) {
        rounds::section(document, round, paper);
        if document.plan.workload.holds() {
            ramp::connections(&document.plan, round, paper);
        } else {
            measured::throughput(document, round, paper);
        }
        if document.plan.workload.joins() {
            clients::section(&document.plan, round, paper);
        }
        measured::latency(&document.plan, round, paper);
        measured::errors(round, paper);
        hosts::section(round, paper);
        cost::section(round, paper);
        if document.plan.workload.holds() || document.plan.workload.joins() {
            ramp::memory(round, paper);
        }
        cost::network(round, paper);
        place::section(document, round, paper);
    }
    next::section(document, paper);
}

/// The round whose details are shown, and by what it was chosen: the one with the median (the lower of two) of
/// the rate; at a fixed rate, which is the same in all rounds by design, of the p99.
pub(crate) fn chosen_round(document: &Document) -> Option<(&Round, &'static str)> {
    let mut sorted = counted(&document.rounds);
    if sorted.is_empty() {
        sorted = document.rounds.iter().collect();
    }
    let rate = |round: &Round| round.rates.operations_per_second.map(Finite::get);
    let p99_ns = |round: &Round| {
        let (_, all) = round.measured.latency.primary()?;
        all.percentile("p99").map(|ns| ns as f64)
    };
    let open_loop = document.plan.pace != Pace::Closed;
    let by_latency = open_loop && sorted.iter().all(|round| p99_ns(round).is_some());
    let key = |round: &Round| match by_latency {
        true => p99_ns(round),
        false => rate(round),
    };
    sorted.sort_by(|a, b| {
        let (a, b) = (key(a).unwrap_or(0.0), key(b).unwrap_or(0.0));
        a.total_cmp(&b)
    });
    let round = sorted.get(sorted.len().saturating_sub(1) / 2).copied()?;
    Some((round, if by_latency { "p99" } else { "rate" }))
}

/// The round whose details are shown.
pub(crate) fn shown_round(document: &Document) -> Option<&Round> {
    chosen_round(document).map(|(round, _)| round)
}

pub(crate) fn messages(document: &Document, paper: &mut Paper) {
    let groups = [
        ("Errors of the run", &document.errors, Paint::Error),
        ("Warnings", &document.warnings, Paint::Warning),
    ];
    for (title, messages, paint) in groups {
        if messages.is_empty() {
            continue;
        }
        paper.heading(title);
        for message in messages {
            paper.item(&message.text, paint);
            if let Some(cure) = &message.cure {
                paper.continued(cure);
            }
        }
        paper.blank();
    }
}

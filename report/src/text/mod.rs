//! The document for people: the answer first, then what it rests on.

pub mod checkup;
pub mod comparison;
pub(crate) mod cost;
mod defects;
pub(crate) mod headline;
pub(crate) mod layout;
pub(crate) mod measured;
pub(crate) mod next;
pub(crate) mod place;
mod profile;
pub(crate) mod rounds;

use crate::assemble::counted;
use crate::document::{Document, Round};
use layout::{Paint, Paper};
pub use next::{as_typed, to_repeat};

/// How the text may look. Whether colour is wanted (terminal, `NO_COLOR`) is the caller's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours and bold.
    pub color: bool,
    /// Columns after which sentences wrap. Tables are narrow and do not.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style {
            color: false,
            width: 100,
        }
    }
}

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
        measured::throughput(document, round, paper);
        measured::latency(round, paper);
        measured::errors(round, paper);
        cost::section(round, paper);
        cost::network(round, paper);
        place::section(document, round, paper);
    }
    next::section(document, paper);
}

/// The round whose details are shown: the one with the median rate (the lower of two).
pub(crate) fn shown_round(document: &Document) -> Option<&Round> {
    let mut sorted = counted(&document.rounds);
    if sorted.is_empty() {
        sorted = document.rounds.iter().collect();
    }
    let rate = |round: &Round| {
        round
            .rates
            .operations_per_second
            .map_or(0.0, crate::document::Finite::get)
    };
    sorted.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
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

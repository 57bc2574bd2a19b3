//! linerate's result document, its statistics and its renderers.
//!
//! - [`document`]: the versioned document, the only serialised form of a measurement.
//! - [`comparison`]: the document of a comparison, and the analysis that follows from its rounds.
//! - [`assemble`] and [`merge`]: from the sides of a round to its sums, rates, costs and summary.
//! - [`success`]: whether a round has a result at all.
//! - [`saved`]: reading a document of either kind.
//! - [`histogram`] and [`statistics`]: pure functions, each citing its source.
//! - [`text`], [`markdown`], [`html`], [`json`], [`csv`], [`hgrm`], [`prometheus`]: renderers, pure functions of the
//!   document.
//! - [`pooled`]: the latency of a whole run, as a distribution.
//! - [`event_record`]: what `--event-record` writes, every event of every client, and what is read of it.
//! - [`events`]: what `--events` writes, one JSON object per line.
//! - [`checkup`] and [`findings`]: what a machine's state does to a measurement, for `doctor` and for warnings.
//! - [`warnings`]: what a sceptic would hold against a result, found in the result itself.
//! - [`foreign`]: texts that others wrote, shown and not obeyed.
//! - [`units`]: sizes, rates and durations, parsed and shown.
//!
//! This crate knows no engine, opens no file and prints nothing.

pub mod assemble;
pub mod checkup;
pub mod comparison;
pub mod csv;
pub mod document;
pub mod event_record;
pub mod events;
pub mod findings;
pub mod foreign;
pub mod hgrm;
pub mod histogram;
pub mod html;
pub mod json;
pub mod markdown;
pub mod merge;
pub mod pooled;
pub mod prometheus;
pub mod saved;
pub mod statistics;
pub mod success;
pub mod text;
pub mod units;
mod utc;
pub mod warnings;

pub use utc::rfc3339;

/// Something with the name that tells it from others of its kind: a document and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled<T> {
    /// Its name.
    pub label: String,
    /// What it is.
    pub value: T,
}

/// Gives those that share a name a number each: `a.json`, `a.json (2)`.
pub fn distinguish<T>(all: &mut [Labelled<T>]) {
    for index in 1..all.len() {
        let (before, rest) = all.split_at_mut(index);
        let is_taken = |label: &str| before.iter().any(|other| other.label == label);
        let given = rest[0].label.clone();
        let mut number = 2;
        while is_taken(&rest[0].label) {
            rest[0].label = format!("{given} ({number})");
            number += 1;
        }
    }
}

impl<T> Labelled<T> {
    /// `value` under the name `label`.
    pub fn new(label: impl Into<String>, value: T) -> Self {
        Labelled {
            label: label.into(),
            value,
        }
    }
}

//! linerate's result document, its statistics and its renderers.
//!
//! - [`document`]: the versioned document, the only serialised form of a measurement.
//! - [`assemble`] and [`merge`]: from the sides of a round to its sums, rates, costs and summary.
//! - [`histogram`] and [`statistics`]: pure functions, each citing its source.
//! - [`text`], [`json`], [`csv`]: renderers, pure functions of the document.
//! - [`events`]: what `--events` writes, one JSON object per line.
//! - [`checkup`] and [`findings`]: what a machine's state does to a measurement, for `doctor` and for warnings.
//! - [`warnings`]: what a sceptic would hold against a result, found in the result itself.
//! - [`units`]: sizes, rates and durations, parsed and shown.
//!
//! This crate knows no engine, opens no file and prints nothing.

pub mod assemble;
pub mod checkup;
pub mod csv;
pub mod document;
pub mod events;
pub mod findings;
pub mod histogram;
pub mod json;
pub mod merge;
pub mod statistics;
pub mod text;
pub mod units;
mod utc;
pub mod warnings;

pub use utc::rfc3339;

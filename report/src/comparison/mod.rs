//! The comparison document: several arms, measured in interleaved rounds, and what may be said of
//! them.
//!
//! A [`Comparison`] has [`Cell`]s, one per workload and number of connections. In a cell every
//! [`Arm`] runs once per [`CellRound`], in random order; the baseline is there twice, the second
//! time as a control (A/A). One run gives one number per metric: rounds are the sample, never
//! requests or slices within a run.
//!
//! [`analyse`] makes the [`Analysis`] of a cell from its rounds alone, so that a saved document can
//! be analysed again. The rules of the [result document](crate::document) on names, units, nulls
//! and versions hold here too.

mod analyse;
mod analysis;
mod cell;
mod document;
mod doubts;
mod effects;
mod judge;
mod method;
mod metric;
mod neighbours;
mod obstacles;
mod rounds;
mod run;
mod sample;
mod stopping;
mod threshold;
pub mod words;

pub use analyse::{analyse, analyse_all};
pub use analysis::{
    Adjustment, Analysis, ArmEffect, ArmVerdict, Effect, MetricAnalysis, Steadiness, Verdict,
};
pub use cell::{Arm, ArmProfile, ArmRole, Cell, CellRound, StopReason};
pub use document::{Comparison, SCHEMA};
pub use method::Method;
pub use metric::{Better, Metric, MetricName, Vary};
pub use neighbours::{OTHERS_NOTICED_CORES, disturbed_rounds, remarks};
pub use run::{ArmRun, HostUse, RateSeries, RunLatency, RunSide};
pub use stopping::stop_reason;
pub use threshold::{Outcome, OutcomeState, Threshold, ThresholdError};

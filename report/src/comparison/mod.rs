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
mod doubts;
mod judge;
mod metric;
mod neighbours;
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
pub use metric::{Better, Metric, Vary};
pub use neighbours::{OTHERS_NOTICED_CORES, disturbed_rounds, remarks};
pub use run::{ArmRun, HostUse, RateSeries, RunLatency, RunSide};
pub use stopping::stop_reason;
pub use threshold::{Outcome, OutcomeState, Threshold, ThresholdError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{Finite, Host, Message, Status, Unknown};

/// The schema that this build writes and reads.
pub const SCHEMA: &str = "linerate.comparison/1";

/// One comparison, complete: what was asked, where it ran, every round, and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Always `linerate.comparison/1`.
    pub schema: String,
    /// Version of the linerate that measured.
    pub linerate_version: String,
    /// Commit that linerate was built from, null outside a git checkout.
    pub git_commit: Option<String>,
    /// Target triple of the build.
    pub build_target: Option<String>,
    /// When the comparison started, RFC 3339 in UTC, for people.
    pub started_at_utc: String,
    /// The same instant as nanoseconds since 1970-01-01 UTC.
    pub started_at_unix_ns: u64,
    /// The command line as given, program name first.
    pub command: Vec<String>,
    /// How it ended.
    pub status: Status,
    /// What a reader must know before believing the numbers, beside the warnings of each analysis.
    pub warnings: Vec<Message>,
    /// What went wrong with the comparison as a whole.
    pub errors: Vec<Message>,
    /// How it was measured and is judged; declared before the first round.
    pub method: Method,
    /// The machines that took part, as they were before the first round.
    pub hosts: Vec<Host>,
    /// One per workload and number of connections.
    pub cells: Vec<Cell>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

impl Comparison {
    /// Whether there is anything to compare: a round that counts, in any cell.
    pub fn has_rounds(&self) -> bool {
        let mut cells = self.cells.iter();
        cells.any(|cell| cell.counted().next().is_some())
    }

    /// A comparison in which nothing has happened yet: status `failed`, no cells.
    pub fn new(linerate_version: &str, command: Vec<String>, method: Method) -> Self {
        Comparison {
            schema: SCHEMA.to_owned(),
            linerate_version: linerate_version.to_owned(),
            git_commit: None,
            build_target: None,
            started_at_utc: crate::utc::rfc3339(0),
            started_at_unix_ns: 0,
            command,
            status: Status::Failed,
            warnings: Vec::new(),
            errors: Vec::new(),
            method,
            hosts: Vec::new(),
            cells: Vec::new(),
            unknown: Unknown::all(
                &["git_commit", "build_target"],
                "the build did not record it",
            ),
        }
    }

    /// Sets both forms of the start time from nanoseconds since 1970-01-01 UTC.
    pub fn set_started(&mut self, unix_ns: u64) {
        self.started_at_unix_ns = unix_ns;
        self.started_at_utc = crate::utc::rfc3339(unix_ns);
    }

    /// Sets what the build knows of itself and removes the reasons for its absence.
    pub fn set_build(&mut self, git_commit: Option<&str>, build_target: Option<&str>) {
        self.git_commit = git_commit.map(str::to_owned);
        self.build_target = build_target.map(str::to_owned);
        Unknown::retract(&mut self.unknown, "git_commit", git_commit.is_some());
        Unknown::retract(&mut self.unknown, "build_target", build_target.is_some());
    }
}

/// How a comparison is measured and judged. Everything here is declared before the first round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Method {
    /// Seed of every random choice: the order of arms in each round, and the sign flips of the test
    /// where there are too many to try all.
    pub seed: u64,
    /// Which side the arms differ in.
    pub vary: Vary,
    /// True if all arms ran in every round, in random order, so that their runs are paired. False for
    /// two results that were saved at different times: then what the machine did between them looks
    /// like a difference, and no statistics can tell.
    #[serde(default = "interleaved")]
    pub interleaved: bool,
    /// Counted rounds that no cell exceeds.
    pub rounds_planned: u32,
    /// Counted rounds before precision may end a cell.
    pub rounds_minimum: u32,
    /// Time for the whole comparison; null for as long as the rounds take.
    pub budget_ns: Option<u64>,
    /// Pause before each run.
    pub pause_ns: u64,
    /// Warm-up of each run.
    pub warmup_ns: u64,
    /// Nominal length of the measured window of each run; null if runs end by count.
    pub duration_ns: Option<u64>,
    /// Error rate of the verdicts of a cell, all arms and primary metrics together.
    pub alpha: Finite,
    /// An effect up to this share is never called faster or slower: 0.01 is 1 %.
    pub practical_threshold: Finite,
    /// Arms whose whole confidence interval lies within plus or minus this share are equivalent.
    pub equivalence_margin: Finite,
    /// A cell ends when the confidence intervals of all primary metrics are at most this far to
    /// either side (share of the value); null if it runs all its rounds.
    pub precision_target: Option<Finite>,
    /// A run whose rate drifts by more than this share is unsteady.
    pub drift_limit: Finite,
    /// With more than this share of unsteady runs an arm is not judged.
    pub unsteady_limit: Finite,
    /// From this busy share on, the side that is not varied is what limits the rate.
    pub busy_limit: Finite,
}

impl Method {
    /// The method with the limits that every comparison has unless the user says otherwise.
    pub fn new(seed: u64, vary: Vary) -> Self {
        let share = |percent: u32| Finite::ratio(f64::from(percent), 100.0).unwrap_or_default();
        Method {
            seed,
            vary,
            interleaved: true,
            rounds_planned: 12,
            rounds_minimum: 6,
            budget_ns: None,
            pause_ns: 0,
            warmup_ns: 0,
            duration_ns: None,
            alpha: share(5),
            practical_threshold: share(1),
            equivalence_margin: share(2),
            precision_target: None,
            drift_limit: share(2),
            unsteady_limit: share(20),
            busy_limit: share(95),
        }
    }
}

fn interleaved() -> bool {
    true
}

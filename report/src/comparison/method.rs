//! How a comparison is measured and judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metric::{Metric, Vary};
use crate::document::Finite;

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
    /// The metrics that were declared to decide, the first one first; each cell has them as its primary ones.
    /// Empty if nobody declared any: then a cell is judged by rate, p99 and CPU, and what limits it decides.
    #[serde(default)]
    pub declared_metrics: Vec<Metric>,
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
    /// With more than this share of unsteady runs only such a difference of an arm is believed as stands clear
    /// of their drift.
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
            declared_metrics: Vec::new(),
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

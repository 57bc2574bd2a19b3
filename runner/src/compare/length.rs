//! How long a comparison takes: by its plans before it starts, by what runs took afterwards.

use super::cell::CellPlan;
use crate::plan::Plan;
use report::comparison::Method;

/// What a run takes beside warm-up and window: two processes start, the clocks are compared, the
/// results come home. Measured on a slow machine; what it really is replaces it after the first run.
const OVERHEAD_NS: u64 = 400_000_000;
/// A run that counts has no length before it ran.
const COUNTED_RUN_NS: u64 = 2_000_000_000;

/// The length of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Length {
    /// Runs of all rounds of all cells, the discarded ones included.
    pub runs: u64,
    /// What they take in all, ns; of a comparison with a budget at most that.
    pub total_ns: u64,
    /// What one round of all cells takes, ns.
    round_ns: u64,
}

impl Length {
    pub(super) fn of(cells: &[CellPlan], method: &Method) -> Self {
        let rounds = u64::from(method.rounds_planned) + 1;
        let round_ns: u64 = cells
            .iter()
            .map(|cell| cell_round_ns(cell, method.pause_ns))
            .sum();
        let entrants: usize = cells.iter().map(|cell| cell.entrants.len()).sum();
        Self {
            runs: rounds * entrants as u64,
            total_ns: (rounds * round_ns).min(method.budget_ns.unwrap_or(u64::MAX)),
            round_ns,
        }
    }

    /// What so many rounds of all cells take, ns.
    pub(super) fn of_rounds_ns(&self, rounds: u32) -> u64 {
        u64::from(rounds) * self.round_ns
    }
}

fn cell_round_ns(cell: &CellPlan, pause_ns: u64) -> u64 {
    let runs = cell.entrants.iter();
    runs.map(|entrant| run_ns(&entrant.plan) + pause_ns).sum()
}

/// What one run takes, ns.
pub(super) fn run_ns(plan: &Plan) -> u64 {
    plan.warmup_ns() + plan.duration_ns().unwrap_or(COUNTED_RUN_NS) + OVERHEAD_NS
}

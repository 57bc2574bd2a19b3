//! A comparison that can be conducted: every plan validated, its rounds counted out.

use super::cell::{CellPlan, cell_plan, metrics_of};
use super::length::Length;
use super::request::ExperimentRequest;
use crate::error::Failure;
use crate::plan::PlanError;
use report::comparison::{ArmRole, Method};
use report::document::Finite;
use report::statistics;
use report::units::human_duration_ns;

/// Rounds of a cell unless the user or the number of comparisons says otherwise.
const ROUNDS: u32 = 12;
/// More rounds bring less than longer ones.
const ROUNDS_MAX: u32 = 30;
/// Between two runs the machine comes to rest: closed sockets, ended processes.
const PAUSE_NS: u64 = 200_000_000;

/// A comparison that can be conducted.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub(crate) request: ExperimentRequest,
    pub(crate) cells: Vec<CellPlan>,
    pub(crate) method: Method,
}

impl Experiment {
    /// Validates every plan, and that the rounds suffice for a verdict.
    ///
    /// # Errors
    /// What cannot be run or decided, with what to write instead.
    pub fn new(request: ExperimentRequest) -> Result<Self, PlanError> {
        let ExperimentRequest { cells, vary, .. } = &request;
        let cells: Vec<CellPlan> = cells
            .iter()
            .map(|cell| cell_plan(cell, *vary, &request.metrics))
            .collect::<Result<_, _>>()?;
        let Some(first) = cells.iter().flat_map(|cell| &cell.entrants).next() else {
            return Err(PlanError::Missing {
                option: "compare",
                needs: "at least two arms",
                cure: "name what to compare, for example --engines uring,epoll",
            });
        };
        let mut method = Method::new(request.seed, *vary);
        method.declared_metrics = metrics_of(&request.metrics, first.plan.workload(), *vary)?;
        method.warmup_ns = first.plan.warmup_ns();
        method.duration_ns = first.plan.duration_ns();
        method.pause_ns = request.pause_ns.unwrap_or(PAUSE_NS);
        method.budget_ns = request.budget_ns;
        method.precision_target = precision(request.precision)?;
        method.rounds_minimum = cells
            .iter()
            .map(|cell| rounds_needed(cell, &method))
            .fold(method.rounds_minimum, u32::max);
        method.rounds_planned = rounds(&request, method.rounds_minimum)?;
        let experiment = Self {
            request,
            cells,
            method,
        };
        experiment.check_budget()?;
        Ok(experiment)
    }

    /// How many ranks must join, where something else starts the load's agents.
    pub fn ranks(&self) -> Option<u32> {
        let entrants = self.cells.iter().flat_map(|cell| &cell.entrants);
        entrants.filter_map(|entrant| entrant.plan.ranks()).max()
    }

    /// How it is measured and judged.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Names of the cells, each with the names of what runs in it.
    pub fn cells(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.cells.iter().map(|cell| {
            let labels = cell.entrants.iter().map(|entrant| entrant.label.as_str());
            (cell.label.as_str(), labels.collect())
        })
    }

    /// How long it will take at most.
    pub fn length(&self) -> Length {
        Length::of(&self.cells, &self.method)
    }

    /// Refuses engines that do not run on this machine. Those of another host refuse there, in the
    /// discarded round.
    ///
    /// # Errors
    /// Every such engine with the reason and what helps.
    pub fn check_engines(&self) -> Result<(), Failure> {
        let mut refused: Vec<String> = Vec::new();
        for entrant in self.cells.iter().flat_map(|cell| &cell.entrants) {
            let here = entrant.plan.testee().filter(|testee| testee.is_here());
            let load_here = entrant.plan.request.common.load_elsewhere().is_none();
            let engines = [
                load_here.then_some(&entrant.plan.engine),
                here.map(|testee| &testee.engine),
            ];
            for engine in engines.into_iter().flatten() {
                if let Err(why) = engine.choose(&[])
                    && !refused.contains(&why)
                {
                    refused.push(why);
                }
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        Err(Failure::machine(format!(
            "{}; or leave it out of the comparison",
            refused.join("; ")
        )))
    }

    /// A budget that no verdict fits into would be spent for nothing.
    fn check_budget(&self) -> Result<(), PlanError> {
        let Some(budget_ns) = self.method.budget_ns else {
            return Ok(());
        };
        let rounds = self.method.rounds_minimum;
        let needed_ns = self.length().of_rounds_ns(rounds + 1);
        if budget_ns >= needed_ns {
            return Ok(());
        }
        // Upwards: what is named here must suffice when it is typed.
        let needed_ns = needed_ns.next_multiple_of(1_000_000_000);
        Err(PlanError::OutOfRange {
            option: "--budget",
            value: human_duration_ns(budget_ns),
            range: format!(
                "at least {}, which {rounds} rounds and a discarded one take: with fewer, no difference can be \
                 told from chance",
                human_duration_ns(needed_ns)
            ),
            cure: "raise it, shorten --duration and --warmup, or compare less at once",
        })
    }
}

/// With fewer, not even the largest difference could be told from chance after Holm's adjustment.
fn rounds_needed(cell: &CellPlan, method: &Method) -> u32 {
    let arms = cell
        .entrants
        .iter()
        .filter(|entrant| entrant.role == ArmRole::Arm);
    let comparisons = arms.count() * cell.primary_metrics.len();
    let comparisons = u32::try_from(comparisons).unwrap_or(u32::MAX);
    statistics::rounds_needed(comparisons, method.alpha.get()).max(method.rounds_minimum)
}

fn rounds(request: &ExperimentRequest, minimum: u32) -> Result<u32, PlanError> {
    let open_end = request.budget_ns.is_some() || request.precision.is_some();
    let default = if open_end { ROUNDS_MAX } else { ROUNDS };
    let rounds = request.rounds.unwrap_or(default.max(minimum));
    if (minimum..=ROUNDS_MAX.max(minimum)).contains(&rounds) {
        return Ok(rounds);
    }
    Err(PlanError::OutOfRange {
        option: "--rounds",
        value: rounds.to_string(),
        range: format!("from {minimum} to {ROUNDS_MAX}"),
        cure: "with fewer, no difference can be told from chance between so many arms; instead of more, measure \
               longer with --duration",
    })
}

fn precision(share: Option<f64>) -> Result<Option<Finite>, PlanError> {
    match share {
        None => Ok(None),
        Some(share) if share > 0.0 && share < 1.0 => Ok(Finite::new(share)),
        Some(share) => Err(PlanError::OutOfRange {
            option: "--precision",
            value: format!("{} %", share * 100.0),
            range: "above 0 % and below 100 %".to_owned(),
            cure: "write for example --precision 2",
        }),
    }
}

//! Comparisons: several plans, measured in interleaved rounds of one run each.
//!
//! An [`Experiment`] has cells (one question each, for example a number of connections). In every
//! round of a cell each arm runs once, in an order that is random and balanced (Williams designs), with
//! fresh processes and sockets; the first arm, the baseline, runs twice, so that what it seems to
//! differ by from itself says how much is noise. The first round is discarded. A cell ends after
//! its rounds, when the time is used up, or when its confidence intervals are as narrow as asked
//! for; never because of what a test said, which would make false alarms likely.
//!
//! What the rounds mean is computed in [`report::comparison`].

mod conduct;
mod drift;
mod engine_list;
mod length;
mod order;
mod record;
mod saved;

pub use conduct::{Observer, Outcome, Place, conduct};
pub use engine_list::engines;
pub use length::Length;
pub use saved::{SavedRun, saved};

use crate::error::Failure;
use crate::plan::{Plan, PlanError, PlanRequest};
use report::comparison::{ArmRole, Method, Metric, Vary};
use report::document::{Finite, Workload};
use report::statistics;
use report::units::human_duration_ns;

/// Rounds of a cell unless the user or the number of comparisons says otherwise.
const ROUNDS: u32 = 12;
/// More rounds bring less than longer ones.
const ROUNDS_MAX: u32 = 30;
/// Between two runs the machine comes to rest: closed sockets, ended processes.
const PAUSE_NS: u64 = 200_000_000;

/// A comparison as asked for.
#[derive(Clone, Debug)]
pub struct ExperimentRequest {
    /// The questions, each with its arms.
    pub cells: Vec<CellRequest>,
    /// Which side the arms differ in.
    pub vary: Vary,
    /// Counted rounds of each cell; default 12, or as many as the comparisons need. With a budget or
    /// a precision: at most so many, default 30.
    pub rounds: Option<u32>,
    /// The whole comparison ends within this time, ns.
    pub budget_ns: Option<u64>,
    /// A cell ends when all its confidence intervals are within plus or minus this share.
    pub precision: Option<f64>,
    /// Pause before each run, ns; default 200 ms.
    pub pause_ns: Option<u64>,
    /// Decides on every order.
    pub seed: u64,
}

/// One question.
#[derive(Clone, Debug)]
pub struct CellRequest {
    /// Name for people.
    pub label: String,
    /// What is compared, the baseline first.
    pub arms: Vec<ArmRequest>,
}

/// One way to run the workload.
#[derive(Clone, Debug)]
pub struct ArmRequest {
    /// Name for people, unique in its cell.
    pub label: String,
    /// The command that repeats one run of it.
    pub command: String,
    /// What is to be run.
    pub request: PlanRequest,
}

/// A comparison that can be conducted.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub(crate) cells: Vec<CellPlan>,
    pub(crate) method: Method,
}

/// A cell with its entrants in the order of the document: the baseline, its control, the others.
#[derive(Clone, Debug)]
pub(crate) struct CellPlan {
    pub label: String,
    pub workload: Workload,
    pub connections: u64,
    pub primary_metrics: Vec<Metric>,
    pub entrants: Vec<Entrant>,
}

/// What runs once per round.
#[derive(Clone, Debug)]
pub(crate) struct Entrant {
    pub label: String,
    pub role: ArmRole,
    pub command: String,
    pub plan: Plan,
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
            .map(|cell| cell_plan(cell, *vary))
            .collect::<Result<_, _>>()?;
        let Some(first) = cells.iter().flat_map(|cell| &cell.entrants).next() else {
            return Err(PlanError::Missing {
                option: "compare",
                needs: "at least two arms",
                cure: "name what to compare, for example --engines uring,epoll",
            });
        };
        let mut method = Method::new(request.seed, *vary);
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
        let experiment = Self { cells, method };
        experiment.check_budget()?;
        Ok(experiment)
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
        Length::of(self)
    }

    /// Refuses engines that do not run on this machine. Those of another host refuse there, in the
    /// discarded round.
    ///
    /// # Errors
    /// Every such engine with the reason and what helps.
    pub fn check_engines(&self) -> Result<(), Failure> {
        let mut refused: Vec<String> = Vec::new();
        for entrant in self.cells.iter().flat_map(|cell| &cell.entrants) {
            let here = entrant.plan.testee().filter(|testee| testee.via.is_empty());
            let engines = [
                Some(&entrant.plan.engine),
                here.map(|testee| &testee.engine),
            ];
            for engine in engines.into_iter().flatten() {
                if let Err(why) = engine.choose()
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

fn cell_plan(cell: &CellRequest, vary: Vary) -> Result<CellPlan, PlanError> {
    let mut entrants = Vec::new();
    for (index, arm) in cell.arms.iter().enumerate() {
        if cell.arms[..index]
            .iter()
            .any(|other| other.label == arm.label)
        {
            return Err(PlanError::Conflict {
                option: "arm",
                with: format!("another of the same name, '{}'", arm.label),
                cure: "name each once; the baseline is measured a second time anyway, as a control",
            });
        }
        let mut request = arm.request.clone();
        request.common.repeat = None;
        let plan = Plan::new(request)?;
        let entrant = |label: String, role| Entrant {
            label,
            role,
            command: arm.command.clone(),
            plan: plan.clone(),
        };
        if index > 0 {
            entrants.push(entrant(arm.label.clone(), ArmRole::Arm));
            continue;
        }
        entrants.push(entrant(arm.label.clone(), ArmRole::Baseline));
        entrants.push(entrant(format!("{} (again)", arm.label), ArmRole::Control));
    }
    if entrants.len() < 3 {
        return Err(PlanError::Missing {
            option: "compare",
            needs: "at least two arms",
            cure: "name what to compare, for example --engines uring,epoll",
        });
    }
    let plan = &entrants[0].plan;
    Ok(CellPlan {
        label: cell.label.clone(),
        workload: plan.workload(),
        connections: u64::from(plan.connections()),
        primary_metrics: primary_metrics(&entrants, vary),
        entrants,
    })
}

/// What the verdicts are about. The process of a foreign target is not known, and so is no metric.
fn primary_metrics(entrants: &[Entrant], vary: Vary) -> Vec<Metric> {
    let foreign = entrants
        .iter()
        .any(|entrant| !entrant.plan.has_own_testee());
    let mut metrics = Metric::primary(entrants[0].plan.workload(), vary);
    if foreign && vary != Vary::Load {
        let cpu = Metric::cpu(entrants[0].plan.workload(), vary);
        metrics.retain(|metric| *metric != cpu);
    }
    metrics
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

#[cfg(test)]
mod tests;

//! One question of a comparison: who takes part in it, and what decides.

use super::request::CellRequest;
use crate::plan::{Plan, PlanError};
use report::comparison::{ArmRole, Metric, MetricName, Vary};
use report::document::Workload;

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

pub(super) fn cell_plan(
    cell: &CellRequest,
    vary: Vary,
    metrics: &[MetricName],
) -> Result<CellPlan, PlanError> {
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
        if plan.holds_until_told() {
            return Err(PlanError::Conflict {
                option: "--hold without a duration",
                with: "compare".to_owned(),
                cure: "somebody would have to end each run by hand: say for how long, for example --hold 0s",
            });
        }
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
        primary_metrics: primary_metrics(&entrants, vary, metrics)?,
        entrants,
    })
}

/// What the verdicts are about. The process of a foreign target is not known, and so is no metric.
fn primary_metrics(
    entrants: &[Entrant],
    vary: Vary,
    declared: &[MetricName],
) -> Result<Vec<Metric>, PlanError> {
    let mut targets = entrants.iter().map(|entrant| &entrant.plan);
    let foreign = targets.any(|plan| !plan.has_own_testee());
    let workload = entrants[0].plan.workload();
    if declared.is_empty() {
        let mut metrics = Metric::primary(workload, vary);
        metrics.retain(|metric| !(foreign && metric.is_of_testee()));
        return Ok(metrics);
    }
    let metrics = metrics_of(declared, workload, vary)?;
    match metrics.iter().any(|metric| metric.is_of_testee()) && foreign {
        false => Ok(metrics),
        true => Err(PlanError::Conflict {
            option: "--metric",
            with: "a target that linerate does not start, whose CPU time it cannot know".to_owned(),
            cure: "declare rate, p99 or load_cpu_per_op",
        }),
    }
}

/// The declared metrics in the terms of a workload, each once.
pub(super) fn metrics_of(
    declared: &[MetricName],
    workload: Workload,
    vary: Vary,
) -> Result<Vec<Metric>, PlanError> {
    let mut metrics: Vec<Metric> = Vec::new();
    for name in declared {
        let metric = name.of(workload, vary);
        if !metric.is_of(workload) {
            return Err(PlanError::Conflict {
                option: "--metric",
                with: format!("{} of {}, which has none", name.text(), workload.name()),
                cure: "declare throughput or cpu_per_kib",
            });
        }
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    Ok(metrics)
}

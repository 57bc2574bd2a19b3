//! Two saved results as a comparison. They were not measured in turn, and there is no control: what
//! the machine did between them looks like a difference, and the document says so. Its analysis does
//! not pair their rounds.

use super::cell::metrics_of;
use super::differences;
use super::record;
use crate::build_info::{BUILD_TARGET, GIT_COMMIT, VERSION};
use crate::plan::PlanError;
use report::comparison::words::OTHER_WORK;
use report::comparison::{
    Arm, ArmRole, ArmRun, Cell, CellRound, Comparison, Method, Metric, MetricName, StopReason, Vary,
};
use report::document::{Document, Host, Message, Round, Status};
use report::merge;

/// A saved result, and the name of its file.
pub struct SavedRun {
    /// Shown as the arm's name.
    pub label: String,
    /// The result.
    pub document: Document,
}

/// How two saved results are compared.
#[derive(Clone, Debug)]
pub struct SavedMethod {
    /// Which side they differ in.
    pub vary: Vary,
    /// The metrics that decide; empty for rate, p99 and CPU.
    pub metrics: Vec<MetricName>,
    /// They may be of different work.
    pub allow_different: bool,
}

/// The comparison of two saved results, not analysed yet. What differs between their plans is said in warnings.
///
/// # Errors
/// When one has no valid round, they are of different workloads, or of different work where that is not allowed.
pub fn saved(
    old: &SavedRun,
    new: &SavedRun,
    SavedMethod {
        vary,
        metrics: declared,
        allow_different,
    }: &SavedMethod,
) -> Result<Comparison, PlanError> {
    let vary = *vary;
    let (baseline, other) = (&old.document, &new.document);
    if baseline.plan.workload != other.plan.workload {
        return Err(PlanError::File(format!(
            "{} is of {} and {} of {}: different operations cannot be compared",
            old.label,
            baseline.plan.workload.name(),
            new.label,
            other.plan.workload.name()
        )));
    }
    let differing = differences::between(baseline, other);
    let other_work = differing.work();
    if let (Some(work), false) = (&other_work, allow_different) {
        return Err(PlanError::File(format!(
            "{} and {} are not of the same work: {work}; measure both alike, or compare them all the same with \
             --allow-different",
            old.label, new.label
        )));
    }
    let results = [(valid(old)?, baseline), (valid(new)?, other)];
    let workload = baseline.plan.workload;
    // They are not paired: of different numbers of rounds, every one is used.
    let longest = results.iter().map(|(rounds, _)| rounds.len()).max();
    let rounds: Vec<CellRound> = (0..longest.unwrap_or(0))
        .map(|index| {
            let run = |(arm, (rounds, document)): (u32, &(Vec<&Round>, &Document))| {
                let round = rounds.get(index)?;
                let started_ns = document.started_at_unix_ns;
                Some(ArmRun::from_round(arm, &document.plan, round, started_ns))
            };
            let runs: Vec<ArmRun> = (0..).zip(&results).filter_map(run).collect();
            CellRound {
                number: index as u32 + 1,
                discarded: false,
                started_at_unix_ns: baseline.started_at_unix_ns,
                order: runs.iter().map(|run| run.arm).collect(),
                runs,
                remarks: Vec::new(),
            }
        })
        .collect();
    let mut method = Method::new(0, vary);
    method.interleaved = false;
    method.declared_metrics = metrics_of(declared, workload, vary)?;
    method.rounds_planned = rounds.len() as u32;
    method.warmup_ns = baseline.plan.warmup_ns;
    method.duration_ns = baseline.plan.duration_ns;
    let cell = Cell {
        label: workload.name().to_owned(),
        workload,
        connections: baseline.plan.connections,
        primary_metrics: match &method.declared_metrics[..] {
            [] => primary_metrics(&rounds, workload, vary),
            declared => declared.to_vec(),
        },
        arms: vec![arm(old, ArmRole::Baseline)?, arm(new, ArmRole::Arm)?],
        rounds,
        stopped: StopReason::Rounds,
        analysis: None,
    };
    let mut comparison = Comparison::new(VERSION, Vec::new(), method);
    comparison.set_build(GIT_COMMIT, BUILD_TARGET);
    comparison.set_started(baseline.started_at_unix_ns);
    comparison.status = Status::Ok;
    comparison.hosts.clone_from(&baseline.hosts);
    comparison.warnings.extend(other_work.map(|work| {
        let text = format!("the results are not of the same work: {work}");
        Message::new(OTHER_WORK, text).with_cure("measure both alike")
    }));
    comparison.warnings.extend(differing.ways().map(|ways| {
        let text = format!("what differs between the plans: {ways}");
        Message::new("plans_differ", text)
    }));
    comparison.warnings.push(not_interleaved());
    comparison.warnings.extend(other_machine(baseline, other));
    comparison.cells.push(cell);
    Ok(comparison)
}

/// The metrics to judge, as far as the runs have them.
fn primary_metrics(
    rounds: &[CellRound],
    workload: report::document::Workload,
    vary: Vary,
) -> Vec<Metric> {
    let known = |metric: &Metric| {
        let mut runs = rounds.iter().flat_map(|round| &round.runs);
        runs.all(|run| run.value(*metric).is_some())
    };
    let metrics = Metric::primary(workload, vary);
    metrics.into_iter().filter(known).collect()
}

fn not_interleaved() -> Message {
    Message::new(
        "not_interleaved",
        "the two results were not measured in turn and have no control: whatever the machine did differently between \
         them looks like a difference of what was measured",
    )
    .with_cure("measure both in one comparison, for example with linerate compare --plan FILE")
}

/// What is not the same of the hosts of two results.
fn other_machine(old: &Document, new: &Document) -> Option<Message> {
    type Fact = fn(&Host) -> Option<String>;
    let facts: [(&str, Fact); 5] = [
        ("host name", |host| host.name.clone()),
        ("processor", |host| host.cpu_model.clone()),
        ("number of CPUs", |host| Some(host.cpu_count?.to_string())),
        ("kernel", |host| host.kernel.clone()),
        ("governor", |host| host.governor.clone()),
    ];
    let mut found: Vec<String> = Vec::new();
    for (first, second) in old.hosts.iter().zip(&new.hosts) {
        for (name, fact) in &facts {
            let known = fact(first).zip(fact(second));
            if let Some((was, is)) = known.filter(|(was, is)| was != is) {
                found.push(format!("{name} {was} and {is}"));
            }
        }
    }
    if old.hosts.len() != new.hosts.len() {
        let (was, is) = (old.hosts.len(), new.hosts.len());
        found.push(format!("number of hosts {was} and {is}"));
    }
    (!found.is_empty()).then(|| {
        Message::new(
            "other_machine",
            format!(
                "the results are not of the same machine in the same state, and that is compared too: {}; \
                 the hosts shown are those of the first",
                found.join(", ")
            ),
        )
    })
}

/// The rounds that count.
fn valid(run: &SavedRun) -> Result<Vec<&Round>, PlanError> {
    let rounds = run.document.rounds.iter();
    let rounds: Vec<_> = rounds
        .filter(|round| round.invalid.is_empty() && !round.ended_early)
        .collect();
    if rounds.is_empty() {
        return Err(PlanError::File(format!(
            "{} has no complete round: measure with linerate run WORKLOAD --repeat 7 or more",
            run.label
        )));
    }
    Ok(rounds)
}

fn arm(run: &SavedRun, role: ArmRole) -> Result<Arm, PlanError> {
    let document = &run.document;
    let rounds = valid(run)?;
    let first = rounds.first().copied();
    let latencies = rounds
        .iter()
        .map(|round| round.measured.latency.primary().map(|(_, all)| all));
    let latency = merge::latencies(latencies)
        .map_err(|error| PlanError::File(format!("{}: join its latencies: {error}", run.label)))?;
    let side = |sides: &[report::document::Side]| sides.first().map(|side| side.engine.clone());
    Ok(Arm {
        label: run.label.clone(),
        role,
        plan: document.plan.clone(),
        load_engine: first
            .and_then(|round| side(&round.load))
            .unwrap_or_default(),
        testee_engine: first.and_then(|round| side(&round.testee)),
        profiles: record::profiles(document),
        command: report::text::to_repeat(&document.command),
        latency_kind: first
            .and_then(|round| round.measured.latency.primary())
            .map(|(kind, _)| kind.to_owned()),
        latency,
    })
}

//! Whole comparisons at a venue that plays runs instead of making them.

mod conducting;
mod logs;
mod saved;

use super::conduct::{Venue, conduct_on};
use super::record::Record;
use super::*;
use crate::cancel::Cancel;
use crate::conduct::{self as single};
use crate::error::Failure;
use crate::error::{ExitClass, RunError};
use crate::plan::{Plan, PlanRequest};
use report::assemble::{self, RoundParts};
use report::comparison::{Cell, Comparison, StopReason};
use report::comparison::{Metric, Vary};
use report::document::Workload;
use report::document::{
    Document, Host, HostActivity, LatencySummary, Message, Role, Side, Status, SystemCpu, Window,
    unexplained_nulls,
};
use report::findings::{Finding, Level};
use std::collections::BTreeMap;

fn arm(label: &str) -> ArmRequest {
    let mut request = PlanRequest::of(Workload::Rr);
    let common = &mut request.common;
    common.testee_engine = Some(label.split_whitespace().next().unwrap().to_owned());
    (common.duration_ns, common.warmup_ns) = (Some(1_000_000_000), Some(0));
    ArmRequest {
        label: label.to_owned(),
        command: format!("linerate run rr --testee-engine {label}"),
        request,
    }
}

fn request(arms: &[&str], cells: u32) -> ExperimentRequest {
    let cell = |number: u32| CellRequest {
        label: format!("cell {number}"),
        arms: arms.iter().map(|label| arm(label)).collect(),
    };
    ExperimentRequest {
        cells: (1..=cells).map(cell).collect(),
        vary: Vary::Testee,
        metrics: Vec::new(),
        rounds: None,
        budget_ns: None,
        precision: None,
        pause_ns: Some(0),
        seed: 5,
    }
}

fn experiment(change: impl FnOnce(&mut ExperimentRequest)) -> Experiment {
    let mut request = request(&["epoll", "blocking"], 1);
    change(&mut request);
    Experiment::new(request).unwrap()
}

/// Plays runs: each takes its nominal time and more on a clock of its own.
#[derive(Default)]
struct Playhouse {
    now_ns: u64,
    /// What ran, by the engine of the testee.
    played: Vec<String>,
    /// Engines whose runs fail, from which run of theirs on, and how.
    failing: BTreeMap<&'static str, (usize, ExitClass)>,
    /// Runs that fail, whatever they are, counted over all from 0.
    failing_runs: Vec<usize>,
    /// The user wants to end during this run.
    interrupt: Option<(usize, Cancel)>,
    /// A setting changes before this run.
    changes: Option<usize>,
    /// A neighbour uses a quarter of a CPU during these runs.
    disturbed: Vec<usize>,
    /// What was found on this host before the first run.
    seen: Vec<Finding>,
    /// What every run finds, on each host.
    found: Vec<(&'static str, Finding)>,
}

impl Venue for Playhouse {
    fn run(
        &mut self,
        plan: &Plan,
        observer: &mut dyn single::Observer,
    ) -> Result<Document, RunError> {
        for (host, finding) in &self.found {
            observer.finding(host, finding);
        }
        let engine = plan.testee().unwrap().engine.name.clone();
        let earlier = self.played.iter().filter(|name| **name == engine).count();
        self.played.push(engine.clone());
        self.now_ns += 2_000_000_000;
        if let Some((number, cancel)) = &self.interrupt
            && self.played.len() == *number
        {
            cancel.raise();
        }
        let broke = |class| {
            RunError::from(Failure {
                class,
                text: "it broke".to_owned(),
            })
        };
        if self.failing_runs.contains(&(self.played.len() - 1)) {
            return Err(broke(ExitClass::Peer));
        }
        match self.failing.get(engine.as_str()) {
            Some((from, class)) if earlier >= *from => Err(broke(*class)),
            _ => Ok(self.document(plan)),
        }
    }

    fn rest(&mut self, ns: u64) {
        self.now_ns += ns;
    }

    fn elapsed_ns(&self) -> u64 {
        self.now_ns
    }

    fn unix_ns(&self) -> u64 {
        1_000 + self.now_ns
    }
}

impl Playhouse {
    fn document(&self, plan: &Plan) -> Document {
        let mut document = Document::new("0", Vec::new(), plan.document());
        let changed = self.changes.is_some_and(|from| self.played.len() >= from);
        document.hosts.push(Host {
            id: "local".into(),
            governor: Some(if changed { "performance" } else { "schedutil" }.into()),
            ..Host::default()
        });
        let side = |role: Role| {
            let mut side = Side {
                agent: role.name().to_owned(),
                role,
                threads: 1,
                window: Window {
                    length_ns: 1_000_000_000,
                    ..Window::default()
                },
                ..Side::default()
            };
            side.measured.totals.operations = 1000;
            let mut latencies = report::histogram::new();
            latencies.record_n(50_000, 1000).unwrap();
            side.measured.latency.service = LatencySummary::from_histogram(&latencies).unwrap();
            side.process.cpu_ns = Some(500_000_000);
            side
        };
        let parts = RoundParts {
            number: 1,
            ended_early: false,
            poisson_seed: Some(plan.poisson_seed(1)),
            invalid: Vec::new(),
            go_unix_ns: None,
            start_skew_ns: None,
            one_machine: Vec::new(),
            lost: Vec::new(),
            load: vec![side(Role::Load)],
            testee: vec![side(Role::Testee)],
            hosts: self.activity(),
        };
        let round = assemble::round(&document.plan, parts).unwrap();
        document.rounds.push(round);
        document.status = Status::Ok;
        let found = self.found.iter();
        let warnings = found.filter_map(|(host, finding)| finding.warning(host));
        document.warnings.extend(warnings);
        document
    }

    /// Both sides use half a CPU each.
    fn activity(&self) -> Vec<HostActivity> {
        let others_ns = match self.disturbed.contains(&self.played.len()) {
            true => 250_000_000,
            false => 0,
        };
        vec![HostActivity {
            host: "local".to_owned(),
            length_ns: 1_000_000_000,
            cpu: Some(SystemCpu::from_times(
                2,
                600_000_000 + others_ns,
                400_000_000,
                0,
                0,
                1_000_000_000 - others_ns,
            )),
            ..HostActivity::default()
        }]
    }
}

#[derive(Default)]
struct Log {
    started: Vec<(u32, String, u64)>,
    ended: Vec<(String, u32, StopReason)>,
    findings: Vec<String>,
}

impl Observer for Log {
    fn finding(&mut self, host: &str, finding: &Finding) {
        self.findings.push(format!("{host}: {}", finding.seen));
    }

    fn run_started(&mut self, place: &Position<'_>) {
        let what = format!("{}: {}", place.cell, place.arm);
        self.started.push((place.round, what, place.left_ns));
    }

    fn cell_ended(&mut self, label: &str, rounds: u32, why: StopReason) {
        self.ended.push((label.to_owned(), rounds, why));
    }
}

fn play(experiment: &Experiment, stage: &mut Playhouse) -> (Outcome, Log) {
    play_with(experiment, stage, &mut Book::default())
}

fn play_with(experiment: &Experiment, stage: &mut Playhouse, book: &mut Book) -> (Outcome, Log) {
    let mut log = Log::default();
    let cancel = stage.interrupt.as_ref().map(|(_, cancel)| cancel.clone());
    let seen = stage.seen.clone();
    let cancel = cancel.unwrap_or_default();
    let outcome = conduct_on(stage, experiment, &seen, book, &mut log, &cancel);
    assert_eq!(
        unexplained_nulls(&outcome.comparison.cells),
        Vec::<String>::new(),
        "every null has its reason"
    );
    (outcome, log)
}

fn counted(cell: &Cell) -> usize {
    cell.counted().count()
}

fn finding(level: Level, code: &str, seen: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        level,
        seen: seen.to_owned(),
        effect: Some("it matters".to_owned()),
        cure: None,
    }
}

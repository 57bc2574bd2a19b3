//! The comparison document as it grows.

use super::cell::{CellPlan, Entrant};
use super::drift::Settings;
use super::experiment::Experiment;
use super::trial::{FirstRun, RoundTrial, RunTrial};
use crate::build_info::{BUILD_TARGET, GIT_COMMIT, VERSION};
use crate::error::{ExitClass, Failure};
use report::comparison::{
    Arm, ArmProfile, ArmRun, Cell, CellRound, Comparison, StopReason, remarks, stop_reason,
};
use report::document::{Document, EngineUse, LatencySummary, Message, Round, Status};
use report::merge;
use std::collections::BTreeMap;

/// A comparison that is over.
#[derive(Debug)]
pub struct Outcome {
    /// Valid whatever happened; without an analysis yet.
    pub comparison: Comparison,
    /// Why there is nothing to analyse.
    pub failure: Option<Failure>,
}

/// The document while it grows.
pub(super) struct Record {
    comparison: Comparison,
    cells: Vec<CellRecord>,
    warnings: Vec<Counted>,
    runs: u32,
    first_failure: Option<Failure>,
}

/// A warning of the runs, and how many of each arm had it: its text may name numbers of the first.
struct Counted {
    warning: Message,
    runs: BTreeMap<String, u32>,
}

/// A cell while it grows.
pub(super) struct CellRecord {
    pub cell: Cell,
    /// What the arms' runs of the round in progress gave.
    latencies: Vec<Option<LatencySummary>>,
    settings: Vec<Settings>,
    described: Vec<bool>,
    /// The last round is still going on, and these are its runs.
    open: bool,
    runs: Vec<RunTrial>,
}

impl Record {
    pub fn new(experiment: &Experiment, started_unix_ns: u64) -> Self {
        let mut comparison = Comparison::new(VERSION, Vec::new(), experiment.method.clone());
        comparison.set_build(GIT_COMMIT, BUILD_TARGET);
        comparison.set_started(started_unix_ns);
        Self {
            comparison,
            cells: experiment.cells.iter().map(CellRecord::new).collect(),
            warnings: Vec::new(),
            runs: 0,
            first_failure: None,
        }
    }

    pub fn cell(&mut self, cell: usize) -> &mut CellRecord {
        &mut self.cells[cell]
    }

    /// Adds a warning of the comparison as a whole.
    pub fn warn(&mut self, warning: Message) {
        self.comparison.warnings.push(warning);
    }

    /// A run ended: what it gave, or why it gave nothing.
    pub fn take(&mut self, cell: usize, trial: RunTrial) {
        let entrant = trial.run.arm as usize;
        if trial.run.failure.is_none() {
            self.runs += 1;
            let arm = self.cells[cell].cell.arms[entrant].label.clone();
            self.count_warnings(&arm, &trial.warnings);
        }
        for host in trial.first.iter().flat_map(|first| &first.hosts) {
            let mut known = self.comparison.hosts.iter();
            if !known.any(|known| known.id == host.id) {
                self.comparison.hosts.push(host.clone());
            }
        }
        if let Some(failure) = &trial.failure {
            self.first_failure.get_or_insert_with(|| failure.clone());
        }
        self.cells[cell].take(trial);
    }

    /// Counts the warnings of a run. A second one with the same code (of another host, for instance) is another
    /// warning, and not a second run.
    fn count_warnings(&mut self, arm: &str, warnings: &[Message]) {
        for (place, warning) in warnings.iter().enumerate() {
            let earlier = warnings[..place].iter();
            let number = earlier.filter(|known| known.code == warning.code).count();
            let known = (0..self.warnings.len())
                .filter(|&known| self.warnings[known].warning.code == warning.code)
                .nth(number);
            let known = known.unwrap_or_else(|| {
                self.warnings.push(Counted::new(warning));
                self.warnings.len() - 1
            });
            *self.warnings[known].runs.entry(arm.to_owned()).or_insert(0) += 1;
        }
    }

    /// Every arm of the round has had its turn: what they gave, in the order of time.
    pub fn end_round(&mut self, cell: usize) -> Vec<RunTrial> {
        let (runs, outcome) = self.cells[cell].end_round();
        if let Err(why) = outcome {
            self.warn(why);
        }
        runs
    }

    /// A round that was measured before, as if it were measured now.
    pub fn replay(&mut self, trial: RoundTrial) {
        trial
            .before
            .into_iter()
            .for_each(|warning| self.warn(warning));
        let cell = trial.cell;
        self.cells[cell].begin_round(trial.round, &trial.order, trial.started_at_unix_ns);
        for run in trial.runs {
            self.take(cell, run);
        }
        self.end_round(cell);
    }

    /// Why each cell has no more rounds.
    pub fn stopped(&self) -> Vec<StopReason> {
        self.cells.iter().map(|cell| cell.cell.stopped).collect()
    }

    /// Why the cell needs no further round, if so.
    pub fn stop_reason(&self, cell: usize) -> Option<StopReason> {
        stop_reason(&self.cells[cell].cell, &self.comparison.method)
    }

    /// The document, and why there is nothing in it if so.
    pub fn finish(mut self, failure: Option<Failure>, interrupted: bool) -> Outcome {
        for cell in &mut self.cells {
            if cell.open {
                cell.break_off();
            }
            if interrupted
                && cell.cell.stopped == StopReason::Rounds
                && !cell.has_all_rounds(&self.comparison)
            {
                cell.cell.stopped = StopReason::Interrupted;
            }
        }
        let comparison = &mut self.comparison;
        comparison.cells = self.cells.into_iter().map(|record| record.cell).collect();
        let counted = self.warnings.into_iter().map(|known| known.of(self.runs));
        comparison.warnings.extend(counted);
        let nothing = comparison
            .cells
            .iter()
            .all(|cell| cell.stopped == StopReason::Failed);
        let failure = failure.or_else(|| self.first_failure.filter(|_| nothing && !interrupted));
        comparison.status = match &failure {
            Some(failure) => {
                comparison.errors.push(failure.message());
                Status::Failed
            }
            None if interrupted => Status::Interrupted,
            None => Status::Ok,
        };
        if failure.is_some() {
            for cell in &mut comparison.cells {
                cell.stopped = StopReason::Failed;
            }
        }
        Outcome {
            comparison: self.comparison,
            failure,
        }
    }
}

impl Counted {
    fn new(warning: &Message) -> Self {
        Self {
            warning: warning.clone(),
            runs: BTreeMap::new(),
        }
    }

    /// The warning with how many of all `runs` had it, and which: an arm that cannot keep its schedule
    /// must not be taken for the machine.
    fn of(self, runs: u32) -> Message {
        let had: u32 = self.runs.values().sum();
        let arms: Vec<String> = self
            .runs
            .iter()
            .map(|(arm, count)| format!("{arm} {count}"))
            .collect();
        let which = match had == runs {
            true => "in every run".to_owned(),
            false => format!("in {had} of {runs} runs: {}", arms.join(", ")),
        };
        Message {
            text: format!("{} ({which})", self.warning.text),
            ..self.warning
        }
    }
}

impl CellRecord {
    fn new(plan: &CellPlan) -> Self {
        let entrants = plan.entrants.len();
        Self {
            cell: Cell {
                label: plan.label.clone(),
                workload: plan.workload,
                connections: plan.connections,
                primary_metrics: plan.primary_metrics.clone(),
                arms: plan.entrants.iter().map(arm).collect(),
                rounds: Vec::new(),
                stopped: StopReason::Rounds,
                analysis: None,
            },
            latencies: vec![None; entrants],
            settings: (0..entrants).map(|_| Settings::default()).collect(),
            described: vec![false; entrants],
            open: false,
            runs: Vec::new(),
        }
    }

    pub fn begin_round(&mut self, number: u32, order: &[usize], started_unix_ns: u64) {
        self.open = true;
        self.runs.clear();
        self.latencies.fill(None);
        self.cell.rounds.push(CellRound {
            number,
            discarded: number == 0,
            started_at_unix_ns: started_unix_ns,
            order: order.iter().map(|&entrant| entrant as u32).collect(),
            runs: Vec::new(),
            remarks: Vec::new(),
        });
    }

    /// What a run gave that ended well.
    pub fn trial(&self, entrant: usize, started_unix_ns: u64, document: &Document) -> RunTrial {
        let Some(round) = document.rounds.first() else {
            let why = Message::new(
                "peer",
                "the run brought no round; this is a bug in linerate",
            );
            let run = ArmRun::failed(entrant as u32, started_unix_ns, why);
            return RunTrial::without_numbers(run);
        };
        let mut run = ArmRun::from_round(entrant as u32, &document.plan, round, started_unix_ns);
        run.invalid.extend(self.settings[entrant].changes(document));
        if ExitClass::of_document(document) == ExitClass::CheckFailed {
            let text = "bytes came back other than they were sent";
            run.invalid.push(Message::new("check_failed", text));
        }
        let latency = round.measured.latency.primary();
        let latency = latency.filter(|_| run.counts());
        let first = (!self.described[entrant]).then(|| first_run(document, round));
        RunTrial {
            latency: latency.map(|(_, all)| all.clone()),
            remarks: remarks(&self.cell.arms[entrant].label, round),
            warnings: document.warnings.clone(),
            first,
            ..RunTrial::without_numbers(run)
        }
    }

    fn take(&mut self, trial: RunTrial) {
        let entrant = trial.run.arm as usize;
        if let Some(first) = &trial.first {
            self.describe(entrant, first);
        }
        self.latencies[entrant].clone_from(&trial.latency);
        if let Some(round) = self.cell.rounds.last_mut() {
            round.remarks.extend(trial.remarks.iter().cloned());
            round.runs.push(trial.run.clone());
        }
        self.runs.push(trial);
    }

    /// What the first run of an arm tells of it.
    fn describe(&mut self, entrant: usize, first: &FirstRun) {
        self.described[entrant] = true;
        self.settings[entrant].begin(&first.hosts);
        let arm = &mut self.cell.arms[entrant];
        if let Some(engine) = &first.load_engine {
            arm.load_engine = engine.clone();
        }
        arm.testee_engine.clone_from(&first.testee_engine);
        arm.latency_kind.clone_from(&first.latency_kind);
        arm.profiles.clone_from(&first.profiles);
    }

    fn end_round(&mut self) -> (Vec<RunTrial>, Result<(), Message>) {
        self.open = false;
        let outcome = self.add_latencies();
        (std::mem::take(&mut self.runs), outcome)
    }

    fn add_latencies(&mut self) -> Result<(), Message> {
        let Some(round) = self.cell.rounds.last_mut() else {
            return Ok(());
        };
        // In the order of the arms, and not of time: that one is in `order`.
        round.runs.sort_by_key(|run| run.arm);
        if round.discarded {
            return Ok(());
        }
        for (arm, latency) in self.cell.arms.iter_mut().zip(&self.latencies) {
            let parts = [arm.latency.as_ref(), latency.as_ref()];
            arm.latency = merge::latencies(parts.into_iter()).map_err(|error| {
                let text = format!(
                    "{}: the latencies of its runs could not be joined: {error}",
                    arm.label
                );
                Message::new("latency", text)
            })?;
        }
        Ok(())
    }

    /// A round that was not completed counts for nothing.
    fn break_off(&mut self) {
        self.open = false;
        let arms = self.cell.arms.len() as u32;
        let Some(round) = self.cell.rounds.last_mut() else {
            return;
        };
        round.discarded = true;
        for arm in 0..arms {
            if !round.runs.iter().any(|run| run.arm == arm) {
                let why = Message::new(
                    "interrupted",
                    "not run to its end: the comparison was ended",
                );
                round
                    .runs
                    .push(ArmRun::failed(arm, round.started_at_unix_ns, why));
            }
        }
        round.runs.sort_by_key(|run| run.arm);
    }

    fn has_all_rounds(&self, comparison: &Comparison) -> bool {
        self.cell.counted().count() as u32 == comparison.method.rounds_planned
    }
}

fn first_run(document: &Document, round: &Round) -> FirstRun {
    FirstRun {
        load_engine: round.load.first().map(|side| side.engine.clone()),
        testee_engine: round.testee.first().map(|side| side.engine.clone()),
        latency_kind: round
            .measured
            .latency
            .primary()
            .map(|(kind, _)| kind.to_owned()),
        profiles: profiles(document),
        hosts: document.hosts.clone(),
    }
}

/// The profiles that were in force on the hosts.
pub(super) fn profiles(document: &Document) -> Vec<ArmProfile> {
    let hosts = document.hosts.iter();
    hosts
        .filter_map(|host| {
            Some(ArmProfile {
                host: host.id.clone(),
                profile: host.profile.clone()?,
            })
        })
        .collect()
}

/// The arm before it ran: what was asked for.
fn arm(entrant: &Entrant) -> Arm {
    let plan = entrant.plan.document();
    let asked = |engine: &str| EngineUse {
        requested: engine.to_owned(),
        reason: "it has not run".to_owned(),
        ..EngineUse::default()
    };
    Arm {
        label: entrant.label.clone(),
        role: entrant.role,
        load_engine: asked(&plan.engine.load),
        testee_engine: plan.engine.testee.as_deref().map(asked),
        plan,
        profiles: Vec::new(),
        command: entrant.command.clone(),
        latency_kind: None,
        latency: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_of_some_runs_names_their_arms() {
        let counted = || {
            let mut counted = Counted::new(&Message::new("rate_not_reached", "too slow"));
            counted.runs.insert("epoll".into(), 2);
            counted.runs.insert("blocking".into(), 1);
            counted
        };
        let text = counted().of(39).text;
        assert_eq!(text, "too slow (in 3 of 39 runs: blocking 1, epoll 2)");
        assert_eq!(counted().of(3).text, "too slow (in every run)");
    }
}

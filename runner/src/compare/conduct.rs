//! Round after round, until the comparison has what it needs or may take no longer.

use super::book::{Book, Earlier};
use super::experiment::Experiment;
use super::length::run_ns;
use super::order::Orders;
use super::record::{CellRecord, Outcome, Record};
use super::trial::{RoundTrial, RunTrial};
use crate::cancel::Cancel;
use crate::conduct::{self, Phase};
use crate::doctor;
use crate::error::{ExitClass, Failure, RunError};
use crate::plan::LOCAL;
use crate::plan::Plan;
use crate::ranks::RankListener;
use report::comparison::{ArmRun, StopReason};
use report::document::{Document, Interval, Message};
use report::findings::Finding;
use report::statistics::SplitMix64;
use std::time::{Duration, Instant};

/// After so many failed runs in one cell an arm is not run any more: it is invalid already, and its
/// time-outs would only delay the others.
const FAILURES_MAX: u32 = 2;
/// How often a pause looks whether the user wants to end.
const LOOK: Duration = Duration::from_millis(20);

/// Watches a comparison. Every method is called on the conducting thread.
pub trait Observer {
    /// What `doctor` would say of a host: warnings and problems, once before the first run and in the discarded
    /// round, where every run finds the same again. They are warnings of the document too.
    fn finding(&mut self, host: &str, finding: &Finding) {
        let _ = (host, finding);
    }

    /// Of the ranks that are awaited: where they join, and who has come.
    fn ranks(&mut self, news: &str) {
        let _ = news;
    }

    /// A run begins.
    fn run_started(&mut self, place: &Position<'_>) {
        let _ = place;
    }

    /// An agent of a run is prepared: its engine and why this one. Told in the discarded round only.
    fn prepared(&mut self, agent: &str, engine: &str, reason: &str) {
        let _ = (agent, engine, reason);
    }

    /// The run has reached another phase.
    fn phase(&mut self, phase: Phase) {
        let _ = phase;
    }

    /// A run is over: the document of it, or why there is none.
    fn run_ended(&mut self, place: &Position<'_>, outcome: Result<&Document, &Failure>) {
        let _ = (place, outcome);
    }

    /// Something that a reader must know, which happened on the way; it is a warning of the document too.
    fn warning(&mut self, warning: &Message) {
        let _ = warning;
    }

    /// A cell has its last round.
    fn cell_ended(&mut self, label: &str, rounds: u32, why: StopReason) {
        let _ = (label, rounds, why);
    }
}

/// Where a comparison is.
#[derive(Clone, Debug)]
pub struct Position<'a> {
    /// 0 for the discarded round.
    pub round: u32,
    /// The last round, unless it ends earlier.
    pub rounds: u32,
    /// Name of the cell.
    pub cell: &'a str,
    /// Name of what runs.
    pub arm: &'a str,
    /// What is left at the start of this run, as far as the runs so far tell, ns.
    pub left_ns: u64,
}

/// What runs plans, and what time it is meanwhile.
pub(super) trait Venue {
    /// Waits for ranks that a plan needs; the time does not count.
    fn gather(&mut self, plan: &Plan, observer: &mut dyn conduct::Observer) -> Result<(), Failure> {
        let _ = (plan, observer);
        Ok(())
    }
    fn run(
        &mut self,
        plan: &Plan,
        observer: &mut dyn conduct::Observer,
    ) -> Result<Document, RunError>;
    /// Waits, or less if the user wants to end.
    fn rest(&mut self, ns: u64);
    /// Since the comparison began, ns.
    fn elapsed_ns(&self) -> u64;
    fn unix_ns(&self) -> u64;
}

/// Processes, and the clock on the wall.
struct Machine<'a> {
    /// Where ranks join.
    rank_listener: Option<&'a RankListener>,
    cancel: &'a Cancel,
    began: Instant,
    /// What it has waited for ranks.
    waited: Duration,
}

impl Venue for Machine<'_> {
    fn gather(&mut self, plan: &Plan, observer: &mut dyn conduct::Observer) -> Result<(), Failure> {
        let began = Instant::now();
        let gathered = conduct::gather(plan, self.rank_listener, observer, self.cancel);
        self.waited += began.elapsed();
        gathered
    }

    fn run(
        &mut self,
        plan: &Plan,
        observer: &mut dyn conduct::Observer,
    ) -> Result<Document, RunError> {
        conduct::conduct_one_of_many(plan, self.rank_listener, observer, self.cancel)
    }

    fn rest(&mut self, ns: u64) {
        let end = Instant::now() + Duration::from_nanos(ns);
        while !self.cancel.is_raised() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    fn elapsed_ns(&self) -> u64 {
        self.began.elapsed().saturating_sub(self.waited).as_nanos() as u64
    }

    fn unix_ns(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |passed| passed.as_nanos() as u64)
    }
}

/// Conducts a comparison: takes the rounds that `book` has, measures the others, and keeps each of them
/// before the next begins. The first [`Cancel::raise`] ends it early with what the complete rounds
/// gave, the second at once.
pub fn conduct(
    experiment: &Experiment,
    rank_listener: Option<&RankListener>,
    book: &mut Book,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Outcome {
    let mut machine = Machine {
        rank_listener,
        cancel,
        began: Instant::now(),
        waited: Duration::ZERO,
    };
    let mut entrants = experiment.cells.iter().flat_map(|cell| &cell.entrants);
    let seen = match entrants.any(|entrant| entrant.plan.runs_here()) {
        true => doctor::before_measuring(),
        false => Vec::new(),
    };
    conduct_on(&mut machine, experiment, &seen, book, observer, cancel)
}

/// A comparison that is in a log, as far as it came; one that did not come to its end is marked interrupted.
/// Nothing is measured.
pub fn again(earlier: Earlier) -> Outcome {
    /// Looks on at nothing.
    struct Silent;
    impl Observer for Silent {}
    let cancel = Cancel::new();
    let mut machine = Machine {
        rank_listener: None,
        cancel: &cancel,
        began: Instant::now(),
        waited: Duration::ZERO,
    };
    let (experiment, mut book) = earlier.into_book();
    conduct_on(
        &mut machine,
        &experiment,
        &[],
        &mut book,
        &mut Silent,
        &cancel,
    )
}

/// `seen`: what was found on this host before.
pub(super) fn conduct_on(
    venue: &mut dyn Venue,
    experiment: &Experiment,
    seen: &[Finding],
    book: &mut Book,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Outcome {
    let started_unix_ns = book.started_unix_ns().unwrap_or_else(|| venue.unix_ns());
    let mut record = Record::new(experiment, started_unix_ns);
    let mut before = Vec::new();
    for finding in seen {
        if let Some(warning) = doctor::warning_before(LOCAL, finding) {
            observer.finding(LOCAL, finding);
            before.push(warning);
        }
    }
    let mut course = Comparing {
        venue,
        experiment,
        book,
        observer,
        cancel,
        cells: going(experiment),
        spent_ns: 0,
        expected_ns: 0,
        before,
        session: 0,
        broken_off: false,
    };
    let failure = course.run(&mut record).err();
    let interrupted = cancel.is_raised() || course.broken_off;
    course.conclude(&mut record, interrupted || failure.is_some());
    record.finish(failure, interrupted)
}

/// A cell while it goes on.
struct Going {
    orders: Orders,
    failures: Vec<u32>,
    ended: bool,
}

/// Every cell at its start, with orders of its own.
fn going(experiment: &Experiment) -> Vec<Going> {
    let seed = experiment.method.seed;
    let cells = experiment.cells.iter().zip(0_u64..);
    cells
        .map(|(cell, number)| Going {
            orders: Orders::new(cell.entrants.len(), seed.wrapping_add(number << 32)),
            failures: vec![0; cell.entrants.len()],
            ended: false,
        })
        .collect()
}

impl Going {
    fn has_given_up(&self, entrant: usize) -> bool {
        self.failures[entrant] >= FAILURES_MAX
    }

    /// Whether there is still something to compare: the baseline, its copy, without which no noise
    /// floor exists and no verdict either, and something else than them.
    fn can_go_on(&self) -> bool {
        let mut others = 2..self.failures.len();
        !self.has_given_up(0)
            && !self.has_given_up(1)
            && others.any(|entrant| !self.has_given_up(entrant))
    }
}

/// The comparison in progress.
struct Comparing<'a> {
    venue: &'a mut dyn Venue,
    experiment: &'a Experiment,
    book: &'a mut Book,
    observer: &'a mut dyn Observer,
    cancel: &'a Cancel,
    cells: Vec<Going>,
    /// What the runs so far took and should have taken: their ratio corrects the estimate.
    spent_ns: u64,
    expected_ns: u64,
    /// Warnings of what was found before the first run of this session, until a round has them.
    before: Vec<Message>,
    /// Of the last round.
    session: u32,
    /// The book has no more, and nothing is to be measured.
    broken_off: bool,
}

impl Comparing<'_> {
    fn run(&mut self, record: &mut Record) -> Result<(), Failure> {
        let method = &self.experiment.method;
        let mut between_cells = SplitMix64::new(!method.seed);
        for round in 0..=method.rounds_planned {
            let mut open: Vec<usize> = (0..self.cells.len())
                .filter(|&cell| !self.cells[cell].ended)
                .collect();
            if open.is_empty() {
                return Ok(());
            }
            if round > 0 && !self.book.has_more() && self.is_over_budget(&open) {
                for cell in open {
                    self.end(record, cell, round - 1, StopReason::Budget);
                }
                return Ok(());
            }
            between_cells.shuffle(&mut open);
            for cell in open {
                self.round_of(record, cell, round)?;
                if self.cancel.is_raised() || self.broken_off {
                    return Ok(());
                }
                self.decide(record, cell, round);
            }
        }
        Ok(())
    }

    /// Whether another round of the cells does not fit into the time. Of a comparison that is only looked at,
    /// whether it was so when it was measured.
    fn is_over_budget(&self, open: &[usize]) -> bool {
        let Some(budget_ns) = self.experiment.method.budget_ns else {
            return false;
        };
        if self.book.reads_only() {
            let stopped = self.book.stopped();
            return open
                .iter()
                .all(|&cell| stopped.get(cell) == Some(&StopReason::Budget));
        }
        let expected_ns = open.iter().map(|&cell| self.round_ns(cell)).sum();
        self.elapsed_ns() + self.corrected(expected_ns) > budget_ns
    }

    /// Since the comparison began, without the time between sessions, ns.
    fn elapsed_ns(&self) -> u64 {
        self.book.elapsed_ns() + self.venue.elapsed_ns()
    }

    /// What a round of this cell should take.
    fn round_ns(&self, cell: usize) -> u64 {
        let entrants = self.experiment.cells[cell].entrants.iter().enumerate();
        entrants
            .filter(|(number, _)| !self.cells[cell].has_given_up(*number))
            .map(|(_, entrant)| run_ns(&entrant.plan) + self.experiment.method.pause_ns)
            .sum()
    }

    fn corrected(&self, expected_ns: u64) -> u64 {
        if self.expected_ns == 0 {
            return expected_ns;
        }
        (expected_ns as f64 * self.spent_ns as f64 / self.expected_ns as f64) as u64
    }

    /// What is left of the comparison when `round_left_ns` of this round are still to come.
    fn left_ns(&self, round: u32, round_left_ns: u64) -> u64 {
        let rounds = u64::from(self.experiment.method.rounds_planned - round);
        let open = (0..self.cells.len()).filter(|&cell| !self.cells[cell].ended);
        let round_ns: u64 = open.map(|cell| self.round_ns(cell)).sum();
        let left_ns = self.corrected(round_left_ns + rounds * round_ns);
        let budget_ns = self.experiment.method.budget_ns.unwrap_or(u64::MAX);
        left_ns.min(budget_ns.saturating_sub(self.elapsed_ns()))
    }

    /// A round of a cell: from the book if it is there, else measured and kept.
    fn round_of(&mut self, record: &mut Record, cell: usize, round: u32) -> Result<(), Failure> {
        let order = self.cells[cell].orders.next_round();
        if let Some(trial) = self.book.take() {
            return self.replay(record, trial, (cell, round), &order);
        }
        if self.book.reads_only() {
            self.broken_off = true;
            return Ok(());
        }
        self.say_resumed(record, self.book.session(), self.venue.unix_ns());
        let before = std::mem::take(&mut self.before);
        before
            .iter()
            .for_each(|warning| record.warn(warning.clone()));
        let started_at_unix_ns = self.venue.unix_ns();
        record
            .cell(cell)
            .begin_round(round, &order, started_at_unix_ns);
        self.runs_of(record, cell, round, &order)?;
        if self.cancel.is_raised() {
            return Ok(());
        }
        let trial = RoundTrial {
            cell,
            round,
            started_at_unix_ns,
            order,
            session: self.session,
            elapsed_ns: self.elapsed_ns(),
            before,
            runs: record.end_round(cell),
        };
        if let Err(warning) = self.book.keep(&trial) {
            self.warn(record, warning);
        }
        Ok(())
    }

    /// A round that was measured before.
    fn replay(
        &mut self,
        record: &mut Record,
        trial: RoundTrial,
        expected: (usize, u32),
        order: &[usize],
    ) -> Result<(), Failure> {
        let entrants = self.cells[expected.0].failures.len();
        let all_there = trial.runs.len() == entrants
            && trial
                .runs
                .iter()
                .all(|run| (run.run.arm as usize) < entrants);
        if (trial.cell, trial.round) != expected || trial.order != order || !all_there {
            return Err(Failure::usage(format!(
                "the trial log does not fit its own plan and seed: where round {} of cell {} was due stands round {} of \
                 cell {} (counted from 0); it was written by another linerate, or changed",
                expected.1, expected.0, trial.round, trial.cell
            )));
        }
        self.say_resumed(record, trial.session, trial.started_at_unix_ns);
        for run in &trial.runs {
            self.spent_ns += run.took_ns;
            self.expected_ns += run.expected_ns;
            self.cells[trial.cell].failures[run.run.arm as usize] +=
                u32::from(run.failure.is_some());
        }
        record.replay(trial);
        Ok(())
    }

    /// What was between two sessions looks like a difference of the machine between rounds, which meets all arms.
    fn say_resumed(&mut self, record: &mut Record, session: u32, unix_ns: u64) {
        if std::mem::replace(&mut self.session, session) == session {
            return;
        }
        let text = format!(
            "the comparison was ended and gone on with at {}: rounds before and after were measured apart",
            report::rfc3339(unix_ns)
        );
        self.warn(record, Message::new("resumed", text));
    }

    fn warn(&mut self, record: &mut Record, warning: Message) {
        self.observer.warning(&warning);
        record.warn(warning);
    }

    fn runs_of(
        &mut self,
        record: &mut Record,
        cell: usize,
        round: u32,
        order: &[usize],
    ) -> Result<(), Failure> {
        let mut left_ns = self.round_ns(cell);
        for &entrant in order {
            if self.cells[cell].has_given_up(entrant) {
                let why = format!("not run: it failed {FAILURES_MAX} times");
                let why = Message::new("not_run", why);
                let run = ArmRun::failed(entrant as u32, self.venue.unix_ns(), why);
                record.take(cell, RunTrial::without_numbers(run));
                continue;
            }
            let planned = &self.experiment.cells[cell].entrants[entrant];
            let expected_ns = run_ns(&planned.plan) + self.experiment.method.pause_ns;
            let place = Position {
                round,
                rounds: self.experiment.method.rounds_planned,
                cell: &self.experiment.cells[cell].label,
                arm: &planned.label,
                left_ns: self.left_ns(round, left_ns),
            };
            self.one_run(record, cell, entrant, &place, expected_ns)?;
            if self.cancel.is_raised() {
                return Ok(());
            }
            left_ns = left_ns.saturating_sub(expected_ns);
            self.expected_ns += expected_ns;
        }
        Ok(())
    }

    /// # Errors
    /// When this machine cannot run it at all, or ranks that it needs are missing: there is no use in going on.
    fn one_run(
        &mut self,
        record: &mut Record,
        cell: usize,
        entrant: usize,
        place: &Position<'_>,
        expected_ns: u64,
    ) -> Result<(), Failure> {
        let planned = &self.experiment.cells[cell].entrants[entrant].plan;
        let mut relay = Relay {
            observer: &mut *self.observer,
            tell: false,
        };
        let gathered = self.venue.gather(planned, &mut relay);
        if self.cancel.is_raised() {
            return Ok(());
        }
        gathered?;
        let began_ns = self.venue.elapsed_ns();
        self.observer.run_started(place);
        self.venue.rest(self.experiment.method.pause_ns);
        let started_unix_ns = self.venue.unix_ns();
        let plan = &self.experiment.cells[cell].entrants[entrant].plan;
        // Random schedules are the same for all arms of a round, and other ones in each round.
        let plan = &plan.clone().after_rounds(place.round);
        let mut relay = Relay {
            observer: &mut *self.observer,
            tell: place.round == 0,
        };
        let outcome = self.venue.run(plan, &mut relay);
        let took_ns = self.venue.elapsed_ns() - began_ns;
        self.spent_ns += took_ns;
        if self.cancel.is_raised() {
            return Ok(());
        }
        let told = outcome.as_ref().map_err(|error| &error.failure);
        self.observer.run_ended(place, told);
        let trial = match outcome {
            Ok(document) => record.cell(cell).trial(entrant, started_unix_ns, &document),
            Err(RunError { failure, .. }) => {
                self.cells[cell].failures[entrant] += 1;
                let hopeless = matches!(failure.class, ExitClass::Machine | ExitClass::Usage);
                let run = ArmRun::failed(entrant as u32, started_unix_ns, failure.message());
                if hopeless && place.round == 0 {
                    record.take(cell, RunTrial::without_numbers(run));
                    return Err(Failure {
                        text: format!("{} ({}): {}", place.arm, place.cell, failure.text),
                        ..failure
                    });
                }
                RunTrial {
                    failure: Some(failure),
                    ..RunTrial::without_numbers(run)
                }
            }
        };
        record.take(
            cell,
            RunTrial {
                took_ns,
                expected_ns,
                ..trial
            },
        );
        Ok(())
    }

    /// Whether the cell has had its last round.
    fn decide(&mut self, record: &mut Record, cell: usize, round: u32) {
        let why = match self.cells[cell].can_go_on() {
            true => record.stop_reason(cell),
            false => Some(StopReason::Failed),
        };
        if let Some(why) = why {
            self.end(record, cell, round, why);
        }
    }

    fn end(&mut self, record: &mut Record, cell: usize, rounds: u32, why: StopReason) {
        self.cells[cell].ended = true;
        let CellRecord { cell: ended, .. } = record.cell(cell);
        ended.stopped = why;
        self.observer.cell_ended(&ended.label, rounds, why);
    }

    /// A log whose comparison came to its end says so; one that did not can be gone on with.
    fn conclude(&mut self, record: &mut Record, broken_off: bool) {
        if broken_off || self.book.reads_only() {
            return;
        }
        if let Err(warning) = self.book.end(record.stopped()) {
            self.warn(record, warning);
        }
    }
}

/// Hears a run and tells the observer of the comparison.
struct Relay<'a> {
    observer: &'a mut dyn Observer,
    /// Tell also what is the same in every run of an arm.
    tell: bool,
}

impl conduct::Observer for Relay<'_> {
    fn ranks(&mut self, news: &str) {
        self.observer.ranks(news);
    }

    fn prepared(&mut self, agent: &str, engine: &str, reason: &str) {
        if self.tell {
            self.observer.prepared(agent, engine, reason);
        }
    }

    fn finding(&mut self, host: &str, finding: &Finding) {
        if self.tell {
            self.observer.finding(host, finding);
        }
    }

    fn phase(&mut self, phase: Phase) {
        self.observer.phase(phase);
    }

    fn interval(&mut self, _: u32, _: &str, _: &Interval) {}
}

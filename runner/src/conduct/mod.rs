//! Conducts a run: starts the agents of each round, tells them when to go, relays what they
//! report, and assembles the document. Whatever happens, no process is left behind.

mod hearing;
mod link;
mod log;
mod placement;
mod profiles;
mod record;
mod round;

pub use log::{Logged, RunLog, logged};
pub(crate) use record::LOCAL;

use crate::cancel::Cancel;
use crate::doctor;
use crate::error::{ExitClass, Failure, RunError};
use crate::plan::Plan;
use link::{Launcher, ProcessLauncher};
use record::Record;
use report::document::{self, AppliedProfile, Document, Interval, Message};
use report::findings::Finding;
use round::{Preparation, Round};

/// Watches a run. Every method is called on the conducting thread.
pub trait Observer {
    /// A round begins; `number` counts from 1.
    fn round_started(&mut self, number: u32, of: u32) {
        let _ = (number, of);
    }

    /// An agent is prepared: its engine and why this one.
    fn prepared(&mut self, agent: &str, engine: &str, reason: &str) {
        let _ = (agent, engine, reason);
    }

    /// A host has its profile, in the first round.
    fn profile(&mut self, host: &str, profile: &AppliedProfile) {
        let _ = (host, profile);
    }

    /// The round has reached another phase.
    fn phase(&mut self, phase: Phase) {
        let _ = phase;
    }

    /// A part of a load agent's window has passed.
    fn interval(&mut self, round: u32, agent: &str, interval: &Interval) {
        let _ = (round, agent, interval);
    }

    /// A part of the window has passed for all load agents: what they did in it together.
    fn window_part(&mut self, round: u32, part: &Interval) {
        let _ = (round, part);
    }

    /// What `doctor` would say of a host, told before anything is measured: warnings and problems. It comes as a
    /// [warning](Observer::warning) too.
    fn finding(&mut self, host: &str, finding: &Finding) {
        let _ = (host, finding);
    }

    /// Something to know before believing the numbers; it is in the document too.
    fn warning(&mut self, warning: &Message) {
        let _ = warning;
    }

    /// A round is over.
    fn round_ended(&mut self, round: &document::Round) {
        let _ = round;
    }

    /// What was measured so far, with the round that is over as the last one; the next has not begun.
    fn recorded(&mut self, so_far: &Document) {
        let _ = so_far;
    }
}

/// Where a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Agents start, the testee listens, the load connects.
    Preparing,
    /// Traffic flows and is not counted yet.
    WarmingUp,
    /// The window.
    Measuring,
    /// The user ended the round; results are being collected.
    Stopping,
}

/// Runs `plan`: every round with fresh agents, and the document of all of them.
///
/// The first [`Cancel::raise`] ends the run orderly, with a valid document marked interrupted; the
/// second kills the agents.
///
/// # Errors
/// Why the run could not be completed, with the document of what was measured until then.
pub fn conduct(
    plan: &Plan,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<Document, RunError> {
    let seen = doctor::before_measuring();
    conduct_with(&ProcessLauncher, plan, &seen, observer, cancel)
}

/// The same for one run of a comparison, before the first of which somebody has looked at the machine.
pub(crate) fn conduct_one_of_many(
    plan: &Plan,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<Document, RunError> {
    conduct_with(&ProcessLauncher, plan, &[], observer, cancel)
}

/// `seen`: what was found on this host before.
fn conduct_with(
    launcher: &dyn Launcher,
    plan: &Plan,
    seen: &[Finding],
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<Document, RunError> {
    let mut record = Record::new(plan);
    record.add_seen(seen, observer);
    for number in 1..=plan.repeat() {
        if cancel.is_raised() {
            break;
        }
        observer.round_started(number, plan.repeat());
        let outcome = one_round(launcher, plan, number, &mut record, observer, cancel);
        if let Err(failure) = outcome {
            let ended_by_user = failure.class == ExitClass::Interrupted;
            let document = Box::new(record.fail(&failure, ended_by_user, observer));
            return Err(RunError {
                failure,
                document: Some(document),
            });
        }
        observer.recorded(record.so_far());
    }
    let (document, failure) = record.finish(cancel.is_raised(), observer);
    match failure {
        None => Ok(document),
        Some(failure) => Err(RunError {
            failure,
            document: Some(Box::new(document)),
        }),
    }
}

/// Runs one round: what its preparation found is recorded, and told, before anything is measured.
fn one_round(
    launcher: &dyn Launcher,
    plan: &Plan,
    number: u32,
    record: &mut Record,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let mut round = Round::new(plan, number, cancel);
    let mut found = Preparation::default();
    let prepared = round.prepare(launcher, &mut found, observer);
    record.add_preparation(found, observer);
    prepared?;
    let outcome = round.measure(observer)?;
    record.add_round(number, outcome, observer)
}

#[cfg(test)]
mod tests;

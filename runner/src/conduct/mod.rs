//! Conducts a run: starts the agents of each round, tells them when to go, relays what they
//! report, and assembles the document. Whatever happens, no process is left behind.

mod clocks;
mod hearing;
mod holding;
mod joining;
mod link;
mod log;
mod losses;
mod machines;
mod observer;
mod placement;
mod preparation;
mod profiles;
mod record;
mod round;

pub use log::{Logged, RunLog, logged};
pub use observer::{Observer, Phase};

use crate::cancel::Cancel;
use crate::doctor;
use crate::error::{Failure, RunError};
use crate::plan::Plan;
use crate::ranks::RankListener;
use link::{Launcher, ProcessLauncher};
use preparation::Preparation;
use record::Record;
use report::document::Document;
use report::findings::Finding;
use round::Round;

/// Runs `plan`: every round with fresh agents, and the document of all of them.
///
/// Ranks, where the plan has them, join at `rank_listener`, before each round.
///
/// The first [`Cancel::raise`] ends the run orderly, with a valid document marked interrupted; the
/// second kills the agents.
///
/// # Errors
/// Why the run could not be completed, with the document of what was measured until then.
pub fn conduct(
    plan: &Plan,
    rank_listener: Option<&RankListener>,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<Document, RunError> {
    // Of a machine that has no part in the run nobody needs to know.
    let seen = match plan.runs_here() {
        true => doctor::before_measuring(),
        false => Vec::new(),
    };
    conduct_with(
        &ProcessLauncher(rank_listener),
        plan,
        &seen,
        observer,
        cancel,
    )
}

/// The same for one run of a comparison, before the first of which somebody has looked at the machine.
pub(crate) fn conduct_one_of_many(
    plan: &Plan,
    rank_listener: Option<&RankListener>,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<Document, RunError> {
    conduct_with(&ProcessLauncher(rank_listener), plan, &[], observer, cancel)
}

/// Waits for the ranks that a run of a comparison needs.
pub(crate) fn gather(
    plan: &Plan,
    rank_listener: Option<&RankListener>,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<(), Failure> {
    ProcessLauncher(rank_listener).gather(plan, observer, cancel)
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
    let (mut rounds, mut is_cut) = (0, false);
    for number in 1..=plan.repeat() {
        if cancel.is_raised() {
            break;
        }
        observer.round_started(number, plan.repeat());
        match one_round(launcher, plan, number, &mut record, observer, cancel) {
            Ok(cut) => (rounds, is_cut) = (number, is_cut || cut),
            Err(failure) => {
                let document = Box::new(record.fail(&failure, observer));
                return Err(RunError {
                    failure,
                    document: Some(document),
                });
            }
        }
        observer.recorded(record.so_far());
    }
    let (document, failure) = record.finish(is_cut || rounds < plan.repeat(), observer);
    match failure {
        None => Ok(document),
        Some(failure) => Err(RunError {
            failure,
            document: Some(Box::new(document)),
        }),
    }
}

/// Runs one round: what its preparation found is recorded, and told, before anything is measured. Whether the user
/// has cut it short.
fn one_round(
    launcher: &dyn Launcher,
    plan: &Plan,
    number: u32,
    record: &mut Record,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<bool, Failure> {
    launcher.gather(plan, observer, cancel)?;
    let mut round = Round::new(plan, number, cancel);
    let mut found = Preparation::default();
    let prepared = round.prepare(launcher, &mut found, observer);
    record.add_preparation(found, observer);
    prepared?;
    let outcome = round.measure(observer)?;
    let is_cut = outcome.is_cut;
    record.add_round(number, outcome, observer)?;
    Ok(is_cut)
}

#[cfg(test)]
mod tests;

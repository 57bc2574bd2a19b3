//! The rounds that are there already, and the log that the others go to.

use super::experiment::Experiment;
use super::request::ExperimentRequest;
use super::trial::{End, RoundTrial};
use crate::error::Failure;
use crate::trials::{self, Header, Kind, LogPath, TrialLog, Trials, TrialsError};
use report::comparison::StopReason;
use report::document::Message;
use std::collections::VecDeque;
use std::path::Path;

/// Where a comparison takes its rounds from, and where it keeps them. [`Book::default`] has none and keeps none.
#[derive(Debug, Default)]
pub struct Book {
    done: VecDeque<RoundTrial>,
    log: Option<TrialLog>,
    /// How often the comparison was gone on with before.
    session: u32,
    elapsed_ns: u64,
    started_unix_ns: Option<u64>,
    /// Why each cell ended, of a comparison that came to its end.
    stopped: Vec<StopReason>,
    reads_only: bool,
}

/// A comparison that is in a log, as far as it came.
#[derive(Debug)]
pub struct Earlier {
    experiment: Experiment,
    trials: Trials<RoundTrial>,
}

impl Earlier {
    /// Reads the log of a comparison.
    ///
    /// # Errors
    /// A file that is none, or a plan that this build does not conduct.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: TrialsError| Failure::usage(error.to_string());
        let header = trials::header_of(path).map_err(unreadable)?;
        if header.kind != Kind::Compare {
            return Err(Failure::usage(format!(
                "{} is the trial log of {} and of no comparison; linerate report shows it",
                path.display(),
                header.kind.name()
            )));
        }
        let trials: Trials<RoundTrial> = trials::read(path).map_err(unreadable)?;
        let request: ExperimentRequest = header.plan(path).map_err(unreadable)?;
        let experiment = Experiment::new(request)
            .map_err(|error| Failure::usage(format!("trial log {}: {error}", path.display())))?;
        Ok(Self { experiment, trials })
    }

    /// What is compared.
    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// The command line that began it.
    pub fn command(&self) -> &[String] {
        &self.trials.header.command
    }

    /// Rounds of cells that are there, the discarded ones included.
    pub fn rounds(&self) -> usize {
        self.trials.trials.len()
    }

    /// What is to be known of the log: a last line that is not whole.
    pub fn remark(&self) -> Option<String> {
        self.trials.torn.map(|line| {
            format!(
                "{}: line {line}, the last one, is not whole and is left out; that round was lost",
                self.trials.path.display()
            )
        })
    }

    /// The book to go on with.
    ///
    /// # Errors
    /// A comparison that has come to its end, that another build measured, or that is being measured.
    pub fn resume(self) -> Result<(Experiment, Book), Failure> {
        let path = self.trials.path.display();
        let again = format!("linerate compare --again {path}");
        if self.trials.end.is_some() {
            return Err(Failure::usage(format!(
                "the comparison of {path} has come to its end, and there is nothing to go on with; {again} analyses it"
            )));
        }
        let header = &self.trials.header;
        if !header.is_of_this_build() {
            return Err(Failure::usage(format!(
                "the rounds of {path} were measured by linerate {}, which is another build than this: its rounds and \
                 those to come would be compared as if one program had measured them; go on with that one, or analyse \
                 what is there with {again}",
                header.build()
            )));
        }
        let log =
            TrialLog::resume(&self.trials).map_err(|error| Failure::usage(error.to_string()))?;
        let last = self.trials.trials.last();
        let session = last.map_or(0, |last| last.session + 1);
        let book = Book {
            session,
            log: Some(log),
            ..Book::of(self.trials)
        };
        Ok((self.experiment, book))
    }

    /// The book to look at what is there.
    pub(super) fn into_book(self) -> (Experiment, Book) {
        let book = Book {
            reads_only: true,
            ..Book::of(self.trials)
        };
        (self.experiment, book)
    }
}

impl Book {
    /// A new log at `place` for an experiment that begins now.
    ///
    /// # Errors
    /// A place that does not take it.
    pub fn create(
        place: &LogPath,
        experiment: &Experiment,
        command: Vec<String>,
        now_unix_ns: u64,
    ) -> Result<Self, TrialsError> {
        let header = Header::new(Kind::Compare, now_unix_ns, command, &experiment.request)?;
        Ok(Self {
            log: Some(TrialLog::create(place, &header)?),
            ..Self::default()
        })
    }

    fn of(trials: Trials<RoundTrial>) -> Self {
        let end = trials.end.and_then(|end| serde_json::from_value(end).ok());
        Self {
            stopped: end.map_or_else(Vec::new, |end: End| end.stopped),
            started_unix_ns: Some(trials.header.started_at_unix_ns),
            done: trials.trials.into(),
            ..Self::default()
        }
    }

    /// Where the log is.
    pub fn path(&self) -> Option<&Path> {
        self.log.as_ref().map(TrialLog::path)
    }

    /// The next round, if it is there already.
    pub(super) fn take(&mut self) -> Option<RoundTrial> {
        let trial = self.done.pop_front()?;
        self.elapsed_ns = trial.elapsed_ns;
        Some(trial)
    }

    pub(super) fn has_more(&self) -> bool {
        !self.done.is_empty()
    }

    /// Nothing is measured: what is not there is not had.
    pub(super) fn reads_only(&self) -> bool {
        self.reads_only
    }

    pub(super) fn session(&self) -> u32 {
        self.session
    }

    /// What the rounds that were taken from the log had used of the time, ns.
    pub(super) fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns
    }

    /// When the comparison began, if that was not now.
    pub(super) fn started_unix_ns(&self) -> Option<u64> {
        self.started_unix_ns
    }

    /// Why each cell ended, of a comparison that came to its end.
    pub(super) fn stopped(&self) -> &[StopReason] {
        &self.stopped
    }

    /// Keeps a round. A log that does not take it is given up, for what is measured is worth more; the warning
    /// says so.
    pub(super) fn keep(&mut self, trial: &RoundTrial) -> Result<(), Message> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        log.append(trial).map_err(|error| self.give_up(&error))
    }

    /// Every planned round is there.
    pub(super) fn end(&mut self, stopped: Vec<StopReason>) -> Result<(), Message> {
        match self.log.take() {
            Some(log) => log
                .end(&End { stopped })
                .map_err(|error| self.give_up(&error)),
            None => Ok(()),
        }
    }

    /// Lets the log write into another file.
    #[cfg(test)]
    pub(super) fn write_to(&mut self, file: std::fs::File) {
        if let Some(log) = &mut self.log {
            log.write_to(file);
        }
    }

    fn give_up(&mut self, error: &TrialsError) -> Message {
        self.log = None;
        Message::new(
            "trial_log",
            format!("{error}; the comparison goes on, and its later rounds are in no log"),
        )
        .with_cure("make room, or name a place for the log by --output FILE")
    }
}

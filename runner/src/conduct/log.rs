//! The trial log of `run`: a finished round a line, as the document of that round alone.

use crate::error::Failure;
use crate::plan::Plan;
use crate::trials::{self, Header, Kind, LogPath, TrialLog, Trials, TrialsError};
use report::assemble;
use report::document::{Document, Status};
use report::warnings;
use std::path::Path;

/// The log of a run with several rounds.
#[derive(Debug)]
pub struct RunLog(TrialLog);

/// A run that is in a log, as far as it came.
#[derive(Debug)]
pub struct Logged {
    /// Its rounds so far. Marked interrupted unless all of them are there.
    pub document: Document,
    /// What is to be known of the log: a last line that is not whole.
    pub remark: Option<String>,
}

impl RunLog {
    /// A new log at `place` for a run that begins now.
    ///
    /// # Errors
    /// A place that does not take it.
    pub fn create(
        place: &LogPath,
        plan: &Plan,
        command: Vec<String>,
        now_unix_ns: u64,
    ) -> Result<Self, TrialsError> {
        let header = Header::new(Kind::Run, now_unix_ns, command, plan)?;
        TrialLog::create(place, &header).map(Self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Keeps the last round of what was measured so far.
    ///
    /// # Errors
    /// What the system answered: the round is not in the log.
    pub fn keep(&mut self, so_far: &Document) -> Result<(), TrialsError> {
        self.0.append(&so_far.of_last_round())
    }

    /// Every planned round is there.
    ///
    /// # Errors
    /// As [`RunLog::keep`].
    pub fn end(self) -> Result<(), TrialsError> {
        self.0.end(&())
    }
}

/// The run that the log at `path` is of.
///
/// # Errors
/// A file that is no log of `run`, or one without a round.
pub fn logged(path: &Path) -> Result<Logged, Failure> {
    let unreadable = |error: TrialsError| Failure::usage(error.to_string());
    let header = trials::header_of(path).map_err(unreadable)?;
    if header.kind != Kind::Run {
        return Err(Failure::usage(format!(
            "{} is the trial log of {}",
            path.display(),
            header.kind.name()
        )));
    }
    let Trials {
        trials, end, torn, ..
    } = trials::read::<Document>(path).map_err(unreadable)?;
    let mut rounds = Vec::new();
    let mut whole = None;
    for mut trial in trials {
        rounds.append(&mut trial.rounds);
        whole = Some(trial);
    }
    let mut document = whole.ok_or_else(|| {
        let path = path.display();
        Failure::usage(format!(
            "{path}: the run was ended before its first round was over"
        ))
    })?;
    document.rounds = rounds;
    document.command = header.command;
    document.set_summary(assemble::summary(&document.rounds));
    for warning in warnings::from_rounds(&document) {
        if !document.warnings.contains(&warning) {
            document.warnings.push(warning);
        }
    }
    document.status = match end {
        Some(_) => Status::Ok,
        None => Status::Interrupted,
    };
    let remark = torn.map(|line| {
        let path = path.display();
        format!(
            "{path}: line {line}, the last one, is not whole and is left out; that round was lost"
        )
    });
    Ok(Logged { document, remark })
}

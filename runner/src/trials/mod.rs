//! The trial log: what was measured is on disk before the next trial begins.
//!
//! A log is a file of JSON lines that is only ever appended to. Its first line is the [`Header`]: what is measured,
//! asked for how, by which build. Every further line is one trial, whatever the owner of the log calls so (a round
//! of `run`, a round of a cell of `compare`), and the last one says that everything came to its end. A line is on
//! disk (`fdatasync`) before [`TrialLog::append`] returns, so that a SIGKILL or a power failure loses the trial in
//! progress and none before it. A torn last line is what such an end may leave: [`read`] leaves it out and says so.
//!
//! Whoever writes a log holds a lock on it (flock(2)): nobody goes on with a log that is still being written, and no
//! log in use is cleared away.
//!
//! The log knows nothing of what a trial is: `run`, `compare` and whatever measures in rounds bring their own types.

mod lock;
mod log_path;
mod read;
mod write;

pub use log_path::{LogPath, beside};
pub use read::{Trials, header_of, read};
pub use write::TrialLog;

use crate::build_info::{BUILD_TARGET, GIT_COMMIT, VERSION};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

/// What the first line of every log of this version says.
pub const SCHEMA: &str = "linerate.trials/1";

/// The first line of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Always `linerate.trials/1`.
    pub schema: String,
    /// Which command measures.
    pub kind: Kind,
    /// Version of the linerate that measures.
    pub linerate_version: String,
    /// Commit that it was built from, null outside a git checkout.
    pub git_commit: Option<String>,
    /// Target triple of the build.
    pub build_target: Option<String>,
    /// When it started, nanoseconds since 1970-01-01 UTC.
    pub started_at_unix_ns: u64,
    /// The command line as given, program name first.
    pub command: Vec<String>,
    /// Everything that was asked for, with which the same can be measured again: arms, seed, lengths.
    pub plan: Value,
}

/// What kind of measurement a log is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `linerate run`.
    Run,
    /// `linerate compare`.
    Compare,
}

impl Kind {
    /// The command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Compare => "compare",
        }
    }
}

/// Every line but the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<T> {
    /// One trial.
    Trial(T),
    /// Nothing comes behind this: everything that was planned has been measured.
    End(Value),
}

impl Header {
    /// The header of what this build begins to measure.
    ///
    /// # Errors
    /// A plan that is no JSON, which is a bug.
    pub fn new(
        kind: Kind,
        started_at_unix_ns: u64,
        command: Vec<String>,
        plan: &impl Serialize,
    ) -> Result<Self, TrialsError> {
        Ok(Self {
            schema: SCHEMA.to_owned(),
            kind,
            linerate_version: VERSION.to_owned(),
            git_commit: GIT_COMMIT.map(str::to_owned),
            build_target: BUILD_TARGET.map(str::to_owned),
            started_at_unix_ns,
            command,
            plan: serde_json::to_value(plan).map_err(TrialsError::Unwritable)?,
        })
    }

    /// The plan, as the type that was written.
    ///
    /// # Errors
    /// When it is none of that type.
    pub fn plan<P: DeserializeOwned>(&self, path: &Path) -> Result<P, TrialsError> {
        serde_json::from_value(self.plan.clone()).map_err(|error| TrialsError::Damaged {
            path: path.to_owned(),
            line: 1,
            why: error.to_string(),
        })
    }

    /// Whether this build wrote it.
    pub fn is_of_this_build(&self) -> bool {
        self.linerate_version == VERSION
            && self.git_commit.as_deref() == GIT_COMMIT
            && self.build_target.as_deref() == BUILD_TARGET
    }

    /// The build that wrote it: `0.1.0 (2da4ae4)`.
    pub fn build(&self) -> String {
        let commit = self.git_commit.as_deref().unwrap_or("no commit known");
        format!("{} ({commit})", self.linerate_version)
    }
}

/// Why a log cannot be written, or read.
#[derive(Debug, thiserror::Error)]
pub enum TrialsError {
    /// The system refused.
    #[error("cannot {attempt} {}: {error}", path.display())]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system answered.
        error: io::Error,
    },
    /// Nobody says where state is kept.
    #[error("neither XDG_STATE_HOME nor HOME is an absolute path")]
    NoStateDirectory,
    /// A file that is not ours.
    #[error("{} is no trial log: {why}", path.display())]
    NoLog {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// A log that cannot be believed.
    #[error("trial log {}, line {line}: {why}", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else writes it.
    #[error("trial log {} is being written by another linerate", path.display())]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// A trial that is no JSON or larger than a line may be.
    #[error("a trial cannot be written as a line of JSON: {0}")]
    Unwritable(serde_json::Error),
    /// A trial that no reader would take.
    #[error("a trial of {bytes} bytes is more than a line of a trial log may have")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl TrialsError {
    fn system(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::System {
            attempt,
            path,
            error,
        }
    }
}

#[cfg(test)]
mod tests;

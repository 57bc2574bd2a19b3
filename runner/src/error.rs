//! How things end: exit classes, and why a run could not be completed.

use report::document::{Document, ErrorKind, Message, Status};
use report::success::{incomplete, missing_events};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a command ends; each has its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitClass {
    /// Done.
    Done,
    /// A threshold or check failed: wrong bytes, for instance.
    CheckFailed,
    /// The user asked for something that does not exist or does not fit together.
    Usage,
    /// This machine cannot: engine, limit, privilege.
    Machine,
    /// The peer refused, failed or never answered; a launcher or agent died.
    Peer,
    /// What was asked cannot be decided by what was measured.
    Undecided,
    /// Ended by the user.
    Interrupted,
}

impl ExitClass {
    /// The process exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::CheckFailed => 1,
            Self::Usage => 2,
            Self::Machine => 3,
            Self::Peer => 4,
            Self::Undecided => 5,
            Self::Interrupted => 130,
        }
    }

    /// The class that ends with this exit code.
    pub(crate) fn of_code(code: u8) -> Option<Self> {
        let all = [
            Self::Done,
            Self::CheckFailed,
            Self::Usage,
            Self::Machine,
            Self::Peer,
            Self::Undecided,
            Self::Interrupted,
        ];
        all.into_iter().find(|class| class.code() == code)
    }

    /// The stable name of an error of this class in documents.
    pub fn message_code(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::CheckFailed => "check_failed",
            Self::Usage => "usage",
            Self::Machine => "machine",
            Self::Peer => "peer",
            Self::Undecided => "undecided",
            Self::Interrupted => "interrupted",
        }
    }

    /// What a finished document amounts to. A run in which everything failed is never
    /// [`ExitClass::Done`].
    pub fn of_document(document: &Document) -> Self {
        let class_of_errors = || {
            let known = [Self::Usage, Self::Machine, Self::Peer, Self::CheckFailed];
            let named = |message: &Message| {
                known
                    .into_iter()
                    .find(|class| class.message_code() == message.code)
            };
            document.errors.iter().find_map(named)
        };
        match document.status {
            Status::Interrupted => Self::Interrupted,
            Status::Failed => class_of_errors().unwrap_or(Self::Peer),
            Status::Partial => class_of_errors().unwrap_or(Self::CheckFailed),
            Status::Ok
                if mismatches(document)
                    || incomplete(document).is_some()
                    || missing_events(&document.rounds).is_some() =>
            {
                Self::CheckFailed
            }
            Status::Ok => Self::Done,
        }
    }
}

/// Whether any compared byte was wrong.
fn mismatches(document: &Document) -> bool {
    document
        .rounds
        .iter()
        .flat_map(|round| &round.measured.errors)
        .any(|error| error.kind == ErrorKind::Mismatch && error.count > 0)
}

/// Something that ends a run, one sentence with its cure, and its exit class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub class: ExitClass,
    /// What was attempted, on what, what the system answered, what to do.
    pub text: String,
}

impl Failure {
    /// This machine cannot.
    pub fn machine(text: impl Into<String>) -> Self {
        Self {
            class: ExitClass::Machine,
            text: text.into(),
        }
    }

    /// The peer failed.
    pub fn peer(text: impl Into<String>) -> Self {
        Self {
            class: ExitClass::Peer,
            text: text.into(),
        }
    }

    /// The user asked for the impossible.
    pub fn usage(text: impl Into<String>) -> Self {
        Self {
            class: ExitClass::Usage,
            text: text.into(),
        }
    }

    /// As it stands in a document.
    pub fn message(&self) -> Message {
        Message::new(self.class.message_code(), self.text.clone())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<engine::driver::EngineError> for Failure {
    fn from(error: engine::driver::EngineError) -> Self {
        match error {
            engine::driver::EngineError::Machine(text) => Self::machine(text),
            engine::driver::EngineError::Peer(text) => Self::peer(text),
        }
    }
}

/// Why a run could not be completed, and what is known of it nevertheless.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct RunError {
    /// The one reason.
    pub failure: Failure,
    /// A valid document with status `failed`: rounds that were completed before are in it.
    pub document: Option<Box<Document>>,
}

impl RunError {
    /// Its exit class.
    pub fn exit_class(&self) -> ExitClass {
        self.failure.class
    }
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            document: None,
        }
    }
}

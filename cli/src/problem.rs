//! What ends a command early: one line with the cure, and an exit code.

use runner::error::{ExitClass, Failure};
use runner::plan::PlanError;

/// Something that ends a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Decides on the exit code.
    pub class: ExitClass,
    /// What was attempted, on what, what the system answered.
    pub text: String,
    /// A command to try, or what to do.
    pub cure: Option<String>,
}

impl Problem {
    /// The user asked for something that cannot be.
    pub fn usage(text: impl Into<String>) -> Self {
        Problem {
            class: ExitClass::Usage,
            text: text.into(),
            cure: None,
        }
    }

    /// The same with what to do about it.
    pub fn with_cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// One line to print.
    pub fn line(&self) -> String {
        // An error text of several lines (a parser's, a launcher's) would be no line any more.
        let text = one_line(&self.text);
        match &self.cure {
            Some(cure) => format!("linerate: {text}; {cure}"),
            None => format!("linerate: {text}"),
        }
    }
}

/// The same words on one line.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Problem {
            class: failure.class,
            text: failure.text,
            cure: None,
        }
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        Problem {
            class: error.exit_class(),
            text: error.to_string(),
            cure: None,
        }
    }
}

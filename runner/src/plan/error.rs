//! Why a plan cannot be run: what was asked, and what to write instead.

use crate::error::ExitClass;

/// Why a request is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A number outside its range.
    #[error("{option} {value}: it must be {range}; {cure}")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        range: String,
        /// What to do.
        cure: &'static str,
    },
    /// Two options, or an option and a workload, that exclude each other.
    #[error("{option} does not go with {with}: {cure}")]
    Conflict {
        /// The option.
        option: &'static str,
        /// What it contradicts.
        with: String,
        /// What to do.
        cure: &'static str,
    },
    /// An option that needs another.
    #[error("{option} needs {needs}: {cure}")]
    Missing {
        /// The option.
        option: &'static str,
        /// What is missing.
        needs: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// An endpoint that cannot be read; the text teaches how to write one.
    #[error("{0}")]
    Endpoint(String),
    /// An engine that does not exist, or cannot do this.
    #[error("{0}")]
    Engine(String),
    /// A text that cannot be read.
    #[error("{option} '{value}': {why}")]
    Unreadable {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A configuration file that is not one.
    #[error("{0}")]
    File(String),
}

impl PlanError {
    /// Always [`ExitClass::Usage`].
    pub fn exit_class(&self) -> ExitClass {
        ExitClass::Usage
    }
}

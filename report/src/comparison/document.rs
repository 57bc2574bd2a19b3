//! The comparison as a whole: what was asked, where it ran, its cells.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::method::Method;
use crate::document::{Host, Message, Status, Unknown};

/// The schema that this build writes and reads.
pub const SCHEMA: &str = "linerate.comparison/1";

/// One comparison, complete: what was asked, where it ran, every round, and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Always `linerate.comparison/1`.
    pub schema: String,
    /// Version of the linerate that measured.
    pub linerate_version: String,
    /// Commit that linerate was built from, null outside a git checkout.
    pub git_commit: Option<String>,
    /// Target triple of the build.
    pub build_target: Option<String>,
    /// When the comparison started, RFC 3339 in UTC, for people.
    pub started_at_utc: String,
    /// The same instant as nanoseconds since 1970-01-01 UTC.
    pub started_at_unix_ns: u64,
    /// The command line as given, program name first.
    pub command: Vec<String>,
    /// How it ended.
    pub status: Status,
    /// What a reader must know before believing the numbers, beside the warnings of each analysis.
    pub warnings: Vec<Message>,
    /// What went wrong with the comparison as a whole.
    pub errors: Vec<Message>,
    /// How it was measured and is judged; declared before the first round.
    pub method: Method,
    /// The machines that took part, as they were before the first round.
    pub hosts: Vec<Host>,
    /// One per workload and number of connections.
    pub cells: Vec<Cell>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

impl Comparison {
    /// Whether there is anything to compare: a round that counts, in any cell.
    pub fn has_rounds(&self) -> bool {
        let mut cells = self.cells.iter();
        cells.any(|cell| cell.counted().next().is_some())
    }

    /// A comparison in which nothing has happened yet: status `failed`, no cells.
    pub fn new(linerate_version: &str, command: Vec<String>, method: Method) -> Self {
        Comparison {
            schema: SCHEMA.to_owned(),
            linerate_version: linerate_version.to_owned(),
            git_commit: None,
            build_target: None,
            started_at_utc: crate::utc::rfc3339(0),
            started_at_unix_ns: 0,
            command,
            status: Status::Failed,
            warnings: Vec::new(),
            errors: Vec::new(),
            method,
            hosts: Vec::new(),
            cells: Vec::new(),
            unknown: Unknown::all(
                &["git_commit", "build_target"],
                "the build did not record it",
            ),
        }
    }

    /// Sets both forms of the start time from nanoseconds since 1970-01-01 UTC.
    pub fn set_started(&mut self, unix_ns: u64) {
        self.started_at_unix_ns = unix_ns;
        self.started_at_utc = crate::utc::rfc3339(unix_ns);
    }

    /// Sets what the build knows of itself and removes the reasons for its absence.
    pub fn set_build(&mut self, git_commit: Option<&str>, build_target: Option<&str>) {
        self.git_commit = git_commit.map(str::to_owned);
        self.build_target = build_target.map(str::to_owned);
        Unknown::retract(&mut self.unknown, "git_commit", git_commit.is_some());
        Unknown::retract(&mut self.unknown, "build_target", build_target.is_some());
    }
}

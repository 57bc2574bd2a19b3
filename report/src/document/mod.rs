//! The versioned result document: the only serialised form of a measurement, and the boundary
//! between what measures and what shows.
//!
//! Rules that hold for every type in here:
//!
//! - Names are snake_case and end in their unit (`latency_ns`, `rate_bits_per_second`). Integers
//!   stand for base units: nanoseconds, bytes, bits per second, plain counts.
//! - NaN and infinity cannot be written: a number with a fraction is a [`Finite`].
//! - Null needs a reason. An object that can hold nulls which a reader would ask about carries
//!   `unknown`, a list of [`Unknown`] `{field, reason}`; **every** null beside such a list is named
//!   in it ([`unexplained_nulls`] finds those that are not). In objects without the list (the plan,
//!   the latency names) null means "not asked for" or "nothing of this kind happened".
//! - Within one version of the schema, fields and enum values are only ever added. Readers
//!   therefore ignore fields that they do not know.

mod check;
mod clients;
mod errors;
mod host;
mod latency;
mod limits;
mod measurement;
mod plan;
mod profile;
mod round;
mod side;
mod summary;

pub use check::{LoadError, load, unexplained_nulls};
pub(crate) use check::{expect_schema, parse};
pub use clients::{ClientAnswers, Clients, RampPoint};
pub use errors::{ErrorCount, ErrorKind};
pub use host::{ClockOffset, Host, IoUringState, NetworkInterface};
pub use latency::{Latencies, LatencySummary};
pub use limits::{Limit, LimitValue, Limits, Unlimited};
pub use measurement::{
    ConnectionAccounts, Held, Interval, Measurement, Totals, Unfinished, Window,
};
pub use plan::{
    CloseHow, Closer, Closing, Dialing, Direction, EngineRequest, MessageKind, Pace,
    PlacementRequest, Plan, Queue, Sizes, Target, WebSocketPlan, Workload,
};
pub use profile::{AppliedProfile, ProfileHold, ProfileKey, ProfileLimit, SettingClass};
pub use round::{
    Confirmation, Cost, HostActivity, HostShare, LostAgent, Rates, Round, RoundCost, ServiceDemand,
    SystemCpu,
};
pub use side::{
    AcceptStrategy, EngineOption, EngineUse, EventRecordUse, ProcessCost, Role, Side, SocketOption,
    Spread, TcpInfo, Worker,
};
pub use summary::{Methods, MetricSummary, Summary};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// The schema that this build writes, and the only one that [`load`] accepts.
pub const SCHEMA: &str = "linerate.result/1";

/// One measurement, complete: what was asked, where it ran, what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// Always `linerate.result/1`; [`load`] refuses anything else.
    pub schema: String,
    /// Version of the linerate that measured.
    pub linerate_version: String,
    /// Commit that linerate was built from, null outside a git checkout.
    pub git_commit: Option<String>,
    /// Target triple of the build. The C library is part of it, and numbers differ between them.
    pub build_target: Option<String>,
    /// When the measurement started, RFC 3339 in UTC, for people.
    pub started_at_utc: String,
    /// The same instant as nanoseconds since 1970-01-01 UTC, for programs.
    pub started_at_unix_ns: u64,
    /// The command line as given, program name first.
    pub command: Vec<String>,
    /// How the measurement ended.
    pub status: Status,
    /// What a reader must know before believing the numbers.
    pub warnings: Vec<Message>,
    /// What went wrong with the run as a whole. Failed operations are counted in the rounds.
    pub errors: Vec<Message>,
    /// The resolved plan: every default filled in.
    pub plan: Plan,
    /// The machines (or network namespaces) that took part.
    pub hosts: Vec<Host>,
    /// One entry per repeat, in the order in which they ran. Empty if none could begin.
    pub rounds: Vec<Round>,
    /// Statistics over the rounds; null if no round was completed.
    pub summary: Option<Summary>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

impl Document {
    /// A document for `plan` in which nothing has happened yet: status `failed`, no rounds.
    ///
    /// Written as it is, it is a valid document of a run that failed before it began.
    pub fn new(linerate_version: &str, command: Vec<String>, plan: Plan) -> Self {
        Document {
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
            plan,
            hosts: Vec::new(),
            rounds: Vec::new(),
            summary: None,
            unknown: vec![
                Unknown::new("git_commit", "the build did not record it"),
                Unknown::new("build_target", "the build did not record it"),
                Unknown::new("summary", "no round was completed"),
            ],
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

    /// Sets the summary and removes the reason for its absence, or says it.
    pub fn set_summary(&mut self, summary: Option<Summary>) {
        self.unknown.retain(|entry| entry.field != "summary");
        if summary.is_none() {
            let reason = match self.rounds.is_empty() {
                true => "no round was completed",
                false => "no round is valid",
            };
            self.unknown.push(Unknown::new("summary", reason));
        }
        self.summary = summary;
    }

    /// The same with its last round alone, and without a summary: what a log holds of one round.
    pub fn of_last_round(&self) -> Document {
        Document {
            schema: self.schema.clone(),
            linerate_version: self.linerate_version.clone(),
            git_commit: self.git_commit.clone(),
            build_target: self.build_target.clone(),
            started_at_utc: self.started_at_utc.clone(),
            started_at_unix_ns: self.started_at_unix_ns,
            command: self.command.clone(),
            status: self.status,
            warnings: self.warnings.clone(),
            errors: self.errors.clone(),
            plan: self.plan.clone(),
            hosts: self.hosts.clone(),
            rounds: self.rounds.last().cloned().into_iter().collect(),
            summary: None,
            unknown: self.unknown.clone(),
        }
    }

    /// The host with this id.
    pub fn host(&self, id: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.id == id)
    }
}

/// How a measurement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every round ran to its end and operations succeeded.
    Ok,
    /// The run could not be completed, or nothing in it succeeded. `errors` says why.
    Failed,
    /// Somebody ended it early. What was measured until then is valid.
    Interrupted,
    /// An agent was lost, which ended the run. What the others measured until then is valid, and is not the whole:
    /// the last round says who is missing.
    Partial,
}

/// A warning or an error: what it is, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Stable short name for programs, for example `generator_busy`.
    pub code: String,
    /// What was observed or attempted, on what, and what the system answered.
    pub text: String,
    /// What to do about it, if there is something.
    pub cure: Option<String>,
}

impl Message {
    /// A message without a cure.
    pub fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        Message {
            code: code.into(),
            text: text.into(),
            cure: None,
        }
    }

    /// The same message with what to do about it.
    pub fn with_cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }
}

/// Why a field of the same object is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unknown {
    /// Name of the null field, as in the JSON object that holds this list.
    pub field: String,
    /// Why it is null, in words that a user understands.
    pub reason: String,
}

impl Unknown {
    /// Says that `field` is null because of `reason`.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Unknown {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// The reason that `list` gives for `field`.
    pub fn reason_for<'a>(list: &'a [Unknown], field: &str) -> Option<&'a str> {
        list.iter()
            .find(|entry| entry.field == field)
            .map(|entry| entry.reason.as_str())
    }

    /// Removes the reason for `field` from `list` if the field is `known` now.
    pub fn retract(list: &mut Vec<Unknown>, field: &str, known: bool) {
        list.retain(|entry| !known || entry.field != field);
    }

    /// One entry per field, all for the same reason.
    pub fn all(fields: &[&str], reason: &str) -> Vec<Self> {
        fields
            .iter()
            .map(|field| Unknown::new(*field, reason))
            .collect()
    }
}

/// A number that is neither NaN nor infinite, so that a document can always be written and read.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Finite(f64);

impl Finite {
    /// `None` for NaN and infinities, which fits an optional field directly.
    pub fn new(value: f64) -> Option<Self> {
        // Minus zero is not a different result from zero, and it would print a sign.
        value.is_finite().then_some(Finite(value + 0.0))
    }

    /// `numerator / denominator`, `None` where that is not a number.
    pub fn ratio(numerator: f64, denominator: f64) -> Option<Self> {
        Finite::new(numerator / denominator)
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl From<u32> for Finite {
    fn from(value: u32) -> Self {
        Finite(f64::from(value))
    }
}

impl<'de> Deserialize<'de> for Finite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Finite::new(value)
            .ok_or_else(|| serde::de::Error::custom("expected a finite number, found NaN or inf"))
    }
}

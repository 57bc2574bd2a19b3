//! Failures by kind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Failed operations of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorCount {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// How many.
    pub count: u64,
    /// What the system answered, first occurrence. For `other` this is all there is to know.
    pub text: Option<String>,
}

/// Kinds of failure.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The target refused the connection.
    ConnectRefused,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The peer reset the connection.
    Reset,
    /// The peer closed while an answer was owed.
    ClosedEarly,
    /// No answer in time.
    Timeout,
    /// The answer was shorter than agreed; in documents of versions without `long`, longer.
    Short,
    /// The answer was longer than agreed.
    Long,
    /// Bytes came that nobody had asked for.
    Unsolicited,
    /// The answer had other bytes than it should.
    Mismatch,
    /// The peer broke the protocol, or refused to speak it.
    Protocol,
    /// No local port was free.
    NoPorts,
    /// No descriptor was free.
    NoDescriptors,
    /// Anything else; also what a newer linerate calls by a name that this one does not know.
    #[serde(other)]
    Other,
}

impl ErrorKind {
    /// The name in the document.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::ConnectRefused => "connect_refused",
            ErrorKind::ConnectTimeout => "connect_timeout",
            ErrorKind::Reset => "reset",
            ErrorKind::ClosedEarly => "closed_early",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Short => "short",
            ErrorKind::Long => "long",
            ErrorKind::Unsolicited => "unsolicited",
            ErrorKind::Mismatch => "mismatch",
            ErrorKind::Protocol => "protocol",
            ErrorKind::NoPorts => "no_ports",
            ErrorKind::NoDescriptors => "no_descriptors",
            ErrorKind::Other => "other",
        }
    }

    /// The same in plain words, for text.
    pub fn words(self) -> &'static str {
        match self {
            ErrorKind::ConnectRefused => "connection refused",
            ErrorKind::ConnectTimeout => "connect timed out",
            ErrorKind::Reset => "connection reset by the peer",
            ErrorKind::ClosedEarly => "closed by the peer before the answer",
            ErrorKind::Timeout => "no answer in time",
            ErrorKind::Short => "answer of another size",
            ErrorKind::Long => "answer too long",
            ErrorKind::Unsolicited => "bytes that nobody asked for",
            ErrorKind::Mismatch => "answer with wrong bytes",
            ErrorKind::Protocol => "protocol broken or refused by the peer",
            ErrorKind::NoPorts => "no local port free",
            ErrorKind::NoDescriptors => "no descriptor free",
            ErrorKind::Other => "other",
        }
    }
}

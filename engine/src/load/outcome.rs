//! How a connection of the load ends, and why one is lost.

use super::rules::Rules;
use crate::meter::{ErrorKind, PartOfAnswer};
use crate::record::Ending;
use crate::session::How;
use crate::socket;
use std::io;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As agreed; our side is to be closed in this way.
    Planned(How),
    /// It is lost, and with it every operation in flight on it.
    Failed(Loss),
}

/// Why a connection of the load was lost, or could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// In words.
    pub text: String,
    /// What the system said; 0 where it said nothing.
    pub errno: i32,
}

impl Loss {
    /// A loss of this kind, in these words.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            errno: 0,
        }
    }

    /// How it ends a connect.
    pub(super) fn ending_of_connect(&self) -> Ending {
        match self.kind {
            ErrorKind::ConnectTimeout => Ending::ConnectTimeout,
            _ => self.ending(),
        }
    }

    /// How it ends a connection that was established. The system may say ETIMEDOUT of one too.
    pub(super) fn ending(&self) -> Ending {
        Ending::Failed {
            kind: self.kind,
            errno: self.errno,
        }
    }

    fn with_errno(self, errno: i32) -> Self {
        Self { errno, ..self }
    }

    /// The peer closed a connection that was to stay.
    pub fn closed_by_peer() -> Self {
        Self::new(ErrorKind::ClosedEarly, "the peer closed the connection")
    }

    /// The peer answers too late or never. A wrong size of the answer looks like silence, and is told
    /// from it by what came.
    pub fn no_answer(part: Option<PartOfAnswer>) -> Self {
        let text = "no answer within the operation timeout";
        match part {
            Some(part) => Self::new(ErrorKind::Timeout, format!("{text}: {part}")),
            None => Self::new(ErrorKind::Timeout, text),
        }
    }

    /// The peer answered with more than was agreed.
    pub fn too_long() -> Self {
        let text = "the peer sent more bytes than were asked for; check the response size";
        Self::new(ErrorKind::Long, text)
    }

    /// The peer sent bytes that nobody had asked for.
    pub fn unsolicited() -> Self {
        let text = "the peer sent bytes that nobody had asked for; does it greet, or speak another protocol?";
        Self::new(ErrorKind::Unsolicited, text)
    }

    /// The peer answered, and does not close as agreed.
    pub fn not_closed() -> Self {
        let text = "the peer did not close the connection within the operation timeout";
        Self::new(ErrorKind::Timeout, text)
    }

    /// Receiving or sending failed.
    pub fn of_errno(errno: i32) -> Self {
        let said = io::Error::from_raw_os_error(errno);
        let text = format!("the connection was lost: {said}");
        Self::new(ErrorKind::of_errno(errno), text).with_errno(errno)
    }

    /// Connecting connection `number` of the whole run, or making the socket for it, failed.
    pub(super) fn connect_failed(rules: &Rules, number: u32, error: &io::Error) -> Self {
        let errno = socket::errno_of(error);
        let text = format!("connect to {}: {error}", rules.target_name(number));
        Self::new(ErrorKind::of_errno(errno), text).with_errno(errno)
    }

    /// Connecting took too long.
    pub(super) fn connect_timed_out(rules: &Rules, number: u32) -> Self {
        Self::took_too_long("connecting to", rules, number)
    }

    /// Established in time, and the handshake that belongs to it took too long.
    pub(super) fn handshake_timed_out(rules: &Rules, number: u32) -> Self {
        let what = "the connection was accepted, and the handshake with";
        Self::took_too_long(what, rules, number)
    }

    fn took_too_long(what: &str, rules: &Rules, number: u32) -> Self {
        let (name, limit_ns) = (rules.target_name(number), rules.connect_timeout_ns);
        let text = format!("{what} {name} took longer than {} ms", limit_ns / 1_000_000);
        Self::new(ErrorKind::ConnectTimeout, text)
    }
}

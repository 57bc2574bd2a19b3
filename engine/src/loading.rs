//! What every load does in the same way, whatever its loop is made of: how long it waits, and what it says and
//! counts of connections that fail. Nothing here is called while operations succeed.

use crate::driver::{EngineError, LoadJob, Stop};
use crate::endpoint::{Endpoint, Target};
use crate::meter::{ErrorKind, Meter, PartOfAnswer};
use crate::socket;
use crate::workload::{LoadSpec, Slot};
use std::io;

/// Connects under way at once: well below any listen backlog, so that ramping up does not
/// overflow it.
pub const CONNECTS_AT_ONCE: u32 = 128;

/// A Unix listener's full backlog is asked again after this long, ns.
pub const BACKLOG_RETRY_NS: u64 = 1_000_000;

/// A lost connection is opened again after this long (ns), doubled with each failure in a row ...
const RETRY_FIRST_NS: u64 = 10_000_000;
/// ... up to this.
const RETRY_LAST_NS: u64 = 1_000_000_000;

/// How long a connection rests after so many failures in a row, ns.
pub fn rest_ns(failures: u32) -> u64 {
    (RETRY_FIRST_NS << (failures.clamp(1, 8) - 1)).min(RETRY_LAST_NS)
}

impl LoadJob {
    /// Start and end of the window of a run that starts at `go_ns`. A run that counts has no end but its count.
    pub fn window_ns(&self, go_ns: u64) -> (u64, u64) {
        let start_ns = go_ns + self.warmup_ns;
        match self.stop {
            Stop::After(duration_ns) => (start_ns, start_ns + duration_ns),
            Stop::Count(_) => (start_ns, u64::MAX),
        }
    }

    /// How often to look for what takes too long: a timeout is noticed at most an eighth late, and never more
    /// than 100 ms.
    pub fn sweep_every_ns(&self) -> u64 {
        let shortest_ns = self.operation_timeout_ns.min(self.connect_timeout_ns);
        (shortest_ns / 8).clamp(1_000_000, 100_000_000)
    }

    /// Whether a run that counts is to be given up: it has no other end, and nothing was heard of the peer since
    /// `alive_ns`. Only for a load none of whose connections lives.
    pub fn is_out_of_patience(&self, alive_ns: u64, now_ns: u64) -> bool {
        let patience_ns = 4 * self.operation_timeout_ns.max(self.connect_timeout_ns);
        matches!(self.stop, Stop::Count(_)) && now_ns.saturating_sub(alive_ns) > patience_ns
    }
}

impl Target {
    /// Where to go on after a connect that failed with `errno`, if ports have run out: the next spare rotation
    /// of [`Target::source`].
    pub fn next_spare(&self, spare: u32, errno: i32) -> Option<u32> {
        let exhausted = ErrorKind::of_errno(errno) == ErrorKind::NoPorts;
        (exhausted && spare < self.spare_sources()).then_some(spare + 1)
    }
}

/// Why a connection of the load was lost, or could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// In words.
    pub text: String,
}

impl Loss {
    fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind, text }
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

    /// The peer answered, and does not close as agreed.
    pub fn not_closed() -> Self {
        let text = "the peer did not close the connection within the operation timeout";
        Self::new(ErrorKind::Timeout, text)
    }

    /// Receiving or sending failed.
    pub fn of_errno(errno: i32) -> Self {
        let said = io::Error::from_raw_os_error(errno);
        let text = format!("the connection was lost: {said}");
        Self::new(ErrorKind::of_errno(errno), text)
    }

    /// Connecting, or making the socket for it, failed.
    pub fn connect_failed(job: &LoadJob, error: &io::Error) -> Self {
        let kind = ErrorKind::of_errno(socket::errno_of(error));
        Self::new(kind, format!("connect to {}: {error}", target_of(job)))
    }

    /// Connecting took too long.
    pub fn connect_timed_out(job: &LoadJob) -> Self {
        let text = format!(
            "connecting to {} took longer than {} ms",
            target_of(job),
            job.connect_timeout_ns / 1_000_000
        );
        Self::new(ErrorKind::ConnectTimeout, text)
    }
}

fn target_of(job: &LoadJob) -> String {
    let endpoint = Endpoint::of_address(&job.target.address);
    endpoint.map_or_else(String::new, |endpoint| endpoint.to_string())
}

/// Why a run cannot begin whose next connection, after `opened` others, fails in this way.
pub fn cannot_begin(kind: ErrorKind, text: &str, opened: u32) -> EngineError {
    match kind {
        ErrorKind::NoPorts | ErrorKind::NoDescriptors => {
            let kind = kind.name();
            EngineError::Machine(format!("{kind} after {opened} connections: {text}"))
        }
        _ => EngineError::Peer(text.to_owned()),
    }
}

impl Slot {
    /// Records that the connection was lost, and every operation in flight with it. What connects for each
    /// operation (`reconnects`) loses just that one. When the window is over (`draining`), nobody is owed anything
    /// but an answer to what is in flight.
    pub fn lose(
        &mut self,
        loss: Loss,
        reconnects: bool,
        draining: bool,
        now_ns: u64,
        meter: &mut Meter,
    ) {
        let Loss { kind, text } = loss;
        if reconnects {
            meter.failure(kind, Some(self.connect_intended_ns), now_ns, || text);
        } else if let Some(first) = self.flights.pop() {
            meter.failure(kind, Some(first.intended_ns), now_ns, || text);
            while let Some(flight) = self.flights.pop() {
                meter.failure(kind, Some(flight.intended_ns), now_ns, String::new);
            }
        } else if !draining {
            meter.failure(kind, None, now_ns, || text);
        }
    }

    /// The connection is closed. What was still in flight on one that its session gave up, beyond the failure
    /// that the session recorded, failed with it.
    pub fn give_up(&mut self, now_ns: u64, meter: &mut Meter) {
        while let Some(flight) = self.flights.pop() {
            let text = || "given up with its connection".to_owned();
            meter.failure(
                ErrorKind::ClosedEarly,
                Some(flight.intended_ns),
                now_ns,
                text,
            );
        }
    }

    /// The run is over: what came due and was not sent is unfinished, except in a stream, which owes nothing.
    pub fn end_schedule(&mut self, spec: &LoadSpec, now_ns: u64, meter: &mut Meter) {
        while let Some(intended_ns) = self.pacer.take() {
            if !spec.is_stream() {
                meter.unfinished(intended_ns, now_ns, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;
    use crate::shape::{Pace, Pacer};
    use crate::workload::Flight;
    use std::sync::Arc;

    #[test]
    fn rests_double_up_to_a_second() {
        let ms = [0, 1, 2, 3, 7, 8, u32::MAX].map(|failures| rest_ns(failures) / 1_000_000);
        assert_eq!(ms, [10, 10, 20, 40, 640, 1_000, 1_000]);
    }

    #[test]
    fn only_ports_that_ran_out_lead_to_another_source() {
        let target = |address: &str| Target {
            address: address.parse::<std::net::SocketAddr>().unwrap().into(),
            sources: Vec::new(),
        };
        let local = target("127.0.0.1:9");
        assert_eq!(local.next_spare(0, libc::EADDRNOTAVAIL), Some(1));
        assert_eq!(local.next_spare(7, libc::EADDRINUSE), Some(8));
        assert_eq!(local.next_spare(0, libc::ECONNREFUSED), None);
        let last = local.spare_sources();
        assert_eq!(local.next_spare(last, libc::EADDRNOTAVAIL), None);
        let far = target("192.0.2.1:9");
        assert_eq!(far.next_spare(0, libc::EADDRNOTAVAIL), None);
    }

    /// Failures that a lost connection with so many operations in flight leaves: all of the window, and those
    /// with a due instant.
    fn failures(flights: u32, reconnects: bool, draining: bool) -> (u64, u64) {
        let mut slot = Slot::new(
            0,
            Pacer::new(Pace::Closed, 0, 1),
            4,
            Arc::new(Pattern::new(1)),
        );
        for _ in 0..flights {
            slot.flights.push(Flight::default());
        }
        let mut meter = Meter::new(false, None, Arc::default());
        meter.begin(0, u64::MAX);
        slot.lose(
            Loss::no_answer(None),
            reconnects,
            draining,
            1_000,
            &mut meter,
        );
        assert!(slot.flights.is_empty() || reconnects);
        let recorded = meter.into_recorded();
        (recorded.errors.iter().sum(), recorded.failed.len())
    }

    #[test]
    fn a_lost_connection_fails_once_or_with_each_operation_in_flight() {
        assert_eq!(failures(0, false, false), (1, 0));
        assert_eq!(failures(3, false, false), (3, 3));
        assert_eq!(failures(3, false, true), (3, 3));
        assert_eq!(failures(0, false, true), (0, 0), "nobody is owed anything");
        assert_eq!(failures(0, true, false), (1, 1));
    }
}

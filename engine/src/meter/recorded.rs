//! What a worker brings home, and how the records of several add up.

use super::ErrorKind;
use crate::os::{ProcessUse, process_use};
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// The largest value that a histogram tells apart, ns: one hour. Longer ones are recorded as this.
pub const HISTOGRAM_MAX_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits of a histogram.
pub const HISTOGRAM_DIGITS: u8 = 3;

/// A histogram of ns with the bounds that all of linerate uses, so that all of them add up.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HISTOGRAM_MAX_NS, HISTOGRAM_DIGITS)
        .expect("constant, valid bounds")
}

/// A histogram that begins small and grows with what it records: for meters of which a process has
/// thousands. It still adds to the others, for [`record`] keeps its values within their bounds.
fn growing_histogram() -> Histogram<u64> {
    Histogram::new(HISTOGRAM_DIGITS).expect("constant, valid digits")
}

/// Not `saturating_record`, which clamps to the present bounds before it would grow. Within the
/// bounds that all histograms share nothing can fail.
#[inline]
pub(super) fn record(histogram: &mut Histogram<u64>, ns: u64) {
    let recorded = histogram.record(ns.min(HISTOGRAM_MAX_NS));
    debug_assert!(
        recorded.is_ok(),
        "a histogram holds or grows to every bounded value"
    );
}

/// What there is of an answer that is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartOfAnswer {
    /// Bytes received.
    pub received: u64,
    /// Bytes of the whole.
    pub of: u64,
}

impl std::fmt::Display for PartOfAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { received, of } = self;
        write!(
            f,
            "received {received} of {of} bytes of the answer; check the response size"
        )
    }
}

/// What was sent and had no answer at the end, or came due and was never sent.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// How many.
    pub count: u64,
    /// Age of the oldest at the end, ns.
    pub oldest_age_ns: u64,
    /// Of these, how many were never sent: they came due (open loop), or were left of a count.
    pub never_sent: u64,
    /// What there was of the first answer that was begun.
    pub part: Option<PartOfAnswer>,
}

/// How the answers of the window were spread over clients: one entry a client in each.
#[derive(Clone, Debug)]
pub struct Clients {
    /// How many clients.
    pub count: u64,
    /// How many answers all of them got,
    pub answers: u64,
    /// the one that got the least of them,
    pub answers_least: u64,
    /// and the one that got the most.
    pub answers_most: u64,
    /// The mean latency of each that got any, ns.
    pub mean: Histogram<u64>,
    /// The longest latency of each that got any, ns.
    pub longest: Histogram<u64>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            count: 0,
            answers: 0,
            answers_least: u64::MAX,
            answers_most: 0,
            mean: growing_histogram(),
            longest: growing_histogram(),
        }
    }
}

impl Clients {
    /// One more client.
    pub(super) fn add(&mut self, count: u64, sum_ns: u64, longest_ns: u64) {
        self.count += 1;
        self.answers += count;
        self.answers_least = self.answers_least.min(count);
        self.answers_most = self.answers_most.max(count);
        if let Some(mean_ns) = sum_ns.checked_div(count) {
            record(&mut self.mean, mean_ns);
            record(&mut self.longest, longest_ns);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.answers += other.answers;
        self.answers_least = self.answers_least.min(other.answers_least);
        self.answers_most = self.answers_most.max(other.answers_most);
        for (own, others) in [
            (&mut self.mean, &other.mean),
            (&mut self.longest, &other.longest),
        ] {
            own.add(others).expect("growing histograms take any bounds");
        }
    }
}

/// What the whole process had used at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessReading {
    /// CPU time of all its threads, ns: CLOCK_PROCESS_CPUTIME_ID.
    pub cpu_ns: u64,
    /// What getrusage(2) says.
    pub usage: ProcessUse,
}

impl ProcessReading {
    /// Reads it now.
    pub fn take() -> Self {
        Self {
            cpu_ns: crate::clock::process_cpu_ns(),
            usage: process_use(),
        }
    }
}

/// Of thousands of meters in a process the first to open its window and the last to end it read what the process has
/// used: the kernel goes through all threads for that (thread_group_cputime() in kernel/sched/cputime.c).
#[derive(Debug)]
pub struct OneReading {
    has_begun: AtomicBool,
    left: AtomicU32,
}

impl OneReading {
    /// For so many meters.
    pub fn new(meters: u32) -> Self {
        Self {
            has_begun: AtomicBool::new(false),
            left: AtomicU32::new(meters),
        }
    }

    /// Whether nobody has asked before.
    pub(super) fn is_first(&self) -> bool {
        !self.has_begun.swap(true, Relaxed)
    }

    /// Whether all others have asked before.
    pub(super) fn is_last(&self) -> bool {
        self.left.fetch_sub(1, Relaxed) == 1
    }
}

/// What a worker recorded, complete.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// First instant of the window, monotonic ns.
    pub window_start_ns: u64,
    /// End of the window as it really was, monotonic ns.
    pub window_end_ns: u64,
    /// The window was cut short by an order.
    pub interrupted: bool,
    /// What the process had used when the window opened; `None` if it never did.
    pub process_at_start: Option<ProcessReading>,
    /// What it had used when the window ended.
    pub process_at_end: Option<ProcessReading>,
    /// Operations completed inside the window.
    pub operations: u64,
    /// Bytes handed to the kernel inside the window.
    pub bytes_sent: u64,
    /// Bytes taken from the kernel inside the window.
    pub bytes_received: u64,
    /// Failures inside the window and its drain, by [`ErrorKind`].
    pub errors: [u64; ErrorKind::ALL.len()],
    /// Connections that were to be held and were lost, in the window or after it, by [`ErrorKind`].
    pub lost: [u64; ErrorKind::ALL.len()],
    /// Clients that could not be opened, at any time, by [`ErrorKind`].
    pub unopened: [u64; ErrorKind::ALL.len()],
    /// What each client got; `None` unless that is asked for.
    pub clients: Option<Box<Clients>>,
    /// Failures before the window (warm-up), all kinds.
    pub errors_before_window: u64,
    /// The first error of each kind in words.
    pub error_texts: Vec<(ErrorKind, String)>,
    /// Operations without an answer at the end.
    pub unfinished: Unfinished,
    /// From the actual send to the answer, ns.
    pub service: Histogram<u64>,
    /// From the intended send to the answer, ns; filled in open loop only.
    pub response: Histogram<u64>,
    /// Connecting, ns.
    pub connect: Histogram<u64>,
    /// From the start of connecting to the end of the handshake of the protocol, ns, at any time.
    pub handshake: Histogram<u64>,
    /// Whole transactions (connect to close), ns.
    pub total: Histogram<u64>,
    /// Failed operations, from the intended send to the failure, ns.
    pub failed: Histogram<u64>,
    /// How late the generator noticed arrivals, ns (open loop).
    pub lag: Histogram<u64>,
}

impl Recorded {
    /// Empty, for a window that has not begun.
    pub fn new() -> Self {
        Self::with(new_histogram)
    }

    /// Like [`Recorded::new`], with histograms that begin small.
    pub(super) fn growing() -> Self {
        Self::with(growing_histogram)
    }

    fn with(histogram: fn() -> Histogram<u64>) -> Self {
        Self {
            window_start_ns: u64::MAX,
            window_end_ns: u64::MAX,
            interrupted: false,
            process_at_start: None,
            process_at_end: None,
            operations: 0,
            bytes_sent: 0,
            bytes_received: 0,
            errors: [0; ErrorKind::ALL.len()],
            lost: [0; ErrorKind::ALL.len()],
            unopened: [0; ErrorKind::ALL.len()],
            clients: None,
            errors_before_window: 0,
            error_texts: Vec::with_capacity(ErrorKind::ALL.len()),
            unfinished: Unfinished {
                count: 0,
                oldest_age_ns: 0,
                never_sent: 0,
                part: None,
            },
            service: histogram(),
            response: histogram(),
            connect: histogram(),
            handshake: histogram(),
            total: histogram(),
            failed: histogram(),
            lag: histogram(),
        }
    }

    /// Adds another worker's record: counters sum, histograms add, the window is the union.
    pub fn merge(&mut self, other: &Self) {
        self.window_start_ns = self.window_start_ns.min(other.window_start_ns);
        self.window_end_ns = match self.window_end_ns {
            u64::MAX => other.window_end_ns,
            own => own.max(other.window_end_ns),
        };
        self.interrupted |= other.interrupted;
        // Workers of one process: the first to begin and the last to end bound its use.
        let earlier = |one: &ProcessReading, other: &ProcessReading| one.cpu_ns.cmp(&other.cpu_ns);
        let starts = [self.process_at_start, other.process_at_start];
        self.process_at_start = starts.into_iter().flatten().min_by(earlier);
        let ends = [self.process_at_end, other.process_at_end];
        self.process_at_end = ends.into_iter().flatten().max_by(earlier);
        self.operations += other.operations;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        for (own, others) in self.errors.iter_mut().zip(other.errors) {
            *own += others;
        }
        for (own, others) in self.lost.iter_mut().zip(other.lost) {
            *own += others;
        }
        for (own, others) in self.unopened.iter_mut().zip(other.unopened) {
            *own += others;
        }
        if let Some(others) = &other.clients {
            self.clients.get_or_insert_default().merge(others);
        }
        self.errors_before_window += other.errors_before_window;
        for (kind, text) in &other.error_texts {
            if !self.error_texts.iter().any(|(own, _)| own == kind) {
                self.error_texts.push((*kind, text.clone()));
            }
        }
        self.unfinished.count += other.unfinished.count;
        self.unfinished.never_sent += other.unfinished.never_sent;
        self.unfinished.part = self.unfinished.part.or(other.unfinished.part);
        self.unfinished.oldest_age_ns = self
            .unfinished
            .oldest_age_ns
            .max(other.unfinished.oldest_age_ns);
        for (own, others) in [
            (&mut self.service, &other.service),
            (&mut self.response, &other.response),
            (&mut self.connect, &other.connect),
            (&mut self.handshake, &other.handshake),
            (&mut self.total, &other.total),
            (&mut self.failed, &other.failed),
            (&mut self.lag, &other.lag),
        ] {
            own.add(others)
                .expect("all histograms have the same bounds");
        }
    }

    /// All failures inside the window and its drain.
    pub fn errors_total(&self) -> u64 {
        self.errors.iter().sum()
    }
}

impl Default for Recorded {
    fn default() -> Self {
        Self::new()
    }
}

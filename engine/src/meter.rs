//! What a worker records: counters and histograms, in ns, without a lock or an allocation.
//!
//! The window is `[start, end)`. Rates count what was *completed* inside it. Latencies belong to
//! the window in which an operation was *due* (closed loop: sent), whenever it completed, so that
//! neither a stall at the end nor a slow answer can drop out. Failures have their own counts and
//! their own histogram: a failed operation is never a fast success.

use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
fn record(histogram: &mut Histogram<u64>, ns: u64) {
    let recorded = histogram.record(ns.min(HISTOGRAM_MAX_NS));
    debug_assert!(
        recorded.is_ok(),
        "a histogram holds or grows to every bounded value"
    );
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum ErrorKind {
    /// The peer refused the connection (ECONNREFUSED), or no such Unix socket.
    ConnectRefused,
    /// Connecting took longer than its timeout.
    ConnectTimeout,
    /// The peer reset the connection (ECONNRESET, EPIPE).
    Reset,
    /// The peer closed although an answer was owed.
    ClosedEarly,
    /// No answer within the operation timeout.
    Timeout,
    /// Fewer or more bytes than agreed.
    Short,
    /// Bytes that differ from those expected.
    Mismatch,
    /// No local port left (EADDRNOTAVAIL, EADDRINUSE).
    NoPorts,
    /// No descriptor left (EMFILE, ENFILE).
    NoDescriptors,
    /// Anything else; the first text is kept.
    Other,
}

impl ErrorKind {
    /// All kinds, in order.
    pub const ALL: [Self; 10] = [
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::Reset,
        Self::ClosedEarly,
        Self::Timeout,
        Self::Short,
        Self::Mismatch,
        Self::NoPorts,
        Self::NoDescriptors,
        Self::Other,
    ];

    /// The name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Reset => "reset",
            Self::ClosedEarly => "closed_early",
            Self::Timeout => "timeout",
            Self::Short => "short",
            Self::Mismatch => "mismatch",
            Self::NoPorts => "no_ports",
            Self::NoDescriptors => "no_descriptors",
            Self::Other => "other",
        }
    }

    /// The kind of an errno.
    pub fn of_errno(errno: i32) -> Self {
        match errno {
            libc::ECONNREFUSED | libc::ENOENT => Self::ConnectRefused,
            libc::ETIMEDOUT => Self::ConnectTimeout,
            libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => Self::Reset,
            libc::EADDRNOTAVAIL | libc::EADDRINUSE => Self::NoPorts,
            libc::EMFILE | libc::ENFILE => Self::NoDescriptors,
            _ => Self::Other,
        }
    }
}

/// Counters of one load worker that the agent samples while it runs. Written by the worker alone
/// with plain stores; from the start of the load, warm-up included.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Published {
    /// Operations completed.
    pub operations: AtomicU64,
    /// Bytes handed to the kernel.
    pub bytes_sent: AtomicU64,
    /// Bytes taken from the kernel.
    pub bytes_received: AtomicU64,
    /// Operations and connections that failed.
    pub errors: AtomicU64,
    /// Sum of the latencies of the operations, ns: in open loop from when they were due.
    pub latency_sum_ns: AtomicU64,
    /// Largest latency since the agent last took it (it swaps in 0), ns.
    pub latency_max_ns: AtomicU64,
}

/// Counters of one testee worker that the agent samples.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServePublished {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed, however.
    pub closed: AtomicU64,
    /// Bytes taken from the kernel.
    pub bytes_received: AtomicU64,
    /// Bytes handed to the kernel.
    pub bytes_sent: AtomicU64,
    /// Connections that ended in an error (reset, for instance).
    pub failed: AtomicU64,
    /// Connections closed because they were idle for too long.
    pub idle_closed: AtomicU64,
    /// Times that receiving from a connection was paused because its peer did not read.
    pub peer_not_reading: AtomicU64,
    /// Times that accepting backed off because descriptors ran out.
    pub accept_backoffs: AtomicU64,
    /// Connections closed at once because the table was full.
    pub over_limit: AtomicU64,
    /// Connections that outlived the drain of a stop and were closed by the testee.
    pub cut_off: AtomicU64,
    /// System calls of the backend so far; stays 0 where the engine cannot know them.
    pub system_calls: AtomicU64,
}

/// Adds to a counter that only the calling thread writes: a load and a store, no locked instruction.
#[inline]
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// What was sent and never answered, or came due and was never sent.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// How many.
    pub count: u64,
    /// Age of the oldest at the end, ns.
    pub oldest_age_ns: u64,
    /// Of these, how many came due and were never sent (open loop).
    pub never_sent: u64,
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
    /// Operations completed inside the window.
    pub operations: u64,
    /// Bytes handed to the kernel inside the window.
    pub bytes_sent: u64,
    /// Bytes taken from the kernel inside the window.
    pub bytes_received: u64,
    /// Failures inside the window and its drain, by [`ErrorKind`].
    pub errors: [u64; ErrorKind::ALL.len()],
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

    fn with(histogram: fn() -> Histogram<u64>) -> Self {
        Self {
            window_start_ns: u64::MAX,
            window_end_ns: u64::MAX,
            interrupted: false,
            operations: 0,
            bytes_sent: 0,
            bytes_received: 0,
            errors: [0; ErrorKind::ALL.len()],
            errors_before_window: 0,
            error_texts: Vec::with_capacity(ErrorKind::ALL.len()),
            unfinished: Unfinished {
                count: 0,
                oldest_age_ns: 0,
                never_sent: 0,
            },
            service: histogram(),
            response: histogram(),
            connect: histogram(),
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
        self.operations += other.operations;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        for (own, others) in self.errors.iter_mut().zip(other.errors) {
            *own += others;
        }
        self.errors_before_window += other.errors_before_window;
        for (kind, text) in &other.error_texts {
            if !self.error_texts.iter().any(|(own, _)| own == kind) {
                self.error_texts.push((*kind, text.clone()));
            }
        }
        self.unfinished.count += other.unfinished.count;
        self.unfinished.never_sent += other.unfinished.never_sent;
        self.unfinished.oldest_age_ns = self
            .unfinished
            .oldest_age_ns
            .max(other.unfinished.oldest_age_ns);
        for (own, others) in [
            (&mut self.service, &other.service),
            (&mut self.response, &other.response),
            (&mut self.connect, &other.connect),
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

/// Records for one worker.
#[derive(Debug)]
pub struct Meter {
    recorded: Recorded,
    published: Arc<Published>,
    /// New operations that may still be started.
    permits: u64,
    /// Permits to hand out when the window opens, in a run that counts.
    count: Option<u64>,
    /// Operations of the window that have ended, well or not, in a run that counts.
    ended: u64,
    open_loop: bool,
}

impl Meter {
    /// A meter that permits nothing yet. `count` limits the operations inside the window.
    pub fn new(open_loop: bool, count: Option<u64>, published: Arc<Published>) -> Self {
        Self::with(Recorded::new(), open_loop, count, published)
    }

    /// Like [`Meter::new`] for one of thousands in a process: its histograms begin small and grow
    /// when a latency is longer than all before.
    pub fn new_growing(open_loop: bool, count: Option<u64>, published: Arc<Published>) -> Self {
        Self::with(
            Recorded::with(growing_histogram),
            open_loop,
            count,
            published,
        )
    }

    fn with(
        recorded: Recorded,
        open_loop: bool,
        count: Option<u64>,
        published: Arc<Published>,
    ) -> Self {
        Self {
            recorded,
            published,
            permits: 0,
            count,
            ended: 0,
            open_loop,
        }
    }

    /// A meter for tests: everything is inside the window.
    pub fn for_tests() -> Self {
        let mut meter = Self::new(true, None, Arc::default());
        meter.begin(0, u64::MAX);
        meter
    }

    /// Fixes the window (monotonic ns) and permits operations; with a count, `end_ns` is `u64::MAX`.
    pub fn begin(&mut self, start_ns: u64, end_ns: u64) {
        self.recorded.window_start_ns = start_ns;
        self.recorded.window_end_ns = end_ns;
        self.permits = u64::MAX;
    }

    /// Hands out the window's permits in a run that counts. Call it when the window opens.
    pub fn open_window(&mut self) {
        if let Some(count) = self.count {
            self.permits = count;
        }
    }

    /// Whether all operations of a run that counts have ended.
    #[inline]
    pub fn count_reached(&self) -> bool {
        self.count.is_some_and(|count| self.ended >= count)
    }

    /// Permits no further operation.
    pub fn forbid(&mut self) {
        self.permits = 0;
    }

    /// Ends the window at `end_ns` if it has not ended before.
    pub fn end_window(&mut self, end_ns: u64, interrupted: bool) {
        self.recorded.window_end_ns = self
            .recorded
            .window_end_ns
            .min(end_ns)
            .max(self.recorded.window_start_ns);
        self.recorded.interrupted |= interrupted;
    }

    /// Whether a new operation may start; takes a permit if so.
    #[inline]
    pub fn permit(&mut self) -> bool {
        if self.permits == 0 {
            return false;
        }
        // u64::MAX means unlimited: 2^64 operations take longer than anything lives.
        self.permits -= 1;
        true
    }

    /// Whether a new operation could start now.
    #[inline]
    pub fn permits_more(&self) -> bool {
        self.permits > 0
    }

    #[inline]
    fn in_window(&self, at_ns: u64) -> bool {
        at_ns >= self.recorded.window_start_ns && at_ns < self.recorded.window_end_ns
    }

    /// An operation was answered: due at `intended_ns`, sent at `sent_ns`, answered at `now_ns`.
    #[inline]
    pub fn operation(&mut self, intended_ns: u64, sent_ns: u64, now_ns: u64) {
        let service_ns = now_ns.saturating_sub(sent_ns);
        if self.in_window(now_ns) {
            self.recorded.operations += 1;
        }
        if self.in_window(intended_ns) {
            self.ended += 1;
            record(&mut self.recorded.service, service_ns);
            if self.open_loop {
                record(
                    &mut self.recorded.response,
                    now_ns.saturating_sub(intended_ns),
                );
            }
        }
        self.publish_operation(if self.open_loop {
            now_ns.saturating_sub(intended_ns)
        } else {
            service_ns
        });
    }

    #[inline]
    fn publish_operation(&self, latency_ns: u64) {
        bump(&self.published.operations, 1);
        bump(&self.published.latency_sum_ns, latency_ns);
        if latency_ns > self.published.latency_max_ns.load(Relaxed) {
            self.published.latency_max_ns.fetch_max(latency_ns, Relaxed);
        }
    }

    /// A write of a stream was taken by the kernel: counts as an operation without a latency.
    #[inline]
    pub fn message(&mut self, now_ns: u64) {
        if self.in_window(now_ns) {
            self.recorded.operations += 1;
            self.ended += 1;
        }
        bump(&self.published.operations, 1);
    }

    /// A connection was established for the first time or as part of a transaction.
    #[inline]
    pub fn connected(&mut self, started_ns: u64, now_ns: u64, part_of_window: bool) {
        if !part_of_window || self.in_window(started_ns) {
            record(
                &mut self.recorded.connect,
                now_ns.saturating_sub(started_ns),
            );
        }
    }

    /// The request of a transaction was answered: its exchange took `now_ns - sent_ns`.
    #[inline]
    pub fn exchange(&mut self, intended_ns: u64, sent_ns: u64, now_ns: u64) {
        if self.in_window(intended_ns) {
            record(&mut self.recorded.service, now_ns.saturating_sub(sent_ns));
        }
    }

    /// A whole transaction ended, connect to close: one operation.
    #[inline]
    pub fn transaction(&mut self, intended_ns: u64, started_ns: u64, now_ns: u64) {
        let total_ns = now_ns.saturating_sub(started_ns);
        if self.in_window(now_ns) {
            self.recorded.operations += 1;
        }
        if self.in_window(intended_ns) {
            self.ended += 1;
            record(&mut self.recorded.total, total_ns);
            if self.open_loop {
                record(
                    &mut self.recorded.response,
                    now_ns.saturating_sub(intended_ns),
                );
            }
        }
        self.publish_operation(if self.open_loop {
            now_ns.saturating_sub(intended_ns)
        } else {
            total_ns
        });
    }

    /// Bytes were handed to the kernel.
    #[inline]
    pub fn bytes_sent(&mut self, bytes: u64, now_ns: u64) {
        if self.in_window(now_ns) {
            self.recorded.bytes_sent += bytes;
        }
        bump(&self.published.bytes_sent, bytes);
    }

    /// Bytes were taken from the kernel.
    #[inline]
    pub fn bytes_received(&mut self, bytes: u64, now_ns: u64) {
        if self.in_window(now_ns) {
            self.recorded.bytes_received += bytes;
        }
        bump(&self.published.bytes_received, bytes);
    }

    /// An arrival due at `due_ns` was noticed at `now_ns`.
    #[inline]
    pub fn schedule_lag(&mut self, due_ns: u64, now_ns: u64) {
        if self.in_window(due_ns) {
            record(&mut self.recorded.lag, now_ns - due_ns);
        }
    }

    /// Something failed. `intended_ns` is when the failed operation was due, if it was one.
    pub fn failure(
        &mut self,
        kind: ErrorKind,
        intended_ns: Option<u64>,
        now_ns: u64,
        text: impl FnOnce() -> String,
    ) {
        let started_ns = intended_ns.unwrap_or(now_ns);
        bump(&self.published.errors, 1);
        if started_ns < self.recorded.window_start_ns {
            self.recorded.errors_before_window += 1;
        } else {
            self.recorded.errors[kind as usize] += 1;
            if let Some(intended_ns) = intended_ns {
                self.ended += 1;
                record(
                    &mut self.recorded.failed,
                    now_ns.saturating_sub(intended_ns),
                );
            }
        }
        if !self
            .recorded
            .error_texts
            .iter()
            .any(|(seen, _)| *seen == kind)
        {
            self.recorded.error_texts.push((kind, text()));
        }
    }

    /// An operation was due at `intended_ns` and never answered; `sent` says whether it was sent.
    pub fn unfinished(&mut self, intended_ns: u64, now_ns: u64, sent: bool) {
        if !self.in_window(intended_ns) {
            return;
        }
        let unfinished = &mut self.recorded.unfinished;
        unfinished.count += 1;
        unfinished.never_sent += u64::from(!sent);
        unfinished.oldest_age_ns = unfinished
            .oldest_age_ns
            .max(now_ns.saturating_sub(intended_ns));
    }

    /// Takes the record out.
    pub fn into_recorded(self) -> Recorded {
        self.recorded
    }

    /// The record so far.
    pub fn recorded(&self) -> &Recorded {
        &self.recorded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_belongs_to_where_it_was_due_and_rate_to_where_it_completed() {
        let mut meter = Meter::new(true, None, Arc::default());
        meter.begin(1_000, 2_000);
        meter.operation(900, 900, 1_100); // due before, completed inside
        meter.operation(1_900, 1_950, 2_500); // due inside, completed after
        let recorded = meter.into_recorded();
        assert_eq!(recorded.operations, 1);
        assert_eq!((recorded.service.len(), recorded.service.max()), (1, 550));
        assert_eq!((recorded.response.len(), recorded.response.max()), (1, 600));
    }

    #[test]
    fn failures_never_enter_the_success_histogram() {
        let mut meter = Meter::for_tests();
        meter.failure(ErrorKind::Timeout, Some(5), 105, || "late".into());
        let recorded = meter.into_recorded();
        assert_eq!(
            (
                recorded.operations,
                recorded.service.len(),
                recorded.failed.len()
            ),
            (0, 0, 1)
        );
        assert_eq!(recorded.errors[ErrorKind::Timeout as usize], 1);
    }

    #[test]
    fn a_count_is_handed_out_when_the_window_opens() {
        let mut meter = Meter::new(false, Some(2), Arc::default());
        meter.begin(10, u64::MAX);
        assert!((0..100).all(|_| meter.permit()), "warm-up is not counted");
        meter.open_window();
        assert_eq!(
            (meter.permit(), meter.permit(), meter.permit()),
            (true, true, false)
        );
        meter.operation(10, 10, 20);
        assert!(!meter.count_reached());
        meter.failure(ErrorKind::Reset, Some(11), 30, String::new);
        assert!(meter.count_reached(), "a failed operation has ended too");
    }

    #[test]
    fn unfinished_outside_the_window_is_not_of_the_window() {
        let mut meter = Meter::new(true, None, Arc::default());
        meter.begin(1_000, 2_000);
        meter.unfinished(500, 3_000, true);
        meter.unfinished(1_500, 3_000, true);
        meter.unfinished(1_800, 3_000, false);
        meter.unfinished(2_100, 3_000, false);
        let unfinished = meter.into_recorded().unfinished;
        assert_eq!(
            (
                unfinished.count,
                unfinished.never_sent,
                unfinished.oldest_age_ns
            ),
            (2, 1, 1_500)
        );
    }

    #[test]
    fn growing_histograms_hold_what_the_others_hold() {
        let mut meter = Meter::new_growing(false, None, Arc::default());
        meter.begin(0, u64::MAX);
        meter.operation(1, 1, 50_001);
        meter.operation(1, 1, 5_000_000_001);
        let mut merged = Recorded::new();
        merged.merge(&meter.into_recorded());
        assert_eq!(merged.service.len(), 2);
        assert!(merged.service.min() >= 49_900 && merged.service.min() <= 50_100);
        assert!(merged.service.max() >= 4_990_000_000);
    }

    #[test]
    fn merging_adds() {
        let mut one = Meter::for_tests();
        one.operation(1, 1, 11);
        let mut other = Meter::for_tests();
        other.operation(1, 1, 101);
        other.failure(ErrorKind::Other, None, 5, || "x".into());
        let mut merged = one.into_recorded();
        merged.merge(&other.into_recorded());
        assert_eq!(
            (
                merged.operations,
                merged.service.len(),
                merged.errors_total()
            ),
            (2, 2, 1)
        );
        assert_eq!(merged.service.max(), 100);
    }
}

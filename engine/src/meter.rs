//! What a worker records: counters and histograms, in ns, without a lock or an allocation.
//!
//! The window is `[start, end)`. Rates count what was *completed* inside it. Latencies belong to
//! the window in which an operation was *due* (closed loop: sent), whenever it completed, so that
//! neither a stall at the end nor a slow answer can drop out. Failures have their own counts and
//! their own histogram: a failed operation is never a fast success.

mod errors;
mod published;
mod recorded;

pub use errors::ErrorKind;
pub use published::{Published, ServePublished, bump};
pub use recorded::{
    Clients, HISTOGRAM_DIGITS, HISTOGRAM_MAX_NS, OneReading, PartOfAnswer, ProcessReading,
    Recorded, Unfinished, new_histogram,
};

use hdrhistogram::Histogram;
use recorded::record;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Records for one worker.
#[derive(Debug)]
pub struct Meter {
    recorded: Recorded,
    published: Arc<Published>,
    /// Operations of the window that may still be started.
    permits: u64,
    /// Nothing may be started any more.
    forbidden: bool,
    /// Operations that might have been started and were not, once nothing may be.
    unused_permits: u64,
    /// Operations of the window in all, in a run that counts.
    count: Option<u64>,
    /// Operations of the window that have ended, well or not.
    ended: u64,
    /// When the last of the count ended, ns.
    count_reached_ns: Option<u64>,
    open_loop: bool,
    /// Who reads what the process has used, where that is not each meter.
    reads: Option<Arc<OneReading>>,
    /// The window was opened, and has not ended.
    is_window_open: bool,
}

impl Meter {
    /// A meter that permits nothing yet. `count` limits the operations inside the window.
    pub fn new(open_loop: bool, count: Option<u64>, published: Arc<Published>) -> Self {
        Self::with(Recorded::new(), open_loop, count, published)
    }

    /// Like [`Meter::new`] for one of thousands in a process: its histograms begin small and grow
    /// when a latency is longer than all before, and the process is read once for all of them.
    pub fn new_growing(
        open_loop: bool,
        count: Option<u64>,
        published: Arc<Published>,
        reads: Arc<OneReading>,
    ) -> Self {
        Self {
            reads: Some(reads),
            ..Self::with(Recorded::growing(), open_loop, count, published)
        }
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
            forbidden: false,
            unused_permits: 0,
            count,
            ended: 0,
            count_reached_ns: None,
            open_loop,
            reads: None,
            is_window_open: false,
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
        self.permits = self.count.unwrap_or(u64::MAX);
    }

    /// Reads what the process has used so far. Call it when the window opens.
    pub fn open_window(&mut self) {
        self.is_window_open = true;
        if self.reads.as_ref().is_none_or(|reads| reads.is_first()) {
            self.recorded.process_at_start = Some(ProcessReading::take());
        }
        if self.count == Some(0) {
            self.count_reached_ns = Some(self.recorded.window_start_ns);
        }
    }

    /// Whether all operations of a run that counts have ended.
    #[inline]
    pub fn is_count_reached(&self) -> bool {
        self.count_reached_ns.is_some()
    }

    /// How many operations of the window have ended.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// When the last operation of a run that counts ended, ns.
    pub fn count_reached_ns(&self) -> Option<u64> {
        self.count_reached_ns
    }

    /// One more operation of the window has ended, at `now_ns`.
    #[inline]
    fn end_one(&mut self, now_ns: u64) {
        self.ended += 1;
        if self.count == Some(self.ended) {
            self.count_reached_ns = Some(now_ns);
        }
    }

    /// Permits no further operation.
    pub fn forbid(&mut self) {
        self.unused_permits = std::mem::take(&mut self.permits);
        self.forbidden = true;
    }

    /// Ends the window at `end_ns` if it has not ended before. Call it at that moment, for the
    /// first call reads what the process has used.
    pub fn end_window(&mut self, end_ns: u64, interrupted: bool) {
        let ends = std::mem::take(&mut self.is_window_open);
        if ends && self.reads.as_ref().is_none_or(|reads| reads.is_last()) {
            self.recorded.process_at_end = Some(ProcessReading::take());
        }
        self.recorded.window_end_ns = self
            .recorded
            .window_end_ns
            .min(end_ns)
            .max(self.recorded.window_start_ns);
        self.recorded.interrupted |= interrupted;
    }

    /// Whether an operation that is due at `intended_ns` may start. One that was due before the window
    /// does not belong to the count, and none begins after it, however late its end is noticed.
    #[inline]
    pub fn permit(&mut self, intended_ns: u64) -> bool {
        if intended_ns < self.recorded.window_start_ns {
            return !self.forbidden;
        }
        if self.permits == 0 || intended_ns >= self.recorded.window_end_ns {
            return false;
        }
        // u64::MAX means unlimited: 2^64 operations take longer than anything lives.
        self.permits -= 1;
        true
    }

    /// Whether this instant belongs to the window.
    #[inline]
    pub fn is_in_window(&self, at_ns: u64) -> bool {
        self.in_window(at_ns)
    }

    #[inline]
    fn in_window(&self, at_ns: u64) -> bool {
        at_ns >= self.recorded.window_start_ns && at_ns < self.recorded.window_end_ns
    }

    /// An operation was answered: due at `intended_ns`, sent at `sent_ns`, answered at `now_ns`.
    #[inline]
    pub fn operation(&mut self, intended_ns: u64, sent_ns: u64, now_ns: u64) {
        self.completed(
            |recorded| &mut recorded.service,
            intended_ns,
            sent_ns,
            now_ns,
        );
    }

    /// A whole transaction ended, connect to close: one operation.
    #[inline]
    pub fn transaction(&mut self, intended_ns: u64, started_ns: u64, now_ns: u64) {
        self.completed(
            |recorded| &mut recorded.total,
            intended_ns,
            started_ns,
            now_ns,
        );
    }

    /// Something that counts as an operation ended well; `histogram` has what it took.
    #[inline]
    fn completed(
        &mut self,
        histogram: impl FnOnce(&mut Recorded) -> &mut Histogram<u64>,
        intended_ns: u64,
        began_ns: u64,
        now_ns: u64,
    ) {
        let taken_ns = now_ns.saturating_sub(began_ns);
        let response_ns = now_ns.saturating_sub(intended_ns);
        let was_due_inside = self.in_window(intended_ns);
        // A run that counts has asked for so many operations and no other ones.
        let counts = match self.count {
            None => self.in_window(now_ns),
            Some(_) => was_due_inside,
        };
        if was_due_inside {
            self.end_one(now_ns);
            record(histogram(&mut self.recorded), taken_ns);
            if self.open_loop {
                record(&mut self.recorded.response, response_ns);
            }
        }
        if counts {
            self.recorded.operations += 1;
            self.publish_operation(if self.open_loop {
                response_ns
            } else {
                taken_ns
            });
        }
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
        if self.in_window(now_ns) && !self.is_count_reached() {
            self.recorded.operations += 1;
            self.end_one(now_ns);
            bump(&self.published.operations, 1);
        }
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

    /// A connection that is opened once is being opened.
    pub fn connection_started(&mut self) {
        bump(&self.published.connections_started, 1);
    }

    /// A connection that was to be held was lost, in the window or after it.
    pub fn connection_lost(&mut self, kind: ErrorKind, text: impl FnOnce() -> String) {
        self.recorded.lost[kind as usize] += 1;
        bump(&self.published.connections_lost, 1);
        self.note_text(kind, text);
    }

    /// A client that was opened has shaken hands, and may send.
    pub fn client_opened(&mut self) {
        bump(&self.published.connections_opened, 1);
    }

    /// A client could not be opened.
    pub fn client_not_opened(&mut self, kind: ErrorKind, text: impl FnOnce() -> String) {
        self.recorded.unopened[kind as usize] += 1;
        bump(&self.published.connections_failed, 1);
        self.note_text(kind, text);
    }

    /// The handshake of a protocol is done that began with connecting at `started_ns`.
    pub fn handshake(&mut self, started_ns: u64, now_ns: u64) {
        let taken_ns = now_ns.saturating_sub(started_ns);
        record(&mut self.recorded.handshake, taken_ns);
    }

    /// What one client got in the window: answers, the sum of their latencies, and the longest of them, ns.
    pub fn client(&mut self, count: u64, sum_ns: u64, longest_ns: u64) {
        let clients = self.recorded.clients.get_or_insert_default();
        clients.add(count, sum_ns, longest_ns);
    }

    /// The request of a transaction was answered: its exchange took `now_ns - sent_ns`.
    #[inline]
    pub fn exchange(&mut self, intended_ns: u64, sent_ns: u64, now_ns: u64) {
        if self.in_window(intended_ns) {
            record(&mut self.recorded.service, now_ns.saturating_sub(sent_ns));
        }
    }

    /// Bytes were handed to the kernel.
    #[inline]
    pub fn bytes_sent(&mut self, bytes: u64, now_ns: u64) {
        if self.in_window(now_ns) {
            self.recorded.bytes_sent += bytes;
            bump(&self.published.bytes_sent, bytes);
        }
    }

    /// Bytes were taken from the kernel.
    #[inline]
    pub fn bytes_received(&mut self, bytes: u64, now_ns: u64) {
        if self.in_window(now_ns) {
            self.recorded.bytes_received += bytes;
            bump(&self.published.bytes_received, bytes);
        }
    }

    /// An arrival due at `due_ns` was noticed at `now_ns`.
    #[inline]
    pub fn schedule_lag(&mut self, due_ns: u64, now_ns: u64) {
        if self.in_window(due_ns) {
            record(&mut self.recorded.lag, now_ns - due_ns);
        }
    }

    /// Something failed, at `now_ns`. `intended_ns` is when the failed operation was due, if it was one.
    /// What was sent in the warm-up and fails inside the window is a failure of the window: it was
    /// waited for there. What fails after the window counts if it was due before its end.
    pub fn failure(
        &mut self,
        kind: ErrorKind,
        intended_ns: Option<u64>,
        now_ns: u64,
        text: impl FnOnce() -> String,
    ) {
        if now_ns < self.recorded.window_start_ns {
            self.recorded.errors_before_window += 1;
        } else if intended_ns.unwrap_or(now_ns) < self.recorded.window_end_ns {
            self.recorded.errors[kind as usize] += 1;
            bump(&self.published.errors, 1);
            if let Some(intended_ns) = intended_ns {
                let taken_ns = now_ns.saturating_sub(intended_ns);
                record(&mut self.recorded.failed, taken_ns);
                if self.in_window(intended_ns) {
                    self.end_one(now_ns);
                }
            }
        }
        self.note_text(kind, text);
    }

    /// Keeps what the first of a kind said.
    fn note_text(&mut self, kind: ErrorKind, text: impl FnOnce() -> String) {
        let texts = &mut self.recorded.error_texts;
        if !texts.iter().any(|(seen, _)| *seen == kind) {
            texts.push((kind, text()));
        }
    }

    /// An operation was due at `intended_ns` and has no answer; `sent` says whether it was sent. What was
    /// sent in the warm-up counts too: its answer was waited for all through the window.
    pub fn unfinished(&mut self, intended_ns: u64, now_ns: u64, sent: bool) {
        if sent && intended_ns < self.recorded.window_end_ns {
            self.add_unfinished(1, 0, intended_ns, now_ns);
        } else if !sent && self.in_window(intended_ns) {
            self.add_unfinished(1, 1, intended_ns, now_ns);
        }
    }

    /// So many operations came due inside the window and were never sent; the oldest was due at
    /// `oldest_ns`. What came due beyond a count was not asked for.
    pub fn never_sent(&mut self, count: u64, oldest_ns: u64, now_ns: u64) {
        let count = count.min(self.unused_permits);
        if count > 0 {
            self.unused_permits -= count;
            self.add_unfinished(count, count, oldest_ns, now_ns);
        }
    }

    fn add_unfinished(&mut self, count: u64, never_sent: u64, oldest_ns: u64, now_ns: u64) {
        let unfinished = &mut self.recorded.unfinished;
        unfinished.count += count;
        unfinished.never_sent += never_sent;
        let age_ns = now_ns.saturating_sub(oldest_ns);
        unfinished.oldest_age_ns = unfinished.oldest_age_ns.max(age_ns);
    }

    /// What there is of the answer of an operation that was sent and is [`Meter::unfinished`].
    pub fn answered_in_part(&mut self, part: PartOfAnswer) {
        let unfinished = &mut self.recorded.unfinished;
        if unfinished.count > unfinished.never_sent {
            unfinished.part.get_or_insert(part);
        }
    }

    /// A run that counts is given up, for nobody has answered since `alive_ns`: what was left of
    /// its count is unfinished.
    pub fn give_up_count(&mut self, alive_ns: u64, now_ns: u64) {
        if let Some(count) = self.count
            && now_ns >= self.recorded.window_start_ns
        {
            // What is only received takes no permits.
            let left = std::mem::take(&mut self.permits).min(count.saturating_sub(self.ended));
            if left > 0 {
                self.add_unfinished(left, left, alive_ns, now_ns);
            }
        }
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
    fn nothing_begins_or_fails_after_the_window_that_was_not_due_in_it() {
        let mut meter = Meter::new(false, None, Arc::default());
        meter.begin(10, 20);
        assert!(meter.permit(9) && meter.permit(19));
        assert!(!meter.permit(20), "the end was not noticed yet");
        meter.failure(ErrorKind::Reset, Some(19), 25, String::new);
        meter.failure(ErrorKind::Reset, Some(21), 25, String::new);
        meter.failure(ErrorKind::Reset, None, 19, String::new);
        meter.failure(ErrorKind::Reset, None, 25, String::new);
        assert_eq!(meter.recorded().errors_total(), 2);
    }

    #[test]
    fn a_count_is_of_the_window_and_not_of_the_warm_up() {
        let mut meter = Meter::new(false, Some(2), Arc::default());
        meter.begin(10, u64::MAX);
        assert!((0..100).all(|_| meter.permit(9)), "warm-up is not counted");
        let permits = [10, 11, 12].map(|at_ns| meter.permit(at_ns));
        assert_eq!(permits, [true, true, false]);
        assert!(meter.permit(9), "what came due in the warm-up and is late");
        meter.operation(9, 9, 15);
        meter.operation(10, 10, 20);
        assert!(!meter.is_count_reached());
        meter.failure(ErrorKind::Reset, Some(11), 30, String::new);
        assert_eq!(meter.count_reached_ns(), Some(30), "a failed one has ended");
        meter.forbid();
        assert!(!meter.permit(9));
        assert_eq!(
            meter.recorded().operations,
            1,
            "the answer to the warm-up is of the warm-up"
        );
    }

    #[test]
    fn messages_end_with_the_count() {
        let mut meter = Meter::new(false, Some(2), Arc::default());
        meter.begin(10, u64::MAX);
        (9..20).for_each(|at_ns| meter.message(at_ns));
        assert_eq!(meter.recorded().operations, 2);
        assert_eq!(meter.count_reached_ns(), Some(11));
    }

    #[test]
    fn what_is_published_is_what_is_recorded() {
        let published = Arc::new(Published::default());
        let mut meter = Meter::new(false, None, Arc::clone(&published));
        meter.begin(10, 20);
        for at_ns in [5, 15, 25] {
            meter.operation(at_ns - 1, at_ns - 1, at_ns);
            meter.message(at_ns);
            meter.bytes_sent(1, at_ns);
            meter.bytes_received(2, at_ns);
            meter.failure(ErrorKind::Other, None, at_ns, String::new);
        }
        let recorded = meter.into_recorded();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        assert_eq!(read(&published.operations), recorded.operations);
        assert_eq!(read(&published.bytes_sent), recorded.bytes_sent);
        assert_eq!(read(&published.bytes_received), recorded.bytes_received);
        assert_eq!(read(&published.errors), recorded.errors_total());
        assert_eq!((recorded.operations, recorded.errors_total()), (2, 1));
    }

    #[test]
    fn what_is_left_of_a_count_that_is_given_up_is_unfinished() {
        let mut meter = Meter::new(false, Some(5), Arc::default());
        meter.begin(10, u64::MAX);
        meter.give_up_count(5, 9);
        assert_eq!(
            meter.recorded().unfinished.count,
            0,
            "before the window opens"
        );
        meter.begin(10, u64::MAX);
        meter.open_window();
        assert!(meter.permit(10) && meter.permit(11));
        meter.operation(10, 10, 20);
        meter.failure(ErrorKind::Reset, Some(11), 30, String::new);
        meter.give_up_count(30, 530);
        let unfinished = &meter.recorded().unfinished;
        assert_eq!((unfinished.count, unfinished.never_sent), (3, 3));
        assert_eq!(unfinished.oldest_age_ns, 500);
        assert!(!meter.permit(600));
    }

    #[test]
    fn the_process_is_read_when_the_window_opens_and_when_it_ends() {
        let mut meter = Meter::new(false, None, Arc::default());
        meter.begin(10, 20);
        meter.end_window(20, false);
        assert!(meter.recorded().process_at_end.is_none(), "it never opened");
        let mut meter = Meter::new(false, None, Arc::default());
        meter.begin(10, 20);
        meter.open_window();
        let mut sum = 0u64;
        for i in 0..1_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(i));
        }
        meter.end_window(20, false);
        let ended = meter.recorded().process_at_end;
        meter.end_window(20, false);
        let recorded = meter.into_recorded();
        assert_eq!(recorded.process_at_end, ended, "the first end is the end");
        assert!(recorded.process_at_start.unwrap().cpu_ns < ended.unwrap().cpu_ns);
    }

    #[test]
    fn of_many_meters_the_first_and_the_last_read_the_process() {
        let reads = Arc::new(OneReading::new(3));
        let meter = || Meter::new_growing(false, None, Arc::default(), Arc::clone(&reads));
        let mut meters = [meter(), meter(), meter()];
        for meter in &mut meters {
            meter.begin(10, 20);
            meter.open_window();
        }
        for meter in &mut meters {
            meter.end_window(20, false);
            meter.end_window(20, false);
        }
        let has =
            |read: fn(&Recorded) -> bool| meters.each_ref().map(|meter| read(meter.recorded()));
        assert_eq!(
            has(|one| one.process_at_start.is_some()),
            [true, false, false]
        );
        assert_eq!(
            has(|one| one.process_at_end.is_some()),
            [false, false, true]
        );
    }

    #[test]
    fn what_was_sent_before_the_window_and_never_answered_is_unfinished() {
        let mut meter = Meter::new(true, None, Arc::default());
        meter.begin(1_000, 2_000);
        meter.unfinished(500, 3_000, true);
        meter.unfinished(1_500, 3_000, true);
        meter.unfinished(1_800, 3_000, false);
        meter.unfinished(500, 3_000, false); // due before, never sent: nobody was asked
        meter.unfinished(2_100, 3_000, false);
        meter.unfinished(2_100, 3_000, true);
        let unfinished = meter.into_recorded().unfinished;
        assert_eq!(
            (
                unfinished.count,
                unfinished.never_sent,
                unfinished.oldest_age_ns
            ),
            (3, 1, 2_500)
        );
    }

    #[test]
    fn what_was_sent_before_the_window_and_fails_inside_is_a_failure() {
        let mut meter = Meter::new(false, None, Arc::default());
        meter.begin(1_000, 2_000);
        meter.failure(ErrorKind::Timeout, Some(500), 900, String::new);
        meter.failure(ErrorKind::Timeout, Some(500), 1_100, String::new);
        let recorded = meter.into_recorded();
        assert_eq!(
            (recorded.errors_before_window, recorded.errors_total()),
            (1, 1)
        );
        assert_eq!(recorded.failed.len(), 1);
    }

    #[test]
    fn growing_histograms_hold_what_the_others_hold() {
        let mut meter =
            Meter::new_growing(false, None, Arc::default(), Arc::new(OneReading::new(1)));
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

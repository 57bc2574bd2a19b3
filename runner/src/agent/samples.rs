//! Samples at the edges of the window and of its intervals. Light: the kernel's counters are read
//! twice per round, an interval costs a few loads.

use crate::host::{CounterDelta, CounterSnapshot, allowed_cpus, format_cpu_list};
use crate::workers::ThreadClock;
use engine::clock::now_ns;
use engine::meter::{ProcessReading, Published, Recorded};
use report::document::{Finite, Interval, Message, ProcessCost, Unknown};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The counters of the host are read so long before the window: reading them takes some 100 us, which
/// must not be taken from a CPU that is measured.
pub(super) const AHEAD_NS: u64 = 2_000_000;

/// What the process had used when the window began or ended.
#[derive(Debug)]
struct Edge {
    /// When it was taken, monotonic ns.
    at_ns: u64,
    process: ProcessReading,
    /// CPU time of each worker's thread, ns.
    threads_ns: Vec<Option<u64>>,
}

impl Edge {
    fn take(clocks: &[Arc<ThreadClock>]) -> Self {
        Self {
            at_ns: now_ns(),
            process: ProcessReading::take(),
            threads_ns: clocks.iter().map(|clock| clock.cpu_ns()).collect(),
        }
    }
}

/// Both edges of a window.
#[derive(Debug)]
pub(super) struct Edges {
    clocks: Vec<Arc<ThreadClock>>,
    counters: CounterSnapshot,
    /// The counters are those of this window's begin.
    has_counters: bool,
    /// CPUs that the process may use, before the window; empty where that is not known.
    cpus: BTreeSet<u32>,
    start: Option<Edge>,
    end: Option<(Edge, CounterDelta)>,
    /// Resident memory before the workers were there, bytes.
    rss_before_bytes: Option<u64>,
}

impl Edges {
    /// None is known yet; memory for the counters is allocated. `clocks` are those of the workers.
    /// The process had so many resident bytes before.
    pub fn new(clocks: Vec<Arc<ThreadClock>>, rss_before_bytes: Option<u64>) -> Self {
        Self {
            clocks,
            counters: CounterSnapshot::take(),
            has_counters: false,
            cpus: allowed_cpus().unwrap_or_default(),
            start: None,
            end: None,
            rss_before_bytes,
        }
    }

    /// The window begins in [`AHEAD_NS`]: reads the host.
    pub fn prepare(&mut self) {
        self.counters.retake();
        self.has_counters = true;
    }

    /// Whether [`Edges::prepare`] has been called.
    pub fn is_prepared(&self) -> bool {
        self.has_counters
    }

    /// The window begins now. The host is read first, so that reading it is not in the process' cost.
    pub fn begin(&mut self) {
        if !self.has_counters {
            self.prepare();
        }
        self.start = Some(Edge::take(&self.clocks));
    }

    /// The window will begin at `start_ns`, and until then nothing happens: a load that has begun
    /// would be missed.
    pub fn begin_before(&mut self, start_ns: u64) {
        self.begin();
        if let Some(edge) = &mut self.start {
            edge.at_ns = start_ns;
        }
    }

    /// The workers' own readings at the edges of their window: nearer than what another thread can
    /// take, above all in a run that counts, whose end nobody else sees.
    pub fn correct(&mut self, start: Option<ProcessReading>, end: Option<ProcessReading>) {
        if let (Some(edge), Some(process)) = (&mut self.start, start) {
            edge.process = process;
        }
        if let (Some((edge, _)), Some(process)) = (&mut self.end, end) {
            edge.process = process;
        }
    }

    /// The window ends now, unless it has ended before.
    pub fn end(&mut self) {
        if self.start.is_some() && self.end.is_none() {
            let edge = Edge::take(&self.clocks);
            let after = CounterSnapshot::take();
            self.end = Some((edge, CounterDelta::between(&self.counters, &after)));
        }
    }

    pub fn has_begun(&self) -> bool {
        self.start.is_some()
    }

    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// First and last instant, if both are known.
    pub fn instants_ns(&self) -> Option<(u64, u64)> {
        let start_ns = self.start.as_ref()?.at_ns;
        Some((start_ns, self.end.as_ref()?.0.at_ns.max(start_ns)))
    }

    /// CPU time of each worker's thread in the window, ns; `None` where it is not known.
    pub fn threads_cpu_ns(&self) -> Vec<Option<u64>> {
        let (Some(start), Some((end, _))) = (&self.start, &self.end) else {
            return vec![None; self.clocks.len()];
        };
        let pairs = start.threads_ns.iter().zip(&end.threads_ns);
        pairs
            .map(|(before, after)| Some((*after)?.saturating_sub((*before)?)))
            .collect()
    }

    /// The CPU time of the busiest of these threads as a share of the window.
    pub fn busiest_share(&self, threads_ns: &[Option<u64>]) -> Option<Finite> {
        let (start_ns, end_ns) = self.instants_ns()?;
        let busiest_ns = threads_ns.iter().flatten().max()?;
        Finite::ratio(*busiest_ns as f64, (end_ns - start_ns) as f64)
    }

    /// The CPUs of the process have become other ones since the agent was prepared: somebody has
    /// changed its cpuset, and with it where the threads run.
    pub fn other_cpus(&self) -> Option<Message> {
        let now = allowed_cpus().unwrap_or_default();
        if self.cpus == now || self.cpus.is_empty() || now.is_empty() {
            return None;
        }
        let text = format!(
            "the CPUs that the process may use were {} before the window and are {} after it",
            format_cpu_list(&self.cpus),
            format_cpu_list(&now)
        );
        let cure = "leave its cpuset alone while it measures, and run again";
        Some(Message::new("cpus_changed", text).with_cure(cure))
    }

    /// What the host did.
    pub fn activity(&self) -> CounterDelta {
        match &self.end {
            Some((_, delta)) => delta.clone(),
            None => CounterDelta {
                unknown: vec![Unknown::new("cpu", NEVER_BEGAN)],
                ..CounterDelta::default()
            },
        }
    }

    /// What the process cost. `syscalls` is what the engine counted, or why it did not.
    pub fn cost(&self, syscalls: Result<u64, String>) -> ProcessCost {
        let mut unknown = Vec::new();
        let max_rss_bytes = super::limits::max_rss_bytes()
            .map_err(|why| unknown.push(Unknown::new("max_rss_bytes", why)))
            .ok();
        let syscalls = syscalls
            .map_err(|why| unknown.push(Unknown::new("syscalls", why)))
            .ok();
        let (Some(start), Some((end, _))) = (&self.start, &self.end) else {
            unknown.extend(Unknown::all(&EDGE_FIELDS, NEVER_BEGAN));
            return ProcessCost {
                max_rss_bytes,
                syscalls,
                unknown,
                ..ProcessCost::default()
            };
        };
        let (before, after) = (&start.process.usage, &end.process.usage);
        let between = |before: u64, after: u64| Some(after.saturating_sub(before));
        ProcessCost {
            cpu_ns: between(start.process.cpu_ns, end.process.cpu_ns),
            user_tick_sampled_ns: between(before.user_ns, after.user_ns),
            system_tick_sampled_ns: between(before.system_ns, after.system_ns),
            voluntary_context_switches: between(
                before.voluntary_switches,
                after.voluntary_switches,
            ),
            involuntary_context_switches: between(
                before.involuntary_switches,
                after.involuntary_switches,
            ),
            syscalls,
            max_rss_bytes,
            rss_before_bytes: self.rss_before_bytes,
            unknown,
        }
    }
}

/// Why there are no samples.
pub(super) const NEVER_BEGAN: &str = "the measured window never began";

const EDGE_FIELDS: [&str; 5] = [
    "cpu_ns",
    "user_tick_sampled_ns",
    "system_tick_sampled_ns",
    "voluntary_context_switches",
    "involuntary_context_switches",
];

/// Sums over the workers' published counters.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    operations: u64,
    bytes_sent: u64,
    bytes_received: u64,
    errors: u64,
    connections_started: u64,
    connections_lost: u64,
    latency_sum_ns: u64,
}

/// Cuts the window into intervals: the first begins where the window does, the last ends where it
/// does, and their sum is what the window has. Workers publish what belongs to the window and nothing
/// else, so that all of them begin at zero.
#[derive(Debug)]
pub(super) struct Series {
    workers: Vec<Arc<Published>>,
    length_ns: u64,
    window_start_ns: u64,
    /// Opening connections is what the window is about.
    counts_connections: bool,
    last_at_ns: u64,
    last: Sums,
    /// Connections that were lost in the window, once it is over and they are held.
    lost_in_window: Option<u64>,
    intervals: Vec<Interval>,
}

impl Series {
    pub fn new(
        workers: Vec<Arc<Published>>,
        length_ns: u64,
        window_start_ns: u64,
        counts_connections: bool,
    ) -> Self {
        Self {
            workers,
            counts_connections,
            length_ns,
            window_start_ns,
            last_at_ns: window_start_ns,
            last: Sums::default(),
            lost_in_window: None,
            intervals: Vec::new(),
        }
    }

    /// When the running interval is over, monotonic ns. Intervals end at multiples of their length and
    /// not when the last sample happened to be taken; multiples that have passed unseen, because the
    /// agent did not run, are in one long interval.
    pub fn next_ns(&self) -> u64 {
        let passed = (self.last_at_ns - self.window_start_ns) / self.length_ns;
        self.window_start_ns
            .saturating_add(self.length_ns.saturating_mul(passed + 1))
    }

    /// Ends the running interval; `None` if it has no length.
    pub fn cut(&mut self) -> Option<Interval> {
        self.cut_at(now_ns())
    }

    fn cut_at(&mut self, at_ns: u64) -> Option<Interval> {
        let (sums, latency_max_ns) = self.read();
        if at_ns <= self.last_at_ns {
            return None;
        }
        let interval = self.interval(at_ns, sums, latency_max_ns);
        (self.last, self.last_at_ns) = (sums, at_ns);
        self.intervals.push(interval);
        Some(interval)
    }

    /// The window is over and the workers have returned with `recorded`: ends the last interval at the
    /// window's end, with what is left of the totals. Returns what has passed since the last cut.
    pub fn finish(&mut self, recorded: &Recorded) -> Option<Interval> {
        let (published, latency_max_ns) = self.read();
        if recorded.window_start_ns == u64::MAX || recorded.window_end_ns <= self.window_start_ns {
            return None;
        }
        let end_ns = recorded.window_end_ns;
        let mut last = self.interval(end_ns.max(self.last_at_ns), published, latency_max_ns);
        let told = |pick: fn(&Interval) -> u64| self.intervals.iter().map(pick).sum::<u64>();
        last.operations = recorded
            .operations
            .saturating_sub(told(|one| one.operations));
        last.bytes_sent = recorded
            .bytes_sent
            .saturating_sub(told(|one| one.bytes_sent));
        last.bytes_received = recorded
            .bytes_received
            .saturating_sub(told(|one| one.bytes_received));
        last.errors = recorded
            .errors_total()
            .saturating_sub(told(|one| one.errors));
        (self.last, self.last_at_ns) = (published, end_ns);
        if last.length_ns > 0 {
            self.intervals.push(last);
            return Some(last);
        }
        self.end_earlier(end_ns, &last);
        None
    }

    /// The window had ended before the last cut: what was cut later belongs to the interval in which it
    /// ended, and so does what is `left`.
    fn end_earlier(&mut self, end_ns: u64, left: &Interval) {
        let end_offset_ns = end_ns - self.window_start_ns;
        let begins_inside = |interval: &Interval| interval.start_offset_ns < end_offset_ns;
        let inside = self
            .intervals
            .iter()
            .take_while(|one| begins_inside(one))
            .count();
        let beyond = self
            .intervals
            .split_off(inside.max(1).min(self.intervals.len()));
        let Some(last) = self.intervals.last_mut() else {
            return;
        };
        for part in beyond.iter().chain([left]) {
            last.operations += part.operations;
            last.bytes_sent += part.bytes_sent;
            last.bytes_received += part.bytes_received;
            last.errors += part.errors;
            last.connections_started += part.connections_started;
            last.connections_lost += part.connections_lost;
            last.latency_max_ns = last.latency_max_ns.max(part.latency_max_ns);
        }
        last.length_ns = end_offset_ns.saturating_sub(last.start_offset_ns);
    }

    /// What has passed since the last cut, up to `at_ns`.
    fn interval(&self, at_ns: u64, sums: Sums, latency_max_ns: u64) -> Interval {
        let operations = sums.operations.saturating_sub(self.last.operations);
        let latency_ns = sums.latency_sum_ns.wrapping_sub(self.last.latency_sum_ns);
        let timed = latency_max_ns > 0;
        Interval {
            start_offset_ns: self.last_at_ns - self.window_start_ns,
            length_ns: at_ns - self.last_at_ns,
            operations,
            bytes_sent: sums.bytes_sent.saturating_sub(self.last.bytes_sent),
            bytes_received: sums.bytes_received.saturating_sub(self.last.bytes_received),
            errors: sums.errors.saturating_sub(self.last.errors),
            latency_mean_ns: Finite::ratio(latency_ns as f64, operations as f64).filter(|_| timed),
            latency_max_ns: timed.then_some(latency_max_ns),
            connections_started: sums.connections_started - self.last.connections_started,
            connections_lost: sums.connections_lost - self.last.connections_lost,
        }
    }

    /// Connections that are established or have failed, of those that are opened once.
    pub fn settled(&self) -> u64 {
        let sums = self.read_without_latency();
        sums.operations + sums.errors
    }

    /// The window is over, and connections are held: what is lost from now on is not the window's.
    pub fn hold(&mut self) {
        self.lost_in_window = Some(self.read_without_latency().connections_lost);
    }

    /// Connections that are held, and that have been lost so far.
    pub fn held(&self) -> (u64, u64) {
        let sums = self.read_without_latency();
        let standing = sums.operations.saturating_sub(sums.connections_lost);
        (standing, sums.connections_lost)
    }

    pub fn into_intervals(self) -> Vec<Interval> {
        self.intervals
    }

    fn read(&self) -> (Sums, u64) {
        let largest = |worker: &Arc<Published>| worker.latency_max_ns.swap(0, Relaxed);
        let latency_max_ns = self.workers.iter().map(largest).max();
        let mut sums = self.read_without_latency();
        sums.connections_lost = self.lost_in_window.unwrap_or(sums.connections_lost);
        (sums, latency_max_ns.unwrap_or(0))
    }

    /// The sums; the largest latency is left for the next interval.
    fn read_without_latency(&self) -> Sums {
        let mut sums = Sums::default();
        for worker in &self.workers {
            sums.operations += worker.operations.load(Relaxed);
            sums.bytes_sent += worker.bytes_sent.load(Relaxed);
            sums.bytes_received += worker.bytes_received.load(Relaxed);
            sums.errors += worker.errors.load(Relaxed);
            if self.counts_connections {
                sums.connections_started += worker.connections_started.load(Relaxed);
                sums.connections_lost += worker.connections_lost.load(Relaxed);
            }
            sums.latency_sum_ns = sums
                .latency_sum_ns
                .wrapping_add(worker.latency_sum_ns.load(Relaxed));
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A series of 1 ms that began at 5 ms, and its worker.
    fn series() -> (Arc<Published>, Series) {
        let worker = Arc::new(Published::default());
        let series = Series::new(vec![Arc::clone(&worker)], MS, 5 * MS, true);
        (worker, series)
    }

    /// A record of a window of `length_ns` with so many operations.
    fn recorded(length_ns: u64, operations: u64) -> Recorded {
        let mut recorded = Recorded::new();
        recorded.window_start_ns = 5 * MS;
        recorded.window_end_ns = 5 * MS + length_ns;
        recorded.operations = operations;
        recorded
    }

    /// Start, length and operations of each.
    fn shape(intervals: &[Interval]) -> Vec<(u64, u64, u64)> {
        let of = |one: &Interval| (one.start_offset_ns, one.length_ns, one.operations);
        intervals.iter().map(of).collect()
    }

    #[test]
    fn intervals_are_differences_and_keep_their_own_largest_latency() {
        let (worker, mut series) = series();
        assert_eq!(series.next_ns(), 6 * MS);
        worker.operations.store(2, Relaxed);
        worker.latency_sum_ns.store(30, Relaxed);
        worker.latency_max_ns.store(20, Relaxed);
        let first = series.cut_at(6 * MS + 7).unwrap();
        assert_eq!((first.operations, first.latency_max_ns), (2, Some(20)));
        assert_eq!(first.latency_mean_ns, Finite::new(15.0));
        assert_eq!((first.start_offset_ns, first.length_ns), (0, MS + 7));
        assert_eq!(series.next_ns(), 7 * MS, "late once is not late for ever");
        let second = series.cut_at(7 * MS).unwrap();
        assert_eq!((second.operations, second.latency_max_ns), (0, None));
        assert_eq!(series.cut_at(7 * MS), None);
    }

    #[test]
    fn a_pause_of_the_agent_is_one_long_interval() {
        let (worker, mut series) = series();
        series.cut_at(6 * MS);
        worker.operations.store(9, Relaxed);
        series.cut_at(36 * MS + 5);
        assert_eq!(series.next_ns(), 37 * MS);
        series.finish(&recorded(32 * MS, 11));
        let found = series.into_intervals();
        assert_eq!(
            shape(&found),
            [(0, MS, 0), (MS, 30 * MS + 5, 9), (31 * MS + 5, MS - 5, 2)]
        );
    }

    #[test]
    fn the_last_interval_ends_with_the_window_and_brings_the_rest() {
        let (worker, mut series) = series();
        worker.operations.store(3, Relaxed);
        series.cut_at(6 * MS);
        let last = series.finish(&recorded(MS + 500, 10)).unwrap();
        assert_eq!(
            (last.start_offset_ns, last.length_ns, last.operations),
            (MS, 500, 7)
        );
        assert_eq!(series.intervals.len(), 2);
    }

    #[test]
    fn what_was_cut_after_the_windows_end_belongs_to_where_it_ended() {
        let (worker, mut series) = series();
        worker.operations.store(3, Relaxed);
        series.cut_at(6 * MS);
        worker.operations.store(5, Relaxed);
        series.cut_at(7 * MS);
        series.cut_at(8 * MS);
        assert_eq!(series.finish(&recorded(MS + 200, 6)), None);
        assert_eq!(shape(&series.into_intervals()), [(0, MS, 3), (MS, 200, 3)]);
    }

    #[test]
    fn a_window_that_never_began_has_no_intervals() {
        let (_, mut series) = series();
        assert_eq!(series.finish(&Recorded::new()), None);
        assert_eq!(series.into_intervals(), []);
    }

    #[test]
    fn the_busiest_thread_is_known_apart() {
        let mut edges = Edges::new(Vec::new(), None);
        edges.begin_before(now_ns() - 100 * MS);
        edges.end();
        let share = edges
            .busiest_share(&[Some(MS), None, Some(50 * MS)])
            .unwrap();
        assert!((0.4..=0.5).contains(&share.get()), "{share:?}");
        assert_eq!(edges.busiest_share(&[None]), None);
    }

    #[test]
    fn what_the_workers_read_themselves_counts() {
        let reading = |cpu_ns| {
            Some(ProcessReading {
                cpu_ns,
                ..ProcessReading::default()
            })
        };
        let mut edges = Edges::new(Vec::new(), None);
        edges.begin_before(now_ns() + 1_000_000_000);
        edges.end();
        edges.correct(reading(1_000), reading(1_700));
        assert_eq!(edges.cost(Ok(1)).cpu_ns, Some(700));
        edges.correct(None, None);
        assert_eq!(edges.cost(Ok(1)).cpu_ns, Some(700), "nothing to correct");
    }

    #[test]
    fn a_window_costs_what_was_used_in_it() {
        let mut edges = Edges::new(Vec::new(), None);
        edges.end();
        assert!(!edges.has_ended(), "what has not begun cannot end");
        assert_eq!(edges.cost(Ok(1)).unknown.len(), 5);
        edges.begin();
        let mut sum = 0u64;
        for i in 0..3_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(i));
        }
        edges.end();
        let cost = edges.cost(Err("not counted".into()));
        assert!(cost.cpu_ns.unwrap() > 0 && cost.syscalls.is_none());
        let (start, end) = edges.instants_ns().unwrap();
        assert!(start < end && edges.activity().length_ns > 0);
    }
}

//! Samples at the edges of the window and of its intervals. Light: the kernel's counters are read
//! twice per round, an interval costs a few loads.

use crate::host::{CounterDelta, CounterSnapshot};
use engine::clock::now_ns;
use engine::meter::{ProcessReading, Published};
use report::document::{Finite, Interval, ProcessCost, Unknown};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What the process had used when the window began or ended.
#[derive(Debug)]
pub(super) struct Edge {
    /// When it was taken, monotonic ns.
    pub at_ns: u64,
    process: ProcessReading,
}

impl Edge {
    fn take() -> Self {
        Self {
            at_ns: now_ns(),
            process: ProcessReading::take(),
        }
    }
}

/// Both edges of a window.
#[derive(Debug)]
pub(super) struct Edges {
    counters: CounterSnapshot,
    start: Option<Edge>,
    end: Option<(Edge, CounterDelta)>,
}

impl Edges {
    /// None is known yet; memory for the counters is allocated.
    pub fn new() -> Self {
        Self {
            counters: CounterSnapshot::take(),
            start: None,
            end: None,
        }
    }

    /// The window begins now. The host is read first, so that reading it is not in the process' cost.
    pub fn begin(&mut self) {
        self.counters.retake();
        self.start = Some(Edge::take());
    }

    /// The window will begin at `start_ns`, and until then nothing happens. Reading takes about a
    /// millisecond, in which a load that has begun would be missed.
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
            let edge = Edge::take();
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
    latency_sum_ns: u64,
}

/// Cuts the window into intervals.
#[derive(Debug)]
pub(super) struct Series {
    workers: Vec<Arc<Published>>,
    length_ns: u64,
    window_start_ns: u64,
    last_at_ns: u64,
    last: Sums,
    intervals: Vec<Interval>,
}

impl Series {
    pub fn new(workers: Vec<Arc<Published>>, length_ns: u64) -> Self {
        Self {
            workers,
            length_ns,
            window_start_ns: 0,
            last_at_ns: 0,
            last: Sums::default(),
            intervals: Vec::new(),
        }
    }

    /// The window begins now.
    pub fn begin(&mut self, window_start_ns: u64) {
        self.window_start_ns = window_start_ns;
        self.last_at_ns = now_ns().max(window_start_ns);
        (self.last, _) = self.read();
    }

    /// When the running interval is over, monotonic ns. Intervals end at multiples of their length
    /// and not when the last sample happened to be taken.
    pub fn next_ns(&self) -> u64 {
        self.window_start_ns.saturating_add(
            self.length_ns
                .saturating_mul(self.intervals.len() as u64 + 1),
        )
    }

    /// Ends the running interval; `None` if it has no length.
    pub fn cut(&mut self) -> Option<Interval> {
        let at_ns = now_ns();
        let (sums, latency_max_ns) = self.read();
        let length_ns = at_ns.saturating_sub(self.last_at_ns);
        if length_ns == 0 {
            return None;
        }
        let operations = sums.operations - self.last.operations;
        let latency_ns = sums.latency_sum_ns.wrapping_sub(self.last.latency_sum_ns);
        let timed = latency_max_ns > 0;
        let interval = Interval {
            start_offset_ns: self.last_at_ns.saturating_sub(self.window_start_ns),
            length_ns,
            operations,
            bytes_sent: sums.bytes_sent - self.last.bytes_sent,
            bytes_received: sums.bytes_received - self.last.bytes_received,
            errors: sums.errors - self.last.errors,
            latency_mean_ns: Finite::ratio(latency_ns as f64, operations as f64).filter(|_| timed),
            latency_max_ns: timed.then_some(latency_max_ns),
        };
        (self.last, self.last_at_ns) = (sums, at_ns);
        self.intervals.push(interval);
        Some(interval)
    }

    pub fn into_intervals(self) -> Vec<Interval> {
        self.intervals
    }

    fn read(&self) -> (Sums, u64) {
        let mut sums = Sums::default();
        let mut latency_max_ns = 0;
        for worker in &self.workers {
            sums.operations += worker.operations.load(Relaxed);
            sums.bytes_sent += worker.bytes_sent.load(Relaxed);
            sums.bytes_received += worker.bytes_received.load(Relaxed);
            sums.errors += worker.errors.load(Relaxed);
            sums.latency_sum_ns = sums
                .latency_sum_ns
                .wrapping_add(worker.latency_sum_ns.load(Relaxed));
            latency_max_ns = latency_max_ns.max(worker.latency_max_ns.swap(0, Relaxed));
        }
        (sums, latency_max_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_differences_and_keep_their_own_largest_latency() {
        let worker = Arc::new(Published::default());
        let mut series = Series::new(vec![Arc::clone(&worker)], 1_000_000);
        worker.operations.store(5, Relaxed);
        worker.latency_max_ns.store(99, Relaxed);
        series.begin(now_ns());
        assert_eq!(series.next_ns(), series.window_start_ns + 1_000_000);
        worker.operations.store(7, Relaxed);
        worker.latency_sum_ns.store(30, Relaxed);
        worker.latency_max_ns.store(20, Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(1));
        let first = series.cut().unwrap();
        assert_eq!((first.operations, first.latency_max_ns), (2, Some(20)));
        assert_eq!(first.latency_mean_ns, Finite::new(15.0));
        std::thread::sleep(std::time::Duration::from_millis(1));
        let second = series.cut().unwrap();
        assert_eq!((second.operations, second.latency_max_ns), (0, None));
        assert_eq!(
            second.start_offset_ns,
            first.start_offset_ns + first.length_ns
        );
        assert_eq!(series.into_intervals().len(), 2);
    }

    #[test]
    fn what_the_workers_read_themselves_counts() {
        let reading = |cpu_ns| {
            Some(ProcessReading {
                cpu_ns,
                ..ProcessReading::default()
            })
        };
        let mut edges = Edges::new();
        edges.begin_before(now_ns() + 1_000_000_000);
        edges.end();
        edges.correct(reading(1_000), reading(1_700));
        assert_eq!(edges.cost(Ok(1)).cpu_ns, Some(700));
        edges.correct(None, None);
        assert_eq!(edges.cost(Ok(1)).cpu_ns, Some(700), "nothing to correct");
    }

    #[test]
    fn a_window_costs_what_was_used_in_it() {
        let mut edges = Edges::new();
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

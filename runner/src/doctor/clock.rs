//! What reading the clock and sleeping cost here.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use engine::clock::now_ns;
use report::document::Finite;

const BATCHES: usize = 101;
const READS_PER_BATCH: u32 = 2000;
const SLEEPS: usize = 200;
const SLEEP: Duration = Duration::from_micros(100);

/// What one read of the clock that measures latency costs, ns: the median of batches, so that an interruption
/// does not count.
pub fn read_cost_ns() -> Option<Finite> {
    let mut batches: Vec<u64> = (0..BATCHES)
        .map(|_| {
            let started = now_ns();
            for _ in 0..READS_PER_BATCH {
                black_box(now_ns());
            }
            now_ns() - started
        })
        .collect();
    let median = median_ns(&mut batches);
    (median > 0)
        .then(|| Finite::ratio(median as f64, f64::from(READS_PER_BATCH)))
        .flatten()
}

/// The smallest difference of two reads one after the other that is not nothing, ns.
pub fn smallest_step_ns() -> u64 {
    let mut smallest = u64::MAX;
    let mut last = now_ns();
    let deadline = last + Duration::from_millis(20).as_nanos() as u64;
    while last < deadline {
        let now = now_ns();
        if now > last {
            smallest = smallest.min(now - last);
        }
        last = now;
    }
    smallest
}

/// By how much sleeps end late, ns: median and 99th percentile.
pub fn sleep_lateness_ns() -> (u64, u64) {
    let mut late: Vec<u64> = (0..SLEEPS)
        .map(|_| {
            let started = Instant::now();
            thread::sleep(SLEEP);
            let slept = started.elapsed().saturating_sub(SLEEP);
            u64::try_from(slept.as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    let median = median_ns(&mut late);
    // Nearest rank; the median left them sorted.
    (median, late[SLEEPS * 99 / 100 - 1])
}

fn median_ns(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

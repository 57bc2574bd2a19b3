//! The hot path allocates nothing: a counting allocator, and every engine under load.
//!
//! One process, one test: the counter counts every thread, so nothing else may run beside.

use engine::driver::Driver;
use engine::session::How;
use engine::shape::{Pace, Queue};
use engine::workload::{Direction, LoadSpec, ServeSpec};
use linerate_tests::load::{Plan, echo, rr, stream, with};
use linerate_tests::testee::Testee;
use linerate_tests::variants::VARIANTS;
use linerate_tests::{Family, drivers, within};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts, and leaves the work to the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; `memory` came from the same allocator.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`; `memory` came from the same allocator.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Both sides together may allocate this often in the observed time, whatever the operations:
/// a queue that grows once more, a histogram that is taken.
const ALLOWED: u64 = 24;

/// The workload whose connections share a queue.
const ONE_QUEUE: &str = "rr, open loop with one queue";

/// The workload whose every event is recorded. Nobody takes them: what finds no room allocates nothing either.
const RECORDED: &str = "rr, recorded";

fn workloads() -> Vec<(&'static str, LoadSpec, ServeSpec)> {
    let role = ServeSpec::Rr {
        request_bytes: 100,
        response_bytes: 1_000,
        close_after: None,
        how: How::Fin,
    };
    let source = |message_bytes| ServeSpec::Source { message_bytes };
    let duplex = |message_bytes| ServeSpec::Duplex { message_bytes };
    vec![
        ("rr", rr(100, 1_000), role.clone()),
        (RECORDED, rr(100, 1_000), role.clone()),
        ("echo", echo(1_024), ServeSpec::Echo),
        (
            "echo, deep and large",
            with(echo(60_000), 4, Pace::Closed),
            ServeSpec::Echo,
        ),
        (
            "rr, open loop",
            with(rr(100, 1_000), 1, Pace::Constant(5_000.0)),
            role.clone(),
        ),
        (
            ONE_QUEUE,
            with(rr(100, 1_000), 1, Pace::Constant(5_000.0)),
            role,
        ),
        (
            "stream, send",
            stream(Direction::Send, 65_536),
            ServeSpec::Discard,
        ),
        (
            "stream, receive",
            stream(Direction::Receive, 65_536),
            source(65_536),
        ),
        (
            "stream, both",
            stream(Direction::Both, 65_536),
            duplex(65_536),
        ),
    ]
}

/// A line on what was seen, and whether it was too much.
fn observe(
    driver: &'static dyn Driver,
    name: &str,
    spec: LoadSpec,
    role: ServeSpec,
) -> (String, bool) {
    let testee = Testee::start(driver, Family::Tcp4, role);
    let mut plan = Plan::new(driver, &testee.address, spec)
        .connections(8)
        .duration_ms(300);
    plan.warmup = Duration::from_millis(150);
    if name == ONE_QUEUE {
        plan.queue = Queue::Shared;
    }
    if name == RECORDED {
        plan.event_record = Some(Arc::default());
    }
    let running = plan.begin().expect("it runs");
    std::thread::sleep(Duration::from_millis(200));
    let operations = || {
        running
            .published
            .iter()
            .map(|p| p.operations.load(Relaxed))
            .sum::<u64>()
    };
    let (allocated, done) = (ALLOCATIONS.load(Relaxed), operations());
    std::thread::sleep(Duration::from_millis(200));
    let (allocated, done) = (ALLOCATIONS.load(Relaxed) - allocated, operations() - done);
    // On a busy machine arrivals of the last milliseconds may be left over: no matter here.
    let recorded = running.join().expect("it ran").recorded;
    assert_eq!(recorded.errors_total(), 0, "{:?}", recorded.error_texts);
    let line = format!(
        "{} {name}: {allocated} allocations for {done} operations",
        driver.name()
    );
    assert!(done >= 100, "{line}: too few to judge");
    (line, allocated > ALLOWED)
}

/// What variants of an engine run, of all workloads.
const IN_SHORT: [&str; 3] = ["rr", "echo", "stream, both"];

#[test]
fn nothing_is_allocated_per_operation() {
    within(250, || {
        let engines = drivers().into_iter().map(|driver| (driver.name(), true));
        let variants = VARIANTS.iter().map(|variant| (variant.name, false));
        let mut too_many = Vec::new();
        for (engine, in_full) in engines.chain(variants) {
            let Some(driver) = linerate_tests::driver(engine) else {
                continue;
            };
            let mut workloads = workloads();
            workloads.retain(|(name, ..)| in_full || IN_SHORT.contains(name));
            for (name, spec, role) in workloads {
                let observe = || observe(driver, name, spec.clone(), role.clone());
                let (line, mut bad) = observe();
                println!("{line}");
                if bad {
                    // A pause of a busy machine lets queues grow beyond what the warm-up has seen, once;
                    // what is allocated per operation is allocated every time.
                    let (line, again) = observe();
                    println!("{line} (again)");
                    bad = again;
                }
                if bad {
                    too_many.push(line);
                }
            }
        }
        assert!(too_many.is_empty(), "{too_many:#?}");
    });
}

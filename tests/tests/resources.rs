//! Descriptors, threads and CPU time: what the engines take of the process, and give back.
//!
//! These tests look at the whole process, so one runs at a time.

use engine::driver::Driver;
use engine::session::How;
use engine::workload::{Closer, ServeSpec};
use linerate_tests::load::{Plan, echo, transaction};
use linerate_tests::process::{Kept, first_line};
use linerate_tests::raw::Conn;
use linerate_tests::testee::Testee;
use linerate_tests::{Family, eventually};
use std::fs;
use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

linerate_tests::for_every_engine!(
    alone:
    ten_thousand_short_connections_leave_no_descriptor_behind,
    lost_connections_leave_no_descriptor_behind,
    no_kernel_worker_threads_are_made,
    out_of_descriptors_backs_off_without_spinning,
);

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The threads of the running test: an engine's are named after it, or inherit this one's name.
/// Other tests have threads, too, that wait for their turn.
fn own_threads(driver: &'static dyn Driver) -> usize {
    let own = fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    let is_own = |name: &String| *name == own || name.trim_end() == driver.name();
    threads().iter().filter(|name| is_own(name)).count()
}

fn threads() -> Vec<String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .collect()
}

fn ten_thousand_short_connections_leave_no_descriptor_behind(driver: &'static dyn Driver) {
    let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Echo);
    let once = || {
        let conn = Conn::to(&testee.address);
        conn.say(b"x");
        conn.hear(1);
        conn.reset();
    };
    (0..10).for_each(|_| once());
    let closed = || testee.total(|counters| &counters.closed);
    assert!(eventually(Duration::from_secs(5), || closed() == 10));
    let (before, threads_before) = (descriptors(), own_threads(driver));
    (0..10_000).for_each(|_| once());
    assert!(
        eventually(Duration::from_secs(10), || closed() == 10_010),
        "{} closed",
        closed()
    );
    assert_eq!(testee.total(|counters| &counters.accepted), 10_010);
    assert!(
        eventually(Duration::from_secs(2), || descriptors() <= before),
        "{} descriptors, {before} before",
        descriptors()
    );
    // `blocking` keeps a few threads that wait for the next connection, however many there were.
    let kept = if driver.name() == "blocking" { 16 } else { 0 };
    let no_more = || own_threads(driver) <= threads_before + kept;
    assert!(
        eventually(Duration::from_secs(2), no_more),
        "{:?}",
        threads()
    );
    testee.stop();
}

fn lost_connections_leave_no_descriptor_behind(driver: &'static dyn Driver) {
    let before = descriptors();
    for how in [How::Fin, How::Rst] {
        let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Echo);
        let spec = transaction(Some((1, 1)), Closer::Client, how);
        let loaded = Plan::new(driver, &testee.address, spec)
            .connections(8)
            .count(2_000)
            .run();
        assert_eq!(
            loaded.recorded.errors_total(),
            0,
            "{:?}",
            loaded.recorded.error_texts
        );
        // A load whose testee goes away in the middle.
        let plan = Plan::new(driver, &testee.address, echo(1_000))
            .connections(20)
            .duration_ms(200);
        let running = plan.begin().expect("it runs");
        std::thread::sleep(Duration::from_millis(50));
        testee.control.order_all(engine::control::Order::Abort);
        let loaded = running.join().expect("it ran");
        assert!(
            loaded.recorded.errors_total() >= 20,
            "{:?}",
            loaded.recorded.errors
        );
        drop(testee);
    }
    assert!(
        eventually(Duration::from_secs(3), || descriptors() <= before),
        "{} descriptors, {before} before",
        descriptors()
    );
}

/// io_uring hands what it cannot do at once to threads named iou-wrk; our operations all can be.
fn no_kernel_worker_threads_are_made(driver: &'static dyn Driver) {
    for family in [Family::Tcp4, Family::Unix] {
        let testee = Testee::start(driver, family, ServeSpec::Echo);
        for spec in [
            echo(100),
            echo(500_000),
            transaction(Some((9, 9)), Closer::Client, How::Fin),
        ] {
            let plan = Plan::new(driver, &testee.address, spec).connections(10);
            let running = plan.duration_ms(200).begin().expect("it runs");
            std::thread::sleep(Duration::from_millis(150));
            let during = threads();
            running.join().expect("it ran");
            let bad = |names: &[String]| names.iter().any(|name| name.starts_with("iou-wrk"));
            assert!(!bad(&during) && !bad(&threads()), "{during:?}");
        }
        let conn = Conn::to(&testee.address);
        conn.say(&[1; 100_000]);
        conn.finish();
        conn.hear_all();
        assert!(
            !threads().iter().any(|name| name.starts_with("iou-wrk")),
            "{:?}",
            threads()
        );
    }
}

const CHILD_ENGINE: &str = "LINERATE_TEST_CHILD_ENGINE";

/// Not a test of its own: the testee of [`out_of_descriptors_backs_off_without_spinning`], in a
/// process that has few descriptors. Answers each line on its standard input with its counters.
#[test]
fn child_with_few_descriptors() {
    let Ok(name) = std::env::var(CHILD_ENGINE) else {
        return;
    };
    let Some(driver) = linerate_tests::driver(&name) else {
        return;
    };
    let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Echo);
    let address = testee.address.as_socket().expect("TCP");
    println!("\nADDRESS {address}");
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            break;
        }
        let counters = &testee.published[0];
        println!(
            "COUNTERS {} {} {}",
            engine::clock::process_cpu_ns() / 1_000_000,
            counters.accepted.load(Relaxed),
            counters.accept_backoffs.load(Relaxed)
        );
    }
    testee.stop();
}

/// A child testee and the pipes to it.
struct FewDescriptors {
    child: Kept,
    lines: std::io::BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl FewDescriptors {
    fn start(engine: &str) -> Self {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "ulimit -n 64; exec \"$0\" --exact child_with_few_descriptors --nocapture",
            ])
            .arg(std::env::current_exe().expect("the running test"))
            .env(CHILD_ENGINE, engine)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = Kept::start(&mut command);
        let mut lines = child.lines();
        let address = answer(&mut lines, "ADDRESS ").parse().expect("an address");
        Self {
            child,
            lines,
            address,
        }
    }

    /// CPU time in ms, connections accepted, backoffs.
    fn counters(&mut self) -> (u64, u64, u64) {
        let stdin = self.child.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"\n").expect("the child reads");
        let line = answer(&mut self.lines, "COUNTERS ");
        let numbers: Vec<u64> = line
            .split(' ')
            .map(|n| n.parse().expect("a number"))
            .collect();
        (numbers[0], numbers[1], numbers[2])
    }
}

fn answer(lines: &mut impl BufRead, prefix: &str) -> String {
    loop {
        if let Some(rest) = first_line(lines).strip_prefix(prefix) {
            return rest.to_owned();
        }
    }
}

fn echoes(conn: &mut TcpStream) -> bool {
    conn.write_all(b"x").is_ok() && conn.read(&mut [0; 1]).is_ok_and(|length| length == 1)
}

fn out_of_descriptors_backs_off_without_spinning(driver: &'static dyn Driver) {
    let mut few = FewDescriptors::start(driver.name());
    let address = few.address;
    let mut conns: Vec<_> = (0..120)
        .map(|_| TcpStream::connect(address).expect("the backlog takes it"))
        .collect();
    for conn in &conns {
        conn.set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout");
    }
    assert!(
        eventually(Duration::from_secs(5), || few.counters().2 > 0),
        "it is counted"
    );
    assert!(echoes(&mut conns[0]), "those that were accepted are served");
    let (cpu_before, accepted, backoffs) = few.counters();
    assert!(
        (20..64).contains(&accepted),
        "{accepted} accepted with 64 descriptors"
    );
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let (cpu_after, _, backoffs_after) = few.counters();
    let (cpu_ms, seconds) = (cpu_after - cpu_before, begun.elapsed().as_secs_f64());
    assert!(
        (cpu_ms as f64) < 150.0 * seconds,
        "{cpu_ms} ms of CPU in {seconds:.1} s of waiting"
    );
    let tries = backoffs_after - backoffs;
    assert!(
        tries <= (60.0 * seconds) as u64,
        "{tries} tries in {seconds:.1} s"
    );
    // Places become free: those who waited are served.
    conns.drain(..90);
    assert!(
        conns.iter_mut().all(echoes),
        "it recovers when descriptors are there again"
    );
    drop(few.child.child.stdin.take());
    let status = few.child.wait(Duration::from_secs(10));
    assert!(status.success(), "{status}");
}

//! Whole drivers against each other, as an agent uses them: every engine of this crate as load and
//! as testee, over TCP and Unix sockets.

use engine::control::{Control, Order};
use engine::driver::{Driver, LoadJob, LoadOutcome, ServeJob, ServeLimits, ServeOutcome};
use engine::endpoint::Target;
use engine::load::{Rules, Share};
use engine::meter::{ErrorKind, Published, ServePublished};
use engine::session::How;
use engine::shape::{POISSON_SEED, Pace, Ramp, Stop};
use engine::socket::{self, SocketOptions};
use engine::workload::{Closer, Direction, LoadSpec, ServeSpec};
use engine_kqueue::{BLOCKING, EPOLL, KQUEUE};
use socket2::SockAddr;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MS: u64 = 1_000_000;

/// The readiness driver of this system, and blocking.
fn drivers() -> [&'static dyn Driver; 2] {
    if cfg!(target_os = "linux") {
        [&EPOLL, &BLOCKING]
    } else {
        [&KQUEUE, &BLOCKING]
    }
}

struct Testee {
    address: SockAddr,
    control: Arc<Control>,
    published: Arc<ServePublished>,
    thread: JoinHandle<ServeOutcome>,
}

impl Testee {
    fn start(driver: &'static dyn Driver, spec: ServeSpec) -> Self {
        let any: SockAddr = "127.0.0.1:0".parse::<SocketAddr>().unwrap().into();
        Self::start_on(driver, spec, &any)
    }

    fn start_on(driver: &'static dyn Driver, spec: ServeSpec, address: &SockAddr) -> Self {
        let options = SocketOptions {
            nodelay: true,
            ..SocketOptions::default()
        };
        let listener = socket::listen(address, 1024, false, true, &options).unwrap();
        let address = socket::local_address(listener.as_fd()).unwrap();
        let control = Arc::new(Control::default());
        let published = Arc::<ServePublished>::default();
        let job = ServeJob {
            worker: 0,
            control: Arc::clone(&control),
            wake: control.seat().unwrap(),
            published: Arc::clone(&published),
            spec,
            listener: Some(listener),
            handoff: None,
            socket: options,
            limits: ServeLimits {
                connections: 512,
                idle_timeout_ns: None,
                one_off: false,
                drain_ns: 300 * MS,
            },
            expected_connections: None,
            expected_message_bytes: None,
            engine_options: Vec::new(),
        };
        let thread = std::thread::spawn(move || driver.serve(job).unwrap());
        control.wait_ready(1, Duration::from_secs(5)).unwrap();
        Self {
            address,
            control,
            published,
            thread,
        }
    }

    fn stop(self) -> ServeOutcome {
        self.control.order_all(Order::Stop);
        let outcome = self.thread.join().unwrap();
        let (accepted, closed) = (&self.published.accepted, &self.published.closed);
        assert_eq!(accepted.load(Relaxed), closed.load(Relaxed), "all are gone");
        outcome
    }
}

struct Load {
    driver: &'static dyn Driver,
    spec: LoadSpec,
    connections: u32,
    stop: Stop,
    operation_timeout_ns: u64,
    /// Order this so long after the go.
    order: Option<(Order, Duration)>,
}

impl Load {
    fn new(driver: &'static dyn Driver, spec: LoadSpec, connections: u32) -> Self {
        Self {
            driver,
            spec,
            connections,
            stop: Stop::After(200 * MS),
            operation_timeout_ns: 5_000 * MS,
            order: None,
        }
    }

    fn run(self, address: &SockAddr) -> LoadOutcome {
        let control = Arc::new(Control::default());
        let published = Arc::<Published>::default();
        let job = LoadJob {
            worker: 0,
            control: Arc::clone(&control),
            wake: control.seat().unwrap(),
            published: Arc::clone(&published),
            event_record: None,
            spec: self.spec,
            rules: Rules {
                target: Target {
                    addresses: vec![address.clone()],
                    sources: Vec::new(),
                    spread: 1,
                },
                share: Share {
                    first: 0,
                    count: self.connections,
                    total: self.connections,
                },
                ramp: Ramp::AtOnce,
                connects_at_once: engine::load::CONNECTS_AT_ONCE,
                closing: Ramp::AtOnce,
                queue: engine::shape::Queue::Own,
                poisson_seed: POISSON_SEED,
                warmup_ns: 30 * MS,
                stop: self.stop,
                connect_timeout_ns: 3_000 * MS,
                operation_timeout_ns: self.operation_timeout_ns,
                drain_ns: 400 * MS,
            },
            socket: SocketOptions {
                nodelay: true,
                ..SocketOptions::default()
            },
            engine_options: Vec::new(),
        };
        let driver = self.driver;
        let thread = std::thread::spawn(move || driver.load(job).unwrap());
        control.wait_ready(1, Duration::from_secs(5)).unwrap();
        control.go(engine::clock::now_ns() + 5 * MS);
        if let Some((order, after)) = self.order {
            std::thread::sleep(after);
            control.order_all(order);
        }
        let outcome = thread.join().unwrap();
        let recorded = &outcome.recorded;
        if matches!(self.stop, Stop::After(_)) && recorded.operations > 0 {
            assert!(published.operations.load(Relaxed) >= recorded.operations);
        }
        outcome
    }
}

fn rr(request: u32, response: u32) -> (LoadSpec, ServeSpec) {
    let load = LoadSpec::RequestResponse {
        request_bytes: request,
        response_bytes: response,
        depth: 1,
        pace: Pace::Closed,
        verify: false,
        echo: false,
    };
    let serve = ServeSpec::Rr {
        request_bytes: request,
        response_bytes: response,
        close_after: None,
        how: How::Fin,
    };
    (load, serve)
}

fn echo(bytes: u32, depth: u32, pace: Pace) -> LoadSpec {
    LoadSpec::RequestResponse {
        request_bytes: bytes,
        response_bytes: bytes,
        depth,
        pace,
        verify: true,
        echo: true,
    }
}

/// Nothing failed, and something was done.
fn assert_clean(outcome: &LoadOutcome, what: &str) {
    let recorded = &outcome.recorded;
    assert_eq!(
        recorded.errors_total(),
        0,
        "{what}: {:?}",
        recorded.error_texts
    );
    assert_eq!(
        recorded.errors_before_window, 0,
        "{what}: {:?}",
        recorded.error_texts
    );
    assert!(recorded.operations > 0, "{what}: nothing was done");
    assert!(!recorded.interrupted, "{what}");
    assert!(outcome.backend.as_ref().unwrap().system_calls > 0, "{what}");
}

fn everywhere(serve: &ServeSpec, load: &LoadSpec, connections: u32) {
    everywhere_until(Stop::After(200 * MS), serve, load, connections);
}

fn everywhere_until(stop: Stop, serve: &ServeSpec, load: &LoadSpec, connections: u32) {
    for testee_driver in drivers() {
        let testee = Testee::start(testee_driver, serve.clone());
        for driver in drivers() {
            let what = format!("{} -> {}", driver.name(), testee_driver.name());
            let mut load = Load::new(driver, load.clone(), connections);
            load.stop = stop;
            let outcome = load.run(&testee.address);
            assert_clean(&outcome, &what);
        }
        testee.stop();
    }
}

#[test]
fn request_response() {
    let (load, serve) = rr(1, 1);
    everywhere(&serve, &load, 1);
    let (load, serve) = rr(100, 70_000);
    everywhere(&serve, &load, 8);
}

#[test]
fn echo_is_verified_also_when_larger_than_all_buffers() {
    everywhere(&ServeSpec::Echo, &echo(1_000, 4, Pace::Closed), 8);
    // Megabytes each way: who only writes until it is written blocks both sides for ever.
    let large = echo(8 << 20, 1, Pace::Closed);
    // A count, because how long that takes is the machine's affair.
    everywhere_until(Stop::Count(4), &ServeSpec::Echo, &large, 2);
}

#[test]
fn streams_flow_in_all_directions() {
    for (direction, serve) in [
        (Direction::Send, ServeSpec::Discard),
        (
            Direction::Receive,
            ServeSpec::Source {
                message_bytes: 65_536,
            },
        ),
        (
            Direction::Both,
            ServeSpec::Duplex {
                message_bytes: 65_536,
            },
        ),
    ] {
        let load = LoadSpec::Stream {
            direction,
            message_bytes: 65_536,
            bitrate_bits_per_second: None,
        };
        everywhere(&serve, &load, 2);
    }
}

#[test]
fn paced_streams_keep_their_rate() {
    let load = LoadSpec::Stream {
        direction: Direction::Send,
        message_bytes: 10_000,
        bitrate_bits_per_second: Some(8e6),
    };
    for driver in drivers() {
        let testee = Testee::start(&BLOCKING, ServeSpec::Discard);
        let outcome = Load::new(driver, load.clone(), 2).run(&testee.address);
        assert_clean(&outcome, driver.name());
        // 1 MB/s for 200 ms are 20 messages; staggering may shift one into or out of the window.
        let operations = outcome.recorded.operations;
        assert!(
            (17..=22).contains(&operations),
            "{}: {operations}",
            driver.name()
        );
        testee.stop();
    }
}

#[test]
fn transactions_come_and_go() {
    for (exchange, closer, how) in [
        (Some((16, 16)), Closer::Client, How::Fin),
        (Some((16, 16)), Closer::Client, How::Rst),
        (Some((16, 16)), Closer::Server, How::Fin),
        (None, Closer::Client, How::Fin),
    ] {
        let serve = ServeSpec::Rr {
            request_bytes: 16,
            response_bytes: 16,
            close_after: (closer == Closer::Server).then_some(1),
            how,
        };
        let load = LoadSpec::Transaction {
            exchange,
            pace: Pace::Closed,
            closer,
            how,
        };
        everywhere(&serve, &load, 4);
    }
}

#[test]
fn open_loop_keeps_its_schedule() {
    for pace in [Pace::Constant(500.0), Pace::Poisson(500.0)] {
        for driver in drivers() {
            let testee = Testee::start(drivers()[0], ServeSpec::Echo);
            let outcome = Load::new(driver, echo(100, 1, pace), 4).run(&testee.address);
            assert_clean(&outcome, driver.name());
            let recorded = &outcome.recorded;
            assert!(
                (60..=140).contains(&recorded.operations),
                "{}",
                recorded.operations
            );
            assert!(recorded.response.len() >= 60 && recorded.lag.len() >= 60);
            assert!(recorded.response.max() >= recorded.service.min());
            testee.stop();
        }
    }
    let transactions = LoadSpec::Transaction {
        exchange: Some((1, 1)),
        pace: Pace::Constant(200.0),
        closer: Closer::Client,
        how: How::Fin,
    };
    for driver in drivers() {
        let (_, serve) = rr(1, 1);
        let testee = Testee::start(&BLOCKING, serve);
        let outcome = Load::new(driver, transactions.clone(), 3).run(&testee.address);
        assert_clean(&outcome, driver.name());
        assert!(
            (30..=45).contains(&outcome.recorded.operations),
            "{}",
            driver.name()
        );
        testee.stop();
    }
}

#[test]
fn a_run_that_counts_makes_that_many() {
    let (spec, serve) = rr(10, 10);
    for driver in drivers() {
        let testee = Testee::start(&BLOCKING, serve.clone());
        let mut load = Load::new(driver, spec.clone(), 3);
        load.stop = Stop::Count(1_000);
        let outcome = load.run(&testee.address);
        assert_clean(&outcome, driver.name());
        // One operation a connection may be sent after the window opened and before that was seen.
        let operations = outcome.recorded.service.len();
        assert!(
            (1_000..=1_003).contains(&operations),
            "{}: {operations}",
            driver.name()
        );
        testee.stop();
    }
}

#[test]
fn unix_sockets_carry_the_same() {
    let path = std::env::temp_dir().join(format!("linerate-drivers-{}", std::process::id()));
    for testee_driver in drivers() {
        let address = SockAddr::unix(&path).unwrap();
        let testee = Testee::start_on(testee_driver, ServeSpec::Echo, &address);
        for driver in drivers() {
            let outcome = Load::new(driver, echo(100_000, 1, Pace::Closed), 4).run(&testee.address);
            assert_clean(&outcome, driver.name());
        }
        testee.stop();
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_stop_ends_early_and_is_marked() {
    for driver in drivers() {
        for pace in [Pace::Closed, Pace::Constant(2.0)] {
            let testee = Testee::start(&BLOCKING, ServeSpec::Echo);
            let mut load = Load::new(driver, echo(10, 1, pace), 2);
            load.stop = Stop::After(60_000 * MS);
            load.order = Some((Order::Stop, Duration::from_millis(150)));
            let started = Instant::now();
            let outcome = load.run(&testee.address);
            assert!(
                started.elapsed() < Duration::from_secs(2),
                "{}",
                driver.name()
            );
            assert!(outcome.recorded.interrupted);
            assert_eq!(
                outcome.recorded.errors_total(),
                0,
                "{:?}",
                outcome.recorded.error_texts
            );
            testee.stop();
        }
    }
}

#[test]
fn silence_is_a_timeout_and_what_is_left_is_unfinished() {
    for driver in drivers() {
        let testee = Testee::start(&BLOCKING, ServeSpec::Discard);
        let (spec, _) = rr(1, 1);
        let mut load = Load::new(driver, spec.clone(), 2);
        load.operation_timeout_ns = 60 * MS;
        let recorded = load.run(&testee.address).recorded;
        assert!(
            recorded.errors[ErrorKind::Timeout as usize] >= 2,
            "{}",
            driver.name()
        );
        assert_eq!(recorded.operations, 0);

        let mut load = Load::new(driver, spec, 2);
        load.stop = Stop::After(100 * MS);
        load.operation_timeout_ns = 5_000 * MS;
        let recorded = load.run(&testee.address).recorded;
        assert_eq!(recorded.errors_total(), 0, "{:?}", recorded.error_texts);
        assert!(recorded.unfinished.count <= 2);
        testee.stop();
    }
}

#[test]
fn a_peer_that_refuses_is_the_peers_failure() {
    for driver in drivers() {
        let (spec, serve) = rr(1, 1);
        let testee = Testee::start(&BLOCKING, serve);
        let address = testee.address.clone();
        testee.stop();
        let control = Arc::new(Control::default());
        let job = LoadJob {
            worker: 0,
            wake: control.seat().unwrap(),
            control,
            published: Arc::default(),
            event_record: None,
            spec,
            rules: Rules {
                target: Target {
                    addresses: vec![address],
                    sources: Vec::new(),
                    spread: 1,
                },
                share: Share {
                    first: 0,
                    count: 4,
                    total: 4,
                },
                ramp: Ramp::AtOnce,
                connects_at_once: engine::load::CONNECTS_AT_ONCE,
                closing: Ramp::AtOnce,
                queue: engine::shape::Queue::Own,
                poisson_seed: POISSON_SEED,
                warmup_ns: 0,
                stop: Stop::After(MS),
                connect_timeout_ns: 1_000 * MS,
                operation_timeout_ns: 1_000 * MS,
                drain_ns: MS,
            },
            socket: SocketOptions::default(),
            engine_options: Vec::new(),
        };
        let error = driver.load(job).unwrap_err();
        assert!(
            matches!(error, engine::driver::EngineError::Peer(_)),
            "{error}"
        );
        assert!(
            error.to_string().contains("connect to tcp://127.0.0.1:"),
            "{error}"
        );
    }
}

#[test]
fn blocking_refuses_what_it_cannot_do() {
    let refused = BLOCKING
        .check_load(&echo(1, 2, Pace::Constant(10.0)))
        .unwrap_err();
    assert!(refused.contains("--depth 1"), "{refused}");
    assert!(BLOCKING.check_load(&echo(1, 2, Pace::Closed)).is_ok());
    assert!(
        BLOCKING
            .check_load(&echo(1, 1, Pace::Constant(10.0)))
            .is_ok()
    );
}

#[test]
fn an_operation_costs_no_more_calls_than_it_must() {
    let (spec, serve) = rr(1, 1);
    let testee = Testee::start(&BLOCKING, serve);
    // A send and a receive; with readiness a wait as well. The rest is the edges of the window.
    for (driver, most) in drivers().into_iter().zip([3.1, 2.1]) {
        let outcome = Load::new(driver, spec.clone(), 1).run(&testee.address);
        let calls = outcome.backend.unwrap().system_calls as f64;
        let each = calls / outcome.recorded.operations as f64;
        assert!(each <= most, "{}: {each} calls an operation", driver.name());
    }
    testee.stop();
}

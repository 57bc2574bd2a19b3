//! The engine as a driver: both sides on io_uring, through the one worker loop, every workload.
#![cfg(target_os = "linux")]

use engine::clock::now_ns;
use engine::control::{Control, Order};
use engine::driver::{Driver, LoadJob, LoadOutcome, Probe, ServeJob, ServeLimits, ServeOutcome};
use engine::endpoint::Target;
use engine::load::{Rules, Share};
use engine::meter::ServePublished;
use engine::session::How;
use engine::shape::{POISSON_SEED, Pace, Ramp, Stop};
use engine::socket::{SocketOptions, listen, local_address};
use engine::workload::{Closer, Direction, LoadSpec, ServeSpec};
use engine_uring::URING;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

const WINDOW_NS: u64 = 200_000_000;

/// Runs `load` against `serve` over `address`; the outcomes of both, or `None` without io_uring.
fn run(
    address: socket2::SockAddr,
    serve: ServeSpec,
    load: LoadSpec,
    connections: u32,
) -> Option<(LoadOutcome, ServeOutcome, Arc<ServePublished>)> {
    if let Probe::Limited { reason, .. } | Probe::Unavailable { reason, .. } = URING.probe() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let listener = listen(&address, 1024, false, false, &SocketOptions::default()).unwrap();
    let address = local_address(listener.as_fd()).unwrap();
    let (serving, published) = (
        Arc::new(Control::default()),
        Arc::new(ServePublished::default()),
    );
    let server = {
        let job = ServeJob {
            worker: 0,
            control: serving.clone(),
            wake: serving.seat().unwrap(),
            published: published.clone(),
            spec: serve,
            listener: Some(listener),
            handoff: None,
            socket: SocketOptions::default(),
            limits: ServeLimits {
                connections: 256,
                idle_timeout_ns: None,
                one_off: false,
                drain_ns: 500_000_000,
            },
            expected_connections: Some(connections),
            expected_message_bytes: None,
            engine_options: Vec::new(),
        };
        thread::spawn(move || URING.serve(job).unwrap())
    };
    let loading = Arc::new(Control::default());
    let loader = {
        let job = LoadJob {
            worker: 0,
            control: loading.clone(),
            wake: loading.seat().unwrap(),
            published: Arc::default(),
            event_record: None,
            spec: load,
            rules: Rules {
                target: Target {
                    addresses: vec![address],
                    sources: Vec::new(),
                    spread: 1,
                },
                share: Share {
                    first: 0,
                    count: connections,
                    total: connections,
                },
                ramp: Ramp::AtOnce,
                connects_at_once: engine::load::CONNECTS_AT_ONCE,
                closing: Ramp::AtOnce,
                queue: engine::shape::Queue::Own,
                poisson_seed: POISSON_SEED,
                warmup_ns: 10_000_000,
                stop: Stop::After(WINDOW_NS),
                connect_timeout_ns: 5_000_000_000,
                operation_timeout_ns: 5_000_000_000,
                drain_ns: 1_000_000_000,
            },
            socket: SocketOptions::default(),
            engine_options: Vec::new(),
        };
        thread::spawn(move || URING.load(job).unwrap())
    };
    loading.wait_ready(1, Duration::from_secs(10)).unwrap();
    loading.go(now_ns() + 1_000_000);
    let loaded = loader.join().unwrap();
    serving.order_all(Order::Stop);
    let served = server.join().unwrap();
    Some((loaded, served, published))
}

fn tcp() -> socket2::SockAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()
}

fn check(outcome: &LoadOutcome) {
    let recorded = &outcome.recorded;
    assert!(
        recorded.errors.iter().all(|&count| count == 0),
        "{:?}",
        recorded.error_texts
    );
    assert!(
        recorded.operations > 0 || recorded.bytes_sent + recorded.bytes_received > 0,
        "{recorded:?}"
    );
    let backend = outcome.backend.as_ref().unwrap();
    assert!(
        backend.system_calls > 0 && backend.completion_overflows == 0,
        "{backend:?}"
    );
    assert!(
        outcome
            .features
            .iter()
            .any(|(name, _)| name == "ring_flags")
    );
}

fn echo(depth: u32, bytes: u32) -> LoadSpec {
    LoadSpec::RequestResponse {
        request_bytes: bytes,
        response_bytes: bytes,
        depth,
        pace: Pace::Closed,
        verify: true,
        echo: true,
    }
}

#[test]
fn echoes_of_all_sizes_come_back_byte_for_byte() {
    for (connections, depth, bytes) in [(1, 1, 1), (16, 4, 1000), (3, 2, 300_000), (64, 1, 64)] {
        let Some((loaded, ..)) = run(tcp(), ServeSpec::Echo, echo(depth, bytes), connections)
        else {
            return;
        };
        check(&loaded);
        assert!(
            loaded.recorded.operations >= 5,
            "{connections} x {depth} x {bytes}: {:?}",
            loaded.recorded.operations
        );
    }
}

/// A request and its reply cost the testee one system call: the one that waits for the request takes
/// the reply to the one before along.
#[test]
fn a_reply_costs_the_testee_no_call_of_its_own() {
    let rr = LoadSpec::RequestResponse {
        request_bytes: 1,
        response_bytes: 1,
        depth: 1,
        pace: Pace::Closed,
        verify: true,
        echo: false,
    };
    let role = ServeSpec::Rr {
        request_bytes: 1,
        response_bytes: 1,
        close_after: None,
        how: How::Fin,
    };
    for (serve, load) in [(role, rr), (ServeSpec::Echo, echo(1, 1))] {
        let Some((loaded, served, published)) = run(tcp(), serve, load, 1) else {
            return;
        };
        check(&loaded);
        let requests = published.bytes_received.load(Relaxed);
        assert_eq!(published.bytes_sent.load(Relaxed), requests);
        let calls = served.backend.unwrap().system_calls;
        assert!(
            requests > 100 && calls < requests + requests / 4 + 20,
            "{calls} system calls for {requests} requests"
        );
    }
}

#[test]
fn streams_flow_both_ways() {
    for (direction, serve) in [
        (Direction::Send, ServeSpec::Discard),
        (
            Direction::Receive,
            ServeSpec::Source {
                message_bytes: 128 * 1024,
            },
        ),
        (
            Direction::Both,
            ServeSpec::Duplex {
                message_bytes: 128 * 1024,
            },
        ),
    ] {
        let load = LoadSpec::Stream {
            direction,
            message_bytes: 128 * 1024,
            bitrate_bits_per_second: None,
        };
        let Some((loaded, ..)) = run(tcp(), serve, load, 4) else {
            return;
        };
        check(&loaded);
        let (sent, received) = (loaded.recorded.bytes_sent, loaded.recorded.bytes_received);
        assert_eq!(sent > 1_000_000, direction != Direction::Receive, "{sent}");
        assert_eq!(
            received > 1_000_000,
            direction != Direction::Send,
            "{received}"
        );
    }
}

#[test]
fn transactions_connect_and_close_over_and_over() {
    for closer in [Closer::Client, Closer::Server] {
        let close_after = (closer == Closer::Server).then_some(1);
        let serve = ServeSpec::Rr {
            request_bytes: 16,
            response_bytes: 32,
            close_after,
            how: How::Rst,
        };
        let load = LoadSpec::Transaction {
            exchange: Some((16, 32)),
            pace: Pace::Closed,
            closer,
            how: How::Rst,
        };
        let Some((loaded, _, published)) = run(tcp(), serve, load, 8) else {
            return;
        };
        if closer == Closer::Client {
            check(&loaded);
        }
        assert!(
            loaded.recorded.operations > 100,
            "{:?}",
            loaded.recorded.operations
        );
        assert!(published.closed.load(Relaxed) > 100);
    }
}

#[test]
fn unix_sockets_echo_and_reconnect() {
    let path =
        std::env::temp_dir().join(format!("linerate-uring-driver-{}.sock", std::process::id()));
    let address = socket2::SockAddr::unix(&path).unwrap();
    let outcome = run(address.clone(), ServeSpec::Echo, echo(2, 5000), 8);
    let _ = std::fs::remove_file(&path);
    let Some((loaded, ..)) = outcome else { return };
    check(&loaded);
    let serve = ServeSpec::Rr {
        request_bytes: 1,
        response_bytes: 1,
        close_after: None,
        how: How::Fin,
    };
    let load = LoadSpec::Transaction {
        exchange: Some((1, 1)),
        pace: Pace::Closed,
        closer: Closer::Client,
        how: How::Fin,
    };
    let outcome = run(address, serve, load, 8);
    let _ = std::fs::remove_file(&path);
    check(&outcome.unwrap().0);
}

#[test]
fn an_unknown_option_is_refused_before_anything_starts() {
    let control = Arc::new(Control::default());
    let job = ServeJob {
        worker: 0,
        control: control.clone(),
        wake: control.seat().unwrap(),
        published: Arc::default(),
        spec: ServeSpec::Echo,
        listener: None,
        handoff: None,
        socket: SocketOptions::default(),
        limits: ServeLimits {
            connections: 1,
            idle_timeout_ns: None,
            one_off: false,
            drain_ns: 0,
        },
        expected_connections: None,
        expected_message_bytes: None,
        engine_options: vec![("speed".into(), "11".into())],
    };
    let error = URING.serve(job).unwrap_err().to_string();
    assert!(error.contains("'speed'"), "{error}");
}

//! The load's requests and responses, against servers that know nothing of it.

use engine::control::Order;
use engine::driver::Driver;
use engine::shape::Pace;
use engine::socket::SocketOptions;
use linerate_tests::load::{Plan, echo, rr, with};
use linerate_tests::raw::{self, Server};
use linerate_tests::{Family, each_family, eventually};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

linerate_tests::for_every_engine!(
    echo_compares_every_byte,
    a_count_is_exact_and_nothing_more_is_sent,
    a_duration_is_kept,
    several_workers_share_the_connections,
    depth_keeps_so_many_in_flight,
    a_stop_ends_the_window_early_and_says_so,
    warm_up_is_not_measured,
    socket_options_and_source_addresses_are_kept,
);

linerate_tests::for_every_variant!(
    echo_compares_every_byte,
    a_count_is_exact_and_nothing_more_is_sent,
    depth_keeps_so_many_in_flight,
);

fn echo_compares_every_byte(driver: &'static dyn Driver) {
    each_family(|family| {
        let server = Server::start(family, raw::echo);
        for (bytes, count) in [(1, 300), (1_000, 300), (300_000, 20), (1 << 20, 5)] {
            let loaded = Plan::new(driver, &server.address, echo(bytes))
                .count(count)
                .run();
            loaded.assert_clean();
            let recorded = &loaded.recorded;
            assert_eq!(
                (recorded.operations, recorded.service.len()),
                (count, count)
            );
            let moved = count * u64::from(bytes);
            assert_eq!(
                (recorded.bytes_sent, recorded.bytes_received),
                (moved, moved)
            );
        }
        let loaded = Plan::new(driver, &server.address, echo(3_000))
            .connections(20)
            .count(600)
            .run();
        loaded.assert_clean();
        assert_eq!((loaded.recorded.operations, loaded.opened()), (600, 20));
        assert!(
            eventually(Duration::from_secs(5), || server.open() == 0),
            "all were closed"
        );
    });
}

fn a_count_is_exact_and_nothing_more_is_sent(driver: &'static dyn Driver) {
    each_family(|family| {
        let requests = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&requests);
        let server = Server::start(family, move |conn, _| {
            raw::answer(&conn, 10, |_, _| {
                seen.fetch_add(1, SeqCst);
                Some(vec![1; 7])
            });
        });
        for (connections, count) in [(1, 1), (8, 3), (8, 100), (3, 1_000)] {
            requests.store(0, SeqCst);
            let plan = Plan::new(driver, &server.address, rr(10, 7));
            let loaded = plan.connections(connections).count(count).run();
            loaded.assert_clean();
            assert_eq!(loaded.recorded.operations, count);
            assert_eq!(
                requests.load(SeqCst),
                count,
                "nothing is sent that is not counted"
            );
        }
    });
}

fn a_duration_is_kept(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    let begun = Instant::now();
    let loaded = Plan::new(driver, &server.address, echo(100))
        .connections(4)
        .duration_ms(300)
        .run();
    loaded.assert_clean();
    assert!(
        (0.295..0.4).contains(&loaded.window_seconds()),
        "{}",
        loaded.window_seconds()
    );
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(loaded.recorded.operations > 100 && !loaded.recorded.interrupted);
}

fn several_workers_share_the_connections(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    let mut plan = Plan::new(driver, &server.address, echo(100))
        .connections(7)
        .count(701);
    plan.workers = 3;
    let loaded = plan.run();
    loaded.assert_clean();
    assert_eq!(
        (loaded.outcomes.len(), loaded.opened(), server.accepted()),
        (3, 7, 7)
    );
    assert_eq!(loaded.recorded.operations, 701);
}

fn depth_keeps_so_many_in_flight(driver: &'static dyn Driver) {
    each_family(|family| {
        // Answers only whole batches of 8: with fewer in flight it would never answer, and the
        // sum of what it has not answered never exceeds the depth.
        let most = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&most);
        let server = Server::start(family, move |conn, _| {
            let mut waiting = 0;
            let mut block = [0; 8_192];
            while let Ok(length @ 1..) = (&conn.0).read(&mut block) {
                waiting += length;
                seen.fetch_max(waiting as u64, SeqCst);
                let whole = waiting - waiting % 800;
                waiting -= whole;
                if whole > 0 && (&conn.0).write_all(&vec![5; whole]).is_err() {
                    return;
                }
            }
        });
        let spec = with(rr(100, 100), 8, Pace::Closed);
        let loaded = Plan::new(driver, &server.address, spec).count(800).run();
        loaded.assert_clean();
        assert_eq!(loaded.recorded.operations, 800);
        assert_eq!(most.load(SeqCst), 800, "at most the depth is in flight");
    });
}

fn a_stop_ends_the_window_early_and_says_so(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    let plan = Plan::new(driver, &server.address, echo(100))
        .connections(3)
        .duration_ms(20_000);
    let running = plan.begin().expect("it runs");
    std::thread::sleep(Duration::from_millis(300));
    let ordered = Instant::now();
    running.control.order_all(Order::Stop);
    let loaded = running.join().expect("it ran");
    assert!(
        ordered.elapsed() < Duration::from_secs(2),
        "{:?}",
        ordered.elapsed()
    );
    loaded.assert_clean();
    assert!(loaded.recorded.interrupted);
    assert!(
        (0.25..2.0).contains(&loaded.window_seconds()),
        "{}",
        loaded.window_seconds()
    );
    assert!(loaded.recorded.operations > 0);
}

fn warm_up_is_not_measured(driver: &'static dyn Driver) {
    // The first 300 ms of every connection are slow.
    let server = Server::start(Family::Tcp4, |conn, _| {
        let begun = Instant::now();
        raw::answer(&conn, 1, |_, _| {
            if begun.elapsed() < Duration::from_millis(300) {
                std::thread::sleep(Duration::from_millis(50));
            }
            Some(vec![1])
        });
    });
    let mut plan = Plan::new(driver, &server.address, rr(1, 1))
        .connections(2)
        .count(500);
    plan.warmup = Duration::from_millis(400);
    let loaded = plan.run();
    loaded.assert_clean();
    assert_eq!(loaded.recorded.service.len(), 500);
    assert_eq!(loaded.recorded.operations, 500);
    assert!(
        loaded.recorded.service.value_at_quantile(0.99) < 50_000_000,
        "answers of the warm-up were measured"
    );
}

fn socket_options_and_source_addresses_are_kept(driver: &'static dyn Driver) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let from = Arc::clone(&seen);
    let server = Server::start(Family::Tcp4, move |conn, number| {
        let peer = conn.0.peer_addr().expect("connected").as_socket();
        from.lock().expect("no panic").push(peer.expect("TCP").ip());
        raw::echo(conn, number);
    });
    // All of 127/8 is this host on Linux; elsewhere only what an interface has.
    let all_are_here = std::net::TcpListener::bind("127.0.0.7:0").is_ok();
    let last = if all_are_here { [7, 8] } else { [1, 1] };
    let sources: Vec<SocketAddr> = last.map(|last| ([127, 0, 0, last], 0).into()).to_vec();
    let mut plan = Plan::new(driver, &server.address, echo(5_000));
    plan.sources.clone_from(&sources);
    plan.socket = SocketOptions {
        nodelay: true,
        send_buffer_bytes: Some(50_000),
        receive_buffer_bytes: Some(30_000),
        ..SocketOptions::default()
    };
    let loaded = plan.connections(4).count(100).run();
    loaded.assert_clean();
    let granted = loaded.outcomes[0].granted.as_ref().expect("read back");
    // Linux doubles them for its bookkeeping; others may round.
    let about = |bytes: Option<u64>, asked: u64| {
        bytes.is_some_and(|bytes| (asked..=3 * asked).contains(&bytes))
    };
    assert!(about(granted.send_buffer_bytes, 50_000), "{granted:?}");
    assert!(about(granted.receive_buffer_bytes, 30_000), "{granted:?}");
    assert_eq!(granted.nodelay, Some(true));
    let mut seen = seen.lock().expect("no panic").clone();
    seen.sort();
    let twice: Vec<_> = sources
        .iter()
        .flat_map(|source| [source.ip(), source.ip()])
        .collect();
    assert_eq!(seen, twice, "connections take the sources in turn");
}

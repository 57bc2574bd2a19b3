//! The load's streams, against servers that know nothing of it.

use engine::driver::Driver;
use engine::meter::ErrorKind;
use engine::workload::{Direction, LoadSpec};
use linerate_tests::load::{Plan, stream};
use linerate_tests::raw::{Conn, Server};
use linerate_tests::{Family, each_family, eventually};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

linerate_tests::for_every_engine!(
    send_is_what_arrives,
    receive_is_what_was_sent,
    both_ways_at_once,
    a_bitrate_is_kept,
    a_reader_that_stops_is_a_timeout,
    a_source_that_ends_is_an_error,
    a_count_is_kept_in_every_direction,
    a_count_is_given_up_when_nothing_comes,
);

/// Reads and counts.
fn sink(conn: &Conn, count: &AtomicU64) {
    let mut block = vec![0; 256 * 1024];
    while let Ok(length @ 1..) = (&conn.0).read(&mut block) {
        count.fetch_add(length as u64, SeqCst);
    }
}

/// Sends until the peer is gone.
fn pour(conn: &Conn, count: &AtomicU64) {
    let block = vec![3; 64 * 1024];
    while let Ok(length) = (&conn.0).write(&block) {
        count.fetch_add(length as u64, SeqCst);
    }
}

fn send_is_what_arrives(driver: &'static dyn Driver) {
    each_family(|family| {
        let arrived = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&arrived);
        let server = Server::start(family, move |conn, _| sink(&conn, &count));
        for message_bytes in [1_000, 128 * 1024, 1 << 20] {
            arrived.store(0, SeqCst);
            let plan = Plan::new(
                driver,
                &server.address,
                stream(Direction::Send, message_bytes),
            );
            let loaded = plan.connections(2).duration_ms(200).run();
            loaded.assert_clean();
            assert!(
                eventually(Duration::from_secs(5), || server.open() == 0),
                "all were closed"
            );
            let (sent, read) = (loaded.recorded.bytes_sent, arrived.load(SeqCst));
            assert!(sent > 1_000_000, "{sent} bytes in 200 ms");
            // Messages belong to the window if they ended in it; some MiB were under way at its end.
            assert!(
                sent <= read + (32 << 20) && read <= sent + (32 << 20),
                "{sent} sent, {read} read"
            );
            let operations = loaded.recorded.operations;
            assert!(operations * u64::from(message_bytes) <= sent + 2 * u64::from(message_bytes));
        }
    });
}

fn receive_is_what_was_sent(driver: &'static dyn Driver) {
    each_family(|family| {
        let poured = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&poured);
        let server = Server::start(family, move |conn, _| pour(&conn, &count));
        let plan = Plan::new(driver, &server.address, stream(Direction::Receive, 65_536));
        let loaded = plan.connections(2).duration_ms(200).run();
        loaded.assert_clean();
        assert!(
            eventually(Duration::from_secs(5), || server.open() == 0),
            "all were closed"
        );
        let (received, sent) = (loaded.recorded.bytes_received, poured.load(SeqCst));
        assert!(
            received > 1_000_000 && received <= sent,
            "{received} received, {sent} sent"
        );
        assert_eq!(loaded.recorded.bytes_sent, 0);
    });
}

fn a_count_is_kept_in_every_direction(driver: &'static dyn Driver) {
    for direction in [Direction::Send, Direction::Receive, Direction::Both] {
        for (count, connections) in [(1, 1), (13, 3)] {
            let server = Server::start(Family::Tcp4, move |conn, _| {
                let reader = conn.again();
                let reader = std::thread::spawn(move || sink(&reader, &AtomicU64::new(0)));
                if direction != Direction::Send {
                    pour(&conn, &AtomicU64::new(0));
                }
                reader.join().expect("the reader");
            });
            let plan = Plan::new(driver, &server.address, stream(direction, 10_000));
            let loaded = plan.connections(connections).count(count).run();
            let recorded = &loaded.recorded;
            assert_eq!(recorded.operations, count, "{direction:?}");
            assert_eq!(recorded.errors_total(), 0, "{:?}", recorded.error_texts);
            assert!(recorded.window_end_ns > recorded.window_start_ns);
        }
    }
}

/// A source that is silent, and one that says too little and goes.
fn a_count_is_given_up_when_nothing_comes(driver: &'static dyn Driver) {
    for says in [0, 10] {
        let server = Server::start(Family::Tcp4, move |conn, _| match says {
            0 => drop(conn.hear_all()),
            _ => drop((&conn.0).write_all(&[1; 10])),
        });
        let mut plan = Plan::new(driver, &server.address, stream(Direction::Receive, 1_000));
        plan.operation_timeout = Duration::from_millis(50);
        plan.connect_timeout = Duration::from_millis(50);
        let loaded = plan.count(5).run();
        let recorded = &loaded.recorded;
        assert!(recorded.interrupted, "{says} bytes");
        assert_eq!(
            (recorded.operations, recorded.unfinished.count),
            (0, 5),
            "{says} bytes"
        );
    }
}

fn both_ways_at_once(driver: &'static dyn Driver) {
    each_family(|family| {
        let server = Server::start(family, |conn, _| {
            let reader = conn.again();
            let reader = std::thread::spawn(move || sink(&reader, &AtomicU64::new(0)));
            pour(&conn, &AtomicU64::new(0));
            reader.join().expect("the reader");
        });
        let plan = Plan::new(driver, &server.address, stream(Direction::Both, 65_536));
        let loaded = plan.duration_ms(300).run();
        loaded.assert_clean();
        let recorded = &loaded.recorded;
        assert!(
            recorded.bytes_sent > 500_000,
            "{} sent",
            recorded.bytes_sent
        );
        assert!(
            recorded.bytes_received > 500_000,
            "{} received",
            recorded.bytes_received
        );
    });
}

fn a_bitrate_is_kept(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, _| sink(&conn, &AtomicU64::new(0)));
    let spec = LoadSpec::Stream {
        direction: Direction::Send,
        message_bytes: 10_000,
        bitrate_bits_per_second: Some(16e6),
    };
    let loaded = Plan::new(driver, &server.address, spec)
        .connections(4)
        .duration_ms(1_000)
        .run();
    loaded.assert_clean();
    // 16 Mbit/s are 2 MB in this second: 200 messages, fixed by the schedule. A busy machine may hold the
    // worker back at the end of the window, so only the upper bound is sharp.
    let sent = loaded.recorded.bytes_sent;
    assert!((1_600_000..=2_050_000).contains(&sent), "{sent} bytes");
}

fn a_reader_that_stops_is_a_timeout(driver: &'static dyn Driver) {
    each_family(|family| {
        let server = Server::start(family, |conn, _| {
            conn.hear(100_000);
            std::thread::sleep(Duration::from_millis(1_500));
        });
        let mut plan = Plan::new(driver, &server.address, stream(Direction::Send, 65_536));
        plan.operation_timeout = Duration::from_millis(200);
        let loaded = plan.duration_ms(1_000).run();
        assert!(
            loaded.errors(ErrorKind::Timeout) >= 1,
            "{:?}",
            loaded.recorded.error_texts
        );
    });
}

fn a_source_that_ends_is_an_error(driver: &'static dyn Driver) {
    each_family(|family| {
        let server = Server::start(family, |conn, _| {
            conn.say(&[1; 100_000]);
            // Before the window begins the end would be a load that cannot start.
            std::thread::sleep(Duration::from_millis(500));
        });
        let plan = Plan::new(driver, &server.address, stream(Direction::Receive, 65_536));
        let loaded = plan.duration_ms(2_000).run();
        assert!(
            loaded.errors(ErrorKind::ClosedEarly) >= 1,
            "{family:?}: {:?}, {} bytes, {} errors before the window, {:?}",
            loaded.recorded.error_texts,
            loaded.recorded.bytes_received,
            loaded.recorded.errors_before_window,
            loaded.outcomes[0]
        );
        assert!(loaded.recorded.bytes_received >= 100_000);
    });
}

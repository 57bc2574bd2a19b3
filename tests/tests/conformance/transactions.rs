//! Connect, (request, response,) close: who closes, and how.

use engine::driver::{Driver, EngineError};
use engine::meter::ErrorKind;
use engine::session::How;
use engine::workload::{Closer, ServeSpec};
use linerate_tests::load::{Plan, transaction};
use linerate_tests::raw::{self, Conn, Server};
use linerate_tests::testee::Testee;
use linerate_tests::{Directory, Family, each_family, eventually};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

linerate_tests::for_every_engine!(
    every_closer_and_every_way,
    a_foreign_server_will_do,
    a_server_that_keeps_open_is_a_timeout,
    a_server_that_says_too_little_or_too_much,
    a_refused_transaction_ends_the_run,
    a_server_that_resets_everything_is_not_hammered,
    a_server_that_takes_one_after_the_other_is_not_kept_waiting,
);

fn a_server_that_resets_everything_is_not_hammered(driver: &'static dyn Driver) {
    for exchange in [None, Some((1, 1))] {
        let server = Server::start(Family::Tcp4, |conn, _| {
            // Long enough for the connect to be seen.
            std::thread::sleep(Duration::from_millis(5));
            conn.reset();
        });
        let spec = transaction(exchange, Closer::Client, How::Fin);
        let loaded = Plan::new(driver, &server.address, spec)
            .duration_ms(500)
            .run();
        let errors = loaded.recorded.errors_total();
        assert!(errors >= 3, "{errors}: {:?}", loaded.recorded.error_texts);
        // It rests 10, 20, 40 ... ms in between.
        assert!(server.accepted() < 20, "{} connections", server.accepted());
    }
}

/// Answers one connection after the other, and takes the next when its peer has closed this one.
fn one_after_the_other(listener: &socket2::Socket, stop: &AtomicBool) {
    while !stop.load(SeqCst) {
        match listener.accept() {
            Ok((socket, _)) => {
                let conn = Conn::of(socket);
                conn.say(&conn.hear(10));
                conn.finish();
                assert_eq!(conn.hear_all(), b"");
            }
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

/// Behind its short backlog connects wait for what somebody else has to close.
fn a_server_that_takes_one_after_the_other_is_not_kept_waiting(driver: &'static dyn Driver) {
    let directory = Directory::new();
    let listener = raw::listen(Family::Tcp4, &directory, 1);
    let address = listener.local_addr().expect("bound");
    listener.set_nonblocking(true).expect("a mode");
    let stop = AtomicBool::new(false);
    let loaded = std::thread::scope(|scope| {
        scope.spawn(|| one_after_the_other(&listener, &stop));
        let spec = transaction(Some((10, 10)), Closer::Server, How::Fin);
        let plan = Plan::new(driver, &address, spec).connections(8).count(100);
        let loaded = plan.try_run();
        stop.store(true, SeqCst);
        loaded
    });
    let loaded = loaded.expect("a load");
    assert_eq!(
        loaded.recorded.operations, 100,
        "{:?}",
        loaded.recorded.error_texts
    );
    loaded.assert_clean();
}

fn role(exchange: Option<(u32, u32)>, closer: Closer, how: How) -> ServeSpec {
    let (request_bytes, response_bytes) = exchange.unwrap_or((1, 1));
    let server_closes = closer == Closer::Server;
    ServeSpec::Rr {
        request_bytes,
        response_bytes,
        close_after: server_closes.then_some(u32::from(exchange.is_some())),
        how,
    }
}

fn every_closer_and_every_way(driver: &'static dyn Driver) {
    each_family(|family| {
        for exchange in [None, Some((1, 1)), Some((100, 30_000))] {
            for closer in [Closer::Client, Closer::Server] {
                for how in [How::Fin, How::Rst] {
                    let what = format!("{family:?} {exchange:?} {closer:?} {how:?}");
                    let testee = Testee::start(driver, family, role(exchange, closer, how));
                    let spec = transaction(exchange, closer, how);
                    let plan = Plan::new(driver, &testee.address, spec);
                    let loaded = plan.connections(3).count(60).run();
                    let recorded = &loaded.recorded;
                    assert_eq!(
                        recorded.errors_total(),
                        0,
                        "{what}: {:?}",
                        recorded.error_texts
                    );
                    assert_eq!(recorded.operations, 60, "{what}");
                    assert_eq!(
                        (recorded.connect.len(), recorded.total.len()),
                        (60, 60),
                        "{what}"
                    );
                    let exchanges = if exchange.is_some() { 60 } else { 0 };
                    assert_eq!(recorded.service.len(), exchanges, "{what}");
                    assert!(recorded.total.max() >= recorded.connect.min(), "{what}");
                    let closed = || testee.total(|counters| &counters.closed);
                    // Reset before it was accepted: ECONNABORTED from accept(2), but on Linux.
                    let reset_in_the_queue = cfg!(not(target_os = "linux"))
                        && exchange.is_none()
                        && (closer, how) == (Closer::Client, How::Rst);
                    let expected = if reset_in_the_queue { 0 } else { 60 };
                    assert!(
                        eventually(Duration::from_secs(5), || closed() >= expected),
                        "{what}"
                    );
                    assert_eq!(
                        testee.total(|counters| &counters.accepted),
                        closed(),
                        "{what}"
                    );
                }
            }
        }
    });
}

fn a_foreign_server_will_do(driver: &'static dyn Driver) {
    each_family(|family| {
        let server = Server::start(family, raw::echo);
        let spec = transaction(Some((64, 64)), Closer::Client, How::Fin);
        let loaded = Plan::new(driver, &server.address, spec)
            .connections(2)
            .count(50)
            .run();
        loaded.assert_clean();
        assert_eq!((loaded.recorded.operations, server.accepted()), (50, 50));
    });
}

fn a_server_that_keeps_open_is_a_timeout(driver: &'static dyn Driver) {
    // It answers and ignores the FIN: netperf would hang for ever.
    let server = Server::start(Family::Tcp4, |conn, _| {
        conn.say(&conn.hear(1));
        std::thread::sleep(Duration::from_secs(2));
    });
    let spec = transaction(Some((1, 1)), Closer::Client, How::Fin);
    let mut plan = Plan::new(driver, &server.address, spec).duration_ms(500);
    plan.operation_timeout = Duration::from_millis(100);
    plan.drain = Duration::from_millis(300);
    let loaded = plan.run();
    assert!(
        loaded.errors(ErrorKind::Timeout) >= 2,
        "{:?}",
        loaded.recorded.error_texts
    );
    assert_eq!(
        loaded.recorded.operations, 0,
        "without a close it is no transaction"
    );
}

fn a_server_that_says_too_little_or_too_much(driver: &'static dyn Driver) {
    each_family(|family| {
        for (said, kind) in [(5, ErrorKind::ClosedEarly), (11, ErrorKind::Long)] {
            let server = Server::start(family, move |conn, _| {
                conn.hear(1);
                conn.say(&vec![1; said]);
            });
            let spec = transaction(Some((1, 10)), Closer::Client, How::Fin);
            let loaded = Plan::new(driver, &server.address, spec).count(20).run();
            assert_eq!(
                loaded.errors(kind),
                20,
                "{said}: {:?}",
                loaded.recorded.error_texts
            );
            assert_eq!(loaded.recorded.operations, 0);
        }
    });
}

fn a_refused_transaction_ends_the_run(driver: &'static dyn Driver) {
    each_family(|family| {
        let directory = Directory::new();
        let address = raw::listen(family, &directory, 1)
            .local_addr()
            .expect("bound");
        let spec = transaction(Some((1, 1)), Closer::Client, How::Fin);
        let error = Plan::new(driver, &address, spec)
            .try_run()
            .expect_err("refused");
        assert!(
            matches!(&error, EngineError::Peer(text) if text.contains("refused")),
            "{error:?}"
        );
    });
}

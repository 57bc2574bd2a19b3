//! The load against servers that refuse, lie, are late or go away.

use engine::driver::{Driver, EngineError};
use engine::meter::ErrorKind;
use engine::session::How;
use engine::workload::{Closer, Direction};
use linerate_tests::load::{Plan, echo, rr, stream, transaction};
use linerate_tests::raw::{self, Conn, Server};
use linerate_tests::{Directory, Family, each_family, eventually};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

linerate_tests::for_every_engine!(
    a_spoiled_echo_is_a_mismatch,
    an_answer_that_never_comes_is_unfinished_with_its_age,
    an_answer_that_takes_too_long_is_a_timeout,
    a_refused_connection_ends_the_run,
    a_connect_that_never_ends_times_out,
    a_peer_that_closes_early_is_an_error_and_the_load_goes_on,
    a_peer_that_resets_is_an_error,
    a_peer_that_sends_too_much_is_an_error,
    what_nobody_asked_for_is_no_answer,
    an_answer_that_is_too_long_is_no_success,
    an_answer_in_part_is_told_from_silence,
    a_connection_lost_before_the_go_is_opened_again,
    a_count_is_given_up_when_the_peer_is_gone,
);

linerate_tests::for_every_variant!(
    a_connect_that_never_ends_times_out,
    a_peer_that_closes_early_is_an_error_and_the_load_goes_on,
    a_peer_that_resets_is_an_error,
);

/// Echoes, and spoils the byte at `at` of each connection in some way.
fn spoil(at: usize, how: u8) -> impl Fn(Conn, u32) {
    move |conn, _| {
        let (mut block, mut seen) = (vec![0; 65_536], 0);
        while let Ok(length @ 1..) = (&conn.0).read(&mut block) {
            let mut bytes = block[..length].to_vec();
            if (seen..seen + length).contains(&at) {
                let offset = at - seen;
                match how {
                    0 => bytes[offset] ^= 1,
                    1 => {
                        bytes.remove(offset);
                    }
                    2 => bytes.insert(offset, 77),
                    _ => {
                        // Two blocks of 512 change places.
                        let from = offset.min(bytes.len().saturating_sub(1_024));
                        bytes[from..(from + 1_024).min(length)].rotate_left(512.min(length / 2));
                    }
                }
            }
            seen += length;
            if (&conn.0).write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

fn a_spoiled_echo_is_a_mismatch(driver: &'static dyn Driver) {
    for how in 0..4 {
        let server = Server::start(Family::Tcp4, spoil(100_500, how));
        let mut plan = Plan::new(driver, &server.address, echo(4_096)).duration_ms(300);
        plan.operation_timeout = Duration::from_millis(100);
        let loaded = plan.run();
        let found = loaded.errors(ErrorKind::Mismatch) + loaded.errors(ErrorKind::Long);
        assert!(
            found >= 1,
            "spoiled in way {how}: {:?}",
            loaded.recorded.error_texts
        );
        assert!(loaded.recorded.operations >= 20, "before it all was well");
    }
}

fn an_answer_that_never_comes_is_unfinished_with_its_age(driver: &'static dyn Driver) {
    each_family(|family| {
        let server = Server::start(family, |conn, _| {
            raw::answer(&conn, 1, |number, _| {
                if number >= 10 {
                    std::thread::sleep(Duration::from_secs(3));
                }
                Some(vec![1])
            });
        });
        let mut plan = Plan::new(driver, &server.address, rr(1, 1))
            .connections(3)
            .duration_ms(300);
        plan.drain = Duration::from_millis(100);
        let loaded = plan.run();
        let recorded = &loaded.recorded;
        assert_eq!((recorded.operations, recorded.errors_total()), (30, 0));
        assert_eq!(
            (recorded.unfinished.count, recorded.unfinished.never_sent),
            (3, 0)
        );
        let age_ms = recorded.unfinished.oldest_age_ns / 1_000_000;
        assert!(
            (250..2_000).contains(&age_ms),
            "sent at the beginning, {age_ms} ms old"
        );
    });
}

fn an_answer_that_takes_too_long_is_a_timeout(driver: &'static dyn Driver) {
    each_family(|family| {
        let server = Server::start(family, |conn, _| {
            raw::answer(&conn, 1, |number, _| {
                if number == 5 {
                    std::thread::sleep(Duration::from_millis(700));
                }
                Some(vec![1])
            });
        });
        let mut plan = Plan::new(driver, &server.address, rr(1, 1)).duration_ms(600);
        plan.operation_timeout = Duration::from_millis(100);
        plan.drain = Duration::from_millis(300);
        let loaded = plan.run();
        let timeouts = loaded.errors(ErrorKind::Timeout);
        assert!(
            (2..=6).contains(&timeouts),
            "{timeouts}: {:?}",
            loaded.recorded.error_texts
        );
        assert_eq!(
            loaded.recorded.failed.len(),
            timeouts,
            "each has a place in the histogram"
        );
        assert!(
            loaded.recorded.failed.min() >= 99_000_000,
            "not before its time"
        );
        assert!(loaded.recorded.operations >= 10, "a new connection goes on");
        assert!(
            loaded.recorded.service.max() < 100_000_000,
            "a failure is not a success"
        );
    });
}

fn a_refused_connection_ends_the_run(driver: &'static dyn Driver) {
    each_family(|family| {
        let directory = Directory::new();
        let address = raw::listen(family, &directory, 1)
            .local_addr()
            .expect("bound");
        let error = Plan::new(driver, &address, rr(1, 1))
            .connections(3)
            .try_run()
            .expect_err("refused");
        assert!(matches!(error, EngineError::Peer(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("refused"), "{text}");
        let scheme = if family.is_tcp() {
            "tcp://"
        } else {
            "unix:///"
        };
        assert!(text.contains(scheme), "{text} names the target");
    });
}

fn a_connect_that_never_ends_times_out(driver: &'static dyn Driver) {
    each_family(|family| {
        // Only Linux lets a connect to a full Unix listener wait; the BSDs refuse it (ECONNREFUSED, unix(4)).
        if family == Family::Unix && cfg!(not(target_os = "linux")) {
            return;
        }
        let directory = Directory::new();
        let listener = raw::listen(family, &directory, 1);
        let address = listener.local_addr().expect("bound");
        // Nobody accepts: the backlog fills, then connects hang (TCP) or must be repeated (Unix).
        let socket = || socket2::Socket::new(family.domain(), socket2::Type::STREAM, None);
        let fillers: Vec<_> = (0..4)
            .map(|_| {
                let socket = socket().expect("a socket");
                socket.set_nonblocking(true).expect("a mode");
                let _ = socket.connect(&address);
                socket
            })
            .collect();
        std::thread::sleep(Duration::from_millis(20));
        let mut plan = Plan::new(driver, &address, rr(1, 1));
        plan.connect_timeout = Duration::from_millis(200);
        let begun = Instant::now();
        let error = plan.try_run().expect_err("nobody accepts");
        assert!(
            begun.elapsed() >= Duration::from_millis(190),
            "{:?}: {error}",
            begun.elapsed()
        );
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
        assert!(matches!(error, EngineError::Peer(_)), "{error:?}");
        drop(fillers);
    });
}

fn a_peer_that_closes_early_is_an_error_and_the_load_goes_on(driver: &'static dyn Driver) {
    each_family(|family| {
        // Every connection is closed instead of its sixth answer.
        let server = Server::start(family, |conn, _| {
            raw::answer(&conn, 1, |number, _| (number < 5).then(|| vec![1]));
        });
        let loaded = Plan::new(driver, &server.address, rr(1, 1))
            .connections(2)
            .duration_ms(500)
            .run();
        let recorded = &loaded.recorded;
        let early = loaded.errors(ErrorKind::ClosedEarly);
        assert!(early >= 4, "{early}: {:?}", recorded.error_texts);
        assert_eq!(recorded.errors_total(), early, "{:?}", recorded.error_texts);
        assert!(recorded.operations >= 5 * early && recorded.operations <= 5 * (early + 2));
        // Opening again has pauses that grow, so a peer that always closes is not hammered.
        assert!(
            server.accepted() < 200,
            "{} connections in half a second",
            server.accepted()
        );
    });
}

fn a_peer_that_resets_is_an_error(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, _| {
        raw::answer(&conn, 1, |number, _| (number < 5).then(|| vec![1]));
        conn.reset();
    });
    let loaded = Plan::new(driver, &server.address, rr(1, 1))
        .duration_ms(300)
        .run();
    let resets = loaded.errors(ErrorKind::Reset);
    assert!(resets >= 2, "{:?}", loaded.recorded.error_texts);
    assert_eq!(loaded.recorded.errors_total(), resets);
    assert!(loaded.recorded.operations >= 5 * resets);
}

fn a_peer_that_sends_too_much_is_an_error(driver: &'static dyn Driver) {
    each_family(|family| {
        let server = Server::start(family, |conn, _| {
            raw::answer(&conn, 1, |number, _| {
                Some(vec![1; if number == 20 { 3 } else { 1 }])
            });
        });
        let loaded = Plan::new(driver, &server.address, rr(1, 1))
            .duration_ms(200)
            .run();
        assert!(
            loaded.errors(ErrorKind::Long) >= 1,
            "{:?}",
            loaded.recorded.error_texts
        );
        assert_eq!(
            loaded.recorded.errors_total(),
            loaded.errors(ErrorKind::Long)
        );
    });
}

/// A greeting, from a server that answers after 30 ms.
fn what_nobody_asked_for_is_no_answer(driver: &'static dyn Driver) {
    let cc = transaction(None, Closer::Client, How::Fin);
    for spec in [rr(1, 1), echo(10), stream(Direction::Send, 1_000), cc] {
        let server = Server::start(Family::Tcp4, |conn, _| {
            if (&conn.0).write_all(b"welcome").is_err() {
                return;
            }
            raw::answer(&conn, 1, |_, _| {
                std::thread::sleep(Duration::from_millis(30));
                Some(vec![1])
            });
        });
        let mut plan = Plan::new(driver, &server.address, spec.clone()).duration_ms(300);
        plan.hesitation = Duration::from_millis(20);
        // Where connections are opened ahead the greeting is there before the go, and ends that.
        match plan.try_run() {
            Ok(loaded) => {
                let recorded = &loaded.recorded;
                // Beside a request it is too long an answer, or a wrong one.
                let named = [ErrorKind::Unsolicited, ErrorKind::Long, ErrorKind::Mismatch];
                let named: u64 = named.map(|kind| loaded.errors(kind)).iter().sum();
                let errors = recorded.errors_total() + recorded.errors_before_window;
                assert!(errors > 0, "{spec:?}");
                assert_eq!(recorded.errors_total(), named, "{:?}", recorded.error_texts);
                let early = recorded.service.count_between(0, 29_000_000);
                assert!(
                    recorded.service.is_empty() || early == 0,
                    "{spec:?}: {early} early answers"
                );
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("nobody had asked for"), "{spec:?}: {text}");
            }
        }
    }
}

fn an_answer_that_is_too_long_is_no_success(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, _| {
        raw::answer(&conn, 1, |_, _| Some(vec![1; 2]));
    });
    let loaded = Plan::new(driver, &server.address, rr(1, 1)).count(5).run();
    let recorded = &loaded.recorded;
    assert_eq!((recorded.operations, recorded.service.len()), (0, 0));
    assert_eq!(
        loaded.errors(ErrorKind::Long),
        5,
        "{:?}",
        recorded.error_texts
    );
    assert_eq!(recorded.errors_total(), 5);
}

fn an_answer_in_part_is_told_from_silence(driver: &'static dyn Driver) {
    // It answers with 3 bytes, of 10 that are asked for.
    let server = Server::start(Family::Tcp4, |conn, _| {
        raw::answer(&conn, 1, |_, _| Some(vec![1; 3]));
    });
    let plan = |spec, operation_timeout| Plan {
        operation_timeout,
        drain: Duration::from_millis(100),
        ..Plan::new(driver, &server.address, spec).duration_ms(400)
    };
    let exchanges = transaction(Some((1, 10)), Closer::Client, How::Fin);
    for spec in [rr(1, 10), exchanges] {
        let part = "received 3 of 10 bytes of the answer";
        let loaded = plan(spec.clone(), Duration::from_millis(100)).run();
        let timed_out = |(kind, _): &&(ErrorKind, String)| *kind == ErrorKind::Timeout;
        let said = loaded.recorded.error_texts.iter().find(timed_out);
        assert!(
            said.is_some_and(|(_, text)| text.contains(part)),
            "{said:?}"
        );

        let loaded = plan(spec, Duration::from_secs(10)).run();
        let unfinished = &loaded.recorded.unfinished;
        assert_eq!((unfinished.count, unfinished.never_sent), (1, 0));
        let said = unfinished.part.map(|part| part.to_string());
        assert!(
            said.as_ref().is_some_and(|text| text.contains(part)),
            "{said:?}"
        );
    }
}

fn a_connection_lost_before_the_go_is_opened_again(driver: &'static dyn Driver) {
    each_family(|family| {
        // The first two connections are closed at once; later ones are served.
        let server = Server::start(family, |conn, number| {
            if number >= 2 {
                raw::echo(conn, number);
            } else {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let mut plan = Plan::new(driver, &server.address, echo(10))
            .connections(2)
            .duration_ms(300);
        plan.hesitation = Duration::from_millis(200);
        let loaded = plan.run();
        assert!(
            loaded.recorded.operations > 0,
            "{:?}",
            loaded.recorded.error_texts
        );
        assert_eq!(server.accepted(), 4, "both were opened again");
        let errors = loaded.recorded.errors_total() + loaded.recorded.errors_before_window;
        assert_eq!(
            errors, 2,
            "and both losses are counted: {:?}",
            loaded.recorded.error_texts
        );
    });
}

fn a_count_is_given_up_when_the_peer_is_gone(driver: &'static dyn Driver) {
    each_family(|family| {
        let count = 1 << 40;
        let dead = Arc::new(AtomicBool::new(false));
        let is_dead = Arc::clone(&dead);
        let server = Server::start(family, move |conn, _| {
            raw::answer(&conn, 1, |_, _| (!is_dead.load(SeqCst)).then(|| vec![1]));
        });
        let mut plan = Plan::new(driver, &server.address, rr(1, 1))
            .connections(3)
            .count(count);
        plan.operation_timeout = Duration::from_millis(100);
        plan.connect_timeout = Duration::from_millis(100);
        let running = plan.begin().expect("the peer is there");
        let done = || running.published[0].operations.load(SeqCst);
        assert!(eventually(Duration::from_secs(5), || done() >= 50));
        dead.store(true, SeqCst);
        drop(server);
        let died = Instant::now();
        let recorded = running.join().expect("a result").recorded;
        assert!(
            died.elapsed() < Duration::from_secs(15),
            "{:?}",
            died.elapsed()
        );
        assert!(recorded.interrupted, "it did not reach its count");
        let unfinished = &recorded.unfinished;
        assert_eq!(
            recorded.service.len() + recorded.failed.len() + unfinished.count,
            count,
            "nothing of the count is forgotten: {unfinished:?}"
        );
        assert!(unfinished.never_sent > 0 && unfinished.oldest_age_ns >= 400_000_000);
    });
}

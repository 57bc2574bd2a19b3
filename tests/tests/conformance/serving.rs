//! The testee's roles, seen by a client that knows nothing of it.

use engine::driver::Driver;
use engine::session::How;
use engine::workload::ServeSpec;
use linerate_tests::raw::Conn;
use linerate_tests::testee::Testee;
use linerate_tests::{Family, each_family, eventually, noise};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

linerate_tests::for_every_engine!(
    echo_returns_the_same_bytes_in_any_segmentation,
    echo_of_large_messages_to_a_slow_reader,
    a_half_close_is_answered_after_what_is_owed,
    nothing_is_sent_that_was_not_asked_for,
    discard_takes_everything_and_says_nothing,
    source_and_duplex_send_as_fast_as_the_peer_reads,
    no_stream_keeps_the_others_from_moving,
    rr_answers_whole_requests_whatever_their_segments,
    close_after_counts_responses,
    answers_do_not_wait_for_more,
);

linerate_tests::for_every_variant!(
    echo_returns_the_same_bytes_in_any_segmentation,
    echo_of_large_messages_to_a_slow_reader,
    a_half_close_is_answered_after_what_is_owed,
    source_and_duplex_send_as_fast_as_the_peer_reads,
    no_stream_keeps_the_others_from_moving,
    rr_answers_whole_requests_whatever_their_segments,
    close_after_counts_responses,
    answers_do_not_wait_for_more,
);

fn rr(request_bytes: u32, response_bytes: u32, close_after: Option<u32>, how: How) -> ServeSpec {
    ServeSpec::Rr {
        request_bytes,
        response_bytes,
        close_after,
        how,
    }
}

fn echo_returns_the_same_bytes_in_any_segmentation(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(driver, family, ServeSpec::Echo);
        let conn = Conn::to(&testee.address);
        let bytes = noise(200_000, 1);
        let reader = conn.again();
        let length = bytes.len();
        let heard = std::thread::spawn(move || reader.hear(length));
        let sizes = noise(bytes.len(), 2);
        let (mut at, mut step) = (0, 0);
        while at < bytes.len() {
            // First single bytes, then anything up to 16 KiB.
            let size = if step < 500 {
                1
            } else {
                usize::from(sizes[step]) * 64 + 1
            };
            let end = (at + size).min(bytes.len());
            conn.say(&bytes[at..end]);
            (at, step) = (end, step + 1);
        }
        assert!(
            heard.join().expect("the reader") == bytes,
            "the echo differs"
        );
    });
}

fn echo_of_large_messages_to_a_slow_reader(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(driver, family, ServeSpec::Echo);
        let conn = Conn::to(&testee.address);
        let bytes = noise(3 << 20, 3);
        let (writer, said) = (conn.again(), bytes.clone());
        let writer = std::thread::spawn(move || {
            said.chunks(1 << 20).for_each(|message| writer.say(message));
            writer.finish();
        });
        let mut heard = Vec::new();
        let mut block = vec![0; 64 * 1024];
        loop {
            std::thread::sleep(Duration::from_millis(2));
            match (&conn.0).read(&mut block).expect("the echo") {
                0 => break,
                length => heard.extend_from_slice(&block[..length]),
            }
        }
        writer.join().expect("the writer");
        assert_eq!(heard.len(), bytes.len());
        assert!(heard == bytes, "the echo differs");
    });
}

fn a_half_close_is_answered_after_what_is_owed(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(driver, family, ServeSpec::Echo);
        for length in [0, 1, 300_000] {
            let conn = Conn::to(&testee.address);
            let bytes = noise(length, 4);
            let (writer, said) = (conn.again(), bytes.clone());
            let writer = std::thread::spawn(move || {
                writer.say(&said);
                writer.finish();
            });
            assert!(conn.hear_all() == bytes, "{length} bytes, then a FIN");
            writer.join().expect("the writer");
        }
        let testee = Testee::start(driver, family, rr(100, 1_000, None, How::Fin));
        let conn = Conn::to(&testee.address);
        conn.say(&noise(1_050, 5));
        conn.finish();
        assert_eq!(
            conn.hear_all().len(),
            10_000,
            "ten whole requests were asked, half of one more"
        );
        let testee = Testee::start(driver, family, rr(1, 400_000, None, How::Fin));
        let conn = Conn::to(&testee.address);
        conn.say(b"xxx");
        conn.finish();
        assert_eq!(
            conn.hear_all().len(),
            1_200_000,
            "what is owed is more than any buffer"
        );
    });
}

fn nothing_is_sent_that_was_not_asked_for(driver: &'static dyn Driver) {
    each_family(|family| {
        for spec in [
            ServeSpec::Echo,
            ServeSpec::Discard,
            rr(10, 10, None, How::Fin),
        ] {
            let testee = Testee::start(driver, family, spec.clone());
            let conn = Conn::to(&testee.address);
            conn.hears_nothing_for(Duration::from_millis(20));
            if spec != ServeSpec::Echo {
                conn.say(&[1; 9]);
                conn.hears_nothing_for(Duration::from_millis(20));
            }
            if let ServeSpec::Rr { .. } = spec {
                conn.say(&[1; 2]);
                conn.hear(10);
                conn.hears_nothing_for(Duration::from_millis(20));
            }
        }
    });
}

fn discard_takes_everything_and_says_nothing(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(driver, family, ServeSpec::Discard);
        let conn = Conn::to(&testee.address);
        conn.say(&noise(4 << 20, 6));
        conn.finish();
        assert!(conn.hear_all().is_empty());
        assert_eq!(testee.total(|counters| &counters.bytes_received), 4 << 20);
        assert_eq!(testee.total(|counters| &counters.bytes_sent), 0);
        assert!(eventually(Duration::from_secs(2), || testee
            .total(|c| &c.closed)
            == 1));
    });
}

fn source_and_duplex_send_as_fast_as_the_peer_reads(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(
            driver,
            family,
            ServeSpec::Source {
                message_bytes: 10_000,
            },
        );
        let conn = Conn::to(&testee.address);
        let heard = conn.hear(2_000_000);
        assert!(
            heard
                .chunks(10_000)
                .all(|message| message == &heard[..10_000])
        );
        drop(conn);
        let testee = Testee::start(
            driver,
            family,
            ServeSpec::Duplex {
                message_bytes: 16_384,
            },
        );
        let conn = Conn::to(&testee.address);
        let writer = conn.again();
        let writer = std::thread::spawn(move || writer.say(&noise(2_000_000, 7)));
        assert_eq!(conn.hear(2_000_000).len(), 2_000_000);
        writer.join().expect("the writer");
        let received = || testee.total(|counters| &counters.bytes_received);
        assert!(
            eventually(Duration::from_secs(5), || received() == 2_000_000),
            "{}",
            received()
        );
    });
}

/// All on one worker, and each reader takes all it can get until every one has had its part.
fn no_stream_keeps_the_others_from_moving(driver: &'static dyn Driver) {
    const ENOUGH: u64 = 4 << 20;
    each_family(|family| {
        let source = ServeSpec::Source {
            message_bytes: 256 * 1024,
        };
        let testee = Testee::start(driver, family, source);
        let heard: Arc<Vec<_>> = Arc::new((0..4).map(|_| AtomicU64::new(0)).collect());
        let over = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..heard.len())
            .map(|number| {
                let conn = Conn::to(&testee.address);
                let (heard, over) = (Arc::clone(&heard), Arc::clone(&over));
                std::thread::spawn(move || {
                    let mut block = vec![0; 256 * 1024];
                    while !over.load(SeqCst) {
                        let length = (&conn.0).read(&mut block).expect("the stream");
                        heard[number].fetch_add(length as u64, SeqCst);
                    }
                })
            })
            .collect();
        let all = eventually(Duration::from_secs(10), || {
            heard.iter().all(|count| count.load(SeqCst) >= ENOUGH)
        });
        over.store(true, SeqCst);
        assert!(all, "{heard:?} bytes on the connections");
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
}

fn rr_answers_whole_requests_whatever_their_segments(driver: &'static dyn Driver) {
    each_family(|family| {
        for (request, response, count) in [
            (1, 1, 3_000),
            (100, 7, 500),
            (3, 90_000, 20),
            (70_000, 3, 30),
        ] {
            let testee = Testee::start(driver, family, rr(request, response, None, How::Fin));
            let expected = (response * count) as usize;
            let requests = noise((request * count) as usize, 8);
            // Pipelined in large pieces, then again one segment after the other: the same bytes.
            let mut answers = [4_096, request as usize].map(|piece| {
                let conn = Conn::to(&testee.address);
                let reader = conn.again();
                let reader = std::thread::spawn(move || reader.hear(expected));
                requests.chunks(piece).for_each(|segment| conn.say(segment));
                reader.join().expect("the reader")
            });
            let [first, second] = &mut answers;
            assert!(
                first == second,
                "answers of {request} to {response} differ with the segments"
            );
        }
    });
}

fn close_after_counts_responses(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(driver, family, rr(1, 1, Some(0), How::Fin));
        assert!(Conn::to(&testee.address).hear_all().is_empty());
        let testee = Testee::start(driver, family, rr(5, 8, Some(2), How::Fin));
        let conn = Conn::to(&testee.address);
        conn.say(&[1; 10]);
        assert_eq!(conn.hear_all().len(), 16);
        let testee = Testee::start(driver, family, rr(5, 8, Some(1), How::Rst));
        let conn = Conn::to(&testee.address);
        conn.say(&[1; 5]);
        conn.hear(8);
        match (&conn.0).read(&mut [0; 1]) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            Ok(length) => assert!(length == 0 && family == Family::Unix, "a RST was agreed"),
        }
    });
}

/// TCP_NODELAY is in force on accepted sockets, and no engine keeps an answer back.
fn answers_do_not_wait_for_more(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(driver, family, ServeSpec::Echo);
        let conn = Conn::to(&testee.address);
        let begun = std::time::Instant::now();
        for _ in 0..50 {
            // Two segments per message: with Nagle and delayed ACKs each would take 40 ms.
            (&conn.0).write_all(&[1]).expect("written");
            (&conn.0).write_all(&[2; 99]).expect("written");
            conn.hear(100);
        }
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "took {:?}",
            begun.elapsed()
        );
    });
}

/// Threads that `testee` has made, and its system calls.
#[cfg(target_os = "linux")]
fn of_threads(testee: Testee) -> (u64, u64) {
    let (outcomes, _) = testee.stop();
    let outcome = outcomes.first().expect("one worker");
    let mut features = outcome.features.iter();
    let made = features.find(|(name, _)| name == "threads_made");
    let made = made.and_then(|(_, count)| count.parse().ok());
    let calls = outcome.backend.as_ref().map(|backend| backend.system_calls);
    (made.expect("blocking says it"), calls.expect("and counts"))
}

/// Nobody counts the calls inside pthread_create(3): they are added for each thread, or a testee of a thread per
/// connection would look cheaper than it is.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_of_a_blocking_testee_are_in_its_system_calls() {
    linerate_tests::within(30, || {
        const CONNECTIONS: u64 = 16;
        let blocking = linerate_tests::driver("blocking").expect("everywhere");
        let start = || Testee::start(blocking, Family::Tcp4, ServeSpec::Echo);
        let ask = |conn: &Conn| {
            conn.say(b"x");
            assert_eq!(conn.hear(1), b"x");
        };
        let in_turn = start();
        for _ in 0..CONNECTIONS {
            let conn = Conn::to(&in_turn.address);
            ask(&conn);
            conn.finish();
            assert_eq!(conn.hear_all(), b"");
        }
        let at_once = start();
        let held: Vec<_> = (0..CONNECTIONS)
            .map(|_| Conn::to(&at_once.address))
            .collect();
        held.iter().for_each(ask);
        for conn in &held {
            conn.finish();
            assert_eq!(conn.hear_all(), b"");
        }
        let (few, calls_in_turn) = of_threads(in_turn);
        let (many, calls_at_once) = of_threads(at_once);
        assert!(
            many >= CONNECTIONS && few < many,
            "{few} and {many} threads"
        );
        // mmap, mprotect, rseq, set_robust_list, sigaltstack, munmap, madvise, exit, ... (strace(1)).
        let least = (many - few) * 10;
        assert!(
            calls_at_once >= calls_in_turn + least,
            "{calls_in_turn} calls with {few} threads, {calls_at_once} with {many}"
        );
    });
}

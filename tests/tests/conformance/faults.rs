//! Peers that misbehave, as the testee meets them.

use engine::driver::Driver;
use engine::session::How;
use engine::workload::ServeSpec;
use linerate_tests::raw::Conn;
use linerate_tests::testee::{Plan, Testee};
use linerate_tests::{Family, each_family, eventually, noise};
use std::time::Duration;

linerate_tests::for_every_engine!(
    resets_in_the_middle_are_survived,
    a_flooder_that_never_reads_starves_nobody,
    an_rr_flooder_that_never_reads_starves_nobody,
    more_senders_than_buffers,
    a_peer_that_stops_reading_a_source_starves_nobody,
);

linerate_tests::for_every_variant!(
    resets_in_the_middle_are_survived,
    a_flooder_that_never_reads_starves_nobody,
    more_senders_than_buffers,
    a_peer_that_stops_reading_a_source_starves_nobody,
);

/// The most that a testee may take from a peer that never reads, with what the kernel's buffers
/// on both sides hold (tcp_rmem and tcp_wmem allow some MiB each).
const TAKEN_AT_MOST: usize = 48 << 20;

fn resets_in_the_middle_are_survived(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(driver, family, ServeSpec::Echo);
        for round in 0..30 {
            let conn = Conn::to(&testee.address);
            conn.say(&noise(1 + round * 5_000, round as u64));
            if round % 2 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            conn.reset();
        }
        let conn = Conn::to(&testee.address);
        conn.say(b"still there?");
        assert_eq!(conn.hear(12), b"still there?");
        drop(conn);
        let closed = || testee.total(|counters| &counters.closed);
        let accepted = || testee.total(|counters| &counters.accepted);
        // Linux hands over what was reset in the queue; elsewhere accept(2) answers ECONNABORTED for it.
        let expected = match cfg!(target_os = "linux") {
            true => 31..=31,
            false => 1..=31,
        };
        let all_are_gone = || expected.contains(&closed()) && closed() == accepted();
        assert!(
            eventually(Duration::from_secs(5), all_are_gone),
            "{} of {} closed",
            closed(),
            accepted()
        );
        if family.is_tcp() {
            assert!(
                testee.total(|counters| &counters.failed) > 0,
                "a reset is counted"
            );
        }
        let (_, took) = testee.stop();
        assert!(took < Duration::from_secs(2));
    });
}

/// 63 connections that exchange messages while another never reads.
fn sixty_three_go_on(testee: &Testee, request: usize, response: usize) {
    let conns: Vec<_> = (0..63).map(|_| Conn::to(&testee.address)).collect();
    let message = vec![9; request];
    for _ in 0..100 {
        conns.iter().for_each(|conn| conn.say(&message));
        conns.iter().for_each(|conn| {
            conn.hear(response);
        });
    }
}

fn a_flooder_that_never_reads_starves_nobody(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(driver, family, ServeSpec::Echo);
        let flooder = Conn::to(&testee.address);
        let taken = flooder.flood(&noise(64 * 1024, 1), 2 * TAKEN_AT_MOST);
        assert!(
            taken < TAKEN_AT_MOST,
            "{taken} bytes were taken from a peer that never reads"
        );
        let again = flooder.again();
        let pusher = std::thread::spawn(move || {
            // It goes on trying, and then it goes away.
            again.flood(&[1; 4096], 1 << 20);
            again.reset();
        });
        sixty_three_go_on(&testee, 100, 100);
        // A connection with one buffer of its own is never paused: it cannot receive until that
        // buffer was sent.
        assert!(
            driver.name().contains("receive=single")
                || testee.total(|counters| &counters.peer_not_reading) >= 1,
            "and it is counted"
        );
        pusher.join().expect("the pusher");
        drop(flooder);
        let closed = || testee.total(|counters| &counters.closed);
        assert!(
            eventually(Duration::from_secs(5), || closed() == 64),
            "{} closed",
            closed()
        );
    });
}

fn an_rr_flooder_that_never_reads_starves_nobody(driver: &'static dyn Driver) {
    let spec = ServeSpec::Rr {
        request_bytes: 10,
        response_bytes: 1_000,
        close_after: None,
        how: How::Fin,
    };
    let testee = Testee::start(driver, Family::Tcp4, spec);
    let flooder = Conn::to(&testee.address);
    // Requests are cheap: what they ask for is a number, so they may all be taken.
    flooder.flood(&[1; 10_000], 1 << 20);
    sixty_three_go_on(&testee, 10, 1_000);
    let sent = testee.total(|counters| &counters.bytes_sent);
    assert!(
        (sent as usize) < TAKEN_AT_MOST,
        "{sent} bytes were sent to a peer that never reads"
    );
}

fn more_senders_than_buffers(driver: &'static dyn Driver) {
    each_family(|family| {
        // Buffers for four connections with small messages; a hundred come with large ones.
        let plan = Plan {
            expected_connections: Some(4),
            expected_message_bytes: Some(1_024),
            ..Plan::new(driver, family, ServeSpec::Echo)
        };
        let testee = plan.start();
        let conns: Vec<_> = (0..100).map(|_| Conn::to(&testee.address)).collect();
        let message = noise(200_000, 11);
        let writers: Vec<_> = conns
            .chunks(25)
            .map(|part| {
                let part: Vec<_> = part.iter().map(Conn::again).collect();
                let message = message.clone();
                std::thread::spawn(move || part.iter().for_each(|conn| conn.say(&message)))
            })
            .collect();
        for writer in writers {
            writer
                .join()
                .expect("everything is taken although nobody reads yet");
        }
        for conn in &conns {
            assert!(conn.hear(message.len()) == message, "the echo differs");
        }
    });
}

fn a_peer_that_stops_reading_a_source_starves_nobody(driver: &'static dyn Driver) {
    let testee = Testee::start(
        driver,
        Family::Tcp4,
        ServeSpec::Duplex {
            message_bytes: 10_000,
        },
    );
    let silent = Conn::to(&testee.address);
    silent.hear(10_000);
    let conn = Conn::to(&testee.address);
    let writer = conn.again();
    let writer = std::thread::spawn(move || writer.say(&noise(1_000_000, 3)));
    conn.hear(3_000_000);
    writer.join().expect("the writer");
    let taken = silent.flood(&noise(64 * 1024, 1), 4 << 20);
    assert!(
        taken >= 4 << 20,
        "a duplex peer is read from even if it does not read"
    );
}

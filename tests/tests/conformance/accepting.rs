//! Accepting: bounds, strategies, stopping.

use engine::driver::{AcceptStrategy, Driver};
use engine::workload::ServeSpec;
use linerate_tests::raw::Conn;
use linerate_tests::testee::{Plan, Testee};
use linerate_tests::{Family, each_family, eventually};
use std::io::Read;
use std::time::{Duration, Instant};

linerate_tests::for_every_engine!(
    reuseport_workers_serve_all,
    shared_listener_workers_serve_all,
    handoff_shares_evenly,
    no_more_connections_than_allowed,
    all_that_come_at_once_are_served_in_the_end,
    idle_connections_are_closed_and_busy_ones_are_not,
    a_stop_drains_and_ends,
    a_stop_does_not_wait_for_ever,
    one_off_ends_after_the_first_connection,
);

const CONNECTIONS: usize = 40;

/// Opens many connections at once, has each echoed, and closes them.
fn all_are_served(testee: &Testee) {
    let conns: Vec<_> = (0..CONNECTIONS)
        .map(|_| Conn::to(&testee.address))
        .collect();
    for round in 0..3 {
        conns.iter().for_each(|conn| conn.say(&[round; 100]));
        for conn in &conns {
            assert_eq!(conn.hear(100), [round; 100]);
        }
    }
    drop(conns);
    let all = CONNECTIONS as u64;
    assert!(
        eventually(Duration::from_secs(5), || testee.total(|c| &c.closed)
            == all),
        "{} of {all} were closed",
        testee.total(|counters| &counters.closed)
    );
    assert_eq!(testee.total(|counters| &counters.accepted), all);
    assert_eq!(testee.total(|counters| &counters.failed), 0);
}

fn workers(driver: &'static dyn Driver, family: Family, strategy: AcceptStrategy) -> Testee {
    Plan {
        workers: 3,
        strategy,
        ..Plan::new(driver, family, ServeSpec::Echo)
    }
    .start()
}

fn reuseport_workers_serve_all(driver: &'static dyn Driver) {
    for family in [Family::Tcp4, Family::Tcp6] {
        let testee = workers(driver, family, AcceptStrategy::Reuseport);
        all_are_served(&testee);
        let busy = testee
            .published
            .iter()
            .filter(|worker| worker.bytes_sent.load(std::sync::atomic::Ordering::Relaxed) > 0)
            .count();
        // Elsewhere SO_REUSEPORT gives one listener everything, and the strategy is not offered.
        let balances = cfg!(any(target_os = "linux", target_os = "freebsd"));
        assert!(
            busy > 1 || !balances,
            "the kernel hashes connections over the group"
        );
        testee.stop();
    }
}

fn shared_listener_workers_serve_all(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = workers(driver, family, AcceptStrategy::Shared);
        all_are_served(&testee);
        testee.stop();
    });
}

fn handoff_shares_evenly(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = workers(driver, family, AcceptStrategy::Handoff);
        all_are_served(&testee);
        for worker in &testee.published {
            let bytes = worker.bytes_sent.load(std::sync::atomic::Ordering::Relaxed);
            assert!(
                bytes >= 300 * (CONNECTIONS as u64 / 3),
                "one worker echoed only {bytes} bytes"
            );
        }
        testee.stop();
    });
}

fn no_more_connections_than_allowed(driver: &'static dyn Driver) {
    each_family(|family| {
        let mut plan = Plan::new(driver, family, ServeSpec::Echo);
        plan.limits.connections = 2;
        let testee = plan.start();
        let served = |conn: &Conn| {
            conn.say(b"x");
            conn.0
                .set_read_timeout(Some(Duration::from_millis(100)))
                .expect("a timeout");
            matches!((&conn.0).read(&mut [0; 1]), Ok(1))
        };
        let mut conns: Vec<_> = (0..2).map(|_| Conn::to(&testee.address)).collect();
        assert!(conns.iter().all(served));
        let third = Conn::to(&testee.address);
        assert!(
            !served(&third),
            "a third connection is served beside the allowed two"
        );
        conns.remove(0);
        // A place is free again: who waited gets it, and what it had said is answered.
        assert!(heard_within(&third, Duration::from_secs(5)), "not served");
        assert_eq!(testee.total(|counters| &counters.over_limit), 0);
        testee.stop();
    });
}

/// However many come at once, and however long they wait: as one leaves, the next is served.
fn all_that_come_at_once_are_served_in_the_end(driver: &'static dyn Driver) {
    each_family(|family| {
        let mut plan = Plan::new(driver, family, ServeSpec::Echo);
        plan.limits.connections = 1;
        let testee = plan.start();
        let conns: Vec<_> = (0..CONNECTIONS)
            .map(|_| Conn::to(&testee.address))
            .collect();
        conns.iter().for_each(|conn| conn.say(b"x"));
        let (begun, mut left) = (Instant::now(), conns);
        while !left.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", left.len());
            // Any of them may be the one: backlogs are first come, first served, queues of threads not.
            let served = left
                .iter()
                .position(|conn| heard_within(conn, Duration::from_millis(10)));
            if let Some(index) = served {
                left.remove(index);
            }
        }
        assert_eq!(testee.total(|counters| &counters.over_limit), 0);
        assert_eq!(testee.total(|counters| &counters.failed), 0);
        testee.stop();
    });
}

/// Whether one byte comes; false if nothing does.
fn heard_within(conn: &Conn, patience: Duration) -> bool {
    conn.0.set_read_timeout(Some(patience)).expect("a timeout");
    match (&conn.0).read(&mut [0; 1]) {
        Ok(1) => true,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
        other => panic!("turned away: {other:?}"),
    }
}

fn idle_connections_are_closed_and_busy_ones_are_not(driver: &'static dyn Driver) {
    each_family(|family| {
        let mut plan = Plan::new(driver, family, ServeSpec::Echo);
        plan.limits.idle_timeout_ns = Some(300_000_000);
        let testee = plan.start();
        let (idle, busy) = (Conn::to(&testee.address), Conn::to(&testee.address));
        let begun = Instant::now();
        let mut idle_closed = false;
        while begun.elapsed() < Duration::from_millis(1_000) {
            busy.say(b"x");
            busy.hear(1);
            idle.0
                .set_read_timeout(Some(Duration::from_millis(20)))
                .expect("a timeout");
            idle_closed |= matches!((&idle.0).read(&mut [0; 1]), Ok(0));
            assert!(
                !idle_closed || begun.elapsed() >= Duration::from_millis(290),
                "too early"
            );
        }
        assert!(
            idle_closed,
            "not closed after more than three times the idle timeout"
        );
        assert_eq!(testee.total(|counters| &counters.idle_closed), 1);
        drop(testee);
        // Sending is traffic, too.
        let mut plan = Plan::new(
            driver,
            family,
            ServeSpec::Source {
                message_bytes: 1_000,
            },
        );
        plan.limits.idle_timeout_ns = Some(300_000_000);
        let testee = plan.start();
        let conn = Conn::to(&testee.address);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(900) {
            conn.hear(100_000);
        }
        assert_eq!(
            testee.total(|counters| &counters.idle_closed),
            0,
            "its peer reads all the time"
        );
    });
}

fn a_stop_drains_and_ends(driver: &'static dyn Driver) {
    each_family(|family| {
        let mut plan = Plan::new(driver, family, ServeSpec::Echo);
        plan.limits.drain_ns = 5_000_000_000;
        let testee = plan.start();
        let conn = Conn::to(&testee.address);
        conn.say(b"before");
        conn.hear(6);
        let (control, address) = (testee.control.clone(), testee.address.clone());
        control.order_all(engine::control::Order::Stop);
        std::thread::sleep(Duration::from_millis(50));
        conn.say(b"after");
        assert_eq!(
            conn.hear(5),
            b"after",
            "an open connection is served during the drain"
        );
        assert!(!testee.has_ended());
        drop(conn);
        let (outcomes, took) = testee.stop();
        assert_eq!(outcomes.len(), 1);
        assert!(
            took < Duration::from_secs(2),
            "all connections were closed, yet it took {took:?}"
        );
        assert!(Conn::try_to(&address).is_err(), "the listener is closed");
    });
}

fn a_stop_does_not_wait_for_ever(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = Testee::start(driver, family, ServeSpec::Echo);
        let conns: Vec<_> = (0..5).map(|_| Conn::to(&testee.address)).collect();
        for conn in &conns {
            conn.say(b"x");
            conn.hear(1);
        }
        let (_, took) = testee.stop();
        assert!(
            took >= Duration::from_millis(150),
            "the drain is 200 ms, it took {took:?}"
        );
        assert!(
            took < Duration::from_secs(3),
            "the drain is 200 ms, it took {took:?}"
        );
        for conn in &conns {
            assert!(conn.hear_all().is_empty(), "closed in order");
        }
    });
}

fn one_off_ends_after_the_first_connection(driver: &'static dyn Driver) {
    each_family(|family| {
        let mut plan = Plan::new(driver, family, ServeSpec::Echo);
        plan.limits.one_off = true;
        let testee = plan.start();
        let conn = Conn::to(&testee.address);
        conn.say(b"x");
        conn.hear(1);
        assert!(!testee.has_ended());
        drop(conn);
        assert!(
            eventually(Duration::from_secs(5), || testee.has_ended()),
            "it goes on"
        );
    });
}

//! Connect, each connection once, and hold: what is held stays, who ends it is counted, and it ends when it is told.

use engine::control::Order;
use engine::driver::Driver;
use engine::meter::ErrorKind;
use engine::shape::Ramp;
use engine::workload::LoadSpec;
use linerate_tests::load::{Loaded, Plan, Running};
use linerate_tests::raw::{self, Server};
use linerate_tests::{Directory, Family, each_family, eventually};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

linerate_tests::for_every_engine!(
    connections_are_held_until_told,
    who_ends_what_is_held_is_counted,
    what_the_peer_says_is_of_no_interest,
    refused_connections_are_outcomes_and_end_nothing,
    connections_are_opened_when_they_are_due,
    connections_are_closed_as_they_were_opened,
    a_run_that_ends_while_it_opens_accounts_for_all,
    a_connect_that_hangs_is_unfinished_at_the_end,
    only_so_many_connect_at_once,
);

const PATIENCE: Duration = Duration::from_secs(10);

fn connect(ramp: Ramp) -> LoadSpec {
    LoadSpec::Connect { ramp }
}

/// A run over so many connections, each of which is an operation.
fn plan(driver: &'static dyn Driver, server: &Server, spec: LoadSpec, connections: u32) -> Plan {
    let plan = Plan::new(driver, &server.address, spec);
    plan.connections(connections).count(connections.into())
}

/// So many are established or have failed.
fn settled(running: &Running, count: u64) -> bool {
    let ended = || running.total(|p| &p.operations) + running.total(|p| &p.errors);
    eventually(PATIENCE, || ended() == count)
}

fn dismissed(running: Running) -> Loaded {
    running.control.order_all(Order::Stop);
    running.join().expect("a load")
}

fn lost(loaded: &Loaded, kind: ErrorKind) -> u64 {
    loaded.recorded.lost[kind as usize]
}

fn succeeded(loaded: &Loaded) -> u64 {
    let outcomes = loaded.outcomes.iter();
    outcomes.map(|outcome| outcome.accounts.succeeded).sum()
}

fn connections_are_held_until_told(driver: &'static dyn Driver) {
    each_family(|family| {
        let server = Server::start(family, raw::echo);
        let mut plan = plan(driver, &server, connect(Ramp::AtOnce), 20);
        plan.workers = 2;
        // None of these ends what is held.
        plan.operation_timeout = Duration::from_millis(20);
        plan.drain = Duration::from_millis(20);
        let running = plan.begin().expect("a load");
        assert!(settled(&running, 20));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(
            (server.accepted(), server.open()),
            (20, 20),
            "they are held"
        );
        let loaded = dismissed(running);
        loaded.assert_clean();
        assert_eq!((loaded.recorded.operations, succeeded(&loaded)), (20, 20));
        assert_eq!(loaded.recorded.connect.len(), 20);
        assert!(eventually(PATIENCE, || server.open() == 0), "and closed");
        assert_eq!(server.accepted(), 20, "none was opened again");
    });
}

fn who_ends_what_is_held_is_counted(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, number| match number % 4 {
        0 => drop(conn),
        1 => {
            // Long enough for the connect to be seen.
            std::thread::sleep(Duration::from_millis(50));
            conn.reset();
        }
        _ => raw::echo(conn, number),
    });
    let plan = plan(driver, &server, connect(Ramp::PerSecond(200.0)), 12);
    let running = plan.begin().expect("a load");
    assert!(settled(&running, 12));
    let gone = || running.total(|p| &p.connections_lost) == 6;
    assert!(eventually(PATIENCE, gone));
    let loaded = dismissed(running);
    assert_eq!(loaded.recorded.operations, 12, "all were established");
    assert_eq!(
        loaded.recorded.errors_total(),
        0,
        "and none of them has failed"
    );
    let found = [ErrorKind::ClosedEarly, ErrorKind::Reset].map(|kind| lost(&loaded, kind));
    assert_eq!(found, [3, 3], "{:?}", loaded.recorded.error_texts);
    assert_eq!(succeeded(&loaded), 6);
    assert_eq!(server.accepted(), 12, "none was opened again");
}

fn what_the_peer_says_is_of_no_interest(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, number| {
        conn.say(b"220 welcome\r\n");
        raw::echo(conn, number);
    });
    let running = plan(driver, &server, connect(Ramp::AtOnce), 5).begin();
    let running = running.expect("a load");
    assert!(settled(&running, 5));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.open(), 5);
    let loaded = dismissed(running);
    loaded.assert_clean();
    assert_eq!(succeeded(&loaded), 5);
}

fn refused_connections_are_outcomes_and_end_nothing(driver: &'static dyn Driver) {
    let directory = Directory::new();
    let listener = raw::listen(Family::Tcp4, &directory, 16);
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let plan = Plan::new(driver, &address, connect(Ramp::AtOnce));
    let running = plan.connections(10).count(10).begin().expect("a load");
    assert!(settled(&running, 10));
    let loaded = dismissed(running);
    assert_eq!(loaded.errors(ErrorKind::ConnectRefused), 10);
    assert_eq!((loaded.recorded.operations, succeeded(&loaded)), (0, 0));
    assert_eq!(loaded.recorded.failed.len(), 10, "with their time");
}

/// The instants at which a server accepted and saw the end, since it was started.
fn noting() -> (Server, Instant, Arc<Mutex<[Vec<Duration>; 2]>>) {
    let begun = Instant::now();
    let noted = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let notes = Arc::clone(&noted);
    let server = Server::start(Family::Tcp4, move |conn, number| {
        notes.lock().expect("no panic")[0].push(begun.elapsed());
        raw::echo(conn, number);
        notes.lock().expect("no panic")[1].push(begun.elapsed());
    });
    (server, begun, noted)
}

fn connections_are_opened_when_they_are_due(driver: &'static dyn Driver) {
    let (server, begun, noted) = noting();
    let ramp = Ramp::Batches {
        connections: 2,
        pause_ns: 60_000_000,
    };
    let go = begun.elapsed();
    let running = plan(driver, &server, connect(ramp), 6)
        .begin()
        .expect("a load");
    assert!(settled(&running, 6));
    let loaded = dismissed(running);
    loaded.assert_clean();
    assert!(eventually(PATIENCE, || server.open() == 0));
    let accepted = noted.lock().expect("no panic")[0].clone();
    for (number, at) in accepted.iter().enumerate() {
        let due = Duration::from_millis(60) * (number as u32 / 2);
        assert!(
            *at >= go + due,
            "connection {number} came at {at:?}, after {go:?}"
        );
    }
    assert_eq!(loaded.recorded.response.len(), 6, "from when they were due");
    assert_eq!(loaded.recorded.lag.len(), 6);
}

fn connections_are_closed_as_they_were_opened(driver: &'static dyn Driver) {
    if driver.capabilities().thread_per_connection {
        // The plan refuses it.
        return;
    }
    let (server, begun, noted) = noting();
    let mut plan = plan(driver, &server, connect(Ramp::PerSecond(1_000.0)), 5);
    plan.closing = Ramp::PerSecond(20.0);
    let running = plan.begin().expect("a load");
    assert!(settled(&running, 5));
    let told = begun.elapsed();
    let loaded = dismissed(running);
    loaded.assert_clean();
    assert_eq!(succeeded(&loaded), 5);
    assert!(eventually(PATIENCE, || server.open() == 0));
    let ended = noted.lock().expect("no panic")[1].clone();
    for (number, at) in ended.iter().enumerate() {
        let due = Duration::from_millis(50) * number as u32;
        assert!(
            *at >= told + due,
            "connection {number} ended at {at:?}, after {told:?}"
        );
    }
}

fn a_run_that_ends_while_it_opens_accounts_for_all(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    let running = plan(driver, &server, connect(Ramp::PerSecond(20.0)), 40).begin();
    let running = running.expect("a load");
    assert!(eventually(PATIENCE, || running.total(|p| &p.operations) >= 3));
    let loaded = dismissed(running);
    let recorded = &loaded.recorded;
    assert!(recorded.interrupted);
    assert_eq!(recorded.errors_total(), 0);
    assert_eq!(recorded.operations + recorded.unfinished.count, 40);
    assert!(
        recorded.unfinished.never_sent >= 30,
        "{:?}",
        recorded.unfinished
    );
    assert!(eventually(PATIENCE, || server.open() == 0));
}

/// Its queue takes two, and nobody accepts them: the kernel drops every further SYN.
fn full() -> (Directory, socket2::Socket) {
    let directory = Directory::new();
    let listener = raw::listen(Family::Tcp4, &directory, 1);
    (directory, listener)
}

fn a_connect_that_hangs_is_unfinished_at_the_end(driver: &'static dyn Driver) {
    let (_directory, listener) = full();
    let address = listener.local_addr().expect("bound");
    let mut plan = Plan::new(driver, &address, connect(Ramp::AtOnce));
    plan.drain = Duration::from_millis(100);
    let running = plan.connections(8).count(8).begin().expect("a load");
    let begun = || running.total(|p| &p.connections_started) == 8;
    assert!(eventually(PATIENCE, || begun()
        && running.total(|p| &p.operations) >= 1));
    std::thread::sleep(Duration::from_millis(100));
    let loaded = dismissed(running);
    let recorded = &loaded.recorded;
    assert!(
        (1..=3).contains(&recorded.operations),
        "{}",
        recorded.operations
    );
    assert_eq!(recorded.lost.iter().sum::<u64>(), 0, "nobody has ended one");
    assert_eq!(recorded.errors_total(), 0, "{:?}", recorded.error_texts);
    assert_eq!(recorded.operations + recorded.unfinished.count, 8);
}

fn only_so_many_connect_at_once(driver: &'static dyn Driver) {
    let (_directory, listener) = full();
    let address = listener.local_addr().expect("bound");
    let mut plan = Plan::new(driver, &address, connect(Ramp::AtOnce));
    plan.connects_at_once = 3;
    let running = plan.connections(12).count(12).begin().expect("a load");
    let hang = || {
        let (started, opened) = (
            running.total(|p| &p.connections_started),
            running.total(|p| &p.operations),
        );
        started - opened == 3 && opened >= 1
    };
    assert!(eventually(PATIENCE, hang));
    std::thread::sleep(Duration::from_millis(100));
    assert!(hang(), "the others wait for a place");
    let loaded = dismissed(running);
    assert_eq!(
        loaded.recorded.operations + loaded.recorded.unfinished.count,
        12
    );
}

//! Every event of every client: what is recorded adds up to what was done, on every engine.

use engine::control::Order;
use engine::driver::Driver;
use engine::load::Accounts;
use engine::meter::ErrorKind;
use engine::record::{ClientEvent, Ending, EventRecord, Happening};
use engine::session::How;
use engine::shape::{Pace, Ramp};
use engine::workload::{Closer, LoadSpec, ServeSpec};
use linerate_tests::load::{Loaded, Plan, Running, echo, rr, transaction, with};
use linerate_tests::raw::{self, Server};
use linerate_tests::testee::Testee;
use linerate_tests::{Directory, Family, eventually};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

linerate_tests::for_every_engine!(
    messages_on_connections_that_stay_are_recorded,
    transactions_are_recorded,
    messages_of_web_sockets_are_recorded,
    connections_that_are_held_are_recorded,
    a_peer_that_resets_crashes_its_clients,
    a_peer_that_never_accepts_times_clients_out,
);

linerate_tests::for_every_variant!(messages_on_connections_that_stay_are_recorded);

/// Runs a plan, and returns what it recorded, by client.
fn recorded(mut plan: Plan) -> (Loaded, BTreeMap<u32, Vec<ClientEvent>>) {
    let record = Arc::new(EventRecord::default());
    plan.event_record = Some(Arc::clone(&record));
    let loaded = plan.run();
    let mut clients: BTreeMap<u32, Vec<ClientEvent>> = BTreeMap::new();
    for (worker, mut ring) in record.new_readers() {
        assert!(worker < plan.workers);
        assert_eq!(ring.dropped(), 0);
        while let Some(event) = ring.pop() {
            clients.entry(event.client).or_default().push(event);
        }
    }
    let share = clients.keys().filter(|client| **client < plan.connections);
    assert_eq!(share.count(), clients.len(), "numbers in the whole run");
    (loaded, clients)
}

fn accounts(loaded: &Loaded) -> Accounts {
    let mut all = Accounts::default();
    let outcomes = loaded.outcomes.iter();
    outcomes.for_each(|outcome| all.add(outcome.accounts));
    all
}

fn count(clients: &BTreeMap<u32, Vec<ClientEvent>>, is: impl Fn(Happening) -> bool) -> u64 {
    let events = clients.values().flatten();
    events.filter(|event| is(event.what)).count() as u64
}

/// The end of connections that are opened once and held, when all are established or have failed.
fn dismissed(running: Running, connections: u64) -> Loaded {
    let ended = || running.total(|p| &p.operations) + running.total(|p| &p.errors);
    let all = eventually(Duration::from_secs(10), || ended() == connections);
    assert!(all, "{}", ended());
    running.control.order_all(Order::Stop);
    running.join().expect("a load")
}

/// One start, one exit for it, and nothing outside; every answer behind its message; instants only grow.
fn assert_in_order(clients: &BTreeMap<u32, Vec<ClientEvent>>) {
    for events in clients.values() {
        let (mut is_started, mut in_flight, mut last_ns) = (false, BTreeMap::new(), 0);
        for event in events {
            assert!(event.at_ns >= last_ns, "{event:?} behind {last_ns}");
            last_ns = event.at_ns;
            assert_eq!(is_started, event.what != Happening::Start, "{event:?}");
            match event.what {
                Happening::Start => is_started = true,
                Happening::Open => {}
                Happening::Sent(sequence) => {
                    assert_eq!(in_flight.insert(sequence, event.at_ns), None);
                }
                Happening::Received(sequence) => {
                    let sent_ns = in_flight.remove(&sequence).expect("it was sent");
                    assert!(event.at_ns > sent_ns, "it takes time");
                }
                Happening::Exit(_) => {
                    is_started = false;
                    in_flight.clear();
                }
            }
        }
        assert!(!is_started, "an exit is missing: {:?}", events.last());
    }
}

fn messages_on_connections_that_stay_are_recorded(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    for (spec, connections, workers) in [
        (rr(10, 10), 1, 1),
        (echo(1_000), 8, 2),
        (with(echo(100), 4, Pace::Closed), 3, 1),
    ] {
        let mut plan = Plan::new(driver, &server.address, spec);
        plan.workers = workers;
        let (loaded, clients) = recorded(plan.connections(connections).count(600));
        loaded.assert_clean();
        assert_in_order(&clients);
        let each = u64::from(connections);
        assert_eq!(clients.len() as u64, each);
        assert_eq!(count(&clients, |what| what == Happening::Start), each);
        assert_eq!(count(&clients, |what| what == Happening::Open), each);
        let normal = Happening::Exit(Ending::Normal);
        assert_eq!(count(&clients, |what| what == normal), each);
        let is_sent = |what| matches!(what, Happening::Sent(_));
        let is_received = |what| matches!(what, Happening::Received(_));
        assert_eq!(count(&clients, is_sent), 600);
        assert_eq!(count(&clients, is_received), 600);
        assert_eq!(loaded.recorded.operations, 600);
        // The latencies are those of the histogram, which keeps three digits.
        assert_same(&loaded, longest_ns(&clients));
    }
}

/// A client's numbers begin at 0, its opening is the end of its handshake, and it exits when it has said goodbye.
fn messages_of_web_sockets_are_recorded(driver: &'static dyn Driver) {
    let serve = ServeSpec::WebSocket {
        limit_message_bytes: 1_000,
    };
    let testee = Testee::start(driver, Family::Tcp4, serve);
    let spec = linerate_tests::load::web_socket(64, Pace::Closed);
    let plan = Plan::new(driver, &testee.address, with(spec, 3, Pace::Closed));
    let (loaded, clients) = recorded(plan.connections(5).count(300));
    loaded.assert_clean();
    assert_in_order(&clients);
    assert_same(&loaded, longest_ns(&clients));
    let is_sent = |what| matches!(what, Happening::Sent(_));
    let is_received = |what| matches!(what, Happening::Received(_));
    assert_eq!(count(&clients, is_sent), 300);
    assert_eq!(count(&clients, is_received), 300);
    assert_eq!(count(&clients, |what| what == Happening::Sent(0)), 5);
    assert_eq!(count(&clients, |what| what == Happening::Open), 5);
    let normal = Happening::Exit(Ending::Normal);
    assert_eq!(count(&clients, |what| what == normal), 5);
}

/// The longest latency that was recorded, ns.
fn longest_ns(clients: &BTreeMap<u32, Vec<ClientEvent>>) -> u64 {
    let (mut longest_ns, mut sent) = (0, BTreeMap::new());
    for event in clients.values().flatten() {
        match event.what {
            Happening::Sent(sequence) => {
                sent.insert((event.client, sequence), event.at_ns);
            }
            Happening::Received(sequence) => {
                let sent_ns = sent[&(event.client, sequence)];
                longest_ns = longest_ns.max(event.at_ns - sent_ns);
            }
            _ => {}
        }
    }
    longest_ns
}

fn assert_same(loaded: &Loaded, longest_ns: u64) {
    let of_histogram = loaded.recorded.service.max();
    let difference = longest_ns.abs_diff(of_histogram);
    assert!(
        difference <= of_histogram / 500,
        "{longest_ns} {of_histogram}"
    );
}

fn transactions_are_recorded(driver: &'static dyn Driver) {
    for (exchange, closer, how) in [
        (Some((100, 30_000)), Closer::Client, How::Fin),
        (Some((1, 1)), Closer::Server, How::Rst),
        (None, Closer::Client, How::Fin),
    ] {
        let (request_bytes, response_bytes) = exchange.unwrap_or((1, 1));
        let server_closes = closer == Closer::Server;
        let role = ServeSpec::Rr {
            request_bytes,
            response_bytes,
            close_after: server_closes.then_some(1),
            how,
        };
        let testee = Testee::start(driver, Family::Tcp4, role);
        let spec = transaction(exchange, closer, how);
        let plan = Plan::new(driver, &testee.address, spec).connections(3);
        let (loaded, clients) = recorded(plan.count(60));
        loaded.assert_clean();
        assert_in_order(&clients);
        let messages = if exchange.is_some() { 60 } else { 0 };
        for (what, expected) in [
            (Happening::Start, 60),
            (Happening::Open, 60),
            (Happening::Sent(0), messages),
            (Happening::Received(0), messages),
            (Happening::Exit(Ending::Normal), 60),
        ] {
            let found = count(&clients, |one| one == what);
            assert_eq!(found, expected, "{exchange:?} {closer:?} {what:?}");
        }
    }
}

fn connections_that_are_held_are_recorded(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, _| {
        conn.hear_all();
    });
    let spec = LoadSpec::Connect { ramp: Ramp::AtOnce };
    let record = Arc::new(EventRecord::default());
    let mut plan = Plan::new(driver, &server.address, spec)
        .connections(20)
        .count(20);
    plan.event_record = Some(Arc::clone(&record));
    let running = plan.begin().expect("it connects");
    let loaded = dismissed(running, 20);
    assert_eq!(accounts(&loaded).succeeded, 20);
    let mut kinds = [0; 3];
    for (_, mut ring) in record.new_readers() {
        while let Some(event) = ring.pop() {
            match event.what {
                Happening::Start => kinds[0] += 1,
                Happening::Open => kinds[1] += 1,
                Happening::Exit(Ending::Normal) => kinds[2] += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(kinds, [20; 3]);
}

fn a_peer_that_resets_crashes_its_clients(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, number| {
        if number == 0 {
            // The others are answered.
            std::thread::sleep(Duration::from_millis(100));
            conn.reset();
        } else {
            raw::echo(conn, number);
        }
    });
    let plan = Plan::new(driver, &server.address, rr(10, 10)).connections(3);
    let (loaded, clients) = recorded(plan.duration_ms(400));
    assert_in_order(&clients);
    let all = accounts(&loaded);
    let crash = Ending::Failed {
        kind: ErrorKind::Reset,
        errno: libc::ECONNRESET,
    };
    let crashes = count(&clients, |what| what == Happening::Exit(crash));
    assert_eq!((crashes, all.failed), (1, 1), "{all:?}");
    let starts = count(&clients, |what| what == Happening::Start);
    assert_eq!(starts, all.started);
    assert!(starts >= 4, "it came again: {all:?}");
}

/// A listener with a full backlog that nobody accepts from: Linux drops the SYNs of the others.
fn a_peer_that_never_accepts_times_clients_out(driver: &'static dyn Driver) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let directory = Directory::new();
    let listener = raw::listen(Family::Tcp4, &directory, 1);
    let address = listener.local_addr().expect("bound");
    let spec = LoadSpec::Connect { ramp: Ramp::AtOnce };
    let mut plan = Plan::new(driver, &address, spec).connections(6).count(6);
    plan.connect_timeout = Duration::from_millis(200);
    let record = Arc::new(EventRecord::default());
    plan.event_record = Some(Arc::clone(&record));
    let running = plan.begin().expect("it begins");
    let loaded = dismissed(running, 6);
    let expected = loaded.errors(ErrorKind::ConnectTimeout);
    assert!(expected > 0, "{:?}", loaded.recorded.error_texts);
    let mut found = 0;
    for (_, mut ring) in record.new_readers() {
        while let Some(event) = ring.pop() {
            let timed_out = Happening::Exit(Ending::ConnectTimeout);
            found += u64::from(event.what == timed_out);
        }
    }
    assert_eq!(found, expected);
}

//! WebSockets on every engine: clients are opened as they are due, every message is answered once, and whatever a server
//! does is counted as what it is.

use engine::driver::Driver;
use engine::meter::ErrorKind;
use engine::shape::{Pace, Ramp};
use engine::websocket::frame::{Kind, Opcode};
use engine::workload::{LoadSpec, ServeSpec};
use linerate_tests::load::{Loaded, Plan, web_socket as spec};
use linerate_tests::raw::{Conn, Server};
use linerate_tests::web_socket::{Said, WebSocket};
use linerate_tests::{Family, each_family, testee, web_socket};
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

linerate_tests::for_every_engine!(
    messages_come_back_as_what_they_were,
    clients_have_schedules_of_their_own,
    a_handshake_that_is_never_answered_is_a_client_that_failed,
    where_nobody_is_a_websocket_the_run_ends_at_once,
    a_count_ends_when_all_clients_are_gone,
    a_bad_frame_behind_the_handshake_is_no_opening,
    late_double_and_disordered_answers_are_told_apart,
    what_is_garbled_is_no_answer,
    clients_that_are_lost_stay_away_and_are_counted,
    the_end_is_a_goodbye,
    a_server_that_says_goodbye_is_answered_and_counted,
    pings_are_answered_while_messages_flow,
);

const MS: u64 = 1_000_000;

/// Changes a specification.
fn with(
    mut spec: LoadSpec,
    new_kind: Kind,
    new_frame_bytes: u32,
    new_depth: u32,
    new_ramp: Ramp,
) -> LoadSpec {
    if let LoadSpec::WebSocket { client, ramp } = &mut spec {
        (client.kind, client.frame_bytes, client.depth) = (new_kind, new_frame_bytes, new_depth);
        *ramp = new_ramp;
    }
    spec
}

const SERVE: ServeSpec = ServeSpec::WebSocket {
    limit_message_bytes: 1 << 20,
};

/// A server that answers each message with what `answer` says, given the connection, its number and the message's.
fn server(
    answer: impl Fn(&WebSocket, u32, u32, Kind, Vec<u8>) -> bool + Send + Sync + 'static,
) -> Server {
    Server::start(Family::Tcp4, move |conn, number| {
        let Some(mut socket) = WebSocket::accept(conn) else {
            return;
        };
        let mut count = 0;
        while let Some((kind, bytes)) = socket.hear_message() {
            if !answer(&socket, number, count, kind, bytes) {
                return;
            }
            count += 1;
        }
    })
}

fn accounted_for(loaded: &Loaded, clients: u64) {
    let accounts = loaded.outcomes.iter().map(|outcome| outcome.accounts);
    let (mut started, mut ended) = (0, 0);
    for one in accounts {
        started += one.started;
        ended += one.succeeded + one.failed + one.unfinished;
    }
    assert_eq!(
        (started, ended),
        (clients, clients),
        "each client ends once"
    );
}

fn lost(loaded: &Loaded, kind: ErrorKind) -> u64 {
    loaded.recorded.lost[kind as usize]
}

fn messages_come_back_as_what_they_were(driver: &'static dyn Driver) {
    each_family(|family| {
        let testee = testee::Plan::new(driver, family, SERVE).start();
        for (message_bytes, frame_bytes, kind) in [
            (8, 8, Kind::Binary),
            (300, 300, Kind::Text),
            (70_000, 70_000, Kind::Binary),
            (5_000, 700, Kind::Text),
        ] {
            let depth = 3;
            let spec = with(
                spec(message_bytes, Pace::Closed),
                kind,
                frame_bytes,
                depth,
                Ramp::AtOnce,
            );
            let mut plan = Plan::new(driver, &testee.address, spec)
                .connections(6)
                .count(600);
            plan.workers = 2;
            let loaded = plan.run();
            loaded.assert_clean();
            accounted_for(&loaded, 6);
            let recorded = &loaded.recorded;
            assert_eq!(recorded.operations, 600);
            assert_eq!((recorded.handshake.len(), recorded.connect.len()), (6, 6));
            let clients = recorded.clients.as_ref().expect("clients");
            assert_eq!((clients.count, clients.answers), (6, 600));
            assert!(clients.answers_least > 0);
        }
        let outcomes = testee.stop();
        drop(outcomes);
    });
}

fn clients_have_schedules_of_their_own(driver: &'static dyn Driver) {
    let heard = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&heard);
    let server = server(move |socket, number, _, kind, bytes| {
        seen.lock().unwrap().insert(number);
        std::thread::sleep(Duration::from_millis(30));
        socket.say_back(kind, &bytes);
        true
    });
    let spec = with(
        spec(64, Pace::Each(50 * MS)),
        Kind::Binary,
        64,
        1,
        Ramp::PerSecond(100.0),
    );
    let plan = Plan::new(driver, &server.address, spec)
        .connections(10)
        .duration_ms(1_000);
    let loaded = plan.run();
    loaded.assert_kept_up();
    accounted_for(&loaded, 10);
    let recorded = &loaded.recorded;
    // 20 a client in a second from its opening on, the last of which is opened after 90 ms.
    assert!(
        (170..=200).contains(&recorded.operations),
        "{}",
        recorded.operations
    );
    assert_eq!(heard.lock().unwrap().len(), 10);
    assert!(recorded.response.min() >= 30 * MS, "never early");
    // An arrival is not waited for in a receive: half of them are noticed within 5 ms.
    assert!(recorded.lag.value_at_quantile(0.5) < 5 * MS);
}

fn a_handshake_that_is_never_answered_is_a_client_that_failed(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, number| {
        if number % 3 == 1 {
            // Accepted, and never answered.
            let _ = conn.hear_all();
            return;
        }
        let Some(mut socket) = WebSocket::accept(conn) else {
            return;
        };
        while let Some((kind, bytes)) = socket.hear_message() {
            socket.say_back(kind, &bytes);
        }
    });
    let spec = with(
        spec(64, Pace::Closed),
        Kind::Binary,
        64,
        1,
        Ramp::PerSecond(200.0),
    );
    let mut plan = Plan::new(driver, &server.address, spec)
        .connections(9)
        .duration_ms(600);
    plan.connect_timeout = Duration::from_millis(200);
    let loaded = plan.run();
    let recorded = &loaded.recorded;
    assert_eq!(recorded.unopened[ErrorKind::ConnectTimeout as usize], 3);
    assert_eq!(recorded.handshake.len(), 6);
    assert_eq!(
        recorded.errors_total(),
        0,
        "no message has failed: {:?}",
        recorded.error_texts
    );
    assert!(recorded.operations > 6);
    accounted_for(&loaded, 9);
    assert_eq!(server.accepted(), 9, "none was opened again");
}

fn where_nobody_is_a_websocket_the_run_ends_at_once(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, _| {
        let _ = conn.hear(20);
        conn.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        until_gone(&conn);
    });
    let mut plan = Plan::new(driver, &server.address, spec(64, Pace::Closed)).connections(4);
    plan.workers = 2;
    for plan in [plan.clone().duration_ms(20_000), plan.count(1_000_000)] {
        let begun = Instant::now();
        let loaded = plan.run();
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "nobody is waited for"
        );
        let recorded = &loaded.recorded;
        assert_eq!(recorded.unopened[ErrorKind::Protocol as usize], 4);
        let (_, text) = &recorded.error_texts[0];
        assert!(text.contains("404 Not Found"), "{text}");
        accounted_for(&loaded, 4);
    }
}

/// What a client says does not matter any more.
fn until_gone(conn: &Conn) {
    while conn
        .0
        .recv(&mut [std::mem::MaybeUninit::uninit()])
        .is_ok_and(|length| length > 0)
    {}
}

fn a_count_ends_when_all_clients_are_gone(driver: &'static dyn Driver) {
    // One leaves after its third answer, the other is never let in.
    let server = Server::start(Family::Tcp4, |conn, number| {
        if number == 1 {
            return drop(conn);
        }
        let Some(mut socket) = WebSocket::accept(conn) else {
            return;
        };
        for _ in 0..3 {
            if let Some((kind, bytes)) = socket.hear_message() {
                socket.say_back(kind, &bytes);
            }
        }
    });
    for pace in [Pace::Closed, Pace::Each(20 * MS)] {
        let plan = Plan::new(driver, &server.address, spec(64, pace)).connections(2);
        let loaded = plan.count(1_000).run();
        let recorded = &loaded.recorded;
        assert!(recorded.interrupted, "it is not what was asked for");
        let ended = recorded.operations + recorded.errors_total() + recorded.unfinished.count;
        assert_eq!(ended, 1_000, "{:?}", recorded.unfinished);
        accounted_for(&loaded, 2);
    }
}

fn a_bad_frame_behind_the_handshake_is_no_opening(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, number| {
        let Some(head) = head(&conn) else { return };
        let reply = engine::websocket::handshake::judge_request(&head).expect("a head");
        let frame = web_socket::frame(true, Opcode::Ping, b"");
        let mut answer = [reply.text.as_bytes(), &frame].concat();
        if number % 2 == 1 {
            // A reserved bit, in the same segment.
            answer[reply.text.len()] |= 0x40;
        }
        conn.say(&answer);
        until_gone(&conn);
    });
    let spec = with(
        spec(64, Pace::Closed),
        Kind::Binary,
        64,
        1,
        Ramp::PerSecond(100.0),
    );
    let mut plan = Plan::new(driver, &server.address, spec)
        .connections(4)
        .duration_ms(200);
    plan.drain = Duration::from_millis(100);
    let loaded = plan.run();
    let recorded = &loaded.recorded;
    assert_eq!(recorded.unopened[ErrorKind::Protocol as usize], 2);
    assert_eq!(recorded.handshake.len(), 2);
    assert_eq!(recorded.clients.as_ref().map(|all| all.count), Some(2));
    accounted_for(&loaded, 4);
}

/// The head of a client's request.
fn head(conn: &Conn) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        (&conn.0).read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    Some(head)
}

fn late_double_and_disordered_answers_are_told_apart(driver: &'static dyn Driver) {
    let held = Mutex::new(None::<(Kind, Vec<u8>)>);
    let server = server(move |socket, _, number, kind, bytes| {
        match number {
            // Two in the order in which they did not come.
            0 => *held.lock().unwrap() = Some((kind, bytes)),
            1 => {
                socket.say_back(kind, &bytes);
                let (kind, bytes) = held.lock().unwrap().take().expect("the first");
                socket.say_back(kind, &bytes);
            }
            // One twice, and one late.
            2 => {
                socket.say_back(kind, &bytes);
                socket.say_back(kind, &bytes);
            }
            3 => {
                std::thread::sleep(Duration::from_millis(100));
                socket.say_back(kind, &bytes);
            }
            _ => socket.say_back(kind, &bytes),
        }
        true
    });
    let spec = with(spec(64, Pace::Closed), Kind::Binary, 64, 2, Ramp::AtOnce);
    let loaded = Plan::new(driver, &server.address, spec).count(20).run();
    assert_eq!(loaded.recorded.operations, 20, "each was answered");
    assert_eq!(loaded.errors(ErrorKind::Unsolicited), 1);
    assert_eq!(
        loaded.recorded.errors_total(),
        1,
        "{:?}",
        loaded.recorded.error_texts
    );
    assert!(loaded.recorded.service.max() >= 100 * MS);
    accounted_for(&loaded, 1);
}

fn what_is_garbled_is_no_answer(driver: &'static dyn Driver) {
    let server = server(|socket, _, number, kind, mut bytes| {
        match number {
            3 => bytes[20] ^= 1,
            4 => drop(bytes.pop()),
            5 => bytes[0] ^= 0x80,
            _ => {}
        }
        socket.say_back(kind, &bytes);
        true
    });
    let mut plan = Plan::new(driver, &server.address, spec(64, Pace::Each(20 * MS)));
    plan = plan.duration_ms(500);
    plan.spec = with(plan.spec, Kind::Binary, 64, 1, Ramp::AtOnce);
    plan.operation_timeout = Duration::from_millis(200);
    let loaded = plan.run();
    assert_eq!(
        loaded.errors(ErrorKind::Mismatch),
        2,
        "{:?}",
        loaded.recorded.error_texts
    );
    // The one whose number was garbled is nobody's answer, and its own never comes.
    assert_eq!(loaded.errors(ErrorKind::Unsolicited), 1);
    assert!(
        loaded.errors(ErrorKind::Timeout) >= 1,
        "{:?}",
        loaded.recorded.error_texts
    );
    assert_eq!(lost(&loaded, ErrorKind::Timeout), 1, "the client has left");
    accounted_for(&loaded, 1);
}

fn clients_that_are_lost_stay_away_and_are_counted(driver: &'static dyn Driver) {
    let server = server(|socket, number, count, kind, bytes| {
        socket.say_back(kind, &bytes);
        // Every other leaves after its third answer.
        number % 2 == 0 || count < 2
    });
    let mut plan = Plan::new(driver, &server.address, spec(64, Pace::Each(20 * MS)));
    plan = plan.connections(8).duration_ms(500);
    let loaded = plan.run();
    let all: u64 = loaded.recorded.lost.iter().sum();
    assert_eq!(all, 4, "{:?}", loaded.recorded.error_texts);
    assert_eq!(
        loaded.recorded.clients.as_ref().map(|all| all.count),
        Some(8)
    );
    assert_eq!(server.accepted(), 8, "none was opened again");
    accounted_for(&loaded, 8);
    let recorded = &loaded.recorded;
    assert!(
        recorded.operations >= 4 * 3 + 4 * 20,
        "{}",
        recorded.operations
    );
    // Who has left is owed nothing, though eighty would have been due; of the others only what a stall put off.
    let unfinished = &recorded.unfinished;
    assert_eq!(unfinished.count, unfinished.never_sent, "{unfinished:?}");
    assert!(unfinished.count <= 8, "{unfinished:?}");
}

fn the_end_is_a_goodbye(driver: &'static dyn Driver) {
    let goodbyes = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&goodbyes);
    let server = Server::start(Family::Tcp4, move |conn, _| {
        let mut socket = WebSocket::accept(conn).expect("a client");
        while let Some(said) = socket.hear() {
            match said {
                Said::Message(kind, bytes) => socket.say_back(kind, &bytes),
                Said::Control(Opcode::Close, payload) => {
                    assert_eq!(payload, 1000_u16.to_be_bytes());
                    socket.say(Opcode::Close, &payload);
                    count.fetch_add(1, SeqCst);
                    // The server closes first.
                    return;
                }
                Said::Control(other, _) => panic!("{other:?}"),
            }
        }
    });
    for spec in [spec(64, Pace::Closed), spec(64, Pace::Each(50 * MS))] {
        goodbyes.store(0, SeqCst);
        let loaded = Plan::new(driver, &server.address, spec)
            .connections(5)
            .duration_ms(200)
            .run();
        loaded.assert_kept_up();
        assert_eq!(goodbyes.load(SeqCst), 5, "each client has said goodbye");
        let succeeded: u64 = loaded
            .outcomes
            .iter()
            .map(|one| one.accounts.succeeded)
            .sum();
        assert_eq!(succeeded, 5);
    }
}

fn a_server_that_says_goodbye_is_answered_and_counted(driver: &'static dyn Driver) {
    let answered = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&answered);
    let server = Server::start(Family::Tcp4, move |conn, _| {
        let mut socket = WebSocket::accept(conn).expect("a client");
        let _ = socket.hear();
        socket.say(
            Opcode::Close,
            &[&1001_u16.to_be_bytes()[..], b"restart"].concat(),
        );
        while let Some(said) = socket.hear() {
            if let Said::Control(Opcode::Close, payload) = said {
                assert_eq!(payload, 1001_u16.to_be_bytes());
                count.fetch_add(1, SeqCst);
                return;
            }
        }
    });
    let plan = Plan::new(driver, &server.address, spec(64, Pace::Each(50 * MS)));
    let loaded = plan.connections(3).duration_ms(400).run();
    assert_eq!(lost(&loaded, ErrorKind::ClosedEarly), 3);
    let texts = &loaded.recorded.error_texts;
    assert!(
        texts
            .iter()
            .any(|(_, text)| text.contains("status 1001: restart")),
        "{texts:?}"
    );
    assert_eq!(answered.load(SeqCst), 3, "each has answered");
    accounted_for(&loaded, 3);
}

fn pings_are_answered_while_messages_flow(driver: &'static dyn Driver) {
    let pongs = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&pongs);
    let server = Server::start(Family::Tcp4, move |conn, _| {
        let Some(mut socket) = WebSocket::accept(conn) else {
            return;
        };
        while let Some(said) = socket.hear() {
            match said {
                Said::Message(kind, bytes) => {
                    socket.say(Opcode::Ping, b"there?");
                    // In fragments, with a ping in between.
                    let begin = web_socket::frame(false, kind.opcode(), &bytes[..10]);
                    socket.conn.say(&begin);
                    socket.say(Opcode::Ping, b"");
                    let rest = &bytes[10..];
                    socket.say(Opcode::Continuation, rest);
                }
                Said::Control(Opcode::Pong, payload) => {
                    assert!(payload.is_empty() || payload == b"there?");
                    count.fetch_add(1, SeqCst);
                }
                Said::Control(_, payload) => {
                    socket.try_say(Opcode::Close, &payload);
                    return;
                }
            }
        }
    });
    let loaded = Plan::new(driver, &server.address, spec(64, Pace::Closed))
        .connections(2)
        .count(50)
        .run();
    loaded.assert_clean();
    assert_eq!((loaded.recorded.operations, pongs.load(SeqCst)), (50, 100));
}

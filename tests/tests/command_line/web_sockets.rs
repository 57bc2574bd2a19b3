//! `run ws` and `serve --role ws` as their users meet them.

use super::documents::{RESULT, validate, whole};
use linerate_tests::binary::{call_line, within};
use linerate_tests::process::Finished;
use linerate_tests::raw::Server;
use linerate_tests::web_socket::WebSocket;
use linerate_tests::{Directory, Family};
use serde_json::Value;
use std::time::Duration;

/// What became of the clients of the first round: opened, failed, lost. Whatever happened, all are accounted for.
fn outcomes(document: &Value) -> [u64; 3] {
    let clients = &document["rounds"][0]["measured"]["clients"];
    let of = |name: &str| whole(clients, &format!("/{name}"));
    let [opened, failed, lost] = ["opened", "failed_total", "lost_total"].map(of);
    let all = whole(document, "/plan/connections");
    assert_eq!(opened + failed + of("not_opened"), all, "{clients:#}");
    assert_eq!(of("standing") + lost, opened, "{clients:#}");
    let accounts = &document["rounds"][0]["measured"]["connections"];
    let ended =
        ["succeeded", "failed", "unfinished"].map(|name| whole(accounts, &format!("/{name}")));
    assert_eq!(ended.iter().sum::<u64>(), whole(accounts, "/started"));
    [opened, failed, lost]
}

fn url(server: &Server) -> String {
    let address = server.address.as_socket().expect("an IP address");
    format!("ws://{address}/chat")
}

fn run(line: &str) -> Finished {
    call_line(&format!("run ws {line} --format json"))
}

#[test]
fn clients_come_up_by_their_ramp_and_each_message_is_answered() {
    within(60, || {
        let line = "--clients 60 --ramp 5ms --message-every 100ms -d 1s --load-agents 2 --testee-agents 2 --threads 2";
        let shown = run(line);
        assert_eq!(shown.code(), 0, "{}", shown.stderr);
        let document = shown.json();
        validate(&document, RESULT);
        assert_eq!(outcomes(&document), [60, 0, 0]);
        let measured = &document["rounds"][0]["measured"];
        // Nine or ten a client in a second.
        let operations = whole(measured, "/totals/operations");
        assert!((540..=600).contains(&operations), "{operations}");
        assert_eq!(whole(measured, "/latency/handshake/count"), 60);
        assert_eq!(whole(&document, "/plan/pace/every_ns"), 100_000_000);
        // The window begins when the ramp, of 295 ms, is over.
        assert_eq!(whole(&document, "/plan/warmup_ns"), 1_295_000_000);
        let ramp = measured["clients"]["ramp"].as_array().expect("a list");
        let last = ramp.last().expect("a point");
        assert_eq!((whole(last, "/started"), whole(last, "/opened")), (60, 60));
        let half = ramp.iter().find(|point| whole(point, "/opened") >= 30);
        let half_ns = whole(half.expect("a half"), "/at_ns");
        assert!(half_ns >= 29 * 5_000_000, "never early: {half_ns}");
        for side in ["load", "testee"] {
            let of_side = document.pointer(&format!(
                "/rounds/0/cost/{side}/memory_bytes_per_connection"
            ));
            assert!(of_side.is_some_and(Value::is_number), "{side}");
        }
        assert!(shown.stderr.contains("open 60"), "{}", shown.stderr);
    });
}

#[test]
fn the_text_counts_the_clients_out_and_draws_the_ramp() {
    within(60, || {
        let text =
            call_line("run ws --clients 40 --ramp 10ms --message-every 50ms -d 500ms --text")
                .stdout;
        for part in [
            "messages/s, p99 ",
            "40 clients",
            "one due for each client every 50 ms (800/s in all)",
            "a client opened every 10 ms",
            "text messages",
            "there at the end",
            "to each client from ",
            "# established",
            "handshake",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let page = call_line("run ws --clients 40 --ramp 5ms -d 200ms --format html").stdout;
        assert!(
            page.contains("Clients over time"),
            "the picture of the page"
        );
    });
}

#[test]
fn clients_that_fail_or_are_lost_are_a_failed_check() {
    within(60, || {
        let server = Server::start(Family::Tcp4, |conn, number| {
            if number % 4 == 1 {
                // Accepted, and never answered.
                let _ = conn.0.recv(&mut [std::mem::MaybeUninit::uninit(); 1_000]);
                std::thread::sleep(Duration::from_secs(5));
                return;
            }
            let Some(mut socket) = WebSocket::accept(conn) else {
                return;
            };
            let mut count = 0;
            while let Some((kind, bytes)) = socket.hear_message() {
                socket.say_back(kind, &bytes);
                count += 1;
                if number % 4 == 2 && count == 40 {
                    return;
                }
            }
        });
        let line = format!(
            "{} --clients 12 --ramp 10ms --message-every 20ms --connect-timeout 300ms --warmup 500ms -d 1s",
            url(&server)
        );
        let shown = run(&line);
        assert_eq!(shown.code(), 1, "{}", shown.stderr);
        let document = shown.json();
        assert_eq!(outcomes(&document), [9, 3, 3]);
        let clients = &document["rounds"][0]["measured"]["clients"];
        assert_eq!(clients["failed"][0]["kind"], "connect_timeout");
        assert!(
            shown.stderr.contains("3 of 12 clients could not be opened"),
            "{}",
            shown.stderr
        );
    });
}

#[test]
fn who_is_no_websocket_server_is_told_at_once() {
    within(60, || {
        let server = Server::start(Family::Tcp4, |conn, _| {
            let mut block = [std::mem::MaybeUninit::uninit(); 1_000];
            let _ = conn.0.recv(&mut block);
            conn.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            let _ = conn.0.recv(&mut block);
        });
        let shown = run(&format!("{} -c 5 -d 20s", url(&server)));
        assert_eq!(shown.code(), 4, "{}", shown.stderr);
        assert!(
            shown.stderr.contains("answered '200 OK' and not 101"),
            "{}",
            shown.stderr
        );
        let refused = run("ws://127.0.0.1:9 -d 20s");
        assert_eq!(refused.code(), 4, "{}", refused.stderr);
        for (line, part) in [
            ("run ws wss://localhost/x", "TLS"),
            ("run ws --size 7", "at least 8 bytes"),
            ("run ws --message-every 1s --rate 5", "--message-every"),
            ("run ws --header nonsense", "Name: value"),
            ("run rr ws://127.0.0.1:9", "tcp://"),
            (
                "serve --listen tcp://127.0.0.1:0 --role echo --max-message 1K",
                "--max-message",
            ),
        ] {
            let refused = call_line(line);
            assert_eq!(refused.code(), 2, "{line}: {}", refused.stderr);
            assert!(refused.stderr.contains(part), "{line}: {}", refused.stderr);
        }
    });
}

#[test]
fn the_record_and_the_result_say_the_same() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("clients.events");
        let line = format!(
            "--clients 20 --ramp 5ms --message-every 50ms --warmup 0s -d 1s --event-record {}",
            path.display()
        );
        let shown = run(&line);
        assert_eq!(shown.code(), 0, "{}", shown.stderr);
        let document = shown.json();
        let stats = call_line(&format!("events stats {} --format json", path.display()));
        assert_eq!(stats.code(), 0, "{}", stats.stderr);
        let stats = stats.json();
        let of = |name: &str| whole(&stats, &format!("/{name}"));
        assert_eq!((of("clients"), of("handshakes")), (20, 20));
        assert_eq!((of("connection_timeouts"), of("crashes")), (0, 0));
        // All of it is in the window, but what is answered after its end.
        let operations = whole(&document, "/rounds/0/measured/totals/operations");
        assert!(of("messages_recv") >= operations && of("messages_recv") <= operations + 20);
        assert_eq!(of("messages_sent"), of("messages_recv"));
        let handshakes = whole(&document, "/rounds/0/measured/latency/handshake/count");
        assert_eq!(handshakes, 20);
    });
}

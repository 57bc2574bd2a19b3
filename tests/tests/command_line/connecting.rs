//! `run connect` as its users meet it: what became of every connection, how it ends, and how many there can be.

use super::documents::{RESULT, validate, whole};
use linerate_tests::binary::{Call, call, call_line, within};
use linerate_tests::process::Finished;
use linerate_tests::raw::{self, Server};
use linerate_tests::{Directory, Family};
use serde_json::Value;
use std::time::Duration;

fn sum(list: &Value) -> u64 {
    let counts = list.as_array().expect("a list").iter();
    counts.map(|one| whole(one, "/count")).sum()
}

/// What became of the connections of the first round: established, failed, unfinished, lost. Their sum is what was
/// asked for, whatever happened.
fn outcomes(document: &Value) -> [u64; 4] {
    let measured = &document["rounds"][0]["measured"];
    let established = whole(measured, "/totals/operations");
    let failed = sum(&measured["errors"]);
    let unfinished = whole(measured, "/unfinished/count");
    let lost = sum(&measured["held"]["lost"]);
    let all = whole(document, "/plan/connections");
    assert_eq!(established + failed + unfinished, all, "{measured:#}");
    assert_eq!(whole(measured, "/held/standing") + lost, established);
    [established, failed, unfinished, lost]
}

fn target(server: &Server) -> String {
    let address = server.address.as_socket().expect("an IP address");
    format!("tcp://{address}")
}

fn run(line: &str) -> Finished {
    call_line(&format!("run connect {line} --format json"))
}

#[test]
fn all_that_are_established_and_kept_are_a_success() {
    within(60, || {
        let shown = run("-c 50 --delay 2ms --hold 300ms --load-agents 3 --testee-agents 2");
        assert_eq!(shown.code(), 0, "{}", shown.stderr);
        let document = shown.json();
        validate(&document, RESULT);
        assert_eq!(outcomes(&document), [50, 0, 0, 0]);
        let measured = &document["rounds"][0]["measured"];
        assert!(whole(measured, "/held/length_ns") >= 300_000_000);
        // The last is due 98 ms after the first.
        assert!(whole(&document, "/rounds/0/window/length_ns") >= 98_000_000);
        let intervals = measured["intervals"].as_array().expect("a list").iter();
        let of = |name: &str| {
            let all = intervals.clone();
            all.map(|one| one[name].as_u64().unwrap_or(0)).sum::<u64>()
        };
        assert_eq!((of("operations"), of("connections_started")), (50, 50));
        for part in [
            "established 50",
            "50 connections: 3 load processes",
            "2 testee processes",
        ] {
            assert!(shown.stderr.contains(part), "{part}: {}", shown.stderr);
        }
    });
}

#[test]
fn the_text_says_what_became_of_them_and_draws_the_ramp() {
    within(60, || {
        let text = call_line("run connect -c 40 --delay 10ms --hold 100ms").stdout;
        for part in [
            "40 of 40 connections established in ",
            "100 connections/s due at equal distances",
            "standing when they were closed",
            "# established",
            "40 |",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("operations/s"), "{text}");
        let page = call_line("run connect -c 40 --delay 10ms --hold 0s --format html").stdout;
        assert!(
            page.contains("Connections over time"),
            "the picture of the page"
        );
    });
}

#[test]
fn who_closes_or_resets_what_it_accepted_is_told() {
    within(60, || {
        let server = Server::start(Family::Tcp4, |conn, number| match number % 5 {
            0 => {
                std::thread::sleep(Duration::from_millis(100));
                drop(conn);
            }
            _ => raw::echo(conn, number),
        });
        let shown = run(&format!(
            "{} -c 20 --delay 1ms --hold 600ms",
            target(&server)
        ));
        assert_eq!(shown.code(), 1, "{}", shown.stderr);
        assert_eq!(outcomes(&shown.json()), [20, 0, 0, 4]);
        let said = "of 20 connections, 4 were established and lost";
        assert!(shown.stderr.contains(said), "{}", shown.stderr);
    });
}

#[test]
fn a_refusal_of_all_is_the_peers_and_one_of_some_a_failed_check() {
    within(60, || {
        let directory = Directory::new();
        // Its queue takes two, and nobody accepts them: the rest is dropped until its time is over.
        let listener = raw::listen(Family::Tcp4, &directory, 1);
        let address = listener.local_addr().expect("bound");
        let full = format!("tcp://{}", address.as_socket().expect("an IP address"));
        let some = run(&format!(
            "{full} -c 8 --delay 1ms --hold 0s --timeout 300ms"
        ));
        assert_eq!(some.code(), 1, "{}", some.stderr);
        let [established, failed, ..] = outcomes(&some.json());
        assert!(established > 0 && failed > 0, "{established} and {failed}");
        drop(listener);
        let none = run(&format!("{full} -c 8 --delay 1ms --hold 0s"));
        assert_eq!(none.code(), 4, "{}", none.stderr);
        assert_eq!(outcomes(&none.json()), [0, 8, 0, 0]);
        let said = "no connection was established in round 1: 8 times connection refused";
        assert!(none.stderr.contains(said), "{}", none.stderr);
    });
}

#[test]
fn held_until_told_ends_well_by_a_signal_and_before_that_it_is_an_interruption() {
    within(60, || {
        let begin = |line: &str| Call::start(&line.split(' ').collect::<Vec<_>>());
        let mut held = begin("run connect -c 20 --delay 1ms --hold --format json");
        held.hears("holding, until Enter or Ctrl-C  dialing 0  established 20");
        held.kept().signal(libc::SIGINT);
        let held = held.finish(Duration::from_secs(20));
        assert_eq!(held.code(), 0, "{}", held.stderr);
        assert_eq!(outcomes(&held.json()), [20, 0, 0, 0]);
        assert_eq!(held.json()["status"], "ok");
        let mut dialing = begin("run connect -c 500 --delay 100ms --format json --hold");
        dialing.hears("established 2");
        dialing.kept().signal(libc::SIGINT);
        let dialing = dialing.finish(Duration::from_secs(20));
        assert_eq!(dialing.code(), 130, "{}", dialing.stderr);
        let [established, failed, unfinished, lost] = outcomes(&dialing.json());
        assert!(
            established >= 2 && unfinished > 400,
            "{established}, {unfinished}"
        );
        assert_eq!((failed, lost), (0, 0));
    });
}

#[test]
fn a_load_that_dies_leaves_a_partial_result_with_all_connections_accounted_for() {
    within(60, || {
        let line = "run connect -c 20 --delay 1ms --hold 20s --load-agents 2 --format json";
        let mut call = Call::start(&line.split(' ').collect::<Vec<_>>());
        call.hears("established 20");
        let victim = *call.agents(3).last().expect("agents");
        // SAFETY: kill takes two integers; the process carries the mark of this very call.
        unsafe { libc::kill(victim, libc::SIGKILL) };
        let ended = call.finish(Duration::from_secs(20));
        assert_eq!(ended.code(), 1, "{}", ended.stderr);
        let words = [
            "the load-2 agent was killed by signal 9",
            "a partial result",
        ];
        assert!(
            words.iter().all(|word| ended.stderr.contains(word)),
            "{}",
            ended.stderr
        );
        let document = ended.json();
        assert_eq!(document["status"], "partial");
        let accounts = &document["rounds"][0]["measured"]["connections"];
        assert_eq!(
            (&accounts["started"], &accounts["unfinished"]),
            (&20.into(), &10.into())
        );
    });
}

#[test]
fn where_nothing_is_left_to_hold_nothing_is_waited_for() {
    within(60, || {
        let server = Server::start(Family::Tcp4, |conn, _| {
            std::thread::sleep(Duration::from_millis(300));
            drop(conn);
        });
        let begun = std::time::Instant::now();
        let shown = run(&format!("{} -c 10 --delay 1ms --hold 1h", target(&server)));
        assert_eq!(shown.code(), 1, "{}", shown.stderr);
        assert_eq!(outcomes(&shown.json()), [10, 0, 0, 10]);
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn the_rate_of_several_loads_is_that_of_the_whole_window() {
    within(60, || {
        // The last of them is due a second after the first.
        let shown = run("-c 11 --delay 100ms --hold 0s --load-agents 2");
        let document = shown.json();
        let rate = document["rounds"][0]["rates"]["operations_per_second"].as_f64();
        let window_s = whole(&document, "/rounds/0/window/length_ns") as f64 / 1e9;
        assert!(window_s >= 1.0, "{window_s} s");
        let (rate, expected) = (rate.expect("a rate"), 11.0 / window_s);
        assert!(
            (rate - expected).abs() < 1e-6 * expected,
            "{rate} and {expected}"
        );
    });
}

#[test]
fn what_does_not_go_with_it_is_refused() {
    within(60, || {
        for (line, part) in [
            ("-n 5", "--count does not go with run connect"),
            ("-d 5s", "--duration does not go with run connect"),
            ("-w 1s", "--warmup does not go with run connect"),
            ("--rate 5 --delay 1s", "choose one"),
            (
                "--delay 0 --close ramp",
                "--close ramp does not go with --delay 0",
            ),
            ("--close ramp -e blocking", "such as --engine epoll"),
            ("--repeat 2 --hold", "for example --hold 10s"),
            ("--hold tcp://127.0.0.1:9", "write --hold last"),
            ("--delay 100h -c 10M", "due within two days"),
            (
                "--delay 1s -c 100k --interval 10ms",
                "at most 100000 intervals",
            ),
        ] {
            let line = format!("run connect {line}");
            call(&line.split(' ').collect::<Vec<_>>()).assert_refused(2, &[part]);
        }
        let line = "compare connect --engines epoll,blocking -c 5 --hold";
        call_line(line).assert_refused(2, &["--hold without a duration does not go with compare"]);
    });
}

/// The seed's number, over as many processes as the limit of descriptors asks for, on either side.
#[cfg(target_os = "linux")]
#[test]
fn sixty_thousand_connections_stand_at_the_same_time() {
    linerate_tests::binary::alone(240, || {
        for engine in ["uring", "epoll"] {
            let line = format!("-c 60k --delay 0 --hold 1s -e {engine} --testee-engine {engine}");
            let shown = run(&line);
            assert_eq!(shown.code(), 0, "{engine}: {}", shown.stderr);
            let document = shown.json();
            assert_eq!(outcomes(&document), [60_000, 0, 0, 0], "{engine}");
            let accepted: u64 = document["rounds"][0]["testee"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|side| whole(side, "/measured/totals/connections_opened"))
                .sum();
            assert_eq!(accepted, 60_000, "{engine}: by the testees");
        }
    });
}

/// User memory of an idle connection on either side, from the difference between many and few of them.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_connection_costs_at_most_a_kibibyte_of_user_memory() {
    let Ok(limit) = engine::os::raise_descriptor_limit() else {
        return;
    };
    if limit.soft < 18_200 {
        return linerate_tests::skip("idle_memory", "fewer than 18,200 descriptors");
    }
    linerate_tests::binary::alone(240, || {
        let memory = |engine: &str, connections: u64| {
            let shown = run(&format!(
                "-c {connections} --delay 0 --hold 0s -e {engine} --testee-engine {engine}"
            ));
            let document = shown.json();
            assert_eq!(
                outcomes(&document)[0],
                connections,
                "{engine}: {}",
                shown.stderr
            );
            ["load", "testee"].map(|side| {
                whole(
                    &document,
                    &format!("/rounds/0/{side}/0/process/max_rss_bytes"),
                )
            })
        };
        for engine in ["uring", "epoll"] {
            let (few, many) = (memory(engine, 2_000), memory(engine, 18_000));
            for (few, many) in few.into_iter().zip(many) {
                let each = many.saturating_sub(few) / 16_000;
                assert!(each <= 1_024, "{engine}: {each} bytes a connection");
                assert!(each > 16, "{engine}: {each} bytes cannot be all");
            }
        }
    });
}

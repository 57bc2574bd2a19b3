//! Runs as a newcomer types them, short, and what comes out of them.

use super::documents::{RESULT, number, validate};
use linerate_tests::binary::{Call, call, call_line, within};
use linerate_tests::raw::{self, Server};
use linerate_tests::{Directory, Family, drivers};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// The engines that run here, by name.
fn engines() -> Vec<&'static str> {
    let all = drivers()
        .into_iter()
        .filter_map(|driver| linerate_tests::driver(driver.name()));
    all.map(|driver| driver.name()).collect()
}

fn at<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document
        .pointer(pointer)
        .unwrap_or_else(|| panic!("no {pointer} in {document:#}"))
}

/// What every good document of one round says.
fn check(document: &Value) {
    validate(document, RESULT);
    assert_eq!(at(document, "/status"), "ok");
    assert_eq!(
        at(document, "/rounds/0/measured/errors"),
        &Value::Array(vec![])
    );
    assert!(number(document, "/rounds/0/measured/totals/operations") > 0.0);
    assert!(number(document, "/rounds/0/window/length_ns") > 0.0);
    check_intervals(document);
    for side in ["load", "testee"] {
        assert!(
            number(document, &format!("/rounds/0/{side}/0/process/cpu_ns")) > 0.0,
            "{side}"
        );
    }
}

/// Intervals cut the window exactly: they follow one another from its begin to its end, and add up to what it has.
fn check_intervals(document: &Value) {
    let intervals = at(document, "/rounds/0/measured/intervals")
        .as_array()
        .expect("a list");
    let of = |interval: &Value, field: &str| interval[field].as_u64().expect("a number");
    let mut end_ns = 0;
    for interval in intervals {
        assert_eq!(of(interval, "start_offset_ns"), end_ns, "{intervals:#?}");
        end_ns += of(interval, "length_ns");
    }
    let window_ns = number(document, "/rounds/0/window/length_ns");
    assert_eq!(end_ns as f64, window_ns, "{intervals:#?}");
    for field in ["operations", "bytes_sent", "bytes_received"] {
        let sum: u64 = intervals.iter().map(|interval| of(interval, field)).sum();
        let total = number(document, &format!("/rounds/0/measured/totals/{field}"));
        assert_eq!(sum as f64, total, "{field}: {intervals:#?}");
    }
}

/// What became of the connections of the load: started, and the three that this is the sum of.
fn connections(document: &Value) -> [u64; 4] {
    ["started", "succeeded", "failed", "unfinished"]
        .map(|field| number(document, &format!("/rounds/0/measured/connections/{field}")) as u64)
}

#[test]
fn every_connection_of_a_load_is_accounted_for() {
    within(120, || {
        for engine in engines() {
            for workload in ["rr", "crr", "stream"] {
                let line = format!(
                    "run {workload} -c 4 --duration 200ms --warmup 50ms --quiet --format json \
                     --engine {engine}"
                );
                let finished = call_line(&line);
                assert_eq!(finished.code(), 0, "{line}: {}", finished.stderr);
                let [started, succeeded, failed, unfinished] = connections(&finished.json());
                assert!(started >= 4, "{line}: {started}");
                assert_eq!(started, succeeded + failed + unfinished, "{line}");
                assert_eq!(failed, 0, "{line}");
            }
        }
    });
}

/// A server that takes a request and resets, answers, or keeps silent, each in its turn.
#[test]
fn connections_that_are_lost_or_never_answered_are_accounted_for() {
    within(120, || {
        let server = Server::start(Family::Tcp4, |connection, number| match number % 3 {
            0 => {
                connection.hear(1);
                connection.reset();
            }
            1 => raw::echo(connection, number),
            _ => connection.hears_nothing_for(Duration::from_millis(1)),
        });
        let port = server.address.as_socket().expect("TCP").port();
        for engine in engines() {
            for workload in ["rr", "crr"] {
                let line = format!(
                    "run {workload} 127.0.0.1:{port} -c 6 --duration 300ms --warmup 0s --timeout 100ms \
                     --drain 50ms --quiet --format json --engine {engine}"
                );
                let finished = call_line(&line);
                let document = finished.json();
                let [started, succeeded, failed, unfinished] = connections(&document);
                assert_eq!(started, succeeded + failed + unfinished, "{line}");
                assert!(
                    failed > 0,
                    "{line}: {started} {succeeded} {failed} {unfinished}"
                );
            }
        }
    });
}

/// Somebody takes CPUs away from the load while it measures.
#[cfg(target_os = "linux")]
#[test]
fn cpus_that_are_taken_away_meanwhile_are_told() {
    if !linerate_tests::process::needs("cpus_that_are_taken_away", "taskset") {
        return;
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return linerate_tests::skip("cpus_that_are_taken_away", "there is only one CPU");
    }
    within(60, || {
        let words = "run rr --duration 1s --warmup 0s --interval 100ms --format json";
        let words: Vec<&str> = words.split(' ').collect();
        let mut running = Call::start(&words);
        let agents = running.agents(2);
        running.hears("/s");
        for agent in &agents {
            let status = std::process::Command::new("taskset")
                .args([
                    "--all-tasks",
                    "--pid",
                    "--cpu-list",
                    "0",
                    &agent.to_string(),
                ])
                .stdout(std::process::Stdio::null())
                .status();
            assert!(status.is_ok_and(|status| status.success()));
        }
        let finished = running.finish(Duration::from_secs(20));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        let warnings = at(&document, "/warnings").to_string();
        // Both agents say it, in the same words.
        assert_eq!(warnings.matches("cpus_changed").count(), 1, "{warnings}");
        assert!(warnings.contains("are 0 after it"), "{warnings}");
    });
}

/// Its bytes count as they go.
#[test]
fn a_stream_of_messages_that_never_end_is_a_success() {
    within(120, || {
        for driver in drivers() {
            let engine = driver.name();
            let line = format!(
                "run stream --size 1G -c 8 -d 300ms --warmup 100ms --engine {engine} --format json"
            );
            let finished = call(&line.split(' ').collect::<Vec<_>>());
            assert_eq!(finished.code(), 0, "{engine}: {}", finished.stderr);
            let document: Value = serde_json::from_str(&finished.stdout).expect("JSON");
            let bits = &document["rounds"][0]["rates"]["to_testee_bits_per_second"];
            assert!(bits.as_f64() > Some(1e8), "{engine}: {bits}");
        }
    });
}

#[test]
fn a_pause_of_the_load_is_one_long_interval() {
    within(60, || {
        let words = "run rr --duration 1s --warmup 0s --interval 10ms --format json";
        let words: Vec<&str> = words.split(' ').collect();
        let mut call = Call::start(&words);
        let load = call.agents(2)[1];
        call.hears("/s");
        // SAFETY: kill takes two integers; the process is an agent of this very call.
        unsafe { libc::kill(load, libc::SIGSTOP) };
        std::thread::sleep(Duration::from_millis(300));
        // SAFETY: as above.
        unsafe { libc::kill(load, libc::SIGCONT) };
        let finished = call.finish(Duration::from_secs(30));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        check_intervals(&document);
        let lengths: Vec<u64> = at(&document, "/rounds/0/measured/intervals")
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|interval| interval["length_ns"].as_u64())
            .collect();
        assert!(lengths.iter().any(|ns| *ns > 250_000_000), "{lengths:?}");
        // Those that it missed are not made up for.
        assert!(
            lengths.len() <= 74,
            "{} intervals: {lengths:?}",
            lengths.len()
        );
    });
}

#[test]
fn a_tiny_run_that_counts_misses_nothing() {
    within(60, || {
        for engine in engines() {
            let finished = call_line(&format!(
                "run rr --engine {engine} --testee-engine {engine} --warmup 0s --count 400 --connections 4 \
                 --threads 2 --testee-threads 2 --request 100 --response 10 --format json --quiet"
            ));
            assert_eq!(finished.code(), 0, "{engine}: {}", finished.stderr);
            let document = finished.json();
            check(&document);
            for (side, received, sent) in
                [("load", 4_000.0, 40_000.0), ("testee", 40_000.0, 4_000.0)]
            {
                let total = |what: &str| {
                    number(
                        &document,
                        &format!("/rounds/0/{side}/0/measured/totals/{what}"),
                    )
                };
                let totals = (total("bytes_received"), total("bytes_sent"));
                assert_eq!(totals, (received, sent), "{engine}, {side}");
            }
            // CPU time and window are of the same span: no more than the machine has.
            let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
            let busy = number(&document, "/rounds/0/cost/load/cpu_cores_busy");
            assert!(busy <= cpus + 0.5, "{engine}: {busy} of {cpus} CPUs");
        }
    });
}

const SHORT: [&str; 6] = [
    "--duration",
    "300ms",
    "--warmup",
    "100ms",
    "--format",
    "json",
];

#[test]
fn every_workload_on_every_engine() {
    within(280, || {
        let workloads: [&[&str]; 8] = [
            &["rr"],
            &["echo", "--connections", "8", "--size", "4K"],
            &["stream", "--direction", "send"],
            &["stream", "--direction", "receive", "--connections", "2"],
            &["stream", "--direction", "both"],
            &["crr", "--connections", "2"],
            &["cc", "--closer", "server"],
            &["rr", "--testee-listen", "tcp://[::1]:0", "--rate", "500"],
        ];
        for engine in engines() {
            for workload in workloads {
                let mut line = vec!["run"];
                line.extend(workload);
                line.extend(["--engine", engine, "--testee-engine", engine]);
                line.extend(SHORT);
                let finished = call(&line);
                assert_eq!(finished.code(), 0, "{line:?}: {}", finished.stderr);
                let document = finished.json();
                check(&document);
                assert_eq!(at(&document, "/rounds/0/load/0/engine/used"), engine);
                assert_eq!(at(&document, "/rounds/0/testee/0/engine/used"), engine);
            }
        }
    });
}

#[test]
fn several_processes_a_side_are_one_measurement() {
    within(60, || {
        let finished = call_line(
            "run echo --connections 24 --load-agents 2 --testee-agents 2 --duration 500ms --warmup 100ms \
             --interval 100ms --format json --quiet",
        );
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        check(&document);
        let sides = |side: &str| {
            at(&document, &format!("/rounds/0/{side}"))
                .as_array()
                .cloned()
        };
        let (load, testee) = (sides("load").unwrap(), sides("testee").unwrap());
        assert_eq!((load.len(), testee.len()), (2, 2));
        let pids: std::collections::BTreeSet<u64> = load
            .iter()
            .chain(&testee)
            .map(|side| side["pid"].as_u64().expect("a process"))
            .collect();
        assert_eq!(pids.len(), 4, "each is a process of its own");
        for side in &load {
            assert_eq!(side["measured"]["totals"]["connections_opened"], 12);
        }
        let total = number(&document, "/rounds/0/measured/totals/operations");
        let parts: f64 = load
            .iter()
            .filter_map(|side| side["measured"]["totals"]["operations"].as_f64())
            .sum();
        assert_eq!(total, parts);
        assert_eq!(number(&document, "/plan/load_agents"), 2.0);
        assert_eq!(number(&document, "/plan/testee_agents"), 2.0);
    });
}

#[test]
fn the_newcomers_first_command() {
    within(60, || {
        let finished = call_line("run rr --duration 300ms --warmup 100ms");
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        for part in ["operations", "p99", "uring", "CPU", "What to run next"] {
            assert!(
                finished.stdout.contains(part) || part == "uring",
                "{part}: {}",
                finished.stdout
            );
        }
        assert!(!finished.stdout.contains('\x1b'), "no colours into a pipe");
        let quiet = call_line("run rr --duration 200ms --warmup 0s --quiet");
        assert_eq!((quiet.code(), quiet.stderr.as_str()), (0, ""));
    });
}

#[test]
fn both_sides_agree_on_the_bytes() {
    within(60, || {
        let mut line = vec![
            "run",
            "rr",
            "--request",
            "100",
            "--response",
            "1000",
            "--count",
            "2000",
        ];
        line.extend([
            "--connections",
            "4",
            "--threads",
            "2",
            "--warmup",
            "0s",
            "--format",
            "json",
        ]);
        let finished = call(&line);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        check(&document);
        assert_eq!(
            number(&document, "/rounds/0/measured/totals/operations"),
            2_000.0
        );
        assert_eq!(
            number(&document, "/rounds/0/measured/totals/bytes_sent"),
            200_000.0
        );
        assert_eq!(
            number(&document, "/rounds/0/measured/totals/bytes_received"),
            2_000_000.0
        );
        // The testee's counters are read a moment after the first requests.
        let pointer = "/rounds/0/testee/0/measured/totals/bytes_received";
        let received = number(&document, pointer);
        assert!((150_000.0..=200_000.0).contains(&received), "{received}");
    });
}

#[test]
fn repeats_have_a_confidence_interval() {
    within(60, || {
        let mut line = vec!["run", "rr", "--repeat", "3"];
        line.extend(SHORT);
        let finished = call(&line);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        check(&document);
        assert_eq!(at(&document, "/rounds").as_array().map(Vec::len), Some(3));
        let half = "/summary/metrics/rate_per_second/confidence_interval_95_half_width";
        assert!(number(&document, half) > 0.0);
    });
}

#[test]
fn results_go_where_they_are_told() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("result.json");
        let name = path.display().to_string();
        let mut line = vec![
            "run",
            "echo",
            "--output",
            &name,
            "--events",
            "-",
            "--interval",
            "100ms",
        ];
        line.extend(SHORT);
        let finished = call(&line);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        check(&serde_json::from_str(&fs::read_to_string(&path).expect("written")).expect("JSON"));
        let events: Vec<Value> = finished
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        let kinds: Vec<_> = events
            .iter()
            .filter_map(|event| event["event"].as_str())
            .collect();
        assert_eq!(
            (kinds.first(), kinds.last()),
            (Some(&"start"), Some(&"end")),
            "{kinds:?}"
        );
        assert!(
            kinds.iter().filter(|kind| **kind == "interval").count() >= 2,
            "{kinds:?}"
        );
        assert_eq!(
            fs::read_dir(directory.path()).map_or(0, Iterator::count),
            1,
            "nothing else"
        );

        let finished = call_line("run rr --duration 200ms --warmup 0s --format csv");
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let columns = |line: &str| line.split(',').count();
        let mut lines = finished.stdout.lines();
        let header = columns(lines.next().expect("a header"));
        assert!(
            header > 2 && lines.clone().count() > 10,
            "{}",
            finished.stdout
        );
    });
}

#[test]
fn a_foreign_target_leaves_out_what_it_cannot_know() {
    within(60, || {
        let server = Server::start(Family::Tcp4, raw::echo);
        let target = format!("tcp://{}", server.address.as_socket().expect("TCP"));
        let mut line = vec!["run", "echo", &target, "--connections", "3"];
        line.extend(SHORT);
        let finished = call(&line);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        assert_eq!(at(&document, "/rounds/0/testee"), &Value::Array(vec![]));
        assert_eq!(
            at(&document, "/rounds/0/cost/testee/cpu_ns_per_operation"),
            &Value::Null
        );
        let reasons = at(&document, "/rounds/0/cost/testee/unknown").to_string();
        assert!(reasons.contains("not a testee of this run"), "{reasons}");

        let sink = Server::start(Family::Tcp4, |conn, _| drop(conn.hear_all()));
        let target = format!("tcp://{}", sink.address.as_socket().expect("TCP"));
        let finished = call(&[
            "run",
            "stream",
            &target,
            "--duration",
            "300ms",
            "--warmup",
            "0s",
        ]);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(
            finished.stdout.contains("sender side, unconfirmed"),
            "{}",
            finished.stdout
        );
    });
}

#[test]
fn sources_are_used_in_turn() {
    within(60, || {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let peers = std::sync::Arc::clone(&seen);
        let server = Server::start(Family::Tcp4, move |conn, number| {
            let peer = conn
                .0
                .peer_addr()
                .ok()
                .and_then(|address| address.as_socket());
            peers
                .lock()
                .expect("no panic")
                .push(peer.expect("TCP").ip().to_string());
            raw::echo(conn, number);
        });
        let target = format!("tcp://{}", server.address.as_socket().expect("TCP"));
        let mut line = vec!["run", "rr", &target, "--source", "127.0.0.5,127.0.0.6"];
        line.extend(["--connections", "4", "--count", "100", "--warmup", "0s"]);
        let finished = call(&line);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let mut seen = seen.lock().expect("no panic").clone();
        seen.sort();
        assert_eq!(seen, ["127.0.0.5", "127.0.0.5", "127.0.0.6", "127.0.0.6"]);
    });
}

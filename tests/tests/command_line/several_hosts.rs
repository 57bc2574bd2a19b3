//! Several hosts a side, as network namespaces on a bridge: what they measure together, and what becomes of it where
//! one of them is cut off, killed, silent, of another time or of another version.

use super::documents::number;
use linerate_tests::binary::{Call, linerate, within};
use linerate_tests::network::{Network, address, via};
use linerate_tests::process::{Finished, piped};
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);
const QUICK: [&str; 10] = [
    "--duration",
    "1s",
    "--warmup",
    "200ms",
    "--interval",
    "200ms",
    "--format",
    "json",
    "--engine",
    "epoll",
];

/// [`QUICK`] with more.
fn quick<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&QUICK[..], more].concat()
}

fn items<'a>(document: &'a Value, pointer: &str) -> &'a [Value] {
    let found = document.pointer(pointer).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list at {pointer}: {document:#}"))
}

/// Every connection that was started succeeded, failed or is unfinished.
fn assert_accounted(document: &Value) {
    let of = |what: &str| number(document, &format!("/rounds/0/measured/connections/{what}"));
    let sum = of("succeeded") + of("failed") + of("unfinished");
    assert_eq!(
        of("started"),
        sum,
        "{:#}",
        document["rounds"][0]["measured"]["connections"]
    );
}

/// The document of a run that succeeded.
fn document_of(finished: &Finished) -> Value {
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    finished.json()
}

#[test]
fn three_loads_and_two_testees_are_one_result() {
    let Some(network) = Network::for_test("several_hosts", 5) else {
        return;
    };
    within(60, move || {
        let more = quick(&["--connections", "12", "--load-agents", "4"]);
        let document = document_of(&network.run(3, &more).finish(PATIENCE));
        assert_eq!(document["status"], "ok");
        let ids: Vec<&str> = items(&document, "/hosts")
            .iter()
            .filter_map(|host| host["id"].as_str())
            .collect();
        let wanted = [
            "testee-host-1",
            "testee-host-2",
            "load-host-1",
            "load-host-2",
            "load-host-3",
        ];
        assert_eq!(ids, wanted);
        assert_eq!(document["hosts"][2]["via"], via(&network.hosts, 0).as_str());
        let addresses = items(&document, "/plan/target/addresses");
        let to = |index: usize| addresses[index].as_str().unwrap_or_default().to_owned();
        assert!(
            to(0).starts_with(&format!("tcp://{}:", address(3))),
            "{addresses:?}"
        );
        assert!(
            to(1).starts_with(&format!("tcp://{}:", address(4))),
            "{addresses:?}"
        );

        let round = &document["rounds"][0];
        // Four agents on three hosts, of which the first has two; twelve connections over two testees in turn.
        let hosts: Vec<(&str, u64, u64)> = items(round, "/by_host")
            .iter()
            .map(|row| {
                let count = |what: &str| row[what].as_u64().unwrap_or_default();
                (
                    row["host"].as_str().unwrap_or_default(),
                    count("agents"),
                    count("errors"),
                )
            })
            .collect();
        let rows = [
            ("load-host-1", 2, 0),
            ("load-host-2", 1, 0),
            ("load-host-3", 1, 0),
            ("testee-host-1", 1, 0),
            ("testee-host-2", 1, 0),
        ];
        assert_eq!(hosts, rows);
        for testee in items(round, "/testee") {
            assert_eq!(number(testee, "/workers/0/connections"), 6.0);
        }
        let operations = |row: &Value| number(row, "/operations");
        let all: f64 = items(round, "/by_host").iter().map(operations).sum();
        assert_eq!(all, number(round, "/measured/totals/operations"));
        // Histograms were added: what each agent timed is in the one of all.
        let timed = |side: &Value| number(side, "/measured/latency/service/count");
        let each: f64 = items(round, "/load").iter().map(timed).sum();
        assert_eq!(each, number(round, "/measured/latency/service/count"));
        for row in &items(round, "/by_host")[..3] {
            assert!(
                operations(row) > 0.0 && row["latency_p50_ns"].is_u64(),
                "{row:#}"
            );
            assert!(number(row, "/cpu_cores_busy") > 0.0);
        }
        assert_eq!(
            number(round, "/start_skew_ns"),
            0.0,
            "namespaces share a clock"
        );
        assert!(number(round, "/common_window_ns") > 0.9e9);
        assert_accounted(&document);
        let warnings = document["warnings"].to_string();
        assert!(warnings.contains("are one machine"), "{warnings}");
    });
}

#[test]
fn a_foreign_target_is_loaded_from_several_hosts() {
    let Some(network) = Network::for_test("several_loads", 3) else {
        return;
    };
    within(60, move || {
        let listen = format!("{}:9000", address(2));
        let mut serving =
            network.hosts[2].linerate(&["serve", "--listen", &listen, "--role", "rr"]);
        serving.hears("listening on");
        let vias = [via(&network.hosts, 0), via(&network.hosts, 1)];
        let line = [
            "run",
            "rr",
            &listen,
            "--load-via",
            &vias[0],
            "--load-via",
            &vias[1],
            "-c",
            "4",
        ];
        let line = [&line[..], &QUICK].concat();
        let document = document_of(&network.switch.linerate(&line).finish(PATIENCE));
        assert_eq!(items(&document, "/rounds/0/load").len(), 2);
        assert_accounted(&document);
        serving.kept().signal(libc::SIGTERM);
        let served = serving.finish(Duration::from_secs(10));
        assert!(
            served.stdout.contains("4 connections accepted"),
            "{}",
            served.stdout
        );
    });
}

#[test]
fn a_host_that_is_cut_off_in_mid_run_is_a_result_with_its_failures() {
    let Some(network) = Network::for_test("cut_off", 5) else {
        return;
    };
    within(60, move || {
        let more = [
            "--connections",
            "12",
            "--timeout",
            "400ms",
            "--duration",
            "3s",
        ];
        let mut call = network.run(3, &[&more[..], &QUICK[2..]].concat());
        call.hears("/s");
        network.cut_off(1);
        let document = document_of(&call.finish(PATIENCE));
        assert_accounted(&document);
        let rows = items(&document, "/rounds/0/by_host");
        let errors: Vec<bool> = rows[..3]
            .iter()
            .map(|row| number(row, "/errors") > 0.0)
            .collect();
        assert_eq!(errors, [false, true, false], "{rows:#?}");
        assert!(number(&document, "/rounds/0/measured/connections/failed") >= 4.0);
    });
}

/// Kills the agent that was launched as number `victim` of `agents` in mid-run, and returns what came of it.
fn with_one_killed(network: &Network, agents: usize, victim: usize, more: &[&str]) -> Finished {
    let long = ["--duration", "30s", "--connections", "12"];
    let mut call = network.run(3, &[&long[..], &QUICK[2..], more].concat());
    let started = call.agents(agents);
    call.hears("/s");
    // SAFETY: kill takes two integers; the process is an agent of this very call.
    unsafe { libc::kill(started[victim], libc::SIGKILL) };
    call.finish(Duration::from_secs(25))
}

#[test]
fn a_load_agent_that_is_killed_among_six_leaves_a_partial_result_that_says_so() {
    let Some(network) = Network::for_test("one_of_six", 5) else {
        return;
    };
    within(90, move || {
        // After the two testees come the loads; the fourth of them is the second on the first host.
        let finished = with_one_killed(&network, 8, 2 + 3, &["--load-agents", "6"]);
        finished.assert_refused(
            1,
            &[
                "the load-4 agent on host load-host-1",
                "killed by signal 9",
                "partial",
            ],
        );
        let document = finished.json();
        assert_eq!(document["status"], "partial");
        let lost = items(&document, "/rounds/0/lost");
        assert_eq!((lost.len(), &lost[0]["agent"]), (1, &Value::from("load-4")));
        assert_eq!(number(&lost[0], "/connections"), 2.0);
        assert!(number(&lost[0], "/operations_told") > 0.0);
        assert_eq!(items(&document, "/rounds/0/load").len(), 5);
        assert!(number(&document, "/rounds/0/measured/totals/operations") > 0.0);
        assert_accounted(&document);
        assert_eq!(
            number(&document, "/rounds/0/measured/connections/started"),
            12.0
        );
    });
}

#[test]
fn a_testee_that_is_killed_leaves_a_partial_result_that_says_so() {
    let Some(network) = Network::for_test("one_testee_of_two", 5) else {
        return;
    };
    within(90, move || {
        let finished = with_one_killed(&network, 5, 1, &[]);
        finished.assert_refused(1, &["the testee-2 agent on host testee-host-2", "partial"]);
        let document = finished.json();
        assert_eq!(document["rounds"][0]["lost"][0]["role"], "testee");
        assert_eq!(items(&document, "/rounds/0/load").len(), 3);
        assert_accounted(&document);
    });
}

#[test]
fn an_agent_that_falls_silent_does_not_hold_up_the_run() {
    let Some(network) = Network::for_test("silent_agent", 3) else {
        return;
    };
    within(120, move || {
        let mut call = network.run(2, &quick(&["--connections", "4"]));
        let agents = call.agents(3);
        call.hears("/s");
        // SAFETY: kill takes two integers; the process is an agent of this very call.
        unsafe { libc::kill(agents[2], libc::SIGSTOP) };
        let finished = call.finish(Duration::from_secs(60));
        finished.assert_refused(
            1,
            &[
                "the load-2 agent on host load-host-2",
                "did not say 'over' in time",
            ],
        );
        let document = finished.json();
        assert_eq!(document["status"], "partial");
        assert_accounted(&document);
    });
}

/// Whether the kernel gives a process a time of its own.
fn has_time_namespaces(test: &str) -> bool {
    let mut command = piped("unshare");
    command.args(["--time", "--monotonic", "3600", "--fork", "true"]);
    let able = command.status().is_ok_and(|status| status.success());
    if !able {
        linerate_tests::skip(test, "time namespaces cannot be made");
    }
    able
}

#[test]
fn a_clock_that_is_an_hour_off_is_translated() {
    if !has_time_namespaces("an_hour_off") {
        return;
    }
    let Some(network) = Network::for_test("an_hour_off", 3) else {
        return;
    };
    within(60, move || {
        let off = "unshare --time --monotonic 3600 --boottime 3600 --fork";
        let (first, second) = (via(&network.hosts, 0), via(&network.hosts, 1));
        let second = format!("{second} {off}");
        let testee = via(&network.hosts, 2);
        let at = address(2);
        let line = [
            "run",
            "rr",
            "-c",
            "4",
            "--load-via",
            &first,
            "--load-via",
            &second,
        ];
        let line = [
            &line[..],
            &["--testee-via", &testee, "--testee-host", &at],
            &QUICK,
        ]
        .concat();
        let document = document_of(&network.switch.linerate(&line).finish(PATIENCE));
        let host = items(&document, "/hosts")
            .iter()
            .find(|host| host["id"] == "load-host-2");
        let offset_ns = number(host.expect("the host"), "/clock_offset/offset_ns");
        assert!((offset_ns - 3.6e12).abs() < 1e9, "{offset_ns}");
        let round = &document["rounds"][0];
        let skew_ns = number(round, "/start_skew_ns");
        assert!(skew_ns > 0.0 && skew_ns < 5e7, "{skew_ns}");
        assert!(number(round, "/common_window_ns") > 0.9e9);
        for side in items(round, "/load") {
            assert!(number(side, "/measured/totals/operations") > 0.0);
        }
        assert_accounted(&document);
        let warnings = document["warnings"].to_string();
        assert!(!warnings.contains("late_go"), "{warnings}");
    });
}

#[test]
fn a_host_with_another_version_is_refused_with_both_versions() {
    let directory = linerate_tests::Directory::new();
    let script = directory.path().join("older");
    let hello = r#"{"say":"hello","protocol":1,"version":"0.0.9","git_commit":null,"build_target":null,"boot_id":null,"network_namespace":null}"#;
    std::fs::write(&script, format!("read line\necho '{hello}'\nread line\n")).expect("a script");
    within(60, move || {
        let older = format!("sh {}", script.display());
        let line = [
            "run",
            "rr",
            "-c",
            "2",
            "--testee-listen",
            "tcp://127.0.0.1:0",
        ];
        let line = [&line[..], &["--load-via", "env", "--load-via", &older]].concat();
        let finished = Call::start(&line).finish(Duration::from_secs(20));
        let own = piped(linerate())
            .arg("--version")
            .output()
            .expect("linerate");
        let own = String::from_utf8_lossy(&own.stdout);
        let own = own.split_whitespace().nth(1).expect("a version");
        finished.assert_refused(
            4,
            &[
                "the load-2 agent on host load-host-2",
                "0.0.9",
                own,
                "same version",
            ],
        );
    });
}

/// `rr` against a server of this host, its result in a file.
fn into_file(target: &str, path: &str, more: &[&str]) -> Call {
    let line = ["run", "rr", target, "-c", "3", "--output", path];
    let quick = [
        "--duration",
        "2s",
        "--warmup",
        "0s",
        "--interval",
        "200ms",
        "--engine",
        "epoll",
    ];
    Call::start(&[&line[..], &quick, more].concat())
}

#[test]
fn results_of_runs_made_apart_at_one_time_become_one_or_say_why_not() {
    let directory = linerate_tests::Directory::new();
    within(60, move || {
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (a, b, other) = (path("a.json"), path("b.json"), path("other.json"));
        let mut serving = Call::start(&["serve", "--listen", "127.0.0.1:0", "--role", "rr"]);
        let said = serving.hears("listening on");
        let target = said
            .split_whitespace()
            .find(|word| word.starts_with("tcp://"));
        let target = target
            .expect("an endpoint")
            .trim_end_matches(',')
            .to_owned();
        let calls = [
            into_file(&target, &a, &[]),
            into_file(&target, &b, &[]),
            into_file(&target, &other, &["--depth", "4"]),
        ];
        for mut call in calls {
            let finished = call.finish(PATIENCE);
            assert_eq!(finished.code(), 0, "{}", finished.stderr);
        }
        let read = |path: &str| -> Value {
            let text = std::fs::read_to_string(path).expect("a result");
            serde_json::from_str(&text).expect("a document")
        };
        let line = ["report", "--merge", &a, &b, "--format", "json"];
        let both = document_of(&linerate_tests::binary::call(&line));
        let operations = "/rounds/0/measured/totals/operations";
        let sum = number(&read(&a), operations) + number(&read(&b), operations);
        assert_eq!(number(&both, operations), sum);
        let timed = "/rounds/0/measured/latency/service/count";
        let sum = number(&read(&a), timed) + number(&read(&b), timed);
        assert_eq!(number(&both, timed), sum);
        assert_eq!(number(&both, "/plan/connections"), 6.0);
        assert_eq!(items(&both, "/rounds/0/by_host").len(), 2);
        assert_accounted(&both);
        let text = linerate_tests::binary::call(&["report", "--merge", &a, &b]);
        let words = ["By host", "a: local", "b: load"];
        assert!(
            words.iter().all(|word| text.stdout.contains(word)),
            "{}",
            text.stdout
        );
        assert!(!text.stdout.contains("What to run next"), "{}", text.stdout);

        let refused = |line: &[&str], part: &str| {
            let line = [&["report", "--merge"][..], line].concat();
            linerate_tests::binary::call(&line).assert_refused(2, &["do not become one", part]);
        };
        refused(&[&a, &other], "depth differs in");
        refused(&[&a, &a], "are one measurement");
        serving.kept().signal(libc::SIGTERM);
        serving.finish(Duration::from_secs(10));
    });
}

//! Runs under a profile: what is in force meanwhile, what the result says, and what invalidates it.

use super::{QUICK, run, run_profile};
use linerate_tests::binary::within;
use linerate_tests::settings::{Host, KEYS, PROFILE};
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);

fn setting<'a>(document: &'a Value, host: usize, key: &str) -> &'a Value {
    let keys = document["hosts"][host]["profile"]["keys"].as_array();
    let found = keys.and_then(|keys| keys.iter().find(|entry| entry["key"] == key));
    found.unwrap_or_else(|| panic!("{key} is not in {:#}", document["hosts"][host]["profile"]))
}

#[test]
fn the_result_has_what_was_effective_and_the_values_come_back() {
    let Some(host) = Host::for_test("effective") else {
        return;
    };
    within(90, move || {
        let before = host.values();
        let finished = run_profile(&host, &["--repeat", "2"]).finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!(host.values(), before);
        let document = finished.json();
        assert_eq!(document["rounds"].as_array().map(Vec::len), Some(2));
        for key in KEYS {
            let entry = setting(&document, 0, key);
            assert_eq!(entry["before"], before[key], "{entry}");
            assert_ne!(entry["effective"], before[key], "{entry}");
            assert_eq!(entry["reason"], "a test");
        }
        assert_eq!(setting(&document, 0, KEYS[0])["class"], "raises");
        // What the host reports of itself is what was in force.
        assert_eq!(
            document["hosts"][0]["sysctls"]["net.core.somaxconn"],
            "16384"
        );
        assert!(
            finished.stderr.contains("profile profile"),
            "{}",
            finished.stderr
        );
    });
}

#[test]
fn what_an_admin_writes_meanwhile_stays_and_the_round_does_not_count() {
    let Some(host) = Host::for_test("admin") else {
        return;
    };
    within(90, move || {
        let before = host.values();
        let mut call = run_profile(&host, &["--duration", "2s", "--interval", "200ms"]);
        call.hears("/s");
        host.write("net.ipv4.tcp_fin_timeout", "33");
        let finished = call.finish(PATIENCE);
        finished.assert_refused(1, &["net.ipv4.tcp_fin_timeout", "33", "77"]);
        let mut expected = before;
        expected.insert("net.ipv4.tcp_fin_timeout".to_owned(), "33".to_owned());
        assert_eq!(host.values(), expected, "the others are back");
        let document = finished.json();
        assert_eq!(document["rounds"][0]["invalid"][0]["code"], "profile_drift");
        assert_eq!(document["status"], "failed");
    });
}

#[test]
fn a_round_that_does_not_count_leaves_the_others() {
    let Some(host) = Host::for_test("one_round_of_two") else {
        return;
    };
    within(90, move || {
        let mut call = run_profile(
            &host,
            &["--duration", "1s", "--interval", "200ms", "--repeat", "2"],
        );
        call.hears("/s");
        // Written in the first round, and put back by the same hand: the second finds what the first found.
        let before = host.read("net.ipv4.tcp_fin_timeout");
        assert_eq!(before, "77");
        host.write("net.ipv4.tcp_fin_timeout", "60");
        let finished = call.finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        let invalid = |round: usize| {
            document["rounds"][round]["invalid"]
                .as_array()
                .map(Vec::len)
        };
        assert_eq!((invalid(0), invalid(1)), (Some(1), Some(0)));
        assert_eq!(document["summary"]["metrics"]["rate_per_second"]["n"], 1);
        let warnings = document["warnings"].to_string();
        assert!(warnings.contains("profile_drift"), "{warnings}");
    });
}

#[test]
fn two_runs_at_once_do_not_mix() {
    let (Some(host), Some(other)) = (Host::for_test("two_runs"), Host::for_test("two_runs")) else {
        return;
    };
    within(120, move || {
        let (before, before_there) = (host.values(), other.values());
        let mut first = run_profile(&host, &["--duration", "5s", "--interval", "200ms"]);
        first.hears("/s");
        let in_force = host.values();
        // The same settings: refused, and nothing of the first is touched.
        let refused = run_profile(&host, &[]).finish(PATIENCE);
        assert_eq!(refused.code(), 3, "{}", refused.stderr);
        assert!(refused.stderr.contains("profile"), "{}", refused.stderr);
        assert_eq!(host.values(), in_force);
        // Another namespace has settings of its own.
        let elsewhere = run_profile(&other, &[]).finish(PATIENCE);
        assert_eq!(elsewhere.code(), 0, "{}", elsewhere.stderr);
        assert_eq!(other.values(), before_there);
        assert_eq!(first.finish(PATIENCE).code(), 0);
        assert_eq!(host.values(), before);
    });
}

#[test]
fn a_limit_is_shown_as_wanted_and_got() {
    let Some(host) = Host::for_test("limits") else {
        return;
    };
    within(90, move || {
        let profile = host.file(
            "limits.toml",
            "summary = \"limits\"\nsource = \"tests\"\n[limits]\nnofile = { value = 1073741816, reason = \"a test\" }\n",
        );
        let finished = run(&host, &profile, &[]).finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        let limits = &document["hosts"][0]["profile"]["limits"];
        assert_eq!(limits.as_array().map(Vec::len), Some(2), "{limits}");
        let got = limits[0]["got"]["soft"].as_u64().expect("a number");
        if got < 1_073_741_816 {
            assert!(limits[0]["obstacle"].is_string(), "{limits}");
        }
        // The run that needs more than it got says so.
        let most = (got + 1).to_string();
        let finished = run(&host, &profile, &["--connections", &most]).finish(PATIENCE);
        finished.assert_refused(3, &["descriptors"]);
    });
}

#[test]
fn serve_holds_a_profile_while_it_serves() {
    let Some(host) = Host::for_test("serve") else {
        return;
    };
    within(60, move || {
        let before = host.values();
        let profile = host.file("profile.toml", linerate_tests::settings::PROFILE);
        let line = ["serve", "--listen", "tcp://127.0.0.1:0", "--role", "echo"];
        let mut call = host.linerate(&[&line[..], &["--profile", &profile]].concat());
        call.hears("listening on");
        assert_eq!(host.read("net.core.somaxconn"), "16384");
        call.kept().signal(libc::SIGTERM);
        let finished = call.finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!(host.values(), before);
    });
}

#[test]
fn a_tuning_daemon_is_warned_of() {
    let Some(host) = Host::for_test("tuning_daemon") else {
        return;
    };
    within(60, move || {
        // A program of that name; the kernel calls a process by its file.
        let program = host.directory.path().join("bpftune");
        std::fs::copy("/bin/sleep", &program).expect("sleep");
        let mut sleep = host.command(&program);
        let daemon = linerate_tests::process::Kept::start(sleep.arg("60"));
        let finished = run_profile(&host, &[]).finish(PATIENCE);
        drop(daemon);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let text = finished.json()["warnings"].to_string();
        assert!(text.contains("bpftune"), "{text}");
    });
}

#[test]
fn without_a_profile_nothing_is_touched() {
    let Some(host) = Host::for_test("without") else {
        return;
    };
    within(60, move || {
        let before = host.values();
        let finished = host
            .linerate(&[&["run", "rr"], &QUICK[..]].concat())
            .finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        assert!(document["hosts"][0]["profile"].is_null());
        assert_eq!(host.values(), before);
        assert!(!host.state().exists());
    });
}

#[test]
fn profiles_are_compared_each_in_its_own_runs() {
    let Some(host) = Host::for_test("profiles_compared") else {
        return;
    };
    within(160, move || {
        let before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        let arms = format!("none,{profile}");
        let line = [
            "compare",
            "rr",
            "--profiles",
            &arms,
            "--engine",
            "epoll",
            "--testee-engine",
            "epoll",
            "--metric",
            "cpu_per_op",
            "--duration",
            "50ms",
            "--warmup",
            "0s",
            "--pause",
            "10ms",
            "--rounds",
            "6",
            "--placement",
            "unpinned",
            "--format",
            "json",
            "--quiet",
        ];
        let finished = host.linerate(&line).finish(Duration::from_secs(140));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!(host.values(), before, "they are back");
        let document = finished.json();
        assert_eq!(document["method"]["vary"], "both");
        let cell = &document["cells"][0];
        assert_eq!(cell["primary_metrics"][0], "both_cpu_ns_per_operation");
        let arms = cell["arms"].as_array().expect("arms");
        let in_force = |arm: &Value| arm["profiles"].as_array().map(Vec::len);
        assert_eq!(arms[0]["label"], "none");
        assert_eq!(
            arms.iter().map(in_force).collect::<Vec<_>>(),
            [Some(0), Some(0), Some(1)]
        );
        let command = arms[2]["command"].as_str().expect("a command");
        assert!(command.contains("--profile "), "{command}");
        for round in cell["rounds"].as_array().expect("rounds") {
            for run in round["runs"].as_array().expect("runs") {
                assert_eq!(
                    (&run["failure"], &run["invalid"]),
                    (&Value::Null, &Value::Array(Vec::new()))
                );
            }
        }
    });
}

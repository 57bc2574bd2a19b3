//! `linerate doctor` on the machine of the tests: a schema, a verdict, and neighbours that are there.

use linerate_tests::binary::{call, within};
use linerate_tests::process::Kept;
use serde_json::Value;
use std::process::Command;

fn checkup(arguments: &[&str]) -> (Value, Option<i32>) {
    let finished = call(&[&["doctor", "--format", "json"], arguments].concat());
    let value = serde_json::from_str(&finished.stdout).expect("the findings as JSON");
    (value, finished.status.code())
}

fn finding<'a>(checkup: &'a Value, code: &str) -> &'a Value {
    let findings = checkup["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["code"] == code);
    found.unwrap_or_else(|| panic!("no finding {code} in {checkup:#}"))
}

#[test]
fn the_findings_follow_their_schema_and_decide_the_exit_code() {
    within(60, || {
        let (checkup, code) = checkup(&["--watch", "200ms"]);
        let schema = include_str!("../../../report/schema/doctor-1.json");
        let schema = serde_json::from_str(schema).expect("the committed schema");
        let validator = jsonschema::validator_for(&schema).expect("the committed schema");
        let complaints: Vec<_> = validator
            .iter_errors(&checkup)
            .map(|e| e.to_string())
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        let problem = checkup["verdict"] == "problem";
        assert_eq!(code, Some(i32::from(problem)));
        for known in [
            "io_uring",
            "descriptors",
            "clocksource",
            "timer",
            "clock_read",
        ] {
            finding(&checkup, known);
        }
        assert_eq!(checkup["host"]["interface"]["name"], "lo");
    });
}

#[test]
fn a_busy_neighbour_is_seen() {
    within(60, || {
        let mut busy = Command::new("sh");
        busy.args(["-c", "while :; do :; done"]);
        let _busy = Kept::start(&mut busy);
        let (checkup, _) = checkup(&["--watch", "2s"]);
        let neighbours = finding(&checkup, "neighbours");
        assert_ne!(neighbours["level"], "fine", "{neighbours:#}");
        assert!(neighbours["cure"].is_string());
    });
}

#[test]
fn a_target_that_cannot_be_resolved_is_a_wrong_use() {
    within(60, || {
        let finished = call(&["doctor", "tcp://nobody.invalid:9"]);
        assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
        assert!(
            finished.stderr.contains("nobody.invalid"),
            "{}",
            finished.stderr
        );
    });
}

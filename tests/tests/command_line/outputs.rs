//! Results whose place takes them no more when they are there. /dev/full can be opened, and takes nothing: a disk
//! that fills up while it is measured.

#![cfg(target_os = "linux")]

use linerate_tests::binary::{Call, call, linerate, within};
use linerate_tests::process::{Finished, piped};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const FULL: &str = "/dev/full";
const RUN: &str = "run rr --count 200 --warmup 0s --quiet";

/// A place that cannot be written: code 2, and no advice about directories that exist.
fn assert_full(finished: &Finished, place: &str) {
    finished.assert_refused(2, &[place, "No space left on device", "instead"]);
    let said = &finished.stderr;
    assert!(!said.contains("directory that exists"), "{said}");
}

/// The text that was saved where the last line says.
fn saved(finished: &Finished) -> String {
    let said = &finished.stderr;
    let (_, path) = said.rsplit_once(" is in ").expect(said);
    let (path, _) = path.split_once(" instead").expect(said);
    let path = PathBuf::from(path);
    let text = fs::read_to_string(&path).expect(said);
    fs::remove_file(path).expect(said);
    text
}

fn is_result(text: &str) -> bool {
    let document: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    document["rounds"][0]["measured"]["totals"]["operations"] == 200
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_result_on_stdout() {
    within(60, || {
        let mut line: Vec<&str> = RUN.split(' ').collect();
        line.extend(["--format", "json", "--output", FULL]);
        let finished = call(&line);
        assert_full(&finished, FULL);
        assert!(is_result(&finished.stdout), "{}", finished.stdout);
    });
}

#[test]
fn a_full_stdout_leaves_the_result_in_a_file() {
    within(60, || {
        let mut command = piped(linerate());
        command.args(RUN.split(' ')).args(["--format", "json"]);
        let full = fs::OpenOptions::new().write(true).open(FULL);
        command.stdout(full.expect("a device of Linux"));
        let finished = Call::of(command).finish(Duration::from_secs(30));
        assert_full(&finished, "stdout");
        assert!(is_result(&saved(&finished)));
    });
}

#[test]
fn stdout_that_has_the_events_gets_no_result_between_them() {
    within(60, || {
        let mut line: Vec<&str> = RUN.split(' ').collect();
        line.extend(["--events", "-", "--format", "json", "--output", FULL]);
        let finished = call(&line);
        assert_full(&finished, FULL);
        for line in finished.stdout.lines() {
            let event: Value = serde_json::from_str(line).expect(line);
            assert!(event["event"].is_string(), "{line}");
        }
        assert!(is_result(&saved(&finished)));
    });
}

#[test]
fn a_page_that_cannot_be_written_costs_no_result() {
    within(60, || {
        let mut line: Vec<&str> = RUN.split(' ').collect();
        line.extend(["--format", "json", "--html", FULL]);
        let finished = call(&line);
        assert_full(&finished, FULL);
        assert!(is_result(&finished.stdout), "{}", finished.stdout);
        assert!(saved(&finished).contains("</html>"));
    });
}

#[test]
fn a_comparison_is_not_lost_either() {
    within(60, || {
        let saved_comparison = fixture("compare_rr.json");
        let again = [
            "compare",
            "--again",
            &saved_comparison,
            "--quiet",
            "--format",
            "json",
        ];
        for place in ["--output", "--html"] {
            let finished = call(&[&again[..], &[place, FULL]].concat());
            assert_full(&finished, FULL);
            assert_eq!(
                finished.json()["schema"],
                "linerate.comparison/1",
                "{place}"
            );
            if place == "--html" {
                assert!(saved(&finished).contains("</html>"));
            }
        }
        // A form that no comparison has is found before anything is measured.
        let line = "compare rr --engines blocking,epoll --duration 10s --format hgrm";
        let finished = call(&line.split(' ').collect::<Vec<_>>());
        finished.assert_refused(2, &["a comparison has one per arm", "--format html"]);
    });
}

fn fixture(name: &str) -> String {
    format!(
        "{}/../report/tests/fixtures/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

//! Results whose place takes them no more when they are there. /dev/full can be opened, and takes nothing: a disk
//! that fills up while it is measured.

#![cfg(target_os = "linux")]

use linerate_tests::Directory;
use linerate_tests::binary::{Call, call, call_line, linerate, within};
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

#[test]
fn events_that_are_lost_are_no_success() {
    within(60, || {
        let mut line: Vec<&str> = RUN.split(' ').collect();
        line.extend(["--events", FULL, "--format", "json"]);
        let finished = call(&line);
        assert_eq!(finished.code(), 2, "{}", finished.stderr);
        // At once, and again at the end, when other lines stand between.
        let lines: Vec<&str> = finished
            .stderr
            .lines()
            .filter(|line| line.contains(FULL))
            .collect();
        assert_eq!(lines.len(), 2, "{}", finished.stderr);
        for line in lines {
            assert!(
                line.contains("No space left on device") && line.contains("events"),
                "{line}"
            );
        }
        assert!(is_result(&finished.stdout), "{}", finished.stdout);
    });
}

#[test]
fn what_others_wrote_is_shown_and_not_obeyed() {
    within(60, || {
        let text = fs::read_to_string(fixture("rr_five_rounds.json")).expect("a fixture");
        let mut document: Value = serde_json::from_str(&text).expect("JSON");
        let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\r\u{202e}";
        document["hosts"][0]["kernel"] = hostile.into();
        document["hosts"][0]["cpu_model"] = hostile.into();
        document["plan"]["target"]["endpoint"] = hostile.into();
        document["plan"]["target"]["loopback"] = false.into();
        document["command"][2] = hostile.into();
        document["rounds"][0]["load"][0]["agent"] = hostile.into();
        document["warnings"] = serde_json::json!([{"code": "x", "text": hostile, "cure": hostile}]);
        let folder = std::env::temp_dir();
        let path = folder.join(format!("linerate-hostile-{}.json", std::process::id()));
        let name = path.to_str().expect("a name").to_owned();
        fs::write(&path, document.to_string()).expect("a folder for temporary files");
        let said: Vec<(String, String)> =
            ["text", "markdown", "csv", "prom", "html", "json", "hgrm"]
                .iter()
                .map(|form| {
                    let finished = call(&["report", &name, "--format", form]);
                    assert_eq!(finished.code(), 0, "{form}: {}", finished.stderr);
                    ((*form).to_owned(), finished.stdout)
                })
                .collect();
        document["schema"] = hostile.into();
        fs::write(&path, document.to_string()).expect("a folder for temporary files");
        let refused = call(&["report", &name]).stderr;
        fs::remove_file(&path).expect("it was written");
        for (form, text) in said
            .iter()
            .map(|(form, text)| (form.as_str(), text))
            .chain([("stderr", &refused)])
        {
            let order = text.chars().find(|c| {
                c.is_control() && !"\n\t".contains(*c) && !(form == "csv" && *c == '\r')
                    || *c == '\u{202e}'
            });
            assert_eq!(order, None, "{form}");
        }
        assert!(refused.contains("\\x1b]0;owned\\x07\\x9b2J"), "{refused}");
    });
}

#[test]
fn the_name_of_a_file_says_its_form() {
    within(60, || {
        let folder = std::env::temp_dir().join(format!("linerate-forms-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder for temporary files");
        let at = |name: &str| folder.join(name).to_str().expect("a name").to_owned();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let document = fixture("rr_five_rounds.json");
        let (json, page, prom) = (at("x.json"), at("x.html"), at("x.prom"));
        for (form, beginning) in [(&json, "{"), (&page, "<!"), (&prom, "# HELP")] {
            let finished = call(&["report", &document, "--output", form]);
            assert_eq!(
                (finished.code(), finished.stderr.as_str()),
                (0, ""),
                "{form}"
            );
            let text = fs::read_to_string(form).unwrap_or_default();
            assert!(text.starts_with(beginning), "{form}: {text}");
        }
        // What was written is what the name says, to linerate itself too.
        let again = call(&["report", &json, "--html", &at("again.html")]);
        assert_eq!(again.code(), 0, "{}", again.stderr);
        assert!(
            again.stdout.starts_with("rr over tcp loopback"),
            "{}",
            again.stdout
        );
        assert!(read("again.html").contains("</html>"));
        let other = call(&[
            "report",
            &document,
            "--format",
            "csv",
            "--output",
            &at("y.json"),
        ]);
        assert_eq!(other.code(), 0, "{}", other.stderr);
        assert!(
            other.stderr.contains("its name promises json"),
            "{}",
            other.stderr
        );
        assert!(read("y.json").starts_with("round,side,"));
        let mut run: Vec<&str> = RUN.split(' ').collect();
        let measured = at("run.json");
        run.extend(["--output", &measured]);
        assert_eq!(call(&run).code(), 0);
        assert!(is_result(&read("run.json")));
        fs::remove_dir_all(&folder).expect("it was made");
    });
}

#[test]
fn what_has_no_end_is_no_document() {
    within(60, || {
        for path in ["/dev/zero", "/tmp"] {
            call(&["report", path]).assert_refused(2, &[path, "no regular file"]);
        }
        let mut command = piped(linerate());
        command.args(["report", "-"]);
        let mut call = Call::of(command);
        // Its stdin is empty.
        call.finish(Duration::from_secs(30))
            .assert_refused(2, &["stdin", "not JSON"]);
    });
}

#[test]
fn one_file_is_not_written_over_by_another_nor_by_what_is_made_of_it() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("x.json");
        let name = path.to_str().expect("a name");
        for other in ["--html", "--events"] {
            let line = ["run", "rr", "-d", "100ms", "--output", name, other, name];
            call(&line).assert_refused(2, &["--output and", "name one file"]);
        }
        assert!(!path.exists(), "nothing was made");
        let result = fixture("rr_one_round.json");
        fs::copy(&result, &path).expect("a copy");
        for line in [
            format!("report {name} --html {name}"),
            format!("report {name} --format csv --output {name}"),
            format!("compare {name} {name} --output {name}"),
        ] {
            call_line(&line).assert_refused(2, &["would write over"]);
        }
        let same = fs::read(&path).expect("it is there") == fs::read(&result).expect("a fixture");
        assert!(same, "the only copy of a measurement");
    });
}

#[test]
fn a_form_that_cannot_hold_the_result_is_refused_before_measuring() {
    within(60, || {
        let stream = call(&["run", "stream", "-d", "20s", "--format", "hgrm"]);
        stream.assert_refused(2, &["a stream has no latency"]);
        let gate = "compare stream --engines epoll,blocking --fail-on p99>5%";
        call_line(gate).assert_refused(2, &["--fail-on 'p99>5%': the workload has no such metric"]);
    });
}

//! What was measured is on disk before the next round begins: killed runs and comparisons are told, and go on.

use linerate_tests::Directory;
use linerate_tests::binary::{Call, call, call_line, within};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn start(line: &str) -> Call {
    Call::start(&line.split_whitespace().collect::<Vec<_>>())
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn counted_rounds(document: &Value) -> usize {
    let rounds = document["cells"][0]["rounds"].as_array().expect("rounds");
    rounds
        .iter()
        .filter(|round| round["discarded"] == false)
        .count()
}

#[test]
fn a_killed_comparison_is_told_as_far_as_it_came_and_goes_on() {
    within(180, || {
        let directory = Directory::new();
        let result = directory.path().join("x.json");
        let log = directory.path().join("x.trials.jsonl");
        let mut killed = start(&format!(
            "compare rr --engines epoll,blocking --duration 200ms --warmup 20ms --interval 20ms --pause 10ms --seed 3 \
             --rounds 7 --format json --output {}",
            text_of(&result)
        ));
        let heard = killed.hears("round 3/7");
        assert!(
            heard.contains(&format!("finished rounds are kept in {}", text_of(&log))),
            "{heard}"
        );
        killed.kept().signal(libc::SIGKILL);
        drop(killed);
        assert!(!result.exists());

        // The discarded round and two more were over, at least; of the one in progress there is nothing.
        let again = call(&["compare", "--again", text_of(&log), "--format", "json"]);
        // Looking at it is interrupted by nobody.
        assert_eq!(again.code(), 0, "{}", again.stderr);
        let so_far = again.json();
        assert_eq!(so_far["status"], "interrupted");
        let before = counted_rounds(&so_far);
        assert!((2..7).contains(&before), "{so_far:#}");
        let shown = call(&["report", text_of(&log)]);
        assert_eq!(shown.code(), 0, "{}", shown.stderr);
        assert!(
            shown.stdout.contains("until it was interrupted"),
            "{}",
            shown.stdout
        );

        // A write that a power failure has torn.
        let mut text = fs::read_to_string(&log).expect("the log");
        text += "{\"trial\":{\"cell\":";
        fs::write(&log, text).expect("written");
        let line = format!(
            "compare --resume {} --format json --output {}",
            text_of(&log),
            text_of(&result)
        );
        let resumed = start(&line).finish(Duration::from_secs(60));
        assert_eq!(resumed.code(), 0, "{}", resumed.stderr);
        for part in ["the last one, is not whole", "seed 3", "gone on with at"] {
            assert!(
                resumed.stderr.contains(part),
                "'{part}': {}",
                resumed.stderr
            );
        }
        assert!(!resumed.stderr.contains("round 1/7"), "{}", resumed.stderr);
        let text = fs::read_to_string(&result).expect("the result");
        let whole: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&whole["status"], counted_rounds(&whole)),
            (&"ok".into(), 7)
        );
        assert_eq!(whole["command"][3], "--engines", "{}", whole["command"]);
        let rounds = |document: &Value| document["cells"][0]["rounds"].clone();
        for round in 0..=before {
            assert_eq!(rounds(&whole)[round], rounds(&so_far)[round], "{round}");
        }
        // The log has come to its end, and tells the same.
        let again = call(&["compare", "--again", text_of(&log), "--format", "json"]);
        assert_eq!((again.code(), rounds(&again.json())), (0, rounds(&whole)));
        call(&["compare", "--resume", text_of(&log)])
            .assert_refused(2, &["nothing to go on with", "--again"]);
    });
}

#[test]
fn a_killed_run_leaves_its_finished_rounds() {
    within(90, || {
        let directory = Directory::new();
        let log = directory.path().join("r.trials.jsonl");
        let line = format!(
            "run rr --repeat 30 --duration 200ms --warmup 20ms --interval 200ms --engine epoll --testee-engine epoll \
             --format json --output {}",
            text_of(&directory.path().join("r.json"))
        );
        let mut killed = start(&line);
        killed.hears("rr 3/30");
        killed.kept().signal(libc::SIGKILL);
        drop(killed);
        let shown = call(&["report", text_of(&log), "--format", "json"]);
        assert_eq!(shown.code(), 0, "{}", shown.stderr);
        let document = shown.json();
        assert_eq!(document["status"], "interrupted");
        let rounds = document["rounds"].as_array().expect("rounds").len();
        assert!((2..30).contains(&rounds), "{rounds}");
        assert_eq!(
            document["summary"]["metrics"]["rate_per_second"]["n"],
            rounds
        );
        call(&["compare", "--resume", text_of(&log)])
            .assert_refused(2, &["of run and of no comparison"]);
        // A log that did not come to its end is not written over.
        let again =
            start(&line.replace("--repeat 30", "--repeat 2")).finish(Duration::from_secs(30));
        assert_eq!(again.code(), 0, "{}", again.stderr);
        let names = fs::read_dir(directory.path()).expect("a directory");
        let logs = names.filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            name.to_string_lossy().ends_with(".trials.jsonl")
        });
        assert_eq!(logs.count(), 2);
    });
}

#[test]
fn a_single_round_has_no_log_and_a_foreign_file_stays() {
    within(60, || {
        let directory = Directory::new();
        let output = directory.path().join("y.json");
        let short =
            "--duration 50ms --warmup 0s --engine epoll --testee-engine epoll --format json";
        let line = format!("run rr {short} --output {}", text_of(&output));
        assert_eq!(call_line(&line).code(), 0);
        let log = directory.path().join("y.trials.jsonl");
        assert!(!log.exists());
        fs::write(&log, "a letter").expect("written");
        let refused = call_line(&format!("{line} --repeat 2"));
        refused.assert_refused(2, &["y.trials.jsonl", "is no trial log", "--output"]);
        assert_eq!(fs::read_to_string(&log).expect("there"), "a letter");
    });
}

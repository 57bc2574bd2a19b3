//! `run --event-record` and `events`: every event is in the file, what is made of it is right, and what a file lacks is said.

use linerate_tests::Directory;
use linerate_tests::binary::{Call, call, linerate, within};
#[cfg(target_os = "linux")]
use linerate_tests::process::needs;
use linerate_tests::process::{Finished, piped};
use serde_json::Value;
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::process::Command;
use std::time::Duration;

/// A run that counts and records into `x.events` of a directory.
fn record(directory: &Directory, line: &str) -> (PathBuf, Value) {
    let path = directory.path().join("x.events");
    let name = path.to_str().expect("a name");
    let mut words: Vec<&str> = line.split_whitespace().collect();
    words.extend(["--event-record", name, "--format", "json"]);
    let finished = call(&words);
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    assert!(
        finished
            .stderr
            .contains(&format!("linerate events stats {name}")),
        "{}",
        finished.stderr
    );
    let document = finished.json();
    (path, document)
}

fn events(words: &[&str], path: &Path) -> Finished {
    let mut line = vec!["events"];
    line.extend(words);
    line.push(path.to_str().expect("a name"));
    call(&line)
}

fn objects(finished: &Finished) -> Vec<Value> {
    let lines = finished.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn what_clients_did_is_in_the_file_and_adds_up() {
    within(60, || {
        let directory = Directory::new();
        let run = "run rr --count 3000 -c 6 --load-agents 2 --threads 2 --repeat 2";
        let (path, document) = record(&directory, run);
        let sides = document["rounds"].as_array().expect("rounds").iter();
        let records: Vec<&Value> = sides
            .flat_map(|round| round["load"].as_array().expect("agents"))
            .map(|side| &side["event_record"])
            .collect();
        assert_eq!(records.len(), 4, "two agents in two rounds");
        let written: u64 = records
            .iter()
            .filter_map(|record| record["written"].as_u64())
            .sum();
        assert_eq!(written, 2 * (2 * 3_000 + 3 * 6));

        let stats = events(&["stats", "--format", "json"], &path);
        assert_eq!((stats.code(), stats.stderr.as_str()), (0, ""));
        let stats = stats.json();
        for (field, expected) in [
            ("clients", 12),
            ("handshakes", 12),
            ("messages_sent", 6_000),
            ("messages_recv", 6_000),
            ("normal_exits", 12),
            ("connection_timeouts", 0),
            ("crashes", 0),
            ("unanswered", 0),
            ("dropped", 0),
            ("rounds", 2),
            ("events", written),
        ] {
            assert_eq!(stats[field], expected, "{field}");
        }
        // The histogram of the result keeps three digits of each latency.
        let of_rounds = document["rounds"].as_array().expect("rounds").iter();
        let longest_ns = of_rounds
            .filter_map(|round| round["measured"]["latency"]["service"]["max_ns"].as_f64())
            .fold(0.0, f64::max);
        let longest_ms = stats["message_latency_ms"]["max"].as_f64().expect("a time");
        assert!(
            (longest_ms * 1e6 / longest_ns - 1.0).abs() < 0.002,
            "{longest_ms} ms, {longest_ns} ns"
        );

        let cat = events(&["cat", "--format", "ndjson"], &path);
        let objects = objects(&cat);
        assert_eq!(objects.len() as u64, written);
        let instants = objects.iter().map(|event| event["at_ns"].as_u64());
        assert!(instants.is_sorted(), "merged in time");
        let text = events(&["cat"], &path);
        assert_eq!(text.stdout.lines().count() as u64, written + 1);
        let text = events(&["stats"], &path).stdout;
        assert!(
            text.contains("messages_recv                      6,000\n"),
            "{text}"
        );
    });
}

#[test]
fn a_client_that_fails_crashes_with_its_reason() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("x.events");
        let name = path.to_str().expect("a name");
        // Nobody listens there: the port was this test's a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = format!("tcp://{}", free.local_addr().expect("bound"));
        drop(free);
        let line = ["run", "connect", &target, "-c", "5", "--delay", "0"];
        let finished = call(&[&line[..], &["--event-record", name]].concat());
        assert_eq!(finished.code(), 4, "{}", finished.stderr);
        let stats = events(&["stats", "--format", "json"], &path).json();
        assert_eq!(
            (&stats["clients"], &stats["crashes"]),
            (&5.into(), &5.into())
        );
        assert_eq!(stats["crash_reasons"]["connect_refused"], 5);
        let cat = events(&["cat"], &path).stdout;
        let crash = format!("exit crash connect_refused errno {}", libc::ECONNREFUSED);
        assert!(cat.contains(&crash), "{cat}");
    });
}

#[test]
fn a_file_that_is_cut_or_damaged_gives_what_can_be_read() {
    within(60, || {
        let directory = Directory::new();
        let (path, _) = record(&directory, "run rr --count 20000");
        let whole = fs::read(&path).expect("it was written");
        let count = |finished: &Finished| finished.stdout.lines().count() - 1;
        let all = count(&events(&["cat"], &path));
        assert_eq!(all, 40_003);
        let cut = whole.len() - 1_000;
        fs::write(&path, &whole[..cut]).expect("writable");
        for what in ["cat", "stats"] {
            let finished = events(&[what], &path);
            finished.assert_refused(1, &["could not be read"]);
            assert!(
                finished
                    .stderr
                    .contains(&format!(" to {cut} are not read: the file ends in")),
                "{}",
                finished.stderr
            );
        }
        let left = count(&events(&["cat"], &path));
        assert!((all - 40..all).contains(&left), "{left}");
        let mut damaged = whole.clone();
        let at = whole.len() / 2;
        damaged[at] ^= 4;
        fs::write(&path, &damaged).expect("writable");
        let finished = events(&["stats", "--format", "json"], &path);
        finished.assert_refused(1, &["could not be read"]);
        let said = &finished.stderr;
        let (_, bytes) = said.split_once("bytes ").expect(said);
        let mut numbers = bytes.split(' ').filter_map(|word| word.parse().ok());
        let (from, to): (usize, usize) = (numbers.next().expect(said), numbers.next().expect(said));
        assert!((from..to).contains(&at), "{said}");
        assert_eq!(finished.json()["unread_bytes"], to - from);
        fs::write(&path, "{}").expect("writable");
        events(&["cat"], &path).assert_refused(2, &["no event record"]);
        events(&["cat"], directory.path()).assert_refused(2, &["no regular file"]);
        fs::remove_file(&path).expect("it is there");
        events(&["stats"], &path).assert_refused(2, &["cannot read", "x.events"]);
    });
}

#[test]
fn who_reads_the_first_lines_only_has_read_enough() {
    within(60, || {
        let directory = Directory::new();
        let (path, _) = record(&directory, "run rr --count 50000");
        let mut command = piped(linerate());
        command.args(["events", "cat", path.to_str().expect("a name")]);
        let mut call = Call::of(command);
        let mut first = String::new();
        let mut lines = call.kept().lines();
        lines.read_line(&mut first).expect("a line");
        assert!(first.starts_with("# seconds since"), "{first}");
        drop(lines);
        let finished = call.finish(Duration::from_secs(30));
        assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
    });
}

#[test]
fn what_cannot_be_recorded_is_refused_before_measuring() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("x.events");
        let name = path.to_str().expect("a name");
        let refused = |line: &[&str], parts: &[&str]| call(line).assert_refused(2, parts);
        refused(
            &["run", "stream", "-d", "20s", "--event-record", name],
            &["--event-record does not go with stream"],
        );
        assert!(!path.exists());
        let rr = ["run", "rr", "-d", "20s", "--event-record"];
        refused(&[&rr[..], &["-"]].concat(), &["name a file"]);
        refused(&[&rr[..], &["/dev/full"]].concat(), &["no regular file"]);
        let nowhere = directory.path().join("no/x.events");
        let nowhere = nowhere.to_str().expect("a name");
        refused(
            &[&rr[..], &[nowhere]].concat(),
            &["cannot write", "directory that exists"],
        );
        refused(
            &[&rr[..], &[name, "--output", name]].concat(),
            &["name one file"],
        );
    });
}

/// The disk fills up while it is measured: the result is kept, and what is lost is said.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_loses_events_and_no_result() {
    const TEST: &str = "a_disk_that_fills_up_loses_events_and_no_result";
    within(60, || {
        if !needs(TEST, "unshare") || !needs(TEST, "mount") {
            return;
        }
        let directory = Directory::new();
        // A mount of a mount namespace of its own, which goes with it.
        let script = "mount -t tmpfs -o size=64k none \"$1\" && shift && exec \"$@\"";
        let inside = |command: &mut Command| {
            command.args(["--mount", "sh", "-c", script, "sh"]);
            command.arg(directory.path());
        };
        let mut trial = Command::new("unshare");
        inside(&mut trial);
        if !trial
            .arg("true")
            .status()
            .is_ok_and(|status| status.success())
        {
            return linerate_tests::skip(TEST, "a tmpfs cannot be mounted here");
        }
        let path = directory.path().join("x.events");
        let mut command = piped("unshare");
        inside(&mut command);
        command.arg(linerate());
        command.args("run rr --count 20000 --format json --event-record".split(' '));
        command.arg(&path);
        let finished = Call::of(command).finish(Duration::from_secs(30));
        assert_eq!(finished.code(), 2, "{}", finished.stderr);
        let said = &finished.stderr;
        assert!(said.contains("No space left on device"), "{said}");
        assert!(said.contains("the events after that are lost"), "{said}");
        let document = finished.json();
        assert_eq!(
            document["rounds"][0]["measured"]["totals"]["operations"],
            20_000
        );
        let record = &document["rounds"][0]["load"][0]["event_record"];
        let (events, written) = (record["events"].as_u64(), record["written"].as_u64());
        assert_eq!(events, Some(40_003));
        assert!(written < Some(2_048) && written > Some(0), "{record}");
        let warnings = document["warnings"].as_array().expect("warnings").iter();
        let texts: Vec<&str> = warnings
            .filter(|warning| warning["code"] == "event_record_incomplete")
            .filter_map(|warning| warning["text"].as_str())
            .collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("of 40,003 events"), "{texts:?}");
    });
}

//! `linerate doctor` on the machine of the tests: a schema, a verdict, and neighbours that are there; and what
//! `run` and `compare` warn of.

use super::documents::{CHECKUP, validate};
use linerate_tests::binary::{Call, alone, call, call_line, linerate, within};
use linerate_tests::process::Kept;
#[cfg(target_os = "linux")]
use linerate_tests::{process::needs, settings::Host};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

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
        validate(&checkup, CHECKUP);
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

/// A process that uses a CPU until it is dropped.
fn neighbour() -> Kept {
    let mut busy = Command::new("sh");
    busy.args(["-c", "while :; do :; done"]);
    Kept::start(&mut busy)
}

/// One for each CPU.
fn neighbours() -> Vec<Kept> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (0..cpus).map(|_| neighbour()).collect()
}

/// The warning of neighbours in a document.
fn warned(document: &Value) -> String {
    let warnings = document["warnings"].as_array().expect("warnings");
    let mut of_neighbours = warnings
        .iter()
        .filter(|warning| warning["code"] == "neighbours");
    let text = of_neighbours
        .next()
        .and_then(|found| found["text"].as_str());
    assert_eq!(of_neighbours.count(), 0, "once: {warnings:#?}");
    text.unwrap_or_else(|| panic!("no neighbours in {warnings:#?}"))
        .to_owned()
}

#[test]
fn a_busy_neighbour_is_seen() {
    alone(60, || {
        let _busy = neighbour();
        let (checkup, _) = checkup(&["--watch", "2s"]);
        let neighbours = finding(&checkup, "neighbours");
        assert_ne!(neighbours["level"], "fine", "{neighbours:#}");
        assert!(neighbours["cure"].is_string());
    });
}

#[test]
fn the_name_of_a_neighbour_is_shown_and_not_obeyed() {
    alone(60, || {
        // Names itself as prctl(2) lets every process: it clears the screen of whoever prints it.
        let renamed = "printf '\\033[2Jx' > /proc/self/comm; while :; do :; done";
        let mut busy = Command::new("bash");
        busy.args(["-c", renamed]);
        let _busy = Kept::start(&mut busy);
        let text = call(&["doctor", "--watch", "2s"]).stdout;
        assert!(text.contains("[2Jx ("), "who it is: {text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let short = "run rr --duration 200ms --warmup 20ms --repeat 2";
        let shown = call_line(short);
        let text = shown.stdout + &shown.stderr;
        assert!(!text.contains('\u{1b}'), "{text:?}");
    });
}

#[test]
fn run_warns_of_busy_neighbours_before_it_measures() {
    alone(60, || {
        let _busy = neighbours();
        let short = "run rr --duration 200ms --warmup 20ms --repeat 2";
        let shown = call_line(short);
        let place = |part: &str| {
            let found = shown.stderr.find(part);
            found.unwrap_or_else(|| panic!("no '{part}' in {}", shown.stderr))
        };
        assert!(place(": others keep ") < place("testee: engine"));
        assert!(place("testee: engine") < place("linerate doctor explains"));
        assert_eq!(
            shown.stderr.matches("doctor").count(),
            1,
            "{}",
            shown.stderr
        );
        assert!(shown.stdout.contains("others keep"), "{}", shown.stdout);
        let silent = call_line(&format!("{short} --quiet --format json"));
        assert_eq!(silent.stderr, "");
        let text = warned(&silent.json());
        assert!(
            text.starts_with("host local, before measuring: others keep "),
            "{text}"
        );
        assert!(text.contains("sh ("), "who it is: {text}");
    });
}

#[test]
fn compare_warns_of_busy_neighbours_before_it_measures() {
    alone(60, || {
        let _busy = neighbours();
        let line =
            "compare rr --engines epoll,blocking --duration 200ms --warmup 20ms --format json";
        let mut call = Call::start(&line.split(' ').collect::<Vec<_>>());
        call.hears(": others keep ");
        let heard = call.hears("linerate doctor explains");
        assert!(!heard.contains("round"), "before the first run: {heard}");
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(20));
        assert_eq!(finished.code(), 130, "{}", finished.stderr);
        warned(&finished.json());
    });
}

#[test]
fn a_soft_limit_that_linerate_raises_itself_is_no_fault() {
    within(60, || {
        let mut lowered = Command::new("sh");
        lowered
            .args(["-c", "ulimit -S -n 64 && exec \"$@\"", "sh"])
            .arg(linerate())
            .args(["doctor", "--format", "json", "--watch", "100ms"])
            .stdin(Stdio::null());
        let output = lowered.output().expect("sh");
        let lowered: Value = serde_json::from_slice(&output.stdout).expect("the findings as JSON");
        let (checkup, _) = checkup(&["--watch", "100ms"]);
        assert_eq!(
            finding(&lowered, "descriptors"),
            finding(&checkup, "descriptors")
        );
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_target_that_cannot_be_reached_is_a_problem_with_its_cure() {
    let Some(host) = Host::for_test("unreachable") else {
        return;
    };
    if !needs("unreachable", "unshare") {
        return;
    }
    within(60, move || {
        let look = |mut command: Command, target: &str| {
            command.args(["doctor", target, "--watch", "100ms", "--format", "json"]);
            let finished = Call::of(command).finish(Duration::from_secs(20));
            (finished.json(), finished.code())
        };
        let (fine, _) = look(host.command(linerate()), "127.0.0.1");
        let findings = fine["findings"].as_array().expect("findings");
        assert!(findings.iter().all(|each| each["code"] != "unreachable"));
        let no_route = look(host.command(linerate()), "192.0.2.1");
        // There `lo` was never up.
        let mut in_a_new_one = host.command("unshare");
        in_a_new_one.arg("--net").arg(linerate());
        let no_loopback = look(in_a_new_one, "127.0.0.1");
        for ((checkup, code), cure) in [
            (no_route, "ip route get"),
            (no_loopback, "ip link set lo up"),
        ] {
            let found = finding(&checkup, "unreachable");
            assert_eq!((code, &found["level"]), (1, &"problem".into()), "{found:#}");
            let seen = found["seen"].as_str().expect("what was seen");
            assert!(seen.contains("Network is unreachable"), "{seen}");
            assert!(
                found["cure"]
                    .as_str()
                    .is_some_and(|text| text.contains(cure)),
                "{found:#}"
            );
        }
    });
}

/// Nothing was found, because nothing could be seen.
#[cfg(target_os = "linux")]
#[test]
fn without_proc_a_machine_is_not_called_fit() {
    if !needs("without_proc", "unshare") {
        return;
    }
    within(60, || {
        let mut command = linerate_tests::process::piped("unshare");
        command.args(["--mount", "sh", "-c"]);
        command
            .arg("umount --lazy /proc || exit 77; exec \"$0\" doctor --watch 100ms --format json");
        command.arg(linerate());
        let finished = Call::of(command).finish(Duration::from_secs(20));
        if !finished.stdout.starts_with('{') {
            return linerate_tests::skip("without_proc", finished.stderr.trim());
        }
        let checkup = finished.json();
        assert!(
            checkup["verdict"] != "fine" && checkup["verdict"] != "note",
            "{checkup:#}"
        );
        let found = finding(&checkup, "visibility");
        assert_eq!(found["level"], "warning", "{found:#}");
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

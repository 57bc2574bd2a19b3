//! Comparisons as users make them, short: what is refused, what comes out, how they end.

use super::documents::{COMPARISON, validate};
use linerate_tests::Directory;
use linerate_tests::binary::{Call, alone, call, call_line, within};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

const USAGE: i32 = 2;
const MACHINE: i32 = 3;
const UNDECIDED: i32 = 5;

/// Runs of 200 ms: long enough to have numbers, and too short for verdicts.
const SHORT: &str =
    "--duration 200ms --warmup 20ms --interval 20ms --pause 10ms --seed 3 --format json";

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn start(line: &str) -> Call {
    let words = words(line);
    Call::start(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn list<'a>(document: &'a Value, pointer: &str) -> &'a Vec<Value> {
    let found = document.pointer(pointer).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list {pointer} in {document:#}"))
}

#[test]
fn what_cannot_be_compared_is_refused_before_the_start() {
    within(60, || {
        let cases: [(&str, &[&str]); 21] = [
            ("compare rr", &["--engines"]),
            (
                "compare rr --engines epoll",
                &["at least two arms", "--engines uring,epoll"],
            ),
            (
                "compare rr --engines epoll,nosuch",
                &["'nosuch'", "blocking"],
            ),
            (
                "compare rr --engines epoll,,blocking",
                &["epoll,,blocking", "missing"],
            ),
            (
                "compare rr --engines spin=1us,epoll",
                &["'spin=1us'", "without an engine"],
            ),
            (
                "compare rr --engines epoll,blocking:warp=9",
                &["engine blocking", "unknown option 'warp'"],
            ),
            (
                "compare rr --engines epoll,blocking --testee-engine epoll",
                &["--testee-engine", "--vary testee"],
            ),
            (
                "compare rr tcp://127.0.0.1:9 --engines epoll,blocking",
                &["--vary testee", "--vary load"],
            ),
            (
                "compare rr --engines epoll,blocking --baseline uring",
                &["--baseline uring", "epoll and blocking"],
            ),
            (
                "compare rr --engines epoll,blocking --rounds 3",
                &["--rounds 3", "from 7 to 30"],
            ),
            (
                "compare rr --engines epoll,blocking --repeat 3",
                &["--repeat", "--rounds"],
            ),
            (
                "compare rr --engines epoll,blocking --budget 10s",
                &["--budget 10 s", "discarded"],
            ),
            (
                "compare --plan /nonexistent/plan.toml",
                &["/nonexistent/plan.toml"],
            ),
            ("compare ping", &["'ping' is no workload", "two files"]),
            (
                "compare rr --engines epoll,blocking --metric speed",
                &["--metric", "speed", "cpu_per_op"],
            ),
            (
                "compare stream --engines epoll,blocking --metric p99",
                &["p99 of stream", "throughput"],
            ),
            (
                "compare rr --profiles none,nosuch",
                &["nosuch", "linerate sysctl list"],
            ),
            (
                "compare rr --profiles none,low-latency --engines epoll,uring",
                &["--profiles", "--engines"],
            ),
            (
                "compare rr --profiles none,low-latency --baseline 10gbe",
                &["--baseline 10gbe", "none and low-latency"],
            ),
            (
                "compare --resume /nonexistent.trials.jsonl --rounds 9",
                &["--resume", "--rounds"],
            ),
            (
                "compare rr --engines epoll,blocking --fail-on rate<5",
                &["--fail-on", "rate<5", "rate<-5%"],
            ),
        ];
        for (line, parts) in cases {
            call_line(line).assert_refused(USAGE, parts);
        }
    });
}

#[test]
fn an_engine_that_cannot_run_here_is_refused_with_its_reason() {
    let foreign = if cfg!(target_os = "linux") {
        "kqueue"
    } else {
        "epoll"
    };
    within(60, move || {
        let began = Instant::now();
        let finished = call(&["compare", "rr", "--engines", &format!("blocking,{foreign}")]);
        finished.assert_refused(MACHINE, &[foreign, "does not run here", "leave it out"]);
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "before the start"
        );
    });
}

#[test]
fn a_comparison_of_two_engines() {
    // 48 windows of 200 ms, each of which must have numbers: not beside browsers.
    alone(280, || {
        let directory = Directory::new();
        let path = directory.path().join("saved.json");
        let line = format!(
            "compare rr --engines epoll,blocking --connections 1,2 --rounds 7 {SHORT} --output {}",
            path.display()
        );
        let finished = start(&line).finish(Duration::from_secs(250));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        for part in [
            "2 cells of 2 arms and a control",
            "48 runs",
            "seed 3",
            "round 7/7",
            "left",
        ] {
            assert!(
                finished.stderr.contains(part),
                "'{part}': {}",
                finished.stderr
            );
        }
        let document: Value =
            serde_json::from_str(&fs::read_to_string(&path).expect("saved")).expect("JSON");
        validate(&document, COMPARISON);
        assert_eq!(
            (&document["status"], &document["method"]["seed"]),
            (&"ok".into(), &3.into())
        );
        for (cell, label) in list(&document, "/cells")
            .iter()
            .zip(["rr, 1 connection", "rr, 2 connections"])
        {
            assert_eq!(cell["label"], label);
            check_cell(cell);
        }
        let command = document["cells"][0]["arms"][2]["command"]
            .as_str()
            .expect("a command");
        assert_eq!(
            command,
            "linerate run rr --duration 200ms --warmup 20ms --interval 20ms --testee-engine blocking --connections 1"
        );
        let repeated = call_line(command.strip_prefix("linerate ").expect("linerate"));
        assert_eq!(repeated.code(), 0, "{}", repeated.stderr);
        analysed_again(&path, &document);
    });
}

fn check_cell(cell: &Value) {
    let labels: Vec<_> = list(cell, "/arms")
        .iter()
        .map(|arm| arm["label"].as_str())
        .collect();
    assert_eq!(
        labels,
        [Some("epoll"), Some("epoll (again)"), Some("blocking")]
    );
    assert_eq!(cell["arms"][2]["testee_engine"]["used"], "blocking");
    assert_eq!(list(cell, "/rounds").len(), 8);
    assert_eq!(cell["stopped"], "rounds");
    for round in list(cell, "/rounds") {
        assert_eq!(round["discarded"], round["number"] == 0);
        for run in list(round, "/runs") {
            assert_eq!(run["failure"], Value::Null);
            for number in [
                "/rate_per_second",
                "/load/busy_fraction",
                "/testee/cpu_ns_per_operation",
            ] {
                let number = run.pointer(number).and_then(Value::as_f64);
                assert!(number.is_some_and(|number| number > 0.0), "{run:#}");
            }
            assert!(list(run, "/series/values").len() > 5);
        }
    }
    assert_eq!(list(cell, "/analysis/verdicts").len(), 1);
}

/// The same document gives the same verdicts, and other forms.
fn analysed_again(path: &Path, document: &Value) {
    let path = path.to_str().expect("UTF-8");
    let again = call(&["compare", "--again", path, "--format", "json"]);
    assert_eq!(again.code(), 0, "{}", again.stderr);
    assert_eq!(again.json()["cells"], document["cells"]);
    for format in ["text", "csv"] {
        let again = call(&["compare", "--again", path, "--format", format]);
        assert_eq!(again.code(), 0, "{format}: {}", again.stderr);
        assert!(
            again.stdout.contains("blocking"),
            "{format}: {}",
            again.stdout
        );
    }
}

#[test]
fn an_arm_that_fails_is_reported_and_the_others_go_on() {
    within(280, || {
        let directory = Directory::new();
        let path = directory.path().join("plan.toml");
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let plan = format!(
            "workload = 'rr'\nduration = '200ms'\nwarmup = '20ms'\ninterval = '20ms'\n\
             [[arm]]\nname = 'one'\n[[arm]]\nname = 'two'\nrequest = 2\n\
             [[arm]]\nname = 'nobody'\ntarget = 'tcp://{}'\n",
            closed.expect("a port")
        );
        fs::write(&path, plan).expect("written");
        let path = path.to_str().expect("UTF-8");
        let mut call = start(&format!(
            "compare --plan {path} --pause 10ms --rounds 8 --format json"
        ));
        let finished = call.finish(Duration::from_secs(250));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(
            finished.stderr.contains("nobody failed"),
            "{}",
            finished.stderr
        );
        let document = finished.json();
        validate(&document, COMPARISON);
        let cell = &document["cells"][0];
        let failures = |arm: usize| -> Vec<&str> {
            let runs = list(cell, "/rounds")
                .iter()
                .map(|round| &round["runs"][arm]["failure"]);
            runs.filter_map(|failure| failure["code"].as_str())
                .collect()
        };
        assert_eq!((failures(0).len(), failures(2).len()), (0, 0));
        assert_eq!(failures(3)[..3], ["peer", "peer", "not_run"]);
        assert_eq!(failures(3).len(), 9);
        let verdicts = list(cell, "/analysis/verdicts");
        assert_eq!(verdicts[1]["verdict"], "invalid");
    });
}

/// A saved result of 7 rounds, and the same with a tenth of its rate.
fn old_and_new(directory: &Path) -> [String; 2] {
    let [old, new] = ["old.json", "new.json"].map(|name| directory.join(name));
    // One interval a round: whether a busy machine was steady is not what is asked here.
    let finished = start(&format!(
        "run rr --repeat 7 --duration 200ms --warmup 20ms --interval 200ms --engine epoll \
         --testee-engine epoll --format json --output {}",
        old.display()
    ))
    .finish(Duration::from_secs(60));
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    let text = fs::read_to_string(&old).expect("saved");
    let mut document: Value = serde_json::from_str(&text).expect("JSON");
    for round in document["rounds"].as_array_mut().expect("rounds") {
        let rate = &mut round["rates"]["operations_per_second"];
        *rate = (rate.as_f64().expect("a rate") / 10.0).into();
    }
    fs::write(&new, document.to_string()).expect("written");
    [old, new].map(|path| path.to_str().expect("UTF-8").to_owned())
}

#[test]
fn two_saved_results_are_compared_with_a_warning() {
    within(120, || {
        let directory = Directory::new();
        let [old, new] = old_and_new(directory.path());
        let slower = call(&["compare", &old, &new]);
        assert_eq!(slower.code(), 0, "{}", slower.stderr);
        for part in [
            &format!("{new} is slower than {old}: rate -90"),
            "Two saved results, not measured in turn",
            "the two results were not measured in turn and have no control",
            "rate, higher is better; no noise floor",
            "baseline",
            "   slower",
        ] {
            assert!(slower.stdout.contains(part), "'{part}': {}", slower.stdout);
        }
        let limit = ["--fail-on", "rate<-5%"];
        let exceeded = call(&[&["compare", &old, &new][..], &limit].concat());
        exceeded.assert_refused(1, &["a check failed", "rate<-5%: EXCEEDED"]);
        // A limit that no noise between rounds comes near: the gate is kept for certain.
        let limit = ["--fail-on", "rate<-95%"];
        let same = call(&[&["compare", &old, &old, "--format", "json"][..], &limit].concat());
        assert_eq!(same.code(), 0, "{}", same.stderr);
        let document = same.json();
        validate(&document, COMPARISON);
        assert_eq!(document["warnings"][0]["code"], "not_interleaved");
        let verdict = &document["cells"][0]["analysis"]["verdicts"][0]["verdict"];
        assert!(verdict != "slower" && verdict != "faster", "{verdict}");
    });
}

#[test]
fn a_gate_of_which_nothing_can_be_said_does_not_pass() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("one.json");
        let path = path.to_str().expect("UTF-8");
        let line = format!(
            "run rr --duration 200ms --warmup 20ms --engine epoll --testee-engine epoll --format json --output {path}"
        );
        assert_eq!(call_line(&line).code(), 0);
        let gate = call(&["compare", path, path, "--fail-on", "p99>10%"]);
        gate.assert_refused(
            UNDECIDED,
            &["nothing can be said", "p99>10%: undecided", "--repeat"],
        );
        assert!(
            gate.stdout.contains("fewer than 2 rounds"),
            "{}",
            gate.stdout
        );
        // Without a question there is an answer to none.
        assert_eq!(call(&["compare", path, path]).code(), 0);
        let of_eight = directory.path().join("eight.json");
        let of_eight = of_eight.to_str().expect("UTF-8");
        let line = line.replace(path, of_eight) + " --connections 8";
        assert_eq!(call_line(&line).code(), 0);
        let parts = [
            "not of the same work",
            "--connections 1 and 8",
            "--allow-different",
        ];
        call(&["compare", path, of_eight]).assert_refused(USAGE, &parts);
        let asked_for = call(&["compare", path, of_eight, "--allow-different"]);
        assert_eq!(asked_for.code(), 0, "{}", asked_for.stderr);
        let first = "The results are not of the same work: --connections 1 and 8. ";
        assert!(asked_for.stdout.starts_with(first), "{}", asked_for.stdout);
    });
}

#[test]
fn what_is_no_saved_result_of_the_same_kind_is_refused_with_a_cure() {
    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../report/tests/fixtures");
    within(60, || {
        let directory = Directory::new();
        let findings = directory.path().join("doctor.json");
        let checkup = call(&["doctor", "--format", "json", "--watch", "100ms"]);
        fs::write(&findings, checkup.stdout).expect("written");
        let findings = findings.to_str().expect("UTF-8");
        let fixture = |name: &str| format!("{FIXTURES}/{name}.json");
        let rr = fixture("rr_five_rounds");
        let cases: [(&str, &[&str]); 5] = [
            (
                &fixture("compare_rr"),
                &["is a comparison already", "compare --again FILE"],
            ),
            (
                findings,
                &["linerate.doctor/1", "--format json --output FILE"],
            ),
            (
                &fixture("echo_open_loop_with_errors"),
                &["of rr and", "of echo", "cannot be compared"],
            ),
            (
                &fixture("failed_before_it_began"),
                &["has no complete round", "--repeat 7"],
            ),
            (
                "/nonexistent.json",
                &["cannot read", "--format json --output FILE"],
            ),
        ];
        for (file, parts) in cases {
            call(&["compare", &rr, file]).assert_refused(USAGE, parts);
        }
        let again = call(&["compare", "--again", &rr]);
        again.assert_refused(USAGE, &["no comparison", "compare OLD NEW"]);
    });
}

#[test]
fn an_interrupt_leaves_the_complete_rounds() {
    within(90, || {
        let mut call = start(&format!("compare rr --engines epoll,blocking {SHORT}"));
        call.hears("round 2/12");
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(20));
        assert_eq!(finished.code(), 130, "{}", finished.stderr);
        let document = finished.json();
        validate(&document, COMPARISON);
        assert_eq!(document["status"], "interrupted");
        let cell = &document["cells"][0];
        assert_eq!(cell["stopped"], "interrupted");
        let counted = list(cell, "/rounds")
            .iter()
            .filter(|round| round["discarded"] == false);
        assert!((1..4).contains(&counted.count()), "{cell:#}");
        assert!(cell["analysis"].is_object());
        // Looked at again it is what it is, and nobody has interrupted that.
        let directory = Directory::new();
        let path = directory.path().join("ended-early.json");
        fs::write(&path, &finished.stdout).expect("a file");
        let path = path.to_str().expect("UTF-8");
        assert_eq!(call_line(&format!("compare --again {path}")).code(), 0);
        let gate = call_line(&format!("compare --again {path} --fail-on rate<-99%"));
        assert!([0, UNDECIDED].contains(&gate.code()), "{}", gate.stderr);
        assert!(
            gate.stderr.contains("rate<-99%"),
            "what came of it: {}",
            gate.stderr
        );
    });
}

#[test]
fn an_interrupt_before_a_round_counts_is_one_plain_statement() {
    within(90, || {
        let line = "compare rr --engines epoll,blocking --duration 300ms --warmup 20ms";
        for form in ["text", "json"] {
            let mut call = start(&format!("{line} --format {form}"));
            call.hears("round 0 (discarded)");
            call.kept().signal(libc::SIGINT);
            let finished = call.finish(Duration::from_secs(20));
            assert_eq!(finished.code(), 130, "{}", finished.stderr);
            let statement = "linerate: interrupted before a round that counts was complete: there is \
                             nothing to compare\n";
            assert!(finished.stderr.ends_with(statement), "{}", finished.stderr);
            if form == "text" {
                assert_eq!(finished.stdout, "");
                continue;
            }
            let document = finished.json();
            validate(&document, COMPARISON);
            assert_eq!(document["status"], "interrupted");
        }
    });
}

#[test]
fn two_interrupts_end_at_once() {
    within(60, || {
        let mut call = start("compare rr --engines epoll,blocking --duration 30s --drain 20s");
        call.agents(2);
        call.kept().signal(libc::SIGINT);
        call.hears("once more ends at once");
        // What comes within half a second is the same wish.
        std::thread::sleep(Duration::from_millis(700));
        let asked = Instant::now();
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(10));
        assert!(
            asked.elapsed() < Duration::from_secs(4),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(finished.code(), 130, "{}", finished.stderr);
    });
}

#[test]
fn the_budget_ends_it() {
    within(120, || {
        let began = Instant::now();
        let mut call = start(&format!(
            "compare rr --engines epoll,blocking --budget 17s {SHORT}"
        ));
        let finished = call.finish(Duration::from_secs(60));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{:?}",
            began.elapsed()
        );
        let document = finished.json();
        validate(&document, COMPARISON);
        assert_eq!(document["cells"][0]["stopped"], "budget");
        assert!(list(&document, "/cells/0/rounds").len() < 31);
        assert!(finished.stderr.contains("at most"), "{}", finished.stderr);
    });
}

/// A testee that burns 2 us more per operation costs more CPU per operation: in some noise, but not that much.
#[test]
fn a_slowed_engine_is_found_slower() {
    alone(280, || {
        let line = "compare rr --engines epoll,slowed --connections 16 --duration 300ms --warmup 50ms --interval 20ms \
                    --pause 10ms --seed 1 --format json --quiet --fail-on testee_cpu_per_op>2%";
        let finished = start(line).finish(Duration::from_secs(250));
        let document = finished.json();
        validate(&document, COMPARISON);
        let cell = &document["cells"][0];
        let metrics = list(cell, "/analysis/metrics");
        let cpu = metrics
            .iter()
            .find(|each| each["metric"] == "testee_cpu_ns_per_operation");
        let slowed = &cpu.expect("the CPU time of the testee")["arms"][2];
        let effect = |name: &str| slowed["effect"][name].as_f64().expect("a number");
        assert!(effect("confidence_low") > 0.02, "{slowed:#}");
        assert!(effect("p_adjusted") < 0.05, "{slowed:#}");
        // On a machine so busy that runs are unsteady, the verdict is withheld, and no limit exceeded.
        match slowed["verdict"].as_str() {
            Some("slower") => assert_eq!(finished.code(), 1, "{}", finished.stderr),
            Some("invalid") => assert_eq!(finished.code(), UNDECIDED, "{slowed:#}"),
            other => panic!("{other:?}: {slowed:#}"),
        }
    });
}

//! Limits of the process, and what `auto` makes of them.

use linerate_tests::binary::{Call, alone, linerate};
use linerate_tests::process::{needs, piped};
use std::time::Duration;

const SHORT: [&str; 8] = [
    "run",
    "rr",
    "--duration",
    "200ms",
    "--warmup",
    "0s",
    "--format",
    "json",
];

/// linerate with so many KiB of locked memory and without the privilege that makes it boundless.
fn with_locked_memory(kib: u32, arguments: &[&str]) -> Call {
    let script = r#"ulimit -l "$0"; exec setpriv --bounding-set=-ipc_lock "$@""#;
    let mut command = piped("sh");
    command.args(["-c", script, &kib.to_string()]);
    command.arg(linerate()).args(arguments);
    Call::of(command)
}

fn can_be_limited(test: &str) -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        linerate_tests::skip(test, "capabilities are taken from root only");
    }
    is_root && needs(test, "setpriv") && linerate_tests::driver("uring").is_some()
}

/// The rings of a run are larger than that of a probe, and the load's come on top of the testee's.
#[test]
fn a_run_takes_rings_only_where_they_fit_and_says_why_not() {
    if !can_be_limited("a_run_takes_rings_only_where_they_fit") {
        return;
    }
    alone(60, || {
        for agents in ["1", "2"] {
            let line = [&SHORT[..], &["--connections", "4", "--load-agents", agents]].concat();
            let finished = with_locked_memory(64, &line).finish(Duration::from_secs(20));
            assert_eq!(finished.code(), 0, "{}", finished.stderr);
            let document = finished.json();
            let loads = document["rounds"][0]["load"].as_array().expect("agents");
            let engine = |side: &serde_json::Value| side["engine"]["used"].to_string();
            let used = engine(&loads[0]);
            assert!(loads.iter().all(|load| engine(load) == used), "{loads:#?}");
            if used.contains("uring") {
                linerate_tests::skip("locked memory", "this kernel does not count rings");
                return;
            }
            let warnings = document["warnings"].to_string();
            assert!(warnings.contains("engine_passed_over"), "{warnings}");
            assert!(
                warnings.contains("locked-memory limit is 64 KiB"),
                "{warnings}"
            );
            let told = finished.stderr.contains("uring is here, but a limit");
            assert!(told, "{}", finished.stderr);
        }
    });
}

/// What one thread can have, all of them need.
#[test]
fn serve_takes_rings_only_where_those_of_all_threads_fit() {
    if !can_be_limited("serve_takes_rings_only_where_those_of_all_threads_fit") {
        return;
    }
    alone(60, || {
        let serve = |threads: &str| {
            let line = ["serve", "--listen", "tcp://127.0.0.1:0", "--role", "echo"];
            let line = [&line[..], &["--threads", threads]].concat();
            let mut serving = with_locked_memory(8192, &line);
            let said = serving.hears("listening on");
            serving.kept().signal(libc::SIGTERM);
            assert_eq!(serving.finish(Duration::from_secs(10)).code(), 0);
            said
        };
        for (threads, fits) in [("16", true), ("64", false)] {
            let said = serve(threads);
            let on_rings = said.contains("engine uring");
            if !fits && on_rings {
                linerate_tests::skip("locked memory", "this kernel does not count rings");
                return;
            }
            assert_eq!(on_rings, fits, "{said}");
            assert_eq!(said.contains("takes epoll, because uring"), !fits, "{said}");
        }
    });
}

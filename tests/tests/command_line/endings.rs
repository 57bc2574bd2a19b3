//! How runs end that do not end by themselves: interrupted, killed, left alone.

use linerate_tests::binary::{Call, linerate, within};
use linerate_tests::process::{needs, piped};
use linerate_tests::raw::Server;
use linerate_tests::{Directory, Family, eventually};
use std::fs;
use std::time::{Duration, Instant};

const LONG: [&str; 8] = [
    "--duration",
    "30s",
    "--warmup",
    "0s",
    "--format",
    "json",
    "--interval",
    "200ms",
];

fn start(line: &[&str]) -> Call {
    let mut words = line.to_vec();
    words.extend(LONG);
    Call::start(&words)
}

/// Starts, waits until it measures, and lets it measure for a while.
fn measuring(line: &[&str]) -> Call {
    let mut call = start(line);
    call.agents(2);
    // The first progress line of an interval.
    call.hears("/s");
    call
}

#[test]
fn one_interrupt_ends_early_with_a_valid_marked_result() {
    within(60, || {
        for (signal, workload) in [
            (libc::SIGINT, "rr"),
            (libc::SIGTERM, "stream"),
            (libc::SIGINT, "crr"),
        ] {
            let mut call = measuring(&["run", workload]);
            let asked = Instant::now();
            call.kept().signal(signal);
            let finished = call.finish(Duration::from_secs(15));
            assert!(
                asked.elapsed() < Duration::from_secs(6),
                "{:?}",
                asked.elapsed()
            );
            assert_eq!(finished.code(), 130, "{}", finished.stderr);
            let document = finished.json();
            assert_eq!(document["status"], "interrupted");
            assert_eq!(document["rounds"][0]["ended_early"], true);
            let operations = document["rounds"][0]["measured"]["totals"]["operations"].as_u64();
            assert!(operations.is_some_and(|operations| operations > 0));
            let window = document["rounds"][0]["window"]["length_ns"]
                .as_u64()
                .expect("a window");
            assert!(
                (100_000_000..20_000_000_000).contains(&window),
                "what really passed: {window}"
            );
        }
    });
}

/// `timeout -s TERM` signals its child and then the group that it is in; so do service managers.
#[test]
fn two_signals_at_the_same_moment_are_one_wish() {
    within(60, || {
        for (first, second) in [(libc::SIGTERM, libc::SIGTERM), (libc::SIGINT, libc::SIGHUP)] {
            let mut call = measuring(&["run", "rr"]);
            call.kept().signal(first);
            std::thread::sleep(Duration::from_millis(10));
            call.kept().signal(second);
            let finished = call.finish(Duration::from_secs(15));
            assert_eq!(finished.code(), 130, "{}", finished.stderr);
            let document = finished.json();
            assert_eq!(document["status"], "interrupted");
            assert_eq!(document["rounds"][0]["ended_early"], true);
        }
    });
}

#[test]
fn two_interrupts_end_at_once() {
    within(60, || {
        // Its answers never come, so that the orderly end waits for its drain.
        let silent = Server::start(Family::Tcp4, |_, _| {
            std::thread::sleep(Duration::from_secs(30));
        });
        let target = format!("tcp://{}", silent.address.as_socket().expect("TCP"));
        let mut call = start(&["run", "rr", &target, "--drain", "20s", "--timeout", "30s"]);
        call.hears("/s");
        call.kept().signal(libc::SIGINT);
        std::thread::sleep(Duration::from_millis(700));
        let asked = Instant::now();
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(10));
        assert!(
            asked.elapsed() < Duration::from_secs(2),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(finished.code(), 130, "{}", finished.stderr);
    });
}

#[test]
fn a_hangup_under_nohup_does_not_end_the_run() {
    if !needs("a_hangup_under_nohup", "nohup") {
        return;
    }
    within(60, || {
        let mut command = piped("nohup");
        command
            .arg(linerate())
            .args(["run", "rr", "--duration", "1s", "--warmup", "0s"])
            .args(["--format", "json", "--interval", "200ms"]);
        let mut call = Call::of(command);
        call.hears("/s");
        call.kept().signal(libc::SIGHUP);
        let finished = call.finish(Duration::from_secs(15));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
    });
}

#[test]
fn an_interrupt_while_connecting_ends_too() {
    within(60, || {
        let directory = Directory::new();
        let listener = linerate_tests::raw::listen(linerate_tests::Family::Tcp4, &directory, 1);
        let address = listener
            .local_addr()
            .expect("bound")
            .as_socket()
            .expect("TCP");
        let fillers: Vec<_> = (0..3)
            .filter_map(|_| {
                std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok()
            })
            .collect();
        let target = format!("tcp://{address}");
        let mut call = start(&["run", "rr", &target, "--connect-timeout", "30s"]);
        call.agents(1);
        std::thread::sleep(Duration::from_millis(300));
        let asked = Instant::now();
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(15));
        assert!(
            asked.elapsed() < Duration::from_secs(6),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(finished.code(), 130, "{}", finished.stderr);
        drop(fillers);
    });
}

#[test]
fn an_agent_that_is_killed_is_one_clear_error() {
    within(60, || {
        // What a load has measured until its testee died is kept; without the load there is nothing.
        for (victim, status) in [(0, "partial"), (1, "failed")] {
            let directory = Directory::new();
            let path = directory.path().join("s");
            let listen = format!("unix://{}", path.display());
            let mut call = measuring(&["run", "rr", "--testee-listen", &listen]);
            let agents = call.agents(2);
            // SAFETY: kill takes two integers; the process is an agent of this very call.
            unsafe { libc::kill(agents[victim], libc::SIGKILL) };
            let asked = Instant::now();
            let finished = call.finish(Duration::from_secs(15));
            assert!(
                asked.elapsed() < Duration::from_secs(8),
                "{:?}",
                asked.elapsed()
            );
            finished.assert_refused(4, &["agent", "killed by signal 9"]);
            let document = finished.json();
            assert_eq!(document["status"], status);
            assert!(!path.exists(), "the socket of a killed testee is removed");
        }
    });
}

#[test]
fn one_of_several_agents_that_is_killed_ends_the_run_and_is_named() {
    within(60, || {
        let mut call = start(&[
            "run",
            "rr",
            "-c",
            "8",
            "--load-agents",
            "2",
            "--testee-agents",
            "2",
        ]);
        let agents = call.agents(4);
        call.hears("/s");
        // SAFETY: kill takes two integers; the process is an agent of this very call.
        unsafe { libc::kill(agents[3], libc::SIGKILL) };
        let asked = Instant::now();
        let finished = call.finish(Duration::from_secs(15));
        assert!(
            asked.elapsed() < Duration::from_secs(8),
            "{:?}",
            asked.elapsed()
        );
        finished.assert_refused(1, &["-2 agent", "killed by signal 9", "partial"]);
        let left = agents.iter().filter(|agent| {
            // SAFETY: signal 0 only asks whether the process is there.
            unsafe { libc::kill(**agent, 0) == 0 }
        });
        assert_eq!(left.count(), 0, "no agent is left");
    });
}

#[test]
fn agents_end_when_their_conductor_is_killed() {
    within(60, || {
        let mut call = measuring(&["run", "echo", "--connections", "10"]);
        assert_eq!(call.agents(2).len(), 2);
        call.kept().signal(libc::SIGKILL);
        call.kept().wait(Duration::from_secs(5));
        let gone = eventually(Duration::from_secs(10), || call.processes().is_empty());
        assert!(
            gone,
            "agents go on without their conductor: {:?}",
            call.processes()
        );
    });
}

#[test]
fn a_socket_file_is_unlinked_whatever_the_end() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("s");
        let listen = format!("unix://{}", path.display());
        let finished = linerate_tests::binary::call(&[
            "run",
            "rr",
            "--testee-listen",
            &listen,
            "--count",
            "100",
        ]);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(!path.exists());
        let mut call = measuring(&["run", "rr", "--testee-listen", &listen]);
        assert!(path.exists());
        call.kept().signal(libc::SIGINT);
        assert_eq!(call.finish(Duration::from_secs(10)).code(), 130);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(directory.path()).map_or(0, Iterator::count), 0);
    });
}

#[test]
fn an_interrupt_in_the_warm_up_leaves_a_valid_document() {
    within(60, || {
        let line = [
            "run",
            "rr",
            "--warmup",
            "30s",
            "--duration",
            "1s",
            "--format",
            "json",
        ];
        let mut call = Call::start(&line);
        call.agents(2);
        std::thread::sleep(Duration::from_millis(800));
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(10));
        assert_eq!(finished.code(), 130, "{}", finished.stderr);
        assert_eq!(finished.json()["status"], "interrupted");
    });
}

#[test]
fn a_launcher_that_hangs_can_be_interrupted() {
    within(60, || {
        let line = [
            "run",
            "rr",
            "--testee-via",
            "sleep 100 ; true",
            "--testee-host",
            "127.0.0.1",
        ];
        let mut call = Call::start(&line);
        std::thread::sleep(Duration::from_millis(500));
        let asked = Instant::now();
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(20));
        assert!(
            asked.elapsed() < Duration::from_secs(8),
            "{:?}",
            asked.elapsed()
        );
        assert_ne!(finished.code(), 0);
    });
}

#[test]
fn a_reader_that_is_gone_is_no_panic() {
    within(60, || {
        for line in [
            &["engines"][..],
            &["run", "rr", "--duration", "100ms", "--warmup", "0s"],
        ] {
            let mut call = Call::start(line);
            drop(call.kept().child.stdout.take());
            let finished = call.finish(Duration::from_secs(20));
            assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
        }
    });
}

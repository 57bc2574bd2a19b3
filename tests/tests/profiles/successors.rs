//! What a run meets that comes after another one, or while it is there.

use super::{run, run_profile};
use linerate_tests::binary::{Call, within};
use linerate_tests::eventually;
use linerate_tests::settings::Host;
use std::fs;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);
/// How long the supervisor of the killed run is kept from its work.
const HELD_UP: Duration = Duration::from_millis(700);

/// A run with a profile in force.
fn running(host: &Host) -> Call {
    let mut call = run_profile(host, &["--duration", "60s", "--interval", "200ms"]);
    call.hears("/s");
    call
}

fn supervisor(call: &Call) -> libc::pid_t {
    let of = |(pid, command): (libc::pid_t, String)| {
        command
            .trim_end()
            .ends_with("linerate supervise")
            .then_some(pid)
    };
    call.processes()
        .into_iter()
        .find_map(of)
        .expect("a supervisor")
}

fn signal(pid: libc::pid_t, signal: libc::c_int) {
    // SAFETY: kill takes two integers; the process carries the mark of a call of this test.
    unsafe { libc::kill(pid, signal) };
}

/// Stops the supervisor, so that it cannot put anything back, and kills what the user has started.
fn kill_and_hold_up(call: &mut Call) -> libc::pid_t {
    let supervisor = supervisor(call);
    signal(supervisor, libc::SIGSTOP);
    call.kept().signal(libc::SIGKILL);
    call.kept().wait(PATIENCE);
    supervisor
}

#[test]
fn a_run_right_after_a_killed_one_waits_until_that_has_put_back() {
    let Some(host) = Host::for_test("after_a_killed_one") else {
        return;
    };
    within(90, move || {
        let before = host.values();
        let mut killed = running(&host);
        let supervisor = kill_and_hold_up(&mut killed);
        let mut next = run_profile(&host, &[]);
        std::thread::sleep(HELD_UP);
        signal(supervisor, libc::SIGCONT);
        let finished = next.finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        for part in [
            "linerate: waited ",
            "whose run was killed, had put back the profile profile",
        ] {
            assert!(
                finished.stderr.contains(part),
                "{part}: {}",
                finished.stderr
            );
        }
        let document = finished.json();
        let keys = document["hosts"][0]["profile"]["keys"].as_array();
        for key in keys.expect("a profile was applied") {
            assert_ne!(
                key["before"], key["effective"],
                "not the killed run's value: {key}"
            );
        }
        assert_eq!(host.values(), before);
        assert!(eventually(PATIENCE, || killed.processes().is_empty()));
    });
}

#[test]
fn a_run_whose_supervisor_does_not_put_back_is_not_waited_for_for_ever() {
    let Some(host) = Host::for_test("never_puts_back") else {
        return;
    };
    within(90, move || {
        let before = host.values();
        let mut killed = running(&host);
        let supervisor = kill_and_hold_up(&mut killed);
        let finished = run_profile(&host, &[]).finish(PATIENCE);
        assert_eq!(finished.code(), 3, "{}", finished.stderr);
        for part in [
            "has not put back the profile profile within 2.",
            "is in force for another run",
        ] {
            assert!(
                finished.stderr.contains(part),
                "{part}: {}",
                finished.stderr
            );
        }
        assert_ne!(host.values(), before, "it is still in force");
        signal(supervisor, libc::SIGCONT);
        assert!(host.is_as_before(&before));
        assert!(eventually(PATIENCE, || killed.processes().is_empty()));
    });
}

#[test]
fn a_run_beside_a_living_one_is_refused_without_a_wait() {
    let Some(host) = Host::for_test("beside_a_living_one") else {
        return;
    };
    within(90, move || {
        let before = host.values();
        let mut living = running(&host);
        // A wait would end with a line of its own, which makes two.
        let finished = run_profile(&host, &[]).finish(PATIENCE);
        finished.assert_refused(3, &["is in force for another run"]);
        living.kept().signal(libc::SIGINT);
        assert_eq!(living.finish(PATIENCE).code(), 130);
        assert_eq!(host.values(), before);
    });
}

#[test]
fn a_damaged_journal_is_named_and_stays() {
    let Some(host) = Host::for_test("damaged_journal") else {
        return;
    };
    within(90, move || {
        let profile = host.file("profile.toml", linerate_tests::settings::PROFILE);
        let call = |line: &[&str]| host.linerate(line).finish(PATIENCE);
        assert_eq!(call(&["sysctl", "apply", &profile]).code(), 0);
        let held = host.values();
        let entries = fs::read_dir(host.state()).expect("the state directory");
        let mut paths = entries.flatten().map(|entry| entry.path());
        let journal = paths
            .find(|path| path.extension().is_some_and(|end| end == "json"))
            .expect("it is held");
        let whole = fs::read(&journal).expect("it is ours");
        fs::write(&journal, &whole[..whole.len() / 2]).expect("it is ours");

        let name = journal.display().to_string();
        let is_named = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let text = words.join(" ");
            for part in [
                name.as_str(),
                "cannot be used",
                "EOF",
                "put back by hand",
                "remove it",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
        };
        let status = call(&["sysctl", "status"]);
        assert_eq!(status.code(), 0, "{}", status.stderr);
        is_named(&status.stdout);
        let refused = [
            call(&["sysctl", "restore"]),
            run(&host, &profile, &[]).finish(PATIENCE),
        ];
        for finished in refused {
            assert_eq!(finished.code(), 3, "{}", finished.stdout);
            is_named(&finished.stderr);
        }
        assert_eq!(host.values(), held, "nothing is written on a guess");
        fs::write(&journal, &whole).expect("it is ours");
        assert_eq!(call(&["sysctl", "restore"]).code(), 0);
    });
}

#[test]
fn a_proc_of_another_namespace_of_processes_refuses_the_profile() {
    let Some(host) = Host::for_test("foreign_proc") else {
        return;
    };
    if !linerate_tests::process::needs("foreign_proc", "unshare") {
        return;
    }
    within(60, move || {
        let before = host.values();
        let profile = host.file("profile.toml", linerate_tests::settings::PROFILE);
        for (proc, code) in [(&[][..], 3), (&["--mount-proc"], 0)] {
            let mut command = host.command("unshare");
            command
                .args(["--pid", "--fork", "--kill-child"])
                .args(proc)
                .arg(linerate_tests::binary::linerate())
                .args(["run", "rr", "--profile", &profile])
                .args(super::QUICK);
            let finished = Call::of(command).finish(PATIENCE);
            assert_eq!(finished.code(), code, "{}", finished.stderr);
            assert_eq!(
                finished.stderr.contains("of another PID namespace"),
                code == 3,
                "{}",
                finished.stderr
            );
            assert_eq!(host.values(), before);
        }
    });
}

//! Whoever dies, and whenever: the values come back.

use super::{run, run_profile};
use linerate_tests::binary::{Call, within};
use linerate_tests::eventually;
use linerate_tests::settings::{Host, PROFILE};
use std::fs;
use std::time::Duration;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Cli,
    Agents,
    Supervisor,
    CliAndAgents,
    AgentsAndSupervisors,
    Everything,
}

const VICTIMS: [Victim; 6] = [
    Victim::Cli,
    Victim::Agents,
    Victim::Supervisor,
    Victim::CliAndAgents,
    // The cli is left, and heals at once.
    Victim::AgentsAndSupervisors,
    Victim::Everything,
];

/// Where a supervisor of a debug build stops itself: `sysctl_profiles::CRASH_POINTS`, for four settings.
const POINTS: [&str; 16] = [
    "apply.locked",
    "apply.planned",
    "apply.journal.temporary",
    "apply.journaled",
    "apply.wrote.1",
    "apply.wrote.2",
    "apply.wrote.3",
    "apply.wrote.4",
    "apply.read",
    "apply.recorded",
    "restore.locked",
    "restore.wrote.1",
    "restore.wrote.2",
    "restore.wrote.3",
    "restore.wrote.4",
    "restore.done",
];

/// Whether a journal stands while a supervisor is there: what is left then was put back by somebody, who says so.
fn is_journaled_at(point: &str) -> bool {
    let mut before = POINTS.iter().take_while(|one| **one != "apply.journaled");
    point != "restore.done" && !before.any(|one| *one == point)
}

/// Processes of the call that are stopped (proc_pid_stat(5), field 3).
fn stopped(call: &Call) -> Vec<libc::pid_t> {
    let is_stopped = |pid: &libc::pid_t| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_some_and(|rest| rest.starts_with('T'))
    };
    let pids = call.processes().into_iter().map(|(pid, _)| pid);
    pids.filter(is_stopped).collect()
}

/// Lets every stopped process go on. Who heals in place of a killed supervisor comes to the same points.
fn go_on(call: &Call) {
    for pid in stopped(call) {
        // SAFETY: kill takes two integers; the process carries the mark of this very call.
        unsafe { libc::kill(pid, libc::SIGCONT) };
    }
}

/// Kills all of `victim` as if at one instant: none of them sees another die.
fn kill(call: &Call, victim: Victim) {
    let is = |command: &str, last: &str| command.trim_end().ends_with(&format!("linerate {last}"));
    let chosen = |command: &str| {
        let (agent, supervisor) = (is(command, "agent"), is(command, "supervise"));
        match victim {
            Victim::Cli => !agent && !supervisor,
            Victim::Agents => agent,
            Victim::Supervisor => supervisor,
            Victim::CliAndAgents => !supervisor,
            Victim::AgentsAndSupervisors => agent || supervisor,
            Victim::Everything => true,
        }
    };
    let mut processes = call.processes();
    processes.retain(|(_, command)| chosen(command));
    for signal in [libc::SIGSTOP, libc::SIGKILL] {
        for (pid, _) in &processes {
            // SAFETY: kill takes two integers; the process carries the mark of this very call.
            unsafe { libc::kill(*pid, signal) };
        }
    }
}

/// Starts `linerate ARGUMENTS`, kills `victim` when the supervisor is at `point`, and waits until nothing
/// of the call is left; what it then had said on standard error.
fn crash(host: &Host, arguments: &[&str], point: &str, victim: Victim) -> String {
    let mut command = host.command(linerate_tests::binary::linerate());
    command.args(arguments).env("LINERATE_STOP_AT", point);
    let mut call = Call::of(command);
    let reached = eventually(Duration::from_secs(30), || !stopped(&call).is_empty());
    assert!(reached, "{point} is not reached: {:?}", call.processes());
    kill(&call, victim);
    let gone = eventually(Duration::from_secs(30), || {
        go_on(&call);
        call.processes().is_empty()
    });
    assert!(
        gone,
        "{point}, {victim:?}: left behind: {:?}",
        call.processes()
    );
    call.finish(Duration::from_secs(5)).stderr
}

#[test]
fn every_process_killed_at_every_step_leaves_the_values_as_they_were() {
    let Some(host) = Host::for_test("killed_at_every_step") else {
        return;
    };
    within(580, move || {
        let before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        let mut line = vec!["run", "rr", "--profile", &profile];
        line.extend(super::QUICK);
        for point in POINTS {
            for victim in VICTIMS {
                let said = crash(&host, &line, point, victim);
                let at = format!("{point}, {victim:?}");
                if victim == Victim::AgentsAndSupervisors && is_journaled_at(point) {
                    assert!(said.contains("it was put back"), "{at}: {said}");
                }
                if victim == Victim::Everything {
                    // Nobody is left: the next command heals.
                    let next = host
                        .linerate(&["sysctl", "status"])
                        .finish(Duration::from_secs(20));
                    assert_eq!(next.code(), 0, "{at}: {}", next.stderr);
                }
                assert_eq!(host.values(), before, "{at}");
                assert_eq!(journals(&host), 0, "{at}");
            }
        }
    });
}

#[test]
fn a_killed_apply_holds_nothing_unless_it_was_complete() {
    let Some(host) = Host::for_test("killed_apply") else {
        return;
    };
    within(300, move || {
        let before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        for point in POINTS
            .into_iter()
            .filter(|point| point.starts_with("apply."))
        {
            for victim in [Victim::Cli, Victim::Supervisor, Victim::Everything] {
                crash(&host, &["sysctl", "apply", &profile], point, victim);
                let next = host
                    .linerate(&["sysctl", "status"])
                    .finish(Duration::from_secs(20));
                assert_eq!(next.code(), 0, "{point}, {victim:?}: {}", next.stderr);
                if journals(&host) > 0 {
                    // Complete and recorded before its writer died: it is held, and status says so.
                    assert_eq!(point, "apply.recorded", "{victim:?}: {}", next.stdout);
                    assert!(next.stdout.contains("held until"), "{}", next.stdout);
                    let restored = host
                        .linerate(&["sysctl", "restore"])
                        .finish(Duration::from_secs(20));
                    assert_eq!(restored.code(), 0, "{}", restored.stderr);
                }
                assert_eq!(host.values(), before, "{point}, {victim:?}");
            }
        }
    });
}

#[test]
fn an_apply_whose_supervisor_was_killed_says_what_is_in_force() {
    let Some(host) = Host::for_test("apply_says") else {
        return;
    };
    within(60, move || {
        let before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        for (point, said) in [
            ("apply.recorded", "linerate sysctl restore"),
            ("apply.read", "it was put back"),
            ("apply.planned", "everything is put back"),
        ] {
            let mut command = host.command(linerate_tests::binary::linerate());
            command
                .args(["sysctl", "apply", &profile])
                .env("LINERATE_CRASH_AT", point);
            let finished = Call::of(command).finish(Duration::from_secs(20));
            assert_eq!(finished.code(), 3, "{point}: {}", finished.stderr);
            assert!(
                finished.stderr.contains(said),
                "{point}: {}",
                finished.stderr
            );
            assert_eq!(
                host.values() == before,
                point != "apply.recorded",
                "{point}"
            );
            let mut restored = host.linerate(&["sysctl", "restore"]);
            assert_eq!(restored.finish(Duration::from_secs(20)).code(), 0);
            assert_eq!(host.values(), before, "{point}");
        }
    });
}

/// Journals on disk.
fn journals(host: &Host) -> usize {
    let Ok(entries) = fs::read_dir(host.state()) else {
        return 0;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".json"))
        .count()
}

#[test]
fn signals_to_the_run_put_back() {
    let Some(host) = Host::for_test("signals_put_back") else {
        return;
    };
    within(120, move || {
        let before = host.values();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            let mut call = run_profile(&host, &["--duration", "30s", "--interval", "200ms"]);
            call.hears("/s");
            assert_ne!(host.values(), before, "in force");
            call.kept().signal(signal);
            let finished = call.finish(Duration::from_secs(20));
            assert_eq!(finished.code(), 130, "{}", finished.stderr);
            assert_eq!(host.values(), before, "back before the run has ended");
        }
    });
}

#[test]
fn a_signal_to_the_supervisor_itself_puts_back_and_ends_the_run() {
    let Some(host) = Host::for_test("signal_to_supervisor") else {
        return;
    };
    within(60, move || {
        let before = host.values();
        let mut call = run_profile(&host, &["--duration", "1s", "--interval", "200ms"]);
        call.hears("/s");
        let supervisor = call
            .processes()
            .into_iter()
            .find(|(_, command)| command.trim_end().ends_with("linerate supervise"))
            .expect("a supervisor");
        // SAFETY: kill takes two integers; the process carries the mark of this very call.
        unsafe { libc::kill(supervisor.0, libc::SIGTERM) };
        assert!(host.is_as_before(&before));
        let finished = call.finish(Duration::from_secs(30));
        assert_eq!(finished.code(), 3, "{}", finished.stderr);
    });
}

#[test]
fn what_a_killed_run_left_is_said_by_the_next_one() {
    let Some(host) = Host::for_test("said_by_the_next") else {
        return;
    };
    within(60, move || {
        let before = host.values();
        let mut call = run_profile(&host, &["--duration", "30s", "--interval", "200ms"]);
        call.hears("/s");
        kill(&call, Victim::Everything);
        let gone = eventually(Duration::from_secs(10), || call.processes().is_empty());
        assert!(gone, "{:?}", call.processes());
        assert_ne!(host.values(), before, "nobody was left to put back");
        let profile = host.file("profile.toml", PROFILE);
        let finished = run(&host, &profile, &[]).finish(Duration::from_secs(30));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(finished.stderr.contains("put back"), "{}", finished.stderr);
        assert_eq!(host.values(), before);
    });
}

//! SIGKILL at every step of applying and putting back: the next command finds the values as they were.

use sysctl_profiles::{CRASH_POINTS, Host, Profile};

use crate::space::{Process, Role, inside, journals, profile, put, value};

const KEYS: [(&str, &str); 4] = [
    ("net.core.somaxconn", ">= 65535"),
    ("net.ipv4.ip_local_port_range", ">= 1024 65535"),
    ("net.ipv4.tcp_rmem", ">= 8192 262144 67108864"),
    ("net.ipv4.tcp_tw_reuse", "1"),
];

fn values() -> Vec<String> {
    KEYS.iter().map(|(key, _)| value(key)).collect()
}

/// The points of `work`, with a number for each write.
fn points(work: &str) -> Vec<String> {
    let points = CRASH_POINTS.iter().filter(|point| point.starts_with(work));
    let numbered = |point: &&str| match point.strip_suffix('N') {
        Some(stem) => (1..=KEYS.len())
            .map(|number| format!("{stem}{number}"))
            .collect(),
        None => vec![(*point).to_owned()],
    };
    points.flat_map(numbered).collect()
}

fn killed(role: Role, profile: &Profile, point: &str) {
    let end = Process::start(role, profile, &[("LINERATE_CRASH_AT", point)]).end();
    assert_eq!(end, None, "{role:?} was not killed at {point}");
}

fn heal() {
    Host::here(None)
        .expect("Linux")
        .heal()
        .expect("it goes back");
}

#[test]
fn a_run_killed_at_any_step_is_undone_by_the_next_command() {
    if !inside("crash::a_run_killed_at_any_step_is_undone_by_the_next_command") {
        return;
    }
    let (before, profile) = (values(), profile(&KEYS));
    let all = [points("apply."), points("restore.")].concat();
    assert_eq!(all.len(), CRASH_POINTS.len() - 2 + 2 * KEYS.len());
    for point in all {
        killed(Role::Run, &profile, &point);
        heal();
        assert_eq!(values(), before, "{point}");
        assert_eq!(journals(), 0, "{point}");
    }
}

#[test]
fn what_puts_back_may_itself_be_killed() {
    if !inside("crash::what_puts_back_may_itself_be_killed") {
        return;
    }
    let (before, profile) = (values(), profile(&KEYS));
    for point in points("restore.") {
        killed(Role::Run, &profile, "apply.recorded");
        killed(Role::Heal, &profile, &point);
        heal();
        assert_eq!(
            (values(), journals()),
            (before.clone(), 0),
            "heal at {point}"
        );

        assert_eq!(Process::start(Role::Hold, &profile, &[]).end(), Some(0));
        killed(Role::Restore, &profile, &point);
        assert_eq!(Process::start(Role::Restore, &profile, &[]).end(), Some(0));
        assert_eq!(
            (values(), journals()),
            (before.clone(), 0),
            "restore at {point}"
        );
    }
}

#[test]
fn holding_is_whole_or_not_at_all() {
    if !inside("crash::holding_is_whole_or_not_at_all") {
        return;
    }
    let (before, profile) = (values(), profile(&KEYS));
    for point in points("apply.") {
        killed(Role::Hold, &profile, &point);
        heal();
        let held = point == "apply.recorded";
        assert_eq!(journals(), usize::from(held), "{point}");
        assert_eq!(values() == before, !held, "{point}");
    }
    assert_eq!(Process::start(Role::Restore, &profile, &[]).end(), Some(0));
    assert_eq!((values(), journals()), (before, 0));
}

#[test]
fn a_change_in_the_middle_of_a_killed_run_is_not_overwritten() {
    if !inside("crash::a_change_in_the_middle_of_a_killed_run_is_not_overwritten") {
        return;
    }
    let profile = profile(&KEYS);
    for point in ["apply.wrote.3", "apply.recorded", "restore.locked"] {
        let before = values();
        let run = Process::start(Role::Run, &profile, &[("LINERATE_STOP_AT", point)]);
        run.await_stop();
        put("net.core.somaxconn", "12345").expect("it is ours");
        run.kill();
        let reports = Host::here(None)
            .expect("Linux")
            .heal()
            .expect("the rest goes back")
            .reports;
        let left: Vec<&str> = reports[0]
            .left_alone()
            .map(|key| key.key.as_str())
            .collect();
        assert_eq!(left, ["net.core.somaxconn"], "{point}");
        let after = values();
        assert_eq!(
            (after[0].as_str(), &after[1..]),
            ("12345", &before[1..]),
            "{point}"
        );
        put("net.core.somaxconn", &before[0]).expect("it is ours");
    }
}

#[test]
fn runs_at_the_same_time_do_not_mix() {
    if !inside("crash::runs_at_the_same_time_do_not_mix") {
        return;
    }
    let before = values();
    let profiles = [
        profile(&KEYS),
        profile(&[
            ("net.core.somaxconn", "8192"),
            ("net.ipv4.tcp_tw_reuse", "0"),
        ]),
    ];
    let mut done = 0;
    for _ in 0..5 {
        let runs: Vec<Process> = (0..6)
            .map(|number| Process::start(Role::Run, &profiles[number % 2], &[]))
            .collect();
        for run in runs {
            // 3 is "in use"; a mix would show as drift and end as a panic, 101.
            let end = run.end();
            assert!(matches!(end, Some(0 | 3)), "{end:?}");
            done += usize::from(end == Some(0));
        }
        assert_eq!((values(), journals()), (before.clone(), 0));
    }
    assert!(done >= 5, "at least one of each five gets through: {done}");
}

#[test]
fn a_second_run_is_told_who_has_the_first() {
    if !inside("crash::a_second_run_is_told_who_has_the_first") {
        return;
    }
    let (before, profile) = (values(), profile(&KEYS));
    let first = Process::start(
        Role::Run,
        &profile,
        &[("LINERATE_STOP_AT", "restore.locked")],
    );
    first.await_stop();
    // It is stopped with the lock: another one waits for its deadline and then says who has it.
    assert_eq!(Process::start(Role::Restore, &profile, &[]).end(), Some(3));
    first.kill();
    assert_eq!(Process::start(Role::Run, &profile, &[]).end(), Some(0));
    assert_eq!((values(), journals()), (before, 0));
}

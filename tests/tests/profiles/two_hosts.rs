//! Two hosts: each side's agent applies the profile of its own, under the same rules.

use super::{QUICK, quick};
use linerate_tests::binary::{Call, within};
use linerate_tests::eventually;
use linerate_tests::settings::{Host, PROFILE};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);

/// `rr` with a testee over there, with what [`quick`] adds.
fn run(load: &Host, testee: &Host, more: &[&str]) -> Call {
    load.run_with(testee, "rr", &quick(more))
}

#[test]
fn one_profile_on_both_hosts() {
    let Some((a, b)) = Host::pair("profile_on_both") else {
        return;
    };
    within(90, move || {
        let (before_a, before_b) = (a.values(), b.values());
        let profile = a.file("profile.toml", PROFILE);
        let finished = run(&a, &b, &["--profile", &profile]).finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!((a.values(), b.values()), (before_a, before_b));
        let document = finished.json();
        for host in 0..2 {
            let sysctls = &document["hosts"][host]["sysctls"];
            assert_eq!(sysctls["net.core.somaxconn"], "16384", "host {host}");
            let keys = &document["hosts"][host]["profile"]["keys"];
            assert_eq!(keys.as_array().map(Vec::len), Some(4));
        }
    });
}

#[test]
fn a_profile_for_one_side_stays_there() {
    let Some((a, b)) = Host::pair("profile_on_one") else {
        return;
    };
    within(90, move || {
        let (before_a, before_b) = (a.values(), b.values());
        let profile = a.file("profile.toml", PROFILE);
        let more = [
            "--profile-testee",
            &profile,
            "--duration",
            "2s",
            "--interval",
            "200ms",
        ];
        let mut call = run(&a, &b, &more);
        call.hears("/s");
        assert_eq!(a.values(), before_a);
        assert_eq!(b.read("net.core.somaxconn"), "16384");
        let finished = call.finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!(b.values(), before_b);
        let document = finished.json();
        assert!(document["hosts"][0]["profile"].is_null());
        assert_eq!(document["hosts"][1]["profile"]["name"], "profile");
    });
}

#[test]
fn the_remote_values_come_back_when_the_run_is_killed() {
    let Some((a, b)) = Host::pair("remote_killed") else {
        return;
    };
    within(90, move || {
        let (before_a, before_b) = (a.values(), b.values());
        let profile = a.file("profile.toml", PROFILE);
        let more = [
            "--profile",
            &profile,
            "--duration",
            "30s",
            "--interval",
            "200ms",
        ];
        let mut call = run(&a, &b, &more);
        call.hears("/s");
        assert_ne!(b.values(), before_b);
        call.kept().signal(libc::SIGKILL);
        assert!(a.is_as_before(&before_a) && b.is_as_before(&before_b));
        let gone = eventually(Duration::from_secs(20), || call.processes().is_empty());
        assert!(gone, "{:?}", call.processes());
    });
}

#[test]
fn two_names_for_one_kernel_are_refused() {
    let Some(host) = Host::for_test("two_names") else {
        return;
    };
    within(60, move || {
        let before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        let mut line = vec!["run", "rr", "--profile-load", &profile];
        line.extend(QUICK);
        let finished = host.linerate(&line).finish(PATIENCE);
        finished.assert_refused(2, &["--profile-load", "one kernel", "--profile"]);
        // The launcher stays on this host: only the agents can tell.
        line.extend(["--testee-via", "nice -n 0", "--testee-host", "127.0.0.1"]);
        let finished = host.linerate(&line).finish(PATIENCE);
        finished.assert_refused(2, &["different profiles", "one kernel"]);
        assert_eq!(host.values(), before);
    });
}

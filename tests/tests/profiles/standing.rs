//! `linerate sysctl`: shown, compared, held, verified, put back.

use super::{QUICK, run};
use linerate_tests::binary::within;
use linerate_tests::settings::{Host, PROFILE};
use std::fs;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn a_held_profile_stays_until_it_is_put_back() {
    let Some(host) = Host::for_test("held") else {
        return;
    };
    within(120, move || {
        let before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        let call = |line: &[&str]| host.linerate(line).finish(PATIENCE);
        let verified = call(&["sysctl", "verify", &profile]);
        assert_eq!(verified.code(), 1, "{}", verified.stdout);

        let dry = call(&["sysctl", "apply", &profile, "--dry-run"]);
        assert_eq!(dry.code(), 0, "{}", dry.stderr);
        assert!(dry.stdout.contains("raises"), "{}", dry.stdout);
        assert_eq!(host.values(), before);

        let applied = call(&["sysctl", "apply", &profile]);
        assert_eq!(applied.code(), 0, "{}", applied.stderr);
        let held = host.values();
        assert_ne!(held, before);
        assert_eq!(call(&["sysctl", "verify", &profile]).code(), 0);
        let status = call(&["sysctl", "status", "--format", "json"]);
        assert_eq!(host.values(), held, "status heals only what is dead");
        let status = status.json();
        assert_eq!(status["journals"][0]["profile"], "profile", "{status:#}");

        // Another profile on top is refused.
        let other = host.file("other.toml", "summary = \"other\"\n[sysctl]\n\"net.core.somaxconn\" = { value = \">= 32768\", reason = \"a test\", source = \"tests\" }\n");
        let finished = run(&host, &other, &[]).finish(PATIENCE);
        assert_eq!(finished.code(), 3, "{}", finished.stderr);
        assert!(
            finished.stderr.contains("sysctl restore"),
            "{}",
            finished.stderr
        );
        assert_eq!(host.values(), held);

        let restored = call(&["sysctl", "restore"]);
        assert_eq!(restored.code(), 0, "{}", restored.stderr);
        assert_eq!(host.values(), before);
        let again = call(&["sysctl", "restore"]);
        assert_eq!(again.code(), 0, "{}", again.stderr);
    });
}

#[test]
fn restore_leaves_what_somebody_else_wrote() {
    let Some(host) = Host::for_test("restore_leaves") else {
        return;
    };
    within(60, move || {
        let mut before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        let applied = host
            .linerate(&["sysctl", "apply", &profile])
            .finish(PATIENCE);
        assert_eq!(applied.code(), 0, "{}", applied.stderr);
        host.write("net.ipv4.tcp_fin_timeout", "33");
        let restored = host.linerate(&["sysctl", "restore"]).finish(PATIENCE);
        assert_eq!(
            restored.code(),
            1,
            "{}\n{}",
            restored.stdout,
            restored.stderr
        );
        let text = restored.stdout + &restored.stderr;
        assert!(
            text.contains("net.ipv4.tcp_fin_timeout") && text.contains("33"),
            "{text}"
        );
        before.insert("net.ipv4.tcp_fin_timeout".to_owned(), "33".to_owned());
        assert_eq!(host.values(), before);
    });
}

#[test]
fn a_run_that_is_gone_out_of_sight_is_put_back_by_force() {
    let Some(host) = Host::for_test("out_of_sight") else {
        return;
    };
    within(60, move || {
        let before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        let call = |arguments: &[&str]| host.linerate(arguments).finish(PATIENCE);
        assert_eq!(call(&["sysctl", "apply", &profile]).code(), 0);
        // As a run in a namespace of processes of its own leaves it, when all of that is killed.
        let journals = fs::read_dir(host.state()).expect("the state directory");
        let mut paths = journals.flatten().map(|entry| entry.path());
        let journal = paths
            .find(|path| path.extension().is_some_and(|end| end == "json"))
            .expect("it is held by a journal");
        let text = fs::read_to_string(&journal).expect("it is ours");
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["hold"] = "run".into();
        json["owner"]["pid_namespace"] = 1.into();
        fs::write(&journal, json.to_string()).expect("it is ours");

        let status = call(&["sysctl", "status"]);
        assert!(status.stdout.contains("--force"), "{}", status.stdout);
        let refused = call(&["sysctl", "restore"]);
        assert_eq!(refused.code(), 3, "{}", refused.stdout);
        assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
        assert_ne!(host.values(), before);
        let forced = call(&["sysctl", "restore", "--force"]);
        assert_eq!(forced.code(), 0, "{}", forced.stderr);
        assert_eq!(host.values(), before);
    });
}

#[test]
fn bundled_profiles_are_listed_and_shown_with_reasons() {
    let Some(host) = Host::for_test("bundled") else {
        return;
    };
    within(60, move || {
        let listed = host
            .linerate(&["sysctl", "list", "--format", "json"])
            .finish(PATIENCE);
        assert_eq!(listed.code(), 0, "{}", listed.stderr);
        let listed = listed.json();
        let names: Vec<&str> = listed["profiles"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|profile| profile["name"].as_str())
            .collect();
        for name in [
            "10gbe",
            "crossbar-2013",
            "low-latency",
            "many-connections",
            "wsdemo-2012",
        ] {
            assert!(names.contains(&name), "{names:?}");
            let shown = host
                .linerate(&["sysctl", "show", name, "--format", "json"])
                .finish(PATIENCE);
            let shown = shown.json();
            let keys = shown["keys"].as_array().expect("a list");
            assert!(!keys.is_empty(), "{name}");
            for key in keys {
                for field in ["key", "requested", "reason", "source"] {
                    let text = key[field].as_str().unwrap_or_default();
                    assert!(!text.is_empty(), "{name}: {field} of {key}");
                }
            }
        }
    });
}

#[test]
fn the_limits_that_need_files_are_printed_to_be_pasted() {
    let Some(host) = Host::for_test("limits_text") else {
        return;
    };
    within(60, move || {
        let shown = host
            .linerate(&["sysctl", "show", "many-connections"])
            .finish(PATIENCE);
        assert_eq!(shown.code(), 0, "{}", shown.stderr);
        for part in ["limits.d", "nofile", "LimitNOFILE="] {
            assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
        }
    });
}

#[test]
fn a_run_under_the_held_profile_itself_needs_nothing_more() {
    let Some(host) = Host::for_test("held_and_run") else {
        return;
    };
    within(90, move || {
        let profile = host.file("profile.toml", PROFILE);
        let applied = host
            .linerate(&["sysctl", "apply", &profile])
            .finish(PATIENCE);
        assert_eq!(applied.code(), 0, "{}", applied.stderr);
        let held = host.values();
        let mut line = vec!["run", "rr"];
        line.extend(QUICK);
        let finished = host.linerate(&line).finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!(
            host.values(),
            held,
            "a run without a profile leaves it in force"
        );
        let restored = host.linerate(&["sysctl", "restore"]).finish(PATIENCE);
        assert_eq!(restored.code(), 0, "{}", restored.stderr);
    });
}

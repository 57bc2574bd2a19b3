//! Where nothing can be written: a container's /proc/sys, and a user who is not root.

use std::process::Command;

use sysctl_profiles::{ApplyOptions, Class, Error, Host, Process as Identity};

use crate::space::{Process, Role, inside, inside_with, journals, profile, skip, value};

const LINES: [(&str, &str); 2] = [
    ("net.core.somaxconn", ">= 65535"),
    ("net.ipv4.tcp_tw_reuse", "1"),
];

#[test]
fn a_container_with_read_only_settings_is_told_so() {
    let read_only = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&";
    if !inside_with(
        "walls::a_container_with_read_only_settings_is_told_so",
        &["--net", "--mount"],
        read_only,
    ) {
        return;
    }
    let before = value("net.core.somaxconn");
    let host = Host::here(None).expect("Linux");
    let plan = host.plan(&profile(&LINES)).expect("a plan");
    assert!(
        plan.entries
            .iter()
            .all(|entry| entry.class == Class::ReadOnly),
        "{:?}",
        plan.entries
    );
    let text = host
        .apply(&profile(&LINES), &ApplyOptions::run())
        .expect_err("nothing can be written")
        .to_string();
    assert!(
        text.contains("net.core.somaxconn: it is read-only here: /proc/sys is mounted read-only"),
        "{text}"
    );
    assert_eq!(value("net.core.somaxconn"), before);
}

/// The user nobody runs this binary once more, from a place that it may read.
#[test]
fn a_user_who_is_not_root_is_told_so() {
    const TEST: &str = "walls::a_user_who_is_not_root_is_told_so";
    if !inside(TEST) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return as_nobody();
    }
    as_user_nobody(TEST, &[]);
}

fn as_nobody() {
    let host = Host::here(None).expect("Linux");
    let plan = host.plan(&profile(&LINES)).expect("a plan");
    assert!(
        plan.entries
            .iter()
            .all(|entry| entry.class == Class::NeedsRoot),
        "{:?}",
        plan.entries
    );
    let error = host
        .apply(&profile(&LINES), &ApplyOptions::run())
        .expect_err("only root may");
    let text = error.to_string();
    assert!(
        text.contains("net.core.somaxconn: only root may write it"),
        "{text}"
    );
    // What is there already needs no root.
    let now = value("net.core.somaxconn");
    host.apply(
        &profile(&[("net.core.somaxconn", &now)]),
        &ApplyOptions::run(),
    )
    .expect("nothing to write");
}

#[test]
fn a_proc_of_another_namespace_names_nobody() {
    // unshare(1) without --mount-proc: /proc is still that of the namespace outside.
    if !inside_with(
        "walls::a_proc_of_another_namespace_names_nobody",
        &["--net", "--pid", "--fork"],
        "",
    ) {
        return;
    }
    let before = value("net.core.somaxconn");
    let error = Host::here(None)
        .expect("Linux")
        .apply(&profile(&LINES), &ApplyOptions::run())
        .expect_err("the journal would name another process");
    assert!(matches!(error, Error::ForeignProc { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("--mount-proc"), "{text}");
    assert_eq!((value("net.core.somaxconn"), journals()), (before, 0));

    // Its number is that of another process out there: that says nothing about this one.
    let this = Identity {
        pid: std::process::id(),
        start_ticks: 1,
        pid_namespace: pid_namespace(),
        name: "this".to_owned(),
    };
    assert_eq!(this.is_alive(), None);
}

fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata("/proc/self/ns/pid").expect("Linux");
    file.ino()
}

/// A run is killed, and the next command sees that it is dead, and undoes it.
fn comes_back() {
    let before = value("net.core.somaxconn");
    let killed = Process::start(
        Role::Run,
        &profile(&LINES),
        &[("LINERATE_CRASH_AT", "apply.recorded")],
    );
    assert_eq!(killed.end(), None);
    assert_ne!(value("net.core.somaxconn"), before);
    let healed = Host::here(None).expect("Linux").heal().expect("it is dead");
    assert_eq!((healed.reports.len(), healed.kept.len()), (1, 0));
    assert_eq!((value("net.core.somaxconn"), journals()), (before, 0));
}

#[test]
fn a_namespace_of_processes_with_its_own_proc_is_as_good_as_any() {
    let test = "walls::a_namespace_of_processes_with_its_own_proc_is_as_good_as_any";
    if inside_with(test, &["--net", "--pid", "--fork", "--mount-proc"], "") {
        comes_back();
    }
}

#[test]
fn a_proc_that_hides_processes_hides_none_from_root() {
    let hiding = "mount -t proc -o hidepid=2 proc /proc &&";
    let test = "walls::a_proc_that_hides_processes_hides_none_from_root";
    if inside_with(test, &["--net", "--mount"], hiding) {
        comes_back();
    }
}

#[test]
fn a_hidden_process_is_not_taken_for_a_dead_one() {
    const TEST: &str = "walls::a_hidden_process_is_not_taken_for_a_dead_one";
    const OWNER: &str = "LINERATE_TEST_OWNER";
    if let Ok(owner) = std::env::var(OWNER) {
        let owner: Identity = serde_json::from_str(&owner).expect("a process");
        assert!(
            std::fs::metadata(format!("/proc/{}", owner.pid)).is_err(),
            "it is hidden"
        );
        assert_eq!(owner.is_alive(), None);
        return;
    }
    let hiding = "mount -t proc -o hidepid=2 proc /proc &&";
    if !inside_with(TEST, &["--net", "--mount"], hiding) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip(TEST, "only root is hidden from others here");
    }
    // The user nobody looks for this process, which it may not see.
    let owner = Identity::this().expect("Linux");
    as_user_nobody(
        TEST,
        &[(OWNER, &serde_json::to_string(&owner).expect("plain data"))],
    );
}

#[test]
fn without_its_settings_proc_cannot_be_used() {
    let only_processes = "mount -t proc -o subset=pid proc /proc &&";
    let test = "walls::without_its_settings_proc_cannot_be_used";
    if !inside_with(test, &["--net", "--mount"], only_processes) {
        return;
    }
    let error = Host::here(None).err().expect("there is no /proc/sys");
    assert!(matches!(error, Error::Identity { .. }), "{error}");
}

/// Runs `test` of this binary once more as the user nobody, from a place that it may read.
fn as_user_nobody(test: &str, variables: &[(&str, &str)]) {
    let place = std::env::temp_dir().join(format!("linerate-nobody-{}", std::process::id()));
    let copied = std::fs::copy(std::env::current_exe().expect("the test binary"), &place);
    copied.expect("a temporary file");
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&place)
        .args(["--exact", test, "--nocapture"])
        .env_remove("LINERATE_STATE_DIR")
        .envs(variables.iter().copied())
        .current_dir("/")
        .output();
    let _ = std::fs::remove_file(&place);
    match output {
        Err(error) => skip(test, &format!("setpriv: {error}")),
        Ok(output) => {
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(
                output.status.success() && said.contains("1 passed"),
                "{said}"
            );
        }
    }
}

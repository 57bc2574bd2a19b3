//! Where nothing can be written: a container's /proc/sys, and a user who is not root.

use std::process::Command;

use sysctl_profiles::{ApplyOptions, Class, Host};

use crate::space::{inside, inside_with, profile, skip, value};

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
    let host = Host::here().expect("Linux");
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
    let place = std::env::temp_dir().join(format!("linerate-nobody-{}", std::process::id()));
    let copied = std::fs::copy(std::env::current_exe().expect("the test binary"), &place);
    copied.expect("a temporary file");
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&place)
        .args(["--exact", TEST, "--nocapture"])
        .env_remove("LINERATE_STATE_DIR")
        .current_dir("/")
        .output();
    let _ = std::fs::remove_file(&place);
    match output {
        Err(error) => skip(TEST, &format!("setpriv: {error}")),
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

fn as_nobody() {
    let host = Host::here().expect("Linux");
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

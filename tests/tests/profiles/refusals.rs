//! What cannot be applied is one clear line, and nothing is changed.

use super::{QUICK, run};
use linerate_tests::binary::{linerate, within};
use linerate_tests::process::needs;
use linerate_tests::settings::{Host, PROFILE};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);

fn one(key: &str, value: &str) -> String {
    format!(
        "summary = \"one\"\n[sysctl]\n\"{key}\" = {{ value = \"{value}\", reason = \"a test\", source = \"tests\" }}\n"
    )
}

/// A copy of the binary that other users can reach.
fn copy_for_all(host: &Host) -> std::path::PathBuf {
    let copy = host.directory.path().join("linerate");
    std::fs::copy(linerate(), &copy).expect("a copy");
    for path in [&copy as &Path, host.directory.path()] {
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, all).expect("our own file");
    }
    copy
}

#[test]
fn not_root() {
    let Some(host) = Host::for_test("not_root") else {
        return;
    };
    if !needs("not_root", "setpriv") {
        return;
    }
    within(60, move || {
        let before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        let mut command = host.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(copy_for_all(&host))
            .args(["run", "rr", "--profile", &profile])
            .args(QUICK);
        let finished = linerate_tests::binary::Call::of(command).finish(PATIENCE);
        finished.assert_refused(3, &["root"]);
        assert_eq!(host.values(), before);
    });
}

#[test]
fn read_only_proc_sys() {
    let Some(host) = Host::for_test("read_only") else {
        return;
    };
    if !needs("read_only", "unshare") {
        return;
    }
    within(60, move || {
        let before = host.values();
        let profile = host.file("profile.toml", PROFILE);
        let script =
            "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
        let mut command = host.command("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(linerate())
            .args(["run", "rr", "--profile", &profile])
            .args(QUICK);
        let finished = linerate_tests::binary::Call::of(command).finish(PATIENCE);
        finished.assert_refused(3, &["read-only"]);
        assert_eq!(host.values(), before);
    });
}

#[test]
fn an_unknown_key_a_missing_file_and_a_profile_that_is_none() {
    let Some(host) = Host::for_test("unknown_key") else {
        return;
    };
    within(60, move || {
        let before = host.values();
        let unknown = host.file("unknown.toml", &one("net.ipv4.no_such_key", "= 1"));
        for line in [
            &["run", "rr", "--profile", &unknown][..],
            &["sysctl", "diff", &unknown],
        ] {
            let finished = host.linerate(line).finish(PATIENCE);
            finished.assert_refused(2, &["net.ipv4.no_such_key"]);
        }
        let none = host.file("none.toml", "this is no profile");
        let finished = host.linerate(&["sysctl", "show", &none]).finish(PATIENCE);
        finished.assert_refused(2, &["none.toml"]);
        let finished = host
            .linerate(&["sysctl", "show", "./nowhere.toml"])
            .finish(PATIENCE);
        finished.assert_refused(2, &["nowhere.toml"]);
        let finished = host.linerate(&["sysctl", "show", "10gb"]).finish(PATIENCE);
        finished.assert_refused(2, &["10gb", "many-connections"]);
        assert_eq!(host.values(), before);
    });
}

#[test]
fn a_lowered_value_is_said_loudly_and_must_be_allowed() {
    let Some(host) = Host::for_test("lowered") else {
        return;
    };
    within(90, move || {
        let before = host.values();
        let profile = host.file("lower.toml", &one("net.core.somaxconn", "= 128"));
        let finished = host
            .linerate(&["sysctl", "diff", &profile])
            .finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(finished.stdout.contains("LOWERS"), "{}", finished.stdout);
        let finished = run(&host, &profile, &[]).finish(PATIENCE);
        finished.assert_refused(2, &["LOWER", "net.core.somaxconn", "128", "--allow-lower"]);
        assert_eq!(host.values(), before);
        let finished = run(&host, &profile, &["--allow-lower"]).finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(finished.stderr.contains("LOWERED"), "{}", finished.stderr);
        assert_eq!(host.values(), before);
    });
}

#[test]
fn a_key_that_is_not_of_this_namespace_fails_before_the_first_write() {
    let Some(host) = Host::for_test("other_namespace") else {
        return;
    };
    within(60, move || {
        let before = host.values();
        // Machine-wide: a private namespace does not have it.
        let both = one("net.core.somaxconn", ">= 16384")
            + "\"net.core.netdev_budget\" = { value = \">= 600\", reason = \"a test\", source = \"tests\" }\n";
        let profile = host.file("both.toml", &both);
        let finished = run(&host, &profile, &[]).finish(PATIENCE);
        finished.assert_refused(3, &["net.core.netdev_budget"]);
        assert_eq!(host.values(), before);
    });
}

//! A network namespace for one test, and processes in it that apply profiles and may be killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sysctl_profiles::{ApplyOptions, Host, Profile, RestoreOptions};

/// Set in the process that is inside of the namespace.
const INSIDE: &str = "LINERATE_TEST_INSIDE";
/// What a process of [`process`] does.
const ROLE: &str = "LINERATE_TEST_ROLE";
/// The profile that it applies.
const PROFILE: &str = "LINERATE_TEST_PROFILE";
/// Everything here takes milliseconds; a loaded machine may need longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Whether this process is inside of a namespace of its own, where the test's body is to run. If it is
/// not, the test is run inside of one, and has passed there when this returns `false`.
pub fn inside(test: &str) -> bool {
    inside_with(test, &["--net"], "")
}

/// The same with other arguments of unshare(1), and a shell command that prepares the namespaces.
pub fn inside_with(test: &str, unshare: &[&str], prepare: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let probe = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", &format!("{prepare} true")])
        .output();
    match probe {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip(test, "unshare is not installed");
            return false;
        }
        Ok(output) if output.status.success() => {}
        other => {
            let why = other.map_or_else(
                |error| error.to_string(),
                |output| String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            );
            skip(test, &format!("no namespace of its own: {why}"));
            return false;
        }
    }
    let state = StateDir::new();
    let own = std::env::current_exe().expect("the test binary");
    let output = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", &format!("{prepare} exec \"$0\" \"$@\"")])
        .arg(own)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("LINERATE_STATE_DIR", state.path.join("state"))
        .output()
        .expect("unshare starts");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    for line in said.lines().filter(|line| line.starts_with("SKIPPED: ")) {
        eprintln_raw(line);
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "inside of the namespace:\n{said}"
    );
    false
}

/// Says that a test cannot run here.
pub fn skip(test: &str, why: &str) {
    eprintln_raw(&format!("SKIPPED: {test}: {why}"));
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        !(ci && why.ends_with("is not installed")),
        "{why}, and this is CI"
    );
}

/// Straight to the descriptor: the harness would swallow the output of a passing test.
fn eprintln_raw(line: &str) {
    let _ = std::io::Write::write_all(
        &mut std::io::stderr().lock(),
        format!("{line}\n").as_bytes(),
    );
}

struct StateDir {
    path: PathBuf,
}

impl StateDir {
    fn new() -> Self {
        let stamp = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| now.as_nanos());
        let path =
            std::env::temp_dir().join(format!("linerate-kernel-{}-{stamp}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self { path }
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The value of a sysctl of this namespace.
pub fn value(key: &str) -> String {
    sysctl_profiles::read(key).unwrap_or_else(|error| panic!("{error}"))
}

/// Writes a sysctl of this namespace as an administrator would.
pub fn put(key: &str, value: &str) -> std::io::Result<()> {
    assert!(
        std::env::var_os(INSIDE).is_some(),
        "only inside of a namespace"
    );
    fs::write(Path::new("/proc/sys").join(key.replace('.', "/")), value)
}

/// A profile of these keys and values.
pub fn profile(lines: &[(&str, &str)]) -> Profile {
    let settings: Vec<serde_json::Value> = lines
        .iter()
        .map(|(key, value)| {
            let (operator, value) = value.strip_prefix(">= ").map_or(("=", *value), |value| (">=", value));
            serde_json::json!({
                "key": key, "operator": operator, "value": value, "optional": false, "reason": "a test", "source": "this test",
            })
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "name": "test", "summary": "a test", "historical": false, "origin": "bundled",
        "settings": settings, "limits": [], "documents": [],
    }))
    .expect("a profile")
}

/// How many journals there are.
pub fn journals() -> usize {
    let status = Host::here(None)
        .expect("Linux")
        .status()
        .expect("the directory is ours");
    status.journals.len()
}

/// A process in this namespace. It is killed with its owner.
pub struct Process {
    child: Child,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Applies a profile for a run, and puts it back.
    Run,
    /// Applies a profile and holds it.
    Hold,
    /// Puts back what is held.
    Restore,
    /// Puts back what killed ones have left.
    Heal,
}

impl Process {
    /// Starts one that does `role` with `profile`; `points` are variables such as LINERATE_CRASH_AT.
    pub fn start(role: Role, profile: &Profile, points: &[(&str, &str)]) -> Self {
        let child = Command::new(std::env::current_exe().expect("the test binary"))
            .args([
                "--exact",
                "space::process",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ROLE, format!("{role:?}"))
            .env(PROFILE, serde_json::to_string(profile).expect("plain data"))
            .envs(points.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the test binary starts");
        Self { child }
    }

    /// Waits for its end: its exit code, or `None` when a signal has ended it.
    pub fn end(mut self) -> Option<i32> {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code();
            }
            assert!(Instant::now() < until, "the process does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until it has stopped itself.
    pub fn await_stop(&self) {
        let until = Instant::now() + DEADLINE;
        let path = format!("/proc/{}/stat", self.child.id());
        loop {
            let stat = fs::read_to_string(&path).expect("it is ours");
            if stat
                .rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" T"))
            {
                return;
            }
            assert!(Instant::now() < until, "the process does not stop: {stat}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGKILL, also to a stopped one.
    pub fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test by itself: the body of [`Process`]. Its exit code is 0 for done and 3 for refused.
#[test]
fn process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let profile = std::env::var(PROFILE).expect("it is given");
    let profile: Profile = serde_json::from_str(&profile).expect("a profile");
    let host = Host::here(None).expect("Linux");
    let done = match role.as_str() {
        "Run" => host
            .guard(&profile, &ApplyOptions::run().lowering(true))
            .and_then(|guard| {
                assert_eq!(
                    guard.drift(),
                    [],
                    "nobody else writes while this run has the profile"
                );
                guard.restore().map(drop)
            }),
        "Hold" => host.apply(&profile, &ApplyOptions::held()).map(drop),
        "Restore" => host.restore(RestoreOptions::default()).map(drop),
        "Heal" => host.heal().map(drop),
        other => panic!("no role {other}"),
    };
    match done {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln_raw(&error.to_string());
            std::process::exit(3)
        }
    }
}

//! A host of its own for tests that change settings: a network namespace, a state directory, and values
//! that can be read and compared. What a test changes goes with the namespace. Two of them make two hosts.

use crate::binary::{Call, linerate};
use crate::process::{needs, piped};
use crate::{Directory, eventually};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Settings that each network namespace has for itself and root may write there.
pub const KEYS: [&str; 4] = [
    "net.core.somaxconn",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.ip_local_port_range",
];

/// A profile that changes all of [`KEYS`], vectors among them.
pub const PROFILE: &str = r#"
summary = "for tests"

[sysctl]
"net.core.somaxconn" = { value = ">= 16384", reason = "a test", source = "tests" }
"net.ipv4.tcp_rmem" = { value = ">= 8192 262144 67108864", reason = "a test", source = "tests" }
"net.ipv4.tcp_fin_timeout" = { value = "= 77", reason = "a test", source = "tests" }
"net.ipv4.ip_local_port_range" = { value = "= 20000 60999", reason = "a test", source = "tests" }
"#;

/// A network namespace with a state directory of its own. Dropping it removes both.
pub struct Host {
    /// The namespace.
    pub name: String,
    /// Files of the test, the state directory among them.
    pub directory: Directory,
}

/// The second host of a [`Host::pair`], seen from the first.
pub const OVER_THERE: &str = "10.213.9.2";

pub(crate) fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

impl Host {
    /// A host, or a line that says why there is none.
    pub fn for_test(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !needs(test, "ip") {
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let host = Self {
            name: format!("lrp{}n{number}", std::process::id()),
            directory: Directory::new(),
        };
        let name = &host.name;
        let made = ip(&format!("netns add {name}"))
            .and_then(|()| ip(&format!("-n {name} link set lo up")));
        made_for(test, made, "network namespaces").then_some(host)
    }

    /// Two hosts, joined by a cable; the second has the address [`OVER_THERE`].
    pub fn pair(test: &str) -> Option<(Self, Self)> {
        let (a, b) = (Self::for_test(test)?, Self::for_test(test)?);
        let (here, there) = (&a.name, &b.name);
        let made = [
            format!("-n {here} link add v0 type veth peer name v0 netns {there}"),
            format!("-n {here} addr add 10.213.9.1/24 dev v0"),
            format!("-n {there} addr add {OVER_THERE}/24 dev v0"),
            format!("-n {here} link set v0 up"),
            format!("-n {there} link set v0 up"),
        ];
        let made = made.iter().try_for_each(|step| ip(step));
        made_for(test, made, "veth pairs").then_some((a, b))
    }

    /// `linerate run WORKLOAD` on this host, with a testee that is started on the other of its [`Host::pair`].
    pub fn run_with(&self, testee: &Self, workload: &str, more: &[&str]) -> Call {
        let via = format!("ip netns exec {}", testee.name);
        let mut line = vec!["run", workload, "--testee-via", &via];
        line.extend(["--testee-host", OVER_THERE]);
        line.extend(more);
        self.linerate(&line)
    }

    /// Where journals are.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Writes a file, and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, text).expect("a writable directory");
        path.display().to_string()
    }

    /// A command on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = piped("ip");
        command
            .args(["netns", "exec", &self.name])
            .arg(program)
            .env("LINERATE_STATE_DIR", self.state());
        command
    }

    /// linerate on this host.
    pub fn linerate(&self, arguments: &[&str]) -> Call {
        let mut command = self.command(linerate());
        command.args(arguments);
        Call::of(command)
    }

    /// The value of a setting on this host.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read(&self, key: &str) -> String {
        let output = self.command("cat").arg(path(key)).output().expect("cat");
        assert!(output.status.success(), "{key}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Writes a setting of this host, as an administrator would.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, key: &str, value: &str) {
        let script = format!("echo {value} > {}", path(key).display());
        let status = self.command("sh").args(["-c", &script]).status();
        assert!(status.is_ok_and(|status| status.success()), "{script}");
    }

    /// All of [`KEYS`].
    ///
    /// # Panics
    /// When one cannot be read.
    pub fn values(&self) -> BTreeMap<String, String> {
        let script = KEYS.map(|key| format!("cat {}", path(key).display()));
        let output = self
            .command("sh")
            .args(["-ec", &script.join("\n")])
            .output()
            .expect("sh");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.lines().count(), KEYS.len(), "{output:?}");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        KEYS.iter()
            .zip(text.lines())
            .map(|(key, line)| ((*key).to_owned(), words(line)))
            .collect()
    }

    /// Whether all of [`KEYS`] are as they were, soon.
    pub fn is_as_before(&self, before: &BTreeMap<String, String>) -> bool {
        eventually(Duration::from_secs(10), || self.values() == *before)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Whether `what` could be made; says that the test is skipped if not.
pub(crate) fn made_for(test: &str, made: Result<(), String>, what: &str) -> bool {
    if let Err(why) = &made {
        crate::skip(test, &format!("{what} cannot be made: {why}"));
    }
    made.is_ok()
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key.replace('.', "/"))
}

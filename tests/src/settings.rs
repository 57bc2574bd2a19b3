//! A host of its own for tests that change settings: a network namespace, a state directory, and values
//! that can be read and compared. What a test changes goes with the namespace.

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

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments)
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
        let made = ip(&["netns", "add", &host.name])
            .and_then(|()| ip(&["-n", &host.name, "link", "set", "lo", "up"]));
        match made {
            Ok(()) => Some(host),
            Err(why) => {
                crate::skip(test, &format!("network namespaces cannot be made: {why}"));
                None
            }
        }
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
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key.replace('.', "/"))
}

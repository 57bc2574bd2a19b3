//! The binary `linerate`, built once per test process.

use crate::process::{Finished, Kept, piped};
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where the binary is. It is built with the profile of the tests and into the same target
/// directory, because `CARGO_BIN_EXE_...` does not reach across packages.
///
/// # Panics
/// When it cannot be built.
pub fn linerate() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let tests = std::env::current_exe().expect("the running test");
        // target/<profile>/deps/<test>
        let profile = tests
            .parent()
            .and_then(|deps| deps.parent())
            .expect("a target directory");
        let target = profile.parent().expect("a target directory");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build
            .args(["build", "--quiet", "--package", "linerate", "--target-dir"])
            .arg(target);
        match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(name) => {
                build.args(["--profile", name]);
            }
        }
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let status = build
            .status()
            .unwrap_or_else(|error| panic!("{build:?}: {error}"));
        assert!(status.success(), "{build:?}: {status}");
        let path = profile.join(format!("linerate{}", std::env::consts::EXE_SUFFIX));
        assert!(
            path.is_file(),
            "{} is not there after {build:?}",
            path.display()
        );
        path
    })
}

/// As [`crate::within`], for a test of the binary: building it does not count.
///
/// # Panics
/// When the time is over, and with whatever `body` panics with.
pub fn within(seconds: u64, body: impl FnOnce() + Send + 'static) {
    linerate();
    crate::within(seconds, body);
}

/// As [`crate::alone`], for a test of the binary: building it does not count.
///
/// # Panics
/// When the time is over, and with whatever `body` panics with.
pub fn alone(seconds: u64, body: impl FnOnce() + Send + 'static) {
    linerate();
    crate::alone(seconds, body);
}

/// Every process that a [`Call`] starts, and theirs, has this in its environment.
const MARK: &str = "LINERATE_TEST_CALL";

/// One call of the binary. It can find all processes that came of it, and kills them when dropped.
#[derive(Debug)]
pub struct Call {
    /// The binary itself, until it is waited for.
    pub kept: Option<Kept>,
    mark: String,
}

impl Call {
    /// Starts `linerate ARGUMENTS` with piped streams and an empty standard input.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = piped(linerate());
        command.args(arguments);
        Self::of(command)
    }

    /// Starts a command that leads to the binary. SIGHUP does to it what it does by default, also where the
    /// tests themselves run under nohup(1).
    pub fn of(mut command: Command) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{number}", std::process::id());
        command
            .stdin(Stdio::null())
            .env(MARK, &mark)
            // Trial logs of tests are nobody's state.
            .env(
                "XDG_STATE_HOME",
                std::env::temp_dir().join("linerate-tests"),
            )
            .env_remove("CI");
        // What a job of a batch system, or a user of ranks, has in its environment: unless the test has set it.
        let of_ranks = [
            "LINERATE_TOKEN",
            "OMPI_COMM_WORLD_RANK",
            "PMIX_RANK",
            "PMI_RANK",
            "SLURM_PROCID",
            "JOB_COMPLETION_INDEX",
        ];
        for name in of_ranks {
            if !command.get_envs().any(|(known, _)| known == name) {
                command.env_remove(name);
            }
        }
        default_hangup(&mut command);
        Self {
            kept: Some(Kept::start(&mut command)),
            mark,
        }
    }

    /// The running binary.
    ///
    /// # Panics
    /// After it was waited for.
    pub fn kept(&mut self) -> &mut Kept {
        self.kept.as_mut().expect("not waited for")
    }

    /// Waits for its end, and asserts that none of its processes is left behind.
    ///
    /// # Panics
    /// When it does not end in time, or leaves a process.
    pub fn finish(&mut self, timeout: Duration) -> Finished {
        let finished = self.kept.take().expect("not waited for").finish(timeout);
        let gone = crate::eventually(Duration::from_secs(1), || self.processes().is_empty());
        assert!(
            gone,
            "processes left behind: {:?}\n{}",
            self.processes(),
            finished.stderr
        );
        finished
    }

    /// Process numbers and command lines of everything that came of this call, but for zombies.
    pub fn processes(&self) -> Vec<(libc::pid_t, String)> {
        let wanted = format!("{MARK}={}", self.mark);
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid: libc::pid_t| {
                let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
                let mut words = environment.split(|byte| *byte == 0);
                words.any(|word| word == wanted.as_bytes()).then_some(())?;
                let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                (!command.is_empty()).then_some((pid, command))
            })
            .collect()
    }

    /// Waits until so many agents run, and returns their process numbers, oldest first.
    ///
    /// # Panics
    /// When they do not appear.
    pub fn agents(&self, count: usize) -> Vec<libc::pid_t> {
        let agents = || -> Vec<libc::pid_t> {
            let all = self.processes().into_iter();
            all.filter(|(_, command)| command.trim_end().ends_with("linerate agent"))
                .map(|(pid, _)| pid)
                .collect()
        };
        let there = crate::eventually(Duration::from_secs(10), || agents().len() >= count);
        assert!(there, "{count} agents: {:?}", self.processes());
        let mut found = agents();
        found.sort_unstable();
        found
    }

    /// Reads its standard error until a line contains `text`; returns what was read.
    ///
    /// # Panics
    /// When it ends before, or after 20 s.
    pub fn hears(&mut self, text: &str) -> String {
        let stderr = self.kept().child.stderr.as_mut().expect("a pipe");
        let end = Instant::now() + Duration::from_secs(20);
        let (mut heard, mut byte) = (String::new(), [0]);
        while Instant::now() < end && stderr.read(&mut byte).is_ok_and(|length| length == 1) {
            heard.push(char::from(byte[0]));
            if byte[0] == b'\n' && heard.contains(text) {
                return heard;
            }
        }
        panic!("'{text}' was not said, but: {heard}");
    }
}

/// An ignored SIGHUP is inherited through execve(2), and linerate leaves it ignored.
fn default_hangup(command: &mut Command) {
    let reset = || {
        // SAFETY: signal(2) takes two integers, and may be called between fork and exec (signal-safety(7)).
        match unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) } {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: `reset` makes one system call and allocates nothing.
    unsafe { command.pre_exec(reset) };
}

impl Drop for Call {
    fn drop(&mut self) {
        drop(self.kept.take());
        for (pid, _) in self.processes() {
            // SAFETY: kill takes two integers; the process carries the mark of this very call.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

/// Calls `linerate ARGUMENTS` and waits for its end, at most 30 s.
pub fn call(arguments: &[&str]) -> Finished {
    Call::start(arguments).finish(Duration::from_secs(30))
}

/// Calls `linerate` with one line of arguments without quotation.
pub fn call_line(line: &str) -> Finished {
    call(&line.split_whitespace().collect::<Vec<_>>())
}

impl Finished {
    /// The exit code.
    ///
    /// # Panics
    /// When it was ended by a signal.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("{}: {}", self.status, self.stderr))
    }

    /// Asserts the exit code, and one error line that contains all of `parts`.
    ///
    /// # Panics
    /// When the code or the line is another.
    pub fn assert_refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code(), code, "{}\n{}", self.stdout, self.stderr);
        let lines: Vec<_> = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("linerate: "))
            .collect();
        assert_eq!(lines.len(), 1, "one error line: {}", self.stderr);
        for part in parts {
            assert!(lines[0].contains(part), "'{part}' is not in: {}", lines[0]);
        }
    }

    /// Its standard output as one JSON document.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }
}

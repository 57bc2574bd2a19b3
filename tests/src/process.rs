//! Child processes that cannot outlive their test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Whether a program is on the PATH.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}

/// Whether a program is there; says that the test is skipped if not.
pub fn needs(test: &str, program: &str) -> bool {
    let there = has(program);
    if !there {
        crate::skip(test, &format!("{program} is not installed"));
    }
    there
}

/// A Python that has `module`, which Debian's `package` brings; says that the test is skipped if there is none. The
/// system's Python is the one that such packages are for.
pub fn python_with(test: &str, module: &str, package: &str) -> Option<Command> {
    let import = format!("import {module}");
    let has_it = |python: &&str| {
        let mut probe = piped(python);
        probe.args(["-c", &import]);
        let probed = Kept::start(&mut probe).finish(Duration::from_secs(60));
        probed.status.success()
    };
    if !needs(test, "python3") {
        return None;
    }
    let found = ["/usr/bin/python3", "python3"].into_iter().find(has_it);
    if found.is_none() {
        crate::skip(test, &format!("{package} is not installed"));
    }
    found.map(piped)
}

/// A child that is killed and reaped when dropped.
#[derive(Debug)]
pub struct Kept {
    /// The child.
    pub child: Child,
}

/// What a finished child left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything on its standard output.
    pub stdout: String,
    /// Everything on its standard error.
    pub stderr: String,
}

impl Kept {
    /// Starts a command.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child }
    }

    /// Its process number.
    pub fn pid(&self) -> libc::pid_t {
        libc::pid_t::try_from(self.child.id()).expect("a process number")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill takes two integers; the child is not reaped while `self` lives.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(
                Instant::now() < end,
                "the child has not ended after {timeout:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end while reading what it writes to its pipes.
    ///
    /// # Panics
    /// When it does not end in time; what it wrote is in the message.
    pub fn finish(mut self, timeout: Duration) -> Finished {
        let stdout = self.child.stdout.take().map(|pipe| collect(Box::new(pipe)));
        let stderr = self.child.stderr.take().map(|pipe| collect(Box::new(pipe)));
        let end = Instant::now() + timeout;
        let status = loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => break Some(status),
                None if Instant::now() > end => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let text = |thread: Option<std::thread::JoinHandle<String>>| {
            thread.map_or_else(String::new, |thread| thread.join().unwrap_or_default())
        };
        let (stdout, stderr) = (text(stdout), text(stderr));
        let status = status.unwrap_or_else(|| {
            panic!("not ended after {timeout:?}; stdout: {stdout}\nstderr: {stderr}")
        });
        Finished {
            status,
            stdout,
            stderr,
        }
    }

    /// Its standard output, line by line.
    ///
    /// # Panics
    /// When it has none or it was taken before.
    pub fn lines(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().expect("a pipe"))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: Box<dyn Read + Send>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The first line of a reader.
///
/// # Panics
/// When there is none.
pub fn first_line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    assert!(
        reader.read_line(&mut line).expect("readable") > 0,
        "nothing was written"
    );
    line.trim_end().to_owned()
}

/// A command with all three streams piped.
pub fn piped(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

//! Child processes with an owner: each has a deadline and is ended by its id, whatever happens.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How a server is asked to stop, before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It ends when its standard input closes.
    CloseStdin,
    /// It ends on SIGTERM.
    Terminate,
    /// It has nothing to finish.
    Kill,
}

/// A running child. Dropping it kills and reaps it.
pub struct Process {
    child: Child,
    line: String,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Process {
    /// Starts `words` (program first). Standard input is a pipe that stays open until the end.
    pub fn start(words: &[String]) -> Result<Self, String> {
        let line = words.join(" ");
        let (program, arguments) = words.split_first().ok_or("an empty command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end_with_parent(&mut command);
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot start `{line}`: {error}"))?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        Ok(Self {
            child,
            line,
            stdout,
            stderr,
        })
    }

    /// The command line.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// CPU time that it has had so far, ns: fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms.
    #[cfg(target_os = "linux")]
    pub fn cpu_time_ns(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |field: usize| {
            let field = fields.split_whitespace().nth(field - 3);
            field.and_then(|ticks| ticks.parse::<f64>().ok())
        };
        match (ticks(14), ticks(15)) {
            (Some(user), Some(system)) => Ok((user + system) * 1e7),
            _ => Err(format!("{path} has no CPU time")),
        }
    }

    /// Waits for success within `limit` and returns what was written to standard output.
    pub fn finish(mut self, limit: Duration) -> Result<String, String> {
        let Some(status) = self.wait(limit)? else {
            return Err(format!(
                "`{}` did not end within {} s and was killed",
                self.line,
                limit.as_secs()
            ));
        };
        let text = |channel: &Receiver<String>| {
            // A grandchild may hold the pipe open: what came within the grace is what there is.
            channel.recv_timeout(STOP_GRACE).unwrap_or_default()
        };
        let (stdout, stderr) = (text(&self.stdout), text(&self.stderr));
        if !status.success() {
            let last = tail(&format!("{stdout}\n{stderr}"));
            return Err(format!("`{}` failed ({status}): {last}", self.line));
        }
        Ok(stdout)
    }

    /// Waits until something listens on TCP `port`, without connecting to it.
    pub fn await_listening(&mut self, port: u16, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if listening(port) {
                return Ok(());
            }
            if let Some(status) = self.wait(Duration::ZERO)? {
                let said = self.stderr.recv_timeout(STOP_GRACE).unwrap_or_default();
                let last = tail(&said);
                return Err(format!("`{}` ended early ({status}): {last}", self.line));
            }
            thread::sleep(POLL);
        }
        Err(format!(
            "`{}` did not listen on port {port} within {} s",
            self.line,
            limit.as_secs()
        ))
    }

    /// Stops a server: asks, waits a little, kills.
    pub fn stop(mut self, how: Stop) -> Result<(), String> {
        match how {
            Stop::CloseStdin => drop(self.child.stdin.take()),
            Stop::Terminate => self.signal(libc::SIGTERM),
            Stop::Kill => return Ok(()),
        }
        match self.wait(STOP_GRACE)? {
            Some(status) if status.success() || status.signal() == Some(libc::SIGTERM) => Ok(()),
            Some(status) => Err(format!("`{}` stopped with {status}", self.line)),
            None => Err(format!("`{}` ignored the request to stop", self.line)),
        }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved; the child is not reaped yet, so its id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>, String> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
                Ok(outcome) => return Ok(outcome),
                Err(error) => return Err(format!("cannot wait for `{}`: {error}", self.line)),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Both can only fail when the child is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A TCP port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> Result<u16, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port on 127.0.0.1: {error}"))
}

/// Has the kernel kill the child when this process dies, even by SIGKILL.
#[cfg(target_os = "linux")]
fn end_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let request = || {
        // SAFETY: prctl takes integers here and is safe to call between fork and exec.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes one system call and neither allocates nor locks.
    unsafe { command.pre_exec(request) };
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut Command) {}

/// Whether a socket in state LISTEN (0A) has this local port, by `/proc/net/tcp` and `tcp6`.
fn listening(port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|path| {
        let table = std::fs::read_to_string(path).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|local| local.ends_with(&suffix));
            local && fields.nth(1) == Some("0A")
        })
    })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // A read error ends the text as end of file does; nobody may wait any more.
            let _ = pipe.read_to_end(&mut bytes);
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
    }
    receiver
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(4)..].join(" / ")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(String::from).collect()
    }

    #[test]
    fn output_failure_and_deadline_are_told_apart() {
        let second = Duration::from_secs(10);
        let run = |line: &str, limit| Process::start(&words(line)).and_then(|p| p.finish(limit));
        assert_eq!(run("echo yes", second), Ok("yes\n".to_owned()));
        assert!(run("false", second).is_err_and(|text| text.contains("exit status: 1")));
        let late = run("sleep 60", Duration::from_millis(50));
        assert!(late.is_err_and(|text| text.contains("was killed")));
        assert!(Process::start(&words("/no/such/program")).is_err());
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::start(&words("sleep 60")).expect("sleep starts");
        let path = format!("/proc/{}", process.child.id());
        assert!(std::path::Path::new(&path).exists());
        drop(process);
        assert!(!std::path::Path::new(&path).exists());
    }

    #[test]
    fn a_listener_is_seen_without_connecting() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        assert!(listening(port));
        drop(listener);
        // A child that another test is just starting may hold the listener until its exec.
        let gone = (0..400).any(|_| {
            thread::sleep(POLL);
            !listening(port)
        });
        assert!(gone);
    }
}

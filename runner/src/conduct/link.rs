//! One agent as the conductor holds it: a way to speak, a stream of what it says, and its life.

use super::observer::Observer;
use crate::cancel::Cancel;
use crate::error::Failure;
use crate::lines::{Line, read_line, write_line};
use crate::plan::{AgentPlan, Plan, Start};
use crate::process_group;
use crate::protocol::{FromAgent, ToAgent};
use crate::ranks::{RankListener, Started, Stay, TOKEN_VARIABLE};
use report::foreign::shown;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Lines of an agent's stderr that are kept for its error message.
const TAIL_LINES: usize = 6;
/// What an agent gets to clean up after its input was closed.
const END_GRACE: Duration = Duration::from_secs(5);
/// What it gets when the user wants out at once.
const KILL_GRACE: Duration = Duration::from_millis(300);
/// A process that was killed is reaped within this, unless the kernel holds it.
const POLL: Duration = Duration::from_millis(5);

/// Starts agents.
pub(super) trait Launcher {
    /// Waits for those of them that something else starts, and tells which have come.
    fn gather(
        &self,
        plan: &Plan,
        observer: &mut dyn Observer,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let _ = (plan, observer, cancel);
        Ok(())
    }

    /// Starts the agent; what it says goes to `heard` under `number`.
    fn launch(
        &self,
        agent: &AgentPlan,
        number: usize,
        heard: Sender<Heard>,
    ) -> Result<Link, Failure>;
}

/// Something that an agent did.
#[derive(Debug)]
pub(super) struct Heard {
    pub agent: usize,
    pub what: Sound,
}

#[derive(Debug)]
pub(super) enum Sound {
    Said(FromAgent),
    /// A line that is no message.
    Other {
        text: String,
        why: String,
    },
    /// Its output has ended.
    Closed,
}

/// Starts agents as processes: this binary, or a command prefix that leads to one like it; ranks, which something else
/// has started, join where it listens.
pub(super) struct ProcessLauncher<'a>(pub Option<&'a RankListener>);

impl Launcher for ProcessLauncher<'_> {
    fn gather(
        &self,
        plan: &Plan,
        observer: &mut dyn Observer,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        match (plan.ranks(), self.0) {
            (None, _) => Ok(()),
            (Some(ranks), Some(rank_listener)) => {
                rank_listener.gather(ranks, &mut |news| observer.ranks(news), cancel)
            }
            (Some(_), None) => Err(nowhere_to_join()),
        }
    }

    fn launch(
        &self,
        agent: &AgentPlan,
        number: usize,
        heard: Sender<Heard>,
    ) -> Result<Link, Failure> {
        if let Start::Rank(rank) = &agent.host.start {
            let rank_listener = self.0.ok_or_else(nowhere_to_join)?;
            return Link::of_rank(agent, number, rank_listener.start(*rank)?, heard);
        }
        let name = &agent.name;
        let own = std::env::current_exe().map_err(|error| {
            Failure::machine(format!(
                "find linerate's own binary to start the {name} agent: {error}; start it by its path"
            ))
        })?;
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        let mut program = own.into_os_string();
        if let Start::Via { words: via, .. } = &agent.host.start {
            words.extend(via.iter().map(Into::into));
        }
        if let Some(command) = &agent.host.command {
            program = command.into();
        }
        words.push(program);
        words.push("agent".into());
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove(TOKEN_VARIABLE)
            // Ctrl-C of the terminal is for the conductor alone.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let command = words[0].to_string_lossy();
                Failure::peer(format!(
                    "start the {name} agent with '{command}': {error}; check the command and that it may be executed"
                ))
            })?;
        Link::of_child(agent.clone(), number, child, heard)
    }
}

fn nowhere_to_join() -> Failure {
    Failure::usage("--ranks needs a place where they join: add --join tcp://HOST:PORT")
}

/// An agent. Dropping it ends it: first its input is closed, then it is killed, and it is awaited. That of a rank is no
/// process of this host: it ends when its input is closed.
pub(super) struct Link {
    pub agent: AgentPlan,
    input: Option<Box<dyn Write + Send>>,
    /// Where the agent of a rank joined from.
    pub joined_from: Option<IpAddr>,
    /// Its rank is nobody else's meanwhile.
    stay: Option<Stay>,
    child: Option<Child>,
    tail: Arc<Mutex<VecDeque<String>>>,
    tail_reader: Option<JoinHandle<()>>,
    status: Option<ExitStatus>,
    at_once: bool,
}

impl Link {
    fn of_child(
        agent: AgentPlan,
        number: usize,
        mut child: Child,
        heard: Sender<Heard>,
    ) -> Result<Self, Failure> {
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take();
        let mut link = Self {
            agent,
            input: input.map(|input| Box::new(input) as Box<dyn Write + Send>),
            joined_from: None,
            stay: None,
            child: Some(child),
            tail: Arc::default(),
            tail_reader: None,
            status: None,
            at_once: false,
        };
        if let Some(output) = output {
            start_listening(&link.agent.name, number, output, heard)?;
        }
        if let Some(stderr) = stderr {
            let tail = Arc::clone(&link.tail);
            link.tail_reader = Some(thread(&link.agent.name, move || keep_tail(stderr, &tail))?);
        }
        Ok(link)
    }

    /// The agent of a rank, which it starts at the other end of the connection.
    fn of_rank(
        agent: &AgentPlan,
        number: usize,
        started: Started,
        heard: Sender<Heard>,
    ) -> Result<Self, Failure> {
        let Started { stream, from, stay } = started;
        let output = stream.try_clone().map_err(|error| {
            Failure::machine(format!(
                "hear {}: {error}; raise the limit of descriptors (ulimit -n)",
                agent.called()
            ))
        })?;
        let mut link = Self::of_streams(agent, number, Speaking(stream), output, heard)?;
        (link.joined_from, link.stay) = (Some(from), Some(stay));
        Ok(link)
    }

    /// An agent on a pair of streams, without a process of its own.
    pub fn of_streams(
        agent: &AgentPlan,
        number: usize,
        input: impl Write + Send + 'static,
        output: impl Read + Send + 'static,
        heard: Sender<Heard>,
    ) -> Result<Self, Failure> {
        start_listening(&agent.name, number, output, heard)?;
        Ok(Self {
            agent: agent.clone(),
            input: Some(Box::new(input)),
            joined_from: None,
            stay: None,
            child: None,
            tail: Arc::default(),
            tail_reader: None,
            status: None,
            at_once: false,
        })
    }

    /// Says something. An agent that is gone is noticed by what it says next: nothing.
    pub fn say(&mut self, message: &ToAgent) {
        if let Some(input) = &mut self.input
            && write_line(input, message).is_err()
        {
            self.input = None;
        }
    }

    /// Ends the agent without waiting for it to clean up.
    pub fn end_at_once(&mut self) {
        self.at_once = true;
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        if let (None, Some(child)) = (self.status, &mut self.child) {
            self.status = child.try_wait().ok().flatten();
        }
        self.status.is_some()
    }

    /// Whether the process was stopped (SIGTTIN or SIGTTOU, by the terminal that it wants to read from or to set: it
    /// runs in the background) and not yet continued. It stays as it is for others to wait for.
    pub fn is_stopped(&self) -> bool {
        let id = self.child.as_ref().map(Child::id);
        id.filter(|_| self.status.is_none()).is_some_and(is_stopped)
    }

    /// How the agent died, and its last lines of stderr in brackets, if there are any.
    pub fn obituary(&mut self) -> (String, String) {
        let until = Instant::now() + Duration::from_secs(1);
        while !self.has_ended() && self.child.is_some() && Instant::now() < until {
            sleep(POLL);
        }
        let how = match self.status {
            None => "closed its output".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exited with code {code}"),
                (None, Some(signal)) => format!("was killed by signal {signal}"),
                (None, None) => "ended".to_owned(),
            },
        };
        if self.status.is_some()
            && let Some(reader) = self.tail_reader.take()
        {
            // Ends with the pipe; a grandchild that keeps it open must not hold us up.
            let until = Instant::now() + Duration::from_millis(200);
            while !reader.is_finished() && Instant::now() < until {
                sleep(POLL);
            }
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.is_empty() {
            return (how, String::new());
        }
        let lines: Vec<&str> = tail.iter().map(String::as_str).collect();
        (how, format!(" (it said: {})", lines.join(" | ")))
    }
}

/// The direction to the agent, whose input ends with it although what it says is still heard.
struct Speaking(TcpStream);

impl Write for Speaking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        // An agent that is gone has closed both.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Its input ends, and with it the agent.
        self.input = None;
        let grace = if self.at_once { KILL_GRACE } else { END_GRACE };
        let until = Instant::now() + grace;
        while !self.has_ended() && self.child.is_some() && Instant::now() < until {
            sleep(POLL);
        }
        if let (None, Some(child)) = (self.status, &mut self.child) {
            process_group::kill(child.id());
            // It may have ended in between: then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// OpenBSD has no waitid(2): there the deadline of the hello ends it.
#[cfg(not(target_os = "openbsd"))]
fn is_stopped(id: u32) -> bool {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
        return false;
    };
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(id), options).is_ok_and(|stopped| stopped.is_some())
}

#[cfg(target_os = "openbsd")]
fn is_stopped(_id: u32) -> bool {
    false
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    Builder::new()
        .name(format!("hear-{name}"))
        .spawn(body)
        .map_err(|error| {
            Failure::machine(format!(
                "start a thread that hears the {name} agent: {error}; raise the process limit (ulimit -u)"
            ))
        })
}

/// Ends with the agent's output.
fn start_listening(
    name: &str,
    number: usize,
    output: impl Read + Send + 'static,
    heard: Sender<Heard>,
) -> Result<(), Failure> {
    let listen = move || {
        let mut reader = BufReader::new(output);
        let mut buffer = Vec::new();
        loop {
            let what = match read_line(&mut reader, &mut buffer) {
                Ok(Line::Message(message)) => Sound::Said(message),
                Ok(Line::Other { text, why }) => Sound::Other { text, why },
                Ok(Line::End) | Err(_) => Sound::Closed,
            };
            let closed = matches!(what, Sound::Closed);
            let sent = heard.send(Heard {
                agent: number,
                what,
            });
            if closed || sent.is_err() {
                return;
            }
        }
    };
    thread(name, listen).map(drop)
}

fn keep_tail(stderr: impl Read, tail: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(4096).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // Whoever wrote it is not to write to the terminal of whoever reads it.
        let text = shown(String::from_utf8_lossy(&line).trim()).into_owned();
        if text.is_empty() {
            continue;
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}

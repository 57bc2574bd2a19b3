//! A testee of several processes, each with its own limit of descriptors: the one that the user started, and others that
//! listen on the same ports. They speak JSON lines over the pipes of the others, which end with their input.

use super::state::{END_MARGIN, Limit, ListenerState, ServeTotals, Share};
use crate::engines::AUTO;
use crate::error::Failure;
use crate::lines::{Line, read_line, write_line};
use crate::plan::{ServePlan, ServeRequest};
use crate::serve_counts::ServeCounts;
use serde::{Deserialize, Serialize};
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What an ended process has said is read within this.
const LAST_WORDS: Duration = Duration::from_millis(200);
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// What a further process is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// What to serve: ports are known, and the connections are those of one process.
    Serve(Box<ServeRequest>),
    /// Accept no more, let connections end, say the totals.
    Stop,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// It listens.
    Ready,
    /// What its listeners have counted so far.
    Counts(Vec<(String, ServeCounts)>),
    /// A listener has come to a limit.
    Full(String, Limit),
    /// What it did, listener by listener; the end.
    Totals(ServeTotals),
    /// Why it could not; the end.
    Failed(Failure),
}

/// The further processes of a testee. Dropping them ends them.
#[derive(Default)]
pub(super) struct Processes(Vec<Process>);

struct Process {
    child: Child,
    /// Its end is the order to end at once.
    input: Option<ChildStdin>,
    said: Receiver<Said>,
    counts: Vec<(String, ServeCounts)>,
    full: Vec<(String, Limit)>,
}

impl Processes {
    /// Starts all but the first of `share.processes`, which listens as `states` say.
    ///
    /// # Errors
    /// What one of them could not do.
    pub fn start(
        plan: &ServePlan,
        states: &[ListenerState],
        share: Share,
    ) -> Result<Self, Failure> {
        let mut processes = Self::default();
        for number in 2..=share.processes {
            let request = Box::new(request_of(plan, states, share));
            let process = Process::start(&Told::Serve(request)).map_err(|error| {
                Failure::machine(format!("start process {number} of the testee: {error}"))
            })?;
            processes.0.push(process);
        }
        for process in &mut processes.0 {
            match process.hear(READY_DEADLINE)? {
                Said::Ready => {}
                Said::Failed(failure) => return Err(failure),
                _ => return Err(died()),
            }
        }
        Ok(processes)
    }

    /// Whether all of them serve.
    ///
    /// # Errors
    /// One of them has ended.
    pub fn check(&mut self) -> Result<(), Failure> {
        for process in &mut self.0 {
            let has_ended = process.child.try_wait().is_ok_and(|ended| ended.is_some());
            // Why it has ended may be on its way.
            let patience = if has_ended {
                LAST_WORDS
            } else {
                Duration::ZERO
            };
            while let Ok(said) = process.said.recv_timeout(patience) {
                match said {
                    Said::Counts(counts) => process.counts = counts,
                    Said::Full(id, limit) => process.full.push((id, limit)),
                    Said::Failed(failure) => return Err(failure),
                    Said::Ready | Said::Totals(_) => return Err(died()),
                }
            }
            if has_ended {
                return Err(died());
            }
        }
        Ok(())
    }

    /// Adds what they have counted of a listener.
    pub fn add_counts(&self, id: &str, counts: &mut ServeCounts) {
        let all = self.0.iter().flat_map(|process| &process.counts);
        for (_, others) in all.filter(|(other, _)| other == id) {
            counts.add(others);
        }
    }

    /// Connections that are open in them, as they said last.
    pub fn open(&self) -> u64 {
        let all = self.0.iter().flat_map(|process| &process.counts);
        all.map(|(_, counts)| counts.open()).sum()
    }

    /// The limit that a listener has come to in one of them.
    pub fn full(&self, id: &str) -> Option<Limit> {
        let mut all = self.0.iter().flat_map(|process| &process.full);
        all.find(|(other, _)| other == id).map(|(_, limit)| *limit)
    }

    /// Tells them to accept no more.
    pub fn stop(&mut self) {
        for process in &mut self.0 {
            if let Some(input) = &mut process.input {
                // Who is dead says so by its silence.
                let _ = write_line(input, &Told::Stop);
            }
        }
    }

    /// Ends them at once.
    pub fn abort(&mut self) {
        for process in &mut self.0 {
            process.input = None;
        }
    }

    /// What they did, once they have ended; `patience` is for all of them together.
    ///
    /// # Errors
    /// One of them has died, or does not end.
    pub fn totals(&mut self, patience: Duration) -> Result<Vec<ServeTotals>, Failure> {
        let end = Instant::now() + patience;
        let processes = self.0.iter_mut();
        processes
            .map(|process| {
                loop {
                    match process.hear(end.saturating_duration_since(Instant::now()))? {
                        Said::Totals(totals) => return Ok(totals),
                        Said::Failed(failure) => return Err(failure),
                        Said::Counts(_) | Said::Full(..) => {}
                        Said::Ready => return Err(died()),
                    }
                }
            })
            .collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.abort();
        let give_up = Instant::now() + END_MARGIN;
        for process in &mut self.0 {
            let child = &mut process.child;
            while child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(5));
            }
            // It has ended, or never will.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Process {
    fn start(order: &Told) -> std::io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["agent", "--serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C of the terminal is for the first process alone.
            .process_group(0)
            .spawn()?;
        let (mut input, output) = (child.stdin.take(), child.stdout.take());
        if let Some(input) = &mut input {
            write_line(input, order)?;
        }
        let (sender, said) = channel();
        if let Some(output) = output {
            std::thread::Builder::new()
                .name("testee-process".to_owned())
                .spawn(move || {
                    let (mut reader, mut buffer) = (BufReader::new(output), Vec::new());
                    while let Ok(Line::Message(said)) = read_line(&mut reader, &mut buffer) {
                        if sender.send(said).is_err() {
                            return;
                        }
                    }
                })?;
        }
        Ok(Self {
            child,
            input,
            said,
            counts: Vec::new(),
            full: Vec::new(),
        })
    }

    fn hear(&self, patience: Duration) -> Result<Said, Failure> {
        self.said.recv_timeout(patience).map_err(|why| match why {
            RecvTimeoutError::Disconnected => died(),
            RecvTimeoutError::Timeout => Failure::machine(
                "a process of the testee did not answer in time; the machine may be overloaded",
            ),
        })
    }
}

fn died() -> Failure {
    Failure::machine(
        "a process of the testee ended by itself: look for it in the system's log (the out-of-memory killer, for \
         instance)",
    )
}

/// What one of several processes serves: where the first listens, with its part of the connections.
fn request_of(plan: &ServePlan, states: &[ListenerState], share: Share) -> ServeRequest {
    let mut request = plan.request.clone();
    let planned = plan.listeners.iter().zip(states);
    for (listener, (plan_listener, state)) in request.listeners.iter_mut().zip(planned) {
        listener.endpoint = Some(state.endpoint.clone());
        (listener.kind, listener.interface) = (None, None);
        (listener.port, listener.path) = (None, None);
        listener.id = Some(state.id.clone());
        // The first says what there is to say.
        listener.debug = false;
        // What the first took where it chose by itself.
        if plan_listener.engine.name == AUTO {
            listener.engine = Some(state.engine.to_owned());
        }
    }
    request.max_connections = Some(share.max_connections);
    request.processes = None;
    request
}

/// Counts of one listener in all processes.
pub(super) fn add(own: &mut ServeTotals, others: &[ServeTotals]) {
    for other in others {
        own.cut_off += other.cut_off;
        for ((_, own), (_, other)) in own.listeners.iter_mut().zip(&other.listeners) {
            ServeCounts::add(own, other);
        }
    }
}

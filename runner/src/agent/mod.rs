//! One side of a measurement, in a process of its own: `linerate agent`.
//!
//! It obeys the messages of [`crate::protocol`] on its input and answers on its output. When its input
//! ends it stops its workers, removes what it made and returns.

mod event_record;
pub(crate) mod limits;
mod load;
mod ramp_series;
mod samples;
mod side;
mod testee;

use crate::boot::boot_id;
use crate::build_info::{BUILD_TARGET, GIT_COMMIT, VERSION};
use crate::engines::{AUTO, EngineChoice};
use crate::error::{ExitClass, Failure};
use crate::host::{Traffic, describe_host, process_memory};
use crate::lines::{Line, read_line, write_line};
use crate::profile::{Drift, Settings};
use crate::protocol::{
    AgentHello, AgentResult, FromAgent, PROTOCOL, Prepared, Task, ToAgent, check_versions,
};
use crate::workers::WorkerEnd;
use engine::clock::now_ns;
use engine::control::{Control, Order};
use engine::driver::{LoadOutcome, ServeOutcome};
use report::document::{Interval, Message, Role};
use std::io::{BufReader, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long an agent waits for the conductor to introduce itself.
const HELLO_DEADLINE_NS: u64 = 30_000_000_000;
/// The load's plan comes when the testee is prepared.
const PLAN_DEADLINE_NS: u64 = 120_000_000_000;
/// The go comes when every agent is prepared.
const GO_DEADLINE_NS: u64 = 120_000_000_000;
/// Longer than any round: the conductor ends it, or is gone, which ends the input.
const ROUND_DEADLINE_NS: u64 = 8 * 24 * 3600 * 1_000_000_000;
/// Workers close what is open and return within this after an abort.
const ABORT_MARGIN_NS: u64 = 4_000_000_000;

/// Runs an agent on this process' stdin and stdout.
pub fn main() -> ExitClass {
    run(std::io::stdin(), std::io::stdout())
}

/// Runs an agent on any pair of streams. Returns when the conversation is over.
pub fn run(input: impl Read + Send + 'static, output: impl Write) -> ExitClass {
    let (sender, inbox) = channel();
    let control = Arc::new(Control::default());
    let (own_sender, own_control) = (sender.clone(), Arc::clone(&control));
    // Ends with the input; an agent that returns first leaves it to the process' end.
    let listener = std::thread::Builder::new()
        .name("agent-input".to_owned())
        .spawn(move || listen(input, &own_sender, &own_control));
    let mut agent = Agent {
        output,
        inbox,
        sender,
        control,
        rss_before_bytes: None,
        settings: Settings::default(),
    };
    let ended = match listener {
        Ok(_) => agent.converse(),
        Err(error) => Err(Ended::Failed(Failure::machine(format!(
            "start the thread that reads the conductor's messages: {error}"
        )))),
    };
    match ended {
        Ok(()) => ExitClass::Done,
        Err(Ended::Gone) => ExitClass::Interrupted,
        Err(Ended::Failed(failure)) => {
            // The conductor may be gone too; the exit code says it once more.
            let _ = agent.say(&FromAgent::Failed(failure.clone()));
            failure.class
        }
    }
}

/// Reads the conductor's messages. Orders take effect at once, whatever the agent is doing.
fn listen(input: impl Read, sender: &Sender<Note>, control: &Control) {
    let mut reader = BufReader::new(input);
    let mut buffer = Vec::new();
    loop {
        let note = match read_line(&mut reader, &mut buffer) {
            Ok(Line::Message(message)) => Note::Said(message),
            Ok(Line::Other { text, why }) => Note::Garbage { text, why },
            Ok(Line::End) | Err(_) => Note::End,
        };
        let over = matches!(
            note,
            Note::Said(ToAgent::Abort) | Note::End | Note::Garbage { .. }
        );
        // First: a worker that obeys is then not one that ended before its time.
        let sent = sender.send(note);
        if over {
            control.order_all(Order::Abort);
        }
        if over || sent.is_err() {
            return;
        }
    }
}

/// What reaches an agent.
enum Note {
    Said(ToAgent),
    /// A line that is no message.
    Garbage {
        text: String,
        why: String,
    },
    /// The conductor has closed the agent's input.
    End,
    Load(Box<WorkerEnd<LoadOutcome>>),
    Testee(Box<WorkerEnd<ServeOutcome>>),
}

/// Why a conversation ended before its time.
enum Ended {
    /// The conductor is gone, or wants no result.
    Gone,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

struct Agent<W> {
    output: W,
    inbox: Receiver<Note>,
    sender: Sender<Note>,
    control: Arc<Control>,
    /// Resident memory before there was a worker, bytes.
    rss_before_bytes: Option<u64>,
    /// The profile of this side. Whatever the end is, it ends with the agent.
    settings: Settings,
}

impl<W: Write> Agent<W> {
    fn converse(&mut self) -> Result<(), Ended> {
        engine::os::use_exact_timers();
        self.greet()?;
        let task = self.receive_task()?;
        self.settings = Settings::begin(task.profile.as_ref(), &task.agent.name)?;
        self.rss_before_bytes = process_memory().ok().map(|memory| memory.rss_bytes);
        let done = match task.agent.role {
            Role::Load => load::run(self, &task),
            Role::Testee => testee::run(self, &task),
        };
        // A failure is said after the values are back, so that whoever hears it finds them so.
        let put_back = self.settings.end();
        match (done, put_back) {
            (Ok(()), Ok(_)) => self.say(&FromAgent::Bye),
            (Ok(()), Err(failure)) => Err(failure.into()),
            (Err(ended), put_back) => Err(also(ended, put_back)),
        }
    }

    fn say(&mut self, message: &FromAgent) -> Result<(), Ended> {
        write_line(&mut self.output, message).map_err(|_| Ended::Gone)
    }

    /// What happens next, until the monotonic instant `until_ns`; `None` when nothing did.
    fn next(&mut self, until_ns: u64) -> Result<Option<Note>, Ended> {
        let timeout = Duration::from_nanos(until_ns.saturating_sub(now_ns()));
        match self.inbox.recv_timeout(timeout) {
            Ok(Note::Said(ToAgent::Abort) | Note::End) => Err(Ended::Gone),
            Ok(Note::Garbage { text, why }) => Err(Ended::Failed(Failure::peer(format!(
                "an agent was told something that is no message of protocol {PROTOCOL}: {why}, in '{text}'; \
                 agents are started by linerate and not by hand"
            )))),
            Ok(note) => Ok(Some(note)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Ended::Gone),
        }
    }

    fn greet(&mut self) -> Result<(), Ended> {
        match self.next(now_ns() + HELLO_DEADLINE_NS)? {
            Some(Note::Said(ToAgent::Hello { protocol, version })) => {
                self.say(&FromAgent::Hello(Box::new(own_hello())))?;
                Ok(check_versions(
                    VERSION,
                    protocol,
                    &version,
                    "the conductor",
                )?)
            }
            Some(note) => Err(unexpected(&note, "hello")),
            None => Err(silent("hello")),
        }
    }

    fn receive_task(&mut self) -> Result<Task, Ended> {
        match self.next(now_ns() + PLAN_DEADLINE_NS)? {
            Some(Note::Said(ToAgent::Plan(task))) => Ok(*task),
            Some(note) => Err(unexpected(&note, "plan")),
            None => Err(silent("plan")),
        }
    }

    /// Answers pings until the go; `None`: the run was called off without harm.
    fn wait_for_go(&mut self) -> Result<Option<u64>, Ended> {
        let deadline_ns = now_ns() + GO_DEADLINE_NS;
        loop {
            match self.next(deadline_ns)? {
                Some(Note::Said(ToAgent::Ping { number })) => {
                    let at_ns = now_ns();
                    self.say(&FromAgent::Pong { number, at_ns })?;
                }
                Some(Note::Said(ToAgent::Go { at_ns })) => return Ok(Some(at_ns)),
                Some(Note::Said(ToAgent::Stop | ToAgent::Finish)) => return Ok(None),
                Some(Note::Load(end)) => return Err(early_end(end.index, end.result.err())),
                Some(Note::Testee(end)) => return Err(early_end(end.index, end.result.err())),
                Some(note) => return Err(unexpected(&note, "go")),
                None => return Err(silent("go")),
            }
        }
    }

    /// Waits until `workers` are ready; the reason of the first that is not. `choice` is the engine as
    /// it was asked for.
    fn wait_ready(
        &mut self,
        workers: usize,
        timeout: Duration,
        choice: &EngineChoice,
    ) -> Result<(), Ended> {
        let Err(why) = self.control.wait_ready(workers, timeout) else {
            return Ok(());
        };
        // A failed worker has left its reason, with its class, in the inbox.
        let until_ns = now_ns() + 1_000_000_000;
        let mut failure = None;
        while failure.is_none() {
            match self.next(until_ns)? {
                Some(Note::Load(end)) => failure = end.result.err(),
                Some(Note::Testee(end)) => failure = end.result.err(),
                Some(_) => {}
                None => break,
            }
        }
        let overloaded = || {
            Failure::machine(format!(
                "{why}; the machine is overloaded: use fewer --connections, or another engine"
            ))
        };
        let failure = failure.unwrap_or_else(overloaded);
        Err(not_asked_for(failure, choice).into())
    }

    fn prepared(
        &mut self,
        task: &Task,
        endpoints: Vec<String>,
        traffic: Traffic,
        engine: &crate::engines::Chosen,
        mut warnings: Vec<Message>,
    ) -> Result<(), Ended> {
        let host = task.describe_host.then(|| describe_host(traffic));
        warnings.extend(self.settings.take_warnings());
        self.say(&FromAgent::Prepared(Box::new(Prepared {
            endpoints,
            host,
            engine: engine.driver.name().to_owned(),
            engine_reason: engine.reason.clone(),
            profile: self.settings.applied().cloned(),
            warnings,
        })))
    }

    /// Puts the settings of the profile back, now that the round is over. What was measured is not lost when
    /// that fails.
    fn end_settings(&mut self, result: &mut AgentResult) {
        match self.settings.end() {
            Ok(drifts) => result.drifts = drifts,
            Err(failure) => result.not_put_back = Some(failure),
        }
    }

    fn interval(&mut self, interval: Interval) -> Result<(), Ended> {
        self.say(&FromAgent::Interval(interval))
    }
}

/// The failure of a round, and what else its end found out.
fn also(ended: Ended, put_back: Result<Vec<Drift>, Failure>) -> Ended {
    let Ended::Failed(mut failure) = ended else {
        return ended;
    };
    match put_back {
        Ok(drifts) => {
            for drift in drifts {
                failure.text += &format!(
                    "; {} was {} and not {} at the end, written by somebody else, and was left as it is",
                    drift.key, drift.found, drift.expected
                );
            }
        }
        Err(another) => failure.text += &format!("; and {}", another.text),
    }
    Ended::Failed(failure)
}

/// What this machine cannot do with the engine that `auto` took, it may do with another.
fn not_asked_for(mut failure: Failure, choice: &EngineChoice) -> Failure {
    if choice.name == AUTO && failure.class == ExitClass::Machine {
        failure.text += "; the engine was chosen by auto: another may do, see `linerate engines`";
    }
    failure
}

fn own_hello() -> AgentHello {
    AgentHello {
        protocol: PROTOCOL,
        version: VERSION.to_owned(),
        git_commit: GIT_COMMIT.map(str::to_owned),
        build_target: BUILD_TARGET.map(str::to_owned),
        boot_id: boot_id(),
        network_namespace: network_namespace(),
    }
}

/// Names the network namespace of this process, on Linux (namespaces(7)).
fn network_namespace() -> Option<String> {
    let link = std::fs::read_link("/proc/self/ns/net").ok()?;
    Some(link.to_string_lossy().into_owned())
}

fn unexpected(note: &Note, expected: &str) -> Ended {
    let found = match note {
        Note::Said(ToAgent::Hello { .. }) => "hello",
        Note::Said(ToAgent::Plan(_)) => "plan",
        Note::Said(ToAgent::Ping { .. }) => "ping",
        Note::Said(ToAgent::Go { .. }) => "go",
        Note::Said(ToAgent::Stop) => "stop",
        Note::Said(ToAgent::Finish) => "finish",
        _ => "something else",
    };
    Ended::Failed(Failure::peer(format!(
        "an agent was told '{found}' when it expected '{expected}'; this is a bug in linerate"
    )))
}

fn silent(expected: &str) -> Ended {
    Ended::Failed(Failure::peer(format!(
        "an agent waited for '{expected}' in vain; the conductor hangs or was stopped"
    )))
}

fn early_end(index: usize, failure: Option<Failure>) -> Ended {
    Ended::Failed(failure.unwrap_or_else(|| {
        Failure::machine(format!(
            "worker {index} returned before the go; this is a bug in linerate"
        ))
    }))
}

//! The owner's end: a supervisor process, told what to do over its stdin.

use super::protocol::{Answer, Application, Drift, Order};
use super::{heal, host};
use crate::error::Failure;
use crate::lines::{Line, read_line, write_line};
use report::document::{AppliedProfile, Message};
use std::io::{BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The hidden subcommand of the binary.
const SUBCOMMAND: &str = "supervise";
/// For one order. Some files, each written once; the lock may be held by another linerate meanwhile.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// A supervisor whose stdin was closed has put back its values within this.
const END_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// A profile in force, through a supervisor process.
///
/// Dropping it closes the supervisor's stdin, upon which it puts everything back, and awaits its end.
/// A supervisor is never killed: that would leave the values to the next command.
pub struct Keeper {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<Answer>,
}

impl Keeper {
    /// Starts a supervisor, which applies the profile.
    ///
    /// # Errors
    /// Why the profile cannot be applied here. Nothing of it remains then.
    pub fn apply(
        application: Application,
    ) -> Result<(Self, AppliedProfile, Vec<Message>), Failure> {
        let mut keeper = Self::start()?;
        match keeper.ask(&Order::Apply(Box::new(application)))? {
            Answer::Applied { profile, warnings } => Ok((keeper, *profile, warnings)),
            other => Err(confused(&other)),
        }
    }

    /// Settings that somebody else has written since. They are not written again.
    ///
    /// # Errors
    /// When the supervisor is gone; the values were put back then.
    pub fn drift(&mut self) -> Result<Vec<Drift>, Failure> {
        match self.ask(&Order::Check)? {
            Answer::Drift { drifts } => Ok(drifts),
            other => Err(confused(&other)),
        }
    }

    /// Puts everything back, and returns what was left alone because somebody else has written it.
    ///
    /// # Errors
    /// What could not be put back; its journal stays for `linerate sysctl restore`.
    pub fn restore(mut self) -> Result<Vec<Drift>, Failure> {
        match self.ask(&Order::Restore)? {
            Answer::Restored { left_alone } => Ok(left_alone),
            other => Err(confused(&other)),
        }
    }

    /// Ends the supervisor and leaves the profile in force, held by its journal.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn leave(mut self) -> Result<(), Failure> {
        match self.ask(&Order::Leave)? {
            Answer::Left => Ok(()),
            other => Err(confused(&other)),
        }
    }

    fn start() -> Result<Self, Failure> {
        let cannot = |error| {
            Failure::machine(format!(
                "start the process that puts settings back: {error}; nothing was changed"
            ))
        };
        let own = std::env::current_exe().map_err(cannot)?;
        let mut child = Command::new(own)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Neither Ctrl-C nor what kills the owner's group may reach it.
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (sender, answers) = sync_channel(4);
        let keeper = Self {
            child,
            input,
            answers,
        };
        if let Some(output) = output {
            // Ends with the supervisor's output.
            std::thread::Builder::new()
                .name("hear-supervisor".to_owned())
                .spawn(move || listen(output, &sender))
                .map_err(cannot)?;
        }
        Ok(keeper)
    }

    fn ask(&mut self, order: &Order) -> Result<Answer, Failure> {
        let said = match &mut self.input {
            Some(input) => write_line(input, order),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        if said.is_err() {
            return Err(self.lost());
        }
        match self.answers.recv_timeout(ANSWER_DEADLINE) {
            Ok(Answer::Failed(failure)) => Err(failure),
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Disconnected) => Err(self.lost()),
            Err(RecvTimeoutError::Timeout) => Err(Failure::machine(format!(
                "the process that puts settings back (process {}) has not answered for {} s; it puts them back when \
                 it goes on, and `linerate sysctl status` shows them",
                self.child.id(),
                ANSWER_DEADLINE.as_secs()
            ))),
        }
    }

    /// The supervisor has died, and with it the owner of the journal: the values are put back here.
    fn lost(&mut self) -> Failure {
        self.await_end();
        let healed: Vec<String> = heal().into_iter().map(|message| message.text).collect();
        let what = match (healed.is_empty(), host::in_force()) {
            (false, _) => healed.join("; "),
            (true, None) => "everything is put back".to_owned(),
            (true, Some(profile)) => format!(
                "the profile {profile} is in force; `linerate sysctl status` shows it, `linerate sysctl restore` puts it back"
            ),
        };
        Failure::machine(format!(
            "the process that puts settings back has ended early: {what}"
        ))
    }

    fn await_end(&mut self) {
        self.input = None;
        let until = Instant::now() + END_DEADLINE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.await_end();
    }
}

fn listen(output: impl Read, answers: &SyncSender<Answer>) {
    let mut reader = BufReader::new(output);
    let mut buffer = Vec::new();
    loop {
        let answer = match read_line(&mut reader, &mut buffer) {
            Ok(Line::Message(answer)) => answer,
            Ok(Line::Other { text, why }) => Answer::Failed(Failure::machine(format!(
                "the process that puts settings back said '{text}' ({why}); this is a bug in linerate"
            ))),
            Ok(Line::End) | Err(_) => return,
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

fn confused(answer: &Answer) -> Failure {
    let said = serde_json::to_string(answer).unwrap_or_default();
    let said: String = said.chars().take(100).collect();
    Failure::machine(format!(
        "the process that puts settings back answered {said}, which fits no order; this is a bug in linerate"
    ))
}

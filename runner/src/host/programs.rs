//! Small programs of the system that know what no file shows (`tc`, `ethtool`, `nft`), asked within a deadline.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// They answer within milliseconds; this bounds what a hung one can cost.
const DEADLINE: Duration = Duration::from_secs(1);
/// A device of 1024 queues prints some 200 KiB.
const OUTPUT_LIMIT_BYTES: u64 = 4 * 1024 * 1024;
/// The first line is quoted.
const COMPLAINT_LIMIT_BYTES: u64 = 4096;

/// What `program` prints when it is called with `arguments`, or why there is no answer. What a program that
/// fails has printed is none: `nft list ruleset` prints nothing to users who may not see the rules.
pub fn ask(program: &str, package: &str, arguments: &[&str]) -> Result<String, String> {
    let mut child = spawn(program, arguments)
        .ok_or_else(|| format!("the program `{program}` (package {package}) is not here to ask"))?;
    let answer = answer_within_deadline(&mut child);
    // Also after success: a child that closed its output may still run.
    let _ = child.kill();
    let _ = child.wait();
    answer.map_err(|reason| format!("`{program} {}` {reason}", arguments.join(" ")))
}

fn spawn(program: &str, arguments: &[&str]) -> Option<Child> {
    // Users' PATH often lacks the sbin directories.
    ["", "/usr/sbin/", "/sbin/"].iter().find_map(|directory| {
        Command::new(format!("{directory}{program}"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()
    })
}

fn answer_within_deadline(child: &mut Child) -> Result<String, String> {
    let deadline = Instant::now() + DEADLINE;
    let output = child
        .stdout
        .take()
        .map(|pipe| text_of(pipe, OUTPUT_LIMIT_BYTES));
    let complaint = child
        .stderr
        .take()
        .map(|pipe| text_of(pipe, COMPLAINT_LIMIT_BYTES));
    let text = received(output, deadline)?;
    let status = status(child, deadline)?;
    if status.success() {
        return Ok(text);
    }
    let complaint = received(complaint, deadline).unwrap_or_default();
    Err(
        match complaint.lines().find(|line| !line.trim().is_empty()) {
            Some(line) => format!("failed: {}", line.trim()),
            None => format!("failed ({status})"),
        },
    )
}

/// Reads a pipe to its end, which comes at the latest when the caller kills the child.
fn text_of(
    pipe: impl Read + Send + 'static,
    limit_bytes: u64,
) -> Receiver<std::io::Result<String>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let outcome = pipe.take(limit_bytes).read_to_end(&mut text);
        let _ = sender.send(outcome.map(|_| String::from_utf8_lossy(&text).into_owned()));
    });
    receiver
}

fn received(
    pipe: Option<Receiver<std::io::Result<String>>>,
    deadline: Instant,
) -> Result<String, String> {
    let pipe = pipe.ok_or("has no output")?;
    let left = deadline.saturating_duration_since(Instant::now());
    match pipe.recv_timeout(left) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(format!("could not be read: {error}")),
        Err(_) => Err("did not answer within 1 s".to_owned()),
    }
}

/// A program ends soon after it closed its output.
fn status(child: &mut Child, deadline: Instant) -> Result<ExitStatus, String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Ok(None) => return Err("did not end within 1 s".to_owned()),
            Err(error) => return Err(format!("could not be waited for: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_here_is_said_with_its_package() {
        let error = ask("no-such-program", "nothing", &[]).expect_err("nothing to ask");
        assert!(
            error.contains("`no-such-program` (package nothing)"),
            "{error}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_that_never_answers_is_ended() {
        let error = ask("sleep", "coreutils", &["60"]).expect_err("no answer");
        assert!(error.contains("within 1 s"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_that_fails_gives_no_answer_but_its_complaint() {
        let shell = |script| ask("sh", "dash", &["-c", script]);
        let error = shell("echo half; echo 'may not look' >&2; exit 1").expect_err("it failed");
        assert!(error.ends_with("failed: may not look"), "{error}");
        let error = shell("exit 3").expect_err("it failed");
        assert!(error.contains("failed (exit status: 3)"), "{error}");
        assert_eq!(shell("echo all; echo mild >&2"), Ok("all\n".to_owned()));
    }
}

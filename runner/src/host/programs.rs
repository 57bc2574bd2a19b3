//! Small programs of the system that know what no file shows (`tc`, `ethtool`, `nft`), asked within a deadline.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// They answer within milliseconds; this bounds what a hung one can cost.
const DEADLINE: Duration = Duration::from_secs(1);
/// A device of 1024 queues prints some 200 KiB.
const OUTPUT_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// What `program` prints when it is called with `arguments`, or why there is no answer.
pub fn ask(program: &str, package: &str, arguments: &[&str]) -> Result<String, String> {
    let mut child = spawn(program, arguments)
        .ok_or_else(|| format!("the program `{program}` (package {package}) is not here to ask"))?;
    let output = output_within_deadline(program, &mut child);
    // Also after success: a child that closed its output may still run.
    let _ = child.kill();
    let _ = child.wait();
    output
}

fn spawn(program: &str, arguments: &[&str]) -> Option<Child> {
    // Users' PATH often lacks the sbin directories.
    ["", "/usr/sbin/", "/sbin/"].iter().find_map(|directory| {
        Command::new(format!("{directory}{program}"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    })
}

fn output_within_deadline(program: &str, child: &mut Child) -> Result<String, String> {
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| format!("{program} has no output"))?;
    let (sender, receiver) = mpsc::sync_channel(1);
    // Ends at the latest when the caller kills the child, which closes the pipe.
    std::thread::spawn(move || {
        let mut text = String::new();
        let outcome = stdout
            .take(OUTPUT_LIMIT_BYTES)
            .read_to_string(&mut text)
            .map(|_| text);
        let _ = sender.send(outcome);
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(format!("reading the output of {program}: {error}")),
        Err(_) => Err(format!("{program} did not answer within 1 s")),
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
}

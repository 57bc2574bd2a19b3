//! `linerate agent`: one side of a measurement, driven over stdin and stdout.

use std::process::ExitCode;

/// Takes part in a measurement until it is over or stdin closes. Signals of the terminal do not reach it: agents have
/// process groups of their own, and only `run` interprets Ctrl-C.
pub fn agent() -> ExitCode {
    ExitCode::from(runner::agent::main().code())
}

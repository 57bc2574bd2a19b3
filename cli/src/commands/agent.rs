//! `linerate agent`: one side of a measurement, driven over stdin and stdout.

use std::process::ExitCode;

use crate::args::agent::AgentArgs;

/// Takes part in a measurement until it is over or stdin closes. Signals of the terminal do not reach it: agents have
/// process groups of their own, and only `run` interprets Ctrl-C.
pub fn agent(args: &AgentArgs) -> ExitCode {
    let class = match args.serve {
        true => runner::testee_process::main(std::io::stdin(), std::io::stdout()),
        false => runner::agent::main(),
    };
    ExitCode::from(class.code())
}

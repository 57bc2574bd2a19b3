//! `linerate agent`: one side of a measurement, driven over stdin and stdout.

use std::process::ExitCode;

use runner::error::ExitClass;

use crate::args::agent::AgentArgs;
use crate::signals;

/// Takes part in a measurement until it is over or stdin closes. Signals of the terminal do not reach it: agents have
/// process groups of their own, and only `run` interprets Ctrl-C.
pub fn agent(args: &AgentArgs) -> ExitCode {
    let class = match args.serve {
        true => serve_process(),
        false => runner::agent::main(),
    };
    ExitCode::from(class.code())
}

/// A service manager signals every process of a unit: the first process of the testee is asked, and asks the others.
fn serve_process() -> ExitClass {
    // Without a handler a signal would cut its connections; then it ends with its input all the same.
    let _ = signals::notice(|| ());
    runner::testee_process::main(std::io::stdin(), std::io::stdout())
}

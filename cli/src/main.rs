//! `linerate`: arguments to a plan, signals, progress, and the way a result leaves.
//!
//! Exit codes: 0 done, 1 a check failed, 2 usage, 3 this machine cannot, 4 the peer failed, 5 nothing can be said,
//! 130 interrupted.

mod args;
mod arms;
mod commands;
mod comparison_outlet;
mod other_tools;
mod output;
mod plan_file;
mod problem;
mod progress;
mod rank_listener;
mod render;
mod saved_file;
mod serve_file;
mod signals;
mod style;
mod trial_log;
mod usage;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use problem::Problem;
use runner::error::ExitClass;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error),
    };
    let mut told = Vec::new();
    let starts_others = matches!(
        cli.command,
        Command::Run(_) | Command::Compare(_) | Command::Serve(_)
    );
    // An agent does so when it is given a plan, and a supervisor when it is told to apply.
    let is_helper = matches!(cli.command, Command::Agent(_) | Command::Supervise(_));
    if !is_helper {
        // What a killed linerate has left would be measured, and nobody else puts it back.
        told = heal(&[]);
    }
    let outcome = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Compare(args) => commands::compare::compare(&args),
        Command::Serve(args) => commands::serve::serve(&args),
        Command::Engines(args) => commands::engines::engines(&args),
        Command::Doctor(args) => commands::doctor::doctor(&args),
        Command::Sysctl(args) => commands::sysctl::sysctl(&args),
        Command::Report(args) => commands::report::report(&args),
        Command::Events(args) => commands::events::events(&args),
        Command::Agent(args) => commands::agent::agent(&args),
        Command::Supervise(_) => commands::supervise::supervise(),
    };
    if starts_others {
        // An agent and its supervisor may have been killed both while this process lived: nobody else knows yet.
        heal(&told);
    }
    ExitCode::from(finish(outcome))
}

/// Puts back what killed processes have left, and says so, but for what was said already.
fn heal(told: &[String]) -> Vec<String> {
    let found = runner::profile::heal();
    let lines: Vec<String> = found
        .iter()
        .map(|message| format!("linerate: {}", problem::one_line(&message.text)))
        .collect();
    for line in lines.iter().filter(|line| !told.contains(line)) {
        progress::say(line);
    }
    lines
}

/// The exit code, and the one line on stderr where something went wrong.
fn finish(outcome: Result<ExitClass, Problem>) -> u8 {
    match outcome {
        Ok(class) => class.code(),
        Err(problem) => {
            progress::say(&problem.line());
            problem.class.code()
        }
    }
}

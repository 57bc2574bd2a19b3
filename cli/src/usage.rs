//! Answers to command lines that cannot be read: one line that says what is wrong, one that helps.
//!
//! clap's own tips are checked before they are passed on: it takes words for similar that are not (`--json` and
//! `--response`), offers hidden commands, and proposes `-- -P` to whom no such value could mean anything.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use runner::error::ExitClass;

use crate::args::Cli;
use crate::other_tools;
use crate::progress::say;

/// Prints help and version on stdout (exit code 0), and mistakes on stderr (exit code 2).
pub fn answer(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has seen enough (`linerate --help | head`) is no failure.
            let _ = error.print();
            ExitCode::from(ExitClass::Done.code())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(std::io::stderr(), "{}", error.render());
            ExitCode::from(ExitClass::Usage.code())
        }
        _ => {
            for line in lines(error, std::env::args().skip(1)) {
                say(&line);
            }
            ExitCode::from(ExitClass::Usage.code())
        }
    }
}

/// The mistake and a tip as one line. `path`: the command that was read, `run rr`.
pub fn sentence(error: &clap::Error, path: &[&str]) -> String {
    let text = match (error.kind(), context(error, ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(word)) => format!("unexpected argument '{word}' found"),
        _ => match (error.kind(), context(error, ContextKind::InvalidSubcommand)) {
            (ErrorKind::InvalidSubcommand, Some(word)) => {
                format!("unrecognized subcommand '{word}'")
            }
            _ => in_one_line(&error.render().to_string()),
        },
    };
    match tip(error, path) {
        Some(tip) => format!("{text}; tip: {tip}"),
        None => text,
    }
}

fn tip(error: &clap::Error, path: &[&str]) -> Option<String> {
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let word = context(error, ContextKind::InvalidArg)?;
            other_tools::option(&word, path)
                .or_else(|| before_its_workload(&word, path))
                .or_else(|| an_endpoint_to_listen_on(&word, path))
                .or_else(|| {
                    let known = context(error, ContextKind::SuggestedArg)?;
                    is_near(&word, &known).then(|| format!("a similar argument exists: '{known}'"))
                })
        }
        ErrorKind::InvalidSubcommand => {
            let word = context(error, ContextKind::InvalidSubcommand)?;
            other_tools::command(&word, path)
                .map(|command| format!("write {command}"))
                .or_else(|| similar_command(&word, path))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let option = context(error, ContextKind::InvalidArg)?;
            other_tools::value(&option, &context(error, ContextKind::InvalidValue)?)
        }
        _ => None,
    }
}

/// Where to listen, said as `run` is told its target.
fn an_endpoint_to_listen_on(word: &str, path: &[&str]) -> Option<String> {
    let is_endpoint = word.parse::<engine::endpoint::Endpoint>().is_ok() && !word.starts_with('-');
    (path == ["serve"] && is_endpoint)
        .then(|| format!("write linerate serve --listen {word}, with its --role behind it"))
}

/// An option of the workloads that stands between `run` and the workload.
fn before_its_workload(word: &str, path: &[&str]) -> Option<String> {
    let [command @ ("run" | "compare")] = path else {
        return None;
    };
    let cli = Cli::command();
    let workloads = cli.find_subcommand(command)?;
    let mut options = workloads.find_subcommand("rr")?.get_arguments();
    let is_known = options.any(|option| {
        option
            .get_long()
            .is_some_and(|long| word.strip_prefix("--") == Some(long))
            || option
                .get_short()
                .is_some_and(|short| word == format!("-{short}"))
    });
    let of_plan = match *command {
        "compare" => ", and those of a --plan in its file",
        _ => "",
    };
    is_known.then(|| {
        format!("options stand behind the workload{of_plan}: linerate {command} rr {word} ...")
    })
}

/// The command that is spelt most alike; nothing where that one is hidden.
fn similar_command(word: &str, path: &[&str]) -> Option<String> {
    let cli = Cli::command();
    let parent = path
        .iter()
        .try_fold(&cli, |command, name| command.find_subcommand(name))?;
    let near = parent
        .get_subcommands()
        .filter(|command| is_near(word, command.get_name()));
    near.min_by_key(|command| strsim::osa_distance(word, command.get_name()))
        .filter(|command| !command.is_hide_set())
        .map(|command| format!("a similar subcommand exists: '{}'", command.get_name()))
}

/// A slip of the finger, and not another word: one edit in three letters, two at most; or a beginning.
fn is_near(typed: &str, known: &str) -> bool {
    let [typed, known] = [typed, known].map(|word| word.trim_start_matches('-'));
    let edits = (typed.chars().count() / 3).clamp(1, 2);
    let begins = typed.len() >= 3 && known.starts_with(typed);
    begins || strsim::osa_distance(typed, known) <= edits
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// clap's paragraphs as one line.
fn in_one_line(rendered: &str) -> String {
    let text: Vec<&str> = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let text = text.join("; ");
    text.strip_prefix("error: ")
        .unwrap_or(&text)
        .replace(":; ", ": ")
}

/// The mistake, and the help to look at.
fn lines(error: &clap::Error, arguments: impl Iterator<Item = String>) -> [String; 2] {
    let words = path_of(arguments);
    let path: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = [&["linerate"][..], &path].concat().join(" ");
    [
        format!("linerate: {}", sentence(error, &path)),
        format!("try: {command} --help"),
    ]
}

/// The words at the beginning that are commands, one below the other.
fn path_of(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let cli = Cli::command();
    let mut command = &cli;
    arguments
        .map_while(|word| {
            let below = command.get_subcommands().filter(|each| !each.is_hide_set());
            command = below.into_iter().find(|each| each.get_name() == word)?;
            Some(word)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::lines;
    use crate::args::Cli;
    use clap::Parser;

    fn answer(command: &str) -> [String; 2] {
        let words: Vec<&str> = command.split(' ').collect();
        let error = Cli::try_parse_from(&words).unwrap_err();
        lines(&error, words.into_iter().skip(1).map(str::to_owned))
    }

    #[test]
    fn tips_do_not_lead_astray() {
        let cases = [
            (
                "linerate run rr --json",
                "--json of iperf3 is --format json",
            ),
            (
                "linerate run rr --time 10",
                "--time of iperf3 is --duration",
            ),
            ("linerate run rr -P 4", "-P of iperf3 is --connections"),
            ("linerate run stream -P4", "-P of iperf3 is --connections"),
            ("linerate compare rr --engines a,b --omit=2", "is --warmup"),
            (
                "linerate run rr --size 1K",
                "it is --request and --response",
            ),
            ("linerate run rr -c 10.0.0.2", "tcp://10.0.0.2:PORT"),
            (
                "linerate run rr -t TCP_RR",
                "TCP_RR of netperf is linerate run rr",
            ),
            ("linerate run --engine epoll rr", "linerate run rr --engine"),
            ("linerate rr", "write linerate run rr"),
            ("linerate doctr", "'doctor'"),
            (
                "linerate serve tcp://127.0.0.1:9000",
                "write linerate serve --listen tcp://127.0.0.1:9000",
            ),
            ("linerate sysctl lst", "'list'"),
            ("linerate run rr --dur 5s", "'--duration'"),
            ("linerate doctor --formt json", "'--format'"),
            ("linerate -s", "linerate serve --listen"),
            ("linerate agnet", "'agent'"),
        ];
        for (command, tip) in cases {
            let [line, _] = answer(command);
            assert!(
                line.contains("; tip: ") && line.contains(tip),
                "{command}: {line}"
            );
            assert!(
                !line.contains("-- -") && !line.contains("--response'"),
                "{line}"
            );
        }
        // Neither what is only spelt a little alike, nor a command that is not shown.
        for command in [
            "linerate run rr --wrap",
            "linerate supervisor",
            "linerate supervize",
            "linerate run rr -X",
        ] {
            let [line, _] = answer(command);
            assert!(!line.contains("tip"), "{command}: {line}");
        }
    }

    #[test]
    fn the_help_to_look_at_is_that_of_the_command() {
        for (command, help) in [
            ("linerate doctor --nosuch", "try: linerate doctor --help"),
            (
                "linerate sysctl diff --nosuch",
                "try: linerate sysctl diff --help",
            ),
            ("linerate nosuch", "try: linerate --help"),
        ] {
            assert_eq!(answer(command)[1], help);
        }
    }

    #[test]
    fn mistakes_are_one_line_and_a_help_to_look_at() {
        let cases = [
            (
                "linerate run rr --conections 5",
                "linerate: unexpected argument '--conections' found; tip: a similar argument exists: '--connections'",
                "try: linerate run rr --help",
            ),
            (
                "linerate run echo --size 64KB",
                "linerate: invalid value '64KB' for '--size <SIZE>': \"64KB\" is not a size: KB could mean",
                "try: linerate run echo --help",
            ),
            (
                "linerate run rr --duration 10",
                "linerate: invalid value '10' for '--duration <DURATION>': \"10\" is not a duration: the unit is missing",
                "try: linerate run rr --help",
            ),
            (
                "linerate run ping",
                "linerate: unrecognized subcommand 'ping'",
                "try: linerate run --help",
            ),
            (
                "linerate serve --listen tcp://127.0.0.1:9",
                "linerate: --listen tcp://127.0.0.1:9 has no role; write --role echo",
                "try: linerate serve --help",
            ),
            (
                "linerate serve --role echo --listen tcp://127.0.0.1:9",
                "linerate: --role stands before any --listen",
                "try: linerate serve --help",
            ),
            (
                "linerate serve --listen tcp://127.0.0.1:9 --role loop",
                "linerate: invalid value 'loop' for '--role <ROLE>'; [possible values: echo, discard, source, duplex, rr, ws]",
                "try: linerate serve --help",
            ),
        ];
        for (command, first, second) in cases {
            let [line, help] = answer(command);
            assert!(line.starts_with(first), "{line}");
            assert_eq!(help, second);
        }
    }
}

//! Answers to command lines that cannot be read: one line that says what is wrong, one that helps.

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use runner::error::ExitClass;

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
            for line in lines(&error.render().to_string(), std::env::args().skip(1)) {
                say(&line);
            }
            ExitCode::from(ExitClass::Usage.code())
        }
    }
}

/// clap's paragraphs as one line.
pub fn sentence(error: &clap::Error) -> String {
    in_one_line(&error.render().to_string())
}

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
fn lines(rendered: &str, arguments: impl Iterator<Item = String>) -> [String; 2] {
    let text = in_one_line(rendered);
    let words: Vec<String> = arguments.take_while(|word| is_command(word)).collect();
    let command = ["linerate".to_owned()]
        .into_iter()
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ");
    [
        format!("linerate: {text}"),
        format!("try: {command} --help"),
    ]
}

fn is_command(word: &str) -> bool {
    [
        "run", "compare", "rr", "echo", "stream", "crr", "cc", "serve", "engines", "sysctl",
        "list", "show", "diff", "apply", "verify", "restore", "status", "report",
    ]
    .contains(&word)
}

#[cfg(test)]
mod tests {
    use super::lines;
    use crate::args::Cli;
    use clap::Parser;

    fn answer(command: &str) -> [String; 2] {
        let words: Vec<&str> = command.split(' ').collect();
        let error = Cli::try_parse_from(&words).unwrap_err();
        let arguments = words.into_iter().skip(1).map(str::to_owned);
        lines(&error.render().to_string(), arguments)
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
                "linerate: invalid value 'loop' for '--role <ROLE>'; [possible values: echo, discard, source, duplex, rr]",
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

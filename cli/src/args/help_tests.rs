//! The help teaches: every option is described, every subcommand has examples, and the defaults that it
//! names are those that the runner fills in.

use clap::{Command, CommandFactory};

use super::Cli;

/// Every subcommand with its path, `linerate` itself first.
fn commands() -> Vec<(String, Command)> {
    fn collect(path: &str, command: &Command, found: &mut Vec<(String, Command)>) {
        found.push((path.to_owned(), command.clone()));
        for child in command
            .get_subcommands()
            .filter(|child| child.get_name() != "help")
        {
            collect(&format!("{path} {}", child.get_name()), child, found);
        }
    }
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    collect("linerate", &command, &mut found);
    found
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
    let paths: Vec<String> = commands().into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        [
            "linerate",
            "linerate run",
            "linerate run rr",
            "linerate run echo",
            "linerate run stream",
            "linerate run crr",
            "linerate run cc",
            "linerate run connect",
            "linerate run ws",
            "linerate compare",
            "linerate compare rr",
            "linerate compare echo",
            "linerate compare stream",
            "linerate compare crr",
            "linerate compare cc",
            "linerate compare connect",
            "linerate compare ws",
            "linerate serve",
            "linerate engines",
            "linerate doctor",
            "linerate sysctl",
            "linerate sysctl list",
            "linerate sysctl show",
            "linerate sysctl diff",
            "linerate sysctl apply",
            "linerate sysctl verify",
            "linerate sysctl restore",
            "linerate sysctl status",
            "linerate report",
            "linerate events",
            "linerate events cat",
            "linerate events stats",
            "linerate agent",
            "linerate supervise"
        ]
    );
}

#[test]
fn every_option_is_described() {
    for (path, command) in commands() {
        for argument in command.get_arguments() {
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.len() > 3, "{path}: {} has no help", argument.get_id());
            assert!(!help.ends_with('.'), "{path}: {help}");
        }
    }
}

#[test]
fn the_help_of_an_engine_names_every_engine() {
    for (path, command) in commands() {
        let Some(engine) = command
            .get_arguments()
            .find(|argument| argument.get_id() == "engine")
        else {
            continue;
        };
        let help = engine
            .get_long_help()
            .or(engine.get_help())
            .map(ToString::to_string);
        let help = help.unwrap_or_default();
        let possible: Vec<String> = engine
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        for name in [
            "auto",
            "uring",
            "epoll",
            "blocking",
            "tokio-uring",
            "monoio",
            "monoio-legacy",
        ] {
            assert!(
                help.contains(name) || possible.iter().any(|value| value == name),
                "{path}: {name} in '{help}'"
            );
        }
    }
}

#[test]
fn every_subcommand_has_examples_that_name_it() {
    for (path, command) in commands() {
        let after = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(after.contains("Examples:\n"), "{path} has no examples");
        assert!(
            after.contains(&format!(
                "\n  {}",
                path.replace(" agent", " run").replace(" supervise", " run")
            )) || after.contains(&format!("\n  sudo {path}")),
            "{path}: {after}"
        );
    }
}

/// clap breaks longer lines, and a column of remarks with them.
#[test]
fn examples_of_comparisons_fit_a_narrow_terminal() {
    let compares = |path: &str| path.starts_with("linerate compare");
    let mut seen = 0;
    for (path, command) in commands().into_iter().filter(|(path, _)| compares(path)) {
        let after = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        for line in after.lines() {
            assert!(line.chars().count() <= 80, "{path}: {line}");
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} lines");
}

#[test]
fn the_ways_into_a_comparison_are_told_apart() {
    let (_, mut command) = commands()
        .into_iter()
        .find(|(path, _)| path == "linerate compare")
        .expect("compare");
    let help = command.render_help().to_string();
    for way in [
        "Usage: linerate compare <WORKLOAD> --engines <ENGINE,...> [OPTIONS]\n",
        "       linerate compare --plan <FILE> [OPTIONS]\n",
        "       linerate compare <OLD> <NEW> [OPTIONS]\n",
        "  [OLD] [NEW]",
    ] {
        assert!(help.contains(way), "{way}: {help}");
    }
    assert!(!help.contains("OLD> <NEW]"), "{help}");
}

#[test]
fn measuring_and_serving_state_the_units() {
    for (path, command) in commands() {
        let measures = command
            .get_arguments()
            .any(|argument| argument.get_id() == "engine");
        let after = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert_eq!(
            measures && path != "linerate engines",
            after.contains("64K = 64KiB = 65536"),
            "{path}"
        );
        assert_eq!(
            after.contains("65536"),
            after.contains("10G = 10^10 bit/s"),
            "{path}"
        );
    }
}

#[test]
fn workload_options_stand_under_their_headings() {
    for (path, mut command) in commands() {
        if !path.starts_with("linerate run ") {
            continue;
        }
        let help = command.render_help().to_string();
        let places: Vec<usize> = [
            "Load:",
            "Shape:",
            "Socket:",
            "Placement:",
            "Engines:",
            "Output:",
        ]
        .iter()
        .map(|heading| {
            help.find(&format!("\n{heading}\n"))
                .unwrap_or_else(|| panic!("{path}: {heading}"))
        })
        .collect();
        assert!(places.is_sorted(), "{path}: {places:?}");
    }
}

#[test]
fn every_example_can_be_typed() {
    use clap::Parser;
    let mut seen = 0;
    for (path, command) in commands() {
        let after = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        for line in after.lines().filter(|line| line.starts_with("  linerate ")) {
            // What follows two spaces is a remark.
            let words = runner_words(line.trim().split("  ").next().unwrap_or_default());
            if words.contains(&"...".to_owned()) {
                continue;
            }
            let cli = Cli::try_parse_from(&words);
            assert!(cli.is_ok(), "{path}: {line}: {}", cli.unwrap_err());
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} examples were found");
}

/// Words of a shell line with single quotes.
fn runner_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

//! What to run next: the same command with one thing changed.

use super::layout::{Paint, Paper};
use crate::document::{Document, Pace, Status, Workload};
use crate::units::format_count;

pub(crate) fn section(document: &Document, paper: &mut Paper) {
    let suggestions = suggestions(document);
    if suggestions.is_empty() {
        return;
    }
    paper.heading("What to run next");
    for (why, command) in suggestions {
        paper.item(&why, Paint::Plain);
        paper.verbatim(&command);
    }
}

fn suggestions(document: &Document) -> Vec<(String, String)> {
    if document.status != Status::Ok {
        return Vec::new();
    }
    let plan = &document.plan;
    let with = |options: &[(&str, &str)]| {
        let start = document.command.clone();
        let change = |command: Vec<String>, (option, value): &(&str, &str)| {
            with_option(&command, option, value)
        };
        as_typed(&options.iter().fold(start, change))
    };
    let mut found = Vec::new();
    if plan.repeat < 2 {
        found.push((
            "how far to trust the number: repeats, with a confidence interval".to_owned(),
            with(&[("--repeat", "5")]),
        ));
    }
    let other = other_engine(document);
    let engines = [("--engine", other), ("--testee-engine", other)];
    found.push((
        format!("what the engine is worth: the same with {other}"),
        with(&engines[..1 + usize::from(plan.target.own_testee)]),
    ));
    if let Some(rate) = half_of_the_rate(document) {
        found.push((
            "latency that users would feel: open loop at about half of this rate".to_owned(),
            with(&[("--rate", &format_count(rate))]),
        ));
    }
    if !document
        .command
        .iter()
        .any(|word| word.starts_with("--html"))
    {
        found.push((
            "see it: a page with the latency by percentile and the rate over time".to_owned(),
            with(&[("--html", "result.html")]),
        ));
    }
    found
}

/// An engine worth comparing with the one that ran.
fn other_engine(document: &Document) -> &'static str {
    let load = document.rounds.first().and_then(|round| round.load.first());
    match load.map_or("", |side| side.engine.used.as_str()) {
        "epoll" | "kqueue" => "blocking",
        "uring" => "epoll",
        _ => "auto",
    }
}

/// Half of the measured rate to two significant digits, where an open loop says more.
fn half_of_the_rate(document: &Document) -> Option<u64> {
    let applies = document.plan.pace == Pace::Closed
        && matches!(document.plan.workload, Workload::Rr | Workload::Echo);
    let metrics = &document.summary.as_ref()?.metrics;
    let half = metrics.get("rate_per_second")?.mean.get() / 2.0;
    if !applies || half < 1.0 {
        return None;
    }
    let step = 10f64.powf(half.log10().floor() - 1.0).max(1.0);
    Some(((half / step).round() * step) as u64)
}

/// The command with the option set to `value`, instead of what it said or at its end.
fn with_option(command: &[String], option: &str, value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut given = command.iter();
    let mut replaced = false;
    while let Some(word) = given.next() {
        let assigned = word
            .strip_prefix(option)
            .is_some_and(|rest| rest.starts_with('='));
        if word != option && !assigned {
            words.push(word.clone());
            continue;
        }
        if !assigned {
            given.next();
        }
        words.extend([option.to_owned(), value.to_owned()]);
        replaced = true;
    }
    if !replaced {
        words.extend([option.to_owned(), value.to_owned()]);
    }
    words
}

/// The command as one would type it, wherever the program was found this time.
pub fn as_typed(command: &[String]) -> String {
    let words = command.iter().skip(1).map(|word| shell_word(word));
    let words: Vec<String> = std::iter::once("linerate".to_owned())
        .chain(words)
        .collect();
    words.join(" ")
}

/// The word in single quotes if a shell would read it otherwise (POSIX, 2.2.2).
fn shell_word(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_=+:/.,@%".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{as_typed, with_option};

    #[test]
    fn an_option_is_replaced_or_added() {
        let command = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let check = |words: &[&str], expected: &str| {
            let changed = with_option(&command(words), "--engine", "epoll");
            assert_eq!(as_typed(&changed), expected);
        };
        check(
            &["/x/linerate", "run", "rr"],
            "linerate run rr --engine epoll",
        );
        check(
            &["linerate", "run", "--engine", "uring", "rr"],
            "linerate run --engine epoll rr",
        );
        check(
            &["linerate", "run", "rr", "--engine=uring"],
            "linerate run rr --engine epoll",
        );
        check(
            &["linerate", "run", "rr", "--testee-via", "ssh b's"],
            "linerate run rr --testee-via 'ssh b'\\''s' --engine epoll",
        );
    }
}

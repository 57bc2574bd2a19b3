//! What to run next: the same command with one thing changed.

use super::layout::{Paint, Paper};
use crate::document::{Document, Pace, Status};
use crate::foreign::is_order;
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
    // What was merged of several results is no one command's.
    let is_merged = document.command.get(1).is_some_and(|word| word == "report");
    if document.status != Status::Ok || is_merged {
        return Vec::new();
    }
    let plan = &document.plan;
    let with = |options: &[(Name, &str)]| {
        let start = measuring(&document.command);
        let change = |command: Vec<String>, (option, value): &(Name, &str)| {
            with_option(&command, *option, value)
        };
        as_typed(&options.iter().fold(start, change))
    };
    let mut found = Vec::new();
    if plan.repeat < 2 {
        found.push((
            "how far to trust the number: repeats, with a confidence interval".to_owned(),
            with(&[(REPEAT, "5")]),
        ));
    }
    if let Some(other) = other_engine(document) {
        let engines = [(ENGINE, other), (TESTEE_ENGINE, other)];
        found.push((
            format!("what the engine is worth: the same with {other}"),
            with(&engines[..1 + usize::from(plan.target.own_testee)]),
        ));
    }
    if let Some(rate) = half_of_the_rate(document) {
        found.push((
            "latency that users would feel: open loop at about half of this rate".to_owned(),
            with(&[(RATE, &format_count(rate))]),
        ));
    }
    if !document
        .command
        .iter()
        .any(|word| word.starts_with("--html"))
    {
        found.push((
            "see it: a page with the latency by percentile and the rate over time".to_owned(),
            with(&[(HTML, "result.html")]),
        ));
    }
    found
}

/// An engine worth comparing with the one that ran, where the document knows one.
fn other_engine(document: &Document) -> Option<&str> {
    let load = document.rounds.first()?.load.first()?;
    load.engine.other.as_deref()
}

/// Half of the measured rate to two significant digits, where an open loop says more.
fn half_of_the_rate(document: &Document) -> Option<u64> {
    let workload = document.plan.workload;
    let applies = document.plan.pace == Pace::Closed
        && !workload.is_bulk()
        && !workload.reconnects()
        && !workload.holds();
    let metrics = &document.summary.as_ref()?.metrics;
    let half = metrics.get("rate_per_second")?.mean.get() / 2.0;
    if !applies || half < 1.0 {
        return None;
    }
    let step = 10f64.powf(half.log10().floor() - 1.0).max(1.0);
    Some(((half / step).round() * step) as u64)
}

/// An option of the command line.
#[derive(Clone, Copy)]
struct Name {
    long: &'static str,
    short: Option<&'static str>,
    has_value: bool,
}

const fn option(long: &'static str, short: Option<&'static str>) -> Name {
    Name {
        long,
        short,
        has_value: true,
    }
}

const REPEAT: Name = option("--repeat", Some("-r"));
const ENGINE: Name = option("--engine", Some("-e"));
const TESTEE_ENGINE: Name = option("--testee-engine", None);
const RATE: Name = option("--rate", None);
const HTML: Name = option("--html", None);

/// What says where a result goes, and nothing of how it is measured.
const OUTPUT: [Name; 7] = [
    option("--format", Some("-f")),
    option("--output", Some("-o")),
    HTML,
    option("--events", None),
    option("--event-record", None),
    option("--progress", None),
    Name {
        long: "--quiet",
        short: Some("-q"),
        has_value: false,
    },
];

impl Name {
    /// How many words the option takes that begins with `word`; 0 if that begins another.
    fn words(self, word: &str) -> usize {
        if word == self.long || Some(word) == self.short {
            return 1 + usize::from(self.has_value);
        }
        let of_long = word.strip_prefix(self.long);
        let of_short = self.short.and_then(|short| word.strip_prefix(short));
        let attached = of_long.is_some_and(|rest| rest.starts_with('='))
            || self.has_value && of_short.is_some();
        usize::from(attached)
    }
}

/// The command with the option set to `value`, instead of what it said or at its end.
fn with_option(command: &[String], option: Name, value: &str) -> Vec<String> {
    let (mut words, place) = without_option(command, option);
    let place = place.unwrap_or(words.len());
    words.splice(place..place, [option.long.to_owned(), value.to_owned()]);
    words
}

/// The command without the option, and where it first stood.
fn without_option(command: &[String], option: Name) -> (Vec<String>, Option<usize>) {
    let (mut words, mut place) = (Vec::new(), None);
    let mut given = command.iter();
    while let Some(word) = given.next() {
        match option.words(word) {
            0 => words.push(word.clone()),
            taken => {
                place.get_or_insert(words.len());
                given.by_ref().take(taken - 1).for_each(drop);
            }
        }
    }
    (words, place)
}

/// The command without what only says where its result goes: repeated, it would write over that.
fn measuring(command: &[String]) -> Vec<String> {
    OUTPUT.iter().fold(command.to_vec(), |command, option| {
        without_option(&command, *option).0
    })
}

/// The command that measures the same again.
pub fn to_repeat(command: &[String]) -> String {
    as_typed(&measuring(command))
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
    } else if word.contains(is_order) {
        // What may not be sent to a terminal is written in octal (POSIX.1-2024, 2.2.4).
        let escape = |byte: u8| match byte {
            b'\'' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\{byte:03o}"),
        };
        format!("$'{}'", word.bytes().map(escape).collect::<String>())
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{ENGINE, as_typed, to_repeat, with_option};

    fn command(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_is_repeated_writes_over_nothing() {
        for words in [
            &["-o", "r.json", "--format", "json", "--quiet"][..],
            &["--output=r.json", "-fjson", "-q"],
            &[
                "-or.json",
                "--events",
                "-",
                "--event-record=r.events",
                "--html=r.html",
                "--progress",
                "bar",
            ],
        ] {
            let line = [&["linerate", "run", "rr"], words, &["--interval", "100ms"]].concat();
            assert_eq!(
                to_repeat(&command(&line)),
                "linerate run rr --interval 100ms",
                "{words:?}"
            );
        }
    }

    #[test]
    fn an_option_is_replaced_or_added() {
        let check = |words: &[&str], expected: &str| {
            let changed = with_option(&command(words), ENGINE, "epoll");
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
            &["linerate", "run", "-e", "uring", "rr", "--engineer"],
            "linerate run --engine epoll rr --engineer",
        );
        check(
            &["linerate", "run", "rr", "--testee-via", "ssh b's"],
            "linerate run rr --testee-via 'ssh b'\\''s' --engine epoll",
        );
        check(
            &["linerate", "run", "rr", "--testee-via", "x \u{1b}'\u{9b}"],
            "linerate run rr --testee-via $'x \\033\\'\\302\\233' --engine epoll",
        );
    }
}

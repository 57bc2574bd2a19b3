//! Text and CSV of the fixtures, to the letter.

use report::document::{Document, ErrorCount, ErrorKind, Finite, LatencySummary, Pace};
use report::saved::View;
use report::text::Style;
use report::{Labelled, histogram};

use crate::{bless, fixtures};

#[test]
fn text_is_as_expected() {
    for (name, document) in fixtures::all() {
        let found = report::text::render(
            &document,
            &Style {
                color: false,
                width: 96,
            },
        );
        bless::compare(&format!("tests/fixtures/{name}.txt"), &found);
    }
}

#[test]
fn csv_is_as_expected() {
    let (_, document) = &fixtures::all()[0];
    bless::compare(
        "tests/fixtures/rr_one_round.csv",
        &report::csv::render(document).unwrap(),
    );
}

#[test]
fn sentences_keep_to_the_width() {
    for (name, document) in fixtures::all() {
        let text = report::text::render(
            &document,
            &Style {
                color: false,
                width: 60,
            },
        );
        // Tables and commands to copy do not wrap; sentences are the lines with a full stop.
        for line in text.lines().filter(|line| line.ends_with('.')) {
            assert!(line.chars().count() <= 60, "{name}: {line}");
        }
    }
}

#[test]
fn colour_adds_nothing_but_escapes() {
    for (name, document) in fixtures::all() {
        let plain = report::text::render(
            &document,
            &Style {
                color: false,
                width: 80,
            },
        );
        let coloured = report::text::render(
            &document,
            &Style {
                color: true,
                width: 80,
            },
        );
        assert!(coloured.contains("\u{1b}[1m"), "{name}");
        assert!(!plain.contains('\u{1b}'), "{name}");
        let mut stripped = coloured;
        for escape in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[33m"] {
            stripped = stripped.replace(escape, "");
        }
        assert_eq!(stripped, plain, "{name}");
    }
}

#[test]
fn what_is_only_sent_is_called_unconfirmed() {
    let (_, document) = &fixtures::all()[2];
    let text = report::text::render(document, &Style::default());
    let first = text.lines().next().unwrap();
    assert!(first.contains("sender side, unconfirmed"), "{first}");
}

fn fixture(name: &str) -> Document {
    let found = fixtures::all()
        .into_iter()
        .find(|(known, _)| *known == name);
    found.unwrap().1
}

/// The answer of every form for people, which is the same sentence in all of them.
fn headline(document: &Document) -> String {
    let text = report::text::render(document, &Style::default());
    let paragraph = text.split("\n\n").next().unwrap();
    let sentence = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let escaped = sentence.replace('>', "&gt;");
    let markdown = report::markdown::render(document);
    assert_eq!(markdown.lines().next().unwrap(), format!("**{escaped}**"));
    let html = report::html::render(&[Labelled::new("run".to_owned(), View::Run(document))]);
    assert!(html.contains(&format!("<h1>{escaped}</h1>")), "{sentence}");
    sentence
}

#[test]
fn the_answer_says_what_was_asked_for_and_what_failed() {
    let mut document = fixture("rr_five_rounds");
    let sound = headline(&document);
    assert!(
        !sound.contains("asked for") && !sound.contains("failed"),
        "{sound}"
    );

    document.plan.pace = Pace::Constant {
        rate_per_second: Finite::from(150_000),
    };
    let overloaded = headline(&document);
    assert!(
        overloaded.contains(" of 150 k operations/s asked for, p99"),
        "{overloaded}"
    );

    let failures = |document: &mut Document, count| {
        document.rounds[1].measured.errors = vec![ErrorCount {
            kind: ErrorKind::Timeout,
            count,
            text: None,
        }];
        headline(document)
    };
    // Of 4,685,552 that succeeded in all rounds.
    for (count, words) in [
        (1, "1 operation failed"),
        (1_234, "1,234 operations failed"),
        (150_000, "3.1 % of operations failed"),
    ] {
        let found = failures(&mut document, count);
        assert!(found.contains(&format!(", {words}, ")), "{found}");
    }
    // What a round had that does not count is in none of the figures.
    document.rounds[1].ended_early = true;
    let without = headline(&document);
    assert!(!without.contains("failed"), "{without}");
}

fn of_values(count: u64) -> Option<LatencySummary> {
    let mut recorded = histogram::new();
    (1..=count).for_each(|each| recorded.record(each * 1_000).unwrap());
    LatencySummary::from_histogram(&recorded).unwrap()
}

/// `rr_one_round` with so many operations in its latency.
fn with_latencies(count: u64) -> Document {
    let mut document = fixture("rr_one_round");
    let round = &mut document.rounds[0];
    round.measured.latency.service = of_values(count);
    round.load[0].measured.latency.service = of_values(count);
    let summary = report::assemble::summary(&document.rounds);
    document.set_summary(summary);
    document
}

#[test]
fn a_percentile_that_would_be_the_largest_value_is_not_shown() {
    let names = ["p50", "p75", "p90", "p99", "p99.9", "p99.99"];
    for (count, shown) in [
        (1, 0),
        (2, 1),
        (4, 2),
        (9, 2),
        (10, 3),
        (99, 3),
        (100, 4),
        (9_999, 5),
        (10_000, 6),
    ] {
        let document = with_latencies(count);
        let text = report::text::render(&document, &Style::default());
        let table = text.split_once("\nLatency\n").unwrap().1;
        let table = table.split_once("\n\n").unwrap().0;
        let rows: Vec<&str> = table
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let expected: Vec<&str> = names[..shown].to_vec();
        let found: Vec<&str> = rows
            .iter()
            .copied()
            .filter(|row| names.contains(row))
            .collect();
        assert_eq!(found, expected, "{count} values");
        for always in ["count", "min", "mean", "max"] {
            assert!(rows.contains(&always), "{always} of {count} values");
        }
        let answer = headline(&document);
        assert_eq!(answer.contains("p99 "), count >= 100, "{answer}");
        assert_eq!(answer.contains(", max "), count < 100, "{answer}");
        let page = report::html::render(&[Labelled::new("run".to_owned(), View::Run(&document))]);
        assert_eq!(
            page.contains("<dt>p99, service time</dt>"),
            count >= 100,
            "{count} values"
        );
        // Programs get every field of the schema.
        let json = report::json::render(&document).unwrap();
        assert!(json.contains("\"p99_99_ns\""));
    }
}

#[test]
fn what_was_never_sent_is_not_called_unanswered() {
    for (count, never_sent, rows, words) in [
        (
            5,
            None,
            "not answered, or never sent 5",
            "5 operations have no answer, or were never sent",
        ),
        (
            5,
            Some(0),
            "sent, not answered 5",
            "5 operations have no answer",
        ),
        (
            5,
            Some(5),
            "due, never sent 5",
            "5 operations were never sent",
        ),
        (
            5,
            Some(1),
            "sent, not answered 4 due, never sent 1",
            "5 operations have no answer, 1 of them was never sent",
        ),
        (
            1,
            Some(0),
            "sent, not answered 1",
            "1 operation has no answer",
        ),
        (
            1,
            Some(1),
            "due, never sent 1",
            "1 operation was never sent",
        ),
    ] {
        let mut document = fixture("rr_one_round");
        let unfinished = &mut document.rounds[0].measured.unfinished;
        (unfinished.count, unfinished.never_sent) = (count, never_sent);
        document.warnings = report::warnings::from_rounds(&document);
        let text = report::text::render(&document, &Style::default());
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains(&format!("Errors {rows} CPU and cost")),
            "{text}"
        );
        assert!(
            text.contains(&format!("round 1: {words} (due in the window);")),
            "{text}"
        );
    }
}

#[test]
fn at_a_fixed_rate_the_shown_round_is_chosen_by_latency_and_tables_say_of_which_round_they_are() {
    let mut document = fixture("rr_five_rounds");
    // Rates are equal by design there, and which of them is the median says nothing.
    document.plan.pace = Pace::Constant {
        rate_per_second: Finite::from(900_000),
    };
    for (round, p99_ns) in document.rounds.iter_mut().zip([100, 900, 500, 700, 300]) {
        let latency = &mut round.measured.latency;
        let all = latency.response.as_mut().or(latency.service.as_mut());
        all.expect("a latency").p99_ns = p99_ns;
    }
    let text = report::text::render(&document, &Style::default());
    let chosen = "What follows is round 3, the one with the median p99.";
    assert!(text.contains(chosen), "{text}");
    let page =
        |document: &Document| report::html::render(&[Labelled::new("x", View::Run(document))]);
    let said = "This table is of round 3 alone, the one with the median p99.";
    assert!(page(&document).contains(said));
    assert!(page(&document).contains("mean of 5 rounds"));
    assert!(!page(&fixture("rr_one_round")).contains("This table is of round"));
}

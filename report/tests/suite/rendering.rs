//! Text and CSV of the fixtures, to the letter.

use report::text::Style;

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

//! No renderer knows more than the document: every number shown is one of its numbers.

use std::collections::BTreeSet;

use report::text::Style;
use report::units;
use serde_json::Value;

use crate::fixtures;

/// Every way in which a number of the document may be shown.
fn shown(value: f64) -> Vec<String> {
    let mut ways = vec![
        units::human_ns(value),
        units::human_ns(value * 1000.0),
        units::human_bit_rate(value),
        units::human_bytes(value),
        units::human_count(value),
        units::human_percent(value),
        units::human_cores(value),
    ];
    if value >= 0.0 && value == value.trunc() {
        let whole = value as u64;
        ways.push(units::human_duration_ns(whole));
        ways.push(units::grouped(whole));
        ways.push(whole.to_string());
        ways.push(units::format_size(whole));
    }
    ways
}

fn leaves(value: &Value, numbers: &mut BTreeSet<String>) {
    match value {
        Value::Number(number) => {
            for way in shown(number.as_f64().unwrap()) {
                numbers.extend(tokens(&way));
            }
        }
        Value::String(text) => numbers.extend(tokens(text)),
        Value::Array(items) => {
            // How many there are is in the document too.
            numbers.insert(items.len().to_string());
            items.iter().for_each(|item| leaves(item, numbers));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, item)| {
            numbers.extend(tokens(name));
            leaves(item, numbers);
        }),
        Value::Bool(_) | Value::Null => {}
    }
}

/// Numbers in a text: digits with commas and a point, without sign.
fn tokens(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_digit() && c != ',' && c != '.')
        .map(|token| token.trim_matches([',', '.']).to_owned())
        .filter(|token| token.contains(|c: char| c.is_ascii_digit()))
        .collect()
}

#[test]
fn every_number_in_the_text_is_in_the_document() {
    for (name, document) in fixtures::all() {
        let mut known = BTreeSet::new();
        leaves(&fixtures::tree(&document), &mut known);
        // Names of percentiles and of the level of confidence.
        known.extend(["50", "75", "90", "99", "99.9", "99.99", "95"].map(str::to_owned));
        let text = report::text::render(&document, &Style::default());
        // Commands to run next are proposals and not results.
        let results = text.split("What to run next").next().unwrap();
        for line in results.lines() {
            for token in tokens(line) {
                assert!(known.contains(&token), "{name}: {token} in: {line}");
            }
        }
    }
}

#[test]
fn the_csv_has_every_number_of_the_rounds_and_the_summary() {
    for (name, document) in fixtures::all() {
        let csv = report::csv::render(&document).unwrap();
        let cells: BTreeSet<&str> = csv
            .lines()
            .filter_map(|line| line.rsplit(',').next())
            .collect();
        let tree = fixtures::tree(&document);
        let mut numbers = Vec::new();
        collect_numbers(&tree["rounds"], &mut numbers);
        collect_numbers(&tree["summary"], &mut numbers);
        for number in numbers {
            assert!(cells.contains(number.as_str()), "{name}: {number}");
        }
    }
}

fn collect_numbers(value: &Value, numbers: &mut Vec<String>) {
    match value {
        Value::Number(number) => numbers.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect_numbers(item, numbers)),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "number")
            .for_each(|(_, item)| collect_numbers(item, numbers)),
        _ => {}
    }
}

#[test]
fn every_csv_row_has_five_columns() {
    for (name, document) in fixtures::all() {
        let csv = report::csv::render(&document).unwrap();
        assert!(csv.starts_with("round,side,metric,statistic,value\r\n"));
        assert!(csv.ends_with("\r\n"));
        for line in csv.lines() {
            let mut quoted = false;
            let commas = line.chars().filter(|c| {
                quoted ^= *c == '"';
                *c == ',' && !quoted
            });
            assert_eq!(commas.count(), 4, "{name}: {line}");
        }
    }
}

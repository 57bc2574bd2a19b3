//! The document as CSV in long form: one row per round, side, metric and statistic.
//!
//! Columns: `round` (a number, or `all` for what is about all rounds), `side` (agent name, host id,
//! `merged` for the load agents together, `plan`, `summary`), `metric` (where in the JSON, joined by
//! points), `statistic` (`value` if there is only one), `value`. Units
//! are in the names, as in the JSON, and numbers are written as there. Nulls have an empty value;
//! histograms are left to the JSON. Quoting and line ends after RFC 4180.

pub mod comparison;

use std::io;

use serde_json::Value;

use crate::document::{Document, Interval, Measurement, Round};

/// The column names.
pub const HEADER: &str = "round,side,metric,statistic,value";

/// The plan, the rounds and the summary of the document as CSV.
///
/// # Errors
/// None for a document built from its types; passed on rather than hidden.
pub fn render(document: &Document) -> io::Result<String> {
    let mut bytes = Vec::new();
    write(document, &mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// The same to a writer. Of a long document nothing but a round is in memory a second time: its intervals,
/// which are most of it, become rows one by one.
///
/// # Errors
/// What the writer answered.
pub fn write(document: &Document, out: &mut dyn io::Write) -> io::Result<()> {
    write!(out, "{HEADER}\r\n")?;
    let mut rows = Rows {
        out,
        intervals: Vec::new(),
    };
    rows.tree("all", "plan", "", &crate::json::tree(&document.plan)?)?;
    for round in &document.rounds {
        round_rows(&mut rows, round.clone())?;
    }
    rows.tree("all", "summary", "", &crate::json::tree(&document.summary)?)
}

fn round_rows(rows: &mut Rows<'_>, mut round: Round) -> io::Result<()> {
    let take = |measured: &mut Measurement| std::mem::take(&mut measured.intervals);
    let merged = take(&mut round.measured);
    let mut of_sides: Vec<Vec<Interval>> = (round.load.iter_mut().chain(&mut round.testee))
        .map(|side| take(&mut side.measured))
        .collect();
    let (number, loads) = (round.number.to_string(), round.load.len());
    let tree = crate::json::tree(&round)?;
    drop(round);
    let Value::Object(fields) = tree else {
        return Ok(());
    };
    rows.intervals = merged;
    for (name, value) in &fields {
        let (label, first) = match name.as_str() {
            "number" => continue,
            "load" => ("agent", Some(0)),
            "testee" => ("agent", Some(loads)),
            "hosts" => ("host", None),
            _ => {
                rows.tree_or_leaf(&number, "merged", "", name, value)?;
                continue;
            }
        };
        for (place, side) in value.as_array().into_iter().flatten().enumerate() {
            let own = first.and_then(|first| of_sides.get_mut(first + place));
            let own = own.map(std::mem::take).unwrap_or_default();
            let merged = std::mem::replace(&mut rows.intervals, own);
            rows.tree(&number, &text_of(&side[label]), "", side)?;
            rows.intervals = merged;
        }
    }
    Ok(())
}

struct Rows<'a> {
    out: &'a mut dyn io::Write,
    /// Those of the side whose rows are written; in its tree there are none.
    intervals: Vec<Interval>,
}

impl Rows<'_> {
    /// Rows for everything below an object or array.
    fn tree(&mut self, round: &str, side: &str, path: &str, value: &Value) -> io::Result<()> {
        match value {
            Value::Object(fields) => {
                for (name, item) in fields {
                    match name.as_str() {
                        // Reasons are for people, histograms for tools that read JSON.
                        "unknown" | "histogram" => {}
                        "intervals" if path == "measured" => self.cut(round, side, path)?,
                        _ => self.tree_or_leaf(round, side, path, name, item)?,
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.tree_or_leaf(round, side, path, &label(items, index), item)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Rows for the intervals of a side.
    fn cut(&mut self, round: &str, side: &str, path: &str) -> io::Result<()> {
        for (index, interval) in std::mem::take(&mut self.intervals).iter().enumerate() {
            let path = format!("{path}.intervals.{index}");
            self.tree(round, side, &path, &crate::json::tree(interval)?)?;
        }
        Ok(())
    }

    fn tree_or_leaf(
        &mut self,
        round: &str,
        side: &str,
        path: &str,
        name: &str,
        value: &Value,
    ) -> io::Result<()> {
        match value {
            Value::Object(_) | Value::Array(_) => {
                let path = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                };
                self.tree(round, side, &path, value)
            }
            leaf if path.is_empty() => self.row([round, side, name, "value", &text_of(leaf)]),
            leaf => self.row([round, side, path, name, &text_of(leaf)]),
        }
    }

    fn row(&mut self, cells: [&str; 5]) -> io::Result<()> {
        self.out.write_all(row(&cells).as_bytes())
    }
}

/// One line.
fn row(cells: &[&str]) -> String {
    let quoted: Vec<String> = cells.iter().map(|cell| quote(cell)).collect();
    format!("{}\r\n", quoted.join(","))
}

/// What an item of a list is called: its kind or name if no other item has it, else its place.
fn label(items: &[Value], index: usize) -> String {
    let name_of = |item: &Value| {
        ["kind", "name"]
            .iter()
            .find_map(|key| item.get(key)?.as_str().map(str::to_owned))
    };
    match name_of(&items[index]) {
        Some(name)
            if items
                .iter()
                .filter(|item| name_of(item).as_ref() == Some(&name))
                .count()
                == 1 =>
        {
            name
        }
        _ => index.to_string(),
    }
}

fn text_of(leaf: &Value) -> String {
    match leaf {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// RFC 4180, section 2, rules 5 to 7; what a terminal would obey is shown.
fn quote(cell: &str) -> String {
    let cell = crate::foreign::shown_lines(cell);
    if cell.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quoting_after_rfc_4180() {
        assert_eq!(quote("plain text"), "plain text");
        assert_eq!(quote("a,b"), "\"a,b\"");
        assert_eq!(quote("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(quote("two\nlines"), "\"two\nlines\"");
        assert_eq!(quote("\u{9b}2J\r"), "\\x9b2J\\r");
    }
}

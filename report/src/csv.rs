//! The document as CSV in long form: one row per round, side, metric and statistic.
//!
//! Columns: `round` (a number, or `all` for what is about all rounds), `side` (agent name, host id,
//! `merged` for the load agents together, `plan`, `summary`), `metric` (where in the JSON, joined by
//! points), `statistic` (`value` if there is only one), `value`. Units
//! are in the names, as in the JSON, and numbers are written as there. Nulls have an empty value;
//! histograms are left to the JSON. Quoting and line ends after RFC 4180.

pub mod comparison;

use serde_json::Value;

use crate::document::Document;

/// The column names.
pub const HEADER: &str = "round,side,metric,statistic,value";

/// The plan, the rounds and the summary of the document as CSV.
///
/// # Errors
/// None for a document built from its types; passed on rather than hidden.
pub fn render(document: &Document) -> Result<String, serde_json::Error> {
    let mut rows = Rows {
        text: format!("{HEADER}\r\n"),
    };
    let document = crate::json::tree(document)?;
    rows.tree("all", "plan", "", &document["plan"]);
    for round in document["rounds"].as_array().into_iter().flatten() {
        round_rows(&mut rows, round);
    }
    rows.tree("all", "summary", "", &document["summary"]);
    Ok(rows.text)
}

fn round_rows(rows: &mut Rows, round: &Value) {
    let number = text_of(&round["number"]);
    let Value::Object(fields) = round else { return };
    for (name, value) in fields {
        let label = match name.as_str() {
            "number" => continue,
            "load" | "testee" => "agent",
            "hosts" => "host",
            _ => {
                rows.tree_or_leaf(&number, "merged", "", name, value);
                continue;
            }
        };
        for side in value.as_array().into_iter().flatten() {
            rows.tree(&number, &text_of(&side[label]), "", side);
        }
    }
}

struct Rows {
    text: String,
}

impl Rows {
    /// Rows for everything below an object or array.
    fn tree(&mut self, round: &str, side: &str, path: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, item) in fields {
                    // Reasons are for people, histograms for tools that read JSON.
                    if name != "unknown" && name != "histogram" {
                        self.tree_or_leaf(round, side, path, name, item);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.tree_or_leaf(round, side, path, &label(items, index), item);
                }
            }
            _ => {}
        }
    }

    fn tree_or_leaf(&mut self, round: &str, side: &str, path: &str, name: &str, value: &Value) {
        match value {
            Value::Object(_) | Value::Array(_) => {
                let path = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                };
                self.tree(round, side, &path, value);
            }
            leaf if path.is_empty() => self.row([round, side, name, "value", &text_of(leaf)]),
            leaf => self.row([round, side, path, name, &text_of(leaf)]),
        }
    }

    fn row(&mut self, cells: [&str; 5]) {
        self.text += &row(&cells);
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

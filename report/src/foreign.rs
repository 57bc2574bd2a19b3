//! Texts that others wrote: a kernel's name for its CPU, the name of a process, what a launcher said, the
//! fields of a saved document. What they contain is shown, and never sent to the terminal as an order.
//!
//! Every way out goes through here: the blocks of a report (`text/layout.rs`), Markdown, HTML, CSV,
//! Prometheus' labels, JSON, and what the command line says on stderr.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text on one line: control characters and those that turn the direction of writing are shown as
/// escapes (`\x1b`, `\n`, `\u{202e}`).
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, is_order)
}

/// The same for a text of several lines, whose line feeds and tabs stay.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| {
        !"\n\t".contains(character) && is_order(character)
    })
}

/// JSON without a character that a terminal would obey. In JSON they stand in strings only, where `\u` names
/// them, so that a reader gets the very same text.
pub fn in_json(json: String) -> String {
    // Line feeds are between the values; those in strings are escaped by every writer of JSON.
    let is_raw = |character: char| character != '\n' && is_order(character);
    if !json.contains(is_raw) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match is_raw(character) {
            // None of them is beyond the first plane.
            true => {
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            false => text.push(character),
        }
    }
    text
}

/// Whether a terminal, or a reader's eye, takes the character as an order: C0, DEL and C1 (ECMA-48), the
/// controls of direction (Unicode Annex 9, table "Explicit directional formatting characters"), and the
/// separators of lines and paragraphs.
pub fn is_order(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

fn escaped(text: &str, is_shown: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_shown) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' if is_shown('\n') => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' if is_shown('\t') => escaped.push_str("\\t"),
            c if is_shown(c) => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(escaped, "\\x{code:02x}"),
                    _ => write!(escaped, "\\u{{{code:x}}}"),
                };
            }
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_shown_and_all_else_stays() {
        assert_eq!(shown("Käse 漢字 → 5 µs"), "Käse 漢字 → 5 µs");
        assert!(matches!(shown("plain"), Cow::Borrowed(_)));
        assert_eq!(
            shown("\u{1b}]0;x\u{7}\u{9b}31m\u{7f}"),
            "\\x1b]0;x\\x07\\x9b31m\\x7f"
        );
        assert_eq!(shown("a\nb\r\tc"), "a\\nb\\r\\tc");
        assert_eq!(shown_lines("a\nb\r\tc"), "a\nb\\r\tc");
        assert_eq!(
            shown("\u{202e}txt.exe\u{2066}"),
            "\\u{202e}txt.exe\\u{2066}"
        );
        assert_eq!(shown(&shown("\u{1b}")), "\\x1b");
    }

    #[test]
    fn json_says_the_same_without_an_order() {
        let text = "CPU \u{9b}2J\u{7f}\u{202e}\u{1b}[0m\n";
        let json = in_json(serde_json::to_string_pretty(&[text]).unwrap());
        assert!(!json.contains(|c| c != '\n' && is_order(c)), "{json:?}");
        let [back]: [String; 1] = serde_json::from_str(&json).unwrap();
        assert_eq!(back, text);
    }
}

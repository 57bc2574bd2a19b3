//! Engine options: `--engine uring:receive=single,buffers=64`.
//!
//! Each engine describes its options in one table of [`EngineOption`]s, which `linerate engines
//! --options` prints, and reads what was written with [`Options::parse`], so that values are
//! written alike everywhere. What excludes what is the engine's own affair
//! ([`crate::driver::Driver::check_options`]).

use std::fmt;

/// The value that leaves a choice to the engine, where an option's default is that word.
pub const AUTO: &str = "auto";

/// One option of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOption {
    /// What users write before the `=`.
    pub key: &'static str,
    /// What they may write after it, besides `auto` if that is the default.
    pub values: Values,
    /// What holds when they write nothing: one of the values, or [`AUTO`].
    pub default: &'static str,
    /// What is counted or measured (`bytes`, `buffers`); empty for a choice or a switch.
    pub unit: &'static str,
    /// One line on what it does.
    pub meaning: &'static str,
}

/// The values that an option accepts. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// `true` or `false`; also `yes`, `no`, `on`, `off`.
    Switch,
    /// A whole number.
    Integer(u64, u64),
    /// Bytes, with K, M and G for powers of 1024: `1500`, `64K`.
    Size(u64, u64),
    /// A time in nanoseconds, written with its unit: `500ns`, `50us`, `2ms`, `1s`; `0` alone is fine.
    Duration(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Switch => f.write_str("true | false"),
            Self::Integer(low, high) => write!(f, "{low} to {high}"),
            Self::Size(low, high) => write!(f, "{} to {}", size_text(low), size_text(high)),
            Self::Duration(low, high) => {
                write!(f, "{} to {}", duration_text(low), duration_text(high))
            }
            Self::Choice(words) => f.write_str(&words.join(" | ")),
        }
    }
}

/// A value that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Switch(bool),
    Number(u64),
    Word(&'static str),
}

impl EngineOption {
    /// What users may write, in words: `1 to 4096 buffers, or auto`.
    pub fn accepted(&self) -> String {
        let mut words = self.values.to_string();
        if !self.unit.is_empty() {
            words = format!("{words} {}", self.unit);
        }
        if self.default == AUTO {
            words += ", or auto";
        }
        words
    }

    /// Reads a value; `None` is `auto`.
    fn read(&self, text: &str) -> Result<Option<Value>, String> {
        if text == AUTO && self.default == AUTO {
            return Ok(None);
        }
        let refused = |why: &str| {
            let accepted = self.accepted();
            format!("{}={text}: {why}; write {accepted}", self.key)
        };
        let number = |number: Option<u64>, (low, high), what| {
            let number = number.ok_or_else(|| refused(what))?;
            if (low..=high).contains(&number) {
                Ok(Value::Number(number))
            } else {
                Err(refused("out of range"))
            }
        };
        match self.values {
            Values::Switch => switch(text)
                .map(Value::Switch)
                .ok_or_else(|| refused("not a switch")),
            Values::Integer(low, high) => {
                number(text.parse().ok(), (low, high), "not a whole number")
            }
            Values::Size(low, high) => number(
                with_unit(text, &SIZE_UNITS),
                (low, high),
                "not a size such as 1500 or 64K",
            ),
            Values::Duration(low, high) => number(
                duration_ns(text),
                (low, high),
                "not a time with its unit, such as 50us",
            ),
            Values::Choice(words) => words
                .iter()
                .find(|word| **word == text)
                .map(|word| Value::Word(word))
                .ok_or_else(|| refused("no such choice")),
        }
        .map(Some)
    }
}

/// All options of an engine: as written, else as by default.
///
/// The accessors panic when asked for a key that the engine's table does not have, or as the wrong
/// kind of value: a bug that the first use finds.
#[derive(Clone, Debug)]
pub struct Options {
    values: Vec<(&'static EngineOption, Option<Value>)>,
    written: Vec<&'static str>,
}

impl Options {
    /// Reads what was written for `engine`, key to value, by its table.
    ///
    /// # Errors
    /// An unknown or repeated key, or a value that is not accepted, with what would be.
    pub fn parse(
        engine: &str,
        table: &'static [EngineOption],
        written: &[(String, String)],
    ) -> Result<Self, String> {
        let mut options = Self::defaults(table);
        for (key, text) in written {
            let place = options
                .values
                .iter_mut()
                .find(|(option, _)| option.key == key);
            let Some((option, value)) = place else {
                return Err(unknown_key(engine, table, key));
            };
            if options.written.contains(&option.key) {
                return Err(format!("engine {engine}: option '{key}' is given twice"));
            }
            options.written.push(option.key);
            *value = option
                .read(text)
                .map_err(|why| format!("engine {engine}: option {why}"))?;
        }
        Ok(options)
    }

    fn defaults(table: &'static [EngineOption]) -> Self {
        let default = |option: &'static EngineOption| {
            let value = option.read(option.default);
            (option, value.expect("a default is one of the values"))
        };
        Self {
            values: table.iter().map(default).collect(),
            written: Vec::new(),
        }
    }

    /// Whether the user wrote this option.
    pub fn is_written(&self, key: &str) -> bool {
        self.written.contains(&key)
    }

    /// A switch.
    pub fn switch(&self, key: &str) -> bool {
        match self.value(key) {
            Some(Value::Switch(on)) => on,
            other => panic!("option {key} is {other:?}, no switch"),
        }
    }

    /// An integer, a size in bytes or a duration in nanoseconds; `None` is `auto`.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.value(key).map(|value| match value {
            Value::Number(number) => number,
            other => panic!("option {key} is {other:?}, no number"),
        })
    }

    /// One of the words of a choice; `None` is `auto`.
    pub fn word(&self, key: &str) -> Option<&'static str> {
        self.value(key).map(|value| match value {
            Value::Word(word) => word,
            other => panic!("option {key} is {other:?}, no choice"),
        })
    }

    fn value(&self, key: &str) -> Option<Value> {
        let found = self.values.iter().find(|(option, _)| option.key == key);
        found
            .unwrap_or_else(|| panic!("the table has no option {key}"))
            .1
    }
}

fn unknown_key(engine: &str, table: &[EngineOption], key: &str) -> String {
    if table.is_empty() {
        return format!(
            "engine {engine}: unknown option '{key}'; it has no options: write {engine} alone"
        );
    }
    let keys: Vec<&str> = table.iter().map(|option| option.key).collect();
    format!(
        "engine {engine}: unknown option '{key}'; it has {} (see `linerate engines --options`)",
        keys.join(", ")
    )
}

// ---- values as they are written --------------------------------------------------------------

const SIZE_UNITS: [(&str, u64); 3] = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
const DURATION_UNITS: [(&str, u64); 4] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
];

fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A whole number and one of the units; no unit counts as 1.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let stripped = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = stripped.unwrap_or((text, 1));
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn duration_ns(text: &str) -> Option<u64> {
    match text.ends_with(|last: char| last.is_ascii_digit()) {
        true => (text == "0").then_some(0),
        false => with_unit(text, &DURATION_UNITS),
    }
}

/// Bytes as [`Values::Size`] reads them: `64K`.
pub fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    match unit {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// Nanoseconds as [`Values::Duration`] reads them: `50us`.
pub fn duration_text(ns: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| ns.is_multiple_of(*factor);
    match DURATION_UNITS.iter().rev().find(fits) {
        Some((unit, factor)) if ns > 0 => format!("{}{unit}", ns / factor),
        _ => "0us".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: [EngineOption; 5] = [
        option("spin", Values::Duration(0, 1_000_000), "0us"),
        option("buffers", Values::Integer(1, 4096), AUTO),
        option("threshold", Values::Size(1, 1 << 30), "16K"),
        option(
            "receive",
            Values::Choice(&["multishot", "single"]),
            "multishot",
        ),
        option("direct", Values::Switch, "false"),
    ];

    const fn option(key: &'static str, values: Values, default: &'static str) -> EngineOption {
        EngineOption {
            key,
            values,
            default,
            unit: "",
            meaning: "",
        }
    }

    fn parse(text: &str) -> Result<Options, String> {
        let written: Vec<(String, String)> = text
            .split(',')
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Options::parse("test", &TABLE, &written)
    }

    #[test]
    fn what_is_not_written_is_the_default() {
        let options = parse("").unwrap();
        assert_eq!(options.number("spin"), Some(0));
        assert_eq!(options.number("buffers"), None);
        assert_eq!(options.number("threshold"), Some(16_384));
        assert_eq!(options.word("receive"), Some("multishot"));
        assert!(!options.switch("direct") && !options.is_written("direct"));
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let options = parse("spin=50us,buffers=64,threshold=1M,receive=single,direct=on").unwrap();
        assert_eq!(options.number("spin"), Some(50_000));
        assert_eq!(options.number("buffers"), Some(64));
        assert_eq!(options.number("threshold"), Some(1 << 20));
        assert_eq!(options.word("receive"), Some("single"));
        assert!(options.switch("direct") && options.is_written("direct"));
        assert_eq!(parse("buffers=auto").unwrap().number("buffers"), None);
    }

    #[test]
    fn what_is_not_accepted_is_answered_with_what_is() {
        for (text, says) in [
            ("spin=50", "such as 50us; write 0us to 1ms"),
            ("spin=2ms", "out of range; write 0us to 1ms"),
            ("spin=auto", "not a time"),
            ("buffers=0", "write 1 to 4096, or auto"),
            ("buffers=-1", "not a whole number"),
            ("threshold=64k", "such as 1500 or 64K"),
            ("threshold=99999999999G", "not a size"),
            ("receive=both", "write multishot | single"),
            ("direct=maybe", "write true | false"),
            ("direct=on,direct=off", "given twice"),
            (
                "sqpol=1",
                "it has spin, buffers, threshold, receive, direct",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("engine test: "), "{error}");
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn an_engine_without_options_says_so() {
        let error = Options::parse("bare", &[], &[("a".into(), "b".into())]).unwrap_err();
        assert!(error.contains("it has no options"), "{error}");
    }

    #[test]
    fn sizes_and_durations_are_printed_as_they_are_read() {
        for bytes in [0, 1, 1500, 4096, 1 << 20, 3 << 30] {
            assert_eq!(with_unit(&size_text(bytes), &SIZE_UNITS), Some(bytes));
        }
        for ns in [0, 1, 1_500, 50_000, 2_000_000, 3_000_000_000] {
            assert_eq!(duration_ns(&duration_text(ns)), Some(ns));
        }
    }
}

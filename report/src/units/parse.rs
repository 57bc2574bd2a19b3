//! What users type, exactly.

/// Text that is not the quantity it should be. The message says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{input}\" is not a {quantity}: {problem}; write {example}")]
pub struct UnitError {
    input: String,
    quantity: &'static str,
    problem: String,
    example: &'static str,
}

const SIZE_EXAMPLE: &str =
    "bytes, or K, M, G for powers of 1024, for example 1500, 64K (= 65536) or 1.5M";
const RATE_EXAMPLE: &str = "bits per second with k, M, G for powers of 1000, for example 500M, 10G or 10Gbit/s (= 10^10 bit/s)";
const DURATION_EXAMPLE: &str =
    "a number with its unit (ns, us, ms, s, m, h), for example 10s, 500ms, 250us or 1m30s";
const COUNT_EXAMPLE: &str =
    "a whole number, with k, M or G for powers of 1000, for example 500 or 10k (= 10000)";

/// Bytes from a size such as `1500`, `64K`, `64KiB` or `1.5M`; K, M, G, T are powers of 1024.
///
/// # Errors
/// If it is not a size, is no whole number of bytes, or does not fit 64 bits. `KB` and the like
/// are refused, because half of the readers take them for 1000.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let fail = |problem: String| error(text, "size", problem, SIZE_EXAMPLE);
    let (number, rest) = Number::take(text.trim()).ok_or_else(|| fail(no_number(text)))?;
    let unit = match rest.trim() {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        "T" | "t" | "TiB" => 1 << 40,
        "KB" | "kB" | "MB" | "GB" | "TB" => {
            return Err(fail(format!(
                "{} could mean powers of 1000 or of 1024",
                rest.trim()
            )));
        }
        other => return Err(fail(format!("it has no size unit called \"{other}\""))),
    };
    number.times(unit).map_err(|why| fail(why.words("bytes")))
}

/// Bits per second from a rate such as `500M`, `10G` or `10Gbit/s`; k, M, G, T are powers of 1000.
///
/// # Errors
/// If it is not a rate, is no whole number of bits per second, or does not fit 64 bits. Bytes per
/// second are refused.
pub fn parse_rate(text: &str) -> Result<u64, UnitError> {
    let fail = |problem: String| error(text, "rate", problem, RATE_EXAMPLE);
    let (number, rest) = Number::take(text.trim()).ok_or_else(|| fail(no_number(text)))?;
    let (unit, suffix) = decimal_prefix(rest.trim());
    match suffix {
        "" | "bit/s" | "bit" | "bps" | "b/s" => {}
        "B" | "B/s" | "Bps" | "iB/s" | "iB" => {
            return Err(fail("it is in bytes, and rates are in bits".to_owned()));
        }
        _ => {
            return Err(fail(format!(
                "it has no rate unit called \"{}\"",
                rest.trim()
            )));
        }
    }
    number
        .times(unit)
        .map_err(|why| fail(why.words("bits per second")))
}

/// A count from text such as `500` or `10k`; k, M, G, T are powers of 1000.
///
/// # Errors
/// If it is not a whole number or does not fit 64 bits.
pub fn parse_count(text: &str) -> Result<u64, UnitError> {
    let fail = |problem: String| error(text, "count", problem, COUNT_EXAMPLE);
    let (number, rest) = Number::take(text.trim()).ok_or_else(|| fail(no_number(text)))?;
    let (unit, suffix) = decimal_prefix(rest.trim());
    if !suffix.is_empty() {
        return Err(fail(format!(
            "it has no multiplier called \"{}\"",
            rest.trim()
        )));
    }
    number.times(unit).map_err(|why| fail(why.words("units")))
}

/// Nanoseconds from a duration such as `10s`, `500ms`, `250us`, `1m30s` or `0`.
///
/// # Errors
/// If a unit is missing or unknown, units do not get smaller from left to right, the duration is
/// no whole number of nanoseconds, or it does not fit 64 bits.
pub fn parse_duration_ns(text: &str) -> Result<u64, UnitError> {
    let fail = |problem: String| error(text, "duration", problem, DURATION_EXAMPLE);
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(0);
    }
    let mut total_ns = 0u64;
    let mut last_unit_ns = u64::MAX;
    loop {
        let (number, after) = Number::take(rest).ok_or_else(|| fail(no_number(text)))?;
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let unit_ns = match after[..end].trim() {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(fail("the unit is missing".to_owned())),
            other => return Err(fail(format!("it has no time unit called \"{other}\""))),
        };
        if unit_ns >= last_unit_ns {
            return Err(fail("units must get smaller from left to right".to_owned()));
        }
        last_unit_ns = unit_ns;
        let part_ns = number
            .times(unit_ns)
            .map_err(|why| fail(why.words("nanoseconds")))?;
        total_ns = total_ns
            .checked_add(part_ns)
            .ok_or_else(|| fail(Inexact::TooLarge.words("nanoseconds")))?;
        rest = after[end..].trim();
        if rest.is_empty() {
            return Ok(total_ns);
        }
    }
}

/// The shortest text that [`parse_size`] reads as `bytes`: `64K`, `1500`.
pub fn format_size(bytes: u64) -> String {
    with_prefix(bytes, 1024, &["", "K", "M", "G", "T"])
}

/// The shortest text that [`parse_rate`] reads as this rate: `10Gbit/s`, `1500Mbit/s`.
pub fn format_rate(bits_per_second: u64) -> String {
    with_prefix(bits_per_second, 1000, &["", "k", "M", "G", "T"]) + "bit/s"
}

/// The shortest text that [`parse_count`] reads as `count`: `10k`, `1500`.
pub fn format_count(count: u64) -> String {
    with_prefix(count, 1000, &["", "k", "M", "G", "T"])
}

/// Text that [`parse_duration_ns`] reads as this duration: `10s`, `1m30s`, `250us`.
pub fn format_duration_ns(duration_ns: u64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let mut rest_ns = duration_ns;
    let mut text = String::new();
    for (unit_ns, name) in UNITS {
        if rest_ns >= unit_ns {
            text += &format!("{}{name}", rest_ns / unit_ns);
            rest_ns %= unit_ns;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

fn with_prefix(value: u64, base: u64, prefixes: &[&str]) -> String {
    let mut value = value;
    let mut prefix = 0;
    while value != 0 && value.is_multiple_of(base) && prefix + 1 < prefixes.len() {
        value /= base;
        prefix += 1;
    }
    format!("{value}{}", prefixes[prefix])
}

fn decimal_prefix(unit: &str) -> (u64, &str) {
    let factor = match unit.chars().next() {
        Some('k' | 'K') => 1_000,
        Some('m' | 'M') => 1_000_000,
        Some('g' | 'G') => 1_000_000_000,
        Some('t' | 'T') => 1_000_000_000_000,
        _ => return (1, unit),
    };
    (factor, &unit[1..])
}

fn error(input: &str, quantity: &'static str, problem: String, example: &'static str) -> UnitError {
    UnitError {
        input: input.to_owned(),
        quantity,
        problem,
        example,
    }
}

fn no_number(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        "it is empty".to_owned()
    } else if text.starts_with('-') {
        "it is negative".to_owned()
    } else {
        "a number is missing where one should begin".to_owned()
    }
}

/// A decimal number as typed: `digits / 10^decimals`.
struct Number {
    digits: u128,
    decimals: u32,
}

/// Why a number with a unit is not a whole number of base units.
enum Inexact {
    Fraction,
    TooLarge,
}

impl Inexact {
    fn words(&self, base_unit: &str) -> String {
        match self {
            Inexact::Fraction => format!("it is not a whole number of {base_unit}"),
            Inexact::TooLarge => format!("it is more {base_unit} than 64 bits can hold"),
        }
    }
}

impl Number {
    /// The number at the start of `text`, and what follows it.
    fn take(text: &str) -> Option<(Number, &str)> {
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let fraction = fraction.trim_end_matches('0');
        // 19 digits before and 15 behind the point keep the product with any unit within 128 bits.
        let sane = !whole.is_empty()
            && whole.trim_start_matches('0').len() <= 20
            && fraction.len() <= 15
            && !fraction.contains('.');
        if !sane {
            return None;
        }
        Some((
            Number {
                digits: format!("{whole}{fraction}").parse().ok()?,
                decimals: u32::try_from(fraction.len()).ok()?,
            },
            rest,
        ))
    }

    fn times(&self, unit: u64) -> Result<u64, Inexact> {
        let divisor = 10u128.pow(self.decimals);
        let product = self
            .digits
            .checked_mul(u128::from(unit))
            .ok_or(Inexact::TooLarge)?;
        if !product.is_multiple_of(divisor) {
            return Err(Inexact::Fraction);
        }
        u64::try_from(product / divisor).map_err(|_| Inexact::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("1", 1),
            ("64", 64),
            ("64B", 64),
            ("64K", 65_536),
            ("64k", 65_536),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("1.5K", 1536),
            ("2M", 2 << 20),
            ("1G", 1 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn rates_are_decimal_bits() {
        for (text, bits_per_second) in [
            ("10G", 10_000_000_000),
            ("10Gbit/s", 10_000_000_000),
            ("10 Gbit/s", 10_000_000_000),
            ("2.5Gbps", 2_500_000_000),
            ("500M", 500_000_000),
            ("64k", 64_000),
            ("9600", 9600),
        ] {
            assert_eq!(parse_rate(text), Ok(bits_per_second), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, ns) in [
            ("10s", 10_000_000_000),
            ("500ms", 500_000_000),
            ("250us", 250_000),
            ("1m30s", 90_000_000_000),
            ("1h", 3_600_000_000_000),
            ("0.5s", 500_000_000),
            ("17ns", 17),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration_ns(text), Ok(ns), "{text}");
        }
    }

    #[test]
    fn counts_are_decimal() {
        assert_eq!(parse_count("10k"), Ok(10_000));
        assert_eq!(parse_count("1.5M"), Ok(1_500_000));
        assert!(parse_count("10ops").is_err());
    }

    #[test]
    fn errors_teach() {
        let text = |result: Result<u64, UnitError>| result.unwrap_err().to_string();
        assert_eq!(
            text(parse_size("64KB")),
            "\"64KB\" is not a size: KB could mean powers of 1000 or of 1024; write bytes, or K, \
             M, G for powers of 1024, for example 1500, 64K (= 65536) or 1.5M"
        );
        assert!(text(parse_rate("1GB/s")).contains("it is in bytes, and rates are in bits"));
        assert!(text(parse_duration_ns("10")).contains("the unit is missing"));
        assert!(text(parse_duration_ns("1s1m")).contains("smaller from left to right"));
        assert!(text(parse_duration_ns("1x")).contains("no time unit called \"x\""));
        assert!(text(parse_duration_ns("1s2")).contains("the unit is missing"));
        assert!(text(parse_size("-1")).contains("it is negative"));
        assert!(text(parse_size("")).contains("it is empty"));
        assert!(text(parse_size("K")).contains("a number is missing"));
        assert!(text(parse_size("0.3K")).contains("not a whole number of bytes"));
        assert!(text(parse_size("99999999999T")).contains("more bytes than 64 bits can hold"));
        assert!(text(parse_size("1.2.3")).contains("a number is missing"));
    }

    proptest! {
        #[test]
        fn what_is_formatted_parses_back(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            prop_assert_eq!(parse_size(&format_size(value)), Ok(value));
            prop_assert_eq!(parse_rate(&format_rate(value)), Ok(value));
            prop_assert_eq!(parse_count(&format_count(value)), Ok(value));
            prop_assert_eq!(parse_duration_ns(&format_duration_ns(value)), Ok(value));
        }

        #[test]
        fn round_values_parse_back(value in 0u64..2000, power in 0u32..5) {
            let bytes = value * 1024u64.pow(power);
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
            let bits = value * 1000u64.pow(power);
            prop_assert_eq!(parse_rate(&format_rate(bits)), Ok(bits));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (parse_size(&text), parse_rate(&text), parse_count(&text));
            let _ = parse_duration_ns(&text);
        }

        #[test]
        fn no_near_miss_panics(text in "[0-9.]{0,24}[kKMGTmsunihBbitp/µ ]{0,4}[0-9.]{0,4}[a-zµ]{0,2}") {
            let _ = (parse_size(&text), parse_rate(&text), parse_count(&text));
            let _ = parse_duration_ns(&text);
        }
    }
}

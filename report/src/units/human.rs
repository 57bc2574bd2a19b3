//! Quantities for reading: three significant digits and a unit, always separated by a space.

/// A latency: `850 ns`, `31.2 us`, `1.50 ms`, `2.00 s`.
pub fn human_ns(ns: f64) -> String {
    scaled(ns, 1000.0, &["ns", "us", "ms", "s"], Below::AsItIs)
}

/// A duration that a user set or waited for: `10 s`, `1.5 s`, `250 ms`, `90 s`.
///
/// Unlike [`human_ns`] without trailing zeros, for it is usually round.
pub fn human_duration_ns(ns: u64) -> String {
    let text = human_ns(ns as f64);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let trimmed = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{trimmed} {unit}")
}

/// A bit rate in decimal units: `9.41 Gbit/s`.
pub fn human_bit_rate(bits_per_second: f64) -> String {
    let units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
    scaled(bits_per_second, 1000.0, &units, Below::AsItIs)
}

/// A number of bytes in binary units: `1 B`, `64.0 KiB`, `1.50 MiB`.
pub fn human_bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    scaled(bytes, 1024.0, &units, Below::Whole)
}

/// A number or a rate of things, in decimal units, with a space where the unit follows: `93.4 k`,
/// `12.0`, `1.50 M`.
pub fn human_count(count: f64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "G", "T"], Below::AsItIs)
        .trim_end()
        .to_owned()
}

/// A share of one as a percentage: `43.1 %`.
pub fn human_percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

/// CPU use in cores: `0.87 cores`.
pub fn human_cores(cores: f64) -> String {
    format!("{cores:.2} cores")
}

/// A number of things: `1 round`, `12 rounds`.
pub fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(count))
}

/// All digits of a whole number in groups of three: `934,012`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How values too small for the second unit are written.
#[derive(Clone, Copy, PartialEq)]
enum Below {
    /// With decimals if they have any.
    AsItIs,
    /// Rounded to a whole number: there are no parts of a byte.
    Whole,
}

fn scaled(value: f64, base: f64, units: &[&str], below: Below) -> String {
    let mut unit = 0;
    let mut scaled = value;
    // The comparison is with the rounded value, so that 999.96 becomes 1.00 of the next unit and
    // not 1000 of this one.
    while three_digits_of(scaled).abs() >= base && unit + 1 < units.len() {
        scaled /= base;
        unit += 1;
    }
    let number = if unit == 0 && (below == Below::Whole || scaled == scaled.trunc()) {
        format!("{scaled:.0}")
    } else {
        three_digits(scaled)
    };
    format!("{number} {}", units[unit])
}

fn three_digits_of(value: f64) -> f64 {
    three_digits(value).parse().unwrap_or(value)
}

/// Three significant digits, and all digits before the point.
fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn things_are_one_or_many() {
        let texts = [0, 1, 2, 1_200].map(|count| counted(count, "round"));
        assert_eq!(texts, ["0 rounds", "1 round", "2 rounds", "1,200 rounds"]);
    }

    #[test]
    fn latencies() {
        for (ns, text) in [
            (0.0, "0 ns"),
            (1.0, "1 ns"),
            (12.34, "12.3 ns"),
            (850.0, "850 ns"),
            (999.6, "1.00 us"),
            (31_200.0, "31.2 us"),
            (1_500_000.0, "1.50 ms"),
            (999_900_000.0, "1.00 s"),
            (3_600e9, "3600 s"),
        ] {
            assert_eq!(human_ns(ns), text);
        }
    }

    #[test]
    fn durations() {
        for (ns, text) in [
            (10_000_000_000, "10 s"),
            (1_500_000_000, "1.5 s"),
            (250_000_000, "250 ms"),
            (90_000_000_000, "90 s"),
            (600_000_000_000, "600 s"),
            (10_003_000_000, "10 s"),
        ] {
            assert_eq!(human_duration_ns(ns), text);
        }
    }

    #[test]
    fn rates_bytes_and_counts() {
        assert_eq!(human_bit_rate(9.41e9), "9.41 Gbit/s");
        assert_eq!(human_bit_rate(0.0), "0 bit/s");
        assert_eq!(human_bytes(1.0), "1 B");
        assert_eq!(human_bytes(65_536.0), "64.0 KiB");
        assert_eq!(human_bytes(1023.9 * 1024.0), "1.00 MiB");
        assert_eq!(human_count(93_412.0), "93.4 k");
        assert_eq!(human_count(12.0), "12");
        assert_eq!(human_count(1.5), "1.50");
        assert_eq!(human_percent(0.4312), "43.1 %");
        assert_eq!(human_cores(0.871), "0.87 cores");
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(934_012), "934,012");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_within_half_a_percent(ns in 1.0f64..3.6e12) {
            let text = human_ns(ns);
            let (number, unit) = text.split_once(' ').unwrap();
            let factor = match unit { "ns" => 1.0, "us" => 1e3, "ms" => 1e6, _ => 1e9 };
            let shown: f64 = number.parse::<f64>().unwrap() * factor;
            prop_assert!((shown - ns).abs() <= ns * 0.005 + 0.005, "{ns} shown as {text}");
        }
    }
}

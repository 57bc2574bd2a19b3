//! From values to places on an axis, with ticks at round values.

/// A tick: where on the axis, 0 at its start and 1 at its end, and what stands there.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::html) struct Tick {
    pub(in crate::html) at: f64,
    /// Empty for a grid line without a label.
    pub(in crate::html) label: String,
}

/// One axis.
#[derive(Debug, Clone)]
pub(in crate::html) struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
    pub(in crate::html) ticks: Vec<Tick>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Linear,
    Logarithmic,
}

impl Scale {
    /// From a round value at or below `low` to one at or above `high`, with about `steps` steps.
    pub(in crate::html) fn linear(
        low: f64,
        high: f64,
        steps: u32,
        show: impl Fn(f64) -> String,
    ) -> Self {
        let span = if high > low { high - low } else { 1.0 };
        let step = round_up(span / f64::from(steps.max(1)));
        let first = (low / step).floor() as i64;
        let last = ((high / step - 1e-9).ceil() as i64).max(first + 1);
        let mut scale = Scale {
            kind: Kind::Linear,
            low: first as f64 * step,
            high: last as f64 * step,
            ticks: Vec::new(),
        };
        let values = (first..=last).map(|number| number as f64 * step);
        scale.ticks = values.map(|value| scale.tick(value, show(value))).collect();
        scale
    }

    /// A logarithmic axis over positive values, from a 1, 2 or 5 to a 1, 2 or 5.
    pub(in crate::html) fn logarithmic(low: f64, high: f64, show: impl Fn(f64) -> String) -> Self {
        let low = low.max(f64::MIN_POSITIVE);
        let low_round = round_down(low);
        let high_round = round_up(high.max(low * 1.01));
        let mut scale = Scale {
            kind: Kind::Logarithmic,
            low: low_round,
            high: high_round,
            ticks: Vec::new(),
        };
        let decades = (high_round / low_round).log10();
        let labelled: &[u32] = match decades {
            d if d <= 1.5 => &[1, 2, 3, 5, 7],
            d if d <= 3.5 => &[1, 2, 5],
            _ => &[1],
        };
        let first = low_round.log10().floor() as i32;
        let last = high_round.log10().ceil() as i32;
        for exponent in first..=last {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(exponent);
                let inside = value >= low_round * 0.999 && value <= high_round * 1.001;
                let is_labelled = labelled.contains(&digit);
                if inside && (is_labelled || decades <= 3.5) {
                    let label = if is_labelled {
                        show(value)
                    } else {
                        String::new()
                    };
                    scale.ticks.push(scale.tick(value, label));
                }
            }
        }
        scale
    }

    /// The percentile axis of HdrHistogram's plots: the logarithm of 1/(1 - quantile), so that each
    /// further nine takes the same space. It ends where the largest of `count` values is.
    pub(in crate::html) fn percentile(count: u64) -> Self {
        let high = count.max(10) as f64;
        let mut scale = Scale {
            kind: Kind::Logarithmic,
            low: 1.0,
            high,
            ticks: Vec::new(),
        };
        scale.ticks.push(scale.tick(1.0, "0 %".to_owned()));
        scale.ticks.push(scale.tick(2.0, "50 %".to_owned()));
        for nines in 1..=high.log10().floor() as usize {
            let label = match nines {
                1 => "90 %".to_owned(),
                2 => "99 %".to_owned(),
                _ => format!("99.{} %", "9".repeat(nines - 2)),
            };
            let at = scale.tick(10f64.powi(nines as i32), label);
            scale.ticks.push(at);
        }
        scale
    }

    /// Where `value` is, 0 to 1; values outside are moved to the edge.
    pub(in crate::html) fn at(&self, value: f64) -> f64 {
        let share = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Logarithmic => {
                (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
            }
        };
        share.clamp(0.0, 1.0)
    }

    fn tick(&self, value: f64, label: String) -> Tick {
        Tick {
            at: self.at(value),
            label,
        }
    }
}

/// The smallest 1, 2 or 5 times a power of ten that is not below `value`.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let found = steps.iter().find(|step| *step * power >= value * 0.999_999);
    found.unwrap_or(&10.0) * power
}

/// The largest 1, 2 or 5 times a power of ten that is not above `value`.
fn round_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [5.0, 2.0, 1.0];
    let found = steps.iter().find(|step| *step * power <= value * 1.000_001);
    found.unwrap_or(&1.0) * power
}

/// `20 k` instead of `20.0 k`: labels of round values need no decimals.
pub(in crate::html) fn trimmed(text: &str) -> String {
    let (number, unit) = match text.split_once(' ') {
        Some((number, unit)) => (number, Some(unit)),
        None => (text, None),
    };
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    match unit {
        Some(unit) => format!("{number} {unit}"),
        None => number.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<&str> {
        let labels = scale.ticks.iter().map(|tick| tick.label.as_str());
        labels.filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        let scale = Scale::linear(0.0, 93_700.0, 5, |value| format!("{value}"));
        assert_eq!(
            labels(&scale),
            ["0", "20000", "40000", "60000", "80000", "100000"]
        );
        assert_eq!(scale.at(50_000.0), 0.5);
        assert_eq!(scale.at(-5.0), 0.0);
        let scale = Scale::linear(-0.031, 0.012, 4, |value| format!("{value:.2}"));
        assert_eq!(labels(&scale), ["-0.04", "-0.02", "0.00", "0.02"]);
        // One value is an axis too.
        let scale = Scale::linear(0.0, 0.0, 4, |value| format!("{value}"));
        assert_eq!(labels(&scale), ["0", "0.5"]);
    }

    #[test]
    fn logarithmic_ticks_are_ones_twos_and_fives() {
        let show = |value: f64| format!("{value}");
        let scale = Scale::logarithmic(11.3, 900.0, show);
        assert_eq!(
            labels(&scale),
            ["10", "20", "50", "100", "200", "500", "1000"]
        );
        assert!((scale.at(100.0) - 0.5).abs() < 1e-9);
        let scale = Scale::logarithmic(1.0, 1e6, show);
        assert_eq!(labels(&scale).len(), 7);
    }

    #[test]
    fn every_nine_takes_the_same_space() {
        let scale = Scale::percentile(1_000_000);
        let shown = labels(&scale);
        assert_eq!(
            shown,
            [
                "0 %",
                "50 %",
                "90 %",
                "99 %",
                "99.9 %",
                "99.99 %",
                "99.999 %",
                "99.9999 %"
            ]
        );
        let at = |label: &str| {
            let mut ticks = scale.ticks.iter();
            ticks.find(|tick| tick.label == label).map(|tick| tick.at)
        };
        assert_eq!(at("0 %"), Some(0.0));
        assert!((at("99.9 %").unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(at("99.9999 %"), Some(1.0));
        assert_eq!(labels(&Scale::percentile(9_999)).last(), Some(&"99.9 %"));
    }

    #[test]
    fn labels_lose_their_zeros() {
        assert_eq!(trimmed("20.0 k"), "20 k");
        assert_eq!(trimmed("1.50 ms"), "1.5 ms");
        assert_eq!(trimmed("100 us"), "100 us");
        assert_eq!(trimmed("0"), "0");
    }
}

//! Ratios of pairs and what may be said about them, and their table in Markdown.

use std::fmt::Write;

/// Rates measured in turn: A, B, A, B ... Both in the same unit.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    /// Rates of A and B, one entry per pair.
    pub rates: Vec<(f64, f64)>,
}

/// Pairs below which nothing is concluded. With five, two equal programs give ratios all on one
/// side of 1 in 2 of 32 cases.
const PAIRS_MIN: usize = 5;

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Median of the ratios A / B of the pairs.
    pub median: f64,
    /// Smallest ratio of a pair.
    pub min: f64,
    /// Largest ratio of a pair.
    pub max: f64,
    /// Number of pairs.
    pub pairs: usize,
}

impl Pairs {
    /// Ratio A / B per pair, then median and spread; `None` without pairs.
    pub fn ratio(&self) -> Option<Ratio> {
        let mut ratios: Vec<f64> = self.rates.iter().map(|(a, b)| a / b).collect();
        let median = median(&mut ratios)?;
        Some(Ratio {
            median,
            min: ratios[0],
            max: ratios[ratios.len() - 1],
            pairs: ratios.len(),
        })
    }

    /// Median rates of A and of B.
    pub fn medians(&self) -> Option<(f64, f64)> {
        let (mut a, mut b): (Vec<f64>, Vec<f64>) = self.rates.iter().copied().unzip();
        Some((median(&mut a)?, median(&mut b)?))
    }
}

impl Ratio {
    /// What the spread allows to be said: a spread that includes 1 shows no difference.
    pub fn verdict(&self) -> &'static str {
        if self.pairs < PAIRS_MIN {
            "too few pairs"
        } else if self.min > 1.0 {
            "faster"
        } else if self.max < 1.0 {
            "slower"
        } else {
            "no difference"
        }
    }
}

/// Median of the values, which are left sorted; the mean of the middle two for an even count.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// One row of the result: an experiment that ran, or why it did not.
#[derive(Debug, Clone)]
pub struct Row {
    /// Name of the experiment.
    pub name: String,
    /// Unit of both rates.
    pub unit: &'static str,
    /// The ratio to reach, where the project has set one.
    pub target: Option<f64>,
    /// The rates, or the reason for their absence.
    pub outcome: Result<Pairs, String>,
    /// The exact command lines of the first pair.
    pub commands: Vec<String>,
}

/// The table of all rows, then the commands of each.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| experiment | A | B | unit | A / B, median | spread of pairs | verdict | target |\n\
         |---|---:|---:|---|---:|---|---|---|\n",
    );
    for row in rows {
        text.push_str(&table_line(row));
    }
    text.push_str("\n### Commands\n\nThose of the first pair; ports change from run to run.\n");
    for row in rows.iter().filter(|row| !row.commands.is_empty()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n**{}**\n\n```text\n", row.name);
        for command in &row.commands {
            text.push_str(command);
            text.push('\n');
        }
        text.push_str("```\n");
    }
    text
}

fn table_line(row: &Row) -> String {
    let found = match &row.outcome {
        Ok(pairs) => pairs.ratio().zip(pairs.medians()),
        Err(reason) => {
            let reason = reason.replace('|', "/").replace('\n', " ");
            return format!(
                "| {} | | | {} | | | FAILED: {reason} | |\n",
                row.name, row.unit
            );
        }
    };
    let Some((ratio, (a, b))) = found else {
        return format!(
            "| {} | | | {} | | | FAILED: no pair | |\n",
            row.name, row.unit
        );
    };
    let target = match row.target {
        None => String::new(),
        Some(target) if ratio.median >= target => format!("{target:.2}: reached"),
        Some(target) => format!("{target:.2}: **missed**"),
    };
    format!(
        "| {} | {} | {} | {} | {:.3} | {:.3} .. {:.3} | {} | {target} |\n",
        row.name,
        grouped(a),
        grouped(b),
        row.unit,
        ratio.median,
        ratio.min,
        ratio.max,
        ratio.verdict(),
    )
}

/// A whole number with a thin grouping of its digits: `12 345`.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_ratios_is_not_the_ratio_of_medians() {
        let pairs = Pairs {
            rates: vec![(10.0, 10.0), (30.0, 20.0), (20.0, 10.0)],
        };
        let ratio = pairs.ratio().expect("three pairs");
        assert_eq!((ratio.median, ratio.min, ratio.max), (1.5, 1.0, 2.0));
        assert_eq!(ratio.verdict(), "too few pairs");
        assert_eq!(Ratio { pairs: 5, ..ratio }.verdict(), "no difference");
        assert_eq!(pairs.medians(), Some((20.0, 10.0)));
        assert_eq!(Pairs::default().ratio(), None);
        assert_eq!(median(&mut [1.0, 4.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn rows_say_verdict_target_and_failure() {
        let row = |a: f64, target, outcome: Option<String>| Row {
            name: "x".into(),
            unit: "transactions/s",
            target,
            outcome: outcome.map_or(
                Ok(Pairs {
                    rates: vec![(a, 1000.0); PAIRS_MIN],
                }),
                Err,
            ),
            commands: vec!["a b".into()],
        };
        let text = markdown(&[
            row(1_234_567.0, Some(0.95), None),
            row(900.0, Some(0.95), None),
            row(0.0, None, Some("no | such tool".into())),
        ]);
        assert!(text.contains("| 1 234 567 | 1 000 |"), "{text}");
        assert!(text.contains("faster | 0.95: reached |"), "{text}");
        assert!(text.contains("slower | 0.95: **missed** |"), "{text}");
        assert!(text.contains("FAILED: no / such tool"), "{text}");
        assert!(text.contains("```text\na b\n```"), "{text}");
    }
}

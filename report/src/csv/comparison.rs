//! A comparison as CSV in long form: every number that was compared, and what came of it.
//!
//! Columns: `cell` and `arm` (their labels), `round` (its number, `discarded` before those that do
//! not count, or `all` for what is about all counted rounds), `metric` (as in the JSON),
//! `statistic` (`value` for the number of a round; `median`, `change`, `confidence_low` and so on,
//! as in the JSON), `value`. Units are in the metric names; changes are shares of the baseline.

use super::row;
use crate::comparison::{ArmEffect, Cell, Comparison, Metric, MetricAnalysis};
use crate::document::Finite;

/// The column names.
pub const HEADER: &str = "cell,arm,round,metric,statistic,value";

/// The runs and the analysis of every cell as CSV.
pub fn render(comparison: &Comparison) -> String {
    let mut text = format!("{HEADER}\r\n");
    for cell in &comparison.cells {
        run_rows(cell, &mut text);
        let metrics = cell.analysis.iter().flat_map(|analysis| &analysis.metrics);
        for metric in metrics {
            for each in &metric.arms {
                effect_rows(cell, metric, each, &mut text);
            }
        }
        verdict_rows(cell, &mut text);
    }
    text
}

fn label(cell: &Cell, arm: u32) -> &str {
    cell.arms.get(arm as usize).map_or("-", |arm| &arm.label)
}

fn run_rows(cell: &Cell, text: &mut String) {
    for round in &cell.rounds {
        for run in &round.runs {
            let counts = !round.discarded && run.counts();
            let number = match counts {
                true => round.number.to_string(),
                false => format!("discarded {}", round.number),
            };
            for metric in Metric::ALL {
                let Some(value) = run.value(metric) else {
                    continue;
                };
                let arm = label(cell, run.arm);
                let value = value.to_string();
                *text += &row(&[&cell.label, arm, &number, metric.name(), "value", &value]);
            }
        }
    }
}

fn effect_rows(cell: &Cell, metric: &MetricAnalysis, each: &ArmEffect, text: &mut String) {
    let arm = label(cell, each.arm);
    let mut say = |statistic: &str, value: &str| {
        *text += &row(&[
            &cell.label,
            arm,
            "all",
            metric.metric.name(),
            statistic,
            value,
        ]);
    };
    let number = |value: Finite| value.get().to_string();
    if let Some(median) = each.median {
        say("median", &number(median));
    }
    if let Some(effect) = &each.effect {
        say("rounds", &effect.rounds.to_string());
        for (name, value) in [
            ("change", effect.change),
            ("confidence_low", effect.confidence_low),
            ("confidence_high", effect.confidence_high),
            ("confidence_level", effect.confidence_level),
            ("p_value", effect.p_value),
            ("p_adjusted", effect.p_adjusted),
            ("detectable", effect.detectable),
            ("threshold", metric.threshold),
        ] {
            say(name, &number(value));
        }
    }
    if let Some(verdict) = each.verdict {
        say("verdict", verdict.name());
    }
    if let Some(reason) = &each.reason {
        say("reason", reason);
    }
}

/// The answers: `metric` is the one that decides.
fn verdict_rows(cell: &Cell, text: &mut String) {
    for verdict in cell.analysis.iter().flat_map(|analysis| &analysis.verdicts) {
        let (arm, metric) = (label(cell, verdict.arm), verdict.decided_by.name());
        for (statistic, value) in [
            ("answer", verdict.verdict.name()),
            ("answer_words", &verdict.words),
        ] {
            *text += &row(&[&cell.label, arm, "all", metric, statistic, value]);
        }
    }
}

//! Verdicts in plain sentences.

use super::analysis::{Analysis, ArmVerdict, Effect, MetricAnalysis, Verdict};
use super::cell::Cell;
use super::document::Comparison;
use super::judge::deciding_metric;
use super::method::Method;
use super::metric::Metric;
use super::obstacles::Obstacles;
use crate::document::Status;
use crate::units::human_percent;

/// The answer for each arm that is compared.
pub(super) fn verdicts(
    cell: &Cell,
    method: &Method,
    obstacles: &Obstacles,
    analysis: &Analysis,
) -> Vec<ArmVerdict> {
    let of = |arm: usize| {
        let bound = obstacles.bound(arm);
        let preferred = deciding_metric(cell, method, bound.is_some());
        let decisive = analysis.metric(preferred);
        let decisive = decisive.or_else(|| analysis.metrics.first())?;
        let verdict = decisive.arms[arm].verdict?;
        let mut words = sentence(cell, method, decisive, arm)?;
        let left_to_others = method.declared_metrics.is_empty() && verdict != Verdict::Invalid;
        if let Some(bound) = bound.filter(|_| left_to_others) {
            words += &format!(" The rate cannot say it ({bound}).");
        }
        Some(ArmVerdict {
            arm: u32::try_from(arm).ok()?,
            decided_by: decisive.metric,
            verdict,
            words,
        })
    };
    cell.candidates().filter_map(of).collect()
}

/// What `metric` says of `arm`, in one sentence; `None` for the baseline.
pub fn sentence(
    cell: &Cell,
    method: &Method,
    metric: &MetricAnalysis,
    arm: usize,
) -> Option<String> {
    let each = metric.arms.get(arm)?;
    let base = &cell.arms[cell.baseline()?].label;
    let label = &cell.arms[arm].label;
    let title = metric.metric.title();
    let figures = each.effect.as_ref().map_or_else(String::new, |effect| {
        format!(": {title} {}", figures(effect))
    });
    let reason = each.reason.as_deref().unwrap_or("");
    Some(match each.verdict? {
        verdict @ (Verdict::Faster | Verdict::Slower) => {
            format!(
                "{label} {} {base}{figures}.",
                comparative(metric.metric, verdict)
            )
        }
        Verdict::Equivalent => format!(
            "{label} and {base} differ by less than {}{figures}.",
            human_percent(method.equivalence_margin.get())
        ),
        Verdict::Inconclusive => {
            format!("Nothing can be said of {label} against {base}{figures}; {reason}.")
        }
        Verdict::Invalid => format!("Invalid for {label} against {base}, {title}: {reason}."),
    })
}

/// `+3.4 % (96.1 % CI +2.1 % to +4.7 %, adjusted p = 0.003)`.
pub fn figures(effect: &Effect) -> String {
    format!(
        "{} ({} CI {} to {}, adjusted p = {})",
        signed_percent(effect.change.get()),
        human_percent(effect.confidence_level.get()),
        signed_percent(effect.confidence_low.get()),
        signed_percent(effect.confidence_high.get()),
        p_value(effect.p_adjusted.get())
    )
}

/// The levels that intervals have: `95.8 %`, or `93.8 % to 96.1 %` where arms have lost rounds; `None`
/// where there is no interval.
pub(crate) fn levels<'a>(effects: impl Iterator<Item = &'a Effect>) -> Option<String> {
    let levels: Vec<f64> = effects
        .map(|effect| effect.confidence_level.get())
        .collect();
    let lowest = human_percent(levels.iter().copied().reduce(f64::min)?);
    let highest = human_percent(levels.iter().copied().reduce(f64::max)?);
    Some(match lowest == highest {
        true => lowest,
        false => format!("{lowest} to {highest}"),
    })
}

/// A share as a percentage with its sign: `+3.4 %`.
pub fn signed_percent(share: f64) -> String {
    let digits = if share.abs() < 0.01 { 2 } else { 1 };
    format!("{:+.digits$} %", share * 100.0)
}

/// A p-value: `0.003`, `< 0.0001`.
pub fn p_value(p: f64) -> String {
    match p {
        p if p < 0.0001 => "< 0.0001".to_owned(),
        p if p < 0.001 => format!("{p:.4}"),
        p => format!("{p:.3}"),
    }
}

/// `is faster than`, in the words of the metric.
fn comparative(metric: Metric, verdict: Verdict) -> &'static str {
    let better = verdict == Verdict::Faster;
    match (metric.is_rate() || metric.is_latency(), better) {
        (true, true) => "is faster than",
        (true, false) => "is slower than",
        (false, true) => "needs less CPU than",
        (false, false) => "needs more CPU than",
    }
}

/// Why there is no round that counts.
fn why_nothing(comparison: &Comparison) -> &str {
    match comparison.errors.first() {
        Some(error) => error.text.trim_end_matches('.'),
        None if comparison.status == Status::Interrupted => {
            "it was interrupted before a round that counts was complete"
        }
        None => "nothing was compared",
    }
}

/// A verdict in the words of the metric: who uses less CPU is not therefore faster.
pub fn verdict_in(metric: Metric, verdict: Verdict) -> &'static str {
    let cpu = !metric.is_rate() && !metric.is_latency();
    match verdict {
        Verdict::Faster if cpu => "less CPU",
        Verdict::Slower if cpu => "more CPU",
        other => other.name(),
    }
}

/// The code of the warning that two saved results are not of the same work.
pub const OTHER_WORK: &str = "other_work";

/// What a comparison found, in one sentence: how many arms are faster, slower and so on. Before it stands what
/// makes the whole comparison one of unlike things.
pub fn headline(comparison: &Comparison) -> String {
    let found = found(comparison);
    let mut warnings = comparison.warnings.iter();
    match warnings.find(|warning| warning.code == OTHER_WORK) {
        Some(warning) => {
            let mut first = warning.text.clone();
            if let Some(start) = first.get_mut(..1) {
                start.make_ascii_uppercase();
            }
            format!("{first}. {found}")
        }
        None => found,
    }
}

fn found(comparison: &Comparison) -> String {
    let verdicts: Vec<&ArmVerdict> = comparison
        .cells
        .iter()
        .filter_map(|cell| cell.analysis.as_ref())
        .flat_map(|analysis| &analysis.verdicts)
        .collect();
    if verdicts.is_empty() || !comparison.has_rounds() {
        return format!("No verdict: {}.", why_nothing(comparison));
    }
    if let [only] = verdicts[..] {
        return only.words.clone();
    }
    let order = [
        Verdict::Faster,
        Verdict::Slower,
        Verdict::Equivalent,
        Verdict::Inconclusive,
        Verdict::Invalid,
    ];
    let mut phrases: Vec<(&str, u32)> = Vec::new();
    for verdict in order {
        for each in verdicts.iter().filter(|each| each.verdict == verdict) {
            let phrase = verdict_in(each.decided_by, verdict);
            match phrases.iter_mut().find(|(known, _)| *known == phrase) {
                Some((_, count)) => *count += 1,
                None => phrases.push((phrase, 1)),
            }
        }
    }
    let counts: Vec<String> = phrases
        .iter()
        .map(|(phrase, count)| format!("{count} {phrase}"))
        .collect();
    format!(
        "{} comparisons with the baseline: {}.",
        verdicts.len(),
        counts.join(", ")
    )
}

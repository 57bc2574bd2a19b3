//! The verdicts.

use super::analysis::{ArmEffect, Effect, MetricAnalysis, Verdict};
use super::cell::{ArmRole, Cell};
use super::method::Method;
use super::metric::{Better, Metric};
use super::obstacles::{Drifting, Obstacles, no_noise_floor, reaches_level};
use super::rounds::rounds_needed;
use super::sample::Sample;
use crate::document::{Finite, Pace, Unknown};
use crate::units::human_percent;

/// Why there is no effect.
const FEW: &str = "fewer than 2 rounds have both values, so that no interval is possible";

/// What decides about an arm: what was declared to; else, in the order of preference, the first primary
/// metric, at a fixed rate the latency, and CPU where the side that is not varied limits both.
pub(super) fn deciding_metric(cell: &Cell, method: &Method, bound: bool) -> Metric {
    let first = cell
        .primary_metrics
        .first()
        .copied()
        .unwrap_or(Metric::Rate);
    if !method.declared_metrics.is_empty() {
        return first;
    }
    let open_loop = cell
        .baseline()
        .is_some_and(|baseline| cell.arms[baseline].plan.pace != Pace::Closed);
    if bound && (first.is_rate() || first.is_latency()) {
        Metric::cpu(cell.workload, method.vary)
    } else if open_loop && first.is_rate() {
        Metric::LatencyP99
    } else {
        first
    }
}

/// `metric` with a verdict for every arm but the baseline.
pub(super) fn metric(
    cell: &Cell,
    method: &Method,
    obstacles: &Obstacles,
    comparisons: u32,
    mut metric: MetricAnalysis,
) -> MetricAnalysis {
    let control = cell.control().map(|control| &metric.arms[control]);
    let control_differs = control
        .and_then(|control| control.effect)
        .and_then(|effect| control_differs(method, &effect));
    let no_noise_floor = control
        .filter(|_| method.interleaved)
        .and_then(|control| no_noise_floor(cell, method, control));
    let question = Question {
        cell,
        method,
        metric: metric.metric,
        threshold: metric.threshold.get(),
        noise_floor: metric.noise_floor.map_or(0.0, Finite::get),
        comparisons,
    };
    for each in &mut metric.arms {
        let arm = each.arm as usize;
        let role = cell.arms[arm].role;
        if role != ArmRole::Baseline {
            // Where the arm itself has too few rounds, that is the reason to give.
            let could_be_judged = each
                .effect
                .is_some_and(|effect| reaches_level(method, &effect));
            let no_noise_floor = no_noise_floor.clone().filter(|_| could_be_judged);
            let against = obstacles
                .against(arm, question.metric)
                .or(no_noise_floor)
                .or_else(|| control_differs.clone());
            let (verdict, reason) = question.judge(each, against, obstacles.drifting(arm));
            (each.verdict, each.reason) = (Some(verdict), reason);
        }
        each.unknown = unknown(each, role);
    }
    metric
}

/// The baseline differs from its own copy by more than what is called a difference.
///
/// That a difference below the practical threshold is significant is no obstacle: no verdict rests
/// on differences so small.
fn control_differs(method: &Method, effect: &Effect) -> Option<String> {
    let differs = effect.is_significant(method.alpha.get())
        && effect.exceeds(method.practical_threshold.get());
    differs.then(|| {
        format!(
            "the baseline differs from its own copy by {:+.1} %, so that something other than the \
             arms makes a difference here",
            effect.change.get() * 100.0
        )
    })
}

/// What the arms of a cell are asked in one metric.
struct Question<'a> {
    cell: &'a Cell,
    method: &'a Method,
    metric: Metric,
    /// Nothing up to this share is called a difference.
    threshold: f64,
    noise_floor: f64,
    /// How many such questions share the error rate.
    comparisons: u32,
}

impl Question<'_> {
    fn judge(
        &self,
        each: &ArmEffect,
        against: Option<String>,
        drifting: Option<&Drifting>,
    ) -> (Verdict, Option<String>) {
        if let Some(reason) = against {
            return (Verdict::Invalid, Some(reason));
        }
        let Some(effect) = &each.effect else {
            let label = &self.cell.arms[each.arm as usize].label;
            return match each.values.is_empty() {
                true => (Verdict::Invalid, Some(self.no_values(label))),
                false => (Verdict::Inconclusive, Some(FEW.to_owned())),
            };
        };
        let difference = self.difference(effect);
        if let Some(drifting) = drifting
            && !(difference.is_some() && self.stands_clear(effect, drifting))
        {
            return (Verdict::Invalid, Some(drifting.words.clone()));
        }
        if let Some(verdict) = difference {
            return (verdict, None);
        }
        if self.noise_floor <= self.margin() && self.is_equivalent(each.arm as usize) {
            return (Verdict::Equivalent, None);
        }
        (Verdict::Inconclusive, Some(self.undecided(effect)))
    }

    /// Which way the arm differs; `None` if it cannot be said to.
    fn difference(&self, effect: &Effect) -> Option<Verdict> {
        if !effect.is_significant(self.method.alpha.get()) || !effect.exceeds(self.threshold) {
            return None;
        }
        let more_is_better = self.metric.better() == Better::Higher;
        Some(match (effect.change.get() > 0.0) == more_is_better {
            true => Verdict::Faster,
            false => Verdict::Slower,
        })
    }

    /// Whether the whole interval lies beyond the threshold, and by more than the drift: however the runs
    /// would have gone on, the difference would have been one.
    fn stands_clear(&self, effect: &Effect, drifting: &Drifting) -> bool {
        let (low, high) = (
            effect.confidence_low.get().ln_1p(),
            effect.confidence_high.get().ln_1p(),
        );
        low.max(-high) > self.threshold.ln_1p() + drifting.log
    }

    /// Why an arm has no value in any round.
    fn no_values(&self, label: &str) -> String {
        match self.metric.least_values() {
            0 | 1 => format!("{label} has no such values"),
            least => format!(
                "the runs of {label} have fewer than {least} latencies each, too few for this percentile; \
                 measure longer"
            ),
        }
    }

    fn margin(&self) -> f64 {
        self.method.equivalence_margin.get()
    }

    /// Whether the effect is known to be small, with all comparisons of the cell together wrong at most
    /// as often as the method allows: two one-sided tests each (Schuirmann, "A Comparison of the Two
    /// One-Sided Tests Procedure", Journal of Pharmacokinetics and Biopharmaceutics 15 (1987)), at an
    /// equal share of the error rate (Bonferroni). Never by a narrower interval than the one shown.
    fn is_equivalent(&self, arm: usize) -> bool {
        let alpha = self.method.alpha.get();
        let level = 1.0 - (2.0 * alpha / f64::from(self.comparisons.max(1))).min(alpha);
        let interval = || Sample::of(self.cell, self.method, arm, self.metric)?.interval(level);
        interval().is_some_and(|interval| {
            let farthest = interval.low.abs().max(interval.high.abs());
            interval.level >= level - 1e-12 && farthest <= self.margin().ln_1p()
        })
    }

    /// Why an effect is neither a difference nor none.
    fn undecided(&self, effect: &Effect) -> String {
        let rounds = effect.rounds;
        if effect.is_significant(self.method.alpha.get()) {
            return format!(
                "it is not chance, but not more than {} either, which is what noise or indifference \
                 amounts to here",
                human_percent(self.threshold)
            );
        }
        let needed = rounds_needed(self.method, self.comparisons);
        if rounds < needed {
            return format!(
                "{rounds} rounds are too few to tell one of {} comparisons from chance, which takes \
                 {needed}",
                self.comparisons
            );
        }
        format!(
            "{rounds} rounds of this noise find a difference of {} four times in five",
            human_percent(effect.detectable.get())
        )
    }
}

fn unknown(each: &ArmEffect, role: ArmRole) -> Vec<Unknown> {
    let mut unknown = Vec::new();
    let mut say = |is_null: bool, field: &str, reason: &str| {
        if is_null {
            unknown.push(Unknown::new(field, reason));
        }
    };
    let baseline = role == ArmRole::Baseline;
    let no_effect = match baseline {
        true => "it is the baseline",
        false => FEW,
    };
    say(
        each.median.is_none(),
        "median",
        "no counted run has a value",
    );
    say(each.effect.is_none(), "effect", no_effect);
    say(each.verdict.is_none(), "verdict", "it is the baseline");
    let reason = if baseline {
        "it is the baseline"
    } else {
        "the verdict needs none"
    };
    say(each.reason.is_none(), "reason", reason);
    unknown
}

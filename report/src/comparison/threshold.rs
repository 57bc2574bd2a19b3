//! Limits that a comparison must keep, for `--fail-on`: `rate<-5%`, `p99>+10%`, `cpu_per_op>3%`.

use super::analysis::{Analysis, ArmEffect, MetricAnalysis, Verdict};
use super::cell::Cell;
use super::document::Comparison;
use super::method::Method;
use super::metric::{Metric, MetricName, Vary};
use super::obstacles::reaches_level;
use super::words;
use crate::document::{Finite, Workload};

/// A limit on the change of a metric against the baseline.
///
/// It is exceeded where the measurement supports that it is, and the verdict is what supports: the
/// change in that metric is a difference (`faster` or `slower`: significant after adjustment, larger
/// than noise and indifference) **and** its estimate lies beyond the limit. The confidence interval
/// need not lie beyond it as a whole: then a loss of 6 % would pass a limit of 5 % in most
/// comparisons. It is kept where the verdict is not `invalid` and the whole interval keeps it: arms that
/// count as equivalent may differ by more than a narrow limit, and where a comparison is inconclusive the
/// interval may still exclude a wide one, if there are rounds enough for an interval of the level asked for.
/// Everything else exceeds nothing and keeps nothing: it is undecided, and said so.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    text: String,
    metric: MetricName,
    limit: f64,
    above: bool,
}

/// Text that is no threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a threshold: {problem}; write for example rate<-5%, p99>+10% or cpu_per_op>3%"
)]
pub struct ThresholdError {
    text: String,
    problem: String,
}

/// What a comparison says of a threshold, arm by arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether the limit is kept.
    pub state: OutcomeState,
    /// In a sentence: threshold, cell, arm, and what was found.
    pub words: String,
}

/// Whether a limit is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeState {
    /// It is kept.
    Kept,
    /// It is exceeded.
    Exceeded,
    /// The measurement does not allow to say.
    Undecided,
}

impl std::str::FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let fail = |problem: String| ThresholdError {
            text: text.to_owned(),
            problem,
        };
        let operator = text
            .find(['<', '>'])
            .ok_or_else(|| fail("it has neither < nor >".to_owned()))?;
        let (name, rest) = (text[..operator].trim(), text[operator + 1..].trim());
        let above = text[operator..].starts_with('>');
        let metric = name.parse().map_err(fail)?;
        let number = rest
            .strip_suffix('%')
            .ok_or_else(|| fail("the limit is no percentage".to_owned()))?;
        let percent: f64 = number
            .trim()
            .parse()
            .ok()
            .filter(|percent: &f64| percent.is_finite())
            .ok_or_else(|| fail(format!("\"{}\" is no number", number.trim())))?;
        if (above && percent < 0.0) || (!above && percent > 0.0) {
            return Err(fail(
                "a limit on a fall is negative (rate<-5%), one on a rise positive (p99>+10%)"
                    .to_owned(),
            ));
        }
        Ok(Threshold {
            text: text.to_owned(),
            metric,
            limit: percent / 100.0,
            above,
        })
    }
}

impl Threshold {
    /// As the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The metric that it is on in a comparison of `workload` that varies `vary`.
    pub fn metric(&self, workload: Workload, vary: Vary) -> Metric {
        self.metric.of(workload, vary)
    }

    /// What every arm of every analysed cell says of it.
    pub fn check(&self, comparison: &Comparison) -> Vec<Outcome> {
        let vary = comparison.method.vary;
        let has = |cell: &&Cell| self.metric(cell.workload, vary).is_of(cell.workload);
        // It is on those questions that have the metric; where none has, that is said.
        let (having, lacking): (Vec<_>, Vec<_>) = comparison.cells.iter().partition(has);
        let asked = if having.is_empty() { lacking } else { having };
        let of_cell = |cell: &Cell| match &cell.analysis {
            Some(analysis) => self.check_cell(cell, &comparison.method, analysis),
            None => Vec::new(),
        };
        asked.into_iter().flat_map(of_cell).collect()
    }

    fn check_cell(&self, cell: &Cell, method: &Method, analysis: &Analysis) -> Vec<Outcome> {
        let metric = analysis.metric(self.metric(cell.workload, method.vary));
        let of_arm = |arm: usize| match metric {
            Some(metric) => self.check_arm(cell, method, metric, arm),
            None => Outcome {
                state: OutcomeState::Undecided,
                words: format!(
                    "{}: undecided in {} for {}, for no run has this metric",
                    self.text, cell.label, cell.arms[arm].label
                ),
            },
        };
        cell.candidates().map(of_arm).collect()
    }

    fn check_arm(
        &self,
        cell: &Cell,
        method: &Method,
        metric: &MetricAnalysis,
        arm: usize,
    ) -> Outcome {
        let each = &metric.arms[arm];
        let state = self.state(method, each);
        let word = match state {
            OutcomeState::Kept => "kept",
            OutcomeState::Exceeded => "EXCEEDED",
            OutcomeState::Undecided => "undecided",
        };
        let found = words::sentence(cell, method, metric, arm).unwrap_or_default();
        Outcome {
            state,
            words: format!("{}: {word} in {}: {found}", self.text, cell.label),
        }
    }
}

impl Threshold {
    fn state(&self, method: &Method, each: &ArmEffect) -> OutcomeState {
        let (Some(effect), Some(verdict)) = (&each.effect, each.verdict) else {
            return OutcomeState::Undecided;
        };
        let beyond = |share: Finite| match self.above {
            true => share.get() > self.limit,
            false => share.get() < self.limit,
        };
        let worst = match self.above {
            true => effect.confidence_high,
            false => effect.confidence_low,
        };
        match verdict {
            Verdict::Faster | Verdict::Slower if beyond(effect.change) => OutcomeState::Exceeded,
            Verdict::Faster | Verdict::Slower | Verdict::Equivalent if !beyond(worst) => {
                OutcomeState::Kept
            }
            Verdict::Inconclusive if reaches_level(method, effect) && !beyond(worst) => {
                OutcomeState::Kept
            }
            _ => OutcomeState::Undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write() {
        for (text, metric, limit, above) in [
            ("rate<-5%", Metric::Rate, -0.05, false),
            ("p99>+10%", Metric::LatencyP99, 0.1, true),
            (" p99.9 > 2.5 % ", Metric::LatencyP999, 0.025, true),
            ("cpu_per_op>3%", Metric::TesteeCpuPerOperation, 0.03, true),
            (
                "load_cpu_per_kib>0%",
                Metric::LoadCpuPerOperation,
                0.0,
                true,
            ),
            ("latency_p50_ns>1%", Metric::LatencyP50, 0.01, true),
        ] {
            let found: Threshold = text.parse().unwrap();
            assert_eq!(found.metric(Workload::Rr, Vary::Testee), metric, "{text}");
            assert_eq!((found.limit, found.above), (limit, above), "{text}");
        }
        let rate: Threshold = "rate<-5%".parse().unwrap();
        assert_eq!(
            rate.metric(Workload::Stream, Vary::Testee),
            Metric::Throughput
        );
    }

    #[test]
    fn what_is_no_threshold_is_refused_with_the_reason() {
        for (text, problem) in [
            ("rate=-5%", "it has neither < nor >"),
            ("speed<-5%", "there is no metric \"speed\""),
            ("rate<-5", "the limit is no percentage"),
            ("rate<-x%", "\"-x\" is no number"),
            ("rate<5%", "a limit on a fall is negative"),
            ("p99>-5%", "a limit on a fall is negative"),
            ("p99>inf%", "\"inf\" is no number"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}

//! What follows from the rounds of a cell. Everything here can be computed from the rounds again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metric::{Better, Metric};
use crate::document::{Finite, Message, Unknown};

/// What follows from the rounds of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Analysis {
    /// Rounds that count. A run in them that does not count is missing from its pairs only. Of results
    /// that were not interleaved: rounds of the shorter one.
    pub rounds: u32,
    /// Comparisons that share the error rate: arms times primary metrics.
    pub comparisons: u32,
    /// Rounds below which no difference, however large, can be told from chance:
    /// `1 + log2(comparisons / alpha)`, rounded up. Of results that were not interleaved: rounds of
    /// each, by the smallest p-value that the Mann-Whitney test can give.
    pub rounds_needed: u32,
    /// One per arm other than baseline and control: the answer.
    pub verdicts: Vec<ArmVerdict>,
    /// One per metric that the runs have, primary ones first.
    pub metrics: Vec<MetricAnalysis>,
    /// One per arm: whether its runs were steady.
    pub steadiness: Vec<Steadiness>,
    /// What a reader must know of this cell.
    pub warnings: Vec<Message>,
}

/// The answer for one arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArmVerdict {
    /// Number of the arm.
    pub arm: u32,
    /// The metric that decides: the first primary one, unless the side that is not varied limits
    /// it.
    pub decided_by: Metric,
    /// The answer.
    pub verdict: Verdict,
    /// The answer in one plain sentence, with its reason.
    pub words: String,
}

/// What may be said of an arm against the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Better than the baseline: a higher rate, a lower latency, less CPU.
    Faster,
    /// Worse than the baseline.
    Slower,
    /// The whole interval for the effect, at a level that all comparisons share, lies within the
    /// equivalence margin, and the noise floor does too.
    Equivalent,
    /// Nothing of these can be said; the effect may be anything within the confidence interval.
    Inconclusive,
    /// The measurement does not allow a statement; the words say why.
    Invalid,
}

impl Verdict {
    /// The name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Equivalent => "equivalent",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Invalid => "invalid",
        }
    }
}

/// One metric over all arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricAnalysis {
    /// Which metric.
    pub metric: Metric,
    /// Unit of its values: `1/s`, `bit/s` or `ns`.
    pub unit: String,
    /// Which way it is better.
    pub better: Better,
    /// True if it was declared before the first round; false if it is exploratory.
    pub primary: bool,
    /// How p-values are adjusted for their number.
    pub adjustment: Adjustment,
    /// Half the width of the control's confidence interval, as a share: differences of this size
    /// come from nowhere. Null without a control.
    pub noise_floor: Option<Finite>,
    /// An effect up to this share is not called faster or slower: the larger of the practical
    /// threshold and the noise floor.
    pub threshold: Finite,
    /// One per arm, in their order; the baseline has values and no effect.
    pub arms: Vec<ArmEffect>,
}

/// How p-values are adjusted for their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Adjustment {
    /// Holm's step-down method over arms and primary metrics: bounds the chance of a single wrong
    /// verdict in the cell.
    Holm,
    /// Benjamini and Hochberg's method over the exploratory comparisons: bounds the share of wrong
    /// ones among those found.
    BenjaminiHochberg,
}

/// One arm in one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArmEffect {
    /// Number of the arm.
    pub arm: u32,
    /// Its value in each counted round, in order.
    pub values: Vec<Finite>,
    /// Median of the values.
    pub median: Option<Finite>,
    /// Against the baseline; null for the baseline, or with too few rounds.
    pub effect: Option<Effect>,
    /// What may be said in this metric; null for the baseline.
    pub verdict: Option<Verdict>,
    /// Why, in words, where the verdict is `invalid` or `inconclusive`.
    pub reason: Option<String>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// An effect: the ratio to the baseline, minus one. 0.034 is 3.4 % more than the baseline, whichever
/// way is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Effect {
    /// Rounds in which both the arm and the baseline have a value; of results that were not
    /// interleaved, the rounds of the shorter one.
    pub rounds: u32,
    /// The estimate: Hodges-Lehmann, of the logarithms of the ratios in each round.
    pub change: Finite,
    /// Lower end of the confidence interval (signed ranks, exact).
    pub confidence_low: Finite,
    /// Upper end of the confidence interval.
    pub confidence_high: Finite,
    /// The probability that the interval covers the effect, exactly: ranks are whole numbers, so
    /// that it is not exactly the level asked for.
    pub confidence_level: Finite,
    /// Chance of such a difference, or a larger one, if there is none: paired sign-flip test,
    /// two-sided.
    pub p_value: Finite,
    /// The same, adjusted for the number of comparisons.
    pub p_adjusted: Finite,
    /// The effect that so many rounds of such noise would find four times in five, as a share: found
    /// after adjustment for the number of comparisons, as the first of them, and larger than the
    /// threshold. In round figures: it supposes noise without tails.
    pub detectable: Finite,
}

/// Whether the runs of an arm were steady.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Steadiness {
    /// Number of the arm.
    pub arm: u32,
    /// Counted runs with a series long enough to judge.
    pub judged: u32,
    /// Those of them whose rate drifted beyond the limit.
    pub unsteady: u32,
    /// The median over the judged runs of the drift from start to end of the window, as a share.
    pub median_drift: Option<Finite>,
    /// How far the unsteady runs may be off, as a share: no more of the judged runs are farther off than
    /// `unsteady_limit` allows; 0 if no more than that are unsteady. What a verdict has to stand clear of.
    pub drift: Option<Finite>,
    /// The largest share of a window that the start-up transient took.
    pub longest_transient: Option<Finite>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

impl Effect {
    /// Half the width of the confidence interval of the logarithm, as a share: the same whether the
    /// arm is faster, slower or equal.
    pub fn half_width(&self) -> f64 {
        let width = self.confidence_high.get().ln_1p() - self.confidence_low.get().ln_1p();
        (width / 2.0).exp_m1()
    }

    /// Whether the estimate is more than `share` away from the baseline. Of the logarithms, so that
    /// the answer is the same whichever of the two is called the baseline: 1 % more is the inverse of
    /// 0.99 % less.
    pub fn exceeds(&self, share: f64) -> bool {
        self.change.get().ln_1p().abs() > share.ln_1p()
    }

    /// Whether the whole confidence interval is at most `share` away from the baseline, by logarithms
    /// too.
    pub fn lies_within(&self, share: f64) -> bool {
        let ends = [self.confidence_low, self.confidence_high];
        ends.iter()
            .all(|end| end.get().ln_1p().abs() <= share.ln_1p())
    }

    /// Whether the adjusted p-value is below `alpha`.
    pub fn is_significant(&self, alpha: f64) -> bool {
        self.p_adjusted.get() < alpha
    }
}

impl Analysis {
    /// The analysis of one metric.
    pub fn metric(&self, metric: Metric) -> Option<&MetricAnalysis> {
        self.metrics.iter().find(|each| each.metric == metric)
    }

    /// The answer for one arm.
    pub fn verdict(&self, arm: usize) -> Option<Verdict> {
        let verdicts = self.verdicts.iter();
        verdicts
            .filter(|each| each.arm as usize == arm)
            .map(|each| each.verdict)
            .next()
    }
}

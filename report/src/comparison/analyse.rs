//! From the rounds of a cell to what may be said of its arms.

use super::judge::{self, Obstacles};
use super::{
    Adjustment, Analysis, ArmEffect, ArmRole, ArmRun, Cell, Comparison, Effect, Method, Metric,
    MetricAnalysis, Steadiness, Verdict, doubts, words,
};
use crate::document::{Finite, Unknown};
use crate::statistics::{self, RankInterval, SplitMix64};

/// What follows from the rounds of `cell`, judged by `method`. An analysis that the cell already has
/// is not looked at, so that a saved document can be analysed again.
///
/// Per arm and metric: the logarithms of the ratios to the baseline, one per round in which both
/// runs count; their Hodges-Lehmann centre with the exact signed-rank interval; the sign-flip test,
/// adjusted by Holm over arms and primary metrics; the verdict by [`Verdict`]'s rules. Where runs were
/// not interleaved: the Hodges-Lehmann shift with the exact Mann-Whitney interval and test.
pub fn analyse(cell: &Cell, method: &Method) -> Analysis {
    let steadiness: Vec<Steadiness> = (0..cell.arms.len())
        .map(|arm| steadiness(cell, method, arm))
        .collect();
    let obstacles = Obstacles::find(cell, method, &steadiness);
    let metrics = effects(cell, method)
        .into_iter()
        .map(|metric| judge::metric(cell, method, &obstacles, metric))
        .collect::<Vec<_>>();
    let comparisons = comparisons(cell);
    let mut analysis = Analysis {
        rounds: u32::try_from(cell.counted().count()).unwrap_or(u32::MAX),
        comparisons,
        rounds_needed: statistics::rounds_needed(comparisons, method.alpha.get()),
        verdicts: Vec::new(),
        metrics,
        steadiness,
        warnings: Vec::new(),
    };
    analysis.verdicts = words::verdicts(cell, method, &obstacles, &analysis);
    analysis.warnings = doubts::of_cell(cell, method, &analysis);
    analysis
}

/// Analyses every cell of `comparison`, again or for the first time.
pub fn analyse_all(comparison: &mut Comparison) {
    for cell in &mut comparison.cells {
        cell.analysis = Some(analyse(cell, &comparison.method));
    }
}

/// Comparisons that share the error rate.
pub(super) fn comparisons(cell: &Cell) -> u32 {
    let comparisons = cell.candidates().count() * cell.primary_metrics.len();
    u32::try_from(comparisons).unwrap_or(u32::MAX)
}

/// The counted runs of an arm that have numbers, in order.
pub(super) fn valid_runs(cell: &Cell, arm: usize) -> impl Iterator<Item = &ArmRun> {
    cell.counted()
        .flat_map(|round| &round.runs)
        .filter(move |run| run.arm as usize == arm && run.counts())
}

/// Logarithms of the ratios of `arm` to `base`, one per counted round in which both have a number.
fn log_ratios(cell: &Cell, base: usize, arm: usize, metric: Metric) -> Vec<f64> {
    let value = |runs: &[ArmRun], arm: usize| {
        let run = runs.iter().find(|run| run.arm as usize == arm)?;
        let value = run.value(metric).filter(|_| run.counts())?;
        (value > 0.0).then_some(value)
    };
    cell.counted()
        .filter_map(|round| {
            let (of_arm, of_base) = value(&round.runs, arm).zip(value(&round.runs, base))?;
            Some((of_arm / of_base).ln())
        })
        .collect()
}

/// The effect of `arm` against the baseline, its p-value not adjusted yet; `None` with fewer than
/// two rounds, or two values on either side where they were not interleaved.
pub(super) fn effect(cell: &Cell, method: &Method, arm: usize, metric: Metric) -> Option<Effect> {
    let found = match method.interleaved {
        true => paired(cell, method, arm, metric)?,
        false => unpaired(cell, method, arm, metric)?,
    };
    let share = |log: f64| Finite::new(log.exp_m1());
    let p_value = Finite::new(found.p_value)?;
    Some(Effect {
        rounds: u32::try_from(found.rounds).ok()?,
        change: share(found.estimate)?,
        confidence_low: share(found.interval.low)?,
        confidence_high: share(found.interval.high)?,
        confidence_level: Finite::new(found.interval.level)?,
        p_value,
        p_adjusted: p_value,
        detectable: share(found.detectable)?,
    })
}

/// An effect in logarithms.
struct LogEffect {
    rounds: usize,
    estimate: f64,
    interval: RankInterval,
    p_value: f64,
    detectable: f64,
}

fn paired(cell: &Cell, method: &Method, arm: usize, metric: Metric) -> Option<LogEffect> {
    let ratios = log_ratios(cell, cell.baseline()?, arm, metric);
    // Every test has random numbers of its own, the same ones whenever it is done again.
    let stream = (arm as u64) << 8 | metric as u64;
    let seed = SplitMix64::new(method.seed ^ stream).next_u64();
    Some(LogEffect {
        rounds: ratios.len(),
        estimate: statistics::hodges_lehmann(&ratios)?,
        interval: statistics::signed_rank_interval(&ratios, 1.0 - method.alpha.get())?,
        p_value: statistics::sign_flip_p_value(&ratios, seed)?,
        detectable: statistics::detectable_difference(&ratios)?,
    })
}

/// Two saved results: no run of one stood beside a run of the other.
fn unpaired(cell: &Cell, method: &Method, arm: usize, metric: Metric) -> Option<LogEffect> {
    let logs = |arm: usize| -> Vec<f64> {
        let values = valid_runs(cell, arm).filter_map(|run| run.value(metric));
        values.filter(|value| *value > 0.0).map(f64::ln).collect()
    };
    let (base, other) = (logs(cell.baseline()?), logs(arm));
    let error = |sample: &[f64]| Some(statistics::detectable_difference(sample)?.powi(2));
    Some(LogEffect {
        rounds: base.len().min(other.len()),
        estimate: statistics::shift_estimate(&base, &other)?,
        interval: statistics::shift_interval(&base, &other, 1.0 - method.alpha.get())?,
        p_value: statistics::rank_sum_p_value(&base, &other)?,
        detectable: (error(&base)? + error(&other)?).sqrt(),
    })
}

/// All metrics that the runs have, with adjusted effects and without verdicts.
fn effects(cell: &Cell, method: &Method) -> Vec<MetricAnalysis> {
    let has = |metric: &Metric| {
        (0..cell.arms.len())
            .any(|arm| valid_runs(cell, arm).any(|run| run.value(*metric).is_some()))
    };
    let exploratory = Metric::ALL
        .into_iter()
        .filter(|metric| metric.is_of(cell.workload) && !cell.primary_metrics.contains(metric));
    let of = |metric: Metric, primary: bool| plain(cell, method, metric, primary);
    let mut primary: Vec<_> = cell
        .primary_metrics
        .iter()
        .map(|each| of(*each, true))
        .collect();
    let mut others: Vec<_> = exploratory
        .filter(has)
        .map(|each| of(each, false))
        .collect();
    for role in [ArmRole::Control, ArmRole::Arm] {
        adjust(cell, role, &mut primary, statistics::holm);
        adjust(cell, role, &mut others, statistics::benjamini_hochberg);
    }
    primary.append(&mut others);
    primary
}

/// Adjusts the p-values of all arms of `role` in all `metrics` together. What has no p-value was
/// declared all the same, and counts as one that found nothing.
fn adjust(cell: &Cell, role: ArmRole, metrics: &mut [MetricAnalysis], by: fn(&[f64]) -> Vec<f64>) {
    let mut family: Vec<&mut ArmEffect> = metrics
        .iter_mut()
        .flat_map(|metric| &mut metric.arms)
        .filter(|each| cell.arms[each.arm as usize].role == role)
        .collect();
    let p_values: Vec<f64> = family
        .iter()
        .map(|each| each.effect.map_or(1.0, |effect| effect.p_value.get()))
        .collect();
    for (each, adjusted) in family.iter_mut().zip(by(&p_values)) {
        if let (Some(effect), Some(adjusted)) = (&mut each.effect, Finite::new(adjusted)) {
            effect.p_adjusted = adjusted;
        }
    }
}

fn plain(cell: &Cell, method: &Method, metric: Metric, primary: bool) -> MetricAnalysis {
    let baseline = cell.baseline();
    let arms = (0..cell.arms.len()).map(|arm| {
        let values: Vec<f64> = valid_runs(cell, arm)
            .filter_map(|run| run.value(metric))
            .collect();
        let effect = if Some(arm) == baseline {
            None
        } else {
            effect(cell, method, arm, metric)
        };
        ArmEffect {
            arm: u32::try_from(arm).unwrap_or(u32::MAX),
            median: statistics::median(&values).and_then(Finite::new),
            values: values.into_iter().filter_map(Finite::new).collect(),
            effect,
            verdict: None,
            reason: None,
            unknown: Vec::new(),
        }
    });
    let arms: Vec<ArmEffect> = arms.collect();
    let noise_floor = cell
        .control()
        .and_then(|control| arms[control].effect)
        .and_then(|effect| Finite::new(effect.half_width()));
    let practical = method.practical_threshold;
    MetricAnalysis {
        metric,
        unit: metric.unit().to_owned(),
        better: metric.better(),
        primary,
        adjustment: match primary {
            true => Adjustment::Holm,
            false => Adjustment::BenjaminiHochberg,
        },
        noise_floor,
        threshold: noise_floor.map_or(
            practical,
            |floor| {
                if floor > practical { floor } else { practical }
            },
        ),
        arms,
    }
}

fn steadiness(cell: &Cell, method: &Method, arm: usize) -> Steadiness {
    let drifts: Vec<statistics::Drift> = valid_runs(cell, arm)
        .filter_map(|run| {
            let rates: Vec<f64> = run.series.values.iter().map(|rate| rate.get()).collect();
            statistics::steadiness(&rates)
        })
        .collect();
    let limit = method.drift_limit.get();
    let unsteady = drifts.iter().filter(|drift| drift.exceeds(limit)).count();
    let halves: Vec<f64> = drifts.iter().map(|drift| drift.halves).collect();
    let transients = drifts.iter().map(|drift| drift.transient);
    let unknown = match drifts.is_empty() {
        true => Unknown::all(
            &["median_drift", "longest_transient"],
            "no run has a series long enough to judge",
        ),
        false => Vec::new(),
    };
    Steadiness {
        arm: u32::try_from(arm).unwrap_or(u32::MAX),
        judged: u32::try_from(drifts.len()).unwrap_or(u32::MAX),
        unsteady: u32::try_from(unsteady).unwrap_or(u32::MAX),
        median_drift: statistics::median(&halves).and_then(Finite::new),
        longest_transient: transients.reduce(f64::max).and_then(Finite::new),
        unknown,
    }
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

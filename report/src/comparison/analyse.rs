//! From the rounds of a cell to what may be said of its arms.

use super::judge::{self, Obstacles};
use super::sample::Sample;
use super::{
    Adjustment, Analysis, ArmEffect, ArmRole, ArmRun, Cell, Comparison, Effect, Method, Metric,
    MetricAnalysis, Steadiness, Verdict, doubts, words,
};
use crate::document::{Finite, Unknown};
use crate::statistics::{self, SplitMix64};

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
    let effects = effects(cell, method);
    let family = |primary: bool| {
        let metrics = effects.iter().filter(|metric| metric.primary == primary);
        family(cell, metrics.count())
    };
    let families = [family(false), family(true)];
    let metrics = effects
        .into_iter()
        .map(|metric| {
            let comparisons = families[usize::from(metric.primary)];
            judge::metric(cell, method, &obstacles, comparisons, metric)
        })
        .collect::<Vec<_>>();
    let comparisons = comparisons(cell);
    let mut analysis = Analysis {
        rounds: u32::try_from(rounds(cell, method)).unwrap_or(u32::MAX),
        comparisons,
        rounds_needed: rounds_needed(method, comparisons),
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
    family(cell, cell.primary_metrics.len())
}

/// Rounds that count; of results that were not interleaved, those of the shorter one.
fn rounds(cell: &Cell, method: &Method) -> usize {
    let of_arm = |arm: usize| valid_runs(cell, arm).count();
    match method.interleaved {
        true => cell.counted().count(),
        false => (0..cell.arms.len()).map(of_arm).min().unwrap_or(0),
    }
}

/// Comparisons of all arms in so many metrics.
fn family(cell: &Cell, metrics: usize) -> u32 {
    u32::try_from(cell.candidates().count() * metrics).unwrap_or(u32::MAX)
}

/// Rounds below which one of so many comparisons cannot be told from chance, whatever it shows; of
/// results that were not interleaved, rounds of each.
pub(super) fn rounds_needed(method: &Method, comparisons: u32) -> u32 {
    match method.interleaved {
        true => statistics::rounds_needed(comparisons, method.alpha.get()),
        false => statistics::rounds_needed_unpaired(comparisons, method.alpha.get()),
    }
}

/// The counted runs of an arm that have numbers, in order.
pub(super) fn valid_runs(cell: &Cell, arm: usize) -> impl Iterator<Item = &ArmRun> {
    cell.counted()
        .flat_map(|round| &round.runs)
        .filter(move |run| run.arm as usize == arm && run.counts())
}

/// Logarithms of the ratios of `arm` to `base`, one per counted round in which both have a number.
pub(super) fn log_ratios(cell: &Cell, base: usize, arm: usize, metric: Metric) -> Vec<f64> {
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

/// The effect of `arm` against the baseline, its p-value not adjusted yet, as one of all comparisons of
/// primary metrics; `None` with fewer than two rounds, or two values on either side where they were not
/// interleaved.
pub(super) fn effect(cell: &Cell, method: &Method, arm: usize, metric: Metric) -> Option<Effect> {
    let sample = Sample::of(cell, method, arm, metric)?;
    // Every test has random numbers of its own, the same ones whenever it is done again.
    let stream = (arm as u64) << 8 | metric as u64;
    let seed = SplitMix64::new(method.seed ^ stream).next_u64();
    let least = method.practical_threshold.get();
    let detectable = detectable(&sample, method, comparisons(cell), least)?;
    let interval = sample.interval(1.0 - method.alpha.get())?;
    let share = |log: f64| Finite::new(log.exp_m1());
    let p_value = Finite::new(sample.p_value(seed)?)?;
    Some(Effect {
        rounds: u32::try_from(sample.rounds()).ok()?,
        change: share(sample.estimate()?)?,
        confidence_low: share(interval.low)?,
        confidence_high: share(interval.high)?,
        confidence_level: Finite::new(interval.level)?,
        p_value,
        p_adjusted: p_value,
        detectable,
    })
}

/// What such a sample would find four times in five where nothing up to the share `least` is called a
/// difference, as a share.
fn detectable(sample: &Sample, method: &Method, comparisons: u32, least: f64) -> Option<Finite> {
    let log = sample.detectable(comparisons, method.alpha.get(), least.ln_1p())?;
    Finite::new(log.exp_m1())
}

/// All metrics that the runs have, with adjusted effects and without verdicts.
fn effects(cell: &Cell, method: &Method) -> Vec<MetricAnalysis> {
    let has = |metric: &Metric| {
        (0..cell.arms.len())
            .any(|arm| valid_runs(cell, arm).any(|run| run.value(*metric).is_some()))
    };
    let exploratory: Vec<Metric> = Metric::ALL
        .into_iter()
        .filter(|metric| metric.is_of(cell.workload) && !cell.primary_metrics.contains(metric))
        .filter(has)
        .collect();
    let of = |metrics: &[Metric], primary: bool| -> Vec<MetricAnalysis> {
        let comparisons = family(cell, metrics.len());
        let each = |metric: &Metric| plain(cell, method, *metric, primary, comparisons);
        metrics.iter().map(each).collect()
    };
    let mut primary = of(&cell.primary_metrics, true);
    let mut others = of(&exploratory, false);
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

fn plain(
    cell: &Cell,
    method: &Method,
    metric: Metric,
    primary: bool,
    comparisons: u32,
) -> MetricAnalysis {
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
    let mut arms: Vec<ArmEffect> = arms.collect();
    let noise_floor = cell
        .control()
        .and_then(|control| arms[control].effect)
        .and_then(|effect| Finite::new(effect.half_width()));
    let practical = method.practical_threshold;
    let threshold = noise_floor.map_or(practical, |floor| match floor > practical {
        true => floor,
        false => practical,
    });
    for each in &mut arms {
        if let Some(effect) = &mut each.effect
            && let Some(sample) = Sample::of(cell, method, each.arm as usize, metric)
            && let Some(found) = detectable(&sample, method, comparisons, threshold.get())
        {
            effect.detectable = found;
        }
    }
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
        threshold,
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

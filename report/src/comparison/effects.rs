//! How far each arm is from the baseline in each metric, and how exactly that is known.

use super::analysis::{Adjustment, ArmEffect, Effect, MetricAnalysis};
use super::cell::{ArmRole, Cell};
use super::method::Method;
use super::metric::Metric;
use super::rounds::{comparisons, family, values};
use super::sample::Sample;
use crate::document::Finite;
use crate::statistics::{self, SplitMix64};

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
pub(super) fn effects(cell: &Cell, method: &Method) -> Vec<MetricAnalysis> {
    let has = |metric: &Metric| {
        let mut arms = 0..cell.arms.len();
        arms.any(|arm| !values(cell, arm, *metric).is_empty())
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
        let values = values(cell, arm, metric);
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

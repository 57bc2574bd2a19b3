//! Two samples that were not measured in the same rounds: their shift, and an interval for it.

use super::{
    BEYOND_LEAST, POWER, RankInterval, cumulated, interval_between_ranks, median, normal_quantile,
    sample_standard_deviation, sorted, student_t_quantile,
};

/// Values that ranks need for one that means need: pi / 3.
const RANKS_FOR_MEANS: f64 = std::f64::consts::FRAC_PI_3;

/// The Hodges-Lehmann estimate of how far `second` lies above `first`: the median of all
/// differences between them. `None` if a sample is empty.
///
/// Hodges, Lehmann, Annals of Mathematical Statistics 34 (1963), section 4.
pub fn shift_estimate(first: &[f64], second: &[f64]) -> Option<f64> {
    median(&differences(&thinned(first), &thinned(second)))
}

/// The confidence interval for the shift that inverts the Mann-Whitney test, as close to `level`
/// from above as whole ranks allow; its level says so if the samples are too small. `None` if a
/// sample is empty.
///
/// Hollander, Wolfe, Chicken, "Nonparametric Statistical Methods", 3rd edition (2014), section 4.3
/// (due to Moses). The level is exact for independent samples that differ by a shift only.
pub fn shift_interval(first: &[f64], second: &[f64], level: f64) -> Option<RankInterval> {
    let (first, second) = (&thinned(first), &thinned(second));
    let cumulative = cumulated(&distribution_of_u(first.len(), second.len()));
    interval_between_ranks(&sorted(differences(first, second)), &cumulative, level)
}

/// Two-sided p-value of the Mann-Whitney test, exact without ties; a tie counts half for either
/// sample, and where that leaves half a rank the larger p-value is taken. `None` if a sample is
/// empty.
///
/// Mann, Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than
/// the Other", Annals of Mathematical Statistics 18 (1947).
pub fn rank_sum_p_value(first: &[f64], second: &[f64]) -> Option<f64> {
    let (first, second) = (&thinned(first), &thinned(second));
    let pairs = differences(first, second);
    if pairs.is_empty() {
        return None;
    }
    let above = pairs.iter().filter(|difference| **difference > 0.0).count();
    let ties = pairs
        .iter()
        .filter(|difference| **difference == 0.0)
        .count();
    let below = pairs.len() - above - ties;
    let smaller = above.min(below) + ties.div_ceil(2);
    let cumulative = cumulated(&distribution_of_u(first.len(), second.len()));
    Some((2.0 * cumulative[smaller]).min(1.0))
}

/// The shift that a Mann-Whitney test on samples of such noise would find four times in five, where it
/// must pass a p-value of `level` and shifts up to `least` are not called any; `None` for fewer than two
/// values on either side.
///
/// As [`detectable_difference`](super::detectable_difference), with the standard error of a difference of
/// means and `n + m - 2` degrees of freedom; for normal noise ranks need 1.05 times the values of the
/// t-test (Hollander, Wolfe, Chicken, section 4.5).
pub fn detectable_shift(first: &[f64], second: &[f64], level: f64, least: f64) -> Option<f64> {
    let variance = |sample: &[f64]| {
        let deviation = sample_standard_deviation(sample)?;
        Some(deviation.powi(2) / sample.len() as f64)
    };
    let error = (variance(first)? + variance(second)?).sqrt() * RANKS_FOR_MEANS.sqrt();
    let degrees = (first.len() + second.len() - 2) as f64;
    let t = student_t_quantile(1.0 - level / 2.0, degrees)?;
    let significant = (t + normal_quantile(POWER)) * error;
    Some(significant.max(least + normal_quantile(BEYOND_LEAST) * error))
}

/// Values of a sample that are compared pair by pair, at most: beyond, every second, third or n-th in the order of measurement.
/// The interval of fewer values is a wider one and claims nothing that all of them would not.
const VALUES_MAX: usize = 1_000;

/// Pairs up to which the distribution is computed exactly; its steps grow with their square.
const EXACT_PAIRS: usize = 10_000;

fn thinned(sample: &[f64]) -> Vec<f64> {
    let every = sample.len().div_ceil(VALUES_MAX).max(1);
    sample.iter().copied().step_by(every).collect()
}

fn differences(first: &[f64], second: &[f64]) -> Vec<f64> {
    let against = |value: &f64| first.iter().map(|base| value - base).collect::<Vec<f64>>();
    second.iter().flat_map(against).collect()
}

/// Probability of each value of U, the number of pairs in which the second sample is larger, if
/// both have the same distribution.
///
/// Exact up to [`EXACT_PAIRS`].
fn distribution_of_u(n: usize, m: usize) -> Vec<f64> {
    match n * m <= EXACT_PAIRS {
        true => mann_whitney_distribution(n, m),
        false => normal_distribution_of_u(n, m),
    }
}

/// The normal distribution that it tends to (section 4 of their paper; for 100 and 100 values the cumulated ones differ by
/// less than 0.001).
fn normal_distribution_of_u(n: usize, m: usize) -> Vec<f64> {
    let pairs = (n * m) as f64;
    let (mean, deviation) = (pairs / 2.0, (pairs * (n + m + 1) as f64 / 12.0).sqrt());
    let density = |u: usize| (-((u as f64 - mean) / deviation).powi(2) / 2.0).exp();
    let densities: Vec<f64> = (0..=n * m).map(density).collect();
    let sum: f64 = densities.iter().sum();
    densities.into_iter().map(|density| density / sum).collect()
}

/// The exact distribution: Mann and Whitney's recursion over which sample the largest value of all came from, in
/// probabilities instead of counts: equation 2 of their paper.
fn mann_whitney_distribution(n: usize, m: usize) -> Vec<f64> {
    // Row i: the distributions for i values of the first sample and 0 to m of the second.
    let mut row: Vec<Vec<f64>> = vec![vec![1.0]; m + 1];
    for i in 1..=n {
        for j in 1..=m {
            let from_second = j as f64 / (i + j) as f64;
            let mut probabilities = vec![0.0; i * j + 1];
            // The largest is of the second sample: it lies above all i of the first.
            for (u, probability) in row[j - 1].iter().enumerate() {
                probabilities[u + i] += from_second * probability;
            }
            for (u, probability) in row[j].iter().enumerate() {
                probabilities[u] += (1.0 - from_second) * probability;
            }
            row[j] = probabilities;
        }
    }
    row.swap_remove(m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn many_values_are_judged_in_bounded_memory_and_time() {
        let exact = cumulated(&mann_whitney_distribution(100, 100));
        let normal = cumulated(&normal_distribution_of_u(100, 100));
        for (exact, normal) in exact.iter().zip(&normal) {
            assert!((exact - normal).abs() < 0.001, "{exact} {normal}");
        }
        let many = |shift: f64| -> Vec<f64> {
            (0..10_000u64)
                .map(|k| (k.wrapping_mul(7_919) % 1_009) as f64 + shift)
                .collect()
        };
        let (first, second) = (many(0.0), many(50.0));
        assert!(rank_sum_p_value(&first, &first).is_some_and(|p| p > 0.9));
        assert!(rank_sum_p_value(&first, &second).is_some_and(|p| p < 0.01));
        let interval = shift_interval(&first, &second, 0.95).unwrap();
        assert!(
            interval.low <= 50.0 && 50.0 <= interval.high,
            "{interval:?}"
        );
        assert!(shift_estimate(&first, &second).is_some_and(|shift| (shift - 50.0).abs() < 20.0));
    }

    #[test]
    fn the_distribution_of_two_and_two_by_hand() {
        // Of the 6 orders of a a b b: U = 0, 1, 2, 2, 3, 4.
        let sixths: Vec<f64> = mann_whitney_distribution(2, 2)
            .iter()
            .map(|p| (p * 6.0).round())
            .collect();
        assert_eq!(sixths, [1.0, 1.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn a_single_value_bounds_nothing() {
        let interval = shift_interval(&[1.0], &[3.0], 0.95).unwrap();
        assert_eq!(
            (interval.low, interval.high, interval.level),
            (2.0, 2.0, 0.0)
        );
        assert_eq!(shift_interval(&[], &[3.0], 0.95), None);
        assert_eq!(rank_sum_p_value(&[1.0], &[]), None);
        assert_eq!(rank_sum_p_value(&[1.0], &[1.0]), Some(1.0));
    }

    proptest! {
        #[test]
        fn a_shift_moves_the_interval_and_exchange_mirrors_it(
            first in prop::collection::vec(-100.0f64..100.0, 1..12),
            second in prop::collection::vec(-100.0f64..100.0, 1..12),
            shift in -50.0f64..50.0,
        ) {
            let interval = shift_interval(&first, &second, 0.95).unwrap();
            let estimate = shift_estimate(&first, &second).unwrap();
            prop_assert!(interval.low <= estimate && estimate <= interval.high);
            let moved: Vec<f64> = second.iter().map(|value| value + shift).collect();
            let moved = shift_interval(&first, &moved, 0.95).unwrap();
            prop_assert!((moved.low - interval.low - shift).abs() < 1e-9);
            let mirrored = shift_interval(&second, &first, 0.95).unwrap();
            prop_assert!((mirrored.low + interval.high).abs() < 1e-9);
            let p = rank_sum_p_value(&first, &second).unwrap();
            prop_assert!((rank_sum_p_value(&second, &first).unwrap() - p).abs() < 1e-12);
        }
    }
}

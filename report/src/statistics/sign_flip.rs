//! Whether paired differences could be chance: flip their signs and see.

use super::{
    BEYOND_LEAST, POWER, SplitMix64, normal_quantile, sample_standard_deviation, student_t_quantile,
};

/// Random sign patterns that are tried where there are too many to try all.
pub const SAMPLED_FLIPS: u32 = 20_000;
/// Up to so many differences all sign patterns are tried.
const EXACT_UP_TO: usize = 16;

/// Two-sided p-value of the paired sign-flip (randomisation) test on the sum of the differences;
/// `None` for no values.
///
/// R. A. Fisher, "The Design of Experiments" (1935), section 21; Good, "Permutation, Parametric and
/// Bootstrap Tests of Hypotheses", 3rd edition (2005), section 3.2.1. Where the two arms of each
/// round stood in random order and do not differ, either sign of each difference was equally
/// likely, whatever the noise is: drift and slow neighbours included.
///
/// Up to 16 differences all patterns are tried and the value is exact. Beyond, [`SAMPLED_FLIPS`]
/// patterns drawn from `seed` are, and the observed one is counted among them, so that the value is
/// never zero and never too small: Phipson, Smyth, "Permutation P-values Should Never Be Zero",
/// Statistical Applications in Genetics and Molecular Biology 9 (2010).
pub fn sign_flip_p_value(differences: &[f64], seed: u64) -> Option<f64> {
    if differences.is_empty() {
        return None;
    }
    let observed = differences.iter().sum::<f64>().abs();
    // Patterns that tie with the observed one count as extreme, in spite of rounding.
    let scale: f64 = differences.iter().map(|difference| difference.abs()).sum();
    let extreme = observed - 1e-12 * scale;
    Some(if differences.len() <= EXACT_UP_TO {
        exact(differences, extreme)
    } else {
        sampled(differences, extreme, seed)
    })
}

/// All patterns, in the order of a Gray code so that each differs from the last by one sign. The
/// sign of the last difference stays: the other half of the patterns mirrors this one.
fn exact(differences: &[f64], extreme: f64) -> f64 {
    let free = differences.len() - 1;
    let patterns = 1u32 << free;
    let mut signs = vec![1.0; free];
    let mut sum: f64 = differences.iter().sum();
    let mut hits = 0u32;
    for pattern in 1..=patterns {
        hits += u32::from(sum.abs() >= extreme);
        let flipped = pattern.trailing_zeros() as usize;
        if flipped < free {
            sum -= 2.0 * signs[flipped] * differences[flipped];
            signs[flipped] = -signs[flipped];
        }
    }
    f64::from(hits) / f64::from(patterns)
}

fn sampled(differences: &[f64], extreme: f64, seed: u64) -> f64 {
    let mut random = SplitMix64::new(seed);
    let mut hits = 0u32;
    for _ in 0..SAMPLED_FLIPS {
        let mut sum = 0.0;
        for chunk in differences.chunks(64) {
            let mut bits = random.next_u64();
            for difference in chunk {
                sum += if bits & 1 == 0 {
                    *difference
                } else {
                    -difference
                };
                bits >>= 1;
            }
        }
        hits += u32::from(sum.abs() >= extreme);
    }
    f64::from(hits + 1) / f64::from(SAMPLED_FLIPS + 1)
}

/// The difference that a sign-flip test on so many values of such noise would find four times in five,
/// where it must pass a p-value of `level` and differences up to `least` are not called any; `None` for
/// fewer than two values.
///
/// `(t + 0.84) s / sqrt(n)`, with Student's t for the level and 0.84, the normal quantile for a power of
/// 80 %: Cohen, "Statistical Power Analysis for the Behavioral Sciences", 2nd edition (1988), section
/// 2.4, with t for the normal quantile as the noise is estimated. Sign flips know 2^(n-1) levels only,
/// and with few of them below `level` they find less than the t-test: the level is the largest that is
/// attained, and a fifth of the reciprocal of its number of patterns is added, which fits simulated
/// power for 6 to 12 values within a few percent (`report/tests/suite/power.rs` repeats that). Where only
/// the observed pattern itself is left, all differences must have the same sign, and the answer is exact.
///
/// An estimate near `least` is on either side of it by chance, and must be beyond it as well: the effect
/// lies so far above that this alone happens nine times in ten. All of it supposes normal noise.
pub fn detectable_difference(differences: &[f64], level: f64, least: f64) -> Option<f64> {
    let deviation = sample_standard_deviation(differences)?;
    let n = differences.len() as f64;
    let error = deviation / n.sqrt();
    let patterns = 2f64.powf(n - 1.0);
    let allowed = (level * patterns + 1e-9).floor();
    let significant = if allowed < 2.0 {
        deviation * normal_quantile(POWER.powf(1.0 / n))
    } else {
        let t = student_t_quantile(1.0 - allowed / patterns / 2.0, n - 1.0)?;
        (t + normal_quantile(POWER)) * error * (1.0 + 0.2 / allowed)
    };
    Some(significant.max(least + normal_quantile(BEYOND_LEAST) * error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_p_value_is_two_patterns_of_all() {
        for n in 1..=16u32 {
            let values: Vec<f64> = (1..=n).map(f64::from).collect();
            let p = sign_flip_p_value(&values, 0).unwrap();
            assert_eq!(p, 2.0 / 2f64.powi(n as i32), "{n}");
        }
        assert_eq!(sign_flip_p_value(&[], 0), None);
        assert_eq!(sign_flip_p_value(&[0.0; 8], 0), Some(1.0));
    }

    #[test]
    fn many_differences_are_sampled_and_the_seed_decides() {
        let values = [
            1.0, -1.1, 0.9, 0.2, -0.3, 0.5, 1.4, -0.7, 0.1, 0.6, 0.4, -0.2, 0.3, 0.8,
        ];
        let twice: Vec<f64> = [values, values].concat();
        let p = sign_flip_p_value(&twice, 1).unwrap();
        assert_eq!(p, sign_flip_p_value(&twice, 1).unwrap());
        let other = sign_flip_p_value(&twice, 2).unwrap();
        assert!(p != other && (p - other).abs() < 0.02, "{p} {other}");
        let separated = vec![1.0; 30];
        assert_eq!(sign_flip_p_value(&separated, 1), Some(1.0 / 20_001.0));
    }

    proptest! {
        #[test]
        fn order_sign_and_scale_of_the_differences_do_not_matter(
            values in prop::collection::vec(-10.0f64..10.0, 1..10),
            scale in 0.001f64..1000.0,
        ) {
            let p = sign_flip_p_value(&values, 0).unwrap();
            prop_assert!(p > 0.0 && p <= 1.0);
            let other: Vec<f64> = values.iter().rev().map(|value| -value * scale).collect();
            prop_assert_eq!(sign_flip_p_value(&other, 0).unwrap(), p);
        }
    }
}

//! Many comparisons at once: who looks often enough finds something.

/// p-values adjusted by Holm's step-down method, in the order given: below alpha with a probability
/// of at most alpha for any of them that is chance, however they depend on each other.
///
/// Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
/// Statistics 6 (1979).
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let order = ascending(p_values);
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0f64;
    for (step, index) in order.iter().enumerate() {
        let remaining = (p_values.len() - step) as f64;
        largest = largest.max(remaining * p_values[*index]).min(1.0);
        adjusted[*index] = largest;
    }
    adjusted
}

/// p-values adjusted by the step-up method of Benjamini and Hochberg, in the order given: of those
/// below q, a share of at most q is chance on average (for independent or positively dependent
/// comparisons).
///
/// Benjamini, Hochberg, "Controlling the False Discovery Rate", Journal of the Royal Statistical
/// Society B 57 (1995).
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let order = ascending(p_values);
    let mut adjusted = vec![0.0; p_values.len()];
    let mut smallest = 1.0f64;
    for (step, index) in order.iter().enumerate().rev() {
        let factor = p_values.len() as f64 / (step + 1) as f64;
        smallest = smallest.min(factor * p_values[*index]);
        adjusted[*index] = smallest;
    }
    adjusted
}

fn ascending(p_values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    order
}

/// Rounds below which not even the largest difference can pass: `1 + log2(comparisons / alpha)`,
/// rounded up.
///
/// The smallest two-sided p-value of n sign flips is `2^(1 - n)`, and Holm multiplies the smallest
/// of m by m: solve `m 2^(1 - n) <= alpha` for n.
pub fn rounds_needed(comparisons: u32, alpha: f64) -> u32 {
    let comparisons = f64::from(comparisons.max(1));
    (1.0 + (comparisons / alpha).log2()).ceil() as u32
}

/// The same for two samples that are not paired: rounds of each below which not even the largest
/// difference can pass.
///
/// The smallest two-sided p-value of the Mann-Whitney test on n and n values is 2 in `(2n)! / (n!)^2`
/// orders.
pub fn rounds_needed_unpaired(comparisons: u32, alpha: f64) -> u32 {
    let comparisons = f64::from(comparisons.max(1));
    let mut orders = 1.0;
    let mut rounds = 0;
    while comparisons * 2.0 / orders > alpha {
        rounds += 1;
        orders *= 2.0 * f64::from(2 * rounds - 1) / f64::from(rounds);
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_number_of_rounds() {
        // tuning.md: m = 1 needs 6, m = 5 needs 8.
        for (comparisons, rounds) in [(0, 6), (1, 6), (2, 7), (5, 8), (6, 8), (12, 9)] {
            assert_eq!(rounds_needed(comparisons, 0.05), rounds, "{comparisons}");
            let smallest = 2f64.powi(1 - rounds as i32);
            assert!(f64::from(comparisons) * smallest <= 0.05);
        }
    }

    #[test]
    fn the_number_of_rounds_of_two_samples() {
        // Of 4 and 4 values there are 70 orders, of 5 and 5 252: 2 / 70 is 0.029, 2 / 252 is 0.008.
        for (comparisons, rounds) in [(1, 4), (2, 5), (3, 5), (6, 5), (7, 6), (23, 6), (24, 7)] {
            assert_eq!(
                rounds_needed_unpaired(comparisons, 0.05),
                rounds,
                "{comparisons}"
            );
        }
    }

    proptest! {
        #[test]
        fn adjusting_keeps_the_order_and_makes_nothing_smaller(
            p_values in prop::collection::vec(0.0f64..=1.0, 0..12),
        ) {
            for adjusted in [holm(&p_values), benjamini_hochberg(&p_values)] {
                prop_assert_eq!(adjusted.len(), p_values.len());
                for (p, after) in p_values.iter().zip(&adjusted) {
                    prop_assert!(*after >= p - 1e-15 && *after <= 1.0);
                }
                for first in 0..p_values.len() {
                    for second in 0..p_values.len() {
                        if p_values[first] < p_values[second] {
                            prop_assert!(adjusted[first] <= adjusted[second]);
                        }
                    }
                }
            }
        }
    }
}

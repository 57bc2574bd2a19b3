//! Paired differences: their centre, and an interval for it that holds whatever their distribution,
//! if only it is symmetric.

use super::{RankInterval, cumulated, interval_between_ranks, median, sorted};

/// The Hodges-Lehmann estimate of the centre of symmetric differences: the median of the Walsh
/// averages `(d_i + d_j) / 2`, `i <= j`. `None` for no values.
///
/// Hodges, Lehmann, "Estimates of Location Based on Rank Tests", Annals of Mathematical Statistics
/// 34 (1963), section 3. One wild round moves it little.
pub fn hodges_lehmann(differences: &[f64]) -> Option<f64> {
    median(&walsh_averages(differences))
}

/// The confidence interval that inverts Wilcoxon's signed-rank test, as close to `level` from above
/// as whole ranks allow. With too few differences for that it is the widest there is, and its level
/// says how little it is worth. `None` for no values.
///
/// Hollander, Wolfe, Chicken, "Nonparametric Statistical Methods", 3rd edition (2014), section 3.3
/// (due to Tukey); the same as `wilcox.test(conf.int = TRUE)` in R for data without ties. The level
/// is exact for independent differences, each symmetric about the same centre.
pub fn signed_rank_interval(differences: &[f64], level: f64) -> Option<RankInterval> {
    let averages = sorted(walsh_averages(differences));
    let cumulative = cumulated(&signed_rank_distribution(differences.len()));
    interval_between_ranks(&averages, &cumulative, level)
}

fn walsh_averages(differences: &[f64]) -> Vec<f64> {
    let mut averages = Vec::with_capacity(differences.len() * (differences.len() + 1) / 2);
    for (index, first) in differences.iter().enumerate() {
        for second in &differences[index..] {
            averages.push(first + (second - first) / 2.0);
        }
    }
    averages
}

/// Probability of each value of the signed-rank statistic of `n` differences: which sums the ranks
/// 1 to n give if each enters or not, at even odds.
///
/// The recursion over ranks of Hollander, Wolfe, Chicken, section 3.1, comment 5.
fn signed_rank_distribution(n: usize) -> Vec<f64> {
    let mut probabilities = vec![0.0; n * (n + 1) / 2 + 1];
    probabilities[0] = 1.0;
    for rank in 1..=n {
        for sum in (0..probabilities.len()).rev() {
            let with = sum
                .checked_sub(rank)
                .map_or(0.0, |rest| probabilities[rest]);
            probabilities[sum] = (probabilities[sum] + with) / 2.0;
        }
    }
    probabilities
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_differences_give_the_widest_interval_and_say_its_level() {
        for (n, level) in [(1, 0.0), (2, 0.5), (5, 0.9375), (6, 0.96875)] {
            let values: Vec<f64> = (0..n).map(f64::from).collect();
            let interval = signed_rank_interval(&values, 0.95).unwrap();
            assert_eq!(interval.level, level, "{n}");
            assert_eq!(
                (interval.low, interval.high),
                (0.0, f64::from(n - 1)),
                "{n}"
            );
        }
        assert_eq!(signed_rank_interval(&[], 0.95), None);
        assert_eq!(hodges_lehmann(&[]), None);
    }

    #[test]
    fn the_distribution_of_three_ranks_by_hand() {
        // Sums of subsets of {1, 2, 3}: 0, 1, 2, 3 twice, 4, 5, 6.
        let eighths: Vec<f64> = signed_rank_distribution(3)
            .iter()
            .map(|p| p * 8.0)
            .collect();
        assert_eq!(eighths, [1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_estimate_and_moves_with_the_data(
            values in prop::collection::vec(-100.0f64..100.0, 1..20),
            shift in -50.0f64..50.0,
        ) {
            let centre = hodges_lehmann(&values).unwrap();
            let interval = signed_rank_interval(&values, 0.95).unwrap();
            prop_assert!(interval.low <= centre && centre <= interval.high);
            let moved: Vec<f64> = values.iter().map(|value| value + shift).collect();
            prop_assert!((hodges_lehmann(&moved).unwrap() - centre - shift).abs() < 1e-9);
            let moved = signed_rank_interval(&moved, 0.95).unwrap();
            prop_assert!((moved.low - interval.low - shift).abs() < 1e-9);
            let mirrored: Vec<f64> = values.iter().map(|value| -value).collect();
            let mirrored = signed_rank_interval(&mirrored, 0.95).unwrap();
            prop_assert!((mirrored.low + interval.high).abs() < 1e-9);
        }
    }
}

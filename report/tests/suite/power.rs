//! Seeded simulation: whether the difference that is said to be found four times in five is, and how
//! often arms that differ by the margin are called equivalent.

use report::comparison::*;
use report::statistics::*;

use crate::simulation::{Model, cell, judged};

/// Normal numbers: Box and Muller, Annals of Mathematical Statistics 29 (1958).
fn gaussian(random: &mut SplitMix64) -> f64 {
    let radius = (-2.0 * (1.0 - random.next_unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.next_unit()).cos()
}

/// So many values with a standard deviation of 1.
fn of_unit_deviation(n: u32) -> Vec<f64> {
    let ramp: Vec<f64> = (0..n).map(f64::from).collect();
    let deviation = sample_standard_deviation(&ramp).unwrap();
    ramp.iter().map(|value| value / deviation).collect()
}

#[test]
fn what_is_called_detectable_is_found_four_times_in_five() {
    let cases = [
        (6, 1, 1000),
        (7, 1, 1000),
        (7, 3, 1000),
        (8, 6, 1000),
        (9, 9, 1000),
        (10, 15, 1000),
        (11, 27, 1000),
        (12, 1, 1000),
        (12, 3, 1000),
        (12, 15, 1000),
        (12, 27, 1000),
        (15, 6, 500),
        (20, 1, 400),
        (30, 27, 300),
    ];
    let mut random = SplitMix64::new(3);
    for (n, comparisons, trials) in cases {
        let level = 0.05 / f64::from(comparisons);
        // Limits below and about what significance asks for.
        for least in [0.0, 3.5 / f64::from(n).sqrt()] {
            let difference = detectable_difference(&of_unit_deviation(n), level, least).unwrap();
            let found = (0..trials).filter(|seed| {
                let sample: Vec<f64> = (0..n).map(|_| difference + gaussian(&mut random)).collect();
                hodges_lehmann(&sample).unwrap() > least
                    && sign_flip_p_value(&sample, *seed).unwrap() <= level + 1e-12
            });
            let power = found.count() as f64 / trials as f64;
            println!(
                "{n} rounds, {comparisons} comparisons, above {least:.2}: {difference:.2} found {power:.2}"
            );
            assert!(
                (0.7..=0.95).contains(&power),
                "{n} {comparisons} {least}: {power}"
            );
        }
    }
}

#[test]
fn what_two_samples_are_said_to_detect_is_found_four_times_in_five() {
    let mut random = SplitMix64::new(4);
    for (n, m, comparisons) in [(5, 5, 3), (7, 7, 1), (8, 12, 3), (12, 12, 6), (20, 9, 2)] {
        let level = 0.05 / f64::from(comparisons);
        let samples = (of_unit_deviation(n), of_unit_deviation(m));
        let shift = detectable_shift(&samples.0, &samples.1, level, 0.0).unwrap();
        const TRIALS: u32 = 1000;
        let found = (0..TRIALS).filter(|_| {
            let first: Vec<f64> = (0..n).map(|_| gaussian(&mut random)).collect();
            let second: Vec<f64> = (0..m).map(|_| shift + gaussian(&mut random)).collect();
            rank_sum_p_value(&first, &second).unwrap() <= level + 1e-12
        });
        let power = found.count() as f64 / f64::from(TRIALS);
        println!("{n} and {m} values, {comparisons} comparisons: {shift:.2} found {power:.2}");
        assert!(
            (0.7..=0.95).contains(&power),
            "{n} {m} {comparisons}: {power}"
        );
    }
}

#[test]
fn a_cell_finds_what_another_of_its_kind_calls_detectable() {
    const TRIALS: u64 = 150;
    for (rounds, arms) in [(7, 1), (12, 1), (12, 4)] {
        let mut found = 0;
        for seed in 0..TRIALS {
            let equal = cell(Model::Gaussian, &vec![0.0; arms], rounds, seed);
            let analysis = analyse(&equal, &Method::new(seed, Vary::Testee));
            let rate = analysis.metric(Metric::Rate).unwrap();
            let detectable = rate.arms[2].effect.unwrap().detectable.get();
            let mut effects = vec![0.0; arms];
            effects[0] = detectable.ln_1p();
            // All three metrics differ by as much; the first of the arm is looked at.
            let seed = 10_000 + seed;
            let verdict = judged(&cell(Model::Gaussian, &effects, rounds, seed), seed)[0].0;
            found += u64::from(verdict == Verdict::Faster);
        }
        let power = found as f64 / TRIALS as f64;
        println!("{rounds} rounds, {arms} arms: {power:.2}");
        assert!((0.65..=0.95).contains(&power), "{rounds} {arms}: {power}");
    }
}

#[test]
fn arms_that_differ_by_the_margin_are_rarely_called_equivalent() {
    const TRIALS: u64 = 200;
    let margin = 1.02f64.ln();
    let equivalent = |effects: &[f64]| {
        let cells = (0..TRIALS).filter(|seed| {
            let found = judged(&cell(Model::SlowMinutes, effects, 20, *seed), *seed);
            found
                .iter()
                .any(|(verdict, _)| *verdict == Verdict::Equivalent)
        });
        cells.count() as u64
    };
    let wrong = equivalent(&[margin, -margin, margin, -margin]);
    println!("{wrong} of {TRIALS} cells call an arm equivalent that differs by the margin");
    assert!(wrong * 20 <= TRIALS, "{wrong}");
    let right = equivalent(&[0.0]);
    println!("{right} of {TRIALS} cells find one that is equal");
    assert!(right * 2 >= TRIALS, "{right}");
}

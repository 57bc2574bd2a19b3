//! Seeded simulation: how often the whole analysis is wrong where the truth is known.
//!
//! The noise models are those that benchmarks on real machines show: scatter, heavy tails, slow
//! minutes that all arms share, memory from run to run (AR(1)), drift, and neighbours that come and
//! go. Arms stand in random order in each round, as `linerate compare` has them.

use report::comparison::*;
use report::document::Finite;
use report::statistics::*;

use crate::comparison_fixtures::{self, URING, again};

/// Noise of consecutive runs, as logarithms of factors.
struct Noise {
    random: SplitMix64,
    model: Model,
    memory: f64,
    runs: u32,
    neighbour: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Model {
    Gaussian,
    HeavyTails,
    SlowMinutes,
    Memory,
    Drift,
    Neighbours,
    /// No random order: the first run of a round is always 3 % faster than the second, and so on.
    PlaceInRound,
}

const MODELS: [Model; 6] = [
    Model::Gaussian,
    Model::HeavyTails,
    Model::SlowMinutes,
    Model::Memory,
    Model::Drift,
    Model::Neighbours,
];

impl Noise {
    fn new(model: Model, seed: u64) -> Self {
        Noise {
            random: SplitMix64::new(seed),
            model,
            memory: 0.0,
            runs: 0,
            neighbour: false,
        }
    }

    /// Box and Muller, Annals of Mathematical Statistics 29 (1958).
    fn gaussian(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.random.next_unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.random.next_unit()).cos()
    }

    /// Noise of the runs of one round, in the order in which they run.
    fn round(&mut self, arms: usize) -> Vec<f64> {
        let minute = 0.05 * self.gaussian();
        (0..arms).map(|place| self.run(place, minute)).collect()
    }

    fn run(&mut self, place: usize, minute: f64) -> f64 {
        self.runs += 1;
        let own = self.gaussian();
        match self.model {
            Model::Gaussian => 0.02 * own,
            // Student's t with 2 degrees of freedom.
            Model::HeavyTails => 0.01 * own / (-(1.0 - self.random.next_unit()).ln()).sqrt(),
            Model::SlowMinutes => minute + 0.01 * own,
            Model::Memory => {
                self.memory = 0.8 * self.memory + 0.02 * own;
                self.memory
            }
            Model::Drift => 0.01 * own - 0.002 * f64::from(self.runs),
            Model::Neighbours => {
                if self.random.next_unit() < 0.1 {
                    self.neighbour = !self.neighbour;
                }
                0.01 * own - if self.neighbour { 0.2 } else { 0.0 }
            }
            Model::PlaceInRound => 0.005 * own - 0.03 * place as f64,
        }
    }
}

const METRICS: [Metric; 3] = [
    Metric::Rate,
    Metric::LatencyP99,
    Metric::TesteeCpuPerOperation,
];

/// A cell of baseline, control and arms whose true effects are `effects` (logarithms) in all metrics.
pub fn cell(model: Model, effects: &[f64], rounds: u32, seed: u64) -> Cell {
    let candidate = comparison_fixtures::Truth {
        role: ArmRole::Arm,
        ..URING
    };
    let mut truths = vec![URING, again(URING)];
    truths.extend(effects.iter().map(|_| candidate));
    let mut cell = comparison_fixtures::cell(1, 0, &truths, seed);
    cell.rounds.clear();
    let mut noises = [1, 2, 3].map(|metric| Noise::new(model, seed * 4 + metric));
    let mut order: Vec<usize> = (0..truths.len()).collect();
    for number in 1..=rounds {
        if model != Model::PlaceInRound {
            noises[0].random.shuffle(&mut order);
        }
        let noise = noises.each_mut().map(|noise| noise.round(truths.len()));
        let runs = (0..truths.len()).map(|arm| {
            let place = order.iter().position(|each| *each == arm).unwrap();
            let effect = arm
                .checked_sub(2)
                .map_or(0.0, |candidate| effects[candidate]);
            run(
                arm,
                noise.each_ref().map(|noise| (noise[place] + effect).exp()),
            )
        });
        cell.rounds.push(CellRound {
            number,
            discarded: false,
            started_at_unix_ns: 0,
            order: order.iter().map(|arm| *arm as u32).collect(),
            runs: runs.collect(),
            remarks: Vec::new(),
        });
    }
    cell
}

fn run(arm: usize, [rate, latency, cpu]: [f64; 3]) -> ArmRun {
    ArmRun {
        arm: arm as u32,
        operations: 1000,
        rate_per_second: Finite::new(1e5 * rate),
        latency: Some(RunLatency {
            count: 1000,
            p99_ns: (1e9 * latency) as u64,
            ..RunLatency::default()
        }),
        testee: Some(RunSide {
            cpu_ns_per_operation: Finite::new(5e3 * cpu),
            ..RunSide::default()
        }),
        ..ArmRun::default()
    }
}

pub fn judged(cell: &Cell, seed: u64) -> Vec<(Verdict, f64)> {
    let analysis = analyse(cell, &Method::new(seed, Vary::Testee));
    let candidates: Vec<usize> = cell.candidates().collect();
    let mut found = Vec::new();
    for metric in METRICS {
        let metric = analysis.metric(metric).unwrap();
        for arm in &candidates {
            let each = &metric.arms[*arm];
            let p = each.effect.unwrap().p_adjusted.get();
            found.push((each.verdict.unwrap(), p));
        }
    }
    found
}

fn is_difference(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Faster | Verdict::Slower)
}

#[test]
fn equal_arms_are_called_different_in_at_most_one_cell_of_twenty() {
    const TRIALS: u64 = 400;
    let mut below_alpha = 0;
    for model in MODELS {
        let mut alarms = 0;
        for seed in 0..TRIALS {
            let found = judged(&cell(model, &[0.0, 0.0], 10, seed), seed);
            alarms += u64::from(found.iter().any(|(verdict, _)| is_difference(*verdict)));
            below_alpha += u64::from(found.iter().any(|(_, p)| *p < 0.05));
        }
        println!("{model:?}: {alarms} false alarms in {TRIALS} cells of 6 comparisons");
        assert!(alarms * 20 <= TRIALS, "{model:?}: {alarms} of {TRIALS}");
    }
    // Even without the threshold and the control: Holm keeps the cell's error rate. Three standard
    // errors are granted to chance.
    let cells = (TRIALS * MODELS.len() as u64) as f64;
    let share = below_alpha as f64 / cells;
    println!("adjusted p < 0.05 in {:.2} % of the cells", share * 100.0);
    assert!(
        share <= 0.05 + 3.0 * (0.05 * 0.95 / cells).sqrt(),
        "{share}"
    );
}

#[test]
fn with_many_rounds_sampled_flips_keep_the_error_rate_too() {
    const TRIALS: u64 = 100;
    let alarms = (0..TRIALS)
        .filter(|seed| {
            let found = judged(&cell(Model::Memory, &[0.0], 20, *seed), *seed);
            found.iter().any(|(verdict, _)| is_difference(*verdict))
        })
        .count();
    println!("{alarms} false alarms in {TRIALS} cells of 20 rounds");
    assert!(alarms <= 5, "{alarms}");
}

#[test]
fn a_real_difference_is_found_with_its_direction() {
    const TRIALS: u64 = 100;
    for model in [Model::SlowMinutes, Model::Gaussian] {
        let (mut right, mut wrong) = (0, 0);
        for seed in 0..TRIALS {
            // 5 % more: a higher rate is better, a longer latency and more CPU are worse.
            let found = judged(&cell(model, &[0.05], 12, seed), seed);
            let expected = [Verdict::Faster, Verdict::Slower, Verdict::Slower];
            for ((verdict, _), expected) in found.iter().zip(expected) {
                right += u64::from(*verdict == expected);
                wrong += u64::from(is_difference(*verdict) && *verdict != expected);
            }
        }
        println!(
            "{model:?}: a difference of 5 % found {right} times of {}",
            TRIALS * 3
        );
        assert_eq!(wrong, 0, "{model:?}");
        assert!(right >= TRIALS * 3 * 9 / 10, "{model:?}: {right}");
    }
}

#[test]
fn the_control_finds_that_the_place_in_the_round_matters() {
    let mut verdicts = Vec::new();
    for seed in 0..50 {
        verdicts.extend(judged(&cell(Model::PlaceInRound, &[0.0], 12, seed), seed));
    }
    let invalid = verdicts
        .iter()
        .filter(|(verdict, _)| *verdict == Verdict::Invalid)
        .count();
    assert!(
        invalid * 20 >= verdicts.len() * 19,
        "{invalid} of {}",
        verdicts.len()
    );
    assert!(!verdicts.iter().any(|(verdict, _)| is_difference(*verdict)));
}

/// Share of `trials` in which the signed-rank interval covers the true difference, and the level it
/// claims.
fn coverage(model: Model, rounds: u32, trials: u64) -> (f64, f64) {
    const EFFECT: f64 = 0.03;
    let mut covered = 0;
    let mut level = 0.0;
    for seed in 0..trials {
        let mut noise = Noise::new(model, 1_000_000 + seed);
        let mut order = [0, 1, 2, 3];
        let differences: Vec<f64> = (0..rounds)
            .map(|_| {
                noise.random.shuffle(&mut order);
                let runs = noise.round(4);
                let of = |arm: usize| runs[order.iter().position(|each| *each == arm).unwrap()];
                of(3) + EFFECT - of(0)
            })
            .collect();
        let interval = signed_rank_interval(&differences, 0.95).unwrap();
        covered += u64::from(interval.low <= EFFECT && EFFECT <= interval.high);
        level = interval.level;
    }
    (covered as f64 / trials as f64, level)
}

#[test]
fn intervals_cover_as_often_as_they_claim() {
    for model in MODELS {
        for rounds in [6, 12, 20] {
            let (covered, level) = coverage(model, rounds, 4000);
            println!("{model:?}, {rounds} rounds: covered {covered:.4}, claimed {level:.4}");
            assert!(
                (covered - level).abs() <= 0.015,
                "{model:?} {rounds}: {covered} {level}"
            );
        }
    }
}

#[test]
fn unpaired_intervals_cover_as_often_as_they_claim() {
    let trials = 4000;
    let mut covered = 0;
    let mut level = 0.0;
    for seed in 0..trials {
        let mut noise = Noise::new(Model::HeavyTails, seed);
        let first = noise.round(7);
        let second: Vec<f64> = noise.round(9).iter().map(|value| value + 0.1).collect();
        let interval = shift_interval(&first, &second, 0.95).unwrap();
        covered += u64::from(interval.low <= 0.1 && 0.1 <= interval.high);
        level = interval.level;
    }
    let covered = covered as f64 / trials as f64;
    assert!((covered - level).abs() <= 0.015, "{covered} {level}");
}

#[test]
fn stopping_looks_at_precision_and_never_at_significance() {
    let method = Method {
        precision_target: Finite::new(0.02),
        rounds_planned: 30,
        ..Method::new(1, Vary::Testee)
    };
    // The same noise with and without a difference: the rounds at which it stops are the same.
    let mut stops = Vec::new();
    for effect in [0.0, 0.5] {
        let stop = (1..=30).find_map(|rounds| {
            let cell = cell(Model::Gaussian, &[effect], rounds, 7);
            Some((rounds, stop_reason(&cell, &method)?))
        });
        stops.push(stop.unwrap());
    }
    assert_eq!(stops[0].1, StopReason::Precision);
    assert_eq!(stops[0], stops[1]);
    let quiet = cell(Model::SlowMinutes, &[0.0], 6, 7);
    let loose = Method {
        precision_target: Finite::new(0.5),
        ..method
    };
    assert_eq!(
        stop_reason(&quiet, &loose),
        None,
        "3 comparisons need 7 rounds"
    );
    let planned = Method {
        rounds_planned: 6,
        ..loose
    };
    assert_eq!(stop_reason(&quiet, &planned), Some(StopReason::Rounds));
}

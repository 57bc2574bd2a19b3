//! What stands in the way of a verdict, and that none depends on what is called the baseline.

use report::comparison::*;
use report::document::{Finite, Message};

use crate::comparison_fixtures::{self, Truth, URING, again};

const CONTROL: usize = 1;
const ARM: usize = 2;

/// 12 rounds of uring, its copy, and an epoll that needs 17 % more CPU and is 6 % slower.
fn cell() -> Cell {
    let epoll = Truth {
        engine: "epoll",
        role: ArmRole::Arm,
        rate: 88_100.0,
        testee_cpu_ns: 6_100.0,
        ..URING
    };
    comparison_fixtures::cell(4, 12, &[URING, again(URING), epoll], 1)
}

fn method() -> Method {
    Method::new(1, Vary::Testee)
}

fn verdict(cell: &Cell) -> (Verdict, String) {
    let analysis = analyse(cell, &method());
    let found = &analysis.verdicts[0];
    (found.verdict, found.words.clone())
}

/// Changes the counted runs of an arm from round `from` on.
fn change(cell: &mut Cell, arm: usize, from: u32, mut by: impl FnMut(&mut ArmRun)) {
    let rounds = cell
        .rounds
        .iter_mut()
        .filter(|round| round.number >= from.max(1));
    rounds.for_each(|round| by(&mut round.runs[arm]));
}

#[track_caller]
fn assert_invalid(cell: &Cell, why: &str) {
    let (verdict, words) = verdict(cell);
    assert_eq!(verdict, Verdict::Invalid, "{words}");
    assert!(words.contains(why), "{words}");
}

#[test]
fn without_a_usable_control_nothing_is_said() {
    let whole = cell();
    assert_eq!(verdict(&whole).0, Verdict::Slower);

    let mut given_up = whole.clone();
    change(&mut given_up, CONTROL, 3, |run| {
        run.failure = Some(Message::new("peer", "it broke"));
    });
    assert_invalid(
        &given_up,
        "no usable control: 10 of 12 runs of uring (again) do not count: it broke",
    );

    let mut unsteady = whole.clone();
    change(&mut unsteady, CONTROL, 8, |run| {
        for (step, rate) in run.series.values.iter_mut().enumerate() {
            *rate = Finite::from(50_000 + 5_000 * step as u32);
        }
    });
    assert_invalid(
        &unsteady,
        "no usable control: 5 of 12 runs of uring (again) were unsteady",
    );

    let mut none = whole.clone();
    none.arms.truncate(2);
    none.arms[CONTROL].role = ArmRole::Arm;
    assert_invalid(
        &none,
        "no usable control: the baseline was not measured a second time",
    );

    // Without a value in one metric it is of no use in that one.
    let mut without_rate = whole.clone();
    change(&mut without_rate, CONTROL, 6, |run| {
        run.rate_per_second = None;
    });
    assert_invalid(
        &without_rate,
        "together in only 5 rounds, too few for an interval of 95.0 %",
    );
    let analysis = analyse(&without_rate, &method());
    let cpu = analysis.metric(Metric::TesteeCpuPerOperation).unwrap();
    assert_eq!(cpu.arms[ARM].verdict, Some(Verdict::Slower));
}

#[test]
fn too_few_rounds_for_the_arm_are_its_own_reason() {
    let mut few = cell();
    few.rounds.truncate(5);
    let (verdict, words) = verdict(&few);
    assert_eq!(verdict, Verdict::Inconclusive, "{words}");
}

/// Rates of uring, its copy and epoll in every round, exactly: the copy and the arm as factors.
fn with_rates(copy: impl Fn(u32) -> f64, arm: impl Fn(u32) -> f64) -> Cell {
    let mut cell = cell();
    for round in &mut cell.rounds {
        let factors = [1.0, copy(round.number), arm(round.number)];
        for (run, factor) in round.runs.iter_mut().zip(factors) {
            run.rate_per_second = Finite::new(1e6 * factor);
        }
    }
    cell
}

/// The same rounds with the arm as the baseline, and a copy that differs from it as the copy did from
/// the other.
fn exchanged(copy: impl Fn(u32) -> f64, arm: impl Fn(u32) -> f64) -> Cell {
    with_rates(copy, |round| 1.0 / arm(round))
}

#[test]
fn verdicts_are_the_same_whichever_is_the_baseline() {
    let mirrored = |verdict| match verdict {
        Verdict::Faster => Verdict::Slower,
        Verdict::Slower => Verdict::Faster,
        other => other,
    };
    let wobble = |round: u32| 1.0 + 0.0005 * f64::from(round % 3);
    let mut seen = Vec::new();
    // 0.995 % less is 1.005 % more seen from the other side, 1.97 % less is 2.01 % more.
    for change in [
        -0.05, -0.0205, -0.0197, -0.012, -0.00995, -0.0098, 0.0, 0.0099, 0.0101, 0.0201, 0.06,
    ] {
        let arm = |round: u32| (1.0 + change) * wobble(round + 1);
        let there = verdict(&with_rates(wobble, arm));
        let back = verdict(&exchanged(wobble, arm));
        assert_eq!(
            there.0,
            mirrored(back.0),
            "{change}: {} / {}",
            there.1,
            back.1
        );
        seen.push(there.0);
    }
    assert!(
        seen.contains(&Verdict::Equivalent) && seen.contains(&Verdict::Slower),
        "{seen:?}"
    );
}

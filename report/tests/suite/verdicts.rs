//! What stands in the way of a verdict, and that none depends on what is called the baseline.

use report::Labelled;
use report::comparison::*;
use report::document::{Finite, Message, Pace, Plan, Round, Worker};
use report::saved::View;
use report::text::Style;

use crate::comparison_fixtures::{self, EPOLL, URING, again};

const CONTROL: usize = 1;
const ARM: usize = 2;

/// 12 rounds of uring, its copy, and epoll.
fn cell() -> Cell {
    comparison_fixtures::cell(4, 12, &[URING, again(URING), EPOLL], 1)
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
        "no usable control: 10 of 12 runs of uring (again) left out: it broke",
    );

    let mut unsteady = whole.clone();
    change(&mut unsteady, CONTROL, 8, |run| {
        for (step, rate) in run.series.values.iter_mut().enumerate() {
            *rate = Finite::from(50_000 + 5_000 * step as u32);
        }
    });
    assert_invalid(
        &unsteady,
        "no usable control: 5 of 12 runs of uring (again) unsteady",
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

fn warnings(cell: &Cell, method: &Method) -> Vec<String> {
    let warnings = analyse(cell, method).warnings;
    warnings.into_iter().map(|warning| warning.code).collect()
}

#[test]
fn equivalence_is_no_licence_to_exceed_a_narrow_limit() {
    let wobble = |round: u32| 1.0 + 0.0005 * f64::from(round % 3);
    let mut comparison = Comparison::new("0", Vec::new(), method());
    comparison.cells = vec![with_rates(wobble, |round| 0.991 * wobble(round + 1))];
    analyse_all(&mut comparison);
    let state = |text: &str| {
        let threshold: Threshold = text.parse().unwrap();
        threshold.check(&comparison)[0].state
    };
    let analysis = comparison.cells[0].analysis.as_ref().unwrap();
    assert_eq!(analysis.verdict(ARM), Some(Verdict::Equivalent));
    assert_eq!(state("rate<-0.5%"), OutcomeState::Undecided);
    assert_eq!(state("rate<-2%"), OutcomeState::Kept);
}

#[test]
fn an_interval_that_excludes_a_wide_limit_keeps_it_where_nothing_else_was_found() {
    // Too much noise for a difference or an equivalence, and far from a loss of 40 %.
    let noise = |round: u32| 0.925 + 0.05 * f64::from((round * 5) % 4);
    let mut comparison = Comparison::new("0", Vec::new(), method());
    comparison.cells = vec![with_rates(noise, |round| noise(round + 1))];
    let states = |comparison: &mut Comparison| {
        analyse_all(comparison);
        let analysis = comparison.cells[0].analysis.as_ref().unwrap();
        assert_eq!(analysis.verdict(ARM), Some(Verdict::Inconclusive));
        ["rate<-40%", "rate<-1%"].map(|text| {
            let threshold: Threshold = text.parse().unwrap();
            threshold.check(comparison)[0].state
        })
    };
    assert_eq!(
        states(&mut comparison),
        [OutcomeState::Kept, OutcomeState::Undecided]
    );
    // Too few rounds for an interval that could be believed.
    comparison.cells[0].rounds.truncate(5);
    assert_eq!(states(&mut comparison), [OutcomeState::Undecided; 2]);
}

#[test]
fn a_percentile_of_few_values_is_none() {
    let mut few = cell();
    for arm in [0, CONTROL, ARM] {
        change(&mut few, arm, 1, |run| {
            run.latency.as_mut().unwrap().count = 999
        });
    }
    let analysis = analyse(&few, &method());
    let p99 = analysis.metric(Metric::LatencyP99).unwrap();
    assert!(p99.arms[ARM].values.is_empty());
    assert_eq!(p99.arms[ARM].verdict, Some(Verdict::Invalid));
    let reason = p99.arms[ARM].reason.as_ref().unwrap();
    assert!(reason.contains("fewer than 1000 latencies"), "{reason}");
    assert!(analysis.metric(Metric::LatencyP50).is_some());
    assert!(analysis.metric(Metric::LatencyP999).is_none());
    change(&mut few, ARM, 1, |run| {
        run.latency.as_mut().unwrap().count = 1000
    });
    assert!(few.rounds[1].runs[ARM].value(Metric::LatencyP99).is_some());
    assert!(few.rounds[1].runs[ARM].value(Metric::LatencyP999).is_none());
}

/// Lets the runs of an arm drift by `share` from their start to their end, from round `from` on.
fn drift(cell: &mut Cell, arm: usize, from: u32, share: f64) {
    change(cell, arm, from, |run| {
        let last = (run.series.values.len() - 1) as f64;
        for (step, rate) in run.series.values.iter_mut().enumerate() {
            *rate = Finite::new(50_000.0 * (1.0 + share * step as f64 / last)).unwrap();
        }
    });
}

#[test]
fn a_drift_spoils_only_what_does_not_stand_clear_of_it() {
    let wobble = |round: u32| 1.0 + 0.0005 * f64::from(round % 3);
    let large = || with_rates(wobble, |round| 1.61 * wobble(round + 1));
    let small = || with_rates(wobble, |round| 1.03 * wobble(round + 1));
    // Five of twelve runs drift by 10 %: nothing to a difference of 61 %, and all of one of 3 %.
    for arm in [0, CONTROL, ARM] {
        let (mut far, mut near) = (large(), small());
        drift(&mut far, arm, 8, 0.1);
        drift(&mut near, arm, 8, 0.1);
        assert_eq!(verdict(&far).0, Verdict::Faster, "{arm}");
        assert_invalid(&near, "5 of 12 runs of");
        let analysis = analyse(&far, &method());
        let found = analysis.steadiness[arm].drift.unwrap().get();
        assert!((0.04..0.11).contains(&found), "{found}");
        assert!(warnings(&far, &method()).contains(&"unsteady_runs".to_owned()));
    }
    // What one run in five did is no drift of the arm.
    let mut few = small();
    drift(&mut few, ARM, 11, 0.5);
    assert_eq!(verdict(&few).0, Verdict::Faster);
    // The drifts of both sides add up.
    let mut both = large();
    for arm in [0, ARM] {
        drift(&mut both, arm, 1, 0.5);
    }
    assert_invalid(&both, "12 of 12 runs of epoll unsteady");
    let mut equal = with_rates(wobble, |round| wobble(round + 1));
    drift(&mut equal, ARM, 8, 0.1);
    assert_invalid(&equal, "5 of 12 runs of epoll unsteady");
}

#[test]
fn percentiles_of_an_arm_are_of_the_same_rounds() {
    // In every other round there are values for a p99.9, and there they are lower than in the others.
    let mut cell = cell();
    for arm in [0, CONTROL, ARM] {
        change(&mut cell, arm, 1, |run| {
            let latency = run.latency.as_mut().unwrap();
            let large = run.started_at_unix_ns / 15_000_000_000 % 2 == 0;
            let factor = if large { 1 } else { 10 };
            latency.count = if large { 10_000 } else { 9_000 };
            (latency.p99_ns, latency.p99_9_ns) = (100_000 * factor, 150_000 * factor);
        });
    }
    let analysis = analyse(&cell, &method());
    let median = |metric: Metric, arm: usize| {
        let found = analysis.metric(metric)?;
        Some(found.arms[arm].median?.get())
    };
    for arm in [0, CONTROL, ARM] {
        let p99 = median(Metric::LatencyP99, arm).unwrap();
        let p99_9 = median(Metric::LatencyP999, arm).unwrap();
        assert!(p99 <= p99_9, "{p99} {p99_9}");
        let values = |metric| analysis.metric(metric).unwrap().arms[arm].values.len();
        assert_eq!(values(Metric::LatencyP99), values(Metric::LatencyP999));
    }
}

#[test]
fn what_was_declared_decides() {
    let mut bound = cell();
    for arm in [0, CONTROL, ARM] {
        change(&mut bound, arm, 1, |run| {
            run.load.busy_fraction = Finite::new(0.99)
        });
    }
    let declared = |metric: Metric| {
        let mut cell = bound.clone();
        cell.primary_metrics = vec![metric];
        let method = Method {
            declared_metrics: vec![metric],
            ..method()
        };
        let analysis = analyse(&cell, &method);
        assert_eq!(analysis.comparisons, 1);
        assert_eq!(analysis.verdicts[0].decided_by, metric);
        analysis.verdicts[0].clone()
    };
    let cpu = declared(Metric::TesteeCpuPerOperation);
    assert_eq!(cpu.verdict, Verdict::Slower);
    assert!(
        cpu.words.starts_with("epoll needs more CPU than uring"),
        "{}",
        cpu.words
    );
    assert!(
        !cpu.words.contains("The rate cannot say it"),
        "{}",
        cpu.words
    );
    // A declared rate stays the question, even where it has no answer.
    let rate = declared(Metric::Rate);
    assert_eq!(rate.verdict, Verdict::Invalid);
    assert!(rate.words.contains("generator-bound"), "{}", rate.words);
}

/// The cell at a fixed rate, which all arms keep.
fn open_loop() -> Cell {
    let mut cell = with_rates(|_| 1.0, |_| 1.0);
    for arm in &mut cell.arms {
        arm.plan.pace = Pace::Constant {
            rate_per_second: Finite::from(1_000_000),
        };
    }
    cell
}

#[test]
fn what_was_never_answered_counts_against_an_arm_at_a_fixed_rate() {
    let mut open = open_loop();
    assert_ne!(verdict(&open).0, Verdict::Invalid);
    change(&mut open, ARM, 1, |run| {
        run.unfinished = run.operations / 100
    });
    assert_invalid(
        &open,
        "0.99 % of the operations of epoll failed or were never answered",
    );
    // In a closed loop it is what was in flight at the end.
    let mut closed = cell();
    change(&mut closed, ARM, 1, |run| {
        run.unfinished = run.operations / 100
    });
    assert_eq!(verdict(&closed).0, Verdict::Slower);
}

#[test]
fn who_does_not_keep_the_schedule_has_no_latency_to_judge() {
    let mut open = open_loop();
    change(&mut open, ARM, 1, |run| {
        run.rate_per_second = Some(Finite::from(985_000));
    });
    assert_invalid(&open, "12 of 12 runs of epoll completed less than 99 %");
    let said = analyse(&open, &method()).warnings;
    let said = said
        .iter()
        .find(|warning| warning.code == "beyond_capacity");
    let said = said.unwrap();
    assert!(
        said.text
            .starts_with("1.00 M/s were asked for and epoll reached 985 k/s: what waits"),
        "{}",
        said.text
    );
    assert_eq!(
        said.cure.as_deref(),
        Some("a --rate well below 985 k/s, or none")
    );
    let analysis = analyse(&open, &method());
    assert_eq!(analysis.verdicts[0].decided_by, Metric::LatencyP99);
    let cpu = analysis.metric(Metric::TesteeCpuPerOperation).unwrap();
    assert_eq!(cpu.arms[ARM].verdict, Some(Verdict::Slower));
}

#[test]
fn what_the_hypervisor_took_is_not_missed_when_a_side_is_called_busy() {
    let mut cell = cell();
    let busy = |run: &mut ArmRun| run.load.busy_fraction = Finite::new(0.92);
    change(&mut cell, ARM, 1, busy);
    assert_eq!(verdict(&cell).0, Verdict::Slower);
    change(&mut cell, ARM, 1, |run| {
        run.hosts[0].steal_fraction = Finite::new(0.05)
    });
    let (_, words) = verdict(&cell);
    assert!(
        words.contains("generator-bound: the load, which is not varied, was 92.0 % busy"),
        "{words}"
    );
}

#[test]
fn a_limit_that_cannot_be_seen_is_a_doubt() {
    let plain = cell();
    assert_eq!(warnings(&plain, &method()), [""; 0]);
    let mut shared = plain.clone();
    shared.arms[ARM].plan.placement.load = "same core".to_owned();
    assert_eq!(warnings(&shared, &method()), ["cpus_shared"]);
    let mut foreign = plain.clone();
    for arm in [0, CONTROL, ARM] {
        change(&mut foreign, arm, 1, |run| run.testee = None);
    }
    assert_eq!(
        warnings(&foreign, &Method::new(1, Vary::Load)),
        ["limit_unknown"]
    );
    assert_eq!(
        warnings(&foreign, &method()),
        [""; 0],
        "the load is what is not varied"
    );
}

#[test]
fn a_run_that_ended_early_does_not_count() {
    let (_, document) = crate::fixtures::all().remove(0);
    let mut round = document.rounds[0].clone();
    assert!(ArmRun::from_round(0, &document.plan, &round, 0).counts());
    round.ended_early = true;
    let run = ArmRun::from_round(0, &document.plan, &round, 0);
    assert!(!run.counts());
    assert_eq!(run.invalid[0].code, "ended_early");
}

#[test]
fn threads_that_share_a_cpu_are_busy_when_it_is() {
    let (_, document) = crate::fixtures::all().remove(0);
    let mut round = document.rounds[0].clone();
    let busy = |round: &Round, connections: u64| {
        let plan = Plan {
            connections,
            ..document.plan.clone()
        };
        let run = ArmRun::from_round(0, &plan, round, 0);
        run.load.busy_fraction.unwrap().get()
    };
    round.cost.load.cpu_cores_busy = Finite::new(1.0);
    let side = &mut round.load[0];
    let worker = side.workers[0].clone();
    side.threads = 2;
    side.workers = [[0], [0]]
        .map(|cpus| Worker {
            cpus_granted: cpus.to_vec(),
            ..worker.clone()
        })
        .to_vec();
    assert_eq!(busy(&round, 4), 1.0, "two threads, one CPU");
    round.load[0].workers[1].cpus_granted = vec![1];
    assert_eq!(busy(&round, 4), 0.5, "two threads, two CPUs");
    round.load[0].busiest_thread_share = Finite::new(0.99);
    assert_eq!(busy(&round, 4), 0.99, "one of them is saturated");
    round.load[0].busiest_thread_share = None;
    // A thread per connection may use as many CPUs as there are connections, and no more than it may.
    round.load[0].thread_per_connection = true;
    (round.load[0].threads, round.load[0].workers) = (1, vec![worker]);
    round.load[0].workers[0].cpus_granted = (0..8).collect();
    assert_eq!(busy(&round, 4), 0.25);
    assert_eq!(busy(&round, 100), 0.125);
    assert_eq!(busy(&round, 1), 1.0);
}

#[test]
fn intervals_say_their_levels_and_where_they_come_from() {
    let mut lost = cell();
    change(&mut lost, ARM, 11, |run| {
        run.failure = Some(Message::new("peer", "it broke"));
    });
    let mut comparison = Comparison::new("0", Vec::new(), method());
    comparison.cells = vec![lost];
    let shown = |comparison: &mut Comparison| {
        analyse_all(comparison);
        let text = report::text::comparison::render(comparison, &Style::default());
        let page = [Labelled::new("c", View::Comparison(comparison))];
        (text, report::html::render(&page))
    };
    let (text, page) = shown(&mut comparison);
    let levels = "95.1 % to 95.8 %";
    assert!(
        text.contains(&format!("a level of {levels} (signed ranks, exact")),
        "{text}"
    );
    assert!(page.contains(&format!("{levels} interval")) && page.contains("in random order"));
    comparison.method.interleaved = false;
    let (text, page) = shown(&mut comparison);
    assert!(text.contains("(Mann-Whitney, exact"), "{text}");
    assert!(page.contains("were measured at different times") && !page.contains("in random order"));
}

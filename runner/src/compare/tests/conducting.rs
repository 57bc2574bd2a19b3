//! Rounds, orders and ends.

use super::*;

#[test]
fn every_arm_runs_once_a_round_and_the_baseline_twice() {
    let experiment =
        experiment(|request| request.cells = self::request(&["epoll", "blocking"], 2).cells);
    let (outcome, log) = play(&experiment, &mut Playhouse::default());
    assert!(outcome.failure.is_none());
    let comparison = outcome.comparison;
    assert_eq!((comparison.status, comparison.cells.len()), (Status::Ok, 2));
    assert_eq!(log.started.len(), 2 * 3 * 13);
    for cell in &comparison.cells {
        let labels: Vec<_> = cell.arms.iter().map(|arm| arm.label.as_str()).collect();
        assert_eq!(labels, ["epoll", "epoll (again)", "blocking"]);
        assert_eq!((cell.baseline(), cell.control()), (Some(0), Some(1)));
        assert_eq!((cell.rounds.len(), counted(cell)), (13, 12));
        assert!(cell.rounds[0].discarded && cell.stopped == StopReason::Rounds);
        for round in &cell.rounds {
            let arms: Vec<u32> = round.runs.iter().map(|run| run.arm).collect();
            assert_eq!(arms, [0, 1, 2], "in the order of the arms");
            let mut order = round.order.clone();
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2]);
        }
        assert_eq!(
            cell.arms[2].command,
            "linerate run rr --testee-engine blocking"
        );
    }
    // Round by round, both cells in each.
    let rounds: Vec<u32> = log.started.iter().map(|(round, ..)| *round).collect();
    assert!(rounds.is_sorted());
}

#[test]
fn a_seed_repeats_every_order() {
    let orders = |seed| {
        let experiment = experiment(|request| request.seed = seed);
        let (outcome, _) = play(&experiment, &mut Playhouse::default());
        let rounds = outcome.comparison.cells[0].rounds.clone();
        rounds
            .into_iter()
            .map(|round| round.order)
            .collect::<Vec<_>>()
    };
    assert_eq!(orders(1), orders(1));
    assert_ne!(orders(1), orders(2));
}

#[test]
fn rounds_follow_the_number_of_comparisons() {
    // Two arms, three metrics: 1 + log2(3 / 0.05) is 6.9.
    assert_eq!(experiment(|_| {}).method.rounds_minimum, 7);
    let five = ["epoll", "blocking", "uring", "epoll b", "epoll c"];
    let many = experiment(|request| request.cells = self::request(&five, 1).cells);
    assert_eq!(
        (many.method.rounds_minimum, many.method.rounds_planned),
        (9, 12)
    );
    for rounds in [6, 31] {
        let mut request = request(&["epoll", "blocking"], 1);
        request.rounds = Some(rounds);
        let error = Experiment::new(request).unwrap_err().to_string();
        assert!(
            error.contains("--rounds") && error.contains("from 7 to 30"),
            "{error}"
        );
    }
}

#[test]
fn the_budget_ends_it_between_rounds() {
    // A round takes 3 runs of 2 s, though it should take 1.4 s a run.
    let experiment = experiment(|request| request.budget_ns = Some(50_000_000_000));
    assert_eq!(experiment.method.rounds_planned, 30);
    let (outcome, log) = play(&experiment, &mut Playhouse::default());
    let cell = &outcome.comparison.cells[0];
    assert_eq!((cell.stopped, cell.rounds.len()), (StopReason::Budget, 8));
    assert_eq!(log.ended, [("cell 1".to_owned(), 7, StopReason::Budget)]);
    assert!(outcome.comparison.status == Status::Ok);
    assert!(
        log.started
            .iter()
            .all(|(.., left_ns)| *left_ns <= 50_000_000_000)
    );
    let mut small = request(&["epoll", "blocking"], 1);
    small.budget_ns = Some(20_000_000_000);
    let error = Experiment::new(small).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "--budget 20 s: it must be at least 34 s, which 7 rounds and a discarded one take"
        ),
        "{error}"
    );
    let mut enough = request(&["epoll", "blocking"], 1);
    enough.budget_ns = Some(34_000_000_000);
    assert!(Experiment::new(enough).is_ok(), "what is named suffices");
}

#[test]
fn precision_ends_it_and_not_before_the_minimum() {
    // Runs without any spread.
    let experiment = experiment(|request| request.precision = Some(0.01));
    assert_eq!(experiment.method.rounds_planned, 30);
    let (outcome, log) = play(&experiment, &mut Playhouse::default());
    assert_eq!(outcome.comparison.cells[0].stopped, StopReason::Precision);
    assert_eq!(log.ended, [("cell 1".to_owned(), 7, StopReason::Precision)]);
}

#[test]
fn what_is_left_is_corrected_by_what_runs_took() {
    let (_, log) = play(&experiment(|_| {}), &mut Playhouse::default());
    let left_s: Vec<u64> = log
        .started
        .iter()
        .map(|(.., ns)| ns / 1_000_000_000)
        .collect();
    // 39 runs: 1.4 s each by the plan, 2 s each as the first has shown.
    assert_eq!((left_s[0], left_s[1], left_s[38]), (54, 76, 2));
    assert!(left_s[1..].is_sorted_by(|a, b| a >= b));
}

#[test]
fn an_arm_that_fails_is_counted_and_given_up_and_the_others_go_on() {
    let experiment = experiment(|request| {
        request.cells = self::request(&["epoll", "blocking", "uring"], 1).cells
    });
    let mut stage = Playhouse::default();
    stage.failing.insert("uring", (3, ExitClass::Peer));
    let (outcome, _) = play(&experiment, &mut stage);
    assert!(outcome.failure.is_none());
    let cell = &outcome.comparison.cells[0];
    assert_eq!((cell.stopped, counted(cell)), (StopReason::Rounds, 12));
    let of = |arm: usize| cell.rounds.iter().map(move |round| &round.runs[arm]);
    let failures: Vec<_> = of(3).filter_map(|run| run.failure.as_ref()).collect();
    assert_eq!(failures.len(), 10);
    assert_eq!(
        (failures[0].code.as_str(), failures[0].text.as_str()),
        ("peer", "it broke")
    );
    assert!(
        failures[2..]
            .iter()
            .all(|failure| failure.code == "not_run")
    );
    assert!(of(2).all(|run| run.failure.is_none() && run.counts()));
    assert_eq!(
        stage.played.iter().filter(|name| *name == "uring").count(),
        5
    );
}

#[test]
fn without_a_baseline_there_is_nothing_to_compare() {
    let mut stage = Playhouse::default();
    stage.failing.insert("epoll", (0, ExitClass::Peer));
    let (outcome, _) = play(&experiment(|_| {}), &mut stage);
    let failure = outcome.failure.unwrap();
    assert_eq!(
        (failure.class, failure.text.as_str()),
        (ExitClass::Peer, "it broke")
    );
    assert_eq!(outcome.comparison.status, Status::Failed);
    assert_eq!(outcome.comparison.cells[0].stopped, StopReason::Failed);
    assert!(stage.played.len() < 10, "{:?}", stage.played);
}

#[test]
fn a_cell_ends_with_its_control_for_no_verdict_is_possible_without() {
    // The order depends on the seed alone: one comparison tells where the control runs in the next.
    let (_, log) = play(&experiment(|_| {}), &mut Playhouse::default());
    let control = |(_, (_, what, _)): &(usize, &(u32, String, u64))| what.ends_with("(again)");
    let of_control = log.started.iter().enumerate().filter(control);
    let mut stage = Playhouse {
        failing_runs: of_control
            .map(|(number, _)| number)
            .skip(3)
            .take(2)
            .collect(),
        ..Playhouse::default()
    };
    let (outcome, log) = play(&experiment(|_| {}), &mut stage);
    let cell = &outcome.comparison.cells[0];
    assert_eq!((cell.stopped, counted(cell)), (StopReason::Failed, 4));
    assert_eq!(log.ended, [("cell 1".to_owned(), 4, StopReason::Failed)]);
}

#[test]
fn what_this_machine_cannot_do_ends_it_in_the_first_round() {
    let mut stage = Playhouse::default();
    stage.failing.insert("blocking", (0, ExitClass::Machine));
    let (outcome, _) = play(&experiment(|_| {}), &mut stage);
    let failure = outcome.failure.unwrap();
    assert_eq!(failure.class, ExitClass::Machine);
    assert!(
        failure.text.starts_with("blocking (cell 1): "),
        "{}",
        failure.text
    );
    assert!(stage.played.len() <= 3);
}

#[test]
fn an_interrupt_leaves_the_complete_rounds() {
    let mut stage = Playhouse {
        interrupt: Some((3 * 4 + 2, Cancel::new())),
        ..Playhouse::default()
    };
    let (outcome, _) = play(&experiment(|_| {}), &mut stage);
    let comparison = outcome.comparison;
    assert_eq!(comparison.status, Status::Interrupted);
    let cell = &comparison.cells[0];
    assert_eq!(
        (cell.stopped, cell.rounds.len(), counted(cell)),
        (StopReason::Interrupted, 5, 3)
    );
    let last = cell.rounds.last().unwrap();
    assert!(last.discarded);
    assert_eq!(last.runs.len(), 3);
    assert_eq!(
        last.runs.iter().filter(|run| run.failure.is_some()).count(),
        2
    );
}

#[test]
fn a_run_under_other_settings_does_not_count() {
    let mut stage = Playhouse {
        changes: Some(20),
        ..Playhouse::default()
    };
    let (outcome, _) = play(&experiment(|_| {}), &mut stage);
    let cell = &outcome.comparison.cells[0];
    let invalid = cell.rounds.iter().flat_map(|round| &round.runs);
    let invalid = invalid.filter(|run| !run.invalid.is_empty());
    assert_eq!(invalid.count(), 39 - 19);
}

#[test]
fn findings_are_told_before_the_numbers_and_recorded_once() {
    let mut stage = Playhouse {
        seen: vec![
            finding(Level::Problem, "neighbours", "others use the CPUs"),
            finding(Level::Fine, "steal", "nothing is stolen"),
        ],
        found: vec![
            ("testee", finding(Level::Warning, "governor", "powersave")),
            ("local", finding(Level::Warning, "governor", "schedutil")),
        ],
        ..Playhouse::default()
    };
    let (outcome, log) = play(&experiment(|_| {}), &mut stage);
    assert_eq!(log.findings[0], "local: others use the CPUs");
    // The three runs of the discarded round tell what they find, and the 36 that count do not.
    let per_run = ["testee: powersave", "local: schedutil"];
    assert_eq!(log.findings[1..], per_run.repeat(3));
    let warnings: Vec<&str> = outcome
        .comparison
        .warnings
        .iter()
        .map(|warning| warning.text.as_str())
        .collect();
    assert_eq!(
        warnings,
        [
            "host local, before measuring: others use the CPUs: it matters",
            "host testee: powersave: it matters (in every run)",
            "host local: schedutil: it matters (in every run)",
        ]
    );
}

#[test]
fn a_warning_of_some_runs_says_of_how_many() {
    let stage = Playhouse::default();
    let plan = Plan::new(arm("epoll").request).unwrap();
    let mut record = Record::new(&experiment(|_| {}), 0);
    let warnings: [&[&str]; 3] = [&["steal"], &[], &["steal", "steal"]];
    for codes in warnings {
        let mut document = stage.document(&plan);
        let messages = codes.iter().map(|code| Message::new(*code, "taken"));
        document.warnings.extend(messages);
        record.cell(0).begin_round(1, &[0, 1, 2], 0);
        let trial = record.cell(0).trial(0, 0, &document);
        record.take(0, trial);
    }
    let outcome = record.finish(None, false);
    let texts: Vec<String> = outcome
        .comparison
        .warnings
        .into_iter()
        .map(|warning| warning.text)
        .collect();
    assert_eq!(
        texts,
        [
            "taken (in 2 of 3 runs: epoll 2)",
            "taken (in 1 of 3 runs: epoll 1)"
        ]
    );
}

#[test]
fn a_foreign_target_has_no_process_to_judge() {
    let mut foreign = request(&["epoll", "blocking"], 1);
    foreign.vary = Vary::Both;
    for arm in &mut foreign.cells[0].arms {
        arm.request.common.testee_engine = None;
        arm.request.common.target = Some("tcp://127.0.0.1:9".into());
    }
    let experiment = Experiment::new(foreign).unwrap();
    let metrics = &experiment.cells[0].primary_metrics;
    assert_eq!(*metrics, [Metric::Rate, Metric::LatencyP99]);
}

#[test]
fn one_arm_is_no_comparison_and_names_are_unique() {
    let error = Experiment::new(request(&["epoll"], 1)).unwrap_err();
    assert!(error.to_string().contains("at least two arms"), "{error}");
    let error = Experiment::new(request(&["epoll", "epoll"], 1)).unwrap_err();
    assert!(error.to_string().contains("same name"), "{error}");
}

#[test]
fn a_neighbour_is_remarked_in_its_rounds() {
    // One run of the discarded round, two of the first that counts, one of the second.
    let mut stage = Playhouse {
        disturbed: vec![2, 5, 6, 8],
        ..Playhouse::default()
    };
    let (outcome, _) = play(&experiment(|_| {}), &mut stage);
    let cell = &outcome.comparison.cells[0];
    let remarks: Vec<usize> = cell
        .rounds
        .iter()
        .map(|round| round.remarks.len())
        .collect();
    assert_eq!(remarks[..4], [1, 2, 1, 0]);
    let text = &cell.rounds[2].remarks[0].text;
    assert!(
        text.starts_with("others used 0.25 CPUs of host local while "),
        "{text}"
    );
    assert_eq!(
        report::comparison::disturbed_rounds(cell).as_deref(),
        Some("Other programs used 0.1 CPUs or more in 2 of 12 rounds.")
    );
}

#[test]
fn arrivals_are_the_same_for_all_arms_of_a_round_and_differ_between_rounds() {
    let (outcome, _) = play(&experiment(|_| {}), &mut Playhouse::default());
    let rounds = &outcome.comparison.cells[0].rounds;
    let seeds: Vec<Option<u64>> = rounds
        .iter()
        .map(|round| {
            let seed = round.runs[0].poisson_seed;
            assert!(round.runs.iter().all(|run| run.poisson_seed == seed));
            seed
        })
        .collect();
    assert!(seeds.iter().all(Option::is_some));
    let distinct: std::collections::BTreeSet<_> = seeds.iter().collect();
    assert_eq!(distinct.len(), rounds.len());
}

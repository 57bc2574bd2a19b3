//! What the first sentences say of runs in which something went wrong: never a number that is none.

use report::assemble;
use report::document::{
    Confirmation, Document, ErrorCount, ErrorKind, Finite, LatencySummary, Pace, Round, Unfinished,
};
use report::saved::View;
use report::success::nothing_succeeded;
use report::text::Style;
use report::{Labelled, histogram};

use crate::fixtures;

fn fixture(name: &str) -> Document {
    let found = fixtures::all()
        .into_iter()
        .find(|(known, _)| *known == name);
    found.unwrap().1
}

fn text(document: &Document) -> String {
    let style = Style {
        color: false,
        width: 10_000,
    };
    report::text::render(document, &style)
}

fn headline(document: &Document) -> String {
    text(document).lines().next().unwrap().to_owned()
}

/// The document after a change to its only round.
fn changed(name: &str, change: impl FnOnce(&mut Round)) -> Document {
    let mut document = fixture(name);
    change(&mut document.rounds[0]);
    let summary = assemble::summary(&document.rounds);
    document.set_summary(summary);
    document
}

fn of_values(values_ns: &[u64]) -> Option<LatencySummary> {
    let mut recorded = histogram::new();
    for value in values_ns {
        recorded.record(*value).unwrap();
    }
    LatencySummary::from_histogram(&recorded).unwrap()
}

fn failures(kind: ErrorKind, count: u64) -> Vec<ErrorCount> {
    vec![ErrorCount {
        kind,
        count,
        text: None,
    }]
}

/// 12 k/s of 200 k/s: what came due in the window waited behind what had come due in the warm-up.
fn overloaded() -> Document {
    let mut document = changed("rr_one_round", |round| {
        round.measured.totals.operations = 120_000;
        round.rates.operations_per_second = Some(Finite::from(12_000));
        round.measured.latency.service = None;
        round.measured.latency.connect = of_values(&[91_800]);
        round.measured.unfinished = Unfinished {
            count: 2_000_000,
            never_sent: Some(2_000_000),
            oldest_age_ns: Some(1_000_000_000),
            ..Unfinished::default()
        };
    });
    document.plan.pace = Pace::Constant {
        rate_per_second: Finite::from(200_000),
    };
    document
}

#[test]
fn the_time_to_connect_is_no_latency_of_an_overloaded_run() {
    let document = overloaded();
    let sentence = headline(&document);
    assert!(
        sentence.contains(
            "12.0 k of 200 k operations/s asked for, no response time: 2,000,000 operations due were never sent, \
             the oldest waited 1.00 s, 1 connection"
        ),
        "{sentence}"
    );
    assert_eq!(report::hgrm::render(&document).unwrap(), None);
    assert_eq!(
        assemble::metric(&document.rounds[0], "latency_p99_ns"),
        None
    );
    let nothing = nothing_succeeded(&document.plan, &document.rounds[0]).unwrap();
    assert!(
        nothing
            .text
            .starts_with("nothing that was due in round 1 was answered: 2,000,000 operations"),
        "{}",
        nothing.text
    );
    assert!(
        nothing.text.ends_with("ask for a lower --rate"),
        "{}",
        nothing.text
    );
    // A closed loop that answered is a success, whatever is left.
    let sound = fixture("rr_one_round");
    assert_eq!(nothing_succeeded(&sound.plan, &sound.rounds[0]), None);
}

#[test]
fn connections_that_never_get_an_answer_are_in_the_first_sentence() {
    let mut document = changed("rr_one_round", |round| {
        round.measured.unfinished = Unfinished {
            count: 5,
            never_sent: Some(0),
            oldest_age_ns: Some(11_000_000_000),
            ..Unfinished::default()
        };
    });
    document.plan.connections = 10;
    let sentence = headline(&document);
    assert!(
        sentence
            .contains(", 5 operations have no answer, the oldest waited 11.0 s, 10 connections"),
        "{sentence}"
    );
}

#[test]
fn bytes_of_a_stream_count_before_its_message_is_complete() {
    let document = changed("stream_foreign_target", |round| {
        round.measured.totals.operations = 0;
        round.load[0].measured.totals.operations = 0;
        round.rates.operations_per_second = Some(Finite::from(0));
    });
    assert_eq!(nothing_succeeded(&document.plan, &document.rounds[0]), None);
    let sentence = headline(&document);
    assert!(
        sentence.contains("bit/s (sender side, unconfirmed)"),
        "{sentence}"
    );
    let silent = changed("stream_foreign_target", |round| {
        round.rates.throughput_bits_per_second = Some(Finite::from(0));
    });
    assert!(nothing_succeeded(&silent.plan, &silent.rounds[0]).is_some());
}

#[test]
fn a_stream_whose_every_connection_was_lost_has_moved_nothing() {
    let lost = |failed, opened, connections| {
        let mut document = changed("stream_foreign_target", |round| {
            assert_eq!(round.rates.confirmation, Confirmation::SenderUnconfirmed);
            round.measured.totals.bytes_received = 0;
            round.measured.totals.connections_opened = opened;
            round.measured.errors = failures(ErrorKind::Reset, failed);
        });
        document.plan.connections = connections;
        let nothing = nothing_succeeded(&document.plan, &document.rounds[0]);
        nothing.map(|nothing| nothing.text)
    };
    let text = lost(250, 251, 1).unwrap();
    assert!(
        text.contains("every connection of round 1 was lost (250 failures"),
        "{text}"
    );
    assert!(text.contains("connection reset by the peer"), "{text}");
    assert!(lost(4, 4, 4).is_some());
    // One that was lost and made again, and one of several, are no failure of all.
    assert_eq!(lost(1, 2, 1), None);
    assert_eq!(lost(1, 5, 4), None);
    assert_eq!(lost(0, 1, 1), None);
}

#[test]
fn our_own_testee_plays_its_role() {
    let nothing = |own: bool, unfinished: Unfinished| {
        let mut document = changed("rr_one_round", |round| {
            round.measured.totals.operations = 0;
            round.measured.unfinished = unfinished;
        });
        document.plan.target.own_testee = own;
        nothing_succeeded(&document.plan, &document.rounds[0])
            .unwrap()
            .text
    };
    let starved = nothing(true, Unfinished::default());
    assert!(
        starved.contains("busy with other things") && !starved.contains("role"),
        "{starved}"
    );
    let short = Unfinished {
        count: 1,
        never_sent: Some(0),
        text: Some("1024 of 4096 bytes came".to_owned()),
        ..Unfinished::default()
    };
    let foreign = nothing(false, short.clone());
    assert!(
        foreign
            .contains("1 operation has no answer (1024 of 4096 bytes came); check that the target"),
        "{foreign}"
    );
    assert!(!nothing(true, short).contains("role"));
}

#[test]
fn every_result_says_whether_the_generator_is_the_limit() {
    let asked = "Is the generator the limit? ";
    for (name, document) in fixtures::all() {
        let has_load = document.rounds.iter().any(|round| !round.load.is_empty());
        assert_eq!(text(&document).contains(asked), has_load, "{name}");
        let html = report::html::render(&[Labelled::new("run", View::Run(&document))]);
        assert_eq!(html.contains(asked), has_load, "{name}");
    }
    let said = |load: f64, testee: f64| {
        let document = changed("rr_one_round", |round| {
            round.cost.load.cpu_cores_busy = Finite::new(load);
            round.cost.testee.cpu_cores_busy = Finite::new(testee);
        });
        let text = text(&document);
        let line = text.lines().find_map(|line| line.strip_prefix(asked));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert_eq!(
        said(0.5, 0.4),
        "No: 1 thread of the load 50.0 % busy, the testee 40.0 % (process CPU time)."
    );
    assert!(said(0.97, 0.4).starts_with("Yes: "));
    assert!(said(0.97, 0.96).starts_with("In part, both sides are: "));
    assert!(said(0.9, 0.99).starts_with("No, the testee is: "));
    assert!(said(0.9, 0.5).starts_with("Perhaps: "));
}

#[test]
fn a_generator_that_was_late_is_named() {
    let with_lag = |lag_ns: u64| {
        let mut document = changed("echo_open_loop_with_errors", |round| {
            round.measured.schedule_lag = of_values(&[lag_ns; 1000]);
            round.measured.latency.response = of_values(&[5_000_000; 1000]);
        });
        document.warnings = report::warnings::from_rounds(&document);
        text(&document)
    };
    let late = with_lag(1_900_000);
    assert!(
        late.contains("the generator noticed one operation in a hundred 1.90 ms late or more, of a response time with p99 5.00 ms"),
        "{late}"
    );
    assert!(late.contains("a part of the tail is its own"), "{late}");
    assert!(!with_lag(200_000).contains("late or more"));
}

#[test]
fn of_an_open_loop_the_round_with_the_median_p99_is_shown() {
    let mut document = fixture("rr_five_rounds");
    assert!(text(&document).contains("is round 1, the one with the median rate."));
    document.plan.pace = Pace::Constant {
        rate_per_second: Finite::from(1_000),
    };
    for (round, p99_ns) in document
        .rounds
        .iter_mut()
        .zip([9_000, 5_000, 1_000, 7_000, 3_000])
    {
        round.measured.latency.response = of_values(&[p99_ns; 200]);
    }
    let summary = assemble::summary(&document.rounds);
    document.set_summary(summary);
    let text = text(&document);
    assert!(
        text.contains("is round 2, the one with the median p99."),
        "{text}"
    );
    let html = report::html::render(&[Labelled::new("run", View::Run(&document))]);
    assert!(html.contains("p99, response time, mean over rounds"));
}

#[test]
fn the_same_result_twice_makes_no_series_twice() {
    let document = fixture("rr_five_rounds");
    let twice = [
        Labelled::new("a.json", View::Run(&document)),
        Labelled::new("a.json", View::Run(&document)),
    ];
    let text = report::prometheus::render(&twice).unwrap();
    let mut series: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all);
    assert!(text.contains("run=\"a.json (2)\""), "{text}");
    let mut labels = ["x", "x (2)", "x"].map(|label| Labelled::new(label, ()));
    report::distinguish(&mut labels);
    let labels = labels.map(|labelled| labelled.label);
    assert_eq!(labels, ["x", "x (2)", "x (3)"]);
}

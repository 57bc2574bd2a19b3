//! The comparison document: its schema, and reading it back.

use report::Labelled;
use report::comparison::{
    Analysis, ArmRun, Comparison, Metric, OutcomeState, StopReason, Threshold, analyse_all,
};
use report::document::{LoadError, Message, unexplained_nulls};
use report::saved::{self, Saved, View};
use report::text::Style;

use crate::{bless, comparison_fixtures};

#[test]
fn the_committed_schema_is_that_of_the_types() {
    bless::compare(
        "schema/comparison-1.json",
        &report::json::comparison_schema().unwrap(),
    );
}

#[test]
fn comparisons_follow_the_schema_and_survive_json() {
    let schema = serde_json::from_str(&report::json::comparison_schema().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (name, comparison) in comparison_fixtures::all() {
        let json = report::json::render(&comparison).unwrap();
        let value = serde_json::from_str(&json).unwrap();
        let complaints: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(complaints, [""; 0], "{name}");
        let Saved::Comparison(found) = saved::load(&json).unwrap() else {
            panic!("{name} was read as something else")
        };
        assert_eq!(*found, comparison, "{name}");
        bless::compare(&format!("tests/fixtures/{name}.json"), &json);
    }
}

#[test]
fn every_null_of_a_comparison_has_its_reason() {
    for (name, comparison) in comparison_fixtures::all() {
        assert_eq!(unexplained_nulls(&comparison), [""; 0], "{name}");
    }
}

#[test]
fn a_run_is_not_a_comparison_and_what_is_neither_is_refused() {
    let (_, document) = crate::fixtures::all().remove(0);
    let json = report::json::render(&document).unwrap();
    assert!(matches!(saved::load(&json).unwrap(), Saved::Run(run) if *run == document));
    let error = saved::load(r#"{"schema": "linerate.comparison/9", "linerate_version": "7.1"}"#);
    assert_eq!(
        error.unwrap_err().to_string(),
        "the result has schema \"linerate.comparison/9\", and this linerate reads \
         \"linerate.result/1\" and \"linerate.comparison/1\": use the linerate that wrote it (7.1), \
         or a newer one"
    );
    let doctor = saved::load(r#"{"schema": "linerate.doctor/1"}"#);
    assert_eq!(
        doctor.unwrap_err().to_string(),
        "this is not a result: its schema is \"linerate.doctor/1\", and results have \
         \"linerate.result/1\" and \"linerate.comparison/1\""
    );
    let truncated = saved::load(r#"{"schema": "linerate.comparison/1"}"#).unwrap_err();
    assert!(matches!(truncated, LoadError::Malformed { .. }));
}

#[test]
fn a_threshold_is_exceeded_only_where_the_verdict_supports_it() {
    let (_, comparison) = comparison_fixtures::all().remove(0);
    let states = |text: &str| -> Vec<OutcomeState> {
        let threshold: Threshold = text.parse().unwrap();
        let outcomes = threshold.check(&comparison);
        outcomes.iter().map(|outcome| outcome.state).collect()
    };
    use OutcomeState::{Exceeded, Kept, Undecided};
    // Four connections: epoll and blocking lose 5.6 to 5.8 %. Sixteen: the rate is the generator's.
    assert_eq!(
        states("rate<-5%"),
        [Exceeded, Exceeded, Undecided, Undecided]
    );
    assert_eq!(states("rate<-10%"), [Kept, Kept, Undecided, Undecided]);
    assert_eq!(states("cpu_per_op>+10%"), [Exceeded; 4]);
    assert_eq!(states("cpu_per_op<-1%"), [Kept; 4]);
    let threshold: Threshold = "rate<-5%".parse().unwrap();
    let words = &threshold.check(&comparison)[0].words;
    assert!(
        words.starts_with(
            "rate<-5%: EXCEEDED in rr, 4 connections: epoll is slower than uring: rate"
        ),
        "{words}"
    );
}

#[test]
fn comparisons_as_text_and_csv() {
    for (name, comparison) in comparison_fixtures::all() {
        let text = report::text::comparison::render(&comparison, &Style::default());
        bless::compare(&format!("tests/fixtures/{name}.txt"), &text);
        let csv = report::csv::comparison::render(&comparison);
        bless::compare(&format!("tests/fixtures/{name}.csv"), &csv);
    }
}

/// Pages of tables without numbers would hide the one thing that there is to say.
#[test]
fn without_a_complete_round_there_is_one_plain_statement() {
    let (_, mut comparison) = comparison_fixtures::all().remove(1);
    for round in &mut comparison.cells[0].rounds {
        round.discarded = true;
    }
    comparison.warnings.clear();
    analyse_all(&mut comparison);
    let why = "it was interrupted before a round that counts was complete";
    let text = report::text::comparison::render(&comparison, &Style::default());
    assert!(text.starts_with(&format!("No verdict: {why}.\n")), "{text}");
    let view = [Labelled::new("empty", View::Comparison(&comparison))];
    let forms = [
        text,
        report::markdown::render_comparison(&comparison),
        report::html::render(&view),
    ];
    for form in forms {
        assert!(form.contains(why), "{form}");
        assert!(form.contains("nothing can be said"), "{form}");
        for table in ["median", "retransmits", "INVALID", "Verdicts"] {
            assert!(!form.contains(table), "{table}: {form}");
        }
    }
}

#[test]
fn one_round_of_one_comparison_is_no_plural() {
    let (_, mut comparison) = comparison_fixtures::all().remove(0);
    comparison.cells.truncate(1);
    let cell = &mut comparison.cells[0];
    cell.rounds.truncate(2);
    cell.arms.truncate(3);
    cell.primary_metrics.truncate(1);
    for round in &mut cell.rounds {
        round.runs.truncate(3);
    }
    let lost = Message::new("peer", "it broke");
    cell.rounds[1].runs[2] = ArmRun::failed(2, 0, lost);
    cell.stopped = StopReason::Interrupted;
    analyse_all(&mut comparison);
    let text = report::text::comparison::render(&comparison, &Style::default());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "1 round counted, until it was interrupted; at least 6 are needed for 1 comparison.",
        "only 1 round counted, for it was interrupted; 6 are needed for 1 comparison before any",
        "let it run to its end",
        "1 of 1 run of epoll left out: it broke",
        "1 of 3 runs left out; the first, of epoll: it broke",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for wrong in ["1 rounds", "1 comparisons", "1 runs"] {
        assert!(!text.contains(wrong), "{wrong}: {text}");
    }
}

#[test]
fn counters_of_the_namespace_are_called_so_where_they_count() {
    let (_, mut comparison) = comparison_fixtures::all().remove(0);
    let said = |comparison: &Comparison| {
        let text = report::text::comparison::render(comparison, &Style::default());
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.matches("other traffic in this namespace").count()
    };
    assert_eq!(said(&comparison), 0);
    comparison.cells[0].rounds[1].runs[0].retransmitted_segments = 3;
    assert_eq!(said(&comparison), 1, "below the table");
    comparison.cells[0].rounds[1].runs[0].dropped_packets = 1 << 40;
    analyse_all(&mut comparison);
    assert_eq!(said(&comparison), 2, "and in the warning");
}

#[test]
fn results_that_were_not_interleaved_are_analysed_unpaired() {
    let (_, mut comparison) = comparison_fixtures::all().remove(0);
    let paired = comparison.cells[0].analysis.clone().unwrap();
    comparison.method.interleaved = false;
    analyse_all(&mut comparison);
    let cell = &comparison.cells[0];
    let unpaired = cell.analysis.as_ref().unwrap();
    let effect = |analysis: &Analysis| {
        analysis.metric(Metric::Rate).unwrap().arms[2]
            .effect
            .unwrap()
    };
    let logs = |arm: usize| -> Vec<f64> {
        let runs = cell.counted().map(|round| &round.runs[arm]);
        runs.map(|run| run.value(Metric::Rate).unwrap().ln())
            .collect()
    };
    let interval = report::statistics::shift_interval(&logs(0), &logs(2), 0.95).unwrap();
    let found = effect(unpaired);
    assert!((found.confidence_low.get() - interval.low.exp_m1()).abs() < 1e-12);
    assert_eq!(found.confidence_level.get(), interval.level);
    // The slow minutes that all arms shared are noise now.
    assert!(found.half_width() > 2.0 * effect(&paired).half_width());
    // Without repeats there is no interval, and it says so.
    for cell in &mut comparison.cells {
        cell.rounds.truncate(2);
    }
    analyse_all(&mut comparison);
    let words = &comparison.cells[0].analysis.as_ref().unwrap().verdicts[0].words;
    assert!(words.contains("no interval is possible"), "{words}");
}

#[test]
fn rounds_in_which_others_used_cpus_are_counted_in_every_report() {
    let (_, mut comparison) = comparison_fixtures::all().remove(0);
    let texts = |comparison: &report::comparison::Comparison| {
        let text = report::text::comparison::render(comparison, &Style::default());
        let words: Vec<&str> = text.split_whitespace().collect();
        let labelled = Labelled::new("saved", View::Comparison(comparison));
        [words.join(" "), report::html::render(&[labelled])]
    };
    for text in texts(&comparison) {
        assert!(!text.contains("Other programs used"), "{text}");
    }
    let rounds = &mut comparison.cells[0].rounds;
    for (round, code) in [
        (0, "neighbours"),
        (1, "neighbours"),
        (2, "neighbours"),
        (2, "steal"),
    ] {
        let remark = report::document::Message::new(code, "others were there");
        rounds[round].remarks.push(remark);
    }
    let line = format!(
        "Other programs used 0.1 CPUs or more in 2 of {0} rounds; the hypervisor took 0.1 CPUs or more in 1 of {0} rounds.",
        rounds.len() - 1
    );
    for text in texts(&comparison) {
        assert!(text.contains(&line), "{line} in {text}");
    }
}

//! Results of runs that were made apart, as one.

use crate::fixtures::all;
use report::Labelled;
use report::document::{Document, Pace, Status, unexplained_nulls};
use report::merge::apart::results;

/// When the fixtures' rounds were told to go.
const GO_UNIX_NS: u64 = 1_795_224_600_000_000_000;

/// A result of one round that went `late_ns` after the others.
fn measured(late_ns: u64) -> Document {
    let fixtures = all().into_iter();
    let (_, mut document) = fixtures
        .into_iter()
        .find(|(_, document)| document.rounds.len() == 1 && document.status == Status::Ok)
        .expect("a fixture of one round");
    document.started_at_unix_ns += late_ns + 1;
    document.rounds[0].go_unix_ns = Some(GO_UNIX_NS + late_ns);
    document
}

fn merged(documents: &[Document]) -> Result<Document, String> {
    let labels = ["a", "b", "c"];
    let parts: Vec<Labelled<&Document>> = documents
        .iter()
        .zip(labels)
        .map(|(document, label)| Labelled::new(label, document))
        .collect();
    results(&parts).map_err(|obstacles| obstacles.join("; "))
}

#[test]
fn counts_are_summed_histograms_added_and_each_side_kept() {
    let parts = [measured(0), measured(100_000_000)];
    let both = merged(&parts).unwrap();
    let (one, round) = (&parts[0].rounds[0], &both.rounds[0]);
    assert_eq!(both.status, Status::Ok);
    assert_eq!(
        round.measured.totals.operations,
        2 * one.measured.totals.operations
    );
    let count = |document: &Document| {
        let latency = document.rounds[0].measured.latency.primary();
        latency.expect("a latency").1.count
    };
    assert_eq!(count(&both), 2 * count(&parts[0]));
    // The same distribution twice is the same distribution: nothing was averaged or lost.
    let p99 = |document: &Document| {
        document.rounds[0]
            .measured
            .latency
            .primary()
            .unwrap()
            .1
            .p99_ns
    };
    assert_eq!(p99(&both), p99(&parts[0]));
    let names: Vec<&str> = round.load.iter().map(|side| side.agent.as_str()).collect();
    assert_eq!(names, ["a: load", "b: load"]);
    assert_eq!(round.testee.len(), 2, "each run had a testee of its own");
    assert_eq!(both.hosts.len(), 2);
    assert_eq!(round.by_host.len(), 4);
    assert_eq!(both.plan.connections, 2 * parts[0].plan.connections);
    assert_eq!(round.start_skew_ns, Some(100_000_000));
    let longest_ns = one.window.length_ns;
    assert_eq!(round.common_window_ns, Some(longest_ns - 100_000_000));
    assert_eq!(unexplained_nulls(&both), Vec::<String>::new());
    let codes: Vec<&str> = both
        .warnings
        .iter()
        .map(|each| each.code.as_str())
        .collect();
    assert!(
        codes.contains(&"merged") && codes.contains(&"same_machine"),
        "{codes:?}"
    );
    // What it says is what any result says: it can be read back.
    let text = report::json::render(&both).unwrap();
    assert_eq!(report::document::load(&text).unwrap(), both);
}

#[test]
fn rates_of_open_loops_are_added() {
    let open = |late_ns| {
        let mut document = measured(late_ns);
        document.plan.pace = Pace::Constant {
            rate_per_second: 1_000.into(),
        };
        document
    };
    let both = merged(&[open(0), open(1)]).unwrap();
    assert_eq!(
        both.plan.pace,
        Pace::Constant {
            rate_per_second: 2_000.into()
        }
    );
}

#[test]
fn what_stands_in_the_way_is_said() {
    let refused = |change: &dyn Fn(&mut Document), part: &str| {
        let mut other = measured(100);
        change(&mut other);
        let error = merged(&[measured(0), other]).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    refused(
        &|other| other.plan.depth = 7,
        "depth differs in a and b: 1 and 7",
    );
    refused(
        &|other| other.linerate_version = "9.9".to_owned(),
        "linerate differs in a and b: 0.1.0 and 9.9",
    );
    refused(
        &|other| other.plan.target.own_testee = false,
        "the target differs",
    );
    refused(
        &|other| other.rounds[0].load[0].engine.used = "epoll".to_owned(),
        "the load's engine differs",
    );
    refused(
        &|other| other.status = Status::Partial,
        "b is a partial result",
    );
    refused(
        &|other| other.rounds[0].go_unix_ns = None,
        "b does not say when its rounds began",
    );
    let length_ns = measured(0).rounds[0].window.length_ns;
    let late = |ns| merged(&[measured(0), measured(ns)]);
    assert!(late(length_ns / 11).is_ok());
    let error = late(length_ns / 2).unwrap_err();
    assert!(
        error.contains("in round 1") && error.contains("50.0 %"),
        "{error}"
    );
    assert!(late(2 * length_ns).unwrap_err().contains("0.0 %"));
    let twice = merged(&[measured(0), measured(0)]).unwrap_err();
    assert!(twice.contains("a and b are one measurement"), "{twice}");
    assert!(merged(&[measured(0)]).unwrap_err().contains("two or more"));
}

//! Documents that earlier builds wrote are read and rendered in every form. The files under
//! `fixtures/versions` are never written again: a change that cannot read them breaks what users saved.

use report::Labelled;
use report::comparison::{Comparison, analyse_all};
use report::document::load;
use report::saved::{self, Saved, View};
use report::text::Style;

const COMPARISON_1: &str = include_str!("../fixtures/versions/comparison-1.json");
const RESULT_1: &str = include_str!("../fixtures/versions/result-1.json");

#[test]
fn a_result_of_the_first_version_renders_in_every_form() {
    let document = load(RESULT_1).unwrap();
    let run = [Labelled::new("old", View::Run(&document))];
    let first = "rr over tcp loopback: ";
    assert!(report::text::render(&document, &Style::default()).starts_with(first));
    assert!(report::markdown::render(&document).starts_with(&format!("**{first}")));
    assert!(
        report::csv::render(&document)
            .unwrap()
            .contains("rate_per_second")
    );
    assert!(
        report::json::render(&document)
            .unwrap()
            .contains("linerate.result/1")
    );
    assert!(report::html::render(&run).contains("Latency by percentile"));
    assert!(report::hgrm::render(&document).unwrap().is_some());
    let metrics = report::prometheus::render(&run).unwrap();
    assert!(metrics.contains("linerate_operations_per_second{run=\"old\",statistic=\"mean\"}"));
}

#[test]
fn a_newer_version_is_refused_in_one_clear_line() {
    let newer = RESULT_1.replace("linerate.result/1", "linerate.result/9");
    let message = load(&newer).unwrap_err().to_string();
    assert!(message.contains("linerate.result/9"), "{message}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn a_comparison_of_the_first_version_is_analysed_and_renders_in_every_form() {
    let Saved::Comparison(mut comparison) = saved::load(COMPARISON_1).unwrap() else {
        panic!("it was read as something else")
    };
    let text =
        |comparison: &Comparison| report::text::comparison::render(comparison, &Style::default());
    assert!(text(&comparison).contains("epoll is slower than uring"));
    analyse_all(&mut comparison);
    assert!(text(&comparison).contains("epoll is slower than uring"));
    assert!(report::csv::comparison::render(&comparison).contains("detectable"));
    let page = [Labelled::new("old", View::Comparison(&comparison))];
    assert!(report::html::render(&page).contains("Effects against the baseline"));
}

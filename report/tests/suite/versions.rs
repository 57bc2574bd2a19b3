//! Documents that earlier builds wrote are read and rendered in every form. The files under
//! `fixtures/versions` are never written again: a change that cannot read them breaks what users saved.

use report::Labelled;
use report::comparison::{Comparison, analyse_all};
use report::document::load;
use report::saved::{self, Saved, View};
use report::text::Style;

const COMPARISON_1: &str = include_str!("../fixtures/versions/comparison-1.json");
/// As it was written by a build that has measured it; the other was made.
const COMPARISON_1_MEASURED: &str = include_str!("../fixtures/versions/comparison-1-measured.json");
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

#[test]
fn a_measured_comparison_of_the_first_version_keeps_its_numbers_in_every_form() {
    let Saved::Comparison(mut comparison) = saved::load(COMPARISON_1_MEASURED).unwrap() else {
        panic!("it was read as something else")
    };
    assert_in_every_form(&comparison);
    let stored = report::json::render(comparison.as_ref()).unwrap();
    let again = saved::load(&stored).unwrap();
    assert!(matches!(again, Saved::Comparison(again) if again == comparison));
    // What later versions conclude of it may change; what was measured does not.
    analyse_all(&mut comparison);
    assert_in_every_form(&comparison);
}

/// The medians of the rate, and how they differ.
#[track_caller]
fn assert_in_every_form(comparison: &Comparison) {
    const FOR_PEOPLE: [&str; 3] = ["11.3 k/s", "12.7 k/s", "+16.8 %"];
    const FOR_PROGRAMS: [&str; 3] = ["11295", "12650", "0.1684907801967"];
    let page = [Labelled::new("old", View::Comparison(comparison))];
    let text = report::text::comparison::render(comparison, &Style::default());
    let forms = [
        ("text", FOR_PEOPLE, text),
        (
            "markdown",
            FOR_PEOPLE,
            report::markdown::render_comparison(comparison),
        ),
        ("html", FOR_PEOPLE, report::html::render(&page)),
        (
            "csv",
            FOR_PROGRAMS,
            report::csv::comparison::render(comparison),
        ),
        (
            "json",
            FOR_PROGRAMS,
            report::json::render(comparison).unwrap(),
        ),
        (
            "prom",
            FOR_PROGRAMS,
            report::prometheus::render(&page).unwrap(),
        ),
    ];
    for (name, parts, form) in forms {
        for part in parts {
            assert!(form.contains(part), "{name} without {part}: {form}");
        }
    }
}

//! Reports as a reader sees them: pages in a real browser, metrics through Prometheus' own parser.

mod page;

use std::path::PathBuf;
use std::time::Duration;

use linerate_tests::Directory;
use linerate_tests::binary::{call, within};
use linerate_tests::process::{Kept, python_with};
use page::{Page, report_fixture};
use report::units::{human_bit_rate, human_count, human_ns};
use serde_json::Value;

/// The figures that stand large on the page of a run: metric, name on the page, how it is shown.
type Shown = (&'static str, &'static str, fn(f64) -> String);
const FIGURES: [Shown; 6] = [
    ("rate_per_second", "rate", |value| {
        format!("{}/s", human_count(value))
    }),
    ("throughput_bits_per_second", "throughput", human_bit_rate),
    (
        "latency_p50_ns",
        "p50, service time, mean over rounds",
        human_ns,
    ),
    (
        "latency_p99_ns",
        "p99, service time, mean over rounds",
        human_ns,
    ),
    ("load_cpu_ns_per_operation", "load CPU/op", human_ns),
    ("testee_cpu_ns_per_operation", "testee CPU/op", human_ns),
];

#[test]
fn the_page_of_a_real_run_shows_the_figures_of_its_document() {
    within(180, || {
        let directory = Directory::new();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (json, html) = (path("run.json"), path("run.html"));
        // A second, for the browsers of the other tests may take both CPUs for a third of it.
        let run =
            "run rr --duration 1s --warmup 200ms --interval 100ms --repeat 3 --quiet --format json";
        let mut arguments: Vec<&str> = run.split(' ').collect();
        arguments.extend(["--output", &json, "--html", &html]);
        let finished = call(&arguments);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let Some(page) = Page::look("the_page_of_a_real_run", &PathBuf::from(&html)) else {
            return;
        };
        let document: Value =
            serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        page.assert_sound();
        for view in page.views() {
            assert_figures(view, &document);
            assert_rounds(view, &document);
            let titles: Vec<&str> = view["plots"]
                .as_array()
                .unwrap()
                .iter()
                .map(|plot| plot["title"].as_str().unwrap())
                .collect();
            assert_eq!(
                titles,
                [
                    "Latency by percentile",
                    "Rate over time",
                    "CPU time per operation"
                ]
            );
        }
    });
}

fn assert_figures(view: &Value, document: &Value) {
    let metrics = &document["summary"]["metrics"];
    for (metric, name, show) in FIGURES {
        let expected = show(metrics[metric]["mean"].as_f64().unwrap());
        let figures = view["figures"].as_array().unwrap();
        let figure = figures.iter().find(|figure| figure[0] == name).unwrap();
        assert_eq!(figure[1], expected.as_str(), "{metric}");
    }
}

/// Each round's row in the table, cell by cell.
fn assert_rounds(view: &Value, document: &Value) {
    let tables = view["tables"].as_array().unwrap();
    let rounds = tables
        .iter()
        .find(|table| table["name"] == "Rounds")
        .unwrap();
    let row = |name: &str| {
        let rows = rounds["rows"].as_array().unwrap();
        rows.iter().find(|row| row[0] == name).unwrap().clone()
    };
    for (column, (metric, _, show)) in (1..).zip(FIGURES) {
        let summary = &document["summary"]["metrics"][metric];
        for (number, value) in (1..).zip(summary["values"].as_array().unwrap()) {
            let expected = show(value.as_f64().unwrap());
            assert_eq!(
                row(&format!("round {number}"))[column],
                expected.as_str(),
                "{metric}"
            );
        }
        let median = show(summary["median"].as_f64().unwrap());
        assert_eq!(row("median")[column], median.as_str(), "{metric}");
    }
}

#[test]
fn pages_of_many_kinds_are_sound_in_every_width_and_theme() {
    within(240, || {
        let directory = Directory::new();
        for name in [
            "echo_open_loop_with_errors",
            "failed_before_it_began",
            "stream_foreign_target",
            "rr_under_a_profile",
        ] {
            let html = directory.path().join(format!("{name}.html"));
            report_fixture(&[name], "html", &html);
            let Some(page) = Page::look("pages_of_many_kinds", &html) else {
                return;
            };
            page.assert_sound();
        }
    });
}

#[test]
fn several_results_stand_side_by_side_on_one_page() {
    within(180, || {
        let directory = Directory::new();
        let html = directory.path().join("both.html");
        report_fixture(&["rr_five_rounds", "crr_interrupted"], "html", &html);
        let Some(page) = Page::look("several_results", &html) else {
            return;
        };
        page.assert_sound();
        let view = &page.views()[0];
        assert_eq!(view["headline"], "2 results");
        let table = &view["tables"][0];
        assert_eq!(table["name"], "Runs side by side");
        assert_eq!(table["rows"].as_array().unwrap().len(), 3);
    });
}

#[test]
fn a_comparison_shows_its_figures() {
    within(180, || {
        let directory = Directory::new();
        let html = directory.path().join("compare.html");
        report_fixture(&["compare_rr"], "html", &html);
        let Some(page) = Page::look("a_comparison_shows_its_figures", &html) else {
            return;
        };
        page.assert_sound();
        let document = page::fixture("compare_rr");
        for view in page.views() {
            let text = view.to_string();
            for cell in document["cells"].as_array().unwrap() {
                assert!(text.contains(cell["label"].as_str().unwrap()));
                for metric in cell["analysis"]["metrics"].as_array().into_iter().flatten() {
                    assert_effects(view, cell, metric);
                }
            }
        }
    });
}

/// Median and change of every arm in the tables.
fn assert_effects(view: &Value, cell: &Value, metric: &Value) {
    let show: fn(f64) -> String = match metric["unit"].as_str().unwrap() {
        "1/s" => |value| format!("{}/s", human_count(value)),
        "bit/s" => human_bit_rate,
        _ => human_ns,
    };
    for arm in metric["arms"].as_array().unwrap() {
        let Some(median) = arm["median"].as_f64() else {
            continue;
        };
        let number = usize::try_from(arm["arm"].as_u64().unwrap()).unwrap();
        let label = cell["arms"][number]["label"].as_str().unwrap();
        let change = arm["effect"]["change"].as_f64();
        let change = change.map_or("-".to_owned(), |change| format!("{:+.1} %", change * 100.0));
        let expected = [label, &show(median), &change];
        let tables = view["tables"].as_array().unwrap();
        let mut rows = tables
            .iter()
            .flat_map(|table| table["rows"].as_array().unwrap());
        let found = rows.any(|row| (0..3).all(|cell| row[cell + 1] == expected[cell]));
        assert!(found, "{}: {expected:?} is in no table", metric["metric"]);
    }
}

const PARSE: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families
families = text_string_to_metric_families(sys.stdin.read())
print(json.dumps([[f.name, f.type, [[s.name, s.labels, s.value] for s in f.samples]] for f in families]))
";

#[test]
fn prometheus_own_parser_reads_the_metrics() {
    let test = "prometheus_own_parser_reads_the_metrics";
    let module = "prometheus_client.parser";
    let Some(mut parser) = python_with(test, module, "python3-prometheus-client") else {
        return;
    };
    within(120, move || {
        let directory = Directory::new();
        let path = directory.path().join("linerate.prom");
        report_fixture(
            &["rr_five_rounds", "echo_open_loop_with_errors", "compare_rr"],
            "prom",
            &path,
        );
        parser
            .args(["-c", PARSE])
            .stdin(std::fs::File::open(&path).unwrap());
        let parsed = Kept::start(&mut parser).finish(Duration::from_secs(60));
        assert!(parsed.status.success(), "{}", parsed.stderr);
        let families = parsed.json();
        let expected =
            &page::fixture("rr_five_rounds")["summary"]["metrics"]["rate_per_second"]["mean"];
        let family = families.as_array().unwrap().iter();
        let rate = family
            .clone()
            .find(|family| family[0] == "linerate_operations_per_second")
            .unwrap();
        assert_eq!(rate[1], "gauge");
        assert_eq!(rate[2][0][2], *expected);
        let failed = family
            .clone()
            .find(|family| family[0] == "linerate_failed_operations")
            .unwrap();
        assert_eq!(failed[1], "counter");
        assert_eq!(failed[2][0][1]["kind"], "reset");
        assert_eq!(failed[2][0][2], 12.0);
    });
}

//! Markdown, hgrm, Prometheus and HTML of the fixtures.

use report::Labelled;
use report::document::Document;
use report::saved::View;

use crate::{bless, fixtures};

fn labelled(documents: &[(&str, Document)]) -> Vec<(String, Document)> {
    documents
        .iter()
        .map(|(name, document)| ((*name).to_owned(), document.clone()))
        .collect()
}

fn runs(documents: &[(String, Document)]) -> Vec<Labelled<View<'_>>> {
    documents
        .iter()
        .map(|(name, document)| Labelled::new(name.clone(), View::Run(document)))
        .collect()
}

#[test]
fn markdown_is_as_expected() {
    for name in ["rr_five_rounds", "echo_open_loop_with_errors"] {
        let (_, document) = fixtures::all()
            .into_iter()
            .find(|(n, _)| *n == name)
            .unwrap();
        let found = report::markdown::render(&document);
        bless::compare(&format!("tests/fixtures/{name}.md"), &found);
    }
}

#[test]
fn markdown_tables_have_a_rule_and_equal_columns() {
    for (name, document) in fixtures::all() {
        let markdown = report::markdown::render(&document);
        let rows: Vec<&str> = markdown
            .lines()
            .filter(|line| line.starts_with('|'))
            .collect();
        for table in rows.chunk_by(|a, b| columns(a) == columns(b)) {
            assert!(table[1].starts_with("|:--|"), "{name}: {table:?}");
        }
    }
}

fn columns(row: &str) -> usize {
    row.replace("\\|", "").matches('|').count()
}

#[test]
fn hgrm_is_as_expected() {
    let (_, document) = &fixtures::all()[0];
    let found = report::hgrm::render(document).unwrap().unwrap();
    bless::compare("tests/fixtures/rr_one_round.hgrm", &found);
}

#[test]
fn hgrm_says_when_there_is_no_latency() {
    let (_, document) = fixtures::all()
        .into_iter()
        .find(|(name, _)| *name == "stream_foreign_target")
        .unwrap();
    assert_eq!(report::hgrm::render(&document).unwrap(), None);
}

#[test]
fn prometheus_is_as_expected() {
    let documents = labelled(&fixtures::all());
    let found = report::prometheus::render(&runs(&documents)).unwrap();
    bless::compare("tests/fixtures/all.prom", &found);
}

#[test]
fn a_page_is_one_file_without_scripts_and_without_the_network() {
    for (name, document) in fixtures::all() {
        let page = report::html::render(&[Labelled::new(name, View::Run(&document))]);
        for wrong in [
            "<script",
            "javascript:",
            "@import",
            "url(",
            " src=",
            " onload=",
            "<a ",
        ] {
            assert!(!page.contains(wrong), "{name}: {wrong}");
        }
        // The name of SVG's vocabulary is no address that anything fetches.
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!addresses.contains("http://"), "{name}");
        assert!(!addresses.contains("https://"), "{name}");
    }
}

#[test]
fn what_a_document_says_cannot_become_markup() {
    let hostile = "<script>alert(1)</script>\"'&<b>";
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;&lt;b&gt;";
    for (_, document) in fixtures::all() {
        let mut tree = fixtures::tree(&document);
        poison(&mut tree, hostile);
        let Ok(document) = report::document::load(&tree.to_string()) else {
            panic!("a hostile document is still a document");
        };
        let run = [Labelled::new(hostile, View::Run(&document))];
        for page in [
            report::html::render(&run),
            report::html::render(&[run[0].clone(), run[0].clone()]),
        ] {
            assert!(!page.contains("<script"), "{page}");
            assert!(!page.contains("<b>"), "{page}");
            assert!(page.contains(escaped));
        }
        let markdown = report::markdown::render(&document);
        let outside_code = markdown.split("```").step_by(2);
        for part in outside_code {
            assert!(!part.contains("<script"), "{part}");
        }
    }
}

/// Puts `text` wherever a document may hold any text.
fn poison(value: &mut serde_json::Value, text: &str) {
    let fixed = [
        "schema",
        "histogram",
        "workload",
        "direction",
        "status",
        "role",
        "roles",
        "kind",
        "confirmation",
        "closer",
        "close",
        "accept_strategy",
        "class",
        "hold",
        "soft",
        "hard",
        "wanted",
        "queue",
        "closing",
        "sends",
    ];
    match value {
        serde_json::Value::String(old) => *old = text.to_owned(),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| poison(item, text)),
        serde_json::Value::Object(fields) => fields
            .iter_mut()
            .filter(|(name, _)| !fixed.contains(&name.as_str()))
            .for_each(|(_, item)| poison(item, text)),
        _ => {}
    }
}

#[test]
fn every_element_is_closed_and_every_id_is_unique() {
    for (name, document) in fixtures::all() {
        let run = Labelled::new(name, View::Run(&document));
        for page in [
            report::html::render(std::slice::from_ref(&run)),
            report::html::render(&[run.clone(), run.clone()]),
        ] {
            check_nesting(name, &page);
            let mut ids: Vec<&str> = page
                .split(" id=\"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .collect();
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), all, "{name}: ids twice");
        }
    }
}

/// Tags open and close in order. Style sheets hold no `<`.
fn check_nesting(name: &str, page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(2) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{name}");
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert_eq!(open, [""; 0], "{name}");
}

#[test]
fn a_page_has_every_number_of_the_text() {
    for (name, document) in fixtures::all() {
        let page = report::html::render(&[Labelled::new(name, View::Run(&document))]);
        let shown = visible(&page);
        let text = report::text::render(&document, &report::text::Style::default());
        let numbers = text
            .split_whitespace()
            .filter(|word| word.contains(|c: char| c.is_ascii_digit()));
        for number in numbers {
            let escaped = number
                .replace('&', "&amp;")
                .replace('"', "&quot;")
                .replace('>', "&gt;");
            assert!(shown.contains(escaped.as_str()), "{name}: {number}");
        }
    }
}

/// The page without its style sheet.
fn visible(page: &str) -> String {
    let (before, rest) = page.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    format!("{before}{after}")
}

#[test]
fn a_histogram_that_cannot_be_read_is_said_and_not_drawn() {
    let (name, mut document) = fixtures::all().remove(0);
    let service = document.rounds[0]
        .measured
        .latency
        .service
        .as_mut()
        .unwrap();
    service.histogram = "AAAA".to_owned();
    let page = report::html::render(&[Labelled::new(name, View::Run(&document))]);
    assert!(
        page.contains("No plot: a latency histogram is not HdrHistogram"),
        "{page}"
    );
    assert!(report::hgrm::render(&document).is_err());
    assert!(report::prometheus::render(&[Labelled::new(name, View::Run(&document))]).is_err());
}

/// A writer that keeps nothing.
#[derive(Default)]
struct Passing {
    longest: usize,
    bytes: usize,
}

impl std::io::Write for Passing {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.longest = self.longest.max(piece.len());
        self.bytes += piece.len();
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_rows_of_a_long_document_are_written_one_by_one() {
    let mut all = fixtures::all().into_iter();
    let (_, mut document) = all.find(|(name, _)| *name == "rr_one_round").unwrap();
    let round = &mut document.rounds[0];
    let interval = round.measured.intervals[0];
    round.measured.intervals = vec![interval; 10_000];
    round.load[0].measured.intervals = vec![interval; 10_000];
    let mut passing = Passing::default();
    report::csv::write(&document, &mut passing).unwrap();
    assert!(passing.bytes > 5_000_000, "{}", passing.bytes);
    assert!(passing.longest < 2_000, "{}", passing.longest);
    let text = report::csv::render(&document).unwrap();
    assert_eq!(text.len(), passing.bytes);
    for side in ["merged", "load"] {
        let last = format!("1,{side},measured.intervals.9999,");
        let rows = text.lines().filter(|line| line.starts_with(&last)).count();
        assert_eq!(rows, 8, "{side}");
    }
}

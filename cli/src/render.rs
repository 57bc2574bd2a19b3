//! From documents to the form that was asked for.

use report::Labelled;
use report::foreign::shown;
use report::saved::View;
use report::text::Style;

use crate::args::run_groups::Format;
use crate::problem::Problem;

/// Forms that hold one document and not several.
pub fn holds_one(format: Format) -> bool {
    matches!(format, Format::Csv | Format::Hgrm)
}

/// The documents in the form that was asked for; several stand one after the other, or side by side
/// where the form has a place for that.
///
/// # Errors
/// A document whose histograms cannot be read, or one without what the form shows.
pub fn render(
    format: Format,
    documents: &[Labelled<View>],
    style: &Style,
) -> Result<String, Problem> {
    match format {
        Format::Html => Ok(report::html::render(documents)),
        Format::Prom => report::prometheus::render(documents).map_err(unreadable),
        Format::Json => one_by_one(documents, |_| String::new(), json),
        Format::Csv => one_by_one(documents, |_| String::new(), csv),
        Format::Hgrm => one_by_one(documents, |_| String::new(), hgrm),
        Format::Text => one_by_one(
            documents,
            |label| format!("{}\n\n", shown(label)),
            |view| Ok(text(view, style)),
        ),
        Format::Markdown => one_by_one(
            documents,
            |label| format!("{}\n", report::markdown::heading(label)),
            |view| Ok(markdown(view)),
        ),
    }
}

/// Each document, under its title where there are several.
fn one_by_one(
    documents: &[Labelled<View>],
    title: impl Fn(&str) -> String,
    render: impl Fn(View) -> Result<String, Problem>,
) -> Result<String, Problem> {
    let mut parts = Vec::new();
    for document in documents {
        let text = render(document.value)?;
        parts.push(match documents.len() {
            1 => text,
            _ => title(&document.label) + &text,
        });
    }
    Ok(parts.join("\n"))
}

fn text(view: View, style: &Style) -> String {
    match view {
        View::Run(document) => report::text::render(document, style),
        View::Comparison(comparison) => report::text::comparison::render(comparison, style),
    }
}

fn markdown(view: View) -> String {
    match view {
        View::Run(document) => report::markdown::render(document),
        View::Comparison(comparison) => report::markdown::render_comparison(comparison),
    }
}

fn json(view: View) -> Result<String, Problem> {
    match view {
        View::Run(document) => report::json::render(document),
        View::Comparison(comparison) => report::json::render(comparison),
    }
    .map_err(unreadable)
}

fn csv(view: View) -> Result<String, Problem> {
    match view {
        View::Run(document) => report::csv::render(document).map_err(unreadable),
        View::Comparison(comparison) => Ok(report::csv::comparison::render(comparison)),
    }
}

fn hgrm(view: View) -> Result<String, Problem> {
    let View::Run(document) = view else {
        return Err(no_hgrm());
    };
    let found = report::hgrm::render(document).map_err(unreadable)?;
    found.ok_or_else(|| {
        Problem::usage("the result has no latency, and hgrm shows nothing else")
            .with_cure("take another --format")
    })
}

/// Of a comparison.
pub fn no_hgrm() -> Problem {
    Problem::usage("hgrm holds one distribution, and a comparison has one per arm")
        .with_cure("take --format html, which draws all of them")
}

fn unreadable(error: impl std::fmt::Display) -> Problem {
    Problem::usage(format!("cannot render the result: {error}"))
}

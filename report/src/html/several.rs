//! Several runs on one page: a table, their latencies over one another, then each of them.

use super::blocks::table;
use super::charts;
use super::markup::Markup;
use super::page::{Figures, Level};
use super::run;
use crate::Labelled;
use crate::document::Document;
use crate::pooled;
use crate::saved::View;
use crate::text::layout::Table;
use crate::text::rounds;

/// What must be said wherever runs stand side by side.
pub(super) const NOT_INTERLEAVED: &str = "These runs were made one after the other and not in turn: what \
    changed on the machine in between looks like a difference. To decide which is faster, use linerate compare.";

/// The page's content.
pub(super) fn body(page: &mut Markup, documents: &[Labelled<View>]) {
    let mut figures = Figures::default();
    let runs = super::runs(documents);
    page.within("header", &[], |page| {
        page.line("p", &[("class", "kicker")], "linerate report");
        page.line("h1", &[], &format!("{} results", documents.len()));
    });
    if runs.len() > 1 {
        page.within("section", &[], |page| {
            Level::Section.heading(page, "Runs side by side");
            page.line("p", &[("class", "warning")], NOT_INTERLEAVED);
            table(page, "Runs side by side", &overview(&runs));
            latencies(page, &mut figures, &runs);
        });
    }
    for document in documents {
        page.within("article", &[], |page| {
            page.line("h2", &[], &document.label);
            page.line(
                "p",
                &[("class", "verdict")],
                &super::sentence(document.value),
            );
            page.line("p", &[("class", "origin")], &super::origin(document.value));
            super::body(page, Level::Nested, &mut figures, document.value);
        });
        page.newline();
    }
}

fn overview(runs: &[Labelled<&Document>]) -> Table {
    let metrics = crate::assemble::METRICS;
    let titles = metrics.iter().map(|metric| rounds::title(metric));
    let mut table = Table::headed(std::iter::once("run").chain(titles));
    for run in runs {
        let cells = metrics.iter().map(|name| {
            rounds::summarised(run.value, name).map_or_else(rounds::dash, |metric| {
                let mean = rounds::show(name, metric.mean.get());
                match metric.confidence_interval_95_half_width {
                    Some(half) => format!("{mean} ± {}", rounds::show(name, half.get())),
                    None => mean,
                }
            })
        });
        table.row(std::iter::once(run.label.clone()).chain(cells));
    }
    table
}

fn latencies(page: &mut Markup, figures: &mut Figures, runs: &[Labelled<&Document>]) {
    let mut pooled = Vec::new();
    for run in runs {
        match pooled::primary(run.value) {
            Ok(latency) => pooled.extend(latency.map(|latency| (run, latency))),
            Err(error) => {
                let text = format!("{}: no line in the plot: {error}.", run.label);
                page.line("p", &[("class", "error")], &text);
            }
        }
    }
    let named = pooled.iter().map(|(run, latency)| {
        (
            format!("{}, {} time", run.label, latency.name),
            &latency.histogram,
        )
    });
    if let Some(lines) = charts::latency_lines(named.collect()) {
        let caption = "The latency that a user would feel, all operations of each run.";
        run::lines_figure(page, figures, &lines, caption);
    }
}

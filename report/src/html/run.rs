//! A run as a page, or as an article of a page with several.

use super::blocks::{flow, sections};
use super::charts;
use super::environment;
use super::markup::Markup;
use super::page::{Figures, Level};
use super::svg::{Drawing, Lines};
use crate::document::{Document, Round, Status};
use crate::histogram::HistogramError;
use crate::saved::View;
use crate::text::layout::{Block, Paper};
use crate::text::{
    self, clients, cost, headline, hosts, measured, next, ramp, rounds, shown_round,
};
use crate::units::{human_bit_rate, human_count, human_ns};

/// Everything below the title.
pub(super) fn body(page: &mut Markup, level: Level, figures: &mut Figures, document: &Document) {
    key_figures(page, document);
    messages(page, level, document);
    page.within("section", &[("class", "conditions")], |page| {
        let blocks = Paper::blocks_of(|paper| headline::conditions(document, paper));
        flow(page, "", &blocks);
    });
    if let Some(round) = shown_round(document) {
        let write = |write: &dyn Fn(&mut Paper)| Paper::blocks_of(|paper| write(paper));
        sections(
            page,
            level,
            &write(&|paper| rounds::section(document, round, paper)),
        );
        let latency = charts::latency(document);
        let blocks = write(&|paper| measured::latency(&document.plan, round, paper));
        with_figure(page, level, "Latency", &blocks, |page| {
            latency_figure(page, figures, document, latency);
            of_round(page, document);
        });
        throughput(page, level, figures, document, round);
        let blocks = write(&|paper| cost::section(round, paper));
        with_figure(page, level, "CPU and cost", &blocks, |page| {
            cpu_figure(page, figures, document);
            of_round(page, document);
        });
        sections(page, level, &write(&|paper| measured::errors(round, paper)));
        sections(page, level, &write(&|paper| hosts::section(round, paper)));
        sections(page, level, &write(&|paper| cost::network(round, paper)));
        environment::of_run(page, level, document, round);
    }
    repeat(page, level, document);
}

/// How much came through; of connections that were opened once, how they came up.
fn throughput(
    page: &mut Markup,
    level: Level,
    figures: &mut Figures,
    document: &Document,
    round: &Round,
) {
    let plan = &document.plan;
    let (title, blocks) = match plan.workload.holds() {
        true => (
            "Connections",
            Paper::blocks_of(|paper| ramp::table(plan, round, paper)),
        ),
        false => (
            "Throughput",
            Paper::blocks_of(|paper| measured::throughput(document, round, paper)),
        ),
    };
    with_figure(page, level, title, &blocks, |page| {
        match charts::ramp_over_time(plan, round).filter(|_| plan.workload.holds()) {
            Some(lines) => {
                let caption = format!("{}: {}.", lines.title(), lines.description());
                lines_figure(page, figures, &lines, &caption);
            }
            None => rate_figure(page, figures, document),
        }
        of_round(page, document);
    });
    if plan.workload.joins() {
        let blocks = Paper::blocks_of(|paper| clients::table(plan, round, paper));
        with_figure(page, level, "Clients", &blocks, |page| {
            if let Some(lines) = charts::ramp_over_time(plan, round) {
                let caption = format!("{}: {}.", lines.title(), lines.description());
                lines_figure(page, figures, &lines, &caption);
            }
            of_round(page, document);
        });
    }
    if plan.workload.holds() || plan.workload.joins() {
        let blocks = Paper::blocks_of(|paper| ramp::memory(round, paper));
        sections(page, level, &blocks);
    }
}

/// Of which round the tables are, where there are several: the key figures are of all of them.
fn of_round(page: &mut Markup, document: &Document) {
    let several = document.rounds.len() > 1;
    if let Some((round, by)) = text::chosen_round(document).filter(|_| several) {
        let number = round.number;
        let text = format!("This table is of round {number} alone, the one with the median {by}.");
        page.line("p", &[("class", "note")], &text);
    }
}

/// A section whose figure comes before what its blocks say.
fn with_figure(
    page: &mut Markup,
    level: Level,
    title: &str,
    blocks: &[Block],
    figure: impl FnOnce(&mut Markup),
) {
    if blocks.is_empty() {
        return;
    }
    let body = match blocks {
        [Block::Heading(_), body @ ..] => body,
        body => body,
    };
    page.within("section", &[], |page| {
        level.heading(page, title);
        figure(page);
        flow(page, title, body);
    });
    page.newline();
}

/// The numbers that most people look for, large.
fn key_figures(page: &mut Markup, document: &Document) {
    let Some(summary) = &document.summary else {
        return;
    };
    let latency = summary.methods.latency.as_deref().unwrap_or_default();
    let of_each = match document.rounds.len() {
        0 | 1 => "",
        _ => ", mean over rounds",
    };
    type Show = fn(f64) -> String;
    let figures: [(&str, String, Show); 6] = [
        ("rate_per_second", "rate".to_owned(), |value| {
            format!("{}/s", human_count(value))
        }),
        (
            "throughput_bits_per_second",
            "throughput".to_owned(),
            human_bit_rate,
        ),
        (
            "latency_p50_ns",
            format!("p50, {latency} time{of_each}"),
            human_ns,
        ),
        (
            "latency_p99_ns",
            format!("p99, {latency} time{of_each}"),
            human_ns,
        ),
        (
            "load_cpu_ns_per_operation",
            "load CPU/op".to_owned(),
            human_ns,
        ),
        (
            "testee_cpu_ns_per_operation",
            "testee CPU/op".to_owned(),
            human_ns,
        ),
    ];
    page.within("dl", &[("class", "figures")], |page| {
        for (metric, name, show) in figures {
            let Some(metric) = rounds::summarised(document, metric) else {
                continue;
            };
            page.within("div", &[], |page| {
                page.line("dt", &[], &name);
                page.line("dd", &[], &show(metric.mean.get()));
                let spread = match metric.confidence_interval_95_half_width {
                    Some(half_width) => format!(
                        "mean of {} rounds, ± {} (95 %)",
                        metric.n,
                        show(half_width.get())
                    ),
                    None => "one round".to_owned(),
                };
                page.line("dd", &[("class", "spread")], &spread);
            });
        }
    });
    page.newline();
}

/// Errors and warnings, each kind in a box with its name.
pub(super) fn messages(page: &mut Markup, level: Level, document: &Document) {
    let blocks = Paper::blocks_of(|paper| text::messages(document, paper));
    if blocks.is_empty() {
        return;
    }
    let class = match document.errors.is_empty() {
        true => "messages",
        false => "messages failed",
    };
    page.within("div", &[("class", class)], |page| {
        sections(page, level, &blocks)
    });
    page.newline();
}

fn latency_figure(
    page: &mut Markup,
    figures: &mut Figures,
    document: &Document,
    lines: Result<Option<Lines>, HistogramError>,
) {
    let lines = match lines {
        Ok(Some(lines)) => lines,
        Ok(None) => return,
        Err(error) => return page.line("p", &[("class", "error")], &format!("No plot: {error}.")),
    };
    let rounds = crate::assemble::counted(&document.rounds).len();
    let mut caption = match rounds {
        1 => "All operations of the round.".to_owned(),
        _ => format!("All operations of {rounds} rounds: their histograms added."),
    };
    if !lines.bands.is_empty() {
        caption += " The band is the range of the rounds.";
    }
    caption += " Each further nine of the percentile takes the same space; the last point is the \
                largest value.";
    lines_figure(page, figures, &lines, &caption);
}

/// Lines with their legend.
pub(super) fn lines_figure(page: &mut Markup, figures: &mut Figures, lines: &Lines, caption: &str) {
    let legend: Vec<(usize, String)> = lines
        .lines
        .iter()
        .map(|line| (line.style, line.name.clone()))
        .collect();
    figures.draw(page, lines, &legend, caption);
}

fn rate_figure(page: &mut Markup, figures: &mut Figures, document: &Document) {
    let Some(panels) = charts::rate_over_time(document) else {
        return;
    };
    let mut caption = format!("{}: {}.", panels.title(), panels.description());
    if panels.panels.iter().any(|panel| !panel.counts) {
        caption += " Rounds with a star do not count: they ended early or are invalid.";
    }
    figures.draw(page, &panels, &[], &caption);
}

fn cpu_figure(page: &mut Markup, figures: &mut Figures, document: &Document) {
    let Some(bars) = charts::cpu(document) else {
        return;
    };
    let ranges = match bars.bars.iter().any(|bar| bar.range.is_some()) {
        true => " Mean over rounds; the line is their range.",
        false => "",
    };
    let caption = format!(
        "CPU time per operation.{ranges} What the kernel does for a process in interrupts is in no process, \
         only in that of the host (netperf's service demand)."
    );
    figures.draw(page, &bars, &[], &caption);
}

/// The command, what was built, and what to run next.
fn repeat(page: &mut Markup, level: Level, document: &Document) {
    super::repeat(page, level, View::Run(document));
    page.newline();
    if document.status == Status::Ok {
        let blocks = Paper::blocks_of(|paper| next::section(document, paper));
        sections(page, level, &blocks);
    }
}

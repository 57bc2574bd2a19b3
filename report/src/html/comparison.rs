//! A comparison as a page: the verdicts first, then per cell the effects beside the noise of the machine,
//! the latencies, the rates round by round and the CPU time of each arm.

use super::blocks::{command, scrolling, table};
use super::charts;
use super::environment;
use super::markup::Markup;
use super::page::{Figures, Level};
use super::rounds_of_arms;
use super::run;
use super::svg::{Effect, Effects, Scale, trimmed};
use crate::comparison::words::{levels, verdict_in};
use crate::comparison::{
    Analysis, ArmEffect, ArmRole, Cell, Comparison, Metric, MetricAnalysis, Verdict,
    disturbed_rounds,
};
use crate::document::Message;
use crate::histogram::Histogram;
use crate::saved::View;
use crate::text::comparison::{NO_ROUNDS, conditions, rounds, show};
use crate::text::layout::Table;
use crate::units::{human_ns, human_percent};

/// Everything below the title.
pub(super) fn body(
    page: &mut Markup,
    level: Level,
    figures: &mut Figures,
    comparison: &Comparison,
) {
    messages(page, "Errors of the comparison", &comparison.errors);
    messages(page, "Warnings", &comparison.warnings);
    if comparison.has_rounds() {
        verdicts(page, level, comparison);
    }
    for cell in &comparison.cells {
        page.within("section", &[], |page| {
            level.heading(page, &cell.label);
            cell_body(page, figures, comparison, cell);
        });
        page.newline();
    }
    page.within("section", &[], |page| {
        level.heading(page, "Method");
        page.line("p", &[], &conditions(&comparison.method));
    });
    page.newline();
    page.within("section", &[], |page| {
        level.heading(page, "Where it ran");
        for host in &comparison.hosts {
            page.line("p", &[], &host_line(host));
        }
        arms(page, comparison);
        environment::hosts(page, &comparison.hosts);
    });
    super::repeat(page, level, View::Comparison(comparison));
}

fn arm_name(cell: &Cell, number: u32) -> &str {
    cell.arms
        .get(number as usize)
        .map_or("?", |arm| arm.label.as_str())
}

fn messages(page: &mut Markup, title: &str, messages: &[Message]) {
    if messages.is_empty() {
        return;
    }
    page.within("div", &[("class", "messages")], |page| {
        page.line("h2", &[], title);
        page.within("ul", &[], |page| {
            for message in messages {
                page.within("li", &[], |page| {
                    page.line("span", &[("class", "warning")], &message.text);
                    if let Some(cure) = &message.cure {
                        page.line("p", &[("class", "note")], cure);
                    }
                });
            }
        });
    });
    page.newline();
}

/// One row per cell and arm: the answer and its reason.
fn verdicts(page: &mut Markup, level: Level, comparison: &Comparison) {
    page.within("section", &[], |page| {
        level.heading(page, "Verdicts");
        scrolling(page, "Verdicts", |page| {
            page.within("thead", &[], |page| {
                page.within("tr", &[], |page| {
                    for title in ["cell", "arm", "verdict", "why"] {
                        page.line("th", &[("scope", "col")], title);
                    }
                });
            });
            page.within("tbody", &[("class", "verdicts")], |page| {
                for cell in &comparison.cells {
                    for verdict in cell.analysis.iter().flat_map(|analysis| &analysis.verdicts) {
                        page.within("tr", &[], |page| {
                            page.line("th", &[("scope", "row")], &cell.label);
                            page.line("td", &[], arm_name(cell, verdict.arm));
                            page.within("td", &[], |page| {
                                badge(page, verdict.decided_by, verdict.verdict)
                            });
                            page.line("td", &[("class", "why")], &verdict.words);
                        });
                    }
                }
            });
        });
    });
    page.newline();
}

/// The verdict with a sign, so that its colour says nothing that the word does not.
fn badge(page: &mut Markup, metric: Metric, verdict: Verdict) {
    let (class, sign) = match verdict {
        Verdict::Faster => ("badge faster", "▲"),
        Verdict::Slower => ("badge slower", "▼"),
        Verdict::Equivalent => ("badge", "="),
        Verdict::Inconclusive => ("badge", "?"),
        Verdict::Invalid => ("badge invalid", "×"),
    };
    page.line(
        "span",
        &[("class", class)],
        &format!("{sign} {}", verdict_in(metric, verdict)),
    );
}

fn cell_body(page: &mut Markup, figures: &mut Figures, comparison: &Comparison, cell: &Cell) {
    let Some(analysis) = &cell.analysis else {
        return page.line("p", &[], "This cell was not analysed.");
    };
    if analysis.rounds == 0 {
        return page.line("p", &[], NO_ROUNDS);
    }
    messages(page, "Warnings", &analysis.warnings);
    page.line("p", &[("class", "note")], &rounds(cell, analysis));
    if let Some(line) = disturbed_rounds(cell) {
        page.line("p", &[("class", "note")], &line);
    }
    if let Some(effects) = effects(cell, analysis) {
        figures.draw(page, &effects, &[], &control_words(cell, analysis));
    }
    table(
        page,
        "Effects on the declared metrics",
        &effect_table(cell, analysis, true),
    );
    latencies(page, figures, cell);
    rounds_of_arms::figure(page, figures, cell, comparison.method.interleaved);
    if let Some(bars) = cpu(cell, analysis) {
        let caption =
            "CPU time of each arm's processes: median over rounds; the line is their range.";
        figures.draw(page, &bars, &[], caption);
    }
    let others = effect_table(cell, analysis, false);
    if !others.parts().1.is_empty() {
        page.within("details", &[], |page| {
            page.line(
                "summary",
                &[],
                "Other metrics (exploratory: not declared before the first round; a hint what to measure \
                 next, and the answer to a --fail-on that names one)",
            );
            table(page, "Effects on other metrics", &others);
        });
    }
    let vary = comparison.method.vary.name();
    page.line(
        "p",
        &[("class", "note")],
        &format!("The arms differ in: {vary}."),
    );
}

/// The declared metrics of every arm, the control first.
fn effects(cell: &Cell, analysis: &Analysis) -> Option<Effects> {
    let primary = analysis.metrics.iter().filter(|metric| metric.primary);
    let effects: Vec<Effect> = primary
        .flat_map(|metric| metric.arms.iter().map(move |arm| (metric, arm)))
        .filter_map(|(metric, arm)| drawn(cell, metric, arm))
        .collect();
    let extent = effects.iter().flat_map(|effect| {
        let (low, high) = effect.interval.unwrap_or((effect.value, effect.value));
        [low, high, -effect.noise, effect.noise]
    });
    let (low, high) = extent.fold((0.0_f64, 0.0_f64), |(low, high), end| {
        (low.min(end), high.max(end))
    });
    (!effects.is_empty()).then(|| Effects {
        title: format!("Effects against the baseline, {}", cell.label),
        x: Scale::linear(low, high, 6, |share| {
            let text = trimmed(&format!("{:.2}", share * 100.0));
            let sign = if share > 0.0 { "+" } else { "" };
            format!("{sign}{text} %")
        }),
        x_title: "change against the baseline".to_owned(),
        effects,
    })
}

fn drawn(cell: &Cell, metric: &MetricAnalysis, arm: &ArmEffect) -> Option<Effect> {
    let effect = arm.effect?;
    let label = arm_name(cell, arm.arm);
    let is_control = role(cell, arm.arm) == Some(ArmRole::Control);
    let name = match is_control {
        true => format!("{}: {label}, the A/A control", metric.metric.title()),
        false => format!("{}: {label}", metric.metric.title()),
    };
    let verdict = arm.verdict.filter(|_| !is_control);
    let verdict = verdict.map_or_else(String::new, |verdict| {
        format!(", {}", verdict_in(metric.metric, verdict))
    });
    Some(Effect {
        name,
        shown: format!("{}{verdict}", signed(effect.change.get())),
        style: arm.arm as usize,
        value: effect.change.get(),
        interval: Some((effect.confidence_low.get(), effect.confidence_high.get())),
        noise: metric.threshold.get(),
    })
}

fn role(cell: &Cell, arm: u32) -> Option<ArmRole> {
    cell.arms.get(arm as usize).map(|arm| arm.role)
}

/// What the figure shows, and what the control says.
fn control_words(cell: &Cell, analysis: &Analysis) -> String {
    let mut words = "Change against the baseline with its confidence interval. The grey band is what is not called a \
                     difference: the practical threshold, or the noise of this machine if that is larger."
        .to_owned();
    let primary = analysis.metrics.iter().filter(|metric| metric.primary);
    let found: Vec<String> = primary
        .filter_map(|metric| {
            let control = metric
                .arms
                .iter()
                .find(|arm| role(cell, arm.arm) == Some(ArmRole::Control));
            let effect = control?.effect?;
            let floor = metric.noise_floor?;
            Some(format!(
                "{} {} (noise floor {})",
                metric.metric.title(),
                signed(effect.change.get()),
                human_percent(floor.get())
            ))
        })
        .collect();
    if !found.is_empty() {
        words += &format!(
            " A/A control: the baseline measured a second time differs from itself by {}.",
            found.join(", ")
        );
    }
    words
}

/// `+3.4 %`.
fn signed(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

fn effect_table(cell: &Cell, analysis: &Analysis, primary: bool) -> Table {
    let arms = analysis.metrics.iter().flat_map(|metric| &metric.arms);
    let level = levels(arms.filter_map(|arm| arm.effect.as_ref())).map_or_else(
        || "interval".to_owned(),
        |levels| format!("{levels} interval"),
    );
    let titles = [
        "metric",
        "arm",
        "median",
        "change",
        &level,
        "p, adjusted",
        "verdict",
    ];
    let mut table = Table::headed(titles);
    for metric in analysis
        .metrics
        .iter()
        .filter(|metric| metric.primary == primary)
    {
        for arm in &metric.arms {
            table.row(effect_row(cell, metric, arm));
        }
    }
    table
}

fn effect_row(cell: &Cell, metric: &MetricAnalysis, arm: &ArmEffect) -> [String; 7] {
    let dash = || "-".to_owned();
    let median = arm
        .median
        .map_or_else(dash, |median| show(metric.metric, median.get()));
    let [change, interval, p] = match &arm.effect {
        Some(effect) => [
            signed(effect.change.get()),
            format!(
                "{} to {}",
                signed(effect.confidence_low.get()),
                signed(effect.confidence_high.get())
            ),
            chance(effect.p_adjusted.get()),
        ],
        None => [dash(), dash(), dash()],
    };
    let verdict = match (role(cell, arm.arm), arm.verdict) {
        (Some(ArmRole::Baseline), _) => "baseline".to_owned(),
        (Some(ArmRole::Control), _) => "A/A control".to_owned(),
        (_, Some(verdict)) => verdict_in(metric.metric, verdict).to_owned(),
        (_, None) => dash(),
    };
    let name = arm_name(cell, arm.arm).to_owned();
    [
        metric.metric.title().to_owned(),
        name,
        median,
        change,
        interval,
        p,
        verdict,
    ]
}

fn chance(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("{p:.3}")
    }
}

fn latencies(page: &mut Markup, figures: &mut Figures, cell: &Cell) {
    let mut drawn: Vec<(usize, String, Histogram)> = Vec::new();
    for (number, arm) in cell.arms.iter().enumerate() {
        let Some(latency) = &arm.latency else {
            continue;
        };
        match latency.to_histogram() {
            Ok(histogram) => drawn.push((number, arm.label.clone(), histogram)),
            Err(error) => {
                let text = format!("{}: no line in the plot: {error}.", arm.label);
                page.line("p", &[("class", "error")], &text);
            }
        }
    }
    let named = drawn
        .iter()
        .map(|(_, name, histogram)| (name.clone(), histogram));
    let Some(mut lines) = charts::latency_lines(named.collect()) else {
        return;
    };
    for (line, (number, ..)) in lines.lines.iter_mut().zip(&drawn) {
        line.style = *number;
    }
    let kind = cell.arms.iter().find_map(|arm| arm.latency_kind.as_deref());
    let caption = format!(
        "Latency by percentile: {} time, all counted runs of each arm, their histograms added. Each further nine \
         takes the same space; the last point is the largest value.",
        kind.unwrap_or("service")
    );
    run::lines_figure(page, figures, &lines, &caption);
}

fn cpu(cell: &Cell, analysis: &Analysis) -> Option<super::svg::Bars> {
    let wanted = [
        Metric::LoadCpuPerOperation,
        Metric::TesteeCpuPerOperation,
        Metric::LoadCpuPerKib,
        Metric::TesteeCpuPerKib,
    ];
    let is_stream = cell.workload.is_bulk();
    let wanted = if is_stream {
        &wanted[2..]
    } else {
        &wanted[..2]
    };
    let mut bars = Vec::new();
    for (number, arm) in cell.arms.iter().enumerate() {
        for metric in wanted {
            let found = analysis
                .metrics
                .iter()
                .find(|found| found.metric == *metric);
            let effect = found.and_then(|metric| {
                metric
                    .arms
                    .iter()
                    .find(|effect| effect.arm as usize == number)
            });
            let Some((effect, median)) = effect.and_then(|effect| Some((effect, effect.median?)))
            else {
                continue;
            };
            let values: Vec<f64> = effect.values.iter().map(|value| value.get()).collect();
            let name = format!("{}, {}", arm.label, metric.title());
            bars.extend(
                charts::bar(name, number, values).map(|bar| super::svg::Bar {
                    value: median.get(),
                    shown: human_ns(median.get()),
                    ..bar
                }),
            );
        }
    }
    let mut bars = charts::bars_of(bars)?;
    if is_stream {
        bars.title = "CPU time per KiB".to_owned();
        bars.x_title = "CPU time per KiB".to_owned();
    }
    Some(bars)
}

fn host_line(host: &crate::document::Host) -> String {
    let parts = [&host.name, &host.kernel, &host.os, &host.cpu_model];
    let mut parts: Vec<String> = parts.into_iter().flatten().cloned().collect();
    parts.extend(host.cpu_count.map(|count| format!("{count} CPUs")));
    format!("{}: {}", host.id, parts.join(", "))
}

/// The command of each arm, by which one of its runs can be repeated.
fn arms(page: &mut Markup, comparison: &Comparison) {
    page.within("details", &[], |page| {
        page.line(
            "summary",
            &[],
            "The arms, and the command that repeats one run of each",
        );
        for cell in &comparison.cells {
            page.line("p", &[], &cell.label);
            for arm in cell.arms.iter().filter(|arm| arm.role != ArmRole::Control) {
                page.line("p", &[("class", "note")], &arm.label);
                command(page, &arm.command);
            }
        }
    });
}

//! The rates of all arms, round by round and within each round.

use super::markup::Markup;
use super::page::Figures;
use super::svg::{Panel, Panels, Scale, Track, trimmed};
use crate::comparison::{Cell, RateSeries};
use crate::units::{human_bit_rate, human_count};

/// The figure of a cell; nothing where no run has a series.
pub(super) fn figure(page: &mut Markup, figures: &mut Figures, cell: &Cell, interleaved: bool) {
    let panels: Vec<Panel> = cell
        .counted()
        .map(|round| Panel {
            name: round.number.to_string(),
            counts: round.runs.iter().all(|run| run.counts()),
            tracks: round
                .runs
                .iter()
                .map(|run| Track {
                    style: run.arm as usize,
                    steps: steps(&run.series),
                })
                .collect(),
        })
        .collect();
    let values = panels
        .iter()
        .flat_map(|panel| &panel.tracks)
        .flat_map(|track| &track.steps);
    let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), (_, _, value)| {
        (low.min(*value), high.max(*value))
    });
    if high <= 0.0 {
        return;
    }
    let first = cell.rounds.iter().flat_map(|round| &round.runs).next();
    let is_bits = first.is_some_and(|run| run.series.unit == "bit/s");
    let show: fn(f64) -> String = if is_bits { human_bit_rate } else { human_count };
    let counted = panels.len();
    let drawing = Panels {
        title: "Rate over time, by round".to_owned(),
        description: format!(
            "between {} and {} in {counted} rounds",
            show(low),
            show(high)
        ),
        y: Scale::linear(0.0, high * 1.05, 4, |value| trimmed(&show(value))),
        y_title: match is_bits {
            true => "payload per second".to_owned(),
            false => "operations per second".to_owned(),
        },
        x: None,
        x_title: "round".to_owned(),
        level: None,
        panels,
    };
    let arms = cell.arms.iter().enumerate();
    let legend: Vec<(usize, String)> = arms
        .map(|(number, arm)| (number, arm.label.clone()))
        .collect();
    let order = match interleaved {
        true => {
            "the arms of a round ran one after the other, in random order, and are drawn over one another"
        }
        false => {
            "the two results were measured at different times, and their rounds are drawn over one another"
        }
    };
    let mut caption = format!("Rate over time within each round; {order}.");
    if drawing.panels.iter().any(|panel| !panel.counts) {
        caption += " A grey round does not count: a run in it failed or is invalid.";
    }
    figures.draw(page, &drawing, &legend, &caption);
}

fn steps(series: &RateSeries) -> Vec<(f64, f64, f64)> {
    let slice_s = series.slice_ns as f64 / 1e9;
    let values = series.values.iter().enumerate();
    values
        .map(|(index, value)| {
            let start = index as f64 * slice_s;
            (start, start + slice_s, value.get())
        })
        .collect()
}

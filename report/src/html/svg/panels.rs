//! A quantity over time, one panel per round side by side over a common axis.

use super::{
    Anchor, Drawing, Frame, STYLES, Scale, Size, beside_y_axis, label, path, polygon, rectangle,
    segment, x_axis,
};
use crate::html::markup::Markup;

/// One round.
#[derive(Debug, Clone)]
pub(in crate::html) struct Panel {
    /// What stands below it.
    pub(in crate::html) name: String,
    /// False for a round that does not count; it is shown as such.
    pub(in crate::html) counts: bool,
    /// What was measured in it; a single one is filled down to zero.
    pub(in crate::html) tracks: Vec<Track>,
}

/// A quantity in steps.
#[derive(Debug, Clone)]
pub(in crate::html) struct Track {
    /// Which of the line styles.
    pub(in crate::html) style: usize,
    /// Start and end in seconds, and the value in between.
    pub(in crate::html) steps: Vec<(f64, f64, f64)>,
}

/// Panels over a common axis.
#[derive(Debug, Clone)]
pub(in crate::html) struct Panels {
    pub(in crate::html) title: String,
    pub(in crate::html) description: String,
    pub(in crate::html) y: Scale,
    pub(in crate::html) y_title: String,
    /// The axis of a single panel; several are named instead.
    pub(in crate::html) x: Option<Scale>,
    pub(in crate::html) x_title: String,
    pub(in crate::html) panels: Vec<Panel>,
    /// A level to compare with, and what it is.
    pub(in crate::html) level: Option<(f64, String)>,
}

/// Space between panels in pixels.
const GAP: f64 = 6.0;
/// A gap in the data is one that is longer than this share of a step.
const GAP_NOTICED: f64 = 0.05;

impl Drawing for Panels {
    fn title(&self) -> &str {
        &self.title
    }

    fn description(&self) -> String {
        self.description.clone()
    }

    fn height(&self, size: Size) -> f64 {
        match size {
            Size::Wide => 300.0,
            Size::Narrow => 260.0,
        }
    }

    fn draw(&self, frame: Frame, page: &mut Markup) {
        let inner = beside_y_axis(page, frame, &self.y, &self.y_title, 4.0);
        let longest = self.panels.iter().map(Panel::length_s).fold(0.0, f64::max);
        let count = self.panels.len().max(1) as f64;
        let width = (inner.right - inner.left - GAP * (count - 1.0)) / count;
        let mut free_from = f64::MIN;
        for (index, panel) in self.panels.iter().enumerate() {
            let left = inner.left + index as f64 * (width + GAP);
            let space = Frame {
                left,
                right: left + width,
                ..inner
            };
            self.panel(page, space, panel, longest);
            let half = panel.name.chars().count() as f64 * super::CHARACTER_PX / 2.0;
            let middle = left + width / 2.0;
            if middle - half >= free_from {
                label(
                    page,
                    "tick",
                    middle,
                    inner.bottom + 17.0,
                    Anchor::Middle,
                    &panel.name,
                );
                free_from = middle + half + 4.0;
            }
        }
        if let Some((value, name)) = &self.level {
            let y = inner.y(self.y.at(*value));
            segment(page, "level", (inner.left, y), (inner.right, y));
            label(page, "note", inner.right, y - 5.0, Anchor::End, name);
        }
        match &self.x {
            Some(x) => x_axis(page, inner, frame, x, &self.x_title),
            None => {
                let y = inner.bottom + 35.0;
                label(page, "axis", frame.right, y, Anchor::End, &self.x_title);
            }
        }
    }
}

impl Panels {
    fn panel(&self, page: &mut Markup, frame: Frame, panel: &Panel, longest_s: f64) {
        let class = if panel.counts { "panel" } else { "panel off" };
        rectangle(
            page,
            class,
            (frame.left, frame.top),
            (frame.right, frame.bottom),
        );
        let share = |seconds: f64| match &self.x {
            Some(x) => x.at(seconds),
            None if longest_s > 0.0 => (seconds / longest_s).clamp(0.0, 1.0),
            None => 0.0,
        };
        let place = |seconds: f64, value: f64| (frame.x(share(seconds)), frame.y(self.y.at(value)));
        let off = if panel.counts { "" } else { " off" };
        for track in &panel.tracks {
            let style = format!("s{}{off}", track.style % STYLES);
            for steps in track.unbroken() {
                let ends = |(start, end, value): &(f64, f64, f64)| {
                    [place(*start, *value), place(*end, *value)]
                };
                let points: Vec<_> = steps.iter().flat_map(ends).collect();
                let Some(shape) = path(&points) else { continue };
                if panel.tracks.len() == 1 {
                    let (first, last) = (points[0].0, points[points.len() - 1].0);
                    let zero = frame.y(0.0);
                    let area = [&points[..], &[(last, zero), (first, zero)]].concat();
                    let class = format!("band {style}");
                    page.leaf("path", &[("class", &class), ("d", &polygon(&area))]);
                }
                let class = format!("line {style}");
                page.leaf("path", &[("class", &class), ("d", &shape)]);
            }
        }
    }
}

impl Panel {
    fn length_s(&self) -> f64 {
        let ends = self.tracks.iter().filter_map(|track| track.steps.last());
        ends.map(|(_, end, _)| *end).fold(0.0, f64::max)
    }
}

impl Track {
    /// Steps that follow each other without a gap.
    fn unbroken(&self) -> impl Iterator<Item = &[(f64, f64, f64)]> {
        let follows =
            |a: &(f64, f64, f64), b: &(f64, f64, f64)| b.0 - a.1 <= GAP_NOTICED * (a.1 - a.0);
        self.steps.chunk_by(follows)
    }
}

#[cfg(test)]
mod tests {
    use super::Track;

    #[test]
    fn a_gap_in_the_data_is_a_gap_in_the_line() {
        let track = Track {
            style: 0,
            steps: vec![(0.0, 1.0, 5.0), (1.0, 2.0, 6.0), (2.5, 3.5, 7.0)],
        };
        let runs: Vec<usize> = track.unbroken().map(|run| run.len()).collect();
        assert_eq!(runs, [2, 1]);
    }
}

//! Lines over two axes, with a band behind them.

use super::{Drawing, Frame, Scale, Size, beside_y_axis, mark, path, polygon, x_axis};
use crate::html::markup::Markup;

/// One line.
#[derive(Debug, Clone)]
pub(in crate::html) struct Line {
    /// What it is called in the legend.
    pub(in crate::html) name: String,
    /// Which of the line styles.
    pub(in crate::html) style: usize,
    pub(in crate::html) points: Vec<(f64, f64)>,
    /// Points that are marked, and what they say.
    pub(in crate::html) marks: Vec<((f64, f64), String)>,
}

/// The space between two curves: x, lower, upper.
#[derive(Debug, Clone)]
pub(in crate::html) struct Band {
    pub(in crate::html) style: usize,
    pub(in crate::html) points: Vec<(f64, f64, f64)>,
}

/// Lines over two axes.
#[derive(Debug, Clone)]
pub(in crate::html) struct Lines {
    pub(in crate::html) title: String,
    pub(in crate::html) description: String,
    pub(in crate::html) x: Scale,
    pub(in crate::html) x_title: String,
    pub(in crate::html) y: Scale,
    pub(in crate::html) y_title: String,
    pub(in crate::html) bands: Vec<Band>,
    pub(in crate::html) lines: Vec<Line>,
}

impl Drawing for Lines {
    fn title(&self) -> &str {
        &self.title
    }

    fn description(&self) -> String {
        self.description.clone()
    }

    fn height(&self, size: Size) -> f64 {
        match size {
            Size::Wide => 400.0,
            Size::Narrow => 320.0,
        }
    }

    fn draw(&self, frame: Frame, page: &mut Markup) {
        let inner = beside_y_axis(page, frame, &self.y, &self.y_title, 10.0);
        x_axis(page, inner, frame, &self.x, &self.x_title);
        let place = |x: f64, y: f64| (inner.x(self.x.at(x)), inner.y(self.y.at(y)));
        for band in &self.bands {
            let lower = band.points.iter().map(|(x, low, _)| place(*x, *low));
            let upper = band
                .points
                .iter()
                .rev()
                .map(|(x, _, high)| place(*x, *high));
            let shape = polygon(&lower.chain(upper).collect::<Vec<_>>());
            let class = format!("band s{}", band.style % super::STYLES);
            page.leaf("path", &[("class", &class), ("d", &shape)]);
        }
        for line in &self.lines {
            let points: Vec<_> = line.points.iter().map(|(x, y)| place(*x, *y)).collect();
            if let Some(shape) = path(&points) {
                let class = format!("line s{}", line.style % super::STYLES);
                page.leaf("path", &[("class", &class), ("d", &shape)]);
            }
            for ((x, y), says) in &line.marks {
                mark(page, line.style, place(*x, *y), says);
            }
        }
    }
}

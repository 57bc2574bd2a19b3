//! Horizontal bars with their names above and their values beside them.

use super::{
    Anchor, Drawing, Frame, STYLES, Scale, Size, X_AXIS_PX, label, rectangle, segment, x_axis,
};
use crate::html::markup::Markup;

/// One bar, from zero.
#[derive(Debug, Clone)]
pub(in crate::html) struct Bar {
    pub(in crate::html) name: String,
    /// Which of the styles.
    pub(in crate::html) style: usize,
    pub(in crate::html) value: f64,
    /// As it stands in the tables.
    pub(in crate::html) shown: String,
    /// Smallest and largest over rounds.
    pub(in crate::html) range: Option<(f64, f64)>,
}

/// Bars over a common axis that begins at zero.
#[derive(Debug, Clone)]
pub(in crate::html) struct Bars {
    pub(in crate::html) title: String,
    pub(in crate::html) x: Scale,
    pub(in crate::html) x_title: String,
    pub(in crate::html) bars: Vec<Bar>,
}

/// Height of a bar with its name.
const ROW: f64 = 42.0;
const THICKNESS: f64 = 14.0;

impl Drawing for Bars {
    fn title(&self) -> &str {
        &self.title
    }

    fn description(&self) -> String {
        let bars: Vec<String> = self
            .bars
            .iter()
            .map(|bar| format!("{}: {}", bar.name, bar.shown))
            .collect();
        bars.join("; ")
    }

    fn height(&self, _size: Size) -> f64 {
        ROW * self.bars.len() as f64 + 48.0
    }

    fn draw(&self, frame: Frame, page: &mut Markup) {
        let inner = Frame {
            left: 4.0,
            top: frame.top + 2.0,
            right: frame.right - 74.0,
            bottom: frame.bottom - X_AXIS_PX,
            ..frame
        };
        x_axis(page, inner, frame, &self.x, &self.x_title);
        for (index, bar) in self.bars.iter().enumerate() {
            let top = inner.top + index as f64 * ROW + 4.0;
            label(
                page,
                "name",
                inner.left + 4.0,
                top + 12.0,
                Anchor::Start,
                &bar.name,
            );
            let (from, to) = (inner.x(0.0), inner.x(self.x.at(bar.value)));
            let (upper, lower) = (top + 18.0, top + 18.0 + THICKNESS);
            let class = format!("bar s{}", bar.style % STYLES);
            rectangle(page, &class, (from, upper), (to, lower));
            let mut end = to;
            if let Some((least, most)) = bar.range {
                let middle = (upper + lower) / 2.0;
                let (least, most) = (inner.x(self.x.at(least)), inner.x(self.x.at(most)));
                segment(page, "whisker", (least, middle), (most, middle));
                for x in [least, most] {
                    segment(page, "whisker", (x, middle - 4.0), (x, middle + 4.0));
                }
                end = end.max(most);
            }
            label(
                page,
                "value",
                end + 7.0,
                lower - 3.0,
                Anchor::Start,
                &bar.shown,
            );
        }
        segment(
            page,
            "base",
            (inner.left, inner.top),
            (inner.left, inner.bottom),
        );
    }
}

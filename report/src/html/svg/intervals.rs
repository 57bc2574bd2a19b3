//! Effects with their intervals, one row each, beside the noise of the machine.

use super::{
    Anchor, Drawing, Frame, Scale, Size, X_AXIS_PX, label, mark, rectangle, segment, x_axis,
};
use crate::html::markup::Markup;

/// One effect.
#[derive(Debug, Clone)]
pub(in crate::html) struct Effect {
    /// What was compared.
    pub(in crate::html) name: String,
    /// In words and numbers, as in the table.
    pub(in crate::html) shown: String,
    /// Which of the styles.
    pub(in crate::html) style: usize,
    pub(in crate::html) value: f64,
    /// The confidence interval; none where there are too few rounds.
    pub(in crate::html) interval: Option<(f64, f64)>,
    /// The noise of the machine around zero for this metric.
    pub(in crate::html) noise: f64,
}

/// Effects over a common axis around zero.
#[derive(Debug, Clone)]
pub(in crate::html) struct Effects {
    pub(in crate::html) title: String,
    pub(in crate::html) x: Scale,
    pub(in crate::html) x_title: String,
    pub(in crate::html) effects: Vec<Effect>,
}

/// Height of an effect with its name.
const ROW: f64 = 46.0;
/// Height of a second line of text, where the first is full.
const LINE: f64 = 15.0;

fn row_height(size: Size) -> f64 {
    match size {
        Size::Wide => ROW,
        Size::Narrow => ROW + LINE,
    }
}

impl Drawing for Effects {
    fn title(&self) -> &str {
        &self.title
    }

    fn description(&self) -> String {
        let effects: Vec<String> = self
            .effects
            .iter()
            .map(|effect| format!("{}: {}", effect.name, effect.shown))
            .collect();
        effects.join("; ")
    }

    fn height(&self, size: Size) -> f64 {
        row_height(size) * self.effects.len() as f64 + 52.0
    }

    fn draw(&self, frame: Frame, page: &mut Markup) {
        let inner = Frame {
            left: 14.0,
            top: frame.top + 4.0,
            right: frame.right - 22.0,
            bottom: frame.bottom - X_AXIS_PX,
            ..frame
        };
        x_axis(page, inner, frame, &self.x, &self.x_title);
        for (index, effect) in self.effects.iter().enumerate() {
            let row = row_height(frame.size);
            let top = inner.top + index as f64 * row;
            let middle = top + row - 15.0;
            let x = |value: f64| inner.x(self.x.at(value));
            let (from, to) = (x(-effect.noise), x(effect.noise));
            rectangle(page, "noise", (from, middle - 11.0), (to, middle + 11.0));
            if let Some((low, high)) = effect.interval {
                let class = format!("interval s{}", effect.style % super::STYLES);
                segment(page, &class, (x(low), middle), (x(high), middle));
                for end in [x(low), x(high)] {
                    segment(page, &class, (end, middle - 5.0), (end, middle + 5.0));
                }
            }
            mark(page, effect.style, (x(effect.value), middle), &effect.shown);
            label(
                page,
                "name",
                inner.left - 10.0,
                top + 14.0,
                Anchor::Start,
                &effect.name,
            );
            match frame.size {
                Size::Wide => label(
                    page,
                    "value",
                    frame.right,
                    top + 14.0,
                    Anchor::End,
                    &effect.shown,
                ),
                Size::Narrow => {
                    label(
                        page,
                        "value",
                        inner.left - 10.0,
                        top + 14.0 + LINE,
                        Anchor::Start,
                        &effect.shown,
                    );
                }
            }
        }
        let zero = inner.x(self.x.at(0.0));
        segment(page, "base", (zero, inner.top), (zero, inner.bottom));
    }
}

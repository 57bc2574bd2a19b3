//! Plots as inline SVG, each drawn twice: for a wide page and for a phone, because text that shrinks with
//! its picture cannot be read. Colours come from the page's style sheet, so that they follow its theme.

mod bars;
mod intervals;
mod lines;
mod panels;
mod scale;

pub(super) use bars::{Bar, Bars};
pub(super) use intervals::{Effect, Effects};
pub(super) use lines::{Band, Line, Lines};
pub(super) use panels::{Panel, Panels, Track};
pub(super) use scale::{Scale, trimmed};

use super::markup::Markup;

/// Line styles that differ in colour, dashes and marks; the style sheet has as many.
pub(super) const STYLES: usize = 8;

/// Width of a character of the labels in pixels, a little more than most have.
const CHARACTER_PX: f64 = 7.6;
/// Height of the labels and the title of an x axis in pixels.
const X_AXIS_PX: f64 = 42.0;

/// Something that can be drawn into a frame.
pub(super) trait Drawing {
    /// What it shows, in a few words.
    fn title(&self) -> &str;
    /// What there is to see, for those who do not see it.
    fn description(&self) -> String;
    /// How high it wants to be.
    fn height(&self, size: Size) -> f64;
    /// Draws into `frame`.
    fn draw(&self, frame: Frame, page: &mut Markup);
}

/// The two widths at which plots are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Wide,
    Narrow,
}

impl Size {
    /// Width of the picture in pixels: that of the text column of the page.
    fn width(self) -> f64 {
        match self {
            Size::Wide => 900.0,
            Size::Narrow => 358.0,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Size::Wide => "plot wide",
            Size::Narrow => "plot narrow",
        }
    }
}

/// Where the data of a picture go; around it is space for labels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) size: Size,
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Frame {
    fn x(self, share: f64) -> f64 {
        self.left + share * (self.right - self.left)
    }

    fn y(self, share: f64) -> f64 {
        self.bottom - share * (self.bottom - self.top)
    }
}

/// Both sizes of a drawing; the style sheet shows the one that fits.
pub(super) fn both_sizes(drawing: &dyn Drawing, id: &str, page: &mut Markup) {
    for size in [Size::Wide, Size::Narrow] {
        let (width, height) = (size.width(), drawing.height(size));
        let suffix = if size == Size::Wide { "w" } else { "n" };
        let (title, description) = (format!("{id}{suffix}t"), format!("{id}{suffix}d"));
        let attributes = [
            ("class", size.class()),
            ("viewBox", &*format!("0 0 {width} {height}")),
            ("role", "img"),
            ("aria-labelledby", &*format!("{title} {description}")),
            ("xmlns", "http://www.w3.org/2000/svg"),
        ];
        page.within("svg", &attributes, |page| {
            page.line("title", &[("id", &title)], drawing.title());
            page.line("desc", &[("id", &description)], &drawing.description());
            let frame = Frame {
                size,
                left: 0.0,
                top: 0.0,
                right: width,
                bottom: height,
            };
            drawing.draw(frame, page);
        });
        page.newline();
    }
}

/// Where a text is anchored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

fn label(page: &mut Markup, class: &str, x: f64, y: f64, anchor: Anchor, text: &str) {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let (x, y) = (px(x), px(y));
    let attributes = [
        ("class", class),
        ("x", &*x),
        ("y", &*y),
        ("text-anchor", anchor),
    ];
    page.line("text", &attributes, text);
}

fn segment(page: &mut Markup, class: &str, from: (f64, f64), to: (f64, f64)) {
    let attributes = [
        ("class", class),
        ("x1", &*px(from.0)),
        ("y1", &*px(from.1)),
        ("x2", &*px(to.0)),
        ("y2", &*px(to.1)),
    ];
    page.leaf("line", &attributes);
}

fn rectangle(page: &mut Markup, class: &str, from: (f64, f64), to: (f64, f64)) {
    let attributes = [
        ("class", class),
        ("x", &*px(from.0.min(to.0))),
        ("y", &*px(from.1.min(to.1))),
        ("width", &*px((to.0 - from.0).abs())),
        ("height", &*px((to.1 - from.1).abs())),
    ];
    page.leaf("rect", &attributes);
}

/// A path along points, or `None` of fewer than one.
fn path(points: &[(f64, f64)]) -> Option<String> {
    let mut text = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        text += if index == 0 { "M" } else { "L" };
        text += &format!("{} {}", px(*x), px(*y));
    }
    (!text.is_empty()).then_some(text)
}

/// A mark whose shape belongs to the style, with a text for those who point at it.
fn mark(page: &mut Markup, style: usize, (x, y): (f64, f64), says: &str) {
    let class = format!("mark s{}", style % STYLES);
    let r = 3.4;
    let shape = match style % 4 {
        0 => format!(
            "M{} {}a{r} {r} 0 1 0 {} 0a{r} {r} 0 1 0 {} 0Z",
            px(x - r),
            px(y),
            2.0 * r,
            -2.0 * r
        ),
        1 => polygon(&[
            (x - r, y - r),
            (x + r, y - r),
            (x + r, y + r),
            (x - r, y + r),
        ]),
        2 => polygon(&[(x, y - r * 1.3), (x + r * 1.2, y + r), (x - r * 1.2, y + r)]),
        _ => polygon(&[
            (x, y - r * 1.4),
            (x + r * 1.4, y),
            (x, y + r * 1.4),
            (x - r * 1.4, y),
        ]),
    };
    page.within("path", &[("class", &class), ("d", &shape)], |page| {
        if !says.is_empty() {
            page.line("title", &[], says);
        }
    });
}

/// A piece of a line with its mark, for a legend.
pub(super) fn sample(page: &mut Markup, style: usize) {
    let class = format!("line s{}", style % STYLES);
    page.leaf("path", &[("class", &class), ("d", "M0 5L34 5")]);
    mark(page, style, (17.0, 5.0), "");
}

fn polygon(points: &[(f64, f64)]) -> String {
    path(points).unwrap_or_default() + "Z"
}

/// A tenth of a pixel is enough.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Draws a y axis, and returns the frame that is left beside it: below the title of the axis, above what
/// an x axis needs, and with a margin at the right in pixels.
fn beside_y_axis(page: &mut Markup, frame: Frame, y: &Scale, title: &str, margin: f64) -> Frame {
    let inner = Frame {
        left: label_space(y),
        top: frame.top + 30.0,
        right: frame.right - margin,
        bottom: frame.bottom - X_AXIS_PX,
        ..frame
    };
    y_axis(page, inner, y, title);
    inner
}

/// Horizontal grid lines with labels at the left, and the title of the axis above them.
fn y_axis(page: &mut Markup, frame: Frame, scale: &Scale, title: &str) {
    for tick in &scale.ticks {
        let y = frame.y(tick.at);
        let class = if tick.label.is_empty() {
            "grid minor"
        } else {
            "grid"
        };
        segment(page, class, (frame.left, y), (frame.right, y));
        label(
            page,
            "tick",
            frame.left - 6.0,
            y + 4.0,
            Anchor::End,
            &tick.label,
        );
    }
    label(page, "axis", 0.0, frame.top - 12.0, Anchor::Start, title);
}

/// Vertical grid lines with labels below as far as there is space, and the title of the axis.
fn x_axis(page: &mut Markup, frame: Frame, picture: Frame, scale: &Scale, title: &str) {
    let mut free_from = f64::MIN;
    for tick in &scale.ticks {
        let x = frame.x(tick.at);
        let class = match tick.label.is_empty() {
            true => "grid minor",
            false => "grid",
        };
        segment(page, class, (x, frame.top), (x, frame.bottom));
        let half = tick.label.chars().count() as f64 * CHARACTER_PX / 2.0;
        // Labels at the ends are moved into the picture.
        let middle = x.max(picture.left + half).min(picture.right - half);
        if middle - half >= free_from {
            let y = frame.bottom + 17.0;
            label(page, "tick", middle, y, Anchor::Middle, &tick.label);
            free_from = middle + half + 4.0;
        }
    }
    let y = frame.bottom + 35.0;
    label(page, "axis", picture.right, y, Anchor::End, title);
}

/// Space that the labels of a y axis need.
fn label_space(scale: &Scale) -> f64 {
    let lengths = scale.ticks.iter().map(|tick| tick.label.chars().count());
    lengths.max().unwrap_or(0) as f64 * CHARACTER_PX + 8.0
}

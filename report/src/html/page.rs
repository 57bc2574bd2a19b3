//! The frame of every page: head, headings, figures, foot.

use super::markup::Markup;
use super::svg::{Drawing, both_sizes};

const STYLE: &str = include_str!("style.css");

/// Nothing may be fetched or run, whatever a document says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The whole page around `body`.
pub(super) fn around(title: &str, body: impl FnOnce(&mut Markup)) -> String {
    let mut page = Markup::default();
    page.literal("<!DOCTYPE html>\n");
    page.within("html", &[("lang", "en")], |page| {
        page.within("head", &[], |page| head(page, title));
        page.newline();
        page.within("body", &[], |page| {
            page.within("main", &[], body);
            page.newline();
        });
    });
    page.newline();
    page.finish()
}

fn head(page: &mut Markup, title: &str) {
    page.leaf("meta", &[("charset", "utf-8")]);
    page.leaf(
        "meta",
        &[
            ("http-equiv", "Content-Security-Policy"),
            ("content", POLICY),
        ],
    );
    page.leaf(
        "meta",
        &[
            ("name", "viewport"),
            ("content", "width=device-width, initial-scale=1"),
        ],
    );
    page.leaf(
        "meta",
        &[("name", "color-scheme"), ("content", "light dark")],
    );
    page.leaf("link", &[("rel", "icon"), ("href", "data:,")]);
    page.line("title", &[], title);
    page.newline();
    page.within("style", &[], |page| page.literal(STYLE));
}

/// How deep headings are at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Sections of the page.
    Section,
    /// Sections within one of several documents.
    Nested,
}

impl Level {
    /// A heading of a section.
    pub(super) fn heading(self, page: &mut Markup, text: &str) {
        let tag = match self {
            Level::Section => "h2",
            Level::Nested => "h3",
        };
        page.line(tag, &[], text);
    }
}

/// Numbers the figures of a page, for their names must differ.
#[derive(Debug, Default)]
pub(super) struct Figures {
    drawn: u32,
}

impl Figures {
    /// A figure: legend, both sizes of the drawing, and what a reader must know about it.
    pub(super) fn draw(
        &mut self,
        page: &mut Markup,
        drawing: &dyn Drawing,
        legend: &[(usize, String)],
        caption: &str,
    ) {
        self.drawn += 1;
        let id = format!("f{}", self.drawn);
        page.within("figure", &[], |page| {
            if !legend.is_empty() {
                page.within("ul", &[("class", "legend")], |page| {
                    for (style, name) in legend {
                        page.within("li", &[], |page| {
                            swatch(page, *style);
                            page.text(name);
                        });
                    }
                });
            }
            both_sizes(drawing, &id, page);
            page.line("figcaption", &[], caption);
        });
        page.newline();
    }
}

/// A piece of a line as in the drawing, with its mark.
fn swatch(page: &mut Markup, style: usize) {
    let attributes = [
        ("class", "swatch"),
        ("viewBox", "0 0 34 10"),
        ("aria-hidden", "true"),
    ];
    page.within("svg", &attributes, |page| {
        super::svg::sample(page, style);
    });
}

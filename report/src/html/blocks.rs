//! The blocks of the text report as HTML: the same words and numbers, set as lists and tables.

use super::markup::Markup;
use super::page::Level;
use crate::text::layout::{Block, Paint, Table};

/// Blocks under their headings, each as a section of its own.
pub(super) fn sections(page: &mut Markup, level: Level, blocks: &[Block]) {
    let starts_section = |block: &Block| matches!(block, Block::Heading(_));
    let mut rest = blocks;
    while !rest.is_empty() {
        let length = 1 + rest[1..]
            .iter()
            .take_while(|block| !starts_section(block))
            .count();
        let (section, later) = rest.split_at(length);
        rest = later;
        page.within("section", &[], |page| match section {
            [Block::Heading(title), body @ ..] => {
                level.heading(page, title);
                flow(page, title, body);
            }
            body => flow(page, "", body),
        });
        page.newline();
    }
}

/// Blocks one after the other; `title` names their tables for those who do not see where they stand.
pub(super) fn flow(page: &mut Markup, title: &str, blocks: &[Block]) {
    let mut rest = blocks;
    while let Some(block) = rest.first() {
        let length = match block {
            Block::Item(..) => span(rest, |block| {
                matches!(
                    block,
                    Block::Item(..) | Block::Continued(_) | Block::Verbatim(_)
                )
            }),
            Block::Hanging { .. } => span(rest, |block| matches!(block, Block::Hanging { .. })),
            _ => 1,
        };
        let (group, later) = rest.split_at(length);
        rest = later;
        match block {
            Block::Item(..) => list(page, group),
            Block::Hanging { .. } => names(page, group),
            other => single(page, title, other),
        }
    }
}

fn span(blocks: &[Block], belongs: impl Fn(&Block) -> bool) -> usize {
    blocks.iter().take_while(|block| belongs(block)).count()
}

fn single(page: &mut Markup, title: &str, block: &Block) {
    match block {
        Block::Sentence(text, paint) => page.line("p", class_of(*paint), text),
        Block::Note(text) | Block::Continued(text) => page.line("p", &[("class", "note")], text),
        Block::Verbatim(text) => command(page, text),
        Block::Table(rows) => table(page, title, rows),
        // Not reached for the kinds that come in groups, and headings begin sections.
        Block::Heading(text) | Block::Item(text, _) | Block::Hanging { text, .. } => {
            page.line("p", &[], text);
        }
        Block::Blank => {}
    }
}

fn class_of(paint: Paint) -> &'static [(&'static str, &'static str)] {
    match paint {
        Paint::Warning => &[("class", "warning")],
        Paint::Error => &[("class", "error")],
        _ => &[],
    }
}

fn list(page: &mut Markup, blocks: &[Block]) {
    page.within("ul", &[], |page| {
        let is_item = |block: &Block| matches!(block, Block::Item(..));
        for item in blocks.chunk_by(|_, next| !is_item(next)) {
            page.within("li", &[], |page| {
                for block in item {
                    match block {
                        Block::Item(text, paint) => page.line("span", class_of(*paint), text),
                        Block::Continued(text) => page.line("p", &[("class", "note")], text),
                        other => single(page, "", other),
                    }
                }
            });
        }
    });
}

fn names(page: &mut Markup, blocks: &[Block]) {
    page.within("dl", &[("class", "names")], |page| {
        for block in blocks {
            if let Block::Hanging { name, text, paint } = block {
                if !name.is_empty() {
                    page.line("dt", &[], name);
                }
                page.line("dd", class_of(*paint), text);
            }
        }
    });
}

/// A command to copy.
pub(super) fn command(page: &mut Markup, text: &str) {
    let attributes = [
        ("class", "command"),
        ("tabindex", "0"),
        ("role", "region"),
        ("aria-label", "command"),
    ];
    page.within("pre", &attributes, |page| page.line("code", &[], text));
}

/// A table in a box of its own, so that a wide one scrolls there and not the page.
pub(super) fn table(page: &mut Markup, title: &str, table: &Table) {
    let (header, rows) = table.parts();
    let columns = table.columns();
    scrolling(page, title, |page| {
        if let Some(header) = header {
            page.within("thead", &[], |page| {
                page.within("tr", &[], |page| {
                    for cell in header {
                        match cell.is_empty() {
                            true => page.line("td", &[], ""),
                            false => page.line("th", &[("scope", "col")], cell),
                        }
                    }
                });
            });
        }
        page.within("tbody", &[], |page| {
            for row in rows {
                page.within("tr", &[], |page| cells(page, row, columns));
            }
        });
    });
}

fn cells(page: &mut Markup, row: &[String], columns: usize) {
    for column in 0..columns {
        let cell = row.get(column).map_or("", String::as_str);
        match column {
            0 => page.line("th", &[("scope", "row")], cell),
            _ => page.line("td", &[], cell),
        }
    }
}

/// The box and the table element around `rows`.
pub(super) fn scrolling(page: &mut Markup, title: &str, rows: impl FnOnce(&mut Markup)) {
    let name = if title.is_empty() { "table" } else { title };
    let attributes = [
        ("class", "scroll"),
        ("tabindex", "0"),
        ("role", "region"),
        ("aria-label", name),
    ];
    page.within("div", &attributes, |page| {
        page.within("table", &[], |page| {
            page.line("caption", &[], name);
            rows(page);
        });
    });
    page.newline();
}

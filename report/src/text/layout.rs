//! Headings, sentences, items and tables, and how they are set on lines of a given width.
//!
//! What a document has to say is written once, as blocks; the text sets them here, Markdown and HTML
//! set the same blocks in their own way.

use super::style::Style;
use crate::foreign::{shown, shown_lines};

/// What a piece of text is, for those who see colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Headline,
    Heading,
    Warning,
    Error,
}

/// A piece of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    Blank,
    Heading(String),
    Sentence(String, Paint),
    Note(String),
    Item(String, Paint),
    Continued(String),
    Verbatim(String),
    Hanging {
        name: String,
        text: String,
        paint: Paint,
    },
    Table(Table),
}

/// A report under construction. What is put on it may come from anybody: it is shown, and not obeyed.
pub(crate) struct Paper {
    style: Style,
    blocks: Vec<Block>,
}

impl Paper {
    pub(crate) fn new(style: Style) -> Self {
        Paper {
            style,
            blocks: Vec::new(),
        }
    }

    /// What `write` puts on a paper, for those who set it themselves.
    pub(crate) fn blocks_of(write: impl FnOnce(&mut Paper)) -> Vec<Block> {
        let mut paper = Paper::new(Style::default());
        write(&mut paper);
        paper.blocks
    }

    /// The finished text, with one newline at its end.
    pub(crate) fn finish(self) -> String {
        let mut lines = Lines {
            style: self.style,
            text: String::new(),
        };
        for block in &self.blocks {
            lines.block(block);
        }
        format!("{}\n", lines.text.trim_end())
    }

    pub(crate) fn blank(&mut self) {
        self.blocks.push(Block::Blank);
    }

    pub(crate) fn heading(&mut self, title: &str) {
        self.blocks.push(Block::Heading(shown(title).into_owned()));
    }

    /// A paragraph from the left edge.
    pub(crate) fn sentence(&mut self, text: &str, paint: Paint) {
        self.blocks.push(Block::Sentence(prose(text), paint));
    }

    /// A paragraph under a heading.
    pub(crate) fn note(&mut self, text: &str) {
        self.blocks.push(Block::Note(prose(text)));
    }

    /// A paragraph with a dash before it.
    pub(crate) fn item(&mut self, text: &str, paint: Paint) {
        self.blocks.push(Block::Item(prose(text), paint));
    }

    /// A paragraph that belongs to the item above.
    pub(crate) fn continued(&mut self, text: &str) {
        self.blocks.push(Block::Continued(prose(text)));
    }

    /// A line that must not wrap, for it is to be copied.
    pub(crate) fn verbatim(&mut self, text: &str) {
        self.blocks.push(Block::Verbatim(shown(text).into_owned()));
    }

    /// A name and a paragraph that hangs beside it.
    pub(crate) fn hanging(&mut self, name: &str, text: &str) {
        self.hanging_in(Paint::Plain, name, text);
    }

    /// The same in colour.
    pub(crate) fn hanging_in(&mut self, paint: Paint, name: &str, text: &str) {
        self.blocks.push(Block::Hanging {
            name: shown(name).into_owned(),
            text: prose(text),
            paint,
        });
    }

    pub(crate) fn table(&mut self, table: &Table) {
        self.blocks.push(Block::Table(table.shown()));
    }
}

/// A text that is set on lines of its own width, wherever its own lines end.
fn prose(text: &str) -> String {
    shown_lines(text).into_owned()
}

/// Blocks set in lines.
struct Lines {
    style: Style,
    text: String,
}

impl Lines {
    fn block(&mut self, block: &Block) {
        match block {
            Block::Blank => self.text.push('\n'),
            Block::Heading(title) => self.painted(title, Paint::Heading),
            Block::Sentence(text, paint) => self.wrapped("", "", text, *paint),
            Block::Note(text) => self.wrapped("  ", "  ", text, Paint::Plain),
            Block::Item(text, paint) => self.wrapped("  - ", "    ", text, *paint),
            Block::Continued(text) => self.wrapped("    ", "    ", text, Paint::Plain),
            Block::Verbatim(text) => self.painted(&format!("    {text}"), Paint::Plain),
            Block::Hanging { name, text, paint } => {
                let first = format!("  {name:<9} ");
                let rest = " ".repeat(first.chars().count());
                self.wrapped(&first, &rest, text, *paint);
            }
            Block::Table(table) => {
                for line in table.lines() {
                    self.painted(&line, Paint::Plain);
                }
            }
        }
    }

    fn wrapped(&mut self, first: &str, rest: &str, text: &str, paint: Paint) {
        let mut line = first.to_owned();
        let mut empty = true;
        for word in text.split_whitespace() {
            let length = line.chars().count() + usize::from(!empty) + word.chars().count();
            if !empty && length > self.style.width {
                self.painted(&line, paint);
                line = rest.to_owned();
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.painted(&line, paint);
    }

    fn painted(&mut self, line: &str, paint: Paint) {
        let code = match paint {
            Paint::Headline | Paint::Heading => "1",
            Paint::Warning => "33",
            Paint::Error => "31",
            Paint::Plain => "",
        };
        let line = line.trim_end();
        if self.style.color && !code.is_empty() {
            self.text += &format!("\u{1b}[{code}m{line}\u{1b}[0m\n");
        } else {
            self.text += line;
            self.text.push('\n');
        }
    }
}

/// A table: the first column flush left, the others flush right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Whether the first row names the columns.
    headed: bool,
}

impl Table {
    pub(crate) fn new() -> Self {
        Table::default()
    }

    /// A table whose first row names its columns.
    pub(crate) fn headed<T: Into<String>>(cells: impl IntoIterator<Item = T>) -> Self {
        let mut table = Table {
            rows: Vec::new(),
            headed: true,
        };
        table.row(cells);
        table
    }

    /// The names of the columns, if it has any, and the rows below.
    pub(crate) fn parts(&self) -> (Option<&[String]>, &[Vec<String>]) {
        match self.rows.split_first() {
            Some((header, rows)) if self.headed => (Some(header), rows),
            _ => (None, &self.rows),
        }
    }

    /// The same with cells that can be shown.
    fn shown(&self) -> Table {
        let cells = |row: &Vec<String>| row.iter().map(|cell| shown(cell).into_owned()).collect();
        Table {
            rows: self.rows.iter().map(cells).collect(),
            headed: self.headed,
        }
    }

    /// Cells of the widest row.
    pub(crate) fn columns(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or(0)
    }

    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.columns();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows
            .iter()
            .map(|row| {
                let mut line = String::from(" ");
                for (column, cell) in row.iter().enumerate() {
                    let width = widths[column];
                    line += &if column == 0 {
                        format!(" {cell:<width$}")
                    } else {
                        format!("   {cell:>width$}")
                    };
                }
                line
            })
            .collect()
    }
}

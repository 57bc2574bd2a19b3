//! Lines, wrapped sentences and tables on paper of a given width.

use super::Style;

/// What a piece of text is, for those who see colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Headline,
    Heading,
    Warning,
    Error,
}

/// Text under construction.
pub(super) struct Paper {
    style: Style,
    text: String,
}

impl Paper {
    pub(super) fn new(style: Style) -> Self {
        Paper {
            style,
            text: String::new(),
        }
    }

    /// The finished text, with one newline at its end.
    pub(super) fn finish(self) -> String {
        format!("{}\n", self.text.trim_end())
    }

    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }

    pub(super) fn heading(&mut self, title: &str) {
        self.painted(title, Paint::Heading);
    }

    /// A paragraph from the left edge.
    pub(super) fn sentence(&mut self, text: &str, paint: Paint) {
        self.wrapped("", "", text, paint);
    }

    /// A paragraph under a heading.
    pub(super) fn note(&mut self, text: &str) {
        self.wrapped("  ", "  ", text, Paint::Plain);
    }

    /// A paragraph with a dash before it.
    pub(super) fn item(&mut self, text: &str, paint: Paint) {
        self.wrapped("  - ", "    ", text, paint);
    }

    /// A paragraph that belongs to the item above.
    pub(super) fn continued(&mut self, text: &str) {
        self.wrapped("    ", "    ", text, Paint::Plain);
    }

    /// A line that must not wrap, for it is to be copied.
    pub(super) fn verbatim(&mut self, text: &str) {
        self.painted(&format!("    {text}"), Paint::Plain);
    }

    /// A name and a paragraph that hangs beside it.
    pub(super) fn hanging(&mut self, name: &str, text: &str) {
        self.hanging_in(Paint::Plain, name, text);
    }

    /// The same in colour.
    pub(super) fn hanging_in(&mut self, paint: Paint, name: &str, text: &str) {
        let first = format!("  {name:<9} ");
        let rest = " ".repeat(first.chars().count());
        self.wrapped(&first, &rest, text, paint);
    }

    pub(super) fn table(&mut self, table: &Table) {
        for line in table.lines() {
            self.painted(&line, Paint::Plain);
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
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new() -> Self {
        Table::default()
    }

    pub(super) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
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

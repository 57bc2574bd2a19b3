//! The document as GitHub's Markdown: what the text says, with its tables as tables.

use crate::comparison::Comparison;
use crate::document::Document;
use crate::text;
use crate::text::layout::{Block, Paint, Paper, Table};

/// The document as Markdown, ending in a newline.
pub fn render(document: &Document) -> String {
    of_blocks(&Paper::blocks_of(|paper| text::write(document, paper)))
}

/// The comparison as Markdown, ending in a newline.
pub fn render_comparison(comparison: &Comparison) -> String {
    of_blocks(&Paper::blocks_of(|paper| {
        text::comparison::write(comparison, paper);
    }))
}

/// A heading for what follows.
pub fn heading(title: &str) -> String {
    format!("## {}\n", escape(title))
}

/// Blocks as Markdown, ending in a newline.
pub(crate) fn of_blocks(blocks: &[Block]) -> String {
    let mut page = Page::default();
    for block in blocks {
        page.block(block);
    }
    format!("{}\n", page.text.trim_end())
}

#[derive(Default)]
struct Page {
    text: String,
    in_list: bool,
}

impl Page {
    fn block(&mut self, block: &Block) {
        let stays_in_list = matches!(
            block,
            Block::Item(..) | Block::Continued(_) | Block::Hanging { .. } | Block::Verbatim(_)
        );
        if self.in_list && !stays_in_list {
            self.in_list = false;
            self.text.push('\n');
        }
        match block {
            Block::Blank => {}
            Block::Heading(title) => self.paragraph(&format!("### {}", escape(title))),
            Block::Sentence(text, Paint::Headline) => {
                self.paragraph(&format!("**{}**", escape(text)));
            }
            Block::Sentence(text, _) | Block::Note(text) => self.paragraph(&escape(text)),
            Block::Item(text, _) => self.item(&escape(text)),
            Block::Continued(text) => self.below(&escape(text)),
            Block::Hanging { name, text, .. } if name.is_empty() => self.below(&escape(text)),
            Block::Hanging { name, text, .. } => {
                self.item(&format!("**{}**: {}", escape(name), escape(text)));
            }
            Block::Verbatim(text) => self.code(text),
            Block::Table(table) => self.table(table),
        }
    }

    fn paragraph(&mut self, text: &str) {
        self.text += text;
        self.text += "\n\n";
    }

    fn item(&mut self, text: &str) {
        self.in_list = true;
        self.text += &format!("- {text}\n");
    }

    /// A line of its own inside the item above.
    fn below(&mut self, text: &str) {
        // Two spaces at the end of a line break it.
        self.text.truncate(self.text.trim_end().len());
        self.text += &format!("  \n  {text}\n");
    }

    /// A command to copy, inside the item above if there is one.
    fn code(&mut self, text: &str) {
        let indent = if self.in_list { "  " } else { "" };
        let mut fence = "```".to_owned();
        while text.contains(&fence) {
            fence.push('`');
        }
        self.text += &format!("\n{indent}{fence}sh\n{indent}{text}\n{indent}{fence}\n");
    }

    fn table(&mut self, table: &Table) {
        let (header, rows) = table.parts();
        let columns = table.columns();
        // GitHub wants a header even where there is nothing to say.
        let empty = vec![String::new(); columns];
        self.row(header.unwrap_or(&empty), columns);
        self.text += &format!("|:--|{}\n", "--:|".repeat(columns.saturating_sub(1)));
        for row in rows {
            self.row(row, columns);
        }
        self.text.push('\n');
    }

    fn row(&mut self, cells: &[String], columns: usize) {
        self.text.push('|');
        for column in 0..columns {
            let cell = cells.get(column).map_or("", String::as_str);
            self.text += &format!(" {} |", escape(cell));
        }
        self.text.push('\n');
    }
}

/// The text on one line, with everything escaped that Markdown or HTML in it would read otherwise.
fn escape(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Titles come from outside of the blocks.
    let line = crate::foreign::shown(&line);
    let mut escaped = String::with_capacity(line.len());
    for (index, character) in line.chars().enumerate() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => escaped.extend(['\\', character]),
            // At the start of a line they make a heading or a list.
            '#' | '+' | '-' if index == 0 => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{escape, of_blocks};
    use crate::text::layout::{Paint, Paper, Table};

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            escape("a|b <script> *x* _y_ `z` [l](u)"),
            "a\\|b &lt;script&gt; \\*x\\* \\_y\\_ \\`z\\` \\[l\\](u)"
        );
        assert_eq!(escape("# one\ntwo"), "\\# one two");
        assert_eq!(escape("- 5"), "\\- 5");
    }

    #[test]
    fn blocks_become_githubs_tables_and_lists() {
        let found = of_blocks(&Paper::blocks_of(|paper| {
            paper.sentence("the answer", Paint::Headline);
            paper.heading("Title");
            let mut table = Table::headed(["", "a|b"]);
            table.row(["x", "1"]);
            paper.table(&table);
            paper.item("why", Paint::Plain);
            paper.verbatim("linerate run rr");
            paper.hanging("load", "here");
            paper.hanging("", "and there");
            paper.note("end");
        }));
        assert_eq!(
            found,
            "**the answer**\n\n### Title\n\n|  | a\\|b |\n|:--|--:|\n| x | 1 |\n\n\
             - why\n\n  ```sh\n  linerate run rr\n  ```\n- **load**: here  \n  and there\n\nend\n"
        );
    }
}

//! HTML and SVG under construction. Text and attribute values are escaped here and nowhere else; tags
//! and attribute names are literals of this program.

use crate::foreign::shown_lines;

/// Attributes of an element: name and value.
pub(super) type Attributes<'a> = [(&'static str, &'a str)];

/// Markup that is well-formed and escaped by construction.
#[derive(Debug, Default)]
pub(super) struct Markup {
    text: String,
}

impl Markup {
    /// An element around what `inside` writes.
    pub(super) fn within(
        &mut self,
        tag: &'static str,
        attributes: &Attributes,
        inside: impl FnOnce(&mut Markup),
    ) {
        self.open(tag, attributes);
        self.text.push('>');
        inside(self);
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
    }

    /// An element around a text.
    pub(super) fn line(&mut self, tag: &'static str, attributes: &Attributes, text: &str) {
        self.within(tag, attributes, |inside| inside.text(text));
    }

    /// An element without content.
    pub(super) fn leaf(&mut self, tag: &'static str, attributes: &Attributes) {
        self.open(tag, attributes);
        self.text.push_str("/>");
    }

    /// A text, to be shown as it is.
    pub(super) fn text(&mut self, text: &str) {
        // HTML has no way to write control characters, and a browser obeys those of direction.
        for character in shown_lines(text).chars() {
            match character {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\'' => self.text.push_str("&#39;"),
                c => self.text.push(c),
            }
        }
    }

    /// A line break between elements, for those who read the source.
    pub(super) fn newline(&mut self) {
        self.text.push('\n');
    }

    /// Markup of this program's own, unchanged.
    pub(super) fn literal(&mut self, markup: &'static str) {
        self.text.push_str(markup);
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn open(&mut self, tag: &'static str, attributes: &Attributes) {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.text(value);
            self.text.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Markup;

    #[test]
    fn texts_and_attributes_cannot_become_markup() {
        let mut page = Markup::default();
        page.within("p", &[("title", "\"><script>")], |page| {
            page.text("a < b && 'c'\u{7}");
            page.leaf("br", &[]);
        });
        assert_eq!(
            page.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">a &lt; b &amp;&amp; &#39;c&#39;\\x07<br/></p>"
        );
    }
}

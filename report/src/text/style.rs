//! What the reader's screen is like.

/// How the text may look. Whether colour is wanted (terminal, `NO_COLOR`) is the caller's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours and bold.
    pub color: bool,
    /// Columns after which sentences wrap. Tables are narrow and do not.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style {
            color: false,
            width: 100,
        }
    }
}

//! How text may look where it goes.

use report::text::Style;

use crate::progress::{Surroundings, columns};

/// Colours and the terminal's width only where a terminal shows them.
pub fn of(terminal: bool) -> Style {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let widest = Style::default().width;
    Style {
        color: terminal && !no_color && Surroundings::detect().cursor,
        width: if terminal {
            columns().clamp(40, widest)
        } else {
            widest
        },
    }
}

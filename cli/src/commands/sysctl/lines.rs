//! Lines for people: wrapped, and in columns.

/// Columns of the text.
const WIDTH: usize = 100;

/// `text` below `indent`, wrapped.
pub(super) fn wrapped(indent: usize, text: &str) -> String {
    let blank = " ".repeat(indent);
    let (mut lines, mut line) = (String::new(), blank.clone());
    for word in text.split_whitespace() {
        let is_empty = line.len() == indent;
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &format!("{}\n", std::mem::replace(&mut line, blank.clone()));
        } else if !is_empty {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

/// Lines of cells; every column but the last is as wide as its widest cell.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("  {}", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// `1 setting`, `4 settings`.
pub(super) fn counted(count: usize, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

/// A number, or no limit.
pub(super) fn amount(amount: Option<u64>) -> String {
    amount.map_or_else(|| "unlimited".to_owned(), |amount| amount.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_and_columns_align() {
        let long = "word ".repeat(30);
        let text = wrapped(4, &long);
        assert!(
            text.lines()
                .all(|line| line.len() <= WIDTH && line.starts_with("    word"))
        );
        assert_eq!(text.lines().count(), 2);
        let rows = [
            vec!["a".to_owned(), "b".to_owned()],
            vec!["ccc".to_owned(), "d".to_owned()],
        ];
        assert_eq!(table(&rows), ["  a     b", "  ccc   d"]);
    }
}

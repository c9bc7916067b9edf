//! Columns that line up.

/// Pads each column to its widest cell. Escape sequences take no room. The last column is not padded.
pub(crate) fn columns(rows: &[Vec<String>], indent: &str) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| visible(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(visible(cell)) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How many columns of a terminal a text takes, as far as it matters here: characters outside of escape sequences.
pub(crate) fn visible(text: &str) -> usize {
    let mut escaped = false;
    text.chars()
        .filter(|c| {
            let counts = !escaped && *c != '\x1b';
            escaped = if *c == '\x1b' { true } else { escaped && *c != 'm' };
            counts
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_take_no_room() {
        assert_eq!(visible("\x1b[1;32m✓\x1b[0m ok"), 4);
        let rows = vec![vec!["a".to_owned(), "b".to_owned()], vec!["\x1b[31mccc\x1b[0m".to_owned(), "d".to_owned()]];
        assert_eq!(columns(&rows, "  "), "  a    b\n  \x1b[31mccc\x1b[0m  d\n");
    }
}

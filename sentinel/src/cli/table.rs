//! Rows under headings: aligned for people, CSV (RFC 4180) for scripts.

use super::output::escape_line;
use std::fmt::Write;

/// A table; every cell is escaped when it is added.
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it has as many cells as there are headings.
    #[expect(clippy::needless_pass_by_value, reason = "callers build the row in the call")]
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| escape_line(cell)).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Columns two spaces apart; the last one runs free.
    pub(super) fn aligned(&self, color: bool) -> String {
        let width = |column: usize| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.chain([self.head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, width) in cells.zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            line.truncate(line.trim_end().len());
            line
        };
        let head = line(&mut self.head.iter().copied());
        let mut out = if color {
            format!("\x1b[1m{head}\x1b[0m\n")
        } else {
            format!("{head}\n")
        };
        for row in &self.rows {
            out.push_str(&line(&mut row.iter().map(String::as_str)));
            out.push('\n');
        }
        out
    }

    /// A header and one line a row.
    pub(super) fn csv(&self) -> String {
        let mut out = self.head.join(",").to_lowercase().replace(' ', "_");
        out.push('\n');
        for row in &self.rows {
            let cells: Vec<_> = row.iter().map(|cell| field(cell)).collect();
            out.push_str(&cells.join(","));
            out.push('\n');
        }
        out
    }
}

/// Quotes where CSV needs it, and where a spreadsheet would run the cell as a formula.
fn field(cell: &str) -> String {
    // The wide ones are taken for the others where a table is opened in East Asia.
    let formula = cell.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) && cell.len() > 1;
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["Target", "Why"]);
        table.row(["192.0.2.1".into(), "a, \"b\"\x1b".into()]);
        table.row(["2001:db8::1".into(), "=1+1".into()]);
        table
    }

    #[test]
    fn aligned_for_people() {
        assert_eq!(
            table().aligned(false),
            "Target       Why\n192.0.2.1    a, \"b\"\\u{1b}\n2001:db8::1  =1+1\n"
        );
    }

    #[test]
    fn csv_for_scripts() {
        assert_eq!(
            table().csv(),
            "target,why\n192.0.2.1,\"a, \"\"b\"\"\\u{1b}\"\n2001:db8::1,'=1+1\n"
        );
    }
}

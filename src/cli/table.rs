//! Tables for people: aligned columns, untrusted text escaped and shortened.

use crate::ground::display_text::{harmless, shorten};
use std::io::{self, Write};

/// Rows that are aligned when they are written.
pub(super) struct TextTable {
    limits: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with a header (an empty one writes none) and the most characters of each column.
    pub(super) fn new(head: &[&str], limits: &[usize]) -> Self {
        let mut table = Self { limits: limits.to_vec(), rows: Vec::new() };
        if !head.is_empty() {
            table.row(head);
        }
        table
    }

    pub(super) fn row(&mut self, cells: &[&str]) {
        self.rows.push(
            cells
                .iter()
                .zip(&self.limits)
                .map(|(cell, limit)| shorten(&harmless(cell), *limit))
                .collect(),
        );
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        // Short columns keep their full width, so that the pages of a long list are aligned with
        // each other.
        let widths: Vec<usize> = self
            .limits
            .iter()
            .enumerate()
            .map(|(column, limit)| if *limit < 40 { *limit } else { width(column) })
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(
                    ' ',
                    (width + 2).saturating_sub(cell.chars().count()),
                ));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_hostile_passes() {
        let mut table = TextTable::new(&["ID", "TEXT"], &[4, 50]);
        table.row(&["1234567", "a\x1b[31m"]);
        table.row(&["é", &"x".repeat(99)]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ID    TEXT");
        assert_eq!(lines[1], "123…  a\u{fffd}[31m");
        assert_eq!(lines[2].chars().count(), 6 + 50);
    }
}

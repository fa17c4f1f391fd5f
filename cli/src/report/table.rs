//! Lines of cells as columns: the first to the left, the others to the right.
//! Knows nothing of what the cells mean.

use crate::style::{FAINT, STRONG, paint};

/// How a line of a table is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// As a heading.
    Strong,
    /// As it is.
    Plain,
    /// As one that may be skipped.
    Faint,
}

/// Lines of cells.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<(Weight, Vec<String>)>,
}

impl Table {
    /// Adds a line.
    pub(crate) fn line(&mut self, weight: Weight, cells: Vec<String>) {
        self.lines.push((weight, cells));
    }

    /// The lines, each with its line end.
    pub(crate) fn text(&self) -> String {
        let columns = self.lines.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        let width = |column: usize| {
            self.lines
                .iter()
                .filter_map(|(_, cells)| cells.get(column))
                .map(|cell| length(cell))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.lines.iter().map(|(weight, cells)| show(*weight, cells, &widths)).collect()
    }
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

fn show(weight: Weight, cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let fill = " ".repeat(width.saturating_sub(length(cell)));
        match index {
            0 => line.extend([cell.as_str(), &fill]),
            _ => line.extend(["  ", &fill, cell]),
        }
    }
    let line = line.trim_end();
    match weight {
        Weight::Strong => format!("{}\n", paint(STRONG, line)),
        Weight::Plain => format!("{line}\n"),
        Weight::Faint => format!("{}\n", paint(FAINT, line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_column_is_left_and_the_others_are_right() {
        let mut table = Table::default();
        for line in ["part first last", "python 1 22", "unexplained 333"] {
            table.line(Weight::Plain, line.split(' ').map(String::from).collect());
        }
        assert_eq!(table.text(), "part         first  last\npython           1    22\nunexplained    333\n");
    }
}

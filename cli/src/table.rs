//! Rows in aligned columns that fit the terminal. What does not fit is cut, visibly.

use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthStr;

/// What stands between two columns.
const GAP: &str = "  ";
/// The width where standard output is no terminal and `COLUMNS` is not set.
const DEFAULT_WIDTH: usize = 80;
/// How many of the first rows decide how wide the columns are.
const SAMPLE_ROWS: usize = 1_000;
/// The columns that may be cut keep at least this, if others can be left out for it.
const LEAST: usize = 10;

/// A column, by what it is headed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Its cells may be cut; the others are left out as a whole where there is no room.
    pub(crate) cut: bool,
}

/// A table being written.
pub(crate) struct Table<W: Write> {
    out: W,
    columns: Vec<Column>,
    width: usize,
    bold: bool,
    sample: Vec<Vec<String>>,
    /// The width of each column that is shown; empty until the sample is complete.
    widths: Vec<usize>,
}

impl<W: Write> Table<W> {
    /// A table for standard output.
    pub(crate) fn new(out: W, columns: Vec<Column>) -> Self {
        let stdout = io::stdout();
        Self {
            out,
            columns,
            width: width(),
            bold: AutoStream::choice(&stdout) != ColorChoice::Never,
            sample: Vec::new(),
            widths: Vec::new(),
        }
    }

    /// # Errors
    /// It cannot be written.
    pub(crate) fn row(&mut self, cells: Vec<String>) -> io::Result<()> {
        if !self.widths.is_empty() {
            return self.write(&cells, Style::new());
        }
        // A cell is never wider than the table, so the sample stays small.
        let cells = cells.iter().map(|cell| cut(cell, self.width));
        self.sample.push(cells.collect());
        if self.sample.len() == SAMPLE_ROWS {
            self.begin()?;
        }
        Ok(())
    }

    /// Whether there was a row.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn finish(mut self) -> io::Result<bool> {
        if self.widths.is_empty() && !self.sample.is_empty() {
            self.begin()?;
        }
        self.out.flush()?;
        Ok(!self.widths.is_empty())
    }

    fn begin(&mut self) -> io::Result<()> {
        let sample = std::mem::take(&mut self.sample);
        let needed = self.columns.iter().enumerate().map(|(index, column)| {
            let cells = sample.iter().map(|row| row[index].width());
            cells.chain([column.title.len()]).max().unwrap_or_default()
        });
        self.widths = fit(&self.columns, needed.collect(), self.width);
        let titles = self.columns.iter().map(|column| column.title.to_owned());
        let style = if self.bold {
            Style::new().bold()
        } else {
            Style::new()
        };
        self.write(&titles.collect::<Vec<_>>(), style)?;
        sample
            .iter()
            .try_for_each(|row| self.write(row, Style::new()))
    }

    fn write(&mut self, cells: &[String], style: Style) -> io::Result<()> {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            if !line.is_empty() {
                line.push_str(GAP);
            }
            let cell = cut(cell, *width);
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
        }
        writeln!(self.out, "{style}{}{style:#}", line.trim_end())
    }
}

/// The width of the terminal, or of anything else what `COLUMNS` says.
fn width() -> usize {
    if let Some((Width(columns), _)) = terminal_size_of(io::stdout()) {
        return usize::from(columns);
    }
    let columns = std::env::var("COLUMNS").ok();
    let columns = columns.and_then(|columns| columns.parse().ok());
    columns
        .filter(|columns| *columns > 0)
        .unwrap_or(DEFAULT_WIDTH)
}

/// The widths of the first columns, as many as have room.
fn fit(columns: &[Column], mut widths: Vec<usize>, room: usize) -> Vec<usize> {
    loop {
        let shown = &columns[..widths.len()];
        let (mut flexible, mut fixed) = (Vec::new(), GAP.len() * (widths.len() - 1));
        for (index, column) in shown.iter().enumerate() {
            if column.cut {
                flexible.push(index);
            } else {
                fixed += widths[index];
            }
        }
        let left = room.saturating_sub(fixed);
        let last_is_fixed = shown.last().is_some_and(|column| !column.cut);
        if left < LEAST * flexible.len() && last_is_fixed {
            widths.pop();
            continue;
        }
        share(&mut widths, &flexible, left);
        return widths;
    }
}

/// Gives each of these columns what it needs, or its share of what the others do not need.
fn share(widths: &mut [usize], flexible: &[usize], mut left: usize) {
    let mut by_need = flexible.to_vec();
    by_need.sort_by_key(|index| widths[*index]);
    for (position, index) in by_need.iter().enumerate() {
        let share = left / (by_need.len() - position);
        widths[*index] = widths[*index].min(share.max(1));
        left = left.saturating_sub(widths[*index]);
    }
}

/// The text if it is no wider than this, else its beginning and `…`.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        // The width is that of the whole, since some characters widen the one before them.
        if kept.width() >= width {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Column = Column {
        title: "KEY",
        cut: true,
    };
    const VALUE: Column = Column {
        title: "VALUE",
        cut: true,
    };
    const TIME: Column = Column {
        title: "TIME",
        cut: false,
    };

    #[test]
    fn text_is_cut_by_its_width_on_a_terminal() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("漢字", 4), "漢字");
        assert_eq!(cut("漢字", 3), "漢…");
        assert_eq!(cut("漢字", 2), "…");
        assert_eq!(cut("❤\u{fe0f}❤\u{fe0f}", 3), "❤\u{fe0f}…");
    }

    #[test]
    fn columns_share_the_room() {
        let columns = [KEY, VALUE, TIME];
        assert_eq!(fit(&columns, vec![5, 6, 4], 80), [5, 6, 4]);
        assert_eq!(fit(&columns, vec![5, 600, 4], 80), [5, 67, 4]);
        assert_eq!(fit(&columns, vec![500, 600, 4], 80), [36, 36, 4]);
        assert_eq!(
            fit(&columns, vec![500, 600, 4], 20),
            [9, 9],
            "no room for the time"
        );
    }
}

//! What commands print. No colours: clap's own messages have some, and heed `NO_COLOR`.

use std::fmt::Display;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

/// The form of data on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for people.
    Table,
    /// JSON for programs.
    Json,
    /// YAML for both.
    Yaml,
}

/// Prints a line to standard error. A closed standard error is nothing to fail for.
pub(super) fn say(line: &(impl Display + ?Sized)) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints text to standard output as it is.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints data: as a table, which `table` makes, or as JSON or YAML.
pub(super) fn print_data<T: Serialize>(
    format: Format,
    data: &T,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => table(data),
        Format::Json => serde_json::to_string_pretty(data)? + "\n",
        Format::Yaml => serde_saphyr::to_string(data)?,
    };
    Ok(print(&text)?)
}

/// Columns, each as wide as its widest cell; the last one is not padded. Control characters are taken out.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    let mut widths = head.map(|title| title.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Text of others for a terminal: without control characters, which could move the cursor or hide what is written.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text of several lines for a terminal.
pub(super) fn plain_lines(text: &str) -> String {
    text.lines().map(|line| plain(line) + "\n").collect()
}

/// The first line of `text`, shortened to `width` characters.
pub(super) fn short(text: &str, width: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(width) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let rows = [["a".to_owned(), "x\u{1b}[2Jy".to_owned()], ["längér".to_owned(), String::new()]];
        assert_eq!(table(["ID", "TEXT"], &rows), "ID      TEXT\na       x [2Jy\nlängér\n");
    }
}

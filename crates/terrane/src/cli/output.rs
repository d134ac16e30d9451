//! Printing results: tables for people, JSON for programs.

use std::fmt::Display;
use std::io::Write;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints a value: as JSON, or as the table that the closure makes of it.
    pub(crate) fn print<T: Serialize, D: Display>(
        self,
        value: &T,
        table: impl FnOnce(&T) -> D,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Json => say(serde_json::to_string_pretty(value)?),
            Format::Table => say(table(value)),
        }
    }

    /// Prints a line of a stream: compact JSON, or what the closure makes of it.
    pub(crate) fn line<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self.format {
            Format::Json => say(serde_json::to_string(value)?),
            Format::Table => say(text(value)),
        }
    }

    /// Says that something was done; silent in JSON, where the exit code says it.
    pub(crate) fn done(self, text: impl Display) -> anyhow::Result<()> {
        if self.format == Format::Table { say(text) } else { Ok(()) }
    }
}

/// A line on standard output. Whoever reads it may have seen enough and gone (`| head`).
pub(crate) fn say(text: impl Display) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A table with these column heads.
pub(crate) fn table<const N: usize>(heads: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads.map(|head| head.to_uppercase()));
    table
}

/// A table of two columns, names and values.
pub(crate) fn facts<const N: usize>(facts: [(&str, String); N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in facts {
        table.add_row([name.to_owned(), value]);
    }
    table
}

/// A cell with a number.
pub(crate) fn number(value: impl Display) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// A value or a dash.
pub(crate) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Milliseconds in the two largest units: `1h 05m`, `12.3s`, `45ms`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Bytes in the largest binary unit that leaves a number above one.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (ms, text) in [
            (45, "45ms"),
            (12_345, "12.3s"),
            (61_000, "1m 01s"),
            (3_900_000, "1h 05m"),
            (90_000_000, "1d 01h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}

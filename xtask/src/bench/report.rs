//! The table that a benchmark prints, and its JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// One line: what was measured, ours, the peer's, and whether the bar is met.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// What was measured, with its unit.
    pub(super) what: String,
    /// Our figure.
    pub(super) ours: String,
    /// What it is compared with.
    pub(super) against: String,
    /// The bar.
    pub(super) bar: String,
    /// Whether it is met.
    pub(super) met: bool,
    /// What else one should know to read the line.
    pub(super) note: String,
}

/// Prints the rows as a Markdown table and writes them to `target/bench/NAME.json`.
pub(super) fn finish(name: &str, target: &Path, rows: &[Row]) -> Result<()> {
    println!("\n| What | Terrane | Against | Bar | Met | Note |\n|---|---|---|---|---|---|");
    for row in rows {
        let met = if row.met { "yes" } else { "**no**" };
        println!("| {} | {} | {} | {} | {met} | {} |", row.what, row.ours, row.against, row.bar, row.note);
    }
    let missed = rows.iter().filter(|row| !row.met).count();
    println!("\n{} of {} bars met.", rows.len() - missed, rows.len());
    let dir = target.join("bench");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = dir.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_string_pretty(rows)? + "\n")?;
    println!("Written to {}", file.display());
    Ok(())
}

/// `1234567.8` → `1,234,568`.
pub(super) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn groups_of_three() {
        assert_eq!([0.4, 999.6, 1_234_567.8, -1000.0].map(thousands), ["0", "1,000", "1,234,568", "-1,000"]);
    }
}

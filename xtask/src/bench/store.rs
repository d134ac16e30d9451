//! `cargo xtask bench store`: durable commits of the embedded store beside fjall's own.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::report::{self, Row, thousands};
use crate::sh;

/// Runs the store crate's own comparison in an optimised build.
pub(super) fn run() -> Result<()> {
    let dir = sh::target_dir().join("bench");
    fs::create_dir_all(&dir)?;
    let mut example = sh::cargo();
    example
        .args([
            "run",
            "--release",
            "--locked",
            "--package",
            "terrane-store",
            "--example",
            "bench_commits",
            "--",
        ])
        .arg("20")
        .arg(&dir);
    let text = sh::output(&mut example)?;
    let figures: Value = serde_json::from_str(&text).context("the comparison did not print JSON")?;
    let number = |name: &str| figures[name].as_f64().with_context(|| format!("no {name} in {figures}"));
    let (ours, theirs, bar) =
        (number("ours_commits_per_s")?, number("fjall_syncdata_commits_per_s")?, number("bar")?);
    let row = Row {
        what: "durable commits/s, 16 writers".into(),
        ours: thousands(ours),
        against: format!("{} (fjall, `SyncData`)", thousands(theirs)),
        bar: format!("≥ {bar}×"),
        met: ours >= bar * theirs,
        note: format!("{:.2}×", ours / theirs),
    };
    report::finish("store", &sh::target_dir(), &[row])
}

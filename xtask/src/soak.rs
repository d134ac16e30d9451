//! `cargo xtask soak NAME`: simulated histories by the ten thousand.

use std::time::Instant;

use anyhow::Result;

use crate::sh;

/// Runs `seeds` histories of the model `name` and prints a line for `docs/soak.md`.
pub(crate) fn run(name: &str, first: u64, seeds: u64) -> Result<()> {
    sh::run(sh::cargo().args(["build", "--release", "--locked", "--package", "terrane-sim"]))?;
    let started = Instant::now();
    sh::run(std::process::Command::new(sh::target_dir().join("release/terrane-sim")).arg(name).args([
        "--first",
        &first.to_string(),
        "--seeds",
        &seeds.to_string(),
    ]))?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let date = sh::output(std::process::Command::new("date").args(["-u", "+%F"]))?;
    println!(
        "\nFor docs/soak.md:\n| {} | {name} | {seeds} from {first} | {minutes:.1} min | no violation |",
        date.trim()
    );
    Ok(())
}

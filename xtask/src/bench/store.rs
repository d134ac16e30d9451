//! `cargo xtask bench store`: durable commits of the embedded store beside fjall's own.

use anyhow::Result;

use crate::sh;

/// Runs the store crate's own comparison in an optimised build.
pub(super) fn run() -> Result<()> {
    sh::run(sh::cargo().args([
        "run",
        "--release",
        "--locked",
        "--package",
        "terrane-store",
        "--example",
        "commit_rate",
    ]))
}

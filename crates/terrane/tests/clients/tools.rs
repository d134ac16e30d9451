//! Finding and running the clients.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A program of the Python environment that `cargo xtask test` makes. Missing is a failure, never a skip.
pub(crate) fn tool(name: &str) -> PathBuf {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/terrane lies two deep");
    let venv =
        std::env::var_os("TERRANE_TEST_VENV").map_or_else(|| workspace.join("target/venv"), PathBuf::from);
    let program = venv.join("bin").join(name);
    assert!(program.exists(), "{} is missing: run the tests by `cargo xtask test`", program.display());
    program
}

/// Runs to the end; panics with everything that was printed unless it succeeded.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        tail(&output.stdout),
        tail(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs to the end, whatever becomes of it.
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"))
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

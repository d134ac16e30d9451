//! Finding the binary and the clients, and running scripts.

use std::path::{Path, PathBuf};
use std::process::Command;

use terrane_testbed::{Installation, succeed};

/// The built `terrane`.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_terrane");

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

/// A script beside this file.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/volumes/python").join(name)
}

/// Runs one of the scripts for libnbd under the system's Python, which has it; returns what it printed.
pub(crate) fn nbd_script(name: &str, arguments: &[&str]) -> String {
    succeed(Command::new("/usr/bin/python3").args(["-u", "-B"]).arg(script(name)).args(arguments)).unwrap()
}

/// Makes a volume of a GiB and attaches it; returns its ID and its NBD URL.
pub(crate) fn attached(installation: &impl Installation, instance: &str) -> (String, String) {
    let id = installation.create_volume(1).unwrap();
    let url = installation.attach(&id, instance).unwrap();
    (id, url)
}

/// Reads a number from the environment: `cargo xtask soak` asks for more than the test run.
pub(crate) fn number_from(variable: &str, otherwise: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

//! `cargo xtask test`: everything that the tests need, then the tests.

use anyhow::Result;

use crate::{sh, tools};

/// Installs real clients and daemons, then runs all tests. The test runner's summary ends the output.
pub(crate) fn run(args: &[String]) -> Result<()> {
    tools::ensure_for_tests()?;
    let kernel = tools::guest_kernel()?;
    let venv = tools::venv("venv", &sh::root().join("xtask/requirements.txt"))?;

    let nextest = sh::which("cargo-nextest").is_some();
    let mut runner = sh::cargo();
    if nextest {
        // It runs no examples in documentation; cargo does.
        if args.is_empty() {
            sh::run(sh::cargo().args(["test", "--doc", "--workspace", "--locked", "--quiet"]))?;
        }
        runner.args(["nextest", "run", "--workspace", "--locked"]);
        if sh::in_ci() {
            runner.args(["--profile", "ci"]);
        }
    } else {
        runner.args(["test", "--workspace", "--locked"]);
        if !args.is_empty() {
            runner.arg("--");
        }
    }
    runner.args(args).env("TERRANE_TEST_VENV", &venv);
    if let Some(bin) = tools::postgres_bin() {
        runner.env("TERRANE_TEST_POSTGRES_BIN", bin);
    }
    if let Some(kernel) = kernel {
        runner.env("TERRANE_TEST_GUEST_KERNEL", kernel);
    }
    sh::run(&mut runner)
}

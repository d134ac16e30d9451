//! Tasks around the workspace: `cargo xtask tidy | test | codegen | soak | bench | s3-tests | moto`.
//!
//! Each command does everything that it needs on a fresh machine: what is missing is installed into
//! `target/venv` (Python packages) or, as root, by the system's package manager.

mod bench;
mod codegen;
mod moto;
mod s3_tests;
mod server;
mod sh;
mod soak;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks around the Terrane workspace")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the rules of the house that compilers and linters do not.
    Tidy,
    /// Install what the tests drive, then run every test.
    Test {
        /// Passed on to the test runner (a filter, for example).
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure beside a peer: `objects`, `store` or `volumes`.
    Bench {
        /// Which benchmark.
        name: String,
        #[command(flatten)]
        scale: bench::Scale,
    },
    /// Write the structures of the EC2 protocol anew from the public model.
    Codegen {
        /// Only say whether they would change.
        #[arg(long)]
        check: bool,
    },
    /// Run moto's own tests of EC2 volumes; what fails must be explained in docs/moto.md.
    Moto {
        /// Test the release build.
        #[arg(long)]
        release: bool,
    },
    /// Run the conformance suite in a clone of ceph/s3-tests.
    S3Tests {
        /// The clone.
        dir: std::path::PathBuf,
        /// Only tests that match (pytest's -k); the table in docs/ is then left alone.
        #[arg(short = 'k', long)]
        filter: Option<String>,
        /// Test the release build.
        #[arg(long)]
        release: bool,
    },
    /// Run tens of thousands of simulated histories, or fuzz every decoder.
    Soak {
        /// A world of the simulator (`terrane-sim list` names them), `volumes`, `volume-faults` or `fuzz`.
        name: String,
        #[command(flatten)]
        length: soak::Length,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Tidy => tidy::run(),
        Task::Test { args } => test::run(&args),
        Task::Bench { name, scale } => bench::run(&name, &scale),
        Task::Codegen { check } => codegen::run(check),
        Task::Moto { release } => moto::run(release),
        Task::S3Tests { dir, filter, release } => s3_tests::run(&dir, filter.as_deref(), release),
        Task::Soak { name, length } => soak::run(&name, &length),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

//! `cargo xtask soak NAME`: simulated histories by the ten thousand, fuzzing, and hours among noisy neighbours.

mod qos;

use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Result, ensure};

use crate::{sh, tools};

/// How long, how much.
#[derive(Debug, clap::Args)]
pub(crate) struct Length {
    /// How many seeds (simulations). Without it 50,000; 100,000 for volumes.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed (simulations).
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// States of each search over the replication core (volumes); 3 million take some 8 GiB of memory.
    #[arg(long, default_value_t = 3_000_000)]
    states: u64,
    /// Seconds per target (fuzzing).
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How often each fault befalls each part (volume-faults).
    #[arg(long, default_value_t = 50)]
    rounds: u64,
    /// How long a frozen part stands still, in seconds (volume-faults).
    #[arg(long, default_value_t = 30)]
    freeze: u64,
    /// How long, in minutes (qos).
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

/// Names for all worlds that a service rests on.
const SERVICES: &[(&str, &[&str])] = &[("objects", &["keymap", "log", "mirror", "store"])];

/// Runs the worlds of a service, one world of the simulator, or `fuzz`, and prints lines for `docs/soak.md`.
pub(crate) fn run(name: &str, length: &Length) -> Result<()> {
    let service = SERVICES.iter().find(|(service, _)| *service == name);
    let names = service.map_or_else(|| vec![name], |(_, worlds)| worlds.to_vec());
    let date = sh::output(Command::new("date").args(["-u", "+%F"]))?;
    let mut rows = String::new();
    for name in names {
        let started = Instant::now();
        let what = match name {
            "fuzz" => fuzz(length)?,
            "volume-faults" => volume_faults(length)?,
            "qos" => qos::run(length.minutes)?,
            "volumes" => format!("{}; {}", search_volumes(length)?, simulate("block", length, 100_000)?),
            world => simulate(world, length, 50_000)?,
        };
        let minutes = started.elapsed().as_secs_f64() / 60.0;
        rows += &format!("| {} | {name} | {what} | {minutes:.1} min | nothing found |\n", date.trim());
    }
    println!("\nFor docs/soak.md:\n{rows}");
    Ok(())
}

fn simulate(world: &str, length: &Length, default: u64) -> Result<String> {
    sh::run(sh::cargo().args(["build", "--release", "--locked", "--package", "terrane-sim"]))?;
    let (first, seeds) = (length.first.to_string(), length.seeds.unwrap_or(default).to_string());
    sh::run(
        Command::new(sh::target_dir().join("release/terrane-sim"))
            .arg(world)
            .args(["--first", &first, "--seeds", &seeds]),
    )?;
    Ok(format!("{seeds} from {first}"))
}

/// The breadth-first searches over the replication core, several times as many states each as in the test run, one after
/// the other, since the memory that they take is the bound.
fn search_volumes(length: &Length) -> Result<String> {
    let states = length.states.to_string();
    sh::run(
        sh::cargo()
            .args([
                "test",
                "--release",
                "--locked",
                "--package",
                "terrane-block-core",
                "--test",
                "it",
                "rules::",
            ])
            .args(["--", "--test-threads=1"])
            .env("TERRANE_SEARCH_STATES", &states),
    )?;
    Ok(format!("searches of {states} states each"))
}

/// The black-box tests in which every part of an installation is killed, frozen and cut off, for longer; one cluster per
/// part, all at the same time, since most of it is waiting.
fn volume_faults(length: &Length) -> Result<String> {
    tools::ensure_for_tests()?;
    let (rounds, freeze) = (length.rounds.to_string(), length.freeze.to_string());
    sh::run(
        sh::cargo()
            .args(["test", "--release", "--locked", "--package", "terrane", "--test", "volumes", "faults::"])
            .args(["--", "--test-threads=4", "--nocapture"])
            .env("TERRANE_FAULT_ROUNDS", &rounds)
            .env("TERRANE_FREEZE_SECONDS", &freeze),
    )?;
    Ok(format!("{rounds} rounds of each fault and part, {freeze} s frozen"))
}

/// What makes rustc count the edges that an input takes. These are what cargo-fuzz passes, without its sanitizer,
/// which needs a nightly compiler and guards against what safe code does not do.
const COVERAGE: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs every fuzz target in turn.
fn fuzz(length: &Length) -> Result<String> {
    let fuzz = sh::root().join("fuzz");
    let target = sh::target_dir().join("fuzz");
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    // With --target the flags do not reach build scripts, which have no fuzzer to link with.
    sh::run(
        sh::cargo().current_dir(&fuzz).env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &target).args([
            "build",
            "--release",
            "--target",
            &triple,
        ]),
    )?;
    let mut names: Vec<String> = fs::read_dir(fuzz.join("fuzz_targets"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    ensure!(!names.is_empty(), "there are no fuzz targets");
    for name in &names {
        let dir = target.join(name);
        let corpus = dir.join("corpus");
        fs::create_dir_all(&corpus)?;
        eprintln!("xtask: fuzzing {name}");
        sh::run(
            Command::new(target.join(&triple).join("release").join(name))
                .current_dir(&dir)
                .arg(format!("-max_total_time={}", length.seconds))
                .args(["-max_len=4096", "-timeout=10", "-print_final_stats=1", "-verbosity=0"])
                .arg(&corpus),
        )?;
    }
    Ok(format!("{} targets, {} s each", names.len(), length.seconds))
}

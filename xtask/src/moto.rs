//! `cargo xtask moto`: moto's own tests of EC2 volumes against a fresh installation.
//!
//! moto is a mock of AWS. Its tests are boto3 programs that say what EC2 does; they come with its source distribution.
//! What passes is printed; why the rest does not is in `docs/moto.md`, and a test that fails without being named there
//! is an error.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::server::Terrane;
use crate::{sh, tools};

/// The release whose tests are run.
const VERSION: &str = "5.2.1";

/// The tests that are about volumes.
const FILES: [&str; 3] = [
    "tests/test_ec2/test_elastic_block_store.py",
    "tests/test_ec2/test_tags.py",
    "tests/test_ec2/test_availability_zones_and_regions.py",
];

/// Where the failures are explained.
const DOCUMENT: &str = "docs/moto.md";

/// Runs the tests and compares what fails with what is explained.
pub(crate) fn run(release: bool) -> Result<()> {
    let work = sh::root().join("target/moto");
    let venv = tools::venv("venv-moto", &sh::root().join("xtask/requirements-moto.txt"))?;
    let tests = sources(&venv, &work)?;
    let mut build = sh::cargo();
    build.args(["build", "--locked", "--package", "terrane"]);
    if release {
        build.arg("--release");
    }
    sh::run(&mut build)?;
    let data = work.join("data");
    drop(fs::remove_dir_all(&data));
    let profile = if release { "release" } else { "debug" };
    // The tests make volumes that are larger than most drives, write nothing to them, and leave them there.
    let config = work.join("terrane.toml");
    fs::write(&config, "[volumes]\novercommit = 100000\n")?;
    let binary = sh::target_dir().join(profile).join("terrane");
    let terrane = Terrane::start_with(&binary, &data, &["--config", &config.to_string_lossy()])?;
    fs::write(work.join("terrane_outcomes.py"), include_str!("s3_tests/terrane_outcomes.py"))?;
    fs::write(work.join("terrane_keys.py"), include_str!("moto/terrane_keys.py"))?;
    let outcomes = work.join("outcomes.tsv");
    drop(fs::remove_file(&outcomes));

    let log = fs::File::create(work.join("pytest.log"))?;
    let mut pytest = Command::new(venv.join("bin/python"));
    pytest
        .current_dir(&tests)
        .env("TEST_SERVER_MODE", "true")
        .env("TEST_SERVER_MODE_ENDPOINT", &terrane.url)
        .env("MOTO_CALL_RESET_API", "false")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("TERRANE_CREDENTIALS", &terrane.credentials)
        .env("TERRANE_OUTCOMES", &outcomes)
        .env("PYTHONPATH", &work)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", "pytest", "-q", "--tb=short", "-p", "terrane_outcomes", "-p", "terrane_keys"])
        .args(["-p", "no:cacheprovider", "--timeout=120"])
        .args(FILES);
    // Failing tests are a result, not an error of ours; a suite that could not run leaves no outcomes.
    let status = pytest.stdout(log.try_clone()?).stderr(log).status().context("cannot start pytest")?;
    let text = fs::read_to_string(&outcomes).with_context(|| {
        format!("pytest ({status}) told nothing: see {}", work.join("pytest.log").display())
    })?;
    judge(&text, &work)
}

/// moto's source distribution, unpacked.
fn sources(venv: &Path, work: &Path) -> Result<PathBuf> {
    let dir = work.join(format!("moto-{VERSION}"));
    if dir.is_dir() {
        return Ok(dir);
    }
    fs::create_dir_all(work)?;
    let python = venv.join("bin/python");
    sh::run(Command::new(python).current_dir(work).args(["-m", "pip", "download", "--quiet"]).args([
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
        "--no-binary=:all:",
        &format!("moto=={VERSION}"),
    ]))?;
    let archive = format!("moto-{VERSION}.tar.gz");
    sh::run(Command::new("tar").current_dir(work).args(["-xzf", &archive]))?;
    ensure!(dir.join(FILES[0]).is_file(), "{archive} has no {}", FILES[0]);
    Ok(dir)
}

/// Prints what passed; whatever failed must be explained.
fn judge(outcomes: &str, work: &Path) -> Result<()> {
    let explained = fs::read_to_string(sh::root().join(DOCUMENT))?;
    let of = |wanted: &str| -> BTreeSet<&str> {
        let lines = outcomes.lines().filter_map(|line| {
            let (outcome, rest) = line.split_once('\t')?;
            let test = rest.split('\t').next()?;
            (outcome == wanted).then(|| test.rsplit("::").next().unwrap_or(test))
        });
        lines.collect()
    };
    let (passed, failed, skipped) = (of("passed"), of("failed"), of("skipped"));
    for test in &passed {
        println!("passed   {test}");
    }
    for test in &failed {
        println!("failed   {test}");
    }
    println!("\n{} passed, {} failed, {} skipped themselves", passed.len(), failed.len(), skipped.len());
    println!("Details: {}", work.join("pytest.log").display());
    let name = |test: &&&str| test.split('[').next().unwrap_or(test).trim_start_matches("test_").to_owned();
    let unexplained: BTreeSet<String> = failed
        .iter()
        .collect::<Vec<_>>()
        .iter()
        .map(name)
        .filter(|test| !explained.contains(test.as_str()))
        .collect();
    ensure!(unexplained.is_empty(), "{DOCUMENT} does not explain: {unexplained:?}");
    Ok(())
}

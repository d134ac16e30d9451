//! `cargo xtask moto`: moto's own tests of EC2 volumes and the EBS direct APIs against a fresh installation.
//!
//! moto is a mock of AWS. Its tests are boto3 programs that say what EC2 does; they come with its source distribution.
//! What passes is printed, and must be exactly what `docs/moto.md` lists; why the rest fails is written there, and a
//! test that fails without being named there is an error.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::server::Terrane;
use crate::{sh, tools};

/// The release whose tests are run.
const VERSION: &str = "5.2.1";

/// The tests that are about volumes and snapshots.
const FILES: [&str; 4] = [
    "tests/test_ec2/test_elastic_block_store.py",
    "tests/test_ec2/test_tags.py",
    "tests/test_ec2/test_availability_zones_and_regions.py",
    "tests/test_ebs/test_ebs.py",
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

/// Prints what passed, which must be what is documented; whatever failed must be explained.
fn judge(outcomes: &str, work: &Path) -> Result<()> {
    let document = fs::read_to_string(sh::root().join(DOCUMENT))?;
    let outcomes = Outcomes::read(outcomes);
    for test in &outcomes.passed {
        println!("passed   {test}");
    }
    for test in &outcomes.failed {
        println!("failed   {test}");
    }
    let Outcomes { passed, failed, skipped } = &outcomes;
    println!("\n{} passed, {} failed, {} skipped themselves", passed.len(), failed.len(), skipped.len());
    println!("Details: {}", work.join("pytest.log").display());
    let complaints = outcomes.compare(&document);
    ensure!(complaints.is_empty(), "{DOCUMENT} says something else:\n{}", complaints.join("\n"));
    Ok(())
}

/// Names of tests, with their parameters.
#[derive(Debug, Default)]
struct Outcomes<'a> {
    passed: BTreeSet<&'a str>,
    failed: BTreeSet<&'a str>,
    skipped: BTreeSet<&'a str>,
}

impl<'a> Outcomes<'a> {
    /// Lines of outcome, test and more.
    fn read(text: &'a str) -> Self {
        let mut outcomes = Self::default();
        for line in text.lines() {
            let mut fields = line.split('\t');
            let (Some(outcome), Some(test)) = (fields.next(), fields.next()) else { continue };
            match outcome {
                "passed" => outcomes.passed.insert(test),
                "skipped" => outcomes.skipped.insert(test),
                _ => outcomes.failed.insert(test),
            };
        }
        outcomes
    }

    /// What is not as the document says. It lists what passes in a block of code, one test on a line, and names every
    /// failing one, with its parameters or for all of them, after that.
    fn compare(&self, document: &str) -> Vec<String> {
        let mut parts = document.splitn(3, "```");
        let (_, listed, explained) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        let listed: BTreeSet<&str> =
            listed.unwrap_or_default().lines().filter(|line| line.starts_with("test_")).collect();
        let mut complaints = Vec::new();
        let mut complain = |what: &str, test: &str| complaints.push(format!("{what} {test}"));
        listed.difference(&self.passed).for_each(|test| complain("passes no more:", test));
        self.passed.difference(&listed).for_each(|test| complain("passes now:", test));
        let words: BTreeSet<&str> =
            explained.split(|c: char| !(c.is_alphanumeric() || "_-[]".contains(c))).collect();
        let is_explained = |test: &str| {
            let name = test.trim_start_matches("test_");
            words.contains(name) || name.split('[').next().is_some_and(|name| words.contains(name))
        };
        let unexplained = self.failed.iter().filter(|test| !is_explained(test));
        unexplained.for_each(|test| complain("not explained:", test));
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str =
        "# Words\n```text\ntest_a\ntest_b[x]\n```\n- **Not offered**: c, create_tags,\n  d[y], e.\n";

    fn complaints(outcomes: &str) -> Vec<String> {
        Outcomes::read(outcomes).compare(DOCUMENT)
    }

    #[test]
    fn what_is_as_documented_is_right() {
        let outcomes = "passed\ttest_a\t\npassed\ttest_b[x]\t\nfailed\ttest_c[1]\tm\nfailed\ttest_d[y]\t\nskipped\ttest_s\t";
        assert_eq!(complaints(outcomes), [""; 0]);
    }

    #[test]
    fn everything_else_is_told() {
        let outcomes = "passed\ttest_a\t\npassed\ttest_n\t\nfailed\ttest_b[x]\t\nfailed\ttest_tags\t\nfailed\ttest_d[z]\t";
        let expected = [
            "passes no more: test_b[x]",
            "passes now: test_n",
            "not explained: test_b[x]",
            "not explained: test_d[z]",
            "not explained: test_tags",
        ];
        assert_eq!(complaints(outcomes), expected);
        assert!(Outcomes::read("").compare("nothing").is_empty());
    }
}

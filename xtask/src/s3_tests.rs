//! `cargo xtask s3-tests DIR`: the S3 conformance suite of the Ceph project against a fresh installation.
//!
//! The suite is on no package registry, so it is given as a clone and run by hand; the resulting table is kept
//! in `docs/s3-tests.md`.

mod table;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::server::Terrane;
use crate::{sh, tools};

/// The files of the suite that this release is judged by.
const FILES: [&str; 2] = ["s3tests/functional/test_s3.py", "s3tests/functional/test_headers.py"];

/// What the suite's own list of packages lacks: a limit to the time of one test.
const EXTRA_PACKAGES: &str = "pytest-timeout\n";

/// How long one test may take, in seconds. Some sleep for a minute by design.
const TEST_SECONDS_MAX: u32 = 180;

/// One user of the suite's configuration.
struct User {
    account: String,
    access_key: String,
    secret_key: String,
}

/// Runs the suite in `clone`. `filter` selects tests as pytest's `-k` does; only a full run renews the table.
pub(crate) fn run(clone: &Path, filter: Option<&str>, release: bool) -> Result<()> {
    let clone = clone.canonicalize().with_context(|| format!("no directory {}", clone.display()))?;
    ensure!(clone.join(FILES[0]).is_file(), "{} is no clone of ceph/s3-tests", clone.display());
    let work = sh::root().join("target/s3-tests");
    drop(fs::remove_dir_all(&work));
    fs::create_dir_all(&work)?;
    let venv = suite_venv(&clone, &work)?;

    let mut build = sh::cargo();
    build.args(["build", "--locked", "--package", "terrane"]);
    if release {
        build.arg("--release");
    }
    sh::run(&mut build)?;
    let profile = if release { "release" } else { "debug" };
    let terrane = Terrane::start(&sh::target_dir().join(profile).join("terrane"), &work.join("data"))?;
    let config = work.join("s3tests.conf");
    fs::write(&config, configuration(&terrane)?)?;
    fs::write(work.join("terrane_outcomes.py"), include_str!("s3_tests/terrane_outcomes.py"))?;

    let outcomes = work.join("outcomes.tsv");
    let mut pytest = Command::new(venv.join("bin/python"));
    pytest
        .current_dir(&clone)
        .env("S3TEST_CONF", &config)
        .env("TERRANE_OUTCOMES", &outcomes)
        .env("PYTHONPATH", &work)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", "pytest", "-q", "--tb=short", "-p", "terrane_outcomes", "-p", "no:cacheprovider"])
        .arg(format!("--timeout={TEST_SECONDS_MAX}"))
        .arg(format!("--junitxml={}", work.join("results.xml").display()))
        .args(FILES);
    if let Some(filter) = filter {
        pytest.args(["-k", filter]);
    }
    // Failing tests are a result, not an error of ours; a suite that could not run leaves no outcomes.
    let log = fs::File::create(work.join("pytest.log"))?;
    let status = pytest.stdout(log.try_clone()?).stderr(log).status().context("cannot start pytest")?;
    let text = fs::read_to_string(&outcomes).with_context(|| {
        format!("pytest ({status}) told nothing: see {}", work.join("pytest.log").display())
    })?;
    let table = table::render(&text);
    println!("{table}");
    println!("Details: {} and {}", work.join("pytest.log").display(), work.join("results.xml").display());
    if filter.is_none() {
        fs::write(sh::root().join("docs/s3-tests.md"), document(&table)?)?;
        println!("Written to docs/s3-tests.md");
    }
    Ok(())
}

/// The suite's Python environment.
fn suite_venv(clone: &Path, work: &Path) -> Result<std::path::PathBuf> {
    let wanted = fs::read_to_string(clone.join("requirements.txt"))?;
    // tox drives the suite's own matrix of environments; we have one.
    let wanted: String = wanted
        .lines()
        .filter(|line| line.trim() != "tox")
        .fold(String::new(), |text, line| text + line + "\n");
    let requirements = work.join("requirements.txt");
    fs::write(&requirements, wanted + EXTRA_PACKAGES)?;
    tools::venv("venv-s3-tests", &requirements)
}

fn document(table: &str) -> Result<String> {
    let date = sh::output(Command::new("date").args(["-u", "+%F"]))?;
    Ok(format!(
        "# ceph/s3-tests\n\n`cargo xtask s3-tests DIR` on a clone of <https://github.com/ceph/s3-tests> (`test_s3.py` and\n\
         `test_headers.py`), run by hand; last on {}.\n\nTests are grouped by the suite's own markers, or by their names \
         where they have none. Most of what fails is what this\nrelease answers with `NotImplemented`: encryption, object \
         lock, lifecycle, bucket logging, bucket policies, CORS.\n\n{table}",
        date.trim()
    ))
}

/// Makes an account with an access key.
fn user(terrane: &Terrane, name: &str) -> Result<User> {
    let text = |value: &Value, field: &str| {
        value[field].as_str().map(str::to_owned).with_context(|| format!("no {field} in {value}"))
    };
    let account = text(&terrane.cli(&["account", "create", name])?, "id")?;
    let key = terrane.cli(&["key", "create", "--account", &account])?;
    Ok(User { account, access_key: text(&key, "id")?, secret_key: text(&key, "secret")? })
}

/// The suite's configuration for this installation.
fn configuration(terrane: &Terrane) -> Result<String> {
    let address = terrane.url.trim_start_matches("http://");
    let (host, port) = address.split_once(':').context("the endpoint has a port")?;
    let mut config = format!(
        "[DEFAULT]\nhost = {host}\nport = {port}\nis_secure = False\nssl_verify = False\n\n\
         [fixtures]\nbucket prefix = terrane-{{random}}-\niam name prefix = s3-tests-\niam path prefix = /s3-tests/\n"
    );
    for (section, name) in [
        ("s3 main", "main"),
        ("s3 alt", "alt"),
        ("s3 tenant", "tenant"),
        ("iam", "iam"),
        ("iam root", "iam-root"),
        ("iam alt root", "iam-alt-root"),
    ] {
        let user = user(terrane, name)?;
        config.push_str(&format!(
            "\n[{section}]\ndisplay_name = {0}\nuser_id = {0}\nemail = {name}@example.com\naccess_key = {1}\nsecret_key = {2}\n",
            user.account, user.access_key, user.secret_key
        ));
        match section {
            "s3 main" => config.push_str("api_name = us-east-1\n"),
            "s3 tenant" => config.push_str("tenant = tenant\n"),
            _ => {}
        }
    }
    Ok(config)
}

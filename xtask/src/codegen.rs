//! `cargo xtask codegen`: Rust for the EC2 operations that Terrane knows, from the public model in `botocore`.
//!
//! The result is checked in (`crates/terrane-ec2/src/dto/`), so that a build needs no model; a test says when
//! it is not what the model would give. Operations and files are chosen in [`plan`].

mod emit;
mod model;
mod names;
mod plan;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{sh, tools};
use model::Model;

/// Where the generated files lie.
const DIR: &str = "crates/terrane-ec2/src/dto";

/// Writes the files anew or, with `check`, says whether that would change them.
pub(crate) fn run(check: bool) -> Result<()> {
    let venv = tools::venv("venv", &sh::root().join("xtask/requirements.txt"))?;
    let files = generate(&venv)?;
    let dir = sh::root().join(DIR);
    if check {
        return compare(&dir, &files);
    }
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !files.contains_key(&name) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for (name, text) in &files {
        let path = dir.join(name);
        if fs::read_to_string(&path).is_ok_and(|have| have == *text) {
            continue;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("codegen: {} files in {DIR}", files.len());
    Ok(())
}

/// All files, by name, formatted.
fn generate(venv: &Path) -> Result<BTreeMap<String, String>> {
    let botocore = botocore_of(venv)?;
    let model = Model::read(&botocore.join("data/ec2/2016-11-15/service-2.json.gz"))?;
    let plan = plan::Plan::new(&model)?;
    let mut files = BTreeMap::new();
    for (name, text) in emit::files(&model, &plan)? {
        files.insert(name, rustfmt(&text)?);
    }
    Ok(files)
}

fn compare(dir: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    let listed: Vec<String> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    let foreign = listed.iter().find(|name| !files.contains_key(*name));
    ensure!(foreign.is_none(), "{DIR} has {foreign:?}, which is not generated");
    for (name, text) in files {
        let have = fs::read_to_string(dir.join(name)).unwrap_or_default();
        if have != *text {
            let differs = have.lines().zip(text.lines()).position(|(a, b)| a != b);
            let line = 1 + differs.unwrap_or_else(|| have.lines().count().min(text.lines().count()));
            bail!("{DIR}/{name}:{line} is not what the model gives: run `cargo xtask codegen`");
        }
    }
    Ok(())
}

/// The package's directory in a Python environment.
fn botocore_of(venv: &Path) -> Result<PathBuf> {
    let lib = venv.join("lib");
    let pythons =
        fs::read_dir(&lib).with_context(|| format!("{} is no Python environment", venv.display()))?;
    for python in pythons {
        let dir = python?.path().join("site-packages/botocore");
        if dir.is_dir() {
            return Ok(dir);
        }
    }
    bail!("there is no botocore in {}: run `cargo xtask test`, which installs it", lib.display())
}

fn rustfmt(text: &str) -> Result<String> {
    let config = sh::root().join("rustfmt.toml");
    let mut child = Command::new("rustfmt")
        .args(["--emit", "stdout", "--quiet", "--config-path"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start rustfmt")?;
    let mut input = child.stdin.take().context("rustfmt has no input")?;
    let text = text.to_owned();
    // Beside the reading, or both sides wait for each other when a pipe is full.
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let out = child.wait_with_output()?;
    ensure!(out.status.success(), "rustfmt: {}", out.status);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?.context("rustfmt did not read")?;
    String::from_utf8(out.stdout).context("rustfmt did not print UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the environment that `cargo xtask test` has made; its model's version is pinned with the clients.
    #[test]
    fn what_is_checked_in_is_what_the_model_gives() {
        let venv = std::env::var_os("TERRANE_TEST_VENV")
            .map_or_else(|| sh::root().join("target/venv"), PathBuf::from);
        let files = generate(&venv).expect("run the tests by `cargo xtask test`");
        compare(&sh::root().join(DIR), &files).unwrap();
    }
}

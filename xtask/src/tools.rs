//! Getting what the tests drive: real clients and daemons.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sh;

/// Debian packages that the tests need, each with a program that shows whether it is there.
const DEBIAN: &[(&str, &str)] = &[
    ("e2fsprogs", "mkfs.ext4"),
    ("fio", "fio"),
    ("libnbd-bin", "nbdcopy"),
    ("mount", "mount"),
    ("postgresql", "initdb"),
    ("python3", "python3"),
    ("python3-libnbd", "nbdsh"),
    ("python3-venv", "python3"),
    ("qemu-utils", "qemu-img"),
];

/// Directories in which Debian keeps programs that are not in `PATH`.
fn find_program(program: &str) -> Option<PathBuf> {
    sh::which(program).or_else(|| {
        let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(program)))
            .filter(|file| file.is_file())
            .collect();
        versions.sort();
        versions.pop()
    })
}

/// Installs missing Debian packages if we are root on such a system. What stays missing is reported by the
/// tests that need it: in CI they fail, elsewhere they say what to install.
pub(crate) fn ensure_debian_packages() -> Result<()> {
    let missing: Vec<&str> = DEBIAN
        .iter()
        .filter(|(_, program)| find_program(program).is_none())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let is_root = sh::output(Command::new("id").arg("-u"))?.trim() == "0";
    if !is_root || sh::which("apt-get").is_none() {
        let names = missing.join(" ");
        if sh::in_ci() {
            bail!("missing: {names}; CI must be able to install them (root on Debian)");
        }
        eprintln!("xtask: please install: {names}");
        return Ok(());
    }
    let apt = |args: &[&str]| {
        sh::run(
            Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-y"]).args(args),
        )
    };
    apt(&["update"])?;
    let mut install = vec!["install", "--no-install-recommends"];
    install.extend(missing);
    apt(&install)
}

/// The directory with PostgreSQL's server programs.
pub(crate) fn postgres_bin() -> Option<PathBuf> {
    // A link in PATH is resolved: initdb looks for its siblings beside itself.
    let initdb = find_program("initdb")?.canonicalize().ok()?;
    initdb.parent().map(Path::to_path_buf)
}

/// A Python environment in `target/NAME` with the packages of a requirements file, made or renewed when
/// the file has changed. Returns its directory.
pub(crate) fn venv(name: &str, requirements: &Path) -> Result<PathBuf> {
    let dir = sh::root().join("target").join(name);
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let stamp = dir.join("requirements.installed");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(dir);
    }
    fs::create_dir_all(sh::root().join("target"))?;
    eprintln!("xtask: installing Python packages into {}", dir.display());
    sh::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))
        .context("python3 with its venv module is needed")?;
    sh::run(
        Command::new(dir.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(requirements),
    )?;
    fs::write(&stamp, wanted)?;
    Ok(dir)
}

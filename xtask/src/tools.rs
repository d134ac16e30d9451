//! Getting what the tests drive: real clients and daemons.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sh;

/// Debian packages and, for each, a program that shows whether it is there.
type Packages = &'static [(&'static str, &'static str)];

/// What the tests need.
const FOR_TESTS: Packages = &[
    ("busybox-static", "busybox"),
    ("cpio", "cpio"),
    ("dosfstools", "mkfs.vfat"),
    ("e2fsprogs", "mkfs.ext4"),
    ("fdisk", "sfdisk"),
    ("fio", "fio"),
    ("iproute2", "ip"),
    ("libnbd-bin", "nbdcopy"),
    ("mount", "mount"),
    ("mtools", "mcopy"),
    ("postgresql", "initdb"),
    ("python3", "python3"),
    ("python3-libnbd", "nbdsh"),
    ("python3-venv", "python3"),
    ("qemu-utils", "qemu-img"),
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("syslinux", "syslinux"),
    ("syslinux-common", "/usr/lib/syslinux/mbr/mbr.bin"),
    ("util-linux", "nsenter"),
];

/// The peers of `cargo xtask bench volumes`, and what loads them.
const FOR_BENCH_VOLUMES: Packages = &[
    ("fio", "fio"),
    ("libnbd-bin", "nbdcopy"),
    ("nbdkit", "nbdkit"),
    ("python3-libnbd", "nbdsh"),
    ("qemu-utils", "qemu-nbd"),
];

/// Directories in which Debian keeps programs that are not in `PATH`.
fn find_program(program: &str) -> Option<PathBuf> {
    let beside = ["/usr/sbin", "/sbin"].map(|dir| Path::new(dir).join(program));
    sh::which(program).or_else(|| beside.into_iter().find(|file| file.is_file())).or_else(|| {
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

/// Installs what the tests drive.
pub(crate) fn ensure_for_tests() -> Result<()> {
    ensure_packages(FOR_TESTS)
}

/// Installs what the benchmark of volumes drives.
pub(crate) fn ensure_for_bench_volumes() -> Result<()> {
    ensure_packages(FOR_BENCH_VOLUMES)
}

/// Installs missing Debian packages if we are root on such a system. What stays missing is reported by the
/// tests that need it: in CI they fail, elsewhere they say what to install.
fn ensure_packages(wanted: Packages) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(_, program)| find_program(program).is_none())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !can_install()? {
        let names = missing.join(" ");
        if sh::in_ci() {
            bail!("missing: {names}; CI must be able to install them (root on Debian)");
        }
        eprintln!("xtask: please install: {names}");
        return Ok(());
    }
    sh::run(&mut apt(&["update"]))?;
    for package in missing {
        install(package)?;
    }
    Ok(())
}

fn can_install() -> Result<bool> {
    let is_root = sh::output(Command::new("id").arg("-u"))?.trim() == "0";
    Ok(is_root && sh::which("apt-get").is_some())
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-y"]).args(args);
    command
}

/// Installs one package without removing another. Where the machine has relatives of it from Debian's backports
/// (QEMU's parts exclude each other's older versions), it is taken from there, too.
fn install(package: &str) -> Result<()> {
    let arguments = ["install", "--no-install-recommends", package];
    let plan = sh::output(apt(&["--simulate"]).args(arguments))?;
    if !plan.lines().any(|line| line.starts_with("Remv ")) {
        return sh::run(apt(&[]).args(arguments));
    }
    let release = fs::read_to_string("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .with_context(|| format!("{package} would remove other packages, and this Debian has no codename"))?;
    let suite = format!("{codename}-backports");
    let source = format!(
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {suite}\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
    fs::write(format!("/etc/apt/sources.list.d/{suite}.sources"), source)?;
    sh::run(&mut apt(&["update"]))?;
    sh::run(apt(&["--no-remove", "--target-release", &suite]).args(arguments))
}

/// A Linux kernel with its modules, unpacked from Debian's package and not installed: what the guests of the tests
/// boot. Returns the directory that has `boot` and `lib`; `None` where there is no way to get one (not in CI).
pub(crate) fn guest_kernel() -> Result<Option<PathBuf>> {
    let dir = sh::root().join("target/guest-kernel");
    if dir.join("boot").is_dir() {
        return Ok(Some(dir));
    }
    if sh::which("apt-get").is_none() {
        if sh::in_ci() {
            bail!("no guest kernel; CI must be able to download Debian's");
        }
        eprintln!("xtask: no Debian: tests that boot a guest will fail");
        return Ok(None);
    }
    let kernel = "linux-image-cloud-amd64";
    let depends = || sh::output(Command::new("apt-cache").args(["depends", kernel]));
    let package = |text: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-").map(str::to_owned))
    };
    let mut found = package(&depends()?);
    if found.is_none() && can_install()? {
        sh::run(&mut apt(&["update"]))?;
        found = package(&depends()?);
    }
    let version = found.with_context(|| format!("apt knows no {kernel}"))?;
    let work = sh::root().join("target/guest-kernel.new");
    drop(fs::remove_dir_all(&work));
    fs::create_dir_all(&work)?;
    sh::run(apt(&["download"]).arg(format!("linux-image-{version}")).current_dir(&work))?;
    for file in fs::read_dir(&work)? {
        let file = file?.path();
        sh::run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&work))?;
        fs::remove_file(file)?;
    }
    fs::rename(&work, &dir)?;
    Ok(Some(dir))
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

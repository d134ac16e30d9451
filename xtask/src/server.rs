//! A `terrane up` of our own, in a directory of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::sh;

/// A child process that does not outlive us.
pub(crate) struct Process(Option<Child>);

impl Process {
    /// Starts it with everything that it prints going to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        Ok(Self(Some(child.with_context(|| format!("cannot start {command:?}"))?)))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let pid = self.0.as_ref().context("the server is not running")?.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.0.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn has_ended(&mut self) -> bool {
        self.0.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

/// `terrane up`.
pub(crate) struct Terrane {
    /// The process.
    pub(crate) process: Process,
    /// URL of the front door.
    pub(crate) url: String,
    /// The root account's credentials file.
    pub(crate) credentials: PathBuf,
    binary: PathBuf,
    data: PathBuf,
}

impl Terrane {
    /// Starts it on what `data` holds and waits until it says that it is ready.
    pub(crate) fn start(binary: &Path, data: &Path) -> Result<Self> {
        Self::start_with(binary, data, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(binary: &Path, data: &Path, args: &[&str]) -> Result<Self> {
        let endpoints = data.join("run/endpoints.json");
        // Left by the last run, if there was one.
        drop(fs::remove_file(&endpoints));
        let log = data.with_extension("log");
        let mut command = Command::new(binary);
        command.args(["up", "--ports", "auto", "--data-dir"]).arg(data).args(args);
        let mut process = Process::start(&mut command, &log)?;
        let began = Instant::now();
        while !endpoints.exists() {
            ensure!(
                began.elapsed() < Duration::from_secs(120),
                "terrane is not ready after 120 s: {}",
                log.display()
            );
            if process.has_ended() {
                bail!("terrane ended: see {}", log.display());
            }
            thread::sleep(Duration::from_millis(2));
        }
        let text = fs::read_to_string(&endpoints)?;
        let endpoints: Value = serde_json::from_str(&text).context("endpoints.json is not JSON")?;
        let url = endpoints["api"]
            .as_str()
            .context("endpoints.json names no API")?
            .trim_end_matches('/')
            .to_owned();
        Ok(Self {
            process,
            url,
            credentials: data.join("run/credentials"),
            binary: binary.to_path_buf(),
            data: data.to_path_buf(),
        })
    }

    /// `terrane ARGS --output json`.
    pub(crate) fn cli(&self, args: &[&str]) -> Result<Value> {
        let text = sh::output(
            Command::new(&self.binary).args(args).args(["--output", "json", "--data-dir"]).arg(&self.data),
        )?;
        serde_json::from_str(&text).with_context(|| format!("{args:?} did not print JSON: {text}"))
    }

    /// Pending entries and their bytes in memory, over all classes.
    pub(crate) fn pending(&self) -> Result<(u64, u64)> {
        let classes = self.cli(&["queue", "list"])?;
        let sum = |field: &str| {
            classes.as_array().into_iter().flatten().filter_map(|class| class[field].as_u64()).sum::<u64>()
        };
        Ok((sum("depth") + sum("spilled"), sum("bytes")))
    }
}

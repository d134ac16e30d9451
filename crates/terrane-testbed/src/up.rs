//! `terrane up`: everything in one process.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{PATIENCE, aws_environment};
use crate::installation::{Installation, answer};
use crate::process::{Process, succeed};

/// A running `terrane up`.
#[derive(Debug)]
pub struct Up {
    process: Process,
    binary: PathBuf,
    dir: TempDir,
}

impl Up {
    /// Starts it on free ports in a new directory and waits until it is ready.
    ///
    /// # Errors
    /// It ends or is not ready in time; the error has the end of its log.
    pub fn start(binary: &Path) -> Result<Self> {
        Self::start_in(binary, TempDir::with_prefix("terrane-vol-")?)
    }

    /// Starts in a directory made by the caller.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_in(binary: &Path, dir: TempDir) -> Result<Self> {
        let data = dir.path().join("data");
        let mut command = Command::new(binary);
        command.args(["up", "--ports", "auto", "--data-dir"]).arg(&data);
        let mut process = Process::start(&mut command, &dir.path().join("log"))?;
        let endpoints = data.join("run/endpoints.json");
        let ready = crate::wait_until("terrane up is ready", PATIENCE, || {
            if let Some(status) = process.ended()? {
                bail!("`terrane up` ended ({status})");
            }
            Ok(endpoints.exists())
        });
        ready.with_context(|| process.log_end())?;
        Ok(Self { process, binary: binary.to_path_buf(), dir })
    }

    /// The directory that all is in; tests may put their own files here.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// URL of the front door.
    ///
    /// # Errors
    /// It has not said so.
    pub fn url(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.data().join("run/endpoints.json"))?;
        let endpoints: Value = serde_json::from_str(&text)?;
        let url = endpoints["api"].as_str().context("endpoints.json names no API")?;
        Ok(url.trim_end_matches('/').to_owned())
    }

    /// A command that runs an AWS client as the root account.
    ///
    /// # Errors
    /// As [`Self::url`].
    pub fn client(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(program);
        aws_environment(&mut command, &self.url()?, &self.data(), self.dir.path());
        Ok(command)
    }

    /// The machine's instance.
    ///
    /// # Errors
    /// There is none.
    pub fn instance(&self) -> Result<String> {
        let list = self.cli(&["instance", "list"])?;
        Ok(list[0]["id"].as_str().with_context(|| format!("no id in {list}"))?.to_owned())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It does not end in time, or not in peace.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.stop(PATIENCE)?;
        ensure!(status.success(), "it ended with {status}:\n{}", self.process.log_end());
        Ok(())
    }

    /// The end of what it printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log_end()
    }
}

impl Installation for Up {
    fn cli(&self, args: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.binary);
        let text = succeed(command.args(args).args(["--output", "json", "--data-dir"]).arg(self.data()))?;
        answer(args, &text)
    }
}

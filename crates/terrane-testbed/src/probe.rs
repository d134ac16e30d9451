//! A client that writes and reads all the time, checks what it reads, and tells when nothing was answered.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};

use crate::process::Process;

/// A running probe: libnbd under the system's Python. Each write of 4 KiB carries a number; each read must give the
/// last number that was acknowledged there.
#[derive(Debug)]
pub struct Probe {
    process: Process,
    log: PathBuf,
}

/// A time without any answer, in seconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// The answer before it.
    pub from: f64,
    /// The answer that ended it.
    pub to: f64,
}

/// Now, in seconds of the clock that probes use.
///
/// # Panics
/// The system has no monotonic clock.
#[must_use]
pub fn now() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    Duration::from(time).as_secs_f64()
}

impl Probe {
    /// Starts on 256 KiB of an export from `offset` on. `pause` is the time between two requests.
    ///
    /// # Errors
    /// It cannot be started or gets no first answer.
    pub fn start(uri: &str, offset: u64, pause: Duration, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("probe-{offset}.log"));
        drop(std::fs::remove_file(&log));
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-u", "-c", include_str!("probe.py"), uri, &offset.to_string()]);
        command.arg(pause.as_secs_f64().to_string());
        let process = Process::start(&mut command, &log)?;
        let mut probe = Self { process, log };
        crate::wait_until("the probe's first answer", crate::PATIENCE, || {
            probe.check()?;
            Ok(probe.text()?.contains("begun"))
        })?;
        Ok(probe)
    }

    /// An error if it has met one.
    ///
    /// # Errors
    /// A request failed, or a read gave what was never to be seen.
    pub fn check(&mut self) -> Result<()> {
        let ended = self.process.ended()?;
        ensure!(ended.is_none(), "the probe ended:\n{}", self.process.log_end());
        Ok(())
    }

    fn text(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// Times without an answer of at least 20 ms that have ended.
    ///
    /// # Errors
    /// What it printed cannot be read.
    pub fn gaps(&self) -> Result<Vec<Gap>> {
        let number = |text: Option<&str>| text.context("a number is missing")?.parse().context("no number");
        let text = self.text()?;
        let gaps = text.lines().filter_map(|line| line.strip_prefix("gap ")).map(|line| {
            let mut words = line.split(' ');
            Ok(Gap { from: number(words.next())?, to: number(words.next())? })
        });
        gaps.collect()
    }

    /// Waits until something is answered that is sent from now on; returns the longest time without an answer since
    /// `moment`.
    ///
    /// # Errors
    /// The probe has failed, or there is no answer in time.
    pub fn longest_gap_since(&mut self, moment: f64, within: Duration) -> Result<Duration> {
        let asked = now();
        crate::wait_until("an answer to the probe", within, || {
            self.check()?;
            let last =
                self.text()?.lines().rev().find_map(|line| line.strip_prefix("at ").map(str::to_owned));
            Ok(last.and_then(|at| at.parse::<f64>().ok()).is_some_and(|at| at > asked))
        })?;
        let since = |gap: &Gap| gap.to - gap.from.max(moment);
        let longest = self.gaps()?.iter().filter(|gap| gap.to > moment).map(since).fold(0.0, f64::max);
        Ok(Duration::from_secs_f64(longest))
    }

    /// Ends it; returns how many requests were answered.
    ///
    /// # Errors
    /// It had met an error.
    pub fn finish(mut self) -> Result<u64> {
        self.check()?;
        let status = self.process.stop(crate::PATIENCE)?;
        ensure!(status.success(), "the probe: {status}\n{}", self.process.log_end());
        let text = self.text()?;
        let done = text.lines().find_map(|line| line.strip_prefix("done ")).context("no count")?;
        Ok(done.parse()?)
    }
}

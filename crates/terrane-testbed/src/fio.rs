//! fio with its NBD engine: figures, and verification of what was written.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::process::output;

/// One job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Of the NBD export.
    pub uri: String,
    /// `randwrite`, `read`, …
    pub rw: String,
    /// Further options, as on the command line.
    pub options: Vec<String>,
}

/// What fio measured, of reads and writes together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Operations per second.
    pub iops: f64,
    /// Bytes per second.
    pub bytes: f64,
    /// Median of the completion latency in microseconds.
    pub p50_us: f64,
    /// Its 99th percentile in microseconds.
    pub p99_us: f64,
}

impl Job {
    /// A job with options that are separated by blanks.
    #[must_use]
    pub fn new(uri: &str, rw: &str, options: &str) -> Self {
        let options = options.split_whitespace().map(str::to_owned).collect();
        Self { uri: uri.to_owned(), rw: rw.to_owned(), options }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// fio cannot be started, or meets an I/O error or a mismatch; the error has what it printed.
    pub fn run(&self, dir: &Path) -> Result<Figures> {
        let mut command = Command::new("fio");
        command.current_dir(dir).args(["--name=job", "--ioengine=nbd", "--output-format=json"]);
        command.arg(format!("--uri={}", self.uri)).arg(format!("--rw={}", self.rw)).args(&self.options);
        let ran = output(&mut command)?;
        let text = String::from_utf8_lossy(&ran.stdout);
        let words =
            || format!("{command:?}: {}\n{}\n{text}", ran.status, String::from_utf8_lossy(&ran.stderr));
        ensure!(ran.status.success(), "{}", words());
        // Notes may come before the JSON.
        let json = text.find('{').map(|at| &text[at..]).with_context(words)?;
        let report: Value = serde_json::from_str(json).with_context(words)?;
        let job = &report["jobs"][0];
        ensure!(job["error"] == 0, "{}", words());
        Ok(figures(job))
    }
}

fn figures(job: &Value) -> Figures {
    let mut sum = Figures::default();
    for side in ["read", "write"] {
        let part = &job[side];
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        if number(&part["total_ios"]) > 0.0 {
            sum.iops += number(&part["iops"]);
            sum.bytes += number(&part["bw_bytes"]);
            sum.p50_us = sum.p50_us.max(number(&part["clat_ns"]["percentile"]["50.000000"]) / 1000.0);
            sum.p99_us = sum.p99_us.max(number(&part["clat_ns"]["percentile"]["99.000000"]) / 1000.0);
        }
    }
    sum
}

/// fio over and over with verification in the background, until told to stop.
#[derive(Debug)]
pub struct Verifier {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Verifier {
    /// Starts on a range of an export. Each run writes the whole range at random in blocks of several sizes, with
    /// flushes, not faster than a machine can that does other things beside, and then reads all back and compares.
    #[must_use]
    pub fn start(uri: &str, offset: &str, size: &str, dir: &Path) -> Self {
        let options = format!(
            "--offset={offset} --size={size} --bssplit=4k/70:16k/20:64k/10 --iodepth=8 --fsync=64 \
             --verify=crc32c --verify_fatal=1 --verify_backlog=256 --verify_state_save=0 --do_verify=1 \
             --rate_iops=800 --randrepeat=0"
        );
        let job = Job::new(uri, "randwrite", &options);
        let (stop, dir) = (Arc::new(AtomicBool::new(false)), dir.to_path_buf());
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut runs = 0;
            while !told.load(Ordering::Relaxed) {
                job.run(&dir)?;
                runs += 1;
            }
            Ok(runs)
        });
        Self { stop, thread: Some(thread) }
    }

    /// Whether it goes on. It ends by itself only with an error.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Lets the run end that goes on; returns how many were complete.
    ///
    /// # Errors
    /// One met an I/O error or a mismatch.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it was started")?;
        thread.join().map_err(|_| anyhow!("the thread panicked"))?
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

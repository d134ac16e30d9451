//! A day of every metric, kept in the process: for the console and the command line, without Prometheus.
//!
//! Gauges are kept as they are, counters (and histograms' counts and sums) as rates per second, which is what
//! people look at and what survives a restart. Bounds: so many series, so many samples of four bytes each.
//! Samples are also appended to files in a directory; after a restart the day is there again, with a gap.

mod file;
mod ring;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use self::file::FileSet;
use self::ring::Ring;
use crate::Metrics;

pub use self::file::{Entry as FileEntry, decode as decode_file};

/// Bounds of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Time between samples.
    pub interval: Duration,
    /// How far back samples are kept.
    pub keep: Duration,
    /// Series beyond this many are left out (and counted).
    pub series_max: usize,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(15), keep: Duration::from_secs(24 * 3600), series_max: 1024 }
    }
}

impl HistoryConfig {
    fn samples_max(&self) -> usize {
        let samples = self.keep.as_secs() / self.interval.as_secs().max(1);
        usize::try_from(samples).unwrap_or(usize::MAX).clamp(1, 100_000)
    }
}

/// What one wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only series whose name begins with this.
    pub prefix: String,
    /// Only samples at or after this Unix time in seconds.
    pub since: u64,
    /// At most about this many points per series; neighbours are averaged. 0: all.
    pub points_max: usize,
}

/// One series of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesPoints {
    /// Name with labels, as in the Prometheus text: `terrane_queue_depth{class="high"}`.
    pub series: String,
    /// Whether values are rates per second of a counter.
    pub per_second: bool,
    /// Unix time in seconds and value; nothing where there was no sample.
    pub points: Vec<(u64, Option<f32>)>,
}

/// The history. Clones share it.
#[derive(Clone, Debug)]
pub struct History {
    inner: Arc<Mutex<Inner>>,
    /// Time between samples.
    interval: Duration,
}

#[derive(Debug)]
struct Inner {
    ring: Ring,
    files: FileSet,
}

impl History {
    /// Opens the history in a directory, which is made if it does not exist. Damaged files are read as far as they are whole.
    pub fn open(dir: &Path, config: &HistoryConfig) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut ring = Ring::new(config.samples_max(), config.series_max);
        let files = FileSet::open(PathBuf::from(dir), config.keep, &mut ring)?;
        Ok(Self { inner: Arc::new(Mutex::new(Inner { ring, files })), interval: config.interval })
    }

    /// Time between samples; the owner calls [`History::sample`] so often.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Takes a sample of all metrics at a Unix time in seconds. An error concerns the file only; memory has the sample.
    pub fn sample(&self, now: u64, metrics: &Metrics) -> io::Result<()> {
        let text = metrics.render();
        let Inner { ring, files } = &mut *self.inner.lock();
        if ring.push_text(now, &text) { files.append_newest(ring) } else { Ok(()) }
    }

    /// Answers a query. Series in order of their names.
    pub fn query(&self, query: &Query) -> Vec<SeriesPoints> {
        self.inner.lock().ring.query(query)
    }

    /// How many series were left out because of the bound.
    pub fn series_left_out(&self) -> u64 {
        self.inner.lock().ring.left_out()
    }
}

#[cfg(test)]
mod tests;

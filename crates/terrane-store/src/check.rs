//! Verifies the files of an embedded store that nobody has open.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::key::check_key;
use crate::local::{EmbeddedConfig, LogRecord, open_pipeline};
use crate::{Result, StoreError};

/// What [`check`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Rows in the view.
    pub rows: u64,
    /// Files of the log.
    pub log_segments: u64,
    /// Commits that the log still has.
    pub log_commits: u64,
    /// What is wrong, in words; empty if nothing is. At most 100.
    pub problems: Vec<String>,
}

impl CheckReport {
    fn problem(&mut self, text: String) {
        if self.problems.len() < 100 {
            self.problems.push(text);
        }
    }
}

/// Checks the store in `dir`: every record of the log (checksums, chain, order), every row of the view, and
/// that the view has exactly what the log says about each key that the log still mentions.
///
/// Starts with what any start does: the log's torn end is cut and its commits are carried into the view.
///
/// # Errors
/// What makes a start impossible; what makes a started store wrong is in the report.
pub async fn check(dir: &Path) -> Result<CheckReport> {
    if !dir.join("log").is_dir() || !dir.join("view").is_dir() {
        return Err(StoreError::Config(format!("there is no store in {}", dir.display())));
    }
    let dir = dir.to_owned();
    let checked = tokio::task::spawn_blocking(move || check_files(&dir)).await;
    checked.map_err(|error| StoreError::Unavailable(error.to_string()))?
}

fn check_files(dir: &Path) -> Result<CheckReport> {
    let pipeline = open_pipeline(dir, &EmbeddedConfig::default())?;
    let mut report = CheckReport::default();
    let (mut last, mut written) = (0, BTreeMap::<Bytes, Option<Bytes>>::new());
    for segment in pipeline.log_reader().segments() {
        report.log_segments += 1;
        let scanned = pipeline.log_reader().scan_segment::<StoreError>(segment.id, |locator, payload| {
            match LogRecord::decode(payload)? {
                LogRecord::Genesis { .. } if last == 0 => last = 1,
                LogRecord::Genesis { .. } => report.problem(format!("a second beginning at {locator}")),
                LogRecord::Commit { version, writes, .. } => {
                    report.log_commits += 1;
                    if version <= last {
                        report.problem(format!("commit {version} at {locator} comes after {last}"));
                    }
                    last = version;
                    written.extend(writes);
                }
            }
            Ok(())
        });
        if let Err(error) = scanned {
            report.problem(format!("log segment {}: {error}", segment.id));
        }
    }
    if last != 0 && last != pipeline.applied().version {
        report.problem(format!(
            "the log ends with commit {last}, the view with {}",
            pipeline.applied().version
        ));
    }
    compare(&mut report, pipeline.rows().iter(), &written);
    drop(pipeline);
    Ok(report)
}

fn compare(
    report: &mut CheckReport,
    rows: impl Iterator<Item = Result<(Bytes, Bytes)>>,
    written: &BTreeMap<Bytes, Option<Bytes>>,
) {
    let (mut before, mut found) = (Bytes::new(), 0);
    for row in rows {
        let (key, value) = match row {
            Ok(row) => row,
            Err(error) => return report.problem(format!("the view cannot be read: {error}")),
        };
        report.rows += 1;
        if check_key(&key).is_err() || (report.rows > 1 && key <= before) {
            report.problem(format!("key {key:?} is illegal or out of order"));
        }
        match written.get(&key) {
            Some(Some(expected)) => {
                found += 1;
                if value != *expected {
                    report.problem(format!("key {key:?} differs between view and log"));
                }
            }
            Some(None) => report.problem(format!("key {key:?} was deleted but is in the view")),
            None => {}
        }
        before = key;
    }
    let expected = written.values().filter(|value| value.is_some()).count();
    if found != expected {
        report.problem(format!("{} keys of the log are missing in the view", expected - found));
    }
}

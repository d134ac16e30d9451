//! For operators and tests: what is on the disks, whether it is sound, taking space back now.

use std::collections::BTreeSet;

use bytes::Bytes;
use terrane_keymap::head::RowHead;
use terrane_keymap::keymap::Keyspace;
use terrane_keymap::reader::RowReader;
use terrane_keymap::{Extent, Record, RowId};
use terrane_log::LogError;

use super::{ObjectStore, Store, stopped};
use crate::collect;
use crate::data::SegmentStatus;
use crate::driver::{ReadView, extents_of};
use crate::records;
use crate::service::{ObjectError, Result};

/// Problems that a check describes; further ones are only counted.
const PROBLEMS_MAX: usize = 100;

/// What a check has looked at, and what was wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Records in the log.
    pub records: u64,
    /// Rows: keymap, spill runs and memory.
    pub rows: u64,
    /// Extents of bulk data.
    pub extents: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Number of problems.
    pub problem_count: u64,
    /// The first problems, in words.
    pub problems: Vec<String>,
}

impl CheckReport {
    fn problem(&mut self, what: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(what);
        }
    }
}

impl ObjectStore {
    /// Segments of bulk data.
    pub fn segments(&self) -> Vec<SegmentStatus> {
        self.store.data.segments()
    }

    /// Numbers and bytes of the log's segments, oldest first.
    pub fn log_segments(&self) -> Vec<(u64, u64)> {
        self.store.driver.reader.segments().iter().map(|s| (s.id, s.bytes)).collect()
    }

    /// Takes back what can be taken back now; gives the bytes freed.
    ///
    /// # Errors
    /// What kept it from going on.
    pub async fn collect(&self) -> Result<u64> {
        collect::round(&self.store).await
    }

    /// Syncs the keymap now, which happens from time to time anyway: a start replays less of the log then.
    ///
    /// # Errors
    /// If the shard has stopped.
    pub async fn sync_keymap(&self) -> Result<()> {
        self.store.driver.sync().await.map_err(stopped)
    }

    /// Reads and verifies everything that is stored: records, spill runs, rows and all bulk data that rows refer to.
    ///
    /// # Errors
    /// Only where checking itself is impossible; what is found wrong is in the report.
    pub async fn check(&self) -> Result<CheckReport> {
        let store = self.store.clone();
        let checked = tokio::task::spawn_blocking(move || store.check());
        checked.await.map_err(|e| ObjectError::Unavailable(e.to_string()))
    }

    /// The keymap's live rows in order, one line each, all in memory: to compare two of them.
    ///
    /// # Errors
    /// Where the keymap cannot be read.
    pub async fn dump_keymap(&self) -> Result<Vec<String>> {
        let store = self.store.clone();
        let dump = move || {
            let keymap = store.driver.engine.snapshot();
            let mut lines = Vec::new();
            for row in RowReader::scan(&keymap, &[], &[]) {
                let (row, head) = row.map_err(super::view::unreadable)?;
                if !head.is_tombstone() {
                    lines.push(format!("{row:?} {head:?}"));
                }
            }
            Ok(lines)
        };
        let dumped = tokio::task::spawn_blocking(dump).await;
        dumped.map_err(|e| ObjectError::Unavailable(e.to_string()))?
    }
}

impl Store {
    fn check(&self) -> CheckReport {
        let mut report = CheckReport::default();
        let view = self.driver.view();
        for segment in self.driver.reader.segments() {
            let scanned = self.driver.reader.scan_segment(segment.id, |at, payload| {
                report.records += 1;
                if let Err(error) = Record::decode(&Bytes::copy_from_slice(payload)) {
                    report.problem(format!("log record at {at}: {error}"));
                }
                Ok::<(), LogError>(())
            });
            if let Err(error) = scanned {
                report.problem(error.to_string());
            }
        }
        for run in &view.runs {
            if let Err(error) = run.verify() {
                report.problem(error.to_string());
            }
        }
        self.check_rows(&view, &mut report);
        for pair in view.keymap.iter(Keyspace::Referrers, &[], &[]) {
            if let Err(error) = pair {
                report.problem(format!("referrers: {error}"));
                break;
            }
        }
        report
    }

    fn check_rows(&self, view: &ReadView, report: &mut CheckReport) {
        let mut seen = BTreeSet::new();
        for row in view.rows().scan(&[], &[]) {
            match row {
                Ok((row, head)) if !head.is_tombstone() => self.check_row(&row, &head, &mut seen, report),
                Ok(_) => {}
                Err(error) => {
                    report.problem(error.to_string());
                    break;
                }
            }
        }
    }

    fn check_row(&self, row: &RowId, head: &RowHead, seen: &mut BTreeSet<Extent>, report: &mut CheckReport) {
        report.rows += 1;
        if let Err(error) = records::read_state(&self.driver.reader, head) {
            return report.problem(format!("{row:?}: {error}"));
        }
        let extents = match extents_of(&self.driver.reader, head) {
            Ok(extents) => extents,
            Err(error) => return report.problem(format!("{row:?}: {error}")),
        };
        for extent in extents {
            if !seen.insert(extent) {
                continue;
            }
            report.extents += 1;
            report.bytes += extent.len;
            let verified = self.data.pin(extent.segment).and_then(|segment| segment.verify(&extent));
            if let Err(error) = verified {
                report.problem(format!("{row:?}: {error}"));
            }
        }
    }
}

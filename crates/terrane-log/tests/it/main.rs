//! The log over a real directory.

#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod lifecycle;
mod mirror;
mod recovery;

use std::sync::Arc;
use terrane_log::disk::FsDisk;
use terrane_log::{Log, LogConfig, LogError, OpenReport, Position, Preallocate, RecordLocator};

const SEGMENT: u32 = 16 << 10;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT,
        max_record_bytes: 8 << 10,
        max_batch_bytes: 64 << 10,
        preallocate: Preallocate::Inline,
        ..LogConfig::default()
    }
}

fn disk(dir: &tempfile::TempDir) -> Arc<FsDisk> {
    FsDisk::open(dir.path()).unwrap()
}

fn open(dir: &tempfile::TempDir) -> (Log, OpenReport) {
    Log::open(disk(dir), config()).unwrap()
}

fn replay(log: &Log, from: Option<Position>) -> Result<Vec<(RecordLocator, Vec<u8>)>, LogError> {
    let mut records = Vec::new();
    log.replay(from, |at, payload| {
        records.push((at, payload.to_vec()));
        Ok::<(), LogError>(())
    })?;
    Ok(records)
}

/// Record number `n`: its length varies with it.
fn record(n: usize) -> Vec<u8> {
    (0..n * 37 % 900 + 4).map(|i| (n + i) as u8).collect()
}

/// Appends `count` records numbered from `first`, `batch` to a sync.
fn fill(log: &mut Log, first: usize, count: usize, batch: usize) -> Vec<(RecordLocator, Vec<u8>)> {
    let mut out = Vec::new();
    for n in first..first + count {
        let bytes = record(n);
        let (a, b) = bytes.split_at(bytes.len() / 2);
        out.push((log.append(&[a, b]).unwrap(), bytes));
        if n % batch == batch - 1 {
            log.sync().unwrap();
        }
    }
    log.sync().unwrap();
    out
}

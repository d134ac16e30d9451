//! What holds whatever the path.

mod copies;
mod cuts;
mod journal;
mod model;
mod pools;
mod restoring;
mod space;

use std::sync::Arc;
use terrane_block::engine::media::{DataPath, FsMedia};
use terrane_block::engine::{
    BLOCK, Copy, CopyKey, Declared, Drive, EngineError, Geometry, Kind, Op, Pool, PoolConfig, PoolReport,
};

const KEY: CopyKey = CopyKey(0xabc);

const LARGE: Geometry = Geometry { group_blocks: 1024 };

/// The module's name says which.
fn path() -> DataPath {
    if module_path!().ends_with("ring") { DataPath::Ring } else { DataPath::Portable }
}

/// Extents of 1,024 blocks, as the first copies had: the largest ones.
fn config() -> PoolConfig {
    let declared = Declared { drive: Drive::Ssd, capacity: 1 << 30, iops: 100, throughput: 1 << 20 };
    let mut config = PoolConfig::new(7, declared);
    config.geometry = LARGE;
    config.journal.segment_bytes = 1 << 20;
    config.journal.max_record_bytes = 512 << 10;
    config
}

fn open_with(dir: &tempfile::TempDir, config: PoolConfig) -> Result<(Pool, PoolReport), EngineError> {
    Pool::open(FsMedia::open_by(dir.path(), path()).unwrap(), config)
}

fn open(dir: &tempfile::TempDir) -> Pool {
    open_with(dir, config()).unwrap().0
}

/// A pool with one copy of 3 extents whose activity log has the first two.
fn one_copy(dir: &tempfile::TempDir) -> (Pool, Arc<Copy>) {
    let pool = open(dir);
    let copy = pool.create_copy(KEY, 3 * 1024, b"record".to_vec()).unwrap();
    copy.commit(vec![Op::Enter(vec![0, 1])]).unwrap();
    (pool, copy)
}

fn block(byte: u8) -> Vec<u8> {
    vec![byte; BLOCK]
}

/// One block: its kind and its first byte, all bytes being equal.
fn peek(copy: &Copy, at: u64) -> (Kind, u8) {
    let mut buf = vec![0xee; BLOCK];
    let found = copy.read(at, &mut buf).unwrap();
    assert!(buf.iter().all(|byte| *byte == buf[0]));
    match found {
        terrane_block::engine::Contents::All(kind) => (kind, buf[0]),
        mixed => panic!("one block of {mixed:?}"),
    }
}

//! A journal that starts small, and one that fails.

use super::*;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use terrane_block::engine::media::{DataFile, Media};
use terrane_log::LogError;
use terrane_log::disk::{Disk, DiskFile, Open};

fn journal_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let of_journal = |name: &str| name.ends_with(".log") || name.starts_with("spare-");
    let files = files.filter(|file| of_journal(&file.file_name().into_string().unwrap()));
    files.map(|file| file.metadata().unwrap().len()).sum()
}

fn usual() -> PoolConfig {
    let declared = Declared { drive: Drive::Ssd, capacity: 1 << 40, iops: 100, throughput: 1 << 20 };
    PoolConfig { log_extents: 1 << 16, geometry: LARGE, ..PoolConfig::new(7, declared) }
}

#[test]
fn an_empty_pool_takes_little() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_with(&dir, usual()).unwrap());
    let bytes = journal_bytes(dir.path());
    assert!(bytes <= 8 << 20, "{bytes} bytes");
}

/// 65,536 runs in each of 8 bitmaps: 8 MiB in one record.
#[test]
fn a_small_journal_takes_the_largest_state() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, _) = open_with(&dir, usual()).unwrap();
    let copy = pool.create_copy(KEY, 1 << 20, vec![]).unwrap();
    let runs: Vec<_> = (0..1 << 16).map(|run| run * 3..run * 3 + 1).collect();
    copy.commit(vec![Op::Enter(vec![0])]).unwrap();
    copy.commit((0..8).map(|peer| Op::Mark { peer, runs: runs.clone() }).collect()).unwrap();
    copy.commit(vec![Op::Enter(vec![1, 2, 3])]).unwrap();
    let state = copy.state().unwrap();
    assert_eq!(state.bitmaps[&7].run_count(), 1 << 16);
    drop((copy, pool));
    // Opened as a small one again, by replay and then from a snapshot.
    for round in 0..3_u64 {
        let (pool, _) = open_with(&dir, PoolConfig { replay_bytes: 1 << 20, ..usual() }).unwrap();
        let copy = pool.open_copy(KEY).unwrap();
        assert_eq!(copy.state().unwrap(), state, "round {round}");
        copy.commit(vec![Op::Enter(vec![1])]).unwrap();
    }
}

#[test]
fn a_journal_with_segments_of_another_size_opens() {
    let dir = tempfile::tempdir().unwrap();
    let mut large = usual();
    large.journal = usual().roomy_journal();
    let (pool, _) = open_with(&dir, large).unwrap();
    let copy = pool.create_copy(KEY, 4096, b"record".to_vec()).unwrap();
    copy.commit(vec![Op::Enter(vec![0])]).unwrap();
    drop((copy, pool));
    let (pool, _) = open_with(&dir, PoolConfig { replay_bytes: 1 << 10, ..usual() }).unwrap();
    let copy = pool.open_copy(KEY).unwrap();
    assert_eq!((copy.state().unwrap().record, copy.is_logged(0, 1024)), (b"record".to_vec(), true));
    for round in 0..200_u64 {
        copy.commit(vec![Op::Record(round.to_be_bytes().to_vec())]).unwrap();
    }
    drop((copy, pool));
    let (pool, _) = open_with(&dir, usual()).unwrap();
    assert_eq!(pool.states()[&KEY].record, 199_u64.to_be_bytes());
    assert!(journal_bytes(dir.path()) <= 16 << 20, "the large segments are gone");
}

/// A directory whose journal does not sync while the switch is on.
struct Failing {
    media: Arc<FsMedia>,
    fails: Arc<AtomicBool>,
}

struct FailingDisk(Arc<dyn Disk>, Arc<AtomicBool>);

struct FailingFile(Arc<dyn DiskFile>, Arc<AtomicBool>);

impl Media for Failing {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(FailingDisk(self.media.disk(), self.fails.clone()))
    }
    fn open_data(&self, name: &str, how: Open) -> io::Result<Arc<dyn DataFile>> {
        self.media.open_data(name, how)
    }
}

impl Disk for FailingDisk {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FailingFile(self.0.open(name, how)?, self.1.clone())))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
    fn free_space(&self) -> io::Result<u64> {
        self.0.free_space()
    }
}

impl DiskFile for FailingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.1.load(Ordering::Acquire) {
            Err(io::Error::other("the drive fails"))
        } else {
            self.0.sync_data()
        }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
}

#[test]
fn a_journal_that_failed_is_read_again_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let media = Failing { media: FsMedia::open_by(dir.path(), path()).unwrap(), fails: fails.clone() };
    let (pool, _) = Pool::open(Arc::new(media), config()).unwrap();
    let other = CopyKey(9);
    pool.create_copy(other, 1024, b"other".to_vec()).unwrap();
    let copy = pool.create_copy(KEY, 3 * 1024, b"first".to_vec()).unwrap();
    copy.commit(vec![Op::Enter(vec![0])]).unwrap();
    copy.write(1, &block(1)).unwrap();
    copy.flush().unwrap();
    assert!(!pool.recover().unwrap(), "nothing to recover from");

    fails.store(true, Ordering::Release);
    let poisoned = |error: &EngineError| matches!(error, EngineError::Journal(LogError::Poisoned { .. }));
    let error = copy.commit(vec![Op::Enter(vec![1])]).unwrap_err();
    assert!(poisoned(&error) && error.fails_pool(), "{error}");
    assert!(poisoned(&copy.commit(vec![Op::Record(vec![2])]).unwrap_err()));
    assert!(poisoned(&pool.create_copy(CopyKey(3), 8, vec![]).err().unwrap()));
    assert!(pool.delete_copy(other).is_err());
    assert!(pool.failure().is_some());
    // The drive is not well yet.
    assert!(pool.recover().is_err());
    assert!(pool.failure().is_some());

    fails.store(false, Ordering::Release);
    assert!(pool.recover().unwrap());
    assert!(pool.failure().is_none());
    assert!(copy.read(0, &mut block(0)).is_err(), "that life is over");
    let copy = pool.open_copy(KEY).unwrap();
    assert_eq!(copy.state().unwrap().record, b"first");
    assert_eq!(peek(&copy, 1), (Kind::Data, 1));
    copy.commit(vec![Op::Enter(vec![0, 1, 2]), Op::Record(b"second".to_vec())]).unwrap();
    copy.write(2048, &block(2)).unwrap();
    copy.flush().unwrap();
    assert!(pool.has(other), "what was not deleted is there");
    drop((copy, pool));
    let pool = open(&dir);
    let copy = pool.open_copy(KEY).unwrap();
    assert_eq!(copy.state().unwrap().record, b"second");
    assert_eq!((peek(&copy, 1), peek(&copy, 2048)), ((Kind::Data, 1), (Kind::Data, 2)));
}

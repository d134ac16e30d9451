//! Drives whose journal fails, and drives that stop answering.

use super::cluster::{Cluster, Settings};
use super::{A, B, data, read, until, write};
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use terrane_block::engine::media::{DataFile, FsMedia, Media};
use terrane_block::server::PoolSpec;
use terrane_block_core::CopyId;
use terrane_block_core::message::{Op, Outcome};
use terrane_log::disk::{Disk, DiskFile, Open};

/// What is wrong with a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Syncs of the journal fail.
    Journal,
    /// Nothing that waits for the drive returns. What the page cache takes does.
    Hangs,
}

struct Switch {
    fault: Mutex<Fault>,
    changed: Condvar,
}

impl Switch {
    fn turn(&self, fault: Fault) {
        *self.fault.lock() = fault;
        self.changed.notify_all();
    }

    /// Waits while the drive hangs; returns whether its journal fails.
    fn pass(&self) -> bool {
        let mut fault = self.fault.lock();
        self.changed.wait_while(&mut fault, |fault| *fault == Fault::Hangs);
        *fault == Fault::Journal
    }
}

#[derive(Clone)]
struct BadMedia {
    media: Arc<FsMedia>,
    switch: Arc<Switch>,
}

struct BadDisk(Arc<dyn Disk>, Arc<Switch>);

struct BadJournal(Arc<dyn DiskFile>, Arc<Switch>);

struct BadData(Arc<dyn DataFile>, Arc<Switch>);

impl Media for BadMedia {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(BadDisk(self.media.disk(), self.switch.clone()))
    }
    fn open_data(&self, name: &str, how: Open) -> io::Result<Arc<dyn DataFile>> {
        Ok(Arc::new(BadData(self.media.open_data(name, how)?, self.switch.clone())))
    }
    fn probe(&self) -> io::Result<()> {
        self.switch.pass();
        self.media.probe()
    }
}

impl Disk for BadDisk {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(BadJournal(self.0.open(name, how)?, self.1.clone())))
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
        self.1.pass();
        self.0.free_space()
    }
}

impl DiskFile for BadJournal {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.1.pass() {
            return Err(io::Error::other("the drive fails"));
        }
        self.0.sync_data()
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

impl DataFile for BadData {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.pass();
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync_data()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn allocated(&self) -> io::Result<u64> {
        self.0.allocated()
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.punch(offset, len)
    }
    fn forget(&self) -> io::Result<()> {
        self.0.forget()
    }
}

/// Two copies, the drive of one of them with a switch.
async fn with_switch(copy: CopyId) -> (Cluster, Arc<Switch>) {
    let switch = Arc::new(Switch { fault: Mutex::new(Fault::None), changed: Condvar::new() });
    let bad = switch.clone();
    let open_media = move |spec: &PoolSpec, path| -> io::Result<Arc<dyn Media>> {
        let media = FsMedia::open_by(&spec.dir, path)?;
        let mine = spec.dir.parent().is_some_and(|dir| dir.ends_with(PathBuf::from(copy.0.to_string())));
        Ok(if mine { Arc::new(BadMedia { media, switch: bad.clone() }) } else { media })
    };
    let hang = Duration::from_millis(300);
    let settings = Settings { open_media: Arc::new(open_media), hang, ..Settings::default() };
    (Cluster::start_with(&[A, B], 64 << 10, settings).await, switch)
}

async fn suffers(copy: CopyId, fault: Fault, says: &str) {
    let (cluster, switch) = with_switch(copy).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(1, 1, 1)).await, Outcome::Done);
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    let before = cluster.report(copy).unwrap();
    switch.turn(fault);
    // An extent that is not in the log, so that the journal is needed.
    assert_eq!(user.ask(write(5000, 1, 2)).await, Outcome::Done, "without the copy that cannot");
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    assert_eq!(user.ask(read(1, 1)).await, data(1, 1));
    assert!(!cluster.record().now.in_sync.contains_key(&copy));
    let troubled = || cluster.report(copy).is_some_and(|r| r.incarnation.is_none() && r.trouble.is_some());
    until("the copy's trouble", troubled).await;
    let trouble = cluster.report(copy).unwrap().trouble.unwrap();
    assert!(trouble.contains(says), "{trouble}");
    assert_eq!(cluster.counter("terrane_block_pool_troubled"), u64::from(fault == Fault::Hangs));
    // The server is there all the time.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(cluster.manager.has(cluster.server(copy)), "heartbeats do not wait for the drive");
    assert_eq!(user.ask(write(9000, 1, 3)).await, Outcome::Done);
    switch.turn(Fault::None);
    cluster.until_whole().await;
    let after = cluster.report(copy).unwrap();
    let old = before.incarnation.unwrap();
    assert_ne!(after.incarnation, Some(old), "another life");
    assert_eq!(after.kept.contains(&old), fault == Fault::Hangs, "a drive that hung has lost nothing");
    for (at, byte) in [(1, 1), (5000, 2), (9000, 3)] {
        assert_eq!(user.ask(read(at, 1)).await, data(byte, 1));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_mirror_whose_journal_fails_comes_back_without_a_restart() {
    suffers(B, Fault::Journal, "journal").await;
}

#[tokio::test]
async fn a_primary_whose_journal_fails_does_too() {
    suffers(A, Fault::Journal, "journal").await;
}

#[tokio::test]
async fn a_mirror_whose_drive_hangs_leaves_and_comes_back_when_it_answers() {
    suffers(B, Fault::Hangs, "does not answer").await;
}

#[tokio::test]
async fn a_primary_whose_drive_hangs_does_too() {
    suffers(A, Fault::Hangs, "does not answer").await;
}

#[tokio::test]
async fn a_flush_that_takes_long_on_a_drive_that_answers_is_waited_for() {
    let (cluster, switch) = with_switch(B).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(1, 1, 1)).await, Outcome::Done);
    let lives = cluster.lives();
    switch.turn(Fault::Hangs);
    let flush = user.begin(Op::Flush);
    // Shorter than what counts as hanging.
    tokio::time::sleep(Duration::from_millis(200)).await;
    switch.turn(Fault::None);
    assert_eq!(flush.await.unwrap(), Outcome::Done);
    assert_eq!(cluster.lives(), lives);
    cluster.stop().await;
}

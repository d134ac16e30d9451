//! Drives that rot, fail, and fill up.

use super::cluster::{Cluster, Settings};
use super::{A, B, data, read, until, write};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use terrane_block::engine::media::{DataFile, FsMedia, Media};
use terrane_block::server::{BlockServer, BlockServerConfig, PoolSpec, ServerError};
use terrane_block_core::message::{Op, Outcome};
use terrane_block_core::{Content, CopyId, Extent};
use terrane_block_wire::ClusterKey;
use terrane_block_wire::data::BLOCK;
use terrane_block_wire::transport::Credentials;
use terrane_log::disk::{Disk, Open};
use terrane_types::Zone;

/// Where the first block lies in a copy's file: behind the header and the first table.
const FIRST_BLOCK: u64 = 20 << 10;

#[tokio::test]
async fn scrubbing_finds_a_flipped_bit_and_it_is_repaired() {
    for copy in [A, B] {
        let cluster = Cluster::start(&[A, B], 4096).await;
        let user = cluster.user();
        assert_eq!(user.ask(write(0, 4, 9)).await, Outcome::Done);
        assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
        let path = cluster.copy_file(copy);
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let at = FIRST_BLOCK + 2 * BLOCK as u64 + 17;
        file.write_all_at(&[9 ^ 0x10], at).unwrap();
        cluster.scrub(copy).await.unwrap();
        let mut byte = [0];
        until("the repair", || file.read_exact_at(&mut byte, at).is_ok() && byte == [9]).await;
        assert!(cluster.counter("terrane_block_checksum_errors_total") > 0);
        assert_eq!(user.ask(read(0, 4)).await, data(9, 4));
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_read_of_what_rotted_is_answered_from_the_other_copy() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(0, 4, 9)).await, Outcome::Done);
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    let file = OpenOptions::new().write(true).open(cluster.copy_file(A)).unwrap();
    file.write_all_at(&[0; 100], FIRST_BLOCK).unwrap();
    assert_eq!(user.ask(read(0, 1)).await, data(9, 1));
    assert_eq!(user.ask(read(0, 4)).await, data(9, 4));
    cluster.stop().await;
}

/// A directory whose copies' files do not sync while the switch of their pool is on.
struct Faulty {
    media: Arc<FsMedia>,
    fails: Arc<AtomicBool>,
}

struct FaultyFile {
    file: Arc<dyn DataFile>,
    fails: Arc<AtomicBool>,
}

impl Media for Faulty {
    fn disk(&self) -> Arc<dyn Disk> {
        self.media.disk()
    }

    fn open_data(&self, name: &str, how: Open) -> io::Result<Arc<dyn DataFile>> {
        let file = self.media.open_data(name, how)?;
        Ok(Arc::new(FaultyFile { file, fails: self.fails.clone() }))
    }
}

impl DataFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.fails.load(Ordering::Acquire) {
            return Err(io::Error::other("the drive does not answer"));
        }
        self.file.sync_data()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn allocated(&self) -> io::Result<u64> {
        self.file.allocated()
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch(offset, len)
    }
    fn forget(&self) -> io::Result<()> {
        self.file.forget()
    }
}

async fn failing(copy: CopyId) {
    let fails = Arc::new(AtomicBool::new(false));
    let switch = fails.clone();
    let open_media = move |spec: &PoolSpec, path| {
        let mine = spec.dir.parent().is_some_and(|dir| dir.ends_with(PathBuf::from(copy.0.to_string())));
        let fails = if mine { switch.clone() } else { Arc::default() };
        Ok::<Arc<dyn Media>, _>(Arc::new(Faulty { media: FsMedia::open_by(&spec.dir, path)?, fails }))
    };
    let settings = Settings { open_media: Arc::new(open_media), ..Settings::default() };
    let cluster = Cluster::start_with(&[A, B], 4096, settings).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(1, 1, 1)).await, Outcome::Done);
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    let before = cluster.report(copy).unwrap();
    assert_eq!(user.ask(write(1, 1, 2)).await, Outcome::Done);
    fails.store(true, Ordering::Release);
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done, "without the copy that cannot");
    fails.store(false, Ordering::Release);
    cluster.until_whole().await;
    let after = cluster.report(copy).unwrap();
    assert_ne!(before.incarnation, after.incarnation, "another life");
    assert!(!after.kept.contains(&before.incarnation.unwrap()), "what the kernel had may be lost");
    assert_eq!(user.ask(read(1, 1)).await, data(2, 1));
    cluster.stop().await;
}

#[tokio::test]
async fn a_mirror_whose_flush_fails_leaves_and_comes_back_in_another_life() {
    failing(B).await;
}

#[tokio::test]
async fn a_primary_whose_flush_fails_does_too() {
    failing(A).await;
}

#[tokio::test]
async fn a_pool_that_cannot_be_opened_does_not_take_the_others_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    std::fs::write(&broken, b"no directory").unwrap();
    let pool = |dir: PathBuf| PoolSpec {
        media: terrane_block_wire::control::Media::Hdd,
        dir,
        capacity: None,
        iops: 1,
        throughput: 1,
    };
    let start = |pools| {
        let zone = Zone::parse("here-1a").unwrap();
        let credentials = Credentials::plain(ClusterKey::random());
        let config = BlockServerConfig::new(dir.path().join("server"), zone, "one".into(), credentials);
        BlockServer::start(BlockServerConfig { pools, ..config })
    };
    let alone = start(vec![pool(broken.clone())]).await;
    assert!(matches!(alone, Err(ServerError::Pool { dir, .. }) if dir == broken));
    let server = start(vec![pool(broken.clone()), pool(dir.path().join("whole"))]).await.unwrap();
    server.stop().await;
}

async fn full(copy: CopyId) {
    let capacity = if copy == A {
        |copy| if copy == A { 4 << 20 } else { 1 << 30 }
    } else {
        |copy| if copy == B { 4 << 20 } else { 1 << 30 }
    };
    let cluster = Cluster::start_with(&[A, B], 4096, Settings { capacity, ..Settings::default() }).await;
    let user = cluster.user();
    for n in 0..8 {
        assert_eq!(user.ask(write(n * 256, 256, n as u8 + 1)).await, Outcome::Done);
    }
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    for n in 0..8 {
        assert_eq!(user.ask(read(n * 256, 256)).await, data(n as u8 + 1, 256));
    }
    assert!(!cluster.record().now.in_sync.contains_key(&copy), "it has no room for all that was written");
    assert!(cluster.report(copy).unwrap().trouble.is_some_and(|trouble| trouble.contains("no space")));
    cluster.stop().await;
}

#[tokio::test]
async fn where_the_only_copy_is_full_the_user_hears_of_it_and_what_needs_no_room_goes_on() {
    let settings = Settings { capacity: |_| 4 << 20, ..Settings::default() };
    let cluster = Cluster::start_with(&[A], 4096, settings).await;
    let user = cluster.user();
    for n in 0..4 {
        assert_eq!(user.ask(write(n * 256, 256, 1)).await, Outcome::Done);
    }
    assert_eq!(user.ask(write(2000, 256, 2)).await, Outcome::NoSpace);
    assert_eq!(user.ask(write(0, 256, 3)).await, Outcome::Done, "an overwrite needs no room");
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    assert_eq!(user.ask(read(0, 256)).await, data(3, 256));
    let trim = Op::Write(Extent { start: 0, len: 512 }, Content::Zero);
    assert_eq!(user.ask(trim).await, Outcome::Done);
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    assert_eq!(user.ask(write(2000, 256, 4)).await, Outcome::Done, "what was trimmed made room");
    cluster.stop().await;
}

#[tokio::test]
async fn a_mirror_that_is_full_leaves_and_writes_go_on() {
    full(B).await;
}

#[tokio::test]
async fn a_primary_that_is_full_leaves_and_writes_go_on() {
    full(A).await;
}

//! The embedded store killed under load, and on a disk that is full for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use terrane_log::disk::{Disk, DiskFile, FsDisk, Open};
use terrane_log::{LogConfig, Preallocate};
use terrane_store::committer::{Bugs, CommitId, CommitRequest, Limits, Version};
use terrane_store::local::{Applied, Pipeline, PipelineConfig, RowBatch, Rows};
use terrane_store::{KeyRange, Result, Store, StoreError, check};
use terrane_types::RandomId;
use tokio::task::JoinSet;

const DIR: &str = "TERRANE_STORE_CRASH_DIR";
const WRITERS: u64 = 8;

/// Writer `w` writes its number `n` into two rows of its own per commit and then says so.
async fn write(store: &Store, writer: u64, n: u64) {
    let value = n.to_be_bytes().to_vec();
    let value = &value;
    store
        .transact(|tx| async move {
            tx.put(format!("a/{writer}/{n:06}"), value.clone()).await?;
            tx.put(format!("b/{writer}"), value.clone()).await
        })
        .await
        .unwrap_or_else(|error: StoreError| panic!("{error}"));
}

/// What is in the store: per writer the numbers of its commits, checked to be whole and without gaps.
async fn written(store: &Store) -> BTreeMap<u64, u64> {
    let mut found: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut rest = KeyRange::prefix(b"a/");
    loop {
        let range = &rest;
        let page = store.read(|tx| async move { tx.scan(range, 1000).await }).await;
        let page = page.unwrap_or_else(|error: StoreError| panic!("{error}"));
        let Some((last, _)) = page.last() else { break };
        rest = rest.rest(last, false);
        for (key, _) in page {
            let text = String::from_utf8(key.to_vec()).unwrap();
            let mut parts = text.split('/').skip(1).map(|part| part.parse::<u64>().unwrap());
            found.entry(parts.next().unwrap()).or_default().insert(parts.next().unwrap());
        }
    }
    let mut last = BTreeMap::new();
    for (writer, numbers) in found {
        let newest = *numbers.last().unwrap();
        assert_eq!(numbers.len() as u64, newest, "writer {writer} has gaps");
        let row = crate::conformance::get(store, format!("b/{writer}").as_bytes()).await.unwrap();
        assert_eq!(row, newest.to_be_bytes(), "half a commit of writer {writer}");
        last.insert(writer, newest);
    }
    last
}

/// The child: writes until it is killed, and prints each commit after it was acknowledged. Without
/// a parent it writes a little and checks itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn child() {
    let given = std::env::var_os(DIR);
    let own = tempfile::tempdir().unwrap();
    let dir = given.as_ref().map_or(own.path(), Path::new);
    let store = Store::embedded(dir, crate::small()).await.unwrap();
    let start = written(&store).await;
    let count = if given.is_some() { u64::MAX } else { 20 };
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, first) = (store.clone(), start.get(&writer).copied().unwrap_or(0) + 1);
        tasks.spawn(async move {
            for n in (first..).take(usize::try_from(count).unwrap_or(usize::MAX)) {
                write(&store, writer, n).await;
                if count < u64::MAX {
                    continue;
                }
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {writer} {n}").and_then(|()| out.flush()).unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(written(&store).await.values().copied().collect::<Vec<_>>(), [20; WRITERS as usize]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_store_has_everything_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // At another moment each time: also while the view is synced and the log rolls.
        let mut left = 150 * round + 37;
        for line in &mut lines {
            let Some(ack) = line.as_ref().ok().and_then(|line| line.split("ack ").nth(1)) else { continue };
            let mut numbers = ack.split(' ').map(|number| number.parse::<u64>().unwrap());
            acknowledged.insert(numbers.next().unwrap(), numbers.next().unwrap());
            left -= 1;
            if left == 0 {
                break;
            }
        }
        child.kill().unwrap();
        // What it had printed before it died was acknowledged as well.
        for line in lines.map_while(std::result::Result::ok) {
            let Some((writer, n)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' ')) else {
                continue;
            };
            if let (Ok(writer), Ok(n)) = (writer.parse(), n.parse()) {
                acknowledged.insert(writer, n);
            }
        }
        child.wait().unwrap();
        assert_eq!(left, 0, "the child ended by itself");
        let store = Store::embedded(dir.path(), crate::small()).await.unwrap();
        let found = written(&store).await;
        for (writer, n) in &acknowledged {
            assert!(found[writer] >= *n, "round {round}: commit {n} of writer {writer} is lost");
        }
        drop(store);
    }
    let report = check(dir.path()).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
}

/// The host's disk, with the switch "full": nothing can be written, files can be removed.
struct FullDisk {
    inner: Arc<FsDisk>,
    full: Arc<AtomicBool>,
}

struct FullFile {
    inner: Arc<dyn DiskFile>,
    full: Arc<AtomicBool>,
}

impl FullFile {
    fn room(&self) -> std::io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for FullDisk {
    fn open(&self, name: &str, how: Open) -> std::io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(name, how)?;
        Ok(Arc::new(FullFile { inner, full: Arc::clone(&self.full) }))
    }
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.inner.list()
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.inner.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.inner.rename(from, to)
    }
    fn sync_dir(&self) -> std::io::Result<()> {
        self.inner.sync_dir()
    }
    fn free_space(&self) -> std::io::Result<u64> {
        // What is left is the log's reserve.
        if self.full.load(Ordering::Relaxed) { Ok(1 << 20) } else { self.inner.free_space() }
    }
}

impl DiskFile for FullFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> std::io::Result<()> {
        self.inner.write_at(buf, offset)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.inner.sync_data()
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.inner.set_len(len)
    }
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }
    fn allocate(&self, len: u64) -> std::io::Result<()> {
        self.room()?;
        self.inner.allocate(len)
    }
}

/// The simplest view.
#[derive(Clone, Default)]
struct MapRows(Arc<Mutex<MapState>>);

type MapState = (BTreeMap<bytes::Bytes, bytes::Bytes>, Option<Applied>);

impl Rows for MapRows {
    fn applied(&self) -> Result<Option<Applied>> {
        Ok(self.0.lock().1)
    }
    fn ids(&self) -> Result<Vec<(Version, CommitId)>> {
        Ok(Vec::new())
    }
    fn apply(&self, batch: RowBatch) -> Result<()> {
        let mut state = self.0.lock();
        for (key, value) in batch.writes {
            match value {
                Some(value) => _ = state.0.insert(key, value),
                None => _ = state.0.remove(&key),
            }
        }
        state.1 = Some(batch.applied);
        Ok(())
    }
    fn sync(&self) -> Result<Option<Applied>> {
        self.applied()
    }
    fn recover(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn on_a_full_disk_deletes_go_on_and_writes_return_with_the_space() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let disk = FullDisk { inner: FsDisk::open(dir.path()).unwrap(), full: Arc::clone(&full) };
    let log = LogConfig {
        segment_bytes: 1 << 20,
        max_record_bytes: 256 << 10,
        max_batch_bytes: 512 << 10,
        reserve_bytes: 16 << 20,
        preallocate: Preallocate::Inline,
        ..LogConfig::default()
    };
    let config = PipelineConfig {
        log,
        limits: Limits::default(),
        bugs: Bugs::default(),
        new_incarnation: RandomId(7),
    };
    let rows = MapRows::default();
    let mut pipeline = Pipeline::open(Arc::new(disk), rows.clone(), config).unwrap();
    let mut commit = |key: &'static str, value: Option<&'static str>| {
        let writes = vec![(key.into(), value.map(Into::into))];
        let snapshot = pipeline.applied().version;
        let request = CommitRequest {
            snapshot,
            reads: vec![KeyRange::key(key.as_bytes())],
            writes,
            id: None,
            retry: false,
        };
        pipeline.commit(&[request]).remove(0)
    };
    let has = |key: &str| rows.0.lock().0.contains_key(key.as_bytes());
    commit("a", Some("1")).unwrap();
    // The log looks at the free space with every sync, so the first write may still be stored.
    full.store(true, Ordering::Relaxed);
    let _ = commit("b", Some("1"));
    for _ in 0..3 {
        assert!(matches!(commit("c", Some("1")), Err(StoreError::NoSpace(_))));
        assert!(has("a") && !has("c"), "reads go on, and nothing of the refused commit is seen");
    }
    commit("a", None).unwrap();
    assert!(!has("a"));
    full.store(false, Ordering::Relaxed);
    // The keys of refused commits conflict with nobody.
    commit("c", Some("2")).unwrap();
    assert!(has("c"));
}

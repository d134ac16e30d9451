//! One opening of the tree: from a (re)open until the next recovery or wipe.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, SequenceNumberCounter};

use crate::tracker::Tracker;
use crate::{Keyspace, Result, SyncPoint, ViewConfig, ViewError};

/// Of the rows' layout inside the tree (keyspace byte, system rows).
const FORMAT: u32 = 1;

const FORMAT_KEY: &[u8] = b"format";
const POINT_KEY: &[u8] = b"point";
const NAME_PREFIX: &[u8] = b"name/";

pub(crate) struct Generation {
    pub(crate) tree: AnyTree,
    pub(crate) tracker: Arc<Tracker>,
    seqno: SequenceNumberCounter,
}

impl Generation {
    /// Opens or creates the tree in `dir`. A panic of the tree over damaged files is an error.
    pub(crate) fn open(dir: &Path, config: &ViewConfig) -> Result<Self> {
        let seqno = SequenceNumberCounter::default();
        let tree_config = Config::new(dir, seqno.clone(), SequenceNumberCounter::default())
            .use_cache(Arc::new(Cache::with_capacity_bytes(config.cache_bytes)));
        let tree = catch_unwind(AssertUnwindSafe(|| tree_config.open()))
            .map_err(|_| ViewError::Tree("the tree's files are damaged".into()))?
            .map_err(|error| classify(dir, error))?;
        let next = tree.get_highest_seqno().map_or(1, |highest| highest + 1);
        seqno.fetch_max(next);
        Ok(Self { tree, tracker: Tracker::new(next), seqno })
    }

    /// The sync point on disk; `None` for a new tree.
    pub(crate) fn point(&self) -> Result<Option<SyncPoint>> {
        let Some(format) = self.system_row(FORMAT_KEY)? else { return Ok(None) };
        let damaged = || ViewError::Tree("a system row is damaged".into());
        let found = u32::from_be_bytes(format.as_ref().try_into().map_err(|_| damaged())?);
        if found > FORMAT {
            return Err(ViewError::NewerFormat { found, supported: FORMAT });
        }
        let point = self.system_row(POINT_KEY)?.ok_or_else(damaged)?;
        Ok(Some(SyncPoint(u64::from_be_bytes(point.as_ref().try_into().map_err(|_| damaged())?))))
    }

    /// Numbers of all keyspaces: those on disk, and new numbers for names that are not.
    pub(crate) fn keyspaces(&self, names: &[&str]) -> Result<BTreeMap<String, Keyspace>> {
        let mut known = BTreeMap::new();
        let prefix = Keyspace::SYSTEM.encode(NAME_PREFIX);
        for row in self.tree.prefix(prefix.clone(), self.read_instant(), None) {
            let (key, value) = lsm_tree::Guard::into_inner(row)?;
            let name = key.get(prefix.len()..).map(String::from_utf8_lossy).unwrap_or_default();
            let number = value.first().copied().unwrap_or_default();
            known.insert(name.into_owned(), Keyspace(number));
        }
        for name in names {
            if !known.contains_key(*name) {
                let number = u8::try_from(known.len() + 1)
                    .ok()
                    .filter(|n| *n < u8::MAX)
                    .ok_or_else(|| ViewError::UnknownKeyspace((*name).into()))?;
                known.insert((*name).into(), Keyspace(number));
            }
        }
        self.name_keyspaces(&known);
        Ok(known)
    }

    /// Writes the numbers that handles already use. They are in the same tree as the rows, and
    /// before them, so no row on disk ever lacks its keyspace's name.
    pub(crate) fn name_keyspaces(&self, keyspaces: &BTreeMap<String, Keyspace>) {
        let row = |(name, keyspace): (&String, &Keyspace)| {
            let key = [NAME_PREFIX, name.as_bytes()].concat();
            (Keyspace::SYSTEM.encode(&key), Some(Bytes::copy_from_slice(&[keyspace.0])))
        };
        self.insert(keyspaces.iter().map(row).collect());
    }

    /// Makes one atomic batch visible. The caller serialises this with [`Generation::seal`].
    pub(crate) fn insert(&self, writes: Vec<(Bytes, Option<Bytes>)>) {
        let seqno = self.seqno.next();
        for (key, value) in writes {
            match value {
                Some(value) => self.tree.insert(key, value, seqno),
                None => self.tree.remove(key, seqno),
            };
        }
        self.tracker.publish(seqno + 1);
    }

    pub(crate) fn insert_point(&self, point: SyncPoint) {
        self.insert(vec![
            (Keyspace::SYSTEM.encode(FORMAT_KEY), Some(Bytes::copy_from_slice(&FORMAT.to_be_bytes()))),
            (Keyspace::SYSTEM.encode(POINT_KEY), Some(Bytes::copy_from_slice(&point.0.to_be_bytes()))),
        ]);
    }

    /// Ends the memory table: later batches go into a new one. Serialised with `insert`, so that a
    /// table never holds half of a batch.
    pub(crate) fn seal(&self) {
        let _ = self.tree.rotate_memtable();
    }

    /// Writes all sealed memory tables as one table, durably and atomically.
    pub(crate) fn flush(&self) -> lsm_tree::Result<()> {
        let lock = self.tree.get_flush_lock();
        self.tree.flush(&lock, self.tracker.watermark()).map(|_| ())
    }

    /// One round of compaction; `false` when nothing changed.
    pub(crate) fn compact(&self) -> lsm_tree::Result<bool> {
        let before = self.tree.current_version().id();
        let strategy = Arc::new(lsm_tree::compaction::Leveled::default());
        self.tree.compact(strategy, self.tracker.watermark())?;
        Ok(self.tree.current_version().id() != before)
    }

    pub(crate) fn active_bytes(&self) -> u64 {
        self.tree.active_memtable().size()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.tree.version_memtable_size_sum()
    }

    fn system_row(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.tree.get(Keyspace::SYSTEM.encode(key), self.read_instant())?.map(Bytes::from))
    }

    fn read_instant(&self) -> u64 {
        self.tracker.open().seqno()
    }
}

/// Missing, short or nonsensical files are damage; what else the operating system reports (no
/// permission, too many open files) says nothing about them.
fn classify(dir: &Path, error: lsm_tree::Error) -> ViewError {
    use std::io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    match error {
        lsm_tree::Error::Io(source)
            if !matches!(source.kind(), InvalidData | InvalidInput | NotFound | UnexpectedEof) =>
        {
            ViewError::Io { doing: "open", path: dir.into(), source }
        }
        damage => damage.into(),
    }
}

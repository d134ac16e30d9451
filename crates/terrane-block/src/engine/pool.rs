//! A pool: one directory on one drive, its journal, and the copies in it.

use super::bugs::Bugs;
use super::config::{Declared, PoolConfig};
use super::copy::{Copy, SUFFIX, file_name};
use super::cut::{self, cut_name};
use super::error::{EngineError, is_full};
use super::identity::{self, Identity, PoolId};
use super::journal::{Journal, Table};
use super::layout::{BLOCK, Geometry};
use super::media::Media;
use super::record::{CopyKey, CopyState, CutState, MAX_ORIGIN, MAX_RECORD, Origin, Record};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use terrane_log::disk::Disk;

/// What all parts of a pool share.
pub(crate) struct Shared {
    pub(crate) id: PoolId,
    pub(crate) media: Arc<dyn Media>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) journal: Journal,
    pub(crate) log_extents: usize,
    pub(crate) bugs: Bugs,
    capacity: u64,
    /// Blocks with data.
    used: AtomicU64,
    /// Blocks that open cuts keep.
    cut_blocks: AtomicU64,
    cut_bytes_max: u64,
    cut_bytes_spare: u64,
}

impl Shared {
    /// Takes room for blocks.
    pub(crate) fn take(&self, blocks: u64) -> Result<(), EngineError> {
        if blocks == 0 {
            return Ok(());
        }
        let limit = self.capacity / BLOCK as u64;
        let add = |used: u64| used.checked_add(blocks).filter(|used| *used <= limit);
        match self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, add) {
            Ok(_) => Ok(()),
            Err(_) => Err(EngineError::NoSpace { needed: blocks * BLOCK as u64 }),
        }
    }

    /// Gives room back.
    pub(crate) fn give(&self, blocks: u64) {
        self.used.fetch_sub(blocks, Ordering::AcqRel);
    }

    /// Takes room for blocks that a cut keeps: only what writes do not need.
    pub(crate) fn take_for_cut(&self, blocks: u64) -> io::Result<()> {
        let room = (self.capacity / BLOCK as u64).saturating_sub(self.used.load(Ordering::Acquire));
        let limit = room.min(self.cut_bytes_max / BLOCK as u64);
        let add = |kept: u64| kept.checked_add(blocks).filter(|kept| *kept <= limit);
        let taken = self.cut_blocks.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        taken.map(drop).map_err(|_| io::ErrorKind::StorageFull.into())
    }

    /// The room of what is there already.
    pub(crate) fn take_for_cut_anyway(&self, blocks: u64) {
        self.cut_blocks.fetch_add(blocks, Ordering::AcqRel);
    }

    /// Gives room of a cut back.
    pub(crate) fn give_for_cut(&self, blocks: u64) {
        self.cut_blocks.fetch_sub(blocks, Ordering::AcqRel);
    }

    /// Whether the drive has more room than what is left to writes.
    pub(crate) fn spare_room_for_cut(&self) -> io::Result<()> {
        let free = self.disk.free_space()?;
        if free >= self.cut_bytes_spare { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    pub(crate) fn space_or_io(doing: &'static str, error: io::Error) -> EngineError {
        if is_full(&error) {
            EngineError::NoSpace { needed: BLOCK as u64 }
        } else {
            EngineError::io(doing)(error)
        }
    }
}

/// What [`Pool::open`] found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolReport {
    /// The pool was made.
    pub is_new: bool,
    /// Records and bytes of the journal that were gone through.
    pub replayed_records: u64,
    /// See `replayed_records`.
    pub replayed_bytes: u64,
    /// Files of copies that were never completed, or deleted, and are removed now.
    pub removed_files: u64,
    /// Copies whose files are missing.
    pub missing: Vec<CopyKey>,
}

/// What a pool takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// What it is declared to have.
    pub declared: Declared,
    /// Bytes of blocks with data, TRIM taken off.
    pub data_bytes: u64,
    /// Bytes that cuts of open copies keep because they were overwritten.
    pub cut_bytes: u64,
    /// Bytes that the host says are free on the drive.
    pub host_free: u64,
    /// Copies in it.
    pub copies: u64,
}

/// A pool, open. One process at a time.
pub struct Pool {
    shared: Arc<Shared>,
    declared: Declared,
    geometry: Geometry,
    rng: Mutex<StdRng>,
    copies: Mutex<BTreeMap<CopyKey, Slot>>,
}

/// What the pool remembers of one of its copies.
#[derive(Default)]
struct Slot {
    open: Weak<Copy>,
    /// Its blocks with data, as counted in [`Shared::used`].
    data_blocks: Arc<AtomicU64>,
}

impl Pool {
    /// Opens the pool in a directory of its own; makes one if the directory is empty.
    ///
    /// # Errors
    /// [`EngineError::Foreign`] if the directory is another pool's, another server's or not a pool's,
    /// [`EngineError::Corrupt`], [`EngineError::NewerFormat`], [`EngineError::Journal`], [`EngineError::Io`],
    /// [`EngineError::Config`].
    pub fn open(media: Arc<dyn Media>, config: PoolConfig) -> Result<(Self, PoolReport), EngineError> {
        config.check()?;
        let geometry = config.geometry.check()?;
        let mut rng = config.seed.map_or_else(|| StdRng::from_rng(&mut rand::rng()), StdRng::seed_from_u64);
        let disk = media.disk();
        let identity = identify(&*disk, &config, &mut rng)?;
        let names = disk.list().map_err(EngineError::io("list a pool"))?;
        let files: BTreeSet<&String> = names.iter().filter(|name| name.ends_with(SUFFIX)).collect();
        let (journal, replayed) = Journal::open(disk.clone(), identity.pool, &config, files.is_empty())?;
        let table = journal.with_table(Clone::clone);
        let mut report = PoolReport {
            is_new: replayed.is_new,
            replayed_records: replayed.records,
            replayed_bytes: replayed.bytes,
            ..PoolReport::default()
        };
        report.removed_files = remove_strangers(&*disk, &table)?;
        report.missing = table.keys().copied().filter(|key| !files.contains(&file_name(*key))).collect();
        let used = table.values().map(|state| state.cold_blocks).sum();
        let copies = table.iter().map(|(key, state)| (*key, Slot::of(state))).collect();
        let shared = Arc::new(Shared {
            id: identity.pool,
            media,
            disk,
            journal,
            log_extents: config.log_extents,
            bugs: config.bugs,
            capacity: config.declared.capacity,
            used: AtomicU64::new(used),
            cut_blocks: AtomicU64::new(0),
            cut_bytes_max: config.cut_bytes_max,
            cut_bytes_spare: config.cut_bytes_spare,
        });
        let declared = config.declared;
        Ok((Self { shared, declared, geometry, rng: Mutex::new(rng), copies: Mutex::new(copies) }, report))
    }

    /// Which pool it is.
    #[must_use]
    pub fn id(&self) -> PoolId {
        self.shared.id
    }

    /// All copies in it with what is durable of them besides their blocks.
    #[must_use]
    pub fn states(&self) -> BTreeMap<CopyKey, CopyState> {
        self.shared.journal.with_table(Clone::clone)
    }

    /// What it takes. Copies that are not open count without what their activity logs cover.
    ///
    /// # Errors
    /// What the host says.
    pub fn usage(&self) -> Result<PoolUsage, EngineError> {
        Ok(PoolUsage {
            declared: self.declared,
            data_bytes: self.shared.used.load(Ordering::Acquire) * BLOCK as u64,
            cut_bytes: self.shared.cut_blocks.load(Ordering::Acquire) * BLOCK as u64,
            host_free: self.shared.disk.free_space().map_err(EngineError::io("ask for free space"))?,
            copies: self.copies.lock().len() as u64,
        })
    }

    /// Makes a copy of that many blocks, all [`super::Kind::Absent`], and opens it.
    ///
    /// # Errors
    /// [`EngineError::Exists`], [`EngineError::TooLarge`], [`EngineError::NoSpace`], [`EngineError::Io`]: nothing is
    /// left of it. [`EngineError::Journal`]: unless that has no space, the next open tells whether it is there.
    pub fn create_copy(&self, key: CopyKey, blocks: u64, record: Vec<u8>) -> Result<Arc<Copy>, EngineError> {
        self.create(key, blocks, record, None)
    }

    /// The same for a copy that is being restored: its blocks are [`super::Kind::Unfetched`] until they are written,
    /// trimmed or [filled](Copy::fill). `source` says where they come from, to whoever fetches them.
    ///
    /// # Errors
    /// As [`Pool::create_copy`].
    pub fn create_lazy_copy(
        &self,
        key: CopyKey,
        blocks: u64,
        record: Vec<u8>,
        source: Vec<u8>,
    ) -> Result<Arc<Copy>, EngineError> {
        if source.len() > MAX_ORIGIN {
            return Err(EngineError::TooLarge { what: "bytes of a copy's source", limit: MAX_ORIGIN as u64 });
        }
        self.create(key, blocks, record, Some(Origin { blocks, source }))
    }

    fn create(
        &self,
        key: CopyKey,
        blocks: u64,
        record: Vec<u8>,
        origin: Option<Origin>,
    ) -> Result<Arc<Copy>, EngineError> {
        if blocks > Geometry::MAX_BLOCKS {
            return Err(EngineError::TooLarge { what: "blocks of a copy", limit: Geometry::MAX_BLOCKS });
        }
        if record.len() > MAX_RECORD {
            return Err(EngineError::TooLarge { what: "bytes of a copy's record", limit: MAX_RECORD as u64 });
        }
        let mut copies = self.copies.lock();
        if copies.contains_key(&key) {
            return Err(EngineError::Exists(key));
        }
        let state = CopyState {
            salt: self.rng.lock().random(),
            geometry: self.geometry,
            blocks,
            cold_blocks: 0,
            record,
            log: BTreeSet::new(),
            bitmaps: BTreeMap::new(),
            cuts: CutState { origin, ..CutState::default() },
        };
        // What an attempt that failed has left.
        self.remove_file(key)?;
        if let Err(error) = Copy::create_file(&self.shared, key, &state) {
            // If this fails too, the next open removes it.
            let _ = self.remove_file(key);
            return Err(error);
        }
        if let Err(error) = self.shared.journal.commit(Record::Create { key, state: state.clone() }) {
            // Unless the journal says that it was not stored, it may be there, and then its file must be.
            if error.is_no_space() {
                let _ = self.remove_file(key);
            }
            return Err(error);
        }
        let slot = copies.entry(key).or_default();
        self.open_slot(slot, key, &state)
    }

    /// Opens a copy; the same one if it is open and has not failed. A copy that failed starts another life: what was
    /// written since its last flush may be lost, and its activity log says where that is.
    ///
    /// # Errors
    /// [`EngineError::NoCopy`], [`EngineError::Foreign`] (the file is another copy's), [`EngineError::Corrupt`],
    /// [`EngineError::Io`].
    pub fn open_copy(&self, key: CopyKey) -> Result<Arc<Copy>, EngineError> {
        let mut copies = self.copies.lock();
        let slot = copies.get_mut(&key).ok_or(EngineError::NoCopy(key))?;
        if let Some(copy) = slot.open.upgrade() {
            match copy.failure() {
                None => return Ok(copy),
                Some(reason) => copy.end(reason),
            }
        }
        // After the last life has ended, so that nothing of it is still to come.
        self.shared.journal.drive();
        let state = self.shared.journal.with_table(|table| table.get(&key).cloned());
        self.open_slot(slot, key, &state.ok_or(EngineError::NoCopy(key))?)
    }

    fn open_slot(&self, slot: &mut Slot, key: CopyKey, state: &CopyState) -> Result<Arc<Copy>, EngineError> {
        let (copy, data_blocks) = Copy::open(self.shared.clone(), key, state, slot.data_blocks.clone())?;
        let counted = slot.data_blocks.swap(data_blocks, Ordering::AcqRel);
        self.shared.used.fetch_add(data_blocks, Ordering::AcqRel);
        self.shared.used.fetch_sub(counted, Ordering::AcqRel);
        slot.open = Arc::downgrade(&copy);
        Ok(copy)
    }

    /// Deletes a copy, durably. Whoever has it open gets [`EngineError::NoCopy`].
    ///
    /// # Errors
    /// [`EngineError::NoCopy`], [`EngineError::Journal`]; [`EngineError::Io`] if its file could not be removed, which
    /// the next open does.
    pub fn delete_copy(&self, key: CopyKey) -> Result<(), EngineError> {
        let mut copies = self.copies.lock();
        let slot = copies.get(&key).ok_or(EngineError::NoCopy(key))?;
        self.shared.journal.commit(Record::Delete { key })?;
        if let Some(copy) = slot.open.upgrade() {
            copy.end(EngineError::NoCopy(key));
        }
        self.shared.give(slot.data_blocks.load(Ordering::Acquire));
        copies.remove(&key);
        remove_cuts(&*self.shared.disk, key, &CutState::default())?;
        self.remove_file(key)
    }

    fn remove_file(&self, key: CopyKey) -> Result<(), EngineError> {
        match self.shared.disk.remove(&file_name(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(EngineError::io("remove a copy's file")(error))
            }
            _ => Ok(()),
        }
    }

    /// Why the pool's journal refuses all changes, if it does: see [`Pool::recover`].
    #[must_use]
    pub fn failure(&self) -> Option<EngineError> {
        self.shared.journal.failure().map(EngineError::from)
    }

    /// After a failure of the journal: reads again what is durable, and goes on with that. All copies that were open
    /// have ended, since what was being changed may or may not have happened; open them again. Returns whether there
    /// was anything to recover from.
    ///
    /// # Errors
    /// As [`Pool::open`]: the drive is not well yet. May be called again.
    pub fn recover(&self) -> Result<bool, EngineError> {
        let mut copies = self.copies.lock();
        let Some(failure) = self.failure() else { return Ok(false) };
        for copy in copies.values().filter_map(|slot| slot.open.upgrade()) {
            copy.end(failure.clone());
        }
        self.shared.journal.reopen()?;
        let table = self.shared.journal.with_table(Clone::clone);
        // What was being deleted, or made.
        let gone: Vec<CopyKey> = copies.keys().copied().filter(|key| !table.contains_key(key)).collect();
        for key in gone {
            if let Some(slot) = copies.remove(&key) {
                self.shared.give(slot.data_blocks.load(Ordering::Acquire));
            }
        }
        for (key, state) in table.iter().filter(|(key, _)| !copies.contains_key(key)).collect::<Vec<_>>() {
            self.shared.used.fetch_add(state.cold_blocks, Ordering::AcqRel);
            copies.insert(*key, Slot::of(state));
        }
        remove_strangers(&*self.shared.disk, &table)?;
        Ok(true)
    }

    /// Asks the drive for something small that no cache answers; an error is an answer, too.
    ///
    /// # Errors
    /// What the host says.
    pub fn probe(&self) -> Result<(), EngineError> {
        self.shared.media.probe().map_err(EngineError::io("probe a drive"))
    }

    /// Whether there is such a copy.
    #[must_use]
    pub fn has(&self, key: CopyKey) -> bool {
        self.copies.lock().contains_key(&key)
    }

    /// Makes durable what [`Copy::submit`] has queued, and tells.
    pub fn drive(&self) {
        self.shared.journal.drive();
    }
}

impl Slot {
    /// Of a copy that is not open.
    fn of(state: &CopyState) -> Self {
        Self { open: Weak::new(), data_blocks: Arc::new(AtomicU64::new(state.cold_blocks)) }
    }
}

/// Removes files of copies that were never completed, or deleted. Returns how many.
fn remove_strangers(disk: &dyn Disk, table: &Table) -> Result<u64, EngineError> {
    let copies = table.keys().map(|key| file_name(*key));
    let cuts = table.iter().flat_map(|(key, state)| state.cuts.cuts.keys().map(|cut| cut_name(*key, *cut)));
    let known: BTreeSet<String> = copies.chain(cuts).collect();
    remove_where(disk, |name| {
        (name.ends_with(SUFFIX) || name.ends_with(cut::SUFFIX)) && !known.contains(name)
    })
}

/// Removes files of cuts that the copy does not have.
pub(super) fn remove_cuts(disk: &dyn Disk, key: CopyKey, cuts: &CutState) -> Result<u64, EngineError> {
    let copy = key.to_string();
    let known: BTreeSet<String> = cuts.cuts.keys().map(|cut| cut_name(key, *cut)).collect();
    remove_where(disk, |name| name.ends_with(cut::SUFFIX) && name.starts_with(&copy) && !known.contains(name))
}

fn remove_where(disk: &dyn Disk, unwanted: impl Fn(&str) -> bool) -> Result<u64, EngineError> {
    let names = disk.list().map_err(EngineError::io("list a pool"))?;
    names.iter().filter(|name| unwanted(name)).try_fold(0, |removed, name| {
        disk.remove(name).map_err(EngineError::io("remove a file that nobody has"))?;
        Ok(removed + 1)
    })
}

/// Finds out whose directory this is, and takes an empty one.
fn identify(disk: &dyn Disk, config: &PoolConfig, rng: &mut StdRng) -> Result<Identity, EngineError> {
    let (server, declared) = (config.server, config.declared);
    let foreign = |found: String| Err(EngineError::Foreign { what: "the pool's directory", found });
    let Some(identity) = Identity::load(disk)? else {
        let names = disk.list().map_err(EngineError::io("list a pool"))?;
        let other = names.iter().find(|name| !identity::may_precede(name));
        if let Some(other) = other {
            return foreign(format!("no identity, but {other:?}"));
        }
        if let Some(expected) = config.expected {
            return foreign(format!("nothing where pool {expected} should be"));
        }
        let identity = Identity { pool: PoolId(rng.random()), server, declared };
        identity.store(disk)?;
        return Ok(identity);
    };
    if identity.server != server {
        return foreign(format!("a pool of server {:032x}", identity.server));
    }
    if config.expected.is_some_and(|expected| expected != identity.pool) {
        return foreign(format!("pool {}", identity.pool));
    }
    let declared = Identity { declared, ..identity };
    if declared != identity {
        declared.store(disk)?;
    }
    Ok(declared)
}

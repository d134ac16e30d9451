//! Which segments there are, who writes them, what in them is spoken for.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use super::format::HEADER_BYTES;
use super::{DataError, DataStore, Extent, Segment, framed_len, ids};

/// Files kept open for readers beyond those in use.
const OPEN_FILES_MAX: usize = 256;

/// A segment as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStatus {
    /// The segment's number.
    pub segment: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Bytes that rows of the keymap refer to.
    pub live_bytes: u64,
    /// Whether `live_bytes` has been counted.
    pub surveyed: bool,
    /// Whether it is never written again.
    pub sealed: bool,
    /// Whether anything in it is staged or being copied.
    pub in_flight: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Leased,
    Pooled,
    Sealed,
    Condemned,
}

struct Entry {
    state: State,
    end: u64,
    live_bytes: Option<u64>,
    /// Offsets of extents in flight, and how often.
    in_flight: BTreeMap<u64, u32>,
    handle: Weak<Segment>,
}

pub(super) struct Table {
    entries: BTreeMap<u64, Entry>,
    /// Unleased segments of this run that take further extents; few, so their files stay open.
    pool: Vec<Lease>,
    /// Recently used files, the latest last.
    open: Vec<Arc<Segment>>,
    count: u32,
}

/// The exclusive right to append to a segment.
pub(super) struct Lease {
    pub(super) segment: Arc<Segment>,
    /// Where to append.
    pub(super) end: u64,
}

impl Table {
    pub(super) fn new(found: BTreeMap<u64, u64>) -> Self {
        let sealed = |(id, end)| (id, Entry::new(State::Sealed, end));
        let entries = found.into_iter().map(sealed).collect();
        Self { entries, pool: Vec::new(), open: Vec::new(), count: 0 }
    }

    /// A pooled segment, or the number for a new one.
    pub(super) fn lease(&mut self) -> Result<Lease, u32> {
        let Some(lease) = self.pool.pop() else {
            let count = self.count;
            self.count += 1;
            return Err(count);
        };
        self.set_state(lease.segment.id, State::Leased);
        Ok(lease)
    }

    /// Puts a new segment into the pool.
    pub(super) fn created(&mut self, segment: Arc<Segment>) {
        let mut entry = Entry::new(State::Pooled, HEADER_BYTES);
        entry.handle = Arc::downgrade(&segment);
        self.entries.insert(segment.id, entry);
        self.pool.push(Lease { segment, end: HEADER_BYTES });
    }

    /// Takes a lease back. `sealed`: the segment is full, or an I/O error makes its tail unknown.
    pub(super) fn release(&mut self, lease: Lease, sealed: bool) {
        if let Some(entry) = self.entries.get_mut(&lease.segment.id) {
            entry.end = lease.end;
            entry.state = if sealed { State::Sealed } else { State::Pooled };
        }
        if !sealed {
            self.pool.push(lease);
        }
    }

    /// Takes the segment whose last bytes are this extent out of the pool, to cut the extent off.
    pub(super) fn lease_tail(&mut self, extent: &Extent) -> Option<Lease> {
        let end = extent.offset + framed_len(extent.len);
        let at = self.pool.iter().position(|l| l.segment.id == extent.segment && l.end == end)?;
        self.set_state(extent.segment, State::Leased);
        Some(self.pool.swap_remove(at))
    }

    pub(super) fn hold(&mut self, extents: &[Extent]) -> bool {
        let usable = |e: &Extent| self.entries.get(&e.segment).is_some_and(|s| s.state != State::Condemned);
        if !extents.iter().all(usable) {
            return false;
        }
        for extent in extents {
            self.add_in_flight(extent);
        }
        true
    }

    pub(super) fn add_in_flight(&mut self, extent: &Extent) {
        if let Some(entry) = self.entries.get_mut(&extent.segment) {
            *entry.in_flight.entry(extent.offset).or_insert(0) += 1;
        }
    }

    pub(super) fn drop_in_flight(&mut self, extent: &Extent) {
        let Some(entry) = self.entries.get_mut(&extent.segment) else { return };
        if let Some(times) = entry.in_flight.get_mut(&extent.offset) {
            *times -= 1;
            if *times == 0 {
                entry.in_flight.remove(&extent.offset);
            }
        }
    }

    pub(super) fn set_live(&mut self, segment: u64, bytes: u64) {
        if let Some(entry) = self.entries.get_mut(&segment) {
            entry.live_bytes = Some(bytes);
        }
    }

    pub(super) fn condemn(&mut self, segment: u64) -> bool {
        match self.entries.get_mut(&segment) {
            Some(e) if e.state == State::Sealed && e.in_flight.is_empty() => {
                e.state = State::Condemned;
                true
            }
            _ => false,
        }
    }

    pub(super) fn reprieve(&mut self, segment: u64) {
        if let Some(entry) = self.entries.get_mut(&segment)
            && entry.state == State::Condemned
        {
            entry.state = State::Sealed;
        }
    }

    pub(super) fn forget_condemned(&mut self, segment: u64) -> Option<u64> {
        if self.entries.get(&segment)?.state != State::Condemned {
            return None;
        }
        self.open.retain(|s| s.id != segment);
        self.entries.remove(&segment).map(|e| e.end)
    }

    pub(super) fn truncate_dead(&mut self, segment: u64, live_end: u64, path: &Path) -> io::Result<u64> {
        let Some(entry) = self.entries.get_mut(&segment) else { return Ok(0) };
        let read = entry.handle.strong_count() > usize::from(self.open.iter().any(|s| s.id == segment));
        if entry.state != State::Sealed || !entry.in_flight.is_empty() || read || entry.end <= live_end {
            return Ok(0);
        }
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        file.set_len(live_end)?;
        let freed = entry.end - live_end;
        entry.end = live_end;
        Ok(freed)
    }

    pub(super) fn pin(&mut self, dir: &Path, segment: u64) -> Result<Arc<Segment>, DataError> {
        let entry = self.entries.get_mut(&segment).ok_or(DataError::Gone(segment))?;
        if let Some(handle) = entry.handle.upgrade() {
            return Ok(handle);
        }
        let handle = Arc::new(Segment::open(&ids::path(dir, segment), segment)?);
        entry.handle = Arc::downgrade(&handle);
        if self.open.len() >= OPEN_FILES_MAX {
            self.open.remove(0);
        }
        self.open.push(handle.clone());
        Ok(handle)
    }

    pub(super) fn status(&self) -> Vec<SegmentStatus> {
        let status = |(id, e): (&u64, &Entry)| SegmentStatus {
            segment: *id,
            bytes: e.end,
            live_bytes: e.live_bytes.unwrap_or(e.end),
            surveyed: e.live_bytes.is_some(),
            sealed: matches!(e.state, State::Sealed | State::Condemned),
            in_flight: !e.in_flight.is_empty(),
        };
        self.entries.iter().map(status).collect()
    }

    /// Gives a leased segment up: its tail is unknown, so nothing follows it.
    pub(super) fn abandon(&mut self, segment: u64) {
        self.set_state(segment, State::Sealed);
    }

    /// Takes a segment out of the pool, so that it can be compacted.
    pub(super) fn seal(&mut self, segment: u64) {
        if let Some(at) = self.pool.iter().position(|lease| lease.segment.id == segment) {
            self.pool.swap_remove(at);
            self.set_state(segment, State::Sealed);
        }
    }

    fn set_state(&mut self, segment: u64, state: State) {
        if let Some(entry) = self.entries.get_mut(&segment) {
            entry.state = state;
        }
    }
}

impl Entry {
    fn new(state: State, end: u64) -> Self {
        Self { state, end, live_bytes: None, in_flight: BTreeMap::new(), handle: Weak::new() }
    }
}

/// Extents that are in flight for as long as this lives.
///
/// Until [`StagedExtents::submit`] they are the stager's alone: dropping cuts them off their segments where
/// nothing follows them. From then on a log record may name them, so dropping merely ends their being in
/// flight, and collection decides by the views. [`StagedExtents::retract`] is for when it certainly does not.
pub(crate) struct StagedExtents {
    store: DataStore,
    extents: Vec<Extent>,
    /// Whether nobody else ever named them.
    fresh: bool,
    submitted: bool,
}

impl StagedExtents {
    pub(super) fn written(store: DataStore, extents: Vec<Extent>) -> Self {
        Self { store, extents, fresh: true, submitted: false }
    }

    pub(super) fn held(store: DataStore, extents: Vec<Extent>) -> Self {
        Self { store, extents, fresh: false, submitted: false }
    }

    /// The extents in the order of the body.
    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// From here on a log record may name the extents.
    pub(crate) fn submit(&mut self) {
        self.submitted = true;
    }

    /// No log record names the extents after all.
    pub(crate) fn retract(&mut self) {
        self.submitted = false;
    }
}

impl Drop for StagedExtents {
    fn drop(&mut self) {
        for extent in self.extents.iter().rev() {
            let mut table = self.store.shared.table.lock();
            table.drop_in_flight(extent);
            let ours_alone = self.fresh && !self.submitted;
            let lease = if ours_alone { table.lease_tail(extent) } else { None };
            drop(table);
            if let Some(mut lease) = lease {
                let cut = lease.segment.set_len(extent.offset);
                lease.end = if cut.is_ok() { extent.offset } else { lease.end };
                self.store.shared.table.lock().release(lease, cut.is_err());
            }
        }
    }
}

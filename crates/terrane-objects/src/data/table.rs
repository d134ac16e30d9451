//! Which segments there are, who writes them, what in them is spoken for.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};

use super::format::{framed_len, header_len};
use super::ids::{self, Found, Named};
use super::repair::Damage;
use super::segment::Places;
use super::{DataError, DataStore, Extent, Segment};
use crate::drives::Drive;
use crate::redundancy::Redundancy;

/// Files kept open for readers beyond those in use.
const OPEN_FILES_MAX: usize = 256;

/// A segment as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStatus {
    /// The segment's number.
    pub segment: u64,
    /// How it is laid over drives.
    pub redundancy: Redundancy,
    /// Bytes of each of its files.
    pub bytes: u64,
    /// Bytes that rows of the keymap refer to.
    pub live_bytes: u64,
    /// Whether `live_bytes` has been counted.
    pub surveyed: bool,
    /// Whether it is never written again.
    pub sealed: bool,
    /// Whether anything in it is staged or being copied.
    pub in_flight: bool,
    /// Shards that are on no drive in use.
    pub missing_shards: usize,
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
    redundancy: Redundancy,
    places: Places,
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
    /// The segments of earlier runs, by what was found on the drives. Gives back files that are not needed: of a shard that
    /// was rebuilt elsewhere while its drive was away the later file counts.
    pub(super) fn new(mut found: Vec<(Arc<Drive>, Found)>) -> (Self, Vec<(Arc<Drive>, Named)>) {
        found.sort_by_key(|(_, file)| std::cmp::Reverse(file.modified));
        let (mut entries, mut twice) = (BTreeMap::<u64, Entry>::new(), Vec::new());
        for (drive, Found { named, len, .. }) in found {
            let entry = entries.entry(named.segment).or_insert_with(|| {
                Entry::new(State::Sealed, named.redundancy, vec![None; named.redundancy.shards()], 0)
            });
            let place = entry.places.get_mut(named.shard).filter(|_| entry.redundancy == named.redundancy);
            match place {
                Some(place @ None) => {
                    *place = Some(drive);
                    entry.end = entry.end.max(len);
                }
                _ => twice.push((drive, named)),
            }
        }
        (Self { entries, pool: Vec::new(), open: Vec::new(), count: 0 }, twice)
    }

    /// A pooled segment, or the number for a new one. Whoever finds a drive of a pooled segment lost closes it.
    pub(super) fn lease(&mut self, redundancy: Redundancy) -> Result<Lease, u32> {
        let lost = |lease: &Lease| lease.segment.shards().iter().flatten().any(|s| !s.drive.is_live());
        let broken: Vec<u64> = self.pool.iter().filter(|l| lost(l)).map(|l| l.segment.id).collect();
        broken.into_iter().for_each(|segment| self.seal(segment));
        let Some(at) = self.pool.iter().rposition(|lease| lease.segment.redundancy == redundancy) else {
            let count = self.count;
            self.count += 1;
            return Err(count);
        };
        let lease = self.pool.remove(at);
        self.set_state(lease.segment.id, State::Leased);
        Ok(lease)
    }

    /// Puts a new segment into the pool.
    pub(super) fn created(&mut self, segment: Arc<Segment>) {
        let end = header_len(segment.redundancy);
        let mut entry = Entry::new(State::Pooled, segment.redundancy, segment.places(), end);
        entry.handle = Arc::downgrade(&segment);
        self.entries.insert(segment.id, entry);
        self.pool.push(Lease { segment, end });
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
        let end = extent.offset + framed_len(self.redundancy(extent.segment)?, extent.len);
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

    /// Takes a condemned segment out; gives its length, and where its shards are.
    pub(super) fn forget_condemned(&mut self, segment: u64) -> Option<(u64, Redundancy, Places)> {
        if self.entries.get(&segment)?.state != State::Condemned {
            return None;
        }
        self.open.retain(|s| s.id != segment);
        self.entries.remove(&segment).map(|e| (e.end, e.redundancy, e.places))
    }

    pub(super) fn truncate_dead(&mut self, segment: u64, live_end: u64) -> io::Result<u64> {
        let Some(entry) = self.entries.get_mut(&segment) else { return Ok(0) };
        let read = entry.handle.strong_count() > usize::from(self.open.iter().any(|s| s.id == segment));
        if entry.state != State::Sealed || !entry.in_flight.is_empty() || read || entry.end <= live_end {
            return Ok(0);
        }
        for (shard, drive) in entry.places.iter().enumerate() {
            let Some(drive) = drive.as_ref().filter(|drive| drive.is_live()) else { continue };
            let path = ids::path(&drive.data_dir(), segment, entry.redundancy, shard);
            let file = std::fs::OpenOptions::new().write(true).open(path)?;
            // A shard that is too short already is a damaged one, and not made to look whole.
            if file.metadata()?.len() > live_end {
                file.set_len(live_end)?;
            }
        }
        let freed = entry.end - live_end;
        entry.end = live_end;
        Ok(freed)
    }

    pub(super) fn pin(&mut self, segment: u64, damage: &Arc<Damage>) -> Result<Arc<Segment>, DataError> {
        let entry = self.entries.get_mut(&segment).ok_or(DataError::Gone(segment))?;
        if let Some(handle) = entry.handle.upgrade() {
            return Ok(handle);
        }
        let handle = Segment::open(segment, entry.redundancy, &entry.places, damage.clone())?;
        let handle = Arc::new(handle);
        entry.handle = Arc::downgrade(&handle);
        let mut files = self.open.iter().map(|s| s.files()).sum::<usize>() + handle.files();
        while files > OPEN_FILES_MAX && !self.open.is_empty() {
            files -= self.open.remove(0).files();
        }
        self.open.push(handle.clone());
        Ok(handle)
    }

    /// How a segment is laid out.
    pub(super) fn redundancy(&self, segment: u64) -> Option<Redundancy> {
        self.entries.get(&segment).map(|entry| entry.redundancy)
    }

    /// Where the shards of a segment are, if it is never written again and nothing in it is in flight.
    pub(super) fn at_rest(&self, segment: u64) -> Option<(Redundancy, Places, u64)> {
        let entry = self.entries.get(&segment)?;
        let rests = entry.state == State::Sealed && entry.in_flight.is_empty();
        rests.then(|| (entry.redundancy, entry.places.clone(), entry.end))
    }

    #[cfg(test)]
    pub(super) fn places(&self, segment: u64) -> Option<(Redundancy, Places)> {
        self.entries.get(&segment).map(|entry| (entry.redundancy, entry.places.clone()))
    }

    /// Notes where the shards of a segment are from now on; handles opened before go on with what they have.
    pub(super) fn set_places(&mut self, segment: u64, places: Places) {
        self.open.retain(|s| s.id != segment);
        if let Some(entry) = self.entries.get_mut(&segment) {
            entry.places = places;
            entry.handle = Weak::new();
        }
    }

    /// Bytes on a drive.
    pub(super) fn bytes_on(&self, drive: usize) -> u64 {
        let on = |place: &&Option<Arc<Drive>>| place.as_ref().is_some_and(|place| place.number == drive);
        self.entries.values().map(|e| e.end * e.places.iter().filter(on).count() as u64).sum()
    }

    pub(super) fn status(&self) -> Vec<SegmentStatus> {
        let status = |(id, e): (&u64, &Entry)| SegmentStatus {
            segment: *id,
            redundancy: e.redundancy,
            bytes: e.end,
            live_bytes: e.live_bytes.unwrap_or(e.end),
            surveyed: e.live_bytes.is_some(),
            sealed: matches!(e.state, State::Sealed | State::Condemned),
            in_flight: !e.in_flight.is_empty(),
            missing_shards: e.places.iter().filter(|p| p.as_ref().is_none_or(|d| !d.is_live())).count(),
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
    fn new(state: State, redundancy: Redundancy, places: Places, end: u64) -> Self {
        Self {
            state,
            redundancy,
            places,
            end,
            live_bytes: None,
            in_flight: BTreeMap::new(),
            handle: Weak::new(),
        }
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

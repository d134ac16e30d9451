//! Data segments: what in them is live, and moving it out of those that are mostly dead.
//!
//! A segment goes in this order: no copy may refer to it any more (here and in the shard); the keymap is synced;
//! what rows still refer to is written to another segment and the rows are moved by compare-and-set; the keymap is
//! synced again; nothing refers to it; its file is removed. Whoever has it open reads on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use terrane_keymap::head::{HeadData, RowHead};
use terrane_keymap::keymap::referrers_of;
use terrane_keymap::reader::RowReader;
use terrane_keymap::record::{Data, RowState};
use terrane_keymap::write::{Op, WriteError, WriteRequest};
use terrane_keymap::{Extent, Input, RowId};
use tokio::sync::OnceCell;

use crate::data::{DataError, ExtentReader, StagedExtents};
use crate::driver::{ReadView, extents_of};
use crate::records;
use crate::redundancy::Redundancy;
use crate::service::{ObjectError, Result};
use crate::store::{Store, stopped};

/// Segments looked at and segments emptied in one round.
const SURVEY_MAX: usize = 64;
const VICTIMS_MAX: usize = 4;
/// Rows moved at a time.
const MOVES_MAX: usize = 16;

fn unreadable(error: impl std::fmt::Display) -> ObjectError {
    ObjectError::Unavailable(error.to_string())
}

/// Extents that pending rows refer to, in memory and in spill runs, of these segments.
fn pending_extents(store: &Store, view: &ReadView, of: &BTreeSet<u64>) -> Result<Vec<(RowId, Extent)>> {
    let mut found = Vec::new();
    let mut look = |row: &RowId, head: &RowHead| -> Result<()> {
        let extents = match &head.data {
            HeadData::Empty | HeadData::Inline => return Ok(()),
            HeadData::One(extent) => vec![**extent],
            HeadData::Many(_) => extents_of(&store.driver.reader, head).map_err(unreadable)?,
        };
        found.extend(extents.into_iter().filter(|e| of.contains(&e.segment)).map(|e| (row.clone(), e)));
        Ok(())
    };
    for (row, head) in &view.core.overlay {
        look(row, head)?;
    }
    for run in &view.runs {
        for row in RowReader::scan(&**run, &[], &[]) {
            let (row, head) = row.map_err(unreadable)?;
            look(&row, &head)?;
        }
    }
    Ok(found)
}

/// All that the keymap and pending rows refer to in these segments.
fn referred(store: &Store, view: &ReadView, of: &BTreeSet<u64>) -> Result<Vec<(RowId, Extent)>> {
    let mut found = pending_extents(store, view, of)?;
    for segment in of {
        found.extend(referrers_of(&view.keymap, *segment).map_err(unreadable)?);
    }
    Ok(found)
}

/// Every extent of these segments that anything refers to.
pub(crate) fn live_extents(store: &Store, of: &BTreeSet<u64>) -> Result<Vec<Extent>> {
    Ok(referred(store, &store.driver.view(), of)?.into_iter().map(|(_, extent)| extent).collect())
}

/// Counts the live bytes of segments whose referrers have changed, or that are full since the last time.
pub(super) fn survey(store: &Store) -> Result<()> {
    let fresh = store.data.segments().into_iter().filter(|s| s.sealed && !s.surveyed);
    store.dirty.mark(fresh.map(|s| s.segment));
    let keymap = store.driver.engine.snapshot();
    for segment in store.dirty.take(SURVEY_MAX) {
        let referrers = referrers_of(&keymap, segment).map_err(unreadable)?;
        let live: BTreeSet<Extent> = referrers.into_iter().map(|(_, extent)| extent).collect();
        store.data.set_live(segment, live.iter().map(|e| store.data.stored_len(e)).sum());
    }
    Ok(())
}

/// Segments that are mostly dead, those that hold the least first. What only pending rows refer to counts as live.
async fn victims(store: &Arc<Store>) -> Result<Vec<u64>> {
    let below = u64::from(store.config.compact_below_percent);
    // A segment that still takes bodies is closed if enough of it is garbage, or if every byte counts.
    let enough = if store.space.admits(0) { store.config.data_segment_bytes / 4 } else { 0 };
    for open in store.data.segments().iter().filter(|s| !s.sealed && s.surveyed && s.bytes > enough) {
        if open.live_bytes * 100 <= open.bytes * below {
            store.data.seal(open.segment);
        }
    }
    let mut candidates = store.data.segments();
    candidates.retain(|s| s.surveyed && s.sealed && !s.in_flight && s.live_bytes * 100 <= s.bytes * below);
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let of: BTreeSet<u64> = candidates.iter().map(|s| s.segment).collect();
    let look = {
        let store = store.clone();
        move || {
            let view = store.driver.view();
            let pending = pending_extents(&store, &view, &of)?;
            let waiting = pending.iter().filter(|(row, _)| view.core.overlay.contains_key(row));
            let waiting: BTreeSet<u64> = waiting.map(|(_, extent)| extent.segment).collect();
            Ok::<_, ObjectError>((pending.into_iter().map(|(_, e)| e).collect::<BTreeSet<Extent>>(), waiting))
        }
    };
    let (pending, waiting) = tokio::task::spawn_blocking(look).await.map_err(unreadable)??;
    // A row that waits for the keymap is not moved before it is there.
    candidates.retain(|s| !waiting.contains(&s.segment));
    for extent in pending {
        let bytes = candidates.iter_mut().find(|s| s.segment == extent.segment).map(|s| &mut s.live_bytes);
        bytes.into_iter().for_each(|bytes| *bytes += store.data.stored_len(&extent));
    }
    candidates.retain(|s| s.live_bytes * 100 <= s.bytes * below);
    candidates.sort_by_key(|s| s.live_bytes);
    Ok(candidates.into_iter().take(VICTIMS_MAX).map(|s| s.segment).collect())
}

/// After a start: cuts garbage tails off the segments of dead incarnations, and has all segments surveyed.
pub(super) fn after_start(store: &Store) -> Result<()> {
    let all: BTreeSet<u64> = store.data.segments().iter().map(|s| s.segment).collect();
    let old: BTreeSet<u64> = all.iter().copied().filter(|s| store.data.is_of_dead_incarnation(*s)).collect();
    let view = store.driver.view();
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    let pending = pending_extents(store, &view, &old)?;
    let mut note = |extent: &Extent| {
        let end = ends.entry(extent.segment).or_default();
        *end = (*end).max(extent.offset + store.data.stored_len(extent));
    };
    pending.iter().for_each(|(_, extent)| note(extent));
    for segment in &old {
        let referrers = referrers_of(&view.keymap, *segment).map_err(unreadable)?;
        referrers.iter().for_each(|(_, extent)| note(extent));
    }
    for segment in &old {
        // A segment without any live byte is removed as a whole, by compaction.
        if let Some(end) = ends.get(segment) {
            let cut = store.data.truncate_dead(*segment, *end);
            let cut =
                cut.map_err(|source| ObjectError::Io { context: "cutting a segment".into(), source })?;
            if cut > 0 {
                tracing::info!(segment, bytes = cut, "cut the tail of an interrupted upload");
            }
        }
    }
    store.dirty.mark(all.into_iter());
    Ok(())
}

/// Empties and removes segments that are mostly dead. Gives the bytes freed.
pub(super) async fn compact(store: &Arc<Store>) -> Result<u64> {
    let mut condemned = BTreeSet::new();
    for segment in victims(store).await? {
        if store.data.condemn(segment) {
            store.driver.tell(Input::Condemn { segment, condemned: true });
            condemned.insert(segment);
        }
    }
    if condemned.is_empty() {
        return Ok(0);
    }
    let emptied = empty(store, &condemned).await;
    let mut freed = 0;
    for segment in condemned {
        if emptied.as_ref().is_ok_and(|emptied| emptied.contains(&segment)) {
            let removed = store.data.remove(segment);
            freed +=
                removed.map_err(|source| ObjectError::Io { context: "removing a segment".into(), source })?;
            tracing::info!(segment, "removed a data segment");
        } else {
            store.data.reprieve(segment);
            store.dirty.mark(std::iter::once(segment));
        }
        store.driver.tell(Input::Condemn { segment, condemned: false });
    }
    emptied.map(|_| freed)
}

/// Moves what is live out of condemned segments; gives those to which nothing refers any more.
async fn empty(store: &Arc<Store>, victims: &BTreeSet<u64>) -> Result<BTreeSet<u64>> {
    // The shard has heard of the condemnation when it answers: no later write refers to the victims.
    store.driver.sync().await.map_err(stopped)?;
    let rows: BTreeSet<RowId> = referred_now(store, victims).await?.into_iter().map(|(row, _)| row).collect();
    let moves = Moves { store, victims, placed: Mutex::default() };
    let mut running = stream::iter(rows).map(|row| moves.row(row)).buffer_unordered(MOVES_MAX);
    while let Some(moved) = running.next().await {
        moved?;
    }
    drop(running);
    drop(moves);
    store.driver.sync().await.map_err(stopped)?;
    let left = referred_now(store, victims).await?;
    let busy: BTreeSet<u64> = left.iter().map(|(_, extent)| extent.segment).collect();
    Ok(victims.difference(&busy).copied().collect())
}

async fn referred_now(store: &Arc<Store>, victims: &BTreeSet<u64>) -> Result<Vec<(RowId, Extent)>> {
    let (store, victims) = (store.clone(), victims.clone());
    let work = move || referred(&store, &store.driver.view(), &victims);
    tokio::task::spawn_blocking(work).await.map_err(unreadable)?
}

/// The new place of an extent's bytes, in flight for as long as rows may follow.
type Place = Arc<OnceCell<StagedExtents>>;

/// Moves rows; bytes that several rows share are written once.
struct Moves<'a> {
    store: &'a Arc<Store>,
    victims: &'a BTreeSet<u64>,
    placed: Mutex<BTreeMap<Extent, Place>>,
}

impl Moves<'_> {
    async fn row(&self, row: RowId) -> Result<()> {
        let view = self.store.driver.view();
        if view.core.overlay.contains_key(&row) {
            return Ok(());
        }
        let head = view.rows().get(&row).map_err(unreadable)?;
        let Some(head) = head.filter(|head| !head.is_tombstone()) else { return Ok(()) };
        let Ok((mut state, inline)) = records::read_state(&self.store.driver.reader, &head) else {
            // Moved meanwhile, or damaged: then its bytes stay where they are, and the check afterwards says so.
            return Ok(());
        };
        if !self.replace(&mut state, head.created).await? {
            return Ok(());
        }
        let Ok(name) = row.parse() else { return Ok(()) };
        let op = Op::Move {
            bucket: name.incarnation,
            key: Bytes::from(name.key),
            sub: name.sub,
            expect: head.guard,
            state,
            inline,
        };
        let request = WriteRequest { op, mode: terrane_keymap::class::ModeRequest::default() };
        match self.store.driver.write(request, None).await {
            Ok(_) | Err(WriteError::Conflict) => Ok(()),
            Err(error) => Err(stopped(error)),
        }
    }

    /// Replaces extents in victims by new ones; false if there are none.
    async fn replace(&self, state: &mut RowState, created: terrane_keymap::Lsn) -> Result<bool> {
        let (RowState::Object(payload) | RowState::Part(payload)) = state else { return Ok(false) };
        payload.created = Some(created);
        let Data::Extents(old) = &payload.data else { return Ok(false) };
        if !old.iter().any(|extent| self.victims.contains(&extent.segment)) {
            return Ok(false);
        }
        let mut new = Vec::with_capacity(old.len());
        for extent in old {
            if self.victims.contains(&extent.segment) {
                new.extend(self.place(extent).await?);
            } else {
                new.push(*extent);
            }
        }
        payload.data = Data::Extents(new);
        Ok(true)
    }

    async fn place(&self, extent: &Extent) -> Result<Vec<Extent>> {
        let place = self.placed.lock().entry(*extent).or_default().clone();
        let staged = place.get_or_try_init(|| self.rewrite(extent)).await?;
        Ok(staged.extents().to_vec())
    }

    /// As it was; what had one copy before there were several drives gets what new bytes get.
    fn redundancy(&self, extent: &Extent) -> Redundancy {
        let was = self.store.data.redundancy_of(extent.segment);
        let usable = was.filter(|was| was.check(self.store.data.drives().len()).is_ok());
        usable.unwrap_or_else(|| self.store.default_redundancy())
    }

    async fn rewrite(&self, extent: &Extent) -> Result<StagedExtents> {
        let failed = |error: DataError| ObjectError::Unavailable(format!("moving bytes: {error}"));
        let reader = ExtentReader::pin(&self.store.data, &[*extent], Arc::new(|_| {})).map_err(failed)?;
        let mut bytes = reader.stream(0..extent.len);
        let mut writer = self.store.data.writer(self.redundancy(extent)).await.map_err(failed)?;
        while let Some(chunk) = bytes.try_next().await? {
            writer.write(&chunk).await.map_err(failed)?;
        }
        let mut staged = writer.finish().await.map_err(failed)?;
        staged.submit();
        self.store.metrics.data_moved_bytes.inc_by(extent.len);
        Ok(staged)
    }
}

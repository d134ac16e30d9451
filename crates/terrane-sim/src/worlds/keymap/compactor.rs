//! Compaction: empties the log's oldest segment, and data segments, and removes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use terrane_keymap::class::ModeRequest;
use terrane_keymap::head::{HeadData, RowHead};
use terrane_keymap::keymap::{referrers_of, usage_of};
use terrane_keymap::record::{Data, Record, RowState};
use terrane_keymap::write::{NewData, NewPayload, Op};
use terrane_keymap::{Extent, Incarnation, Input, Locator, OpRef, RowId, Sub};
use terrane_log::LogError;

use super::history::{Event, History};
use super::machine::{Seen, extents_of, place, read_record};
use super::model::Bucket;
use crate::runner::Violation;

/// What is being emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Log(u64),
    Data(u64),
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Moving,
    /// Waits for the sync with this reference.
    Syncing(u64),
    Synced,
}

#[derive(Default)]
pub(super) struct Compactor {
    victim: Option<Victim>,
    stage: Stage,
    moves: usize,
    syncs: u64,
}

/// Entries of a data segment before the next one is begun.
const SEGMENT_ENTRIES: usize = 12;

/// Stores bytes; they are durable.
pub(super) fn store(data: &mut BTreeMap<u64, BTreeMap<u64, u64>>, tag: u64) -> Extent {
    let last =
        data.last_key_value().map_or(1, |(id, entries)| id + u64::from(entries.len() >= SEGMENT_ENTRIES));
    let segment = data.entry(last).or_default();
    let offset = segment.len() as u64 * 100;
    segment.insert(offset, tag);
    Extent { segment: last, offset, len: 100, crc: tag as u32 }
}

impl Compactor {
    pub(super) fn synced(&mut self, op_ref: OpRef) {
        if self.stage == Stage::Syncing(op_ref.0) {
            self.stage = Stage::Synced;
        }
    }

    pub(super) fn moved(&mut self, _well: bool) {
        self.moves = self.moves.saturating_sub(1);
    }
}

impl History<'_> {
    pub(super) fn compact(&mut self) -> Result<(), Violation> {
        self.queue.within(self.think * 3, Event::Compact);
        if self.machine.is_none() || self.seen.is_none() || self.compactor.moves > 0 {
            return Ok(());
        }
        match self.compactor.victim {
            None => self.choose_victim(),
            Some(Victim::Log(segment)) => self.empty_log(segment),
            Some(Victim::Data(segment)) => self.empty_data(segment),
        }
    }

    fn choose_victim(&mut self) -> Result<(), Violation> {
        let Some(machine) = &self.machine else { return Ok(()) };
        let (sealed, released) =
            (machine.reader.segments(), machine.released.from.map_or(0, |from| from.segment));
        let oldest = sealed.first().filter(|segment| segment.sealed && segment.id < released);
        let last = self.disks.data.last_key_value().map(|(id, _)| *id);
        let full: Vec<u64> = self.disks.data.keys().filter(|id| Some(**id) != last).copied().collect();
        self.compactor.stage = Stage::Moving;
        match oldest {
            Some(segment) if self.context.rng.one_in(2) || full.is_empty() => {
                self.compactor.victim = Some(Victim::Log(segment.id));
            }
            _ if !full.is_empty() => {
                let segment = *self.context.rng.pick(&full);
                self.compactor.victim = Some(Victim::Data(segment));
                self.feed(Input::Condemn { segment, condemned: true })?;
                return self.begin_sync();
            }
            _ => {}
        }
        Ok(())
    }

    fn begin_sync(&mut self) -> Result<(), Violation> {
        self.compactor.syncs += 1;
        let op_ref = OpRef(1 << 40 | self.compactor.syncs);
        self.compactor.stage = Stage::Syncing(op_ref.0);
        self.feed(Input::RequestSync { op_ref })
    }

    pub(super) fn give_up_compaction(&mut self) {
        let syncs = self.compactor.syncs;
        self.compactor = Compactor { syncs, ..Compactor::default() };
    }

    fn empty_log(&mut self, segment: u64) -> Result<(), Violation> {
        let (Some(machine), Some(seen)) = (&self.machine, &self.seen) else { return Ok(()) };
        if matches!(self.compactor.stage, Stage::Syncing(_)) {
            return Ok(());
        }
        let mut ops = Vec::new();
        let scanned = machine.reader.scan_segment(segment, |at, payload| {
            live_rows(seen, place(at), payload, &mut ops);
            Ok::<_, LogError>(())
        });
        if let Err(error) = scanned {
            return Err(Violation(format!("compaction of log segment {segment}: {error}")));
        }
        if !ops.is_empty() {
            ops.truncate(32);
            self.compactor.stage = Stage::Moving;
            return self.moves(ops);
        }
        if self.compactor.stage != Stage::Synced {
            return self.begin_sync();
        }
        let usage = usage_of(&self.disks.keymap.current).map_err(Violation::new)?;
        let used = usage.iter().any(|(id, _)| *id == segment);
        if used || !self.held.is_empty() {
            // Pending writes hide rows of it that the keymap still has; views may read it.
            self.held.pop();
            self.give_up_compaction();
            return Ok(());
        }
        self.give_up_compaction();
        self.context.coverage.hit("keymap.log_segment_removed");
        self.note(format_args!("remove log segment {segment}"));
        let removed = self.machine.as_mut().map(|machine| machine.log.remove_segment(segment));
        match removed {
            // Its name may be gone already: only a new start knows.
            Some(Err(error)) => self.feed(Input::LogFailed { why: error.to_string().into() }),
            _ => Ok(()),
        }
    }

    fn moves(&mut self, ops: Vec<Op>) -> Result<(), Violation> {
        self.compactor.moves += ops.len();
        for op in ops {
            self.ask(None, op, ModeRequest::default())?;
        }
        Ok(())
    }

    fn empty_data(&mut self, segment: u64) -> Result<(), Violation> {
        if matches!(self.compactor.stage, Stage::Syncing(_)) {
            return Ok(());
        }
        let Some(seen) = self.seen.clone() else { return Ok(()) };
        let mut rows: BTreeSet<RowId> = BTreeSet::new();
        let referrers = referrers_of(&self.disks.keymap.current, segment).map_err(Violation::new)?;
        rows.extend(referrers.into_iter().map(|(row, _)| row));
        let hidden = !rows.is_empty();
        let runs =
            seen.runs.values().flat_map(|run| run.entries.iter().map(|entry| (&entry.row, &entry.head)));
        for (row, head) in seen.view.overlay.iter().chain(runs) {
            if self.extents_of(head).iter().any(|extent| extent.segment == segment) {
                rows.insert(row.clone());
            }
        }
        let ops: Vec<Op> =
            rows.iter().filter_map(|row| self.move_away(&seen, row, segment)).take(8).collect();
        if !ops.is_empty() {
            return self.moves_or_give_up(segment, ops);
        }
        if rows.is_empty() && self.compactor.stage == Stage::Synced && !self.pinned(segment) {
            self.context.coverage.hit("keymap.data_segment_removed");
            self.note(format_args!("remove data segment {segment}"));
            self.disks.data.remove(&segment);
        } else if rows.is_empty() && self.compactor.stage == Stage::Moving {
            return self.begin_sync();
        }
        self.context.coverage.hit(if hidden {
            "keymap.data_segment_kept"
        } else {
            "keymap.data_segment_done"
        });
        self.give_up_compaction();
        self.held.pop();
        self.feed(Input::Condemn { segment, condemned: false })
    }

    fn moves_or_give_up(&mut self, segment: u64, ops: Vec<Op>) -> Result<(), Violation> {
        if self.context.rng.one_in(10) {
            self.give_up_compaction();
            return self.feed(Input::Condemn { segment, condemned: false });
        }
        self.compactor.stage = Stage::Moving;
        self.moves(ops)
    }

    /// Whether a view or a request that is under way may name the segment.
    fn pinned(&self, segment: u64) -> bool {
        let asked = self.asked.values().flat_map(|asked| asked.pins.iter().copied());
        let clients = self.clients.iter().flat_map(|client| client.pins());
        !self.held.is_empty() || asked.chain(clients).any(|pin| pin == segment)
    }

    /// The move of a row's bytes out of a segment, if its present state has any there.
    fn move_away(&mut self, seen: &Seen, row: &RowId, segment: u64) -> Option<Op> {
        let head = seen.rows(|rows| rows.get(row)).ok().flatten().filter(|head| !head.is_tombstone())?;
        let reader = &self.machine.as_ref()?.reader;
        let record = Record::decode(&read_record(reader, head.record).ok()?).ok()?;
        let name = row.parse().ok()?;
        let mut state = record.changes.iter().find(|change| change.sub == name.sub)?.state.clone();
        let (RowState::Object(payload) | RowState::Part(payload)) = &mut state else { return None };
        payload.created = Some(head.created);
        let Data::Extents(extents) = &mut payload.data else { return None };
        if !extents.iter().any(|extent| extent.segment == segment) {
            return None;
        }
        for extent in extents.iter_mut().filter(|extent| extent.segment == segment) {
            *extent = store(&mut self.disks.data, u64::from(extent.crc));
        }
        self.context.coverage.hit("keymap.bytes_moved");
        let (bucket, key, sub) = (name.incarnation, Bytes::from(name.key), name.sub);
        Some(Op::Move { bucket, key, sub, expect: head.guard, state, inline: Bytes::new() })
    }

    pub(super) fn extents_of(&self, head: &RowHead) -> Vec<Extent> {
        match (&head.data, &self.machine) {
            (HeadData::One(extent), _) => vec![**extent],
            (HeadData::Many(_), Some(machine)) => extents_of(&machine.reader, head).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// The payload of a row as a copy takes it.
    pub(super) fn payload_of(
        &self,
        bucket: Incarnation,
        key: &[u8],
        sub: Sub,
        head: &RowHead,
    ) -> Option<NewPayload> {
        let record = Record::decode(&read_record(&self.machine.as_ref()?.reader, head.record).ok()?).ok()?;
        if (record.incarnation, &record.key[..]) != (bucket, key) {
            return None;
        }
        let change = record.changes.iter().find(|change| change.sub == sub)?;
        let RowState::Object(payload) = &change.state else { return None };
        let data = match &payload.data {
            Data::Empty => NewData::Empty,
            Data::Inline => NewData::Inline(record.inline.clone()),
            Data::Extents(extents) => NewData::Extents(extents.clone()),
        };
        Some(NewPayload {
            size: payload.size,
            mtime: payload.mtime,
            etag: payload.etag.clone(),
            meta: payload.meta.clone(),
            data,
            ..NewPayload::default()
        })
    }

    /// GET of the bytes: record and extents are there and hold what was stored.
    pub(super) fn check_content(
        &self,
        bucket: &Bucket,
        key: &[u8],
        sub: Sub,
        head: &RowHead,
    ) -> Result<(), Violation> {
        let Some(machine) = &self.machine else { return Ok(()) };
        let lost = |what: String| Violation(format!("bytes of {key:?} {sub:?} ({head:?}) are lost: {what}"));
        let row = bucket.rows.get(&(key.to_vec(), sub));
        let Some(object) = row.and_then(|row| row.object.as_ref()) else { return Ok(()) };
        if let Err(error) = machine.reader.read(super::machine::record_at(head.record)) {
            return Err(lost(error.to_string()));
        }
        let payload = self.payload_of(bucket.incarnation, key, sub, head);
        let payload = payload.ok_or_else(|| lost("the record is another's".into()))?;
        if payload.meta[..] != object.meta[..] {
            return Err(lost("attributes of another write".into()));
        }
        if let NewData::Extents(extents) = &payload.data {
            for extent in extents {
                let stored =
                    self.disks.data.get(&extent.segment).and_then(|entries| entries.get(&extent.offset));
                if stored.map(|tag| *tag as u32) != Some(extent.crc) {
                    return Err(lost(format!("{extent:?} is gone")));
                }
            }
        }
        Ok(())
    }
}

/// Moves of the rows whose present state is in this record.
fn live_rows(seen: &Seen, at: Locator, payload: &[u8], ops: &mut Vec<Op>) {
    let Ok(record) = Record::decode(&Bytes::copy_from_slice(payload)) else { return };
    for change in &record.changes {
        let head: Option<Arc<RowHead>> = seen.rows(|rows| rows.get(&record.row(change))).ok().flatten();
        let Some(head) = head.filter(|head| head.record == at && !head.is_tombstone()) else { continue };
        let mut state = change.state.clone();
        match &mut state {
            RowState::Object(payload) | RowState::Part(payload) => payload.created = Some(head.created),
            RowState::DeleteMarker { created, .. } => *created = Some(head.created),
            _ => {}
        }
        ops.push(Op::Move {
            bucket: record.incarnation,
            key: record.key.clone(),
            sub: change.sub,
            expect: head.guard,
            state,
            inline: record.inline.clone(),
        });
    }
}

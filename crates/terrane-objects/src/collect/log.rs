//! The log's segments: records that hold the present state of a row are the only copy of it, so a segment is
//! emptied before it is removed.
//!
//! Only the oldest segment is ever removed. Then a tombstone in it has nothing left to hide: whatever it killed lay
//! in an older segment, or was refused when it was to be moved behind it. So tombstones need not be moved, and a
//! keymap rebuilt from what is left resurrects nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use terrane_keymap::keymap::usage_of;
use terrane_keymap::reader::RowReader;
use terrane_keymap::record::RowState;
use terrane_keymap::write::{Op, WriteError, WriteRequest};
use terrane_keymap::{Locator, Record};
use terrane_log::{LogError, SegmentInfo};

use crate::driver::{ReadView, locator};
use crate::service::{ObjectError, Result};
use crate::store::{Store, stopped};

/// Moves on their way at a time.
const MOVES_MAX: usize = 64;
/// Moves computed at a time.
const BATCH_MAX: usize = 1_024;

fn unreadable(error: impl std::fmt::Display) -> ObjectError {
    ObjectError::Unavailable(error.to_string())
}

/// The oldest segment, if the log holds enough garbage to be worth emptying it.
///
/// Only segments that a start would not replay are looked at: what their records are worth is known, for each is in the
/// keymap or in a spill run, or is garbage.
fn victim(store: &Store) -> Result<Option<SegmentInfo>> {
    let replay = store.driver.replay().from.map_or(0, |from| from.segment);
    let segments: Vec<SegmentInfo> =
        store.driver.reader.segments().into_iter().filter(|s| s.sealed && s.id < replay).collect();
    let Some(oldest) = segments.first() else { return Ok(None) };
    let usage = usage(&store.driver.view())?;
    let total: u64 = segments.iter().map(|s| s.bytes).sum();
    let live: u64 = usage.range(..replay).map(|(_, bytes)| *bytes).sum();
    let worth = !usage.contains_key(&oldest.id)
        || live * 100 <= total * u64::from(store.config.compact_below_percent);
    Ok(worth.then_some(*oldest))
}

/// Bytes of records that rows in the keymap and in spill runs refer to, by segment.
fn usage(view: &ReadView) -> Result<BTreeMap<u64, u64>> {
    let mut usage: BTreeMap<u64, u64> = usage_of(&view.keymap).map_err(unreadable)?.into_iter().collect();
    for run in &view.runs {
        for (segment, bytes) in run.log_usage().map_err(unreadable)? {
            *usage.entry(*segment).or_default() += bytes;
        }
    }
    Ok(usage)
}

/// Empties and removes the oldest segment if that is worth while. Gives the bytes freed.
pub(super) async fn compact(store: &Arc<Store>) -> Result<u64> {
    let look = {
        let store = store.clone();
        move || victim(&store)
    };
    let Some(victim) = tokio::task::spawn_blocking(look).await.map_err(unreadable)?? else { return Ok(0) };
    let mut from = None;
    loop {
        let (moves, next) = live_records(store, victim.id, from).await?;
        let mut running = stream::iter(moves).map(|op| move_record(store, op)).buffer_unordered(MOVES_MAX);
        while let Some(moved) = running.next().await {
            moved?;
        }
        match next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    store.driver.sync().await.map_err(stopped)?;
    let keymap = store.driver.engine.snapshot();
    let usage = tokio::task::spawn_blocking(move || usage_of(&keymap)).await.map_err(unreadable)?;
    let used = usage.map_err(unreadable)?.iter().any(|(id, bytes)| *id == victim.id && *bytes > 0);
    let (left, _) = live_records(store, victim.id, None).await?;
    if used || !left.is_empty() {
        // Pending writes hide rows of the victim that the keymap still has: wait until they are applied.
        return Ok(0);
    }
    let removed = store.driver.with_log(move |log| log.remove_segment(victim.id)).await.map_err(stopped)?;
    removed.map_err(unreadable)?;
    tracing::info!(segment = victim.id, bytes = victim.bytes, "removed a log segment");
    Ok(victim.bytes)
}

async fn move_record(store: &Arc<Store>, op: Op) -> Result<()> {
    let request = WriteRequest { op, mode: terrane_keymap::class::ModeRequest::default() };
    match store.driver.write(request, None).await {
        Ok(_) | Err(WriteError::Conflict) => Ok(()),
        Err(error) => Err(stopped(error)),
    }
}

/// Moves of the records of a segment that rows point to, from a place on; and where to go on.
async fn live_records(
    store: &Arc<Store>,
    segment: u64,
    from: Option<Locator>,
) -> Result<(Vec<Op>, Option<Locator>)> {
    let store = store.clone();
    let work = move || {
        let (mut moves, mut next) = (Vec::new(), None);
        let view = store.driver.view();
        let rows = view.rows();
        let visit = |place, payload: &[u8]| -> Result<(), Stop> {
            let place = locator(place);
            if from.is_some_and(|from| place < from) {
                return Ok(());
            }
            if moves.len() >= BATCH_MAX {
                next = Some(place);
                return Err(Stop::Enough);
            }
            let record = Record::decode(&Bytes::copy_from_slice(payload)).map_err(Stop::failed)?;
            for change in &record.changes {
                let head = rows.get(&record.row(change)).map_err(Stop::failed)?;
                let Some(head) = head.filter(|head| head.record == place && !head.is_tombstone()) else {
                    continue;
                };
                moves.push(Op::Move {
                    bucket: record.incarnation,
                    key: record.key.clone(),
                    sub: change.sub,
                    expect: head.guard,
                    state: dated(change.state.clone(), head.created),
                    inline: inline_of(&change.state, &record.inline),
                });
            }
            Ok(())
        };
        match store.driver.reader.scan_segment(segment, visit) {
            Ok(()) | Err(Stop::Enough) => Ok((moves, next)),
            Err(Stop::Failed(why)) => Err(ObjectError::Corrupt(why)),
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(unreadable)?
}

/// A state that says when it was created, for it leaves the record that said so.
fn dated(mut state: RowState, lsn: terrane_keymap::Lsn) -> RowState {
    match &mut state {
        RowState::Object(payload) | RowState::Part(payload) => payload.created = Some(lsn),
        RowState::DeleteMarker { created, .. } => *created = Some(lsn),
        _ => {}
    }
    state
}

fn inline_of(state: &RowState, inline: &Bytes) -> Bytes {
    use terrane_keymap::record::Data;
    match state {
        RowState::Object(payload) | RowState::Part(payload) if payload.data == Data::Inline => inline.clone(),
        _ => Bytes::new(),
    }
}

/// Why a scan ended early.
enum Stop {
    Enough,
    Failed(String),
}

impl Stop {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::failed(error)
    }
}

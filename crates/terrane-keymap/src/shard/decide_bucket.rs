//! Decisions about buckets, and moves.

use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::decide::{Decided, Decision, Draft};
use super::decide_upload::{abort, drop_upload};
use super::inflight::BucketEffect;
use crate::bucket::{BucketState, Versioning};
use crate::class::Class;
use crate::ids::Incarnation;
use crate::lookup;
use crate::reader::RowReader;
use crate::record::{Change, Data, RowState};
use crate::rows::{self, RowId, Space, Sub};
use crate::write::{Op, WriteError};

/// The record of a bucket's state; buckets are read from memory, so nobody waits for the keymap.
fn bucket_draft(state: Arc<BucketState>, row: RowState, effect: BucketEffect) -> Draft {
    let key = Bytes::copy_from_slice(state.name.as_bytes());
    let mut draft = Draft::new(Incarnation::BUCKETS, &key, vec![Change::new(Sub::Null, row)], state.created);
    draft.class = Some(Class::High);
    draft.bucket = Some(effect);
    draft.answer_bucket = Some(state);
    draft
}

impl Shard {
    pub(super) fn decide_bucket(&self, op: &Op, rows: &dyn RowReader) -> Decided {
        let table = &self.buckets.sequenced;
        match op {
            Op::CreateBucket { name, incarnation, owner, region, limit } => {
                if *incarnation == Incarnation::BUCKETS || table.find(*incarnation).is_some() {
                    return Err(WriteError::Malformed("incarnation"));
                }
                if let Some(taken) = table.get(name) {
                    return Err(WriteError::BucketExists(taken.owner.clone()));
                }
                if table.owned_by(owner) >= *limit {
                    return Err(WriteError::TooManyBuckets(*limit));
                }
                let state = Arc::new(BucketState {
                    name: name.clone(),
                    incarnation: *incarnation,
                    owner: owner.clone(),
                    created: self.now,
                    region: region.clone(),
                    versioning: Versioning::Off,
                    default_mode: None,
                    settings: Default::default(),
                });
                Ok(set_bucket(state).into())
            }
            Op::ChangeBucket { change, .. } => {
                let state = self.bucket_of(op).ok_or(WriteError::NoSuchBucket)?;
                let turns_off = matches!(change, crate::bucket::BucketChange::Versioning(Versioning::Off));
                if turns_off && state.versioning != Versioning::Off {
                    return Err(WriteError::Malformed("versioning cannot be turned off"));
                }
                Ok(set_bucket(Arc::new(state.changed(change))).into())
            }
            _ => {
                let state = self.bucket_of(op).ok_or(WriteError::NoSuchBucket)?;
                self.delete_bucket(state, rows)
            }
        }
    }

    /// A barrier: nothing sequenced later finds the bucket. Unfinished uploads are dropped along with it.
    fn delete_bucket(&self, state: &Arc<BucketState>, rows: &dyn RowReader) -> Decided {
        let incarnation = state.incarnation;
        if lookup::has_objects(rows, incarnation)? {
            return Err(WriteError::BucketNotEmpty);
        }
        let mut drafts = Vec::new();
        let mut dropped = 0;
        let from = rows::space_prefix(incarnation, Space::Upload);
        for row in rows.scan(&from, &rows::prefix_end(&from)) {
            let (row, head) = row?;
            let Ok(name) = row.parse() else { continue };
            let Sub::Upload(upload) = name.sub else { continue };
            if head.is_tombstone() {
                continue;
            }
            let changes = drop_upload(rows, incarnation, &name.key, upload)?;
            dropped += changes.len();
            if dropped > self.config.delete_bucket_uploads_max {
                return Err(WriteError::BucketNotEmpty);
            }
            drafts.push(abort(incarnation, &name.key.into(), changes));
        }
        let effect = BucketEffect::Remove(Arc::clone(state));
        let mut draft = bucket_draft(Arc::clone(state), RowState::Tombstone, effect);
        draft.reserved = true;
        drafts.push(draft);
        Ok(Decision::Log(drafts))
    }

    /// Compare-and-set of a row's place: refused unless the row still is what compaction read.
    pub(super) fn decide_move(&self, op: &Op, rows: &dyn RowReader) -> Decided {
        let Op::Move { bucket, key, sub, expect, state, inline } = op else {
            return Err(WriteError::Malformed("operation"));
        };
        let row = RowId::new(*bucket, key, *sub);
        let head = rows.get(&row)?;
        let same = head.is_some_and(|head| head.guard == *expect && !head.is_tombstone());
        // What waits for the keymap anyway is moved by a later attempt.
        if !same || self.pending.overlay.contains_key(&row) || self.inflight.get(&row)?.is_some() {
            return Err(WriteError::Conflict);
        }
        if let RowState::Object(payload) | RowState::Part(payload) = state
            && let Some(extent) = payload.data.extents().iter().find(|e| self.condemned.contains(&e.segment))
        {
            return Err(WriteError::SourceMoved(extent.segment));
        }
        let change = Change { sub: *sub, guard: Some(expect.moved()), state: state.clone() };
        let mut draft = Draft::new(*bucket, key, vec![change], self.now);
        draft.class = Some(Class::Move);
        draft.reserved = true;
        if let RowState::Object(payload) = state
            && payload.data == Data::Inline
        {
            draft.inline = inline.clone();
        }
        Ok(draft.into())
    }
}

fn set_bucket(state: Arc<BucketState>) -> Draft {
    let row = RowState::Bucket(Box::new((*state).clone()));
    bucket_draft(Arc::clone(&state), row, BucketEffect::Set(state))
}

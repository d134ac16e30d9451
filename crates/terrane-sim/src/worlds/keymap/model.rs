//! What clients are to see, computed from their requests alone: a naive store without log, overlay or keymap.
//! Persistent maps make every past state cheap to keep.

use imbl::OrdMap;
use terrane_keymap::bucket::{BucketChange, Versioning};
use terrane_keymap::write::{Condition, EtagSet, NewPayload, Op, WriteError};
use terrane_keymap::{Guard, Incarnation, Lsn, Sub};

/// One object, version or delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The write that made this state.
    pub(super) lsn: Lsn,
    /// The write that made the version.
    pub(super) created: Lsn,
    /// `None`: a delete marker.
    pub(super) object: Option<Object>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) meta: Vec<u8>,
    pub(super) mtime: u64,
    pub(super) upload: Option<Lsn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) lsn: Lsn,
    pub(super) etag: String,
    pub(super) size: u64,
}

/// Parts by number.
pub(super) type Parts = OrdMap<u32, Part>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) incarnation: Incarnation,
    pub(super) versioning: Versioning,
    pub(super) changes: u64,
    pub(super) rows: OrdMap<(Vec<u8>, Sub), Row>,
    pub(super) uploads: OrdMap<(Vec<u8>, Lsn), Parts>,
}

/// One state of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) buckets: OrdMap<String, Bucket>,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// These states, one per record; which row the last wrote, and whether that is about a delete marker.
    Logged { states: Vec<State>, sub: Sub, delete_marker: bool },
    /// Nothing to do.
    Nothing,
    /// Refused.
    Refused(WriteError),
}

fn refused(error: WriteError) -> Outcome {
    Outcome::Refused(error)
}

impl Bucket {
    /// All live rows of a key, from the newest.
    pub(super) fn versions(&self, key: &[u8]) -> Vec<(Sub, Row)> {
        let from = (key.to_vec(), Sub::Null);
        let rows = self.rows.range(from..).take_while(|((own, _), _)| own == key);
        let mut rows: Vec<_> = rows.map(|((_, sub), row)| (*sub, row.clone())).collect();
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.created));
        rows
    }

    pub(super) fn current(&self, key: &[u8]) -> Option<(Sub, Row)> {
        self.versions(key).into_iter().next()
    }

    /// Whether a write's condition holds; a delete marker counts as nothing.
    fn check(&self, key: &[u8], condition: &Condition) -> Result<(), WriteError> {
        let object = self.current(key).and_then(|(_, row)| row.object);
        check(condition, object.as_ref().map(|object| Some(&*object.etag)))
    }

    /// What a delete would hide or remove.
    fn doomed(&self, key: &[u8], version: Option<Sub>) -> Option<Row> {
        match version {
            None => self.current(key).map(|(_, row)| row),
            Some(sub) => self.rows.get(&(key.to_vec(), sub)).cloned(),
        }
    }

    fn target(&self, lsn: Lsn) -> Sub {
        if self.versioning == Versioning::Enabled { Sub::Version(lsn) } else { Sub::Null }
    }
}

/// `there`: the ETag of what is there, if it has one (a delete marker has none).
fn check(condition: &Condition, there: Option<Option<&str>>) -> Result<(), WriteError> {
    let hit = |set: &EtagSet| match (set, there) {
        (_, None) => false,
        (EtagSet::Any, Some(_)) => true,
        (EtagSet::Tags(tags), Some(etag)) => tags.iter().any(|tag| Some(&**tag) == etag),
    };
    match (&condition.if_match, &condition.if_none_match) {
        (Some(_), _) if there.is_none() => Err(WriteError::NoSuchKey),
        (Some(set), _) if !hit(set) => Err(WriteError::PreconditionFailed("If-Match")),
        (_, Some(set)) if hit(set) => Err(WriteError::PreconditionFailed("If-None-Match")),
        _ => Ok(()),
    }
}

fn object(payload: &NewPayload, upload: Option<Lsn>) -> Object {
    Object {
        etag: payload.etag.to_string(),
        size: payload.size,
        meta: payload.meta.to_vec(),
        mtime: payload.mtime.0,
        upload,
    }
}

impl State {
    fn named(&self, incarnation: Incarnation) -> Option<(&String, &Bucket)> {
        self.buckets.iter().find(|(_, bucket)| bucket.incarnation == incarnation)
    }

    pub(super) fn bucket(&self, incarnation: Incarnation) -> Option<&Bucket> {
        self.named(incarnation).map(|(_, bucket)| bucket)
    }

    fn with(&self, name: &str, bucket: Bucket) -> State {
        State { buckets: self.buckets.update(name.to_owned(), bucket) }
    }

    fn logged(&self, name: &str, bucket: Bucket, sub: Sub, delete_marker: bool) -> Outcome {
        Outcome::Logged { states: vec![self.with(name, bucket)], sub, delete_marker }
    }

    /// Evaluates a request whose first record would get the LSN `lsn`.
    pub(super) fn evaluate(&self, op: &Op, lsn: Lsn) -> Outcome {
        let incarnation = match op {
            Op::CreateBucket { name, incarnation, .. } => return self.create_bucket(name, *incarnation),
            Op::DeleteBucket { name, incarnation } => return self.delete_bucket(name, *incarnation),
            Op::ChangeBucket { name, incarnation, change } => {
                return self.change_bucket(name, *incarnation, change);
            }
            Op::Move { sub, .. } => {
                return Outcome::Logged { states: vec![self.clone()], sub: *sub, delete_marker: false };
            }
            Op::Put { bucket, .. }
            | Op::Delete { bucket, .. }
            | Op::Change { bucket, .. }
            | Op::CreateUpload { bucket, .. }
            | Op::PutPart { bucket, .. }
            | Op::Complete { bucket, .. }
            | Op::Abort { bucket, .. } => *bucket,
        };
        let Some((name, bucket)) = self.named(incarnation) else { return refused(WriteError::NoSuchBucket) };
        match op {
            Op::Put { .. } | Op::Delete { .. } | Op::Change { .. } => self.object_op(name, bucket, op, lsn),
            _ => self.upload_op(name, bucket, op, lsn),
        }
    }

    fn create_bucket(&self, name: &str, incarnation: Incarnation) -> Outcome {
        if self.buckets.contains_key(name) {
            return refused(WriteError::BucketExists(terrane_types::AccountId::root()));
        }
        let bucket = Bucket {
            incarnation,
            versioning: Versioning::Off,
            changes: 0,
            rows: OrdMap::new(),
            uploads: OrdMap::new(),
        };
        self.logged(name, bucket, Sub::Null, false)
    }

    fn delete_bucket(&self, name: &str, incarnation: Incarnation) -> Outcome {
        let Some(bucket) = self.buckets.get(name).filter(|bucket| bucket.incarnation == incarnation) else {
            return refused(WriteError::NoSuchBucket);
        };
        if !bucket.rows.is_empty() {
            return refused(WriteError::BucketNotEmpty);
        }
        let (mut states, mut left) = (Vec::new(), bucket.clone());
        for upload in bucket.uploads.keys() {
            left.uploads.remove(upload);
            states.push(self.with(name, left.clone()));
        }
        states.push(State { buckets: self.buckets.without(name) });
        Outcome::Logged { states, sub: Sub::Null, delete_marker: false }
    }

    fn change_bucket(&self, name: &str, incarnation: Incarnation, change: &BucketChange) -> Outcome {
        let Some(bucket) = self.buckets.get(name).filter(|bucket| bucket.incarnation == incarnation) else {
            return refused(WriteError::NoSuchBucket);
        };
        let mut next = bucket.clone();
        next.changes += 1;
        if let BucketChange::Versioning(versioning) = change {
            next.versioning = *versioning;
        }
        self.logged(name, next, Sub::Null, false)
    }

    fn object_op(&self, name: &str, bucket: &Bucket, op: &Op, lsn: Lsn) -> Outcome {
        let mut next = bucket.clone();
        match op {
            Op::Put { key, object: payload, condition, source, .. } => {
                if let Some((row, guard)) = source
                    && self.lsn_of(row) != Some(guard.lsn)
                {
                    return refused(WriteError::Conflict);
                }
                if let Err(error) = bucket.check(key, condition) {
                    return refused(error);
                }
                let sub = bucket.target(lsn);
                let row = Row { lsn, created: lsn, object: Some(object(payload, None)) };
                next.rows.insert((key.to_vec(), sub), row);
                self.logged(name, next, sub, false)
            }
            Op::Delete { key, version, condition, .. } => {
                let doomed = bucket.doomed(key, *version);
                let etag = doomed.as_ref().map(|row| row.object.as_ref().map(|object| &*object.etag));
                match etag {
                    None if *condition != Condition::default() => return Outcome::Nothing,
                    None => {}
                    Some(_) => {
                        if let Err(error) = check(condition, etag) {
                            return refused(error);
                        }
                    }
                }
                if version.is_none() && bucket.versioning != Versioning::Off {
                    let sub = bucket.target(lsn);
                    next.rows.insert((key.to_vec(), sub), Row { lsn, created: lsn, object: None });
                    return self.logged(name, next, sub, true);
                }
                let sub = version.unwrap_or(Sub::Null);
                match next.rows.remove(&(key.to_vec(), sub)) {
                    None => Outcome::Nothing,
                    Some(row) => self.logged(name, next, sub, row.object.is_none()),
                }
            }
            Op::Change { key, sub, expect, object: payload, .. } => {
                let row = bucket.rows.get(&(key.to_vec(), *sub));
                let Some((row, old)) = row.and_then(|row| Some((row, row.object.as_ref()?))) else {
                    return refused(WriteError::NoSuchVersion);
                };
                if row.lsn != expect.lsn {
                    return refused(WriteError::Conflict);
                }
                let changed = Row { lsn, created: row.created, object: Some(object(payload, old.upload)) };
                next.rows.insert((key.to_vec(), *sub), changed);
                self.logged(name, next, *sub, false)
            }
            _ => unreachable!("an object operation"),
        }
    }

    fn lsn_of(&self, row: &terrane_keymap::RowId) -> Option<Lsn> {
        let name = row.parse().ok()?;
        let bucket = self.bucket(name.incarnation)?;
        bucket.rows.get(&(name.key, name.sub)).map(|row| row.lsn)
    }

    fn upload_op(&self, name: &str, bucket: &Bucket, op: &Op, lsn: Lsn) -> Outcome {
        let mut next = bucket.clone();
        match op {
            Op::CreateUpload { key, .. } => {
                next.uploads.insert((key.to_vec(), lsn), Parts::new());
                self.logged(name, next, Sub::Upload(lsn), false)
            }
            Op::PutPart { key, upload, number, part, .. } => {
                let Some(parts) = next.uploads.get_mut(&(key.to_vec(), *upload)) else {
                    return refused(WriteError::NoSuchUpload);
                };
                parts.insert(*number, Part { lsn, etag: part.etag.to_string(), size: part.size });
                self.logged(name, next, Sub::Part(*upload, *number), false)
            }
            Op::Abort { key, upload, .. } => match next.uploads.remove(&(key.to_vec(), *upload)) {
                None => refused(WriteError::NoSuchUpload),
                Some(_) => self.logged(name, next, Sub::Upload(*upload), false),
            },
            Op::Complete { key, upload, parts, object: payload, condition, .. } => {
                let Some(stored) = next.uploads.remove(&(key.to_vec(), *upload)) else {
                    let current = bucket.current(key).and_then(|(_, row)| row.object);
                    let repeated = current.is_some_and(|object| object.upload == Some(*upload));
                    return if repeated { Outcome::Nothing } else { refused(WriteError::NoSuchUpload) };
                };
                let expected: Vec<(u32, Guard)> = parts.iter().map(|p| (p.number, p.expect)).collect();
                if let Some(error) = wrong_part(&stored, &expected) {
                    return refused(error);
                }
                if let Err(error) = bucket.check(key, condition) {
                    return refused(error);
                }
                let sub = bucket.target(lsn);
                let row = Row { lsn, created: lsn, object: Some(object(payload, Some(*upload))) };
                next.rows.insert((key.to_vec(), sub), row);
                self.logged(name, next, sub, false)
            }
            _ => unreachable!("an upload operation"),
        }
    }
}

fn wrong_part(stored: &Parts, expected: &[(u32, Guard)]) -> Option<WriteError> {
    expected.iter().find_map(|(number, guard)| match stored.get(number) {
        None => Some(WriteError::InvalidPart(*number)),
        Some(part) if part.lsn != guard.lsn => Some(WriteError::Conflict),
        Some(_) => None,
    })
}

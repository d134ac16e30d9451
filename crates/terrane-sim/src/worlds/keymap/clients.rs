//! Clients: each has one request at a time, on few keys, so that they get in each other's way.

use bytes::Bytes;
use terrane_keymap::bucket::{BucketChange, Versioning};
use terrane_keymap::class::{ExplicitMode, ModeRequest, Priority};
use terrane_keymap::completion::EventKind;
use terrane_keymap::list::{ListKind, ListQuery, ListStart};
use terrane_keymap::write::{
    Condition, EtagSet, NewData, NewPayload, Op, PartRef, WriteError, WriteRequest, Written,
};
use terrane_keymap::{Extent, Guard, Incarnation, Input, Lsn, OpRef, Output, RowId, Sub, lookup};

use super::compare;
use super::history::{Asked, Entry, Event, History};
use super::machine::{Machine, Seen};
use super::model::{Bucket, Outcome, State};
use crate::runner::Violation;

const KEYS: [&[u8]; 9] =
    [b"a", b"a/1", b"a/2", b"a/x/1", b"b", b"b\0c", b"c/", b"c/1", "\u{e9}/\u{1f980}".as_bytes()];
const NAMES: [&str; 2] = ["one", "two"];
const DELAYS_MS: [u64; 5] = [1_000, 3_000, 60_000, 3_600_000, 7 * 24 * 3_600_000];

/// What a client remembers between its requests.
#[derive(Default)]
pub(super) struct Client {
    busy: bool,
    /// Where its listing goes on.
    listing: Option<(Incarnation, ListQuery)>,
    /// A copy whose source it has read some time ago.
    copying: Option<(NewPayload, Vec<u64>)>,
}

impl Client {
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Segments that it may still name in a request.
    pub(super) fn pins(&self) -> impl Iterator<Item = u64> {
        self.copying.iter().flat_map(|(_, pins)| pins.iter().copied())
    }
}

impl History<'_> {
    pub(super) fn client_step(&mut self, client: usize) -> Result<(), Violation> {
        if !self.clients[client].busy && !self.healing {
            self.queue.within(self.think, Event::Client(client));
            if self.machine.is_some() && self.seen.is_some() {
                if self.context.rng.one_in(3) {
                    self.read(client)?;
                } else {
                    self.write_something(client)?;
                }
            }
        }
        Ok(())
    }

    /// A request of a client is answered; it goes on thinking.
    pub(super) fn answered(
        &mut self,
        client: usize,
        _asked: &Asked,
        _result: &Result<Box<Written>, WriteError>,
    ) {
        self.clients[client].busy = false;
        self.queue.within(self.think, Event::Client(client));
    }

    fn read(&mut self, client: usize) -> Result<(), Violation> {
        let old = !self.held.is_empty() && self.context.rng.one_in(4);
        let seen = if old { self.context.rng.pick(&self.held).clone() } else { self.fresh_view()? };
        if !old && self.held.len() < 4 && self.context.rng.one_in(10) {
            self.held.push(seen.clone());
        }
        let Some(bucket) = self.some_bucket(&seen.model) else { return Ok(()) };
        let key = *self.context.rng.pick(&KEYS);
        match self.context.rng.below(4) {
            0 => {
                let found = seen.rows(|rows| compare::get(rows, &bucket, key))?;
                self.context.coverage.hit(if found.is_some() { "keymap.got" } else { "keymap.got_nothing" });
                match found {
                    Some((sub, head)) => self.check_content(&bucket, key, sub, &head),
                    None => Ok(()),
                }
            }
            1 => {
                let sub = self.some_version(&bucket, key);
                seen.rows(|rows| compare::get_version(rows, &bucket, key, sub))
            }
            _ => self.list(client, &seen, &bucket),
        }
    }

    /// The newest view, which shows everything that anybody was told of.
    fn fresh_view(&self) -> Result<Seen, Violation> {
        match &self.seen {
            Some(seen) if seen.view.lsn >= self.acknowledged => Ok(seen.clone()),
            _ => Err(Violation(format!("readers do not see {}, which is acknowledged", self.acknowledged))),
        }
    }

    fn some_bucket(&mut self, state: &State) -> Option<Bucket> {
        let name = *self.context.rng.pick(&NAMES);
        state.buckets.get(name).or_else(|| state.buckets.values().next()).cloned()
    }

    fn some_version(&mut self, bucket: &Bucket, key: &[u8]) -> Sub {
        let versions = bucket.versions(key);
        if versions.is_empty() || self.context.rng.one_in(6) {
            return Sub::Null;
        }
        self.context.rng.pick(&versions).0
    }

    fn list(&mut self, client: usize, seen: &Seen, bucket: &Bucket) -> Result<(), Violation> {
        let rng = &mut self.context.rng;
        let fresh = ListQuery {
            incarnation: bucket.incarnation,
            versioning: bucket.versioning,
            kind: *rng.pick(&[ListKind::Current, ListKind::Versions, ListKind::Uploads]),
            prefix: rng.pick(&[&b""[..], b"", b"a", b"a/", b"zzz"]).to_vec(),
            delimiter: rng.pick(&[&b""[..], b"/"]).to_vec(),
            start: if rng.one_in(4) {
                ListStart::AfterKey(rng.pick(&KEYS).to_vec())
            } else {
                ListStart::Beginning
            },
            max: rng.range(1..6) as usize,
        };
        let going_on = self.clients[client].listing.take().filter(|(of, _)| *of == bucket.incarnation);
        let mut query = going_on.map_or(fresh, |(_, query)| query);
        query.versioning = bucket.versioning;
        let next = seen.rows(|rows| compare::page(rows, bucket, &query))?;
        self.context.coverage.hit("keymap.listed");
        if let Some(next) = next {
            self.context.coverage.hit("keymap.list_truncated");
            let token = ListStart::decode(&next.encode()).map_err(Violation::new)?;
            query.start = token;
            self.clients[client].listing = Some((bucket.incarnation, query));
        }
        Ok(())
    }

    fn new_payload(&mut self) -> NewPayload {
        self.tags += 1;
        let tag = self.tags;
        let mtime = self.now();
        let rng = &mut self.context.rng;
        let data = match rng.below(6) {
            0 => NewData::Empty,
            1 | 2 => {
                let extents =
                    (0..rng.range(1..4)).map(|_| super::compactor::store(&mut self.disks.data, tag));
                NewData::Extents(extents.collect())
            }
            _ => NewData::Inline(Bytes::from(tag.to_be_bytes().repeat(rng.range(1..30) as usize))),
        };
        NewPayload {
            size: tag % 1_000,
            mtime,
            etag: format!("{tag:032x}").as_str().into(),
            meta: Bytes::from(tag.to_be_bytes().to_vec()),
            data,
            ..NewPayload::default()
        }
    }

    /// A write whose record is of the same length whenever it is asked for.
    pub(super) fn same_put(&mut self, bucket: Incarnation) -> Op {
        let mut object = self.new_payload();
        let tag = self.tags.to_be_bytes();
        object.data = NewData::Inline(Bytes::from(tag.repeat(self.context.rng.range(1..150) as usize)));
        let (key, condition) = (Bytes::from_static(KEYS[0]), Condition::default());
        Op::Put { bucket, key, object, condition, source: None, event: EventKind::Put }
    }

    fn some_mode(&mut self) -> ModeRequest {
        let rng = &mut self.context.rng;
        let explicit = match rng.weighted(&[5, 3, 3, 4]) {
            0 => None,
            1 => Some(ExplicitMode::Sync),
            2 => Some(ExplicitMode::Async),
            _ => Some(ExplicitMode::Delay(*rng.pick(&DELAYS_MS))),
        };
        let priority = match rng.below(4) {
            0 => Some(Priority::Low),
            1 => Some(Priority::High),
            _ => None,
        };
        ModeRequest { explicit, priority }
    }

    fn some_condition(&mut self, bucket: &Bucket, key: &[u8]) -> Condition {
        let etag = bucket.current(key).and_then(|(_, row)| row.object).map(|object| object.etag);
        let tags = || EtagSet::Tags(vec![etag.clone().unwrap_or_default(), "other".into()]);
        match self.context.rng.below(8) {
            0 => Condition { if_none_match: Some(EtagSet::Any), ..Condition::default() },
            1 => Condition { if_match: Some(tags()), ..Condition::default() },
            2 => Condition { if_none_match: Some(tags()), ..Condition::default() },
            3 => Condition { if_match: Some(EtagSet::Any), ..Condition::default() },
            _ => Condition::default(),
        }
    }

    fn write_something(&mut self, client: usize) -> Result<(), Violation> {
        let seen = self.fresh_view()?;
        let name = *self.context.rng.pick(&NAMES);
        let Some(bucket) = seen.model.buckets.get(name).cloned() else {
            let incarnation = Incarnation(self.context.rng.range(1..u64::MAX));
            let owner = terrane_types::AccountId::root();
            let op = Op::CreateBucket { name: name.into(), incarnation, owner, region: None, limit: 10 };
            return self.ask(Some(client), op, ModeRequest::default());
        };
        let key = self.context.rng.pick(&KEYS);
        let key = Bytes::from_static(key);
        let kind = self.context.rng.weighted(&[30, 14, 6, 8, 8, 6, 8, 6, 3, 3, 2]);
        let bucket_id = bucket.incarnation;
        let op = match kind {
            0 | 1 => {
                let condition =
                    if kind == 1 { self.some_condition(&bucket, &key) } else { Condition::default() };
                let object = self.new_payload();
                Op::Put { bucket: bucket_id, key, object, condition, source: None, event: EventKind::Put }
            }
            2 => {
                let condition = self.some_condition(&bucket, &key);
                Op::Delete { bucket: bucket_id, version: None, condition, mtime: self.now(), key }
            }
            3 | 4 => {
                let version = (kind == 4).then(|| self.some_version(&bucket, &key));
                let condition = Condition::default();
                Op::Delete { bucket: bucket_id, version, condition, mtime: self.now(), key }
            }
            5 => self.copy(client, &seen, &bucket, key)?,
            6 | 7 => self.upload_step(&seen, &bucket, key),
            8 => self.change_object(&seen, &bucket, key),
            9 => {
                let on = bucket.versioning == Versioning::Enabled;
                let to = if on { Versioning::Suspended } else { Versioning::Enabled };
                let change = match self.context.rng.below(3) {
                    0 => BucketChange::Setting("tagging".into(), Some(key)),
                    _ => BucketChange::Versioning(to),
                };
                Op::ChangeBucket { name: name.into(), incarnation: bucket_id, change }
            }
            _ => Op::DeleteBucket { name: name.into(), incarnation: bucket_id },
        };
        let mode = self.some_mode();
        // Somebody who empties a bucket gives deletes and recreations a chance.
        if kind == 10 && !bucket.rows.is_empty() && self.context.rng.one_in(2) {
            let (key, sub) = self.context.rng.pick(&bucket.rows.keys().cloned().collect::<Vec<_>>()).clone();
            let (condition, mtime) = (Condition::default(), self.now());
            let op = Op::Delete { bucket: bucket_id, key: key.into(), version: Some(sub), condition, mtime };
            return self.ask(Some(client), op, mode);
        }
        self.ask(Some(client), op, mode)
    }

    /// COPY: the source is read now or was read a while ago; onto itself, it must not have changed.
    fn copy(&mut self, client: usize, seen: &Seen, bucket: &Bucket, key: Bytes) -> Result<Op, Violation> {
        let event = EventKind::Copy;
        let (bucket_id, condition) = (bucket.incarnation, Condition::default());
        if let Some((object, _)) = self.clients[client].copying.take() {
            self.context.coverage.hit("keymap.slow_copy");
            return Ok(Op::Put { bucket: bucket_id, key, object, condition, source: None, event });
        }
        let from = *self.context.rng.pick(&KEYS);
        let found = seen.rows(|rows| compare::get(rows, bucket, from))?;
        let payload = found.as_ref().and_then(|(sub, head)| self.payload_of(bucket_id, from, *sub, head));
        let (Some((sub, head)), Some(object)) = (found, payload) else {
            let (object, event) = (self.new_payload(), EventKind::Put);
            return Ok(Op::Put { bucket: bucket_id, key, object, condition, source: None, event });
        };
        if self.context.rng.one_in(3) {
            let pins = segments(&object);
            self.clients[client].copying = Some((object, pins));
            let (object, event) = (self.new_payload(), EventKind::Put);
            return Ok(Op::Put { bucket: bucket_id, key, object, condition, source: None, event });
        }
        let source = (*from == key[..]).then(|| (RowId::new(bucket_id, from, sub), head.guard));
        Ok(Op::Put { bucket: bucket_id, key, object, condition, source, event })
    }

    fn change_object(&mut self, seen: &Seen, bucket: &Bucket, key: Bytes) -> Op {
        let sub = self.some_version(bucket, &key);
        let found = seen.rows(|rows| lookup::version(rows, bucket.incarnation, &key, sub));
        let head = found.ok().flatten().map(|found| found.head);
        let payload = head.as_ref().and_then(|head| self.payload_of(bucket.incarnation, &key, sub, head));
        let expect = head.map_or(Guard::default(), |head| head.guard);
        let mut object = payload.unwrap_or_default();
        self.tags += 1;
        object.meta = Bytes::from(self.tags.to_be_bytes().to_vec());
        Op::Change { bucket: bucket.incarnation, key, sub, expect, object }
    }

    fn upload_step(&mut self, seen: &Seen, bucket: &Bucket, key: Bytes) -> Op {
        let (bucket_id, mtime) = (bucket.incarnation, self.now());
        let uploads: Vec<(Vec<u8>, Lsn)> = bucket.uploads.keys().cloned().collect();
        if uploads.is_empty() || self.context.rng.one_in(6) {
            return Op::CreateUpload { bucket: bucket_id, key, meta: Bytes::new(), mtime };
        }
        let (key, upload) = self.context.rng.pick(&uploads).clone();
        let key = Bytes::from(key);
        let parts =
            seen.rows(|rows| lookup::parts(rows, bucket_id, &key, upload, 0, 100)).unwrap_or_default();
        match self.context.rng.weighted(&[6, if parts.is_empty() { 0 } else { 4 }, 1]) {
            0 => {
                let mut part = self.new_payload();
                if let NewData::Inline(_) = part.data {
                    let tag = self.tags;
                    part.data = NewData::Extents(vec![super::compactor::store(&mut self.disks.data, tag)]);
                }
                let number = self.context.rng.range(1..5) as u32;
                Op::PutPart { bucket: bucket_id, key, upload, number, part }
            }
            1 => {
                let condition = self.some_condition(bucket, &key);
                let mut object = self.new_payload();
                let extents = parts.iter().flat_map(|(_, head)| self.extents_of(head)).collect();
                object.data = NewData::Extents(extents);
                let refs = parts.iter().map(|(number, head)| PartRef { number: *number, expect: head.guard });
                Op::Complete { bucket: bucket_id, key, upload, parts: refs.collect(), object, condition }
            }
            _ => Op::Abort { bucket: bucket_id, key, upload },
        }
    }

    /// Sends a request to the shard; the model decides it at the same point of the sequence.
    pub(super) fn ask(&mut self, client: Option<usize>, op: Op, mode: ModeRequest) -> Result<(), Violation> {
        self.requests += 1;
        let op_ref = OpRef(self.requests);
        self.note(format_args!("ask {} {client:?} {op:?} {mode:?}", op_ref.0));
        let now = self.now();
        let depends = self.assigned.back().map_or(Lsn::ZERO, |(entry, _)| entry.lsn);
        let Some(machine) = &mut self.machine else { return Ok(()) };
        let request = Box::new(WriteRequest { op: op.clone(), mode });
        machine.feed(&self.disks, now, Input::Write { op_ref, request });
        let (mut lsns, mut held_back) = (Vec::new(), None);
        while let Some(output) = self.machine.as_mut().and_then(Machine::poll) {
            let Output::Append { lsn, header, payload, reserved } = output else {
                held_back = Some(output);
                break;
            };
            lsns.push(lsn);
            self.append(lsn, &header, &payload, reserved);
        }
        let expected = self.sequence(&op, &lsns)?;
        if let Some(client) = client {
            self.clients[client].busy = true;
        }
        let pins = pins_of(&op);
        self.asked.insert(op_ref.0, Asked { client, expected, lsns, depends, pins });
        if let Some(output) = held_back {
            self.act(output)?;
        }
        self.drain()
    }

    fn sequence(&mut self, op: &Op, lsns: &[Lsn]) -> Result<Outcome, Violation> {
        let state = self.assigned.back().map_or(&self.visible, |(_, state)| state);
        let outcome = state.evaluate(op, lsns.first().copied().unwrap_or(Lsn::ZERO));
        if lsns.is_empty() {
            return Ok(outcome);
        }
        let Outcome::Logged { states, .. } = &outcome else {
            return Err(Violation(format!("{op:?} is logged, expected {outcome:?}")));
        };
        if states.len() != lsns.len() {
            return Err(Violation(format!("{op:?} makes {} records, expected {}", lsns.len(), states.len())));
        }
        let announced =
            matches!(op, Op::Put { .. } | Op::Delete { .. } | Op::Change { .. } | Op::Complete { .. });
        for (lsn, state) in lsns.iter().zip(states.clone()) {
            self.assigned.push_back((Entry { lsn: *lsn, announced }, state));
        }
        Ok(outcome)
    }
}

fn segments(payload: &NewPayload) -> Vec<u64> {
    match &payload.data {
        NewData::Extents(extents) => extents.iter().map(|extent: &Extent| extent.segment).collect(),
        _ => Vec::new(),
    }
}

fn pins_of(op: &Op) -> Vec<u64> {
    match op {
        Op::Put { object, .. } | Op::Change { object, .. } | Op::Complete { object, .. } => segments(object),
        Op::PutPart { part, .. } => segments(part),
        _ => Vec::new(),
    }
}

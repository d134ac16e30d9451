//! A driver in memory, for one thread.

use std::collections::BTreeMap;

use bytes::Bytes;
use terrane_types::AccountId;

use crate::class::{ExplicitMode, ModeRequest};
use crate::completion::{Completion, EventKind};
use crate::etag::Etag;
use crate::events::{Input, Output, View};
use crate::ids::*;
use crate::keymap::{KeymapMeta, KeymapRead, KeymapRows, Keyspace, MemoryKeymap, plan};
use crate::lookup::Found;
use crate::reader::{Merged, RowReader};
use crate::run::RunEntry;
use crate::write::*;
use crate::{Batch, Overlay, Recovery, Shard, ShardConfig};

pub(super) type Answer = Result<Box<Written>, WriteError>;

pub(super) struct Bed {
    pub(super) config: ShardConfig,
    pub(super) shard: Shard,
    pub(super) now: Timestamp,
    pub(super) log: Vec<(Locator, Bytes)>,
    appended: Lsn,
    pub(super) keymap: MemoryKeymap,
    pub(super) synced: MemoryKeymap,
    pub(super) runs: BTreeMap<RunId, Vec<RunEntry>>,
    pub(super) view: View,
    snapshot: MemoryKeymap,
    pub(super) answers: BTreeMap<u64, Answer>,
    pub(super) held: Vec<Batch>,
    /// Batches are kept back instead of committed.
    pub(super) hold: bool,
    /// Records are appended and not made durable.
    pub(super) no_fsync: bool,
    pub(super) released: Option<Locator>,
    requests: u64,
    workers: u64,
}

pub(super) const BUCKET: Incarnation = Incarnation(77);

struct Layers<'a>(KeymapRows<&'a MemoryKeymap>, Vec<Overlay>);

fn layers<'a>(
    keymap: &'a MemoryKeymap,
    runs: &BTreeMap<RunId, Vec<RunEntry>>,
    which: Option<&[RunId]>,
) -> Layers<'a> {
    let wanted = |id: &RunId| which.is_none_or(|which| which.contains(id));
    let overlay = |entries: &Vec<RunEntry>| entries.iter().map(|e| (e.row.clone(), e.head.clone())).collect();
    let runs = runs.iter().filter(|(id, _)| wanted(id)).map(|(_, entries)| overlay(entries)).collect();
    Layers(KeymapRows(keymap), runs)
}

impl Layers<'_> {
    fn with<T>(&self, overlay: &Overlay, f: impl FnOnce(&dyn RowReader) -> T) -> T {
        let mut all: Vec<&dyn RowReader> = vec![&self.0];
        all.extend(self.1.iter().map(|run| run as &dyn RowReader));
        f(&Merged::new(overlay, all))
    }
}

fn start(
    config: &ShardConfig,
    keymap: &mut MemoryKeymap,
    log: &[(Locator, Bytes)],
    runs: &BTreeMap<RunId, Vec<RunEntry>>,
    now: Timestamp,
) -> Shard {
    let mut recovery = Recovery::new(config.clone(), KeymapMeta::load(keymap).unwrap(), now);
    let from = recovery.replay_from().unwrap_or_default();
    for (locator, bytes) in log.iter().filter(|(locator, _)| *locator >= from) {
        recovery.record(*locator, bytes).unwrap();
        while let Some(batch) = recovery.next_batch() {
            let mutations = plan(&batch, keymap, &mut |_| Ok(Vec::new())).unwrap().mutations;
            keymap.commit(mutations);
            recovery.batch_applied(&batch);
        }
    }
    let read = &mut |at: Locator| Ok(log.iter().find(|(l, _)| *l == at).unwrap().1.clone());
    layers(keymap, runs, None).with(&Overlay::new(), |rows| recovery.finish(rows, read)).unwrap()
}

impl Bed {
    pub(super) fn new(config: ShardConfig) -> Self {
        let now = Timestamp(1_000_000);
        let mut keymap = MemoryKeymap::default();
        let mut shard = start(&config, &mut keymap, &[], &BTreeMap::new(), now);
        let Some(Output::Publish(view)) = shard.poll_output() else { panic!("a first view") };
        let mut bed = Self {
            config,
            shard,
            now,
            log: Vec::new(),
            appended: Lsn::ZERO,
            snapshot: keymap.clone(),
            synced: keymap.clone(),
            keymap,
            runs: BTreeMap::new(),
            view,
            answers: BTreeMap::new(),
            held: Vec::new(),
            hold: false,
            no_fsync: false,
            released: None,
            requests: 0,
            workers: 0,
        };
        bed.add_worker();
        bed
    }

    /// A bed with a bucket.
    pub(super) fn with_bucket(config: ShardConfig) -> Self {
        let mut bed = Self::new(config);
        bed.create_bucket("bucket", BUCKET).unwrap();
        bed
    }

    pub(super) fn add_worker(&mut self) -> WorkerId {
        self.workers += 1;
        let worker = WorkerId(self.workers);
        self.feed(Input::WorkerReady { worker });
        self.settle();
        worker
    }

    /// The process dies and starts again. `keymap`: what is left of it.
    pub(super) fn crash(&mut self, keymap: MemoryKeymap) {
        self.config.start += 1;
        self.held.clear();
        self.keymap = keymap;
        let meta = KeymapMeta::load(&self.keymap).unwrap();
        self.runs.retain(|id, _| meta.runs.iter().any(|info| info.run == *id));
        self.shard = start(&self.config, &mut self.keymap, &self.log, &self.runs, self.now);
        self.add_worker();
    }

    pub(super) fn feed(&mut self, input: Input) {
        let layers = layers(&self.keymap, &self.runs, None);
        let (shard, now) = (&mut self.shard, self.now);
        layers.with(&Overlay::new(), |rows| shard.handle(now, input, rows));
    }

    pub(super) fn settle(&mut self) {
        loop {
            while let Some(output) = self.shard.poll_output() {
                self.act(output);
            }
            if self.no_fsync || self.appended <= self.shard.visible() {
                return;
            }
            self.feed(Input::Durable { upto: self.appended });
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Append { lsn, header, payload, .. } => {
                let bytes: Bytes = [&header[..], &payload[..]].concat().into();
                let locator =
                    Locator { segment: 1, offset: self.log.len() as u32 * 10, len: bytes.len() as u32 };
                self.log.push((locator, bytes));
                self.appended = lsn;
                self.feed(Input::Appended { lsn, locator });
            }
            Output::Reply { op_ref, result } => {
                assert!(self.answers.insert(op_ref.0, result).is_none(), "answered twice");
            }
            Output::Publish(view) => {
                self.view = view;
                self.snapshot = self.keymap.clone();
            }
            Output::Apply(batch) if self.hold => self.held.push(batch),
            Output::Apply(batch) => self.commit(&batch),
            Output::SyncKeymap { token, mutations, .. } => {
                self.keymap.commit(mutations);
                self.synced = self.keymap.clone();
                self.feed(Input::KeymapSynced { token });
            }
            Output::Spill { run, entries, mutations } => {
                self.runs.insert(run, entries);
                self.keymap.commit(mutations);
                self.feed(Input::SpillDone { run });
            }
            Output::LoadRun { run, after, max } => {
                let entries =
                    self.runs[&run].iter().filter(|e| after.as_ref().is_none_or(|after| e.row > *after));
                let entries: Vec<RunEntry> = entries.take(max).cloned().collect();
                let end = entries.len() < max;
                self.feed(Input::RunChunk { run, entries, end });
            }
            Output::DropRun { run } => {
                assert!(!self.view.runs.contains(&run));
                self.runs.remove(&run);
            }
            Output::ReleaseLog { replay } => self.released = replay.from,
            Output::Workers { .. }
            | Output::Retire { .. }
            | Output::Drained { .. }
            | Output::Synced { .. } => {}
            Output::Stopped { .. } => {}
        }
    }

    /// Commits a batch as a worker does; false if it is fenced.
    pub(super) fn commit(&mut self, batch: &Batch) {
        match plan(batch, &self.keymap, &mut |_| Ok(Vec::new())) {
            Ok(planned) => {
                self.keymap.commit(planned.mutations);
                self.feed(Input::BatchApplied { batch: batch.id, unpurged: planned.unpurged });
            }
            Err(_) => self.feed(Input::BatchFailed { batch: batch.id }),
        }
    }

    pub(super) fn commit_held(&mut self) {
        for batch in std::mem::take(&mut self.held) {
            self.commit(&batch);
        }
        self.settle();
    }

    /// Sends a request; the answer may come later.
    pub(super) fn ask(&mut self, op: Op, mode: ModeRequest) -> u64 {
        self.requests += 1;
        let op_ref = OpRef(self.requests);
        self.feed(Input::Write { op_ref, request: Box::new(WriteRequest { op, mode }) });
        self.settle();
        self.requests
    }

    pub(super) fn answer(&mut self, asked: u64) -> Option<Answer> {
        self.answers.remove(&asked)
    }

    pub(super) fn run(&mut self, op: Op, mode: ModeRequest) -> Answer {
        let asked = self.ask(op, mode);
        self.answer(asked).expect("answered at once")
    }

    pub(super) fn create_bucket(&mut self, name: &str, incarnation: Incarnation) -> Answer {
        let (name, owner) = (name.to_owned(), AccountId::root());
        let op = Op::CreateBucket { name, incarnation, owner, region: None, limit: 10 };
        self.run(op, ModeRequest::default())
    }

    pub(super) fn put(&mut self, key: &str, etag: &str, mode: ModeRequest) -> Answer {
        self.run(put(key, etag, Condition::default()), mode)
    }

    pub(super) fn delete(&mut self, key: &str, version: Option<crate::Sub>, mode: ModeRequest) -> Answer {
        self.run(delete(key, version), mode)
    }

    pub(super) fn after(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while self.now < until {
            let wake = self.shard.next_wake().min(until);
            self.now = wake.max(self.now.plus_ms(1));
            self.feed(Input::Tick);
            self.settle();
        }
    }

    /// A long time of which nothing is expected.
    pub(super) fn jump(&mut self, ms: u64) {
        for _ in 0..100 {
            self.now = self.now.plus_ms(ms / 100);
            self.feed(Input::Tick);
            self.settle();
        }
    }

    pub(super) fn read<T>(&self, f: impl FnOnce(&dyn RowReader) -> T) -> T {
        layers(&self.snapshot, &self.runs, Some(&self.view.runs)).with(&self.view.overlay, f)
    }

    pub(super) fn current(&self, key: &str) -> Option<Found> {
        let bucket = self.view.buckets.values().find(|bucket| bucket.incarnation == BUCKET)?;
        self.read(|rows| crate::lookup::current(rows, BUCKET, key.as_bytes(), bucket.versioning)).unwrap()
    }

    pub(super) fn etag(&self, key: &str) -> Option<String> {
        self.current(key).map(|found| found.head.etag.to_string())
    }

    pub(super) fn completions(&self) -> Vec<Completion> {
        let all = self.keymap.range(Keyspace::Outbox, &[], &[], usize::MAX).unwrap();
        all.iter().map(|(_, value)| Completion::decode(value).unwrap()).collect()
    }

    /// Live rows of the keymap alone, without moving parts.
    pub(super) fn rows(&self) -> Vec<(crate::RowId, crate::head::RowHead)> {
        let rows = KeymapRows(&self.keymap);
        let all = rows.scan(&[], &[]).map(|row| row.unwrap());
        all.filter(|(_, head)| !head.is_tombstone()).map(|(row, head)| (row, (*head).clone())).collect()
    }
}

pub(super) fn put(key: &str, etag: &str, condition: Condition) -> Op {
    let object = NewPayload {
        size: 3,
        etag: Etag::from(etag),
        data: NewData::Inline(Bytes::from_static(b"abc")),
        ..NewPayload::default()
    };
    let key = Bytes::copy_from_slice(key.as_bytes());
    Op::Put { bucket: BUCKET, key, object, condition, source: None, event: EventKind::Put }
}

pub(super) fn delete(key: &str, version: Option<crate::Sub>) -> Op {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Op::Delete { bucket: BUCKET, key, version, condition: Condition::default(), mtime: Timestamp(5) }
}

pub(super) fn mode(explicit: ExplicitMode) -> ModeRequest {
    ModeRequest { explicit: Some(explicit), priority: None }
}

pub(super) fn sync() -> ModeRequest {
    mode(ExplicitMode::Sync)
}

pub(super) fn high() -> ModeRequest {
    mode(ExplicitMode::Async)
}

pub(super) fn hour() -> ModeRequest {
    mode(ExplicitMode::Delay(3_600_000))
}

//! What a replication core wants done.

use super::clock::{Due, grant_of};
use super::devices::{Class, cost_of, cost_of_write};
use super::hosted::Change;
use super::reactor::Reactor;
use crate::engine::{self, BLOCK, Contents, EngineError, Kind, Pool};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use terrane_block_core::copy::{Effect, Event, Grantor};
use terrane_block_core::manager::Request;
use terrane_block_core::message::{Body, Message};
use terrane_block_core::{Content, CopyId, Digest, Extent};
use terrane_block_wire::control::ToManager;
use terrane_block_wire::data::DataMessage;
use terrane_qos::Cost;
use tokio::task::spawn_local;

/// Blocks that are written or read at once, on the thread that has everything, if the page cache takes them.
const INLINE_BLOCKS: u64 = 16;
/// Blocks that are trimmed so: only their table entries are written.
const INLINE_ZEROES: u64 = 1024;
/// A write of the page cache that takes so long waited for the drive; then the next ones go to other threads, for a
/// while.
const SLOW: Duration = Duration::from_millis(3);
const SLOW_FOR: Duration = Duration::from_millis(500);
/// A stripe's record is asked for so often, at most.
const FETCH_PAUSE: Duration = Duration::from_millis(20);

/// A small write that is done on this thread, soon.
pub(super) struct Deferred {
    slot: usize,
    life: u64,
    id: u64,
    extent: Extent,
    content: Content<Bytes>,
}

impl Reactor {
    pub(super) fn perform(&mut self, slot: usize, life: u64, effect: Effect<Bytes>) {
        match effect {
            Effect::Persist(update) => {
                if let Some(hosted) = self.alive(slot, life) {
                    hosted.plan(update);
                    self.uncommitted.insert(slot);
                }
            }
            Effect::Write(id, extent, content) => self.write(slot, life, id, extent, content),
            Effect::Read(id, extent) => self.read(slot, life, id, extent),
            Effect::Digest(id, extent) => {
                self.work_as(
                    (slot, life),
                    (Class::Resync, cost_of(extent)),
                    move |copy| digests(copy, extent),
                    move |reactor, digests| {
                        reactor.push(slot, Event::Digested(id, digests));
                    },
                );
            }
            Effect::Flush(id) => self.flush(slot, life, id),
            Effect::Send(to, message) => self.send(slot, life, to, message),
            Effect::Tell(client, message) => {
                let Some(hosted) = self.alive(slot, life) else { return };
                let (stripe, from) = (hosted.stripe(), hosted.meta.copy);
                let connection = hosted.clients.get(&client).copied();
                if let Some(sender) = connection.and_then(|connection| self.clients.get(&connection))
                    && let Err(error) = sender.send(&DataMessage::ToClient { stripe, from, message })
                {
                    // It opens another connection and asks again.
                    tracing::debug!(%error, "cannot answer a client");
                }
            }
            Effect::Ask(request) => self.ask(slot, life, request),
            Effect::Fetch => self.fetch(slot),
            Effect::HandOver { to, given } => self.handed_over(slot, to, given),
        }
    }

    /// Asks the manager for the record, unless that has just been done.
    pub(super) fn fetch(&mut self, slot: usize) {
        let now = self.now;
        let Some(hosted) = self.copy(slot) else { return };
        if hosted.watched.fetched.is_some_and(|then| now.since(then) < FETCH_PAUSE) {
            return;
        }
        hosted.watched.fetched = Some(now);
        let stripe = hosted.stripe();
        self.tell_manager(&ToManager::Fetch { stripe });
    }

    fn ask(&mut self, slot: usize, life: u64, request: Request) {
        let Some(hosted) = self.alive(slot, life) else { return };
        let stripe = hosted.stripe();
        if let Request::Lease { round, .. } = request {
            let at = self.now.after(self.lease);
            self.deadlines.add(at, slot, life, Due::Lease(Grantor::Manager, round));
        }
        self.tell_manager(&ToManager::Request { stripe, request });
    }

    fn send(&mut self, slot: usize, life: u64, to: CopyId, message: Message<Bytes>) {
        let (now, lease) = (self.now, self.lease);
        let Some(hosted) = self.alive(slot, life) else { return };
        let (stripe, from) = (hosted.stripe(), hosted.meta.copy);
        match &message {
            Message::LeaseRequest { round, .. } => {
                let due = Due::Lease(Grantor::Copy(to), *round);
                self.deadlines.add(now.after(lease), slot, life, due);
            }
            Message::LeaseGrant { .. } => {
                let at = now.after(grant_of(lease));
                hosted.grants.insert(to, at);
                self.deadlines.add(at, slot, life, Due::Grant(to));
            }
            Message::Link { seq, body: Body::Write { .. }, .. } => {
                hosted.sample.get_or_insert_with(|| (to, *seq, Instant::now()));
                self.sent_writes = true;
            }
            _ => {}
        }
        let Some(place) = self.copies[slot].as_ref().and_then(|hosted| hosted.places.get(&to)) else {
            self.fetch(slot);
            return;
        };
        let place = place.clone();
        self.send_to(&place, &DataMessage::Copy { stripe, from, to, message });
    }

    fn write(&mut self, slot: usize, life: u64, id: u64, extent: Extent, content: Content<Bytes>) {
        let inline = match &content {
            Content::Zero => extent.len <= INLINE_ZEROES,
            Content::Data(_) => extent.len <= INLINE_BLOCKS,
        };
        let pool = self.alive(slot, life).map(|hosted| {
            hosted.note_write(extent);
            hosted.pool
        });
        let pool = pool.and_then(|pool| self.pools.get(pool));
        if !inline || pool.is_some_and(|pool| pool.is_slow(self.now)) {
            let streams = !inline && matches!(content, Content::Data(_));
            let use_of = (self.class_of_write(slot, id), cost_of_write(extent, &content));
            let work = move |copy: &engine::Copy| write(copy, extent, &content);
            self.work_as((slot, life), use_of, work, move |reactor, result| {
                if streams && result.is_ok() {
                    reactor.streamed(slot, extent);
                }
                reactor.written(slot, id, result);
            });
            return;
        }
        self.deferred.push_back(Deferred { slot, life, id, extent, content });
    }

    /// Writes what waits for that. But what was sent to mirrors leaves first: the tasks that send it run before the one
    /// that is started here, and the mirrors write while this copy does.
    pub(super) fn settle_writes(&mut self) {
        if std::mem::take(&mut self.sent_writes)
            && !self.deferred.is_empty()
            && let Some(handle) = self.handle()
        {
            spawn_local(async move { handle.enter(Self::write_deferred) });
            return;
        }
        while !self.deferred.is_empty() {
            self.write_deferred();
            self.run();
        }
    }

    fn write_deferred(&mut self) {
        for Deferred { slot, life, id, extent, content } in std::mem::take(&mut self.deferred) {
            self.write_inline(slot, life, id, extent, content);
        }
    }

    fn write_inline(&mut self, slot: usize, life: u64, id: u64, extent: Extent, content: Content<Bytes>) {
        let Some(hosted) = self.alive(slot, life) else { return };
        let pool = hosted.pool;
        let Some(running) = &hosted.running else { return };
        let started = Instant::now();
        let result = match write_cached(&running.engine, extent, &content) {
            Ok(false) => {
                let use_of = (self.class_of_write(slot, id), cost_of_write(extent, &content));
                let work = move |copy: &engine::Copy| write(copy, extent, &content);
                self.work_as((slot, life), use_of, work, move |reactor, result| {
                    reactor.written(slot, id, result);
                });
                return;
            }
            result => result.map(drop),
        };
        let took = started.elapsed();
        self.metrics.write.observe(took.as_secs_f64());
        self.note_cached(slot, cost_of_write(extent, &content), took);
        if took >= SLOW {
            // Leases are not to wait with it.
            self.pools[pool].slow_until = self.now.after(SLOW_FOR);
        }
        self.written(slot, id, result);
    }

    fn written(&mut self, slot: usize, id: u64, result: Result<(), EngineError>) {
        match result {
            Ok(()) => self.push(slot, Event::Written(id)),
            Err(error) if error.is_no_space() && self.may_refuse(slot, id) => {
                self.push(slot, Event::NoRoom(id));
            }
            Err(error) => self.lose(slot, &error),
        }
    }

    fn may_refuse(&mut self, slot: usize, id: u64) -> bool {
        let running = self.copy(slot).and_then(|hosted| hosted.running.as_ref());
        running.is_some_and(|running| running.state.may_refuse(id))
    }

    fn read(&mut self, slot: usize, life: u64, id: u64, extent: Extent) {
        let Some(running) = self.alive(slot, life).and_then(|hosted| hosted.running.as_ref()) else { return };
        if extent.len <= INLINE_BLOCKS {
            let started = Instant::now();
            let mut buffer = BytesMut::zeroed(extent.len as usize * BLOCK);
            let found = running.engine.read_cached(extent.start, &mut buffer);
            if let Some(found) = found.transpose() {
                let took = started.elapsed();
                self.metrics.read.observe(took.as_secs_f64());
                self.note_cached(slot, cost_of(extent), took);
                self.read_done(slot, id, extent, found.map(|contents| (contents, buffer)));
                return;
            }
        }
        let work = move |copy: &engine::Copy| {
            let mut buffer = BytesMut::zeroed(extent.len as usize * BLOCK);
            copy.read(extent.start, &mut buffer).map(|contents| (contents, buffer))
        };
        let use_of = (self.class_of_read(slot, id), cost_of(extent));
        self.work_as((slot, life), use_of, work, move |reactor, found| {
            reactor.read_done(slot, id, extent, found);
        });
    }

    fn read_done(
        &mut self,
        slot: usize,
        id: u64,
        extent: Extent,
        found: Result<(Contents, BytesMut), EngineError>,
    ) {
        let content = match found {
            Ok((Contents::All(Kind::Zero | Kind::Absent), _)) => Some(Content::Zero),
            Ok((contents, _)) if contents.is_damaged() => {
                self.metrics.checksum_errors.inc();
                tracing::warn!(copy = ?self.name(slot), ?contents, "damaged blocks");
                let runs = match contents {
                    Contents::All(kind) => {
                        vec![engine::Run { first: extent.start, blocks: extent.len, kind }]
                    }
                    Contents::Mixed(runs) => runs,
                };
                if self.copy(slot).is_some_and(|hosted| hosted.note_damage(&runs)) {
                    let source = Arc::new(std::io::Error::other("a repaired block is damaged again"));
                    return self.lose(slot, &EngineError::Failed { doing: "keep what was written", source });
                }
                None
            }
            Ok((_, buffer)) => Some(Content::Data(buffer.freeze())),
            Err(error @ EngineError::Io { .. }) => {
                tracing::warn!(copy = ?self.name(slot), %error, "blocks that cannot be read");
                None
            }
            Err(error) => return self.lose(slot, &error),
        };
        self.push(slot, Event::Read(id, content));
    }

    fn flush(&mut self, slot: usize, life: u64, id: u64) {
        let Some(running) = self.alive(slot, life).and_then(|hosted| hosted.running.as_ref()) else { return };
        if running.engine.is_flushed() {
            return self.push(slot, Event::Flushed(id));
        }
        let histogram = self.metrics.flush.clone();
        let failures = self.failures.clone();
        let work = move |copy: &engine::Copy| {
            let started = Instant::now();
            let result = copy.flush();
            histogram.observe(started.elapsed().as_secs_f64());
            if result.is_err() {
                failures.note(copy.key());
            }
            result
        };
        let use_of = (Class::Volume, Cost { ops: 1, bytes: 0 });
        self.work_as((slot, life), use_of, work, move |reactor, result| match result {
            Ok(()) => reactor.push(slot, Event::Flushed(id)),
            Err(error) => reactor.lose(slot, &error),
        });
    }

    /// Makes the updates of a copy durable that wait, all in one; those that come meanwhile are next.
    pub(super) fn start_commit(&mut self, slot: usize) {
        let Some(hosted) = self.copy(slot) else { return };
        let (life, pool) = (hosted.life, hosted.pool);
        let changes = hosted.next_changes();
        if changes.is_empty() {
            return;
        }
        let for_core = changes.iter().filter(|change| change.for_core).count();
        let pool = self.pools[pool].pool.clone();
        let histogram = self.metrics.log.clone();
        let work = move |copy: &Arc<engine::Copy>| {
            let started = Instant::now();
            let result = commit(&pool, copy, changes);
            histogram.observe(started.elapsed().as_secs_f64());
            result
        };
        self.work_on_arc(slot, life, work, move |reactor, result| match result {
            Ok(()) => {
                if for_core == 0 {
                    reactor.grown(slot);
                }
                (0..for_core).for_each(|_| reactor.push(slot, Event::Persisted));
                reactor.committed(slot);
                reactor.run();
                reactor.let_early_in(slot);
            }
            Err(error @ (EngineError::Io { .. } | EngineError::TooLarge { .. })) if for_core == 0 => {
                reactor.cannot_grow(slot, &error);
                reactor.committed(slot);
            }
            Err(error) => reactor.lose(slot, &error),
        });
    }

    /// The copy has a larger size, durably: what was to come with it may come.
    fn grown(&mut self, slot: usize) {
        let now = self.now;
        let Some(hosted) = self.copy(slot) else { return };
        let Some(running) = &mut hosted.running else { return };
        running.state.settings.blocks = running.engine.blocks();
        let Some(growing) = hosted.growing.take() else { return };
        let record = hosted.fit(growing.blocks, growing.record, now);
        self.unreported.insert(slot);
        if let Some(record) = record {
            self.push(slot, Event::Record(record));
        }
    }

    /// The copy stays as large as it is, and follows no record that wants it larger.
    fn cannot_grow(&mut self, slot: usize, error: &EngineError) {
        let (name, until) = (self.name(slot), self.now.after(self.pace.retry));
        let Some(hosted) = self.copy(slot) else { return };
        tracing::error!(copy = ?name, %error, "a copy cannot grow");
        hosted.watched.too_large = hosted.growing.take().map(|growing| (growing.blocks, until));
        hosted.trouble = Some(format!("cannot grow: {error}"));
        self.unreported.insert(slot);
    }

    /// Updates are durable: the next ones begin, and what waited for room in the log goes on.
    fn committed(&mut self, slot: usize) {
        let Some(hosted) = self.copy(slot) else { return };
        let Some(running) = &mut hosted.running else { return };
        running.committing = false;
        hosted.log_extents = usize::try_from(running.log_extents()).unwrap_or(usize::MAX);
        if hosted.may_go_on() {
            let held = std::mem::take(&mut hosted.held);
            hosted.requests += held.len() as u64;
            held.into_iter().for_each(|(client, message)| self.push(slot, Event::Client(client, message)));
        }
        self.uncommitted.insert(slot);
    }

    /// Does something with a copy on another thread; what comes of it counts only while the copy is in the same life.
    pub(super) fn work_on<T: Send + 'static>(
        &mut self,
        slot: usize,
        life: u64,
        work: impl FnOnce(&engine::Copy) -> T + Send + 'static,
        done: impl FnOnce(&mut Reactor, T) + 'static,
    ) {
        self.work_on_arc(slot, life, move |copy| work(copy), done);
    }

    fn work_on_arc<T: Send + 'static>(
        &mut self,
        slot: usize,
        life: u64,
        work: impl FnOnce(&Arc<engine::Copy>) -> T + Send + 'static,
        done: impl FnOnce(&mut Reactor, T) + 'static,
    ) {
        let Some(hosted) = self.alive(slot, life) else { return };
        let (pool, Some(running)) = (hosted.pool, &hosted.running) else { return };
        let copy = running.engine.clone();
        self.spawn_on(
            pool,
            move || work(&copy),
            move |reactor, result| {
                if reactor.alive(slot, life).is_some() {
                    done(reactor, result);
                }
            },
        );
    }
}

fn write_cached(copy: &engine::Copy, extent: Extent, content: &Content<Bytes>) -> Result<bool, EngineError> {
    match content {
        Content::Zero => copy.zero_cached(extent.start, extent.len),
        Content::Data(bytes) => copy.write_cached(extent.start, bytes),
    }
}

fn write(copy: &engine::Copy, extent: Extent, content: &Content<Bytes>) -> Result<(), EngineError> {
    match content {
        Content::Zero => copy.zero(extent.start, extent.len),
        Content::Data(bytes) => copy.write(extent.start, bytes),
    }
}

/// Makes changes durable, in order; those of other copies of the pool that come at the same time share the sync.
fn commit(pool: &Pool, copy: &Arc<engine::Copy>, changes: Vec<Change>) -> Result<(), EngineError> {
    let failure = Arc::new(Mutex::new(None));
    let mut queued = Ok(());
    for change in changes {
        let failure = failure.clone();
        queued = copy.submit(change.ops, move |result| {
            if let Err(error) = result {
                failure.lock().get_or_insert(error);
            }
        });
        if queued.is_err() {
            break;
        }
    }
    pool.drive();
    queued?;
    failure.lock().take().map_or(Ok(()), Err)
}

/// One for each block; none at all if some are damaged or cannot be read.
fn digests(copy: &engine::Copy, extent: Extent) -> Vec<Digest> {
    let mut buffer = vec![0; extent.len as usize * BLOCK];
    let runs = match copy.read(extent.start, &mut buffer) {
        Ok(contents) if contents.is_damaged() => return Vec::new(),
        Ok(Contents::All(kind)) => vec![engine::Run { first: extent.start, blocks: extent.len, kind }],
        Ok(Contents::Mixed(runs)) => runs,
        Err(_) => return Vec::new(),
    };
    let kinds = runs.iter().flat_map(|run| std::iter::repeat_n(run.kind, run.blocks as usize));
    let digest = |(bytes, kind): (&[u8], Kind)| match kind {
        Kind::Data => {
            let hash = Sha256::digest(bytes);
            Digest(u128::from_le_bytes(*hash.first_chunk().expect("a SHA-256 has 32 bytes")))
        }
        _ => Digest::ZERO,
    };
    buffer.chunks_exact(BLOCK).zip(kinds).map(digest).collect()
}

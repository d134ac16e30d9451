//! One copy on this server: the engine's copy, the replication core's state, and how updates of the one become
//! changes of the other.

use super::admission::Admission;
use super::clock::Boot;
use super::meta::Meta;
use super::orders::Orders;
use super::pacing::Pacer;
use super::streaming::Stream;
use crate::engine::{self, CopyKey, CopyState, EngineError, Op};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use terrane_block_core::bugs::Bugs;
use terrane_block_core::copy::{Durable, Settings, State, Update};
use terrane_block_core::message::{self, ToPrimary};
use terrane_block_core::record::Record;
use terrane_block_core::{BlockSet, ClientId, CopyId, Extent};
use terrane_block_wire::control::{CopyIdentity, CopyReport, Place, PoolName, StripeId};

/// Blocks that are compared and recopied in one piece.
const RECOPY_BLOCKS: u64 = 64;
/// Pieces that are compared at the same time per copy that catches up.
const RECOPIES_MAX: usize = 8;
/// Requests that wait at a primary.
const WAITING_MAX: usize = 4096;
/// Extents that a FLUSH leaves in the log of a primary: 1.25 GiB. After a crash all of them are read before the first
/// flush.
const LOG_HOT: u64 = 1280;
/// Extents in the log after which a FLUSH is wanted for its sake.
pub(super) const LOG_WANTS_FLUSH: usize = 4096;
/// Extents in the log after which clients' writes wait. The engine takes more than that, since mirrors cannot refuse.
pub(super) const LOG_FULL: usize = 12 << 10;

/// Damaged blocks that are remembered.
const DAMAGED_MAX: usize = 4096;

/// How often a mirror without room puts off its next life; a minute in all, with the usual pace.
const ROOM_WAITS: u32 = 12;

/// A durable change of a copy.
pub(super) struct Change {
    pub(super) ops: Vec<Op>,
    /// The core waits to hear of it; otherwise it makes the copy larger.
    pub(super) for_core: bool,
}

/// A copy on its way to a larger size.
pub(super) struct Growing {
    /// Blocks that it shall have.
    pub(super) blocks: u64,
    /// The record that came with that: a copy that follows it has the size.
    pub(super) record: Record,
}

/// A copy that can be used.
pub(super) struct Running {
    pub(super) engine: Arc<engine::Copy>,
    pub(super) state: State<Bytes>,
    /// What is durable once all updates under way are.
    planned: Durable,
    /// Updates that nobody has begun to make durable.
    pub(super) updates: VecDeque<Change>,
    /// Some are being made durable.
    pub(super) committing: bool,
}

/// What is watched of a copy from time to time.
#[derive(Default)]
pub(super) struct Watched {
    /// What was unanswered when it was looked at last, and since when.
    pub(super) unanswered: Vec<(CopyId, u64)>,
    pub(super) since: Boot,
    /// How long that may be before all is sent again.
    pub(super) patience: Duration,
    /// Since when a lease of a copy has been wanted.
    pub(super) lacking: BTreeMap<CopyId, Boot>,
    /// A record was asked for then.
    pub(super) fetched: Option<Boot>,
    /// Bytes moved so far, per copy that catches up.
    pub(super) moved: BTreeMap<CopyId, u64>,
    /// Blocks that were found damaged in this life, each with whether it was written since.
    pub(super) damaged: BTreeMap<u64, bool>,
    /// It could not grow to so many blocks: until then it does not try again.
    pub(super) too_large: Option<(u64, Boot)>,
    /// A FLUSH for the log's sake was asked for then.
    pub(super) flush_wanted: Option<Boot>,
}

/// A copy.
pub(super) struct Hosted {
    pub(super) key: CopyKey,
    pub(super) pool: usize,
    pub(super) pool_name: PoolName,
    /// As it will be durable.
    pub(super) meta: Meta,
    /// Names a life in this process, for ever: what belongs to another one is ignored.
    pub(super) life: u64,
    pub(super) running: Option<Running>,
    /// The engine's copy of the life that ended, and why it did.
    pub(super) ended: Option<(Arc<engine::Copy>, EngineError)>,
    /// How often the next life has been put off because there was no room.
    pub(super) waited: u32,
    /// Why it does not run, or, if it does, why it is not as large as it should be.
    pub(super) trouble: Option<String>,
    /// Where the other copies are.
    pub(super) places: BTreeMap<CopyId, Place>,
    /// When what was granted to a copy lapses.
    pub(super) grants: BTreeMap<CopyId, Boot>,
    /// On which connection a client was heard last.
    pub(super) clients: BTreeMap<ClientId, u64>,
    pub(super) growing: Option<Growing>,
    /// Messages of clients that wait until the log has room, or the copy the size, in order.
    pub(super) held: VecDeque<(ClientId, ToPrimary<Bytes>)>,
    /// Extents in the log.
    pub(super) log_extents: usize,
    /// Messages of clients so far.
    pub(super) requests: u64,
    /// A write sent to a mirror whose answer is timed: to whom, its number, when.
    pub(super) sample: Option<(CopyId, u64, Instant)>,
    /// What the volume's clients may have.
    pub(super) admission: Admission,
    /// Who it is to its device's scheduler; set when the copy is taken in.
    pub(super) client: terrane_qos::ClientId,
    pub(super) pacer: Pacer,
    pub(super) stream: Stream,
    pub(super) watched: Watched,
    pub(super) orders: Orders,
}

impl Running {
    /// Extents in the log, once all updates under way are durable.
    pub(super) fn log_extents(&self) -> u64 {
        self.planned.log.len()
    }
}

impl Hosted {
    /// Of a copy that is not open.
    pub(super) fn new(key: CopyKey, pool: usize, pool_name: PoolName, meta: Meta) -> Self {
        Self {
            key,
            pool,
            pool_name,
            meta,
            life: next_life(),
            running: None,
            ended: None,
            waited: 0,
            trouble: None,
            places: BTreeMap::new(),
            grants: BTreeMap::new(),
            clients: BTreeMap::new(),
            growing: None,
            held: VecDeque::new(),
            log_extents: 0,
            requests: 0,
            sample: None,
            admission: Admission::default(),
            client: terrane_qos::ClientId(u32::MAX),
            pacer: Pacer::default(),
            stream: Stream::default(),
            watched: Watched::default(),
            orders: Orders::default(),
        }
    }

    /// Whether a client's message waits: while the log is full a write, while the copy grows what lies beyond its
    /// end, and all that follows.
    pub(super) fn must_wait(&self, message: &ToPrimary<Bytes>) -> bool {
        let ToPrimary::Request { op, .. } = message else { return !self.held.is_empty() };
        let writes = matches!(op, message::Op::Write(..));
        let size = self.running.as_ref().map_or(0, |running| running.state.settings.blocks);
        let beyond = op.extent().is_some_and(|extent| extent.end() > size);
        !self.held.is_empty() || writes && self.log_extents >= LOG_FULL || beyond && self.growing.is_some()
    }

    /// Blocks are about to be written.
    pub(super) fn note_write(&mut self, extent: Extent) {
        if !self.watched.damaged.is_empty() {
            self.watched
                .damaged
                .range_mut(extent.start..extent.end())
                .for_each(|(_, written)| *written = true);
        }
    }

    /// Blocks are damaged. Returns whether the drive has lost some of them that were written since they were found
    /// damaged before (a repair above all), while another copy has them: it cannot be trusted with more.
    pub(super) fn note_damage(&mut self, runs: &[engine::Run]) -> bool {
        let damaged = &mut self.watched.damaged;
        let blocks = runs.iter().filter(|run| run.kind.is_damaged());
        let mut lies = false;
        for block in blocks.flat_map(|run| run.first..run.first + run.blocks) {
            lies |= damaged.get(&block) == Some(&true);
            if damaged.len() < DAMAGED_MAX {
                damaged.entry(block).or_insert(false);
            }
        }
        let record = self.running.as_ref().and_then(|running| running.state.durable.record.as_ref());
        lies && record.is_some_and(|record| record.now.in_sync.len() > 1)
    }

    /// Whether what waits may go on.
    pub(super) fn may_go_on(&self) -> bool {
        self.log_extents < LOG_FULL && self.growing.is_none()
    }

    /// Whether a copy that found no room waits for some, so as not to join again and again. The primary does not: if
    /// the others are full as well, it is the one that can go on alone, read, take TRIMs and refuse what needs room. Nor
    /// does a mirror for ever: the primary may be gone for good.
    pub(super) fn waits_for_room(&self) -> bool {
        let record = self.meta.record.as_ref();
        let rules = record.is_some_and(|record| record.now.primary == self.meta.copy);
        !rules && self.waited < ROOM_WAITS
    }

    pub(super) fn stripe(&self) -> StripeId {
        self.meta.stripe
    }

    pub(super) fn report(&self) -> CopyReport {
        CopyReport {
            stripe: self.meta.stripe,
            copy: self.meta.copy,
            pool: self.pool_name,
            incarnation: self.running.as_ref().map(|_| self.meta.life.incarnation),
            kept: self.meta.life.kept(),
            identity: self.identity(),
            record: self.meta.record.clone(),
            trouble: self.trouble.clone(),
        }
    }

    /// With the size that is durable by now.
    fn identity(&self) -> CopyIdentity {
        let identity = self.meta.identity.clone();
        let blocks = self.running.as_ref().map_or(identity.blocks, |running| running.engine.blocks());
        CopyIdentity { blocks, ..identity }
    }

    /// Starts a life with what is durable.
    pub(super) fn start(&mut self, engine: Arc<engine::Copy>, durable: &CopyState, meta: Meta) {
        let settings = Settings {
            id: meta.copy,
            blocks: engine.blocks(),
            log_grain: engine.extent_blocks(),
            log_hot: LOG_HOT,
            recopy_blocks: RECOPY_BLOCKS,
            recopies_max: RECOPIES_MAX,
            waiting_max: WAITING_MAX,
            bugs: Bugs::NONE,
        };
        let bitmaps = durable.bitmaps.iter();
        let start = Durable {
            record: meta.record.clone(),
            log: durable.log.iter().copied().collect(),
            bitmaps: bitmaps.map(|(peer, bitmap)| (CopyId(*peer), bitmap.runs().collect())).collect(),
        };
        self.running = Some(Running {
            engine,
            state: State::start(settings, start.clone(), meta.life.incarnation),
            planned: start,
            updates: VecDeque::new(),
            committing: false,
        });
        self.meta = meta;
        self.trouble = None;
        self.waited = 0;
        self.ended = None;
        self.life = next_life();
        self.grants.clear();
        self.growing = None;
        self.held.clear();
        self.admission.restart();
        self.sample = None;
        self.log_extents = durable.log.len();
        self.pacer = Pacer::default();
        self.watched = Watched::default();
    }

    /// It cannot be used.
    pub(super) fn end(&mut self, trouble: String) {
        self.running = None;
        self.trouble = Some(trouble);
        self.life = next_life();
    }

    /// Ends the life because of an error.
    pub(super) fn fail(&mut self, error: &EngineError) {
        self.meta.identity = self.identity();
        if let Some(running) = self.running.take() {
            self.ended = Some((running.engine, error.clone()));
        }
        self.end(error.to_string());
    }

    /// Queues an update.
    pub(super) fn plan(&mut self, update: Update) {
        let Some(running) = &mut self.running else { return };
        let settings = running.state.settings;
        let planned = &mut running.planned;
        let ops = match update {
            Update::Enter(extents) => {
                let ops = vec![Op::Enter(extents.blocks().collect())];
                planned.apply(Update::Enter(extents), &settings, true);
                ops
            }
            Update::Retire { extents, bits } => {
                let marks = bits.iter().filter(|(copy, _)| planned.bitmaps.contains_key(copy));
                let mut ops: Vec<Op> = marks.map(|(copy, blocks)| mark(*copy, blocks)).collect();
                ops.push(Op::Retire(extents.blocks().collect()));
                planned.apply(Update::Retire { extents, bits }, &settings, true);
                ops
            }
            Update::Adopt(record) => {
                let in_sync = record.now.is_in_sync(settings.id, running.state.volatile.incarnation);
                let before: Vec<CopyId> = planned.bitmaps.keys().copied().collect();
                self.meta.record = Some((*record).clone());
                planned.apply(Update::Adopt(record), &settings, in_sync);
                let mut ops = vec![Op::Record(self.meta.encode())];
                let gone = before.iter().filter(|copy| !planned.bitmaps.contains_key(copy));
                ops.extend(gone.map(|copy| Op::Forget { peer: copy.0 }));
                let fresh = planned.bitmaps.iter().filter(|(copy, _)| !before.contains(copy));
                ops.extend(fresh.map(|(copy, blocks)| mark(*copy, blocks)));
                ops
            }
        };
        running.updates.push_back(Change { ops, for_core: true });
    }

    /// Takes the changes that are made durable next. One that makes the copy larger is alone, since it may be
    /// impossible.
    pub(super) fn next_changes(&mut self) -> Vec<Change> {
        let Some(running) = self.running.as_mut().filter(|running| !running.committing) else {
            return Vec::new();
        };
        let for_core = running.updates.iter().take_while(|change| change.for_core).count();
        let count = for_core.max(1).min(running.updates.len());
        running.committing = count > 0;
        running.updates.drain(..count).collect()
    }

    /// A record that wants the copy to have so many blocks at least. Returns the record if it may be followed now;
    /// otherwise it is once the copy has grown.
    pub(super) fn fit(&mut self, blocks: u64, record: Record, now: Boot) -> Option<Record> {
        let Some(running) = &mut self.running else { return Some(record) };
        if let Some(growing) = &mut self.growing {
            growing.blocks = growing.blocks.max(blocks);
            if record.generation >= growing.record.generation {
                growing.record = record;
            }
            return None;
        }
        if self.watched.too_large.is_some_and(|(least, until)| blocks >= least && now < until) {
            return None;
        }
        self.trouble = None;
        if blocks <= running.engine.blocks() {
            return Some(record);
        }
        running.updates.push_back(Change { ops: vec![Op::Grow(blocks)], for_core: false });
        self.growing = Some(Growing { blocks, record });
        None
    }
}

fn mark(copy: CopyId, blocks: &BlockSet) -> Op {
    Op::Mark { peer: copy.0, runs: blocks.runs().map(|run| run.range()).collect() }
}

/// Lives of all copies of the process, so that none has the number of another.
fn next_life() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

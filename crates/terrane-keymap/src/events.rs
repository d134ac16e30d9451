//! Inputs and outputs of a shard: everything that it asks of disks, engines and clocks, and what it is told.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use crate::batch::Batch;
use crate::bucket::BucketState;
use crate::class::ClassName;
use crate::head::RowHead;
use crate::ids::{BatchId, Locator, Lsn, OpRef, RunId, Slot, WorkerId};
use crate::keymap::{Mutation, ReplayPoint};
use crate::rows::RowId;
use crate::run::RunEntry;
use crate::write::{WriteError, WriteRequest, Written};

/// Rows that are durable in the log and not yet in the keymap (or just about to be), the newest state of each.
pub type Overlay = OrdMap<RowId, Arc<RowHead>>;

/// What the driver tells the shard.
#[derive(Debug)]
pub enum Input {
    /// A request. Answered by exactly one [`Output::Reply`].
    Write {
        /// Comes back in the reply.
        op_ref: OpRef,
        /// The request.
        request: Box<WriteRequest>,
    },
    /// The record of an [`Output::Append`] is buffered there. Must be told in the order of LSNs, before [`Input::Durable`].
    Appended {
        /// Whose record.
        lsn: Lsn,
        /// Where.
        locator: Locator,
    },
    /// All records up to this LSN are durable.
    Durable {
        /// The last durable record.
        upto: Lsn,
    },
    /// The log had no room: it holds no record that was not reported durable, and goes on.
    AppendFailed,
    /// The log failed for good. Nothing is acknowledged any more; recover from disk.
    LogFailed {
        /// For people.
        why: Arc<str>,
    },
    /// A worker waits for batches.
    WorkerReady {
        /// Which; never used before.
        worker: WorkerId,
    },
    /// A worker is gone; batches that it holds may still reach the keymap or be refused there.
    WorkerLost {
        /// Which.
        worker: WorkerId,
    },
    /// A batch was committed (or found refused by its epoch, if `fenced`) in the keymap; readers of new views see it.
    BatchApplied {
        /// Which.
        batch: BatchId,
        /// As [`plan`](crate::keymap::plan) has said.
        unpurged: Vec<Slot>,
    },
    /// A batch left no trace; it is tried again.
    BatchFailed {
        /// Which.
        batch: BatchId,
    },
    /// A sync that began after its [`Output::SyncKeymap`] is done.
    KeymapSynced {
        /// From the output.
        token: u64,
    },
    /// The sync failed; it is tried again later.
    KeymapSyncFailed {
        /// From the output.
        token: u64,
    },
    /// A run is durable, and so are (in the order of keymap commits) its mutations committed.
    SpillDone {
        /// Which.
        run: RunId,
    },
    /// A run could not be written; there is no trace of it.
    SpillFailed {
        /// Which.
        run: RunId,
    },
    /// Answer to [`Output::LoadRun`].
    RunChunk {
        /// Which.
        run: RunId,
        /// Entries in row order, following the row asked for.
        entries: Vec<RunEntry>,
        /// Whether the run ends here.
        end: bool,
    },
    /// A run could not be read now; it is tried again later.
    RunLoadFailed {
        /// Which.
        run: RunId,
    },
    /// Asks for a keymap sync of all that is applied by now; answered by [`Output::Synced`].
    RequestSync {
        /// Comes back.
        op_ref: OpRef,
    },
    /// Applies all that is pending in a class (`None`: all) by now, whatever its due time; answered by [`Output::Drained`].
    Drain {
        /// Which.
        class: Option<ClassName>,
        /// Comes back.
        op_ref: OpRef,
    },
    /// Pauses or resumes the application of a class (`None`: all).
    Pause {
        /// Which.
        class: Option<ClassName>,
        /// Pause or resume.
        paused: bool,
    },
    /// From now on (or no longer) writes that refer to this data segment are refused: it is being emptied.
    Condemn {
        /// The data segment.
        segment: u64,
        /// Whether it is.
        condemned: bool,
    },
    /// Disk pressure: delayed entries are applied early and only deletes and moves are taken.
    DiskPressure {
        /// Whether there is.
        low: bool,
    },
    /// Completion records were delivered and removed from the outbox.
    OutboxTrimmed {
        /// How many.
        count: u64,
    },
    /// Time passes. At least every 100 ms, and whenever [`crate::Shard::next_wake`] says.
    Tick,
}

/// What the shard asks of the driver, to be done in this order.
#[derive(Debug)]
pub enum Output {
    /// Append this record to the log, then tell [`Input::Appended`]; make it durable soon.
    Append {
        /// Its LSN.
        lsn: Lsn,
        /// First part.
        header: Vec<u8>,
        /// Second part, the inline payload (may be empty).
        payload: Bytes,
        /// May use the reserve (deletes, moves).
        reserved: bool,
    },
    /// Answer a request.
    Reply {
        /// Whose.
        op_ref: OpRef,
        /// The answer.
        result: Result<Box<Written>, WriteError>,
    },
    /// Let readers see this, together with a keymap snapshot taken now.
    Publish(View),
    /// Have the worker commit this batch, see [`crate::keymap::plan`].
    Apply(Batch),
    /// Commit the mutations, then sync the keymap, then tell [`Input::KeymapSynced`].
    SyncKeymap {
        /// Comes back.
        token: u64,
        /// Commit these first.
        mutations: Vec<Mutation>,
        /// What they record.
        replay: ReplayPoint,
    },
    /// The log's records before this point are not needed for replay (they may still carry live state: compact, then remove).
    ReleaseLog {
        /// From here on records are needed.
        replay: ReplayPoint,
    },
    /// Write a run with these entries, make it durable, commit the mutations, then tell [`Input::SpillDone`].
    Spill {
        /// Its number.
        run: RunId,
        /// Sorted by row.
        entries: Vec<RunEntry>,
        /// Commit these once the run is durable.
        mutations: Vec<Mutation>,
    },
    /// Read entries of a run, then tell [`Input::RunChunk`].
    LoadRun {
        /// Which.
        run: RunId,
        /// Begin after this row.
        after: Option<RowId>,
        /// Most entries.
        max: usize,
    },
    /// No view published from now on, and no recovery, needs this run: delete it when its last reader is gone.
    DropRun {
        /// Which.
        run: RunId,
    },
    /// So many workers are wanted now: start more (each says [`Input::WorkerReady`]).
    Workers {
        /// How many.
        target: usize,
    },
    /// This worker gets no more batches; stop it.
    Retire {
        /// Which.
        worker: WorkerId,
    },
    /// A [`Input::Drain`] is done.
    Drained {
        /// Whose.
        op_ref: OpRef,
    },
    /// A [`Input::RequestSync`] is done.
    Synced {
        /// Whose.
        op_ref: OpRef,
    },
    /// The shard has stopped after a failure of the log; recover from disk.
    Stopped {
        /// For people.
        why: Arc<str>,
    },
}

/// What readers see: the shard's part. The driver adds a keymap snapshot taken when it handles [`Output::Publish`],
/// and its readers of the runs. Reads merge the three by row, the greatest guard wins, tombstones hide.
#[derive(Clone, Debug)]
pub struct View {
    /// Grows with each view.
    pub seq: u64,
    /// All writes up to this LSN, and no later ones, are seen.
    pub lsn: Lsn,
    /// Pending rows.
    pub overlay: Overlay,
    /// Buckets by name.
    pub buckets: OrdMap<String, Arc<BucketState>>,
    /// Spill runs to be merged.
    pub runs: Arc<[RunId]>,
    /// Completions up to this cursor are all in the keymap: a consumer may go this far.
    pub completions_upto: u64,
}

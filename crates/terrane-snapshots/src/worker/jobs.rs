//! Assembling, copying, taking away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use terrane_ec2::service::BLOCKS_PER_GIB;
use terrane_snapshot::objects::ObjectError;
use terrane_snapshot::{
    CaptureId, Content, Manifest, ObjectRef, SnapshotError as FormatError, Stats, Vault, Writer,
};
use terrane_store::{StoreError, Tx};
use terrane_types::{AccountId, SnapshotId};

use super::{Office, sweep};
use crate::ledger::{self, CaptureDedup};
use crate::rows::{BLOCKS, BUILDS, BlockRow, JOBS, JobRow, Key, RootCode, SNAPSHOTS, StateRow, Work};
use crate::service::start_lock;
use crate::site::{Snapshots, now_ms};

/// Rows of one page of a scan, and of one transaction.
const PAGE: usize = 500;
/// Chunks that are read at the same time.
const READS: usize = 8;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);
/// Pause after a failed attempt, times their number.
const PAUSE_MS: i64 = 1000;
const PAUSE_MS_MAX: i64 = 60_000;
/// Segment manifests that are read to tell a snapshot's size.
const SEGMENTS_COUNTED_MAX: usize = 4096;

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It is not to be done any more.
    #[error("it was taken back")]
    Gone,
}

impl JobError {
    /// Whether another attempt has no point; and what to tell the customer.
    fn verdict(&self) -> Option<&'static str> {
        match self {
            Self::Format(error) if error.is_corrupt() => {
                Some("Blocks of it cannot be read back as they were written.")
            }
            Self::Format(FormatError::NewerFormat { .. }) => {
                Some("It consists of blocks of a newer version.")
            }
            Self::Format(FormatError::Objects(ObjectError::Refused { .. })) => {
                Some("The object store refuses it.")
            }
            _ => None,
        }
    }
}

/// One attempt of a job.
struct Attempt<'a> {
    snapshots: &'a Snapshots,
    office: &'a Office,
    key: &'a Key,
    id: SnapshotId,
    vault: Vault,
}

/// What an attempt begins with.
struct Begun {
    capture: CaptureId,
    epoch: u64,
    parent: Option<ObjectRef>,
    chunks: u64,
}

/// Makes an attempt of a job, and puts down what has become of it.
pub(super) async fn run(snapshots: &Snapshots, office: &Office, key: &Key) {
    let site = &snapshots.0;
    let Ok(id) = SnapshotId::parse(&key.1) else {
        return tracing::error!(key = key.1, "a job has a key that is no snapshot's");
    };
    let attempt = Attempt { snapshots, office, key, id, vault: site.vault(&key.0) };
    let error = match attempt.all().await {
        Ok(()) | Err(JobError::Gone) => return,
        Err(error) => error,
    };
    tracing::warn!(snapshot = key.1, %error, "an attempt failed");
    let put_down = site.store.transact(|tx| attempt.failed(tx, &error)).await;
    match put_down {
        Ok(true) => {
            site.metrics.failed.inc();
            site.done.notify_waiters();
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(snapshot = key.1, %error, "that an attempt failed is not put down"),
    }
}

impl Attempt<'_> {
    fn account(&self) -> &AccountId {
        &self.key.0
    }

    async fn all(&self) -> Result<(), JobError> {
        let store = &self.snapshots.0.store;
        let job = store.read(|tx| async move { JOBS.get(&tx, self.key).await }).await?;
        let job = job.ok_or(JobError::Gone)?;
        match &job.work {
            Work::Clean => return self.clean().await,
            Work::Assemble => {
                let begun = self.begin().await?;
                let (writer, dedup) = self.writer(&begun).await?;
                let writer = self.assemble(writer).await?;
                self.finish(writer, &begun, dedup, JobRow::new(Work::Clean).into()).await?;
            }
            Work::Copy { owner, manifest } => {
                let begun = self.begin().await?;
                let (writer, dedup) = self.writer(&begun).await?;
                let writer = self.copy(writer, owner, manifest).await?;
                self.finish(writer, &begun, dedup, After::Released(owner.clone())).await?;
            }
        }
        Ok(())
    }

    /// Ends the attempt before, if there was one, and begins a capture.
    async fn begin(&self) -> Result<Begun, JobError> {
        let nonce = rand::random();
        let begin = |tx: Tx| async move {
            self.office.fence(&tx).await?;
            let (Some(mut job), Some(row)) =
                (JOBS.get(&tx, self.key).await?, SNAPSHOTS.get(&tx, self.key).await?)
            else {
                return Err(JobError::Gone);
            };
            if let Some(old) = job.capture.take() {
                ledger::end(&tx, self.account(), old).await?;
            }
            // What the blocks are written upon is held by the capture that they are written in.
            let parent = match BUILDS.get(&tx, self.key).await? {
                Some(build) => ledger::capture(&tx, self.account(), build.capture).await?,
                None => None,
            };
            let parent = parent.and_then(|capture| capture.parent);
            let capture = ledger::begin(&tx, self.account(), parent, true, nonce).await?;
            let epoch = ledger::capture(&tx, self.account(), capture).await?.map_or(0, |row| row.epoch);
            job.capture = Some(capture);
            job.attempts += 1;
            JOBS.put(&tx, self.key, &job).await?;
            Ok(Begun { capture, epoch, parent, chunks: u64::from(row.size_gib) * BLOCKS_PER_GIB })
        };
        self.snapshots.0.store.transact(begin).await
    }

    async fn writer(&self, begun: &Begun) -> Result<(Writer, Arc<CaptureDedup>), JobError> {
        let site = &self.snapshots.0;
        let parent = match &begun.parent {
            Some(reference) => Some(self.vault.manifest(reference).await?),
            None => None,
        };
        let (store, account) = (site.store.clone(), self.account().clone());
        let dedup = Arc::new(CaptureDedup::new(store, account, begun.capture, begun.epoch));
        let vault = self.vault.clone();
        let writer =
            Writer::new(vault, begun.capture, begun.chunks, parent, dedup.clone(), site.config.writer)
                .await?;
        Ok((writer, dedup))
    }

    /// Writes the blocks in their order.
    async fn assemble(&self, mut writer: Writer) -> Result<Writer, JobError> {
        let store = &self.snapshots.0.store;
        let prefix = self.key;
        let total = u64::try_from(self.count().await?).unwrap_or(u64::MAX).max(1);
        let (mut done, mut told) = (0u64, Instant::now());
        let mut after = None;
        loop {
            let from = &after;
            let scan = |tx: Tx| async move { BLOCKS.scan_prefix(&tx, prefix, from.as_ref(), PAGE).await };
            let rows = store.read(scan).await?;
            let is_last = rows.len() < PAGE;
            after = rows.last().map(|(key, _)| key.clone());
            let read = |((_, _, index), row): ((AccountId, String, u64), BlockRow)| async move {
                let chunk = match &row.chunk {
                    Some(reference) => Some(self.vault.chunk(reference).await?),
                    None => None,
                };
                Ok::<_, FormatError>((index, chunk))
            };
            let mut chunks = stream::iter(rows).map(read).buffered(READS);
            while let Some(chunk) = chunks.next().await {
                let (index, bytes) = chunk?;
                let content = bytes.as_ref().map_or(Content::Zero, |bytes| Content::Data(bytes));
                writer.chunk(index, content).await?;
                done += 1;
                self.tell(done, total, &mut told).await?;
            }
            if is_last {
                return Ok(writer);
            }
        }
    }

    async fn count(&self) -> Result<usize, StoreError> {
        let mut count = 0;
        let mut after = None;
        loop {
            let from = &after;
            let scan = |tx: Tx| async move { BLOCKS.scan_prefix(&tx, self.key, from.as_ref(), PAGE).await };
            let rows = self.snapshots.0.store.read(scan).await?;
            count += rows.len();
            if rows.len() < PAGE {
                return Ok(count);
            }
            after = rows.into_iter().next_back().map(|(key, _)| key);
        }
    }

    /// Writes another account's chunks: read with its key, sealed with ours.
    async fn copy(
        &self,
        mut writer: Writer,
        owner: &AccountId,
        manifest: &ObjectRef,
    ) -> Result<Writer, JobError> {
        let theirs = self.snapshots.0.vault(owner);
        let manifest = theirs.manifest(manifest).await?;
        let total = (manifest.segments.len() as u64).max(1);
        let mut told = Instant::now();
        for (done, (number, reference)) in (1..).zip(&manifest.segments) {
            let segment = theirs.segment(reference).await?;
            let start = u64::from(*number) * terrane_snapshot::SEGMENT_CHUNKS;
            let theirs = &theirs;
            let read = |(slot, chunk): (u16, terrane_snapshot::ChunkRef)| async move {
                Ok::<_, FormatError>((start + u64::from(slot), theirs.chunk(&chunk).await?))
            };
            let mut chunks = stream::iter(segment.chunks).map(read).buffered(READS);
            while let Some(chunk) = chunks.next().await {
                let (index, bytes) = chunk?;
                writer.chunk(index, Content::Data(&bytes)).await?;
            }
            self.tell(done, total, &mut told).await?;
        }
        Ok(writer)
    }

    /// Puts progress down, not too often.
    async fn tell(&self, done: u64, total: u64, told: &mut Instant) -> Result<(), JobError> {
        if told.elapsed() < PROGRESS {
            return Ok(());
        }
        *told = Instant::now();
        let percent = u8::try_from((done.saturating_mul(100) / total).min(99)).unwrap_or(99);
        let put = |tx: Tx| async move {
            self.office.fence(&tx).await?;
            let mut row = SNAPSHOTS.get(&tx, self.key).await?.ok_or(JobError::Gone)?;
            row.progress = percent;
            Ok(SNAPSHOTS.put(&tx, self.key, &row).await?)
        };
        self.snapshots.0.store.transact(put).await
    }

    async fn finish(
        &self,
        writer: Writer,
        begun: &Begun,
        dedup: Arc<CaptureDedup>,
        after: After,
    ) -> Result<(), JobError> {
        let site = &self.snapshots.0;
        let (manifest, reference, stats) = writer.finish().await?;
        let full_bytes = self.full_bytes(&manifest).await?;
        let after = &after;
        let commit = |tx: Tx| async move {
            self.office.fence(&tx).await?;
            let mut row = SNAPSHOTS.get(&tx, self.key).await?.ok_or(JobError::Gone)?;
            if !ledger::end(&tx, self.account(), begun.capture).await? {
                return Err(JobError::Gone);
            }
            ledger::put_root(&tx, self.account(), RootCode::Snapshot, &self.id, reference).await?;
            row.state = StateRow::Completed;
            row.progress = 100;
            row.completed_ms = Some(now_ms());
            row.full_bytes = full_bytes;
            if let Some(lock) = &mut row.lock {
                start_lock(lock, now_ms());
            }
            SNAPSHOTS.put(&tx, self.key, &row).await?;
            match after {
                After::Job(job) => JOBS.put(&tx, self.key, job).await?,
                After::Released(owner) => {
                    ledger::drop_root(&tx, owner, RootCode::Copying, &self.id).await?;
                    JOBS.delete(&tx, self.key).await?;
                }
            }
            Ok(())
        };
        site.store.transact(commit).await?;
        self.count_up(stats);
        site.done.notify_waiters();
        site.wake.notify_one();
        if let Err(error) = dedup.publish().await {
            tracing::warn!(snapshot = self.key.1, %error, "its chunks are not known to others");
        }
        Ok(())
    }

    fn count_up(&self, stats: Stats) {
        let metrics = &self.snapshots.0.metrics;
        metrics.completed.inc();
        metrics.bytes_stored.inc_by(stats.bytes);
        metrics.chunks_known.inc_by(stats.known + stats.same);
    }

    /// Bytes of the blocks that are not zeros.
    async fn full_bytes(&self, manifest: &Manifest) -> Result<Option<u64>, JobError> {
        if manifest.segments.len() > SEGMENTS_COUNTED_MAX {
            return Ok(None);
        }
        let count = |reference: ObjectRef| async move { self.vault.segment(&reference).await };
        let mut segments = stream::iter(manifest.segments.values().copied()).map(count).buffered(READS);
        let mut chunks = 0u64;
        while let Some(segment) = segments.next().await {
            chunks += segment?.chunks.len() as u64;
        }
        Ok(Some(chunks * terrane_snapshot::CHUNK_BYTES as u64))
    }

    /// Takes away what was written block by block.
    async fn clean(&self) -> Result<(), JobError> {
        let store = &self.snapshots.0.store;
        loop {
            let batch = |tx: Tx| async move {
                self.office.fence(&tx).await?;
                let rows = BLOCKS.scan_prefix(&tx, self.key, None, PAGE).await?;
                for (key, _) in &rows {
                    BLOCKS.delete(&tx, key).await?;
                }
                Ok::<_, StoreError>(rows.len() < PAGE)
            };
            if store.transact(batch).await? {
                break;
            }
        }
        let end = |tx: Tx| async move {
            self.office.fence(&tx).await?;
            if let Some(build) = BUILDS.get(&tx, self.key).await? {
                ledger::end(&tx, self.account(), build.capture).await?;
                BUILDS.delete(&tx, self.key).await?;
            }
            JOBS.delete(&tx, self.key).await?;
            Ok::<_, StoreError>(())
        };
        Ok(store.transact(end).await?)
    }

    /// Whether the snapshot has come to nothing with this attempt.
    async fn failed(&self, tx: Tx, error: &JobError) -> Result<bool, StoreError> {
        self.office.fence(&tx).await?;
        let Some(mut job) = JOBS.get(&tx, self.key).await? else { return Ok(false) };
        if let Some(capture) = job.capture.take() {
            ledger::end(&tx, self.account(), capture).await?;
        }
        let is_last = job.work != Work::Clean && job.attempts >= self.snapshots.0.config.attempts_max;
        let verdict = error.verdict().filter(|_| job.work != Work::Clean);
        let verdict =
            verdict.or(is_last.then_some("It could not be stored; the object store does not answer."));
        if let Some(why) = verdict {
            sweep::fail(&tx, self.key, why).await?;
            return Ok(true);
        }
        let pause = PAUSE_MS.saturating_mul(i64::from(job.attempts.max(1))).min(PAUSE_MS_MAX);
        job.due_ms = now_ms().saturating_add(pause);
        JOBS.put(&tx, self.key, &job).await?;
        Ok(false)
    }
}

/// What follows a job that is done.
enum After {
    /// Another one.
    Job(JobRow),
    /// The account that was copied from keeps nothing for it any more.
    Released(AccountId),
}

impl From<JobRow> for After {
    fn from(job: JobRow) -> Self {
        Self::Job(job)
    }
}

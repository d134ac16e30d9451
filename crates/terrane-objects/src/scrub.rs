//! Looking at every shard, now and then, and writing anew what is damaged or missing.
//!
//! A *pass* goes over all segments: because it is time, because an operator asks, because a drive was replaced, or
//! because shards have been missing for a while that another drive could take. Segments that readers found damaged
//! are mended at once. Only bytes that rows refer to are looked at: the rest is garbage, and shall not be rebuilt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use terrane_keymap::Extent;
use terrane_log::LogError;
use tokio::sync::Notify;

use crate::collect;
use crate::data::Mended;
use crate::service::{ObjectError, Result, ScrubStatus};
use crate::store::Store;

/// Segments whose live bytes are looked up at a time.
const BATCH: usize = 4;
/// How long a drive may be away before its shards are rebuilt on others unasked.
const AWAY_MAX: Duration = Duration::from_secs(600);

/// The scrubber as others see it.
#[derive(Default)]
pub(crate) struct Scrubber {
    status: Mutex<ScrubStatus>,
    asked: Notify,
}

impl Scrubber {
    pub(crate) fn status(&self) -> ScrubStatus {
        self.status.lock().clone()
    }

    /// Has a pass begin soon.
    pub(crate) fn ask(&self) {
        // Asked for is as good as begun, for who watches.
        self.status.lock().running = true;
        self.asked.notify_one();
    }

    fn change(&self, change: impl FnOnce(&mut ScrubStatus)) {
        change(&mut self.status.lock());
    }
}

/// The background task.
pub(crate) async fn run(store: Arc<Store>) {
    let mut closing = store.closing.subscribe();
    let look = store.config.scrub_interval.min(AWAY_MAX);
    let (mut last, mut drives) = (Instant::now(), None);
    loop {
        let whole = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return,
            () = store.scrubber.asked.notified() => true,
            () = store.data.damage().noted.notified() => false,
            () = tokio::time::sleep(look) => {
                let missing = store.data.segments().iter().any(|s| s.missing_shards > 0);
                let news = missing && drives != Some(live(&store));
                if !news && last.elapsed() < store.config.scrub_interval {
                    continue;
                }
                true
            }
        };
        let work =
            async { if whole { pass(&store).await } else { mend(&store, store.data.damage().take()).await } };
        let done = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return,
            done = work => done,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "scrubbing");
            store.scrubber.change(|status| status.problem = Some(error.to_string()));
        }
        if whole {
            (last, drives) = (Instant::now(), Some(live(&store)));
            store.scrubber.change(|status| {
                status.running = false;
                status.passes += 1;
            });
        }
    }
}

/// Which drives are in use.
fn live(store: &Store) -> Vec<usize> {
    store.data.drives().live().map(|drive| drive.number).collect()
}

/// One pass over all segments.
async fn pass(store: &Arc<Store>) -> Result<()> {
    let segments: Vec<u64> = store.data.segments().iter().map(|s| s.segment).collect();
    store.scrubber.change(|status| {
        *status = ScrubStatus {
            running: true,
            passes: status.passes,
            segments_total: segments.len() as u64,
            ..ScrubStatus::default()
        };
    });
    drop(store.data.damage().take());
    store.catch_up();
    let scrubbed = store.clone();
    let log = tokio::task::spawn_blocking(move || scrub_log(&scrubbed));
    log.await.map_err(|e| ObjectError::Unavailable(e.to_string()))?;
    mend(store, segments).await
}

/// Verifies the log on all its drives.
fn scrub_log(store: &Store) {
    let mut pace = Pace::new(store.config.scrub_bytes_per_second);
    for segment in store.driver.reader.segments() {
        if *store.closing.borrow() {
            return;
        }
        match store.driver.reader.scrub_segment(segment.id) {
            Ok(report) => {
                store.scrubber.change(|status| {
                    status.bytes += report.bytes;
                    status.repaired_blocks += report.healed;
                });
                store.metrics.scrubbed_bytes.inc_by(report.bytes);
                pace.wait(report.bytes);
            }
            // Compaction has removed it meanwhile.
            Err(LogError::NotFound { .. }) => {}
            Err(error) => {
                tracing::error!(%error, segment = segment.id, "scrubbing the log");
                store.scrubber.change(|status| status.problem = Some(error.to_string()));
            }
        }
    }
}

/// Mends segments, in batches, between rounds of collection.
async fn mend(store: &Arc<Store>, segments: Vec<u64>) -> Result<()> {
    let mut problem = None;
    for batch in segments.chunks(BATCH) {
        let _one = store.collecting.lock().await;
        let (of, batch_store) = (batch.to_vec(), store.clone());
        let mended = tokio::task::spawn_blocking(move || mend_batch(&batch_store, &of));
        if let Err(error) = mended.await.map_err(|e| ObjectError::Unavailable(e.to_string()))? {
            tracing::warn!(%error, "scrubbing");
            problem = Some(error.to_string());
        }
    }
    store.scrubber.change(|status| status.problem = problem.or(status.problem.take()));
    Ok(())
}

fn mend_batch(store: &Store, segments: &[u64]) -> Result<()> {
    // Nothing is appended to them from now on, and what was staged to them is in the view that is looked at next.
    segments.iter().for_each(|segment| store.data.seal(*segment));
    let resting: BTreeSet<u64> =
        store.data.segments().into_iter().filter(|s| s.sealed && !s.in_flight).map(|s| s.segment).collect();
    let of: BTreeSet<u64> = segments.iter().copied().filter(|s| resting.contains(s)).collect();
    let mut live: BTreeMap<u64, BTreeSet<Extent>> = of.iter().map(|s| (*s, BTreeSet::new())).collect();
    for extent in collect::live_extents(store, &of)? {
        live.entry(extent.segment).or_default().insert(extent);
    }
    let mut pace = Pace::new(store.config.scrub_bytes_per_second);
    let mut problem = Ok(());
    for (segment, live) in live {
        if *store.closing.borrow() {
            break;
        }
        let mended = store.data.mend(segment, &live, &mut |bytes| {
            store.scrubber.change(|status| status.bytes += bytes);
            if !*store.closing.borrow() {
                pace.wait(bytes);
            }
        });
        match mended {
            Ok(mended) => note(store, segment, &mended.unwrap_or_default()),
            Err(error) => problem = Err(ObjectError::Unavailable(format!("segment {segment:016x}: {error}"))),
        }
    }
    store.scrubber.change(|status| status.segments_done += segments.len() as u64);
    problem
}

fn note(store: &Store, segment: u64, mended: &Mended) {
    if mended.blocks + mended.shards > 0 {
        tracing::info!(
            segment = format!("{segment:016x}"),
            blocks = mended.blocks,
            shards = mended.shards,
            "repaired"
        );
    }
    if mended.lost > 0 {
        tracing::error!(
            segment = format!("{segment:016x}"),
            blocks = mended.lost,
            "too few shards are left: bytes are lost"
        );
    }
    store.scrubber.change(|status| {
        status.repaired_blocks += mended.blocks;
        status.rebuilt_shards += mended.shards;
        status.lost_blocks += mended.lost;
        if mended.homeless > 0 {
            status.problem =
                Some("shards are missing, and no drive in use is free for them and has the room".into());
        }
    });
    store.metrics.scrubbed_bytes.inc_by(mended.bytes);
    store.metrics.lost_blocks.inc_by(mended.lost);
}

/// Lets so many bytes pass in a second.
struct Pace {
    per_second: u64,
    began: Instant,
    bytes: u64,
}

impl Pace {
    fn new(per_second: u64) -> Self {
        Self { per_second: per_second.max(1), began: Instant::now(), bytes: 0 }
    }

    fn wait(&mut self, bytes: u64) {
        self.bytes += bytes;
        let due = Duration::from_secs_f64(self.bytes as f64 / self.per_second as f64);
        std::thread::sleep(due.saturating_sub(self.began.elapsed()));
    }
}

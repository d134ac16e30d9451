//! Taking space back: data segments that hold garbage, log segments whose records are mostly superseded.

mod data;
mod log;

pub(crate) use data::live_extents;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::service::{ObjectError, Result};
use crate::store::Store;

/// Data segments whose referrers changed since the collector last looked at them.
#[derive(Default)]
pub(crate) struct Dirty {
    segments: Mutex<BTreeSet<u64>>,
}

impl Dirty {
    pub(crate) fn mark(&self, segments: impl Iterator<Item = u64>) {
        let mut peekable = segments.peekable();
        if peekable.peek().is_some() {
            self.segments.lock().extend(peekable);
        }
    }

    /// Takes up to `max` segments.
    pub(crate) fn take(&self, max: usize) -> Vec<u64> {
        let mut segments = self.segments.lock();
        let taken: Vec<u64> = segments.iter().take(max).copied().collect();
        for segment in &taken {
            segments.remove(segment);
        }
        taken
    }
}

/// The collector's round: what was written, deleted and moved since the last one.
pub(crate) async fn run(store: Arc<Store>) {
    let mut closing = store.closing.subscribe();
    let started = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || data::after_start(&store)).await
    };
    if let Ok(Err(error)) = started {
        tracing::warn!(%error, "collection after start");
    }
    loop {
        let freed = round(&store).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "collection");
            0
        });
        // Where there was something to take back there is more, perhaps, and writers may be filling the disk.
        let pause = if freed > 0 { Duration::ZERO } else { store.config.collect_interval };
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One round. Gives the bytes freed.
pub(crate) async fn round(store: &Arc<Store>) -> Result<u64> {
    let _one = store.collecting.lock().await;
    let surveyed = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || data::survey(&store)).await
    };
    surveyed.map_err(|e| ObjectError::Unavailable(e.to_string()))??;
    let freed = data::compact(store).await? + log::compact(store).await?;
    if freed > 0 {
        store.space.poll();
    }
    Ok(freed)
}

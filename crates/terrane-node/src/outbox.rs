//! What the manager has to be told. Bounded: one entry per stripe or volume, the latest.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use terrane_block_core::AttachmentEpoch;
use terrane_block_wire::control::{AttachmentProgress, StripeId, ToManager};
use terrane_types::VolumeId;
use tokio::sync::Notify;

/// Messages on their way to the manager, while it is away as well.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    fetches: BTreeSet<StripeId>,
    suspects: BTreeMap<StripeId, ToManager>,
    progress: BTreeMap<VolumeId, ToManager>,
}

impl Outbox {
    /// Asks for a stripe's record.
    pub(crate) fn fetch(&self, stripe: StripeId) {
        self.waiting.lock().fetches.insert(stripe);
        self.wake.notify_one();
    }

    /// Reports a silent primary.
    pub(crate) fn suspect(&self, stripe: StripeId, message: ToManager) {
        self.waiting.lock().suspects.insert(stripe, message);
        self.wake.notify_one();
    }

    /// Says how far an attachment is.
    pub(crate) fn progress(&self, volume: VolumeId, epoch: AttachmentEpoch, progress: AttachmentProgress) {
        let message = ToManager::Attachment { volume: volume.clone(), epoch, progress };
        self.waiting.lock().progress.insert(volume, message);
        self.wake.notify_one();
    }

    /// Takes everything, once there is something.
    pub(crate) async fn take(&self) -> Vec<ToManager> {
        loop {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            let fetches = waiting.fetches.into_iter().map(|stripe| ToManager::Fetch { stripe });
            // What is suspected first: somebody waits for it.
            let all: Vec<_> =
                waiting.suspects.into_values().chain(fetches).chain(waiting.progress.into_values()).collect();
            if !all.is_empty() {
                return all;
            }
            self.wake.notified().await;
        }
    }
}

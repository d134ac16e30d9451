//! Notifications: completions of a bucket are posted to its webhook, signed, at least once, in the order of their
//! cursors (up to a few at a time).
//!
//! The outbox is the queue. Each webhook has a cursor of its own in the keymap, behind which everything was delivered
//! or given up; a slow endpoint delays nobody else. What every webhook has passed is kept for a while for readers of
//! the event stream, and then removed.

mod hosts;
mod message;
mod outbox;
mod secrets;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::service::{BucketChange, BucketInfo, ObjectError, Result};
use crate::store::Store;

pub use hosts::{BadHost, WebhookHosts};
pub use secrets::SecretKeeper;
pub use webhook::{WEBHOOK_SETTING, Webhook, WebhookError};

/// How often buckets are looked through for webhooks, and the outbox for what can go.
const INTERVAL: Duration = Duration::from_secs(1);

/// A webhook's task, and what it was started with.
struct Running {
    setting: bytes::Bytes,
    task: JoinHandle<()>,
}

/// Runs until the store closes.
pub(crate) async fn run(store: Arc<Store>) {
    let mut closing = store.closing.subscribe();
    let mut running: BTreeMap<u64, Running> = BTreeMap::new();
    let mut janitor = match outbox::Janitor::new(&store).await {
        Ok(janitor) => janitor,
        Err(error) => return tracing::error!(%error, "no notifications: the outbox cannot be read"),
    };
    let client = webhook::client(store.config.webhook_hosts.clone());
    loop {
        if let Ok(client) = &client {
            attend(&store, client, &mut running);
        }
        if let Err(error) = janitor.trim(&store, running.keys().copied().collect()).await {
            tracing::warn!(%error, "trimming the outbox");
        }
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => break,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
    for (_, webhook) in running {
        webhook.task.abort();
        // Aborted on purpose, or ended: both are well.
        let _ = webhook.task.await;
    }
}

/// Where a webhook's secret lies: what it was sealed for.
fn place(incarnation: u64) -> String {
    format!("{incarnation:016x}")
}

/// A change of a bucket as it is to be stored: a webhook is checked, and its secret sealed.
pub(crate) async fn guarded(
    store: &Store,
    bucket: &BucketInfo,
    change: BucketChange,
) -> Result<BucketChange> {
    let BucketChange::Setting(name, Some(setting)) = &change else { return Ok(change) };
    if name != WEBHOOK_SETTING {
        return Ok(change);
    }
    let refused = |error: WebhookError| ObjectError::Refused(error.to_string());
    let webhook = Webhook::parse(setting).map_err(refused)?;
    webhook.check_host(&store.config.webhook_hosts).map_err(refused)?;
    let keeper = store.config.secrets.as_ref();
    let keeper = keeper.ok_or_else(|| ObjectError::Unavailable("nothing seals a webhook's secret".into()))?;
    let place = place(bucket.incarnation.0);
    let sealed =
        webhook.sealed(&**keeper, (&bucket.owner, &place)).await.map_err(ObjectError::Unavailable)?;
    Ok(BucketChange::Setting(name.clone(), Some(sealed.into())))
}

/// Starts, restarts and ends webhooks as buckets want.
fn attend(store: &Arc<Store>, client: &reqwest::Client, running: &mut BTreeMap<u64, Running>) {
    let view = store.driver.view();
    let wanted: BTreeMap<u64, _> = view
        .core
        .buckets
        .values()
        .filter_map(|state| Some((state.incarnation.0, (state, state.settings.get(WEBHOOK_SETTING)?))))
        .collect();
    running.retain(|incarnation, webhook| {
        let same = wanted.get(incarnation).is_some_and(|(_, setting)| **setting == webhook.setting);
        if !same {
            webhook.task.abort();
        }
        same
    });
    for (incarnation, (state, setting)) in wanted {
        if running.contains_key(&incarnation) {
            continue;
        }
        let legal = |webhook: Webhook| webhook.check_host(&store.config.webhook_hosts).map(|()| webhook);
        let task = match Webhook::parse(setting).and_then(legal) {
            Ok(webhook) => {
                let delivery = webhook::Delivery::new(store.clone(), client.clone(), state.clone(), webhook);
                tokio::spawn(delivery.run())
            }
            Err(error) => {
                tracing::warn!(bucket = state.name, %error, "webhook ignored");
                tokio::spawn(async {})
            }
        };
        running.insert(incarnation, Running { setting: setting.clone(), task });
    }
}

//! One bucket's webhook.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use terrane_keymap::bucket::BucketState;
use terrane_keymap::completion::Completion;
use terrane_types::AccountId;

use super::hosts::Resolver;
use super::{SecretKeeper, WebhookHosts, message, outbox};
use crate::convert;
use crate::store::Store;

/// The bucket setting that holds a [`Webhook`] as JSON.
pub const WEBHOOK_SETTING: &str = "notification-webhook";

/// Deliveries of one webhook on their way at a time.
const PARALLEL_MAX: usize = 8;
/// Completions read at a time.
const BATCH_MAX: usize = 64;
/// Attempts before a completion is given up: about four minutes.
const ATTEMPTS_MAX: u32 = 10;
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a bucket's completions are posted.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `http` or `https`. Redirects are not followed.
    pub url: String,
    /// Key of the signature, at least 16 characters: as it is given, and never as it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// The same, sealed by the [`SecretKeeper`]; hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    /// S3's event names with or without `s3:`, `*` at the end matches all; none: all events.
    #[serde(default)]
    pub events: Vec<String>,
    /// Only keys that begin so.
    #[serde(default)]
    pub prefix: String,
    /// Only keys that end so.
    #[serde(default)]
    pub suffix: String,
}

/// Why a setting is no webhook.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Not the JSON that is expected.
    #[error("webhook: {0}")]
    Json(#[from] serde_json::Error),
    /// Not an absolute http or https URL.
    #[error("webhook: {0:?} is not an http or https URL")]
    Url(String),
    /// The host may not be reached; see [`WebhookHosts`].
    #[error("webhook: {0:?} is not a host that webhooks may reach (objects.webhook_hosts)")]
    Host(String),
    /// The secret is too short, or missing.
    #[error("webhook: the secret has fewer than 16 characters")]
    Secret,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Parses and checks a setting.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub fn parse(setting: &[u8]) -> Result<Self, WebhookError> {
        let webhook: Self = serde_json::from_slice(setting)?;
        let url = reqwest::Url::parse(&webhook.url).ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(WebhookError::Url(webhook.url));
        }
        match (&webhook.secret, &webhook.sealed) {
            (Some(secret), None) if secret.len() >= 16 => Ok(webhook),
            (None, Some(_)) => Ok(webhook),
            _ => Err(WebhookError::Secret),
        }
    }

    /// Checks whether the host may be reached, as far as that shows without asking for its addresses.
    pub(super) fn check_host(&self, hosts: &WebhookHosts) -> Result<(), WebhookError> {
        let url = reqwest::Url::parse(&self.url).map_err(|_| WebhookError::Url(self.url.clone()))?;
        let refused = || WebhookError::Host(url.host_str().unwrap_or_default().into());
        if hosts.admits_url(&url) { Ok(()) } else { Err(refused()) }
    }

    /// The setting as it is stored: with the secret sealed. One that comes sealed was not made here.
    pub(super) async fn sealed(
        mut self,
        keeper: &dyn SecretKeeper,
        (owner, place): (&AccountId, &str),
    ) -> Result<Vec<u8>, String> {
        let secret = self.secret.take().ok_or("the secret is missing")?;
        self.sealed = Some(hex::encode(keeper.seal(owner, place, secret.as_bytes()).await?));
        serde_json::to_vec(&self).map_err(|error| error.to_string())
    }

    fn wants(&self, completion: &Completion) -> bool {
        let name = completion.event.as_str();
        let matches = |pattern: &String| {
            let pattern = pattern.strip_prefix("s3:").unwrap_or(pattern);
            pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
        };
        (self.events.is_empty() || self.events.iter().any(matches))
            && completion.key.starts_with(self.prefix.as_bytes())
            && completion.key.ends_with(self.suffix.as_bytes())
    }

    /// `t=SECONDS,v1=HEX`: HMAC-SHA-256 under the secret of the time, a dot and the body.
    fn signature(secret: &[u8], seconds: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(format!("{seconds}.").as_bytes());
        mac.update(body);
        format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
    }
}

/// A client for all webhooks. It connects itself: behind a proxy it could not see whom it reaches.
pub(super) fn client(hosts: WebhookHosts) -> Result<reqwest::Client, reqwest::Error> {
    // The process may have chosen a provider already; then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let built = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(Resolver(Arc::new(hosts))))
        .user_agent("terrane")
        .build();
    if let Err(error) = &built {
        tracing::error!(%error, "no webhooks: no HTTP client");
    }
    built
}

/// The task of a webhook.
pub(super) struct Delivery {
    store: Arc<Store>,
    client: reqwest::Client,
    bucket: Arc<BucketState>,
    webhook: Webhook,
}

impl Delivery {
    pub(super) fn new(
        store: Arc<Store>,
        client: reqwest::Client,
        bucket: Arc<BucketState>,
        webhook: Webhook,
    ) -> Self {
        Self { store, client, bucket, webhook }
    }

    /// The key of the signature. Waits for a keeper that is out of order; `None`: there is no way to it.
    async fn secret(&self) -> Option<Vec<u8>> {
        let (bucket, Webhook { secret, sealed, .. }) = (&self.bucket, &self.webhook);
        if let Some(secret) = secret {
            // Stored before secrets were sealed.
            return Some(secret.as_bytes().to_vec());
        }
        let (sealed, keeper) = (hex::decode(sealed.as_ref()?).ok()?, self.store.config.secrets.as_ref()?);
        let (place, mut backoff) = (super::place(bucket.incarnation.0), BACKOFF_MIN);
        loop {
            match keeper.open(&bucket.owner, &place, &sealed).await {
                Ok(secret) => return Some(secret),
                Err(error) => tracing::warn!(error, bucket = bucket.name, "a webhook's secret does not open"),
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    pub(super) async fn run(self) {
        let Some(secret) = self.secret().await else {
            return tracing::error!(bucket = self.bucket.name, "webhook not started: its secret is sealed");
        };
        let secret = &secret[..];
        let mut news = self.store.driver.completions();
        let incarnation = self.bucket.incarnation;
        let mut cursor = match outbox::cursor(&self.store, incarnation.0) {
            Ok(Some(cursor)) => cursor,
            // A new webhook hears of what comes after it.
            Ok(None) => {
                let now = *news.borrow_and_update();
                outbox::set_cursor(&self.store, incarnation.0, now);
                now
            }
            Err(error) => return tracing::error!(%error, bucket = self.bucket.name, "webhook not started"),
        };
        loop {
            let upto = *news.borrow_and_update();
            let wanted =
                |c: &Completion| (c.incarnation == incarnation && self.webhook.wants(c)).then(|| c.clone());
            let (found, seen) = match self.store.completions_between(cursor, upto, BATCH_MAX, wanted) {
                Ok(found) => found,
                Err(error) => return tracing::error!(%error, bucket = self.bucket.name, "webhook stopped"),
            };
            stream::iter(found)
                .map(|c| self.deliver(secret, c))
                .buffer_unordered(PARALLEL_MAX)
                .collect::<()>()
                .await;
            if seen > cursor {
                cursor = seen;
                outbox::set_cursor(&self.store, incarnation.0, cursor);
            } else if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// Posts a completion until it is taken or given up.
    async fn deliver(&self, secret: &[u8], completion: Completion) {
        let body = message::body(&self.bucket, &completion);
        let operation = convert::completion(&completion).operation;
        let mut backoff = BACKOFF_MIN;
        for attempt in 1..=ATTEMPTS_MAX {
            match self.post(secret, &operation.0, &body).await {
                Ok(()) => {
                    self.store.metrics.webhook_deliveries.inc();
                    return;
                }
                Err(why) => {
                    self.store.metrics.webhook_failures.inc();
                    tracing::debug!(why, attempt, bucket = self.bucket.name, "webhook delivery");
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        self.store.metrics.webhook_dead_letters.inc();
        tracing::warn!(operation = operation.0, bucket = self.bucket.name, "webhook delivery given up");
    }

    async fn post(&self, secret: &[u8], operation: &str, body: &[u8]) -> Result<(), String> {
        let seconds = convert::now().0 / 1_000;
        let sent = self.client.post(&self.webhook.url).header("content-type", "application/json");
        let sent = sent.header("x-terrane-signature", Webhook::signature(secret, seconds, body));
        let sent = sent.header("x-terrane-idempotency-key", operation).body(body.to_vec()).send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(answer.status().to_string()),
            Err(error) => Err(error.without_url().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        let good = br#"{"url":"http://127.0.0.1:1/x","secret":"0123456789abcdef"}"#;
        let webhook = Webhook::parse(good).unwrap();
        assert!(!format!("{webhook:?}").contains("0123456789abcdef"), "secrets are not printed");
        for bad in [
            &b""[..],
            br#"{"url":"ftp://host/x","secret":"0123456789abcdef"}"#,
            br#"{"url":"/x","secret":"0123456789abcdef"}"#,
            br#"{"url":"http://host/x","secret":"short"}"#,
            br#"{"url":"http://host/x"}"#,
            br#"{"url":"http://host/x","secret":"0123456789abcdef","sealed":"00"}"#,
            br#"{"url":"http://host/x","secret":"0123456789abcdef","more":1}"#,
        ] {
            assert!(Webhook::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn signatures_are_pinned() {
        let pinned = "t=7,v1=3cd0ad802237a2c96b7ee3b06705b7350cc8cf0ba4123033d13eda91ad9c4ec2";
        assert_eq!(Webhook::signature(b"0123456789abcdef", 7, b"{}"), pinned);
    }
}

//! `terrane bucket`

use clap::{Subcommand, ValueEnum};
use comfy_table::Table;
use terrane_api::types::{Bucket, BucketPatch, NewBucket, NewWebhook, Webhook};

use super::client::{Client, encode};
use super::input::read_secret;
use super::output::{Output, facts, table};

/// Verbs of `bucket`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The buckets of the account.
    List,
    /// Make a bucket.
    Create {
        /// Its name.
        bucket: String,
        /// How its writes are applied that do not say so themselves: auto, sync, high, low, time=D.
        #[arg(long = "async", value_name = "MODE")]
        mode: Option<String>,
        /// How its bulk bytes are laid over drives: mirror:N, rs:K+M, single (one drive), default.
        #[arg(long, value_name = "LAYOUT")]
        redundancy: Option<String>,
    },
    /// What is known of a bucket.
    Show {
        /// Its name.
        bucket: String,
    },
    /// How writes are applied that do not say so themselves.
    SetAsync {
        /// The bucket's name.
        bucket: String,
        /// `sync` (before the answer), `high`, `low`, `time=D` (no later than D: 30s, 15m, 1h, 2d, 4w), or `auto`
        /// (the load decides).
        mode: String,
    },
    /// How the bulk bytes of objects written from now on are laid over the store's drives.
    SetRedundancy {
        /// The bucket's name.
        bucket: String,
        /// `mirror:N` (N copies), `rs:K+M` (Reed-Solomon: K data and M parity shards, any M drives may be lost), `single`
        /// (on a store of one drive), or `default` (mirror:2 on several drives).
        layout: String,
    },
    /// Keep earlier versions of objects, or no longer.
    SetVersioning {
        /// The bucket's name.
        bucket: String,
        /// On or suspended.
        state: VersioningState,
    },
    /// Where completions of the bucket's writes are posted.
    ShowWebhook {
        /// The bucket's name.
        bucket: String,
    },
    /// Post completions of the bucket's writes to a URL. The key of their signature, at least 16 characters, is
    /// read from standard input.
    SetWebhook {
        /// The bucket's name.
        bucket: String,
        /// `http` or `https`.
        url: String,
        /// Only these events, such as `ObjectCreated:*`. May be repeated; default: all.
        #[arg(long = "event", value_name = "NAME")]
        events: Vec<String>,
        /// Only keys that begin so.
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        /// Only keys that end so.
        #[arg(long, default_value = "", hide_default_value = true)]
        suffix: String,
    },
    /// Post no more completions.
    DeleteWebhook {
        /// The bucket's name.
        bucket: String,
    },
    /// Delete an empty bucket.
    Delete {
        /// Its name.
        bucket: String,
    },
}

/// States that versioning can be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum VersioningState {
    /// Writes make versions.
    Enabled,
    /// Writes replace the `null` version; earlier versions stay.
    Suspended,
}

fn path(bucket: &str) -> String {
    format!("/_terrane/v1/buckets/{}", encode(bucket))
}

pub(crate) async fn run(client: &Client, out: &Output, verb: Verb) -> anyhow::Result<()> {
    let bucket: Bucket = match verb {
        Verb::List => {
            let buckets: Vec<Bucket> = client.get("/_terrane/v1/buckets").await?;
            return out.print(&buckets, |buckets| table_of(buckets));
        }
        Verb::Delete { bucket } => {
            client.delete(&path(&bucket)).await?;
            return out.done(format_args!("bucket {bucket} deleted"));
        }
        Verb::ShowWebhook { bucket } => {
            let webhook: Webhook = client.get(&format!("{}/webhook", path(&bucket))).await?;
            return out.print(&webhook, show_webhook);
        }
        Verb::SetWebhook { bucket, url, events, prefix, suffix } => {
            let webhook = Webhook { url, events, prefix, suffix };
            let new = NewWebhook { webhook, secret: read_secret()? };
            let webhook: Webhook = client.put(&format!("{}/webhook", path(&bucket)), &new).await?;
            return out.print(&webhook, show_webhook);
        }
        Verb::DeleteWebhook { bucket } => {
            client.delete(&format!("{}/webhook", path(&bucket))).await?;
            return out.done(format_args!("webhook of bucket {bucket} deleted"));
        }
        Verb::Create { bucket, mode, redundancy } => {
            let write_mode = mode.filter(|mode| mode != "auto");
            client.post("/_terrane/v1/buckets", &NewBucket { name: bucket, write_mode, redundancy }).await?
        }
        Verb::SetRedundancy { bucket, layout } => {
            let patch = BucketPatch { redundancy: Some(layout), ..BucketPatch::default() };
            client.patch(&path(&bucket), &patch).await?
        }
        Verb::Show { bucket } => client.get(&path(&bucket)).await?,
        Verb::SetAsync { bucket, mode } => {
            let patch = BucketPatch { write_mode: Some(mode), ..BucketPatch::default() };
            client.patch(&path(&bucket), &patch).await?
        }
        Verb::SetVersioning { bucket, state } => {
            let text = match state {
                VersioningState::Enabled => "enabled",
                VersioningState::Suspended => "suspended",
            };
            let patch = BucketPatch { versioning: Some(text.to_owned()), ..BucketPatch::default() };
            client.patch(&path(&bucket), &patch).await?
        }
    };
    out.print(&bucket, show)
}

fn show_webhook(webhook: &Webhook) -> Table {
    facts([
        ("url", webhook.url.clone()),
        ("events", if webhook.events.is_empty() { "all".to_owned() } else { webhook.events.join(", ") }),
        ("prefix", webhook.prefix.clone()),
        ("suffix", webhook.suffix.clone()),
    ])
}

fn mode(bucket: &Bucket) -> String {
    bucket.write_mode.clone().unwrap_or_else(|| "auto".to_owned())
}

fn redundancy(bucket: &Bucket) -> &str {
    bucket.redundancy.as_deref().unwrap_or("default")
}

fn table_of(buckets: &[Bucket]) -> Table {
    let mut table = table(["bucket", "created", "versioning", "async", "redundancy"]);
    for bucket in buckets {
        let (name, created, versioning) = (&bucket.name, &bucket.created, &bucket.versioning);
        table.add_row([name, created, versioning, &mode(bucket), redundancy(bucket)]);
    }
    table
}

fn show(bucket: &Bucket) -> Table {
    facts([
        ("bucket", bucket.name.clone()),
        ("owner", bucket.owner.clone()),
        ("created", bucket.created.clone()),
        ("incarnation", bucket.incarnation.clone()),
        ("versioning", bucket.versioning.clone()),
        ("async", mode(bucket)),
        ("redundancy", redundancy(bucket).to_owned()),
        ("settings", bucket.settings.join(", ")),
    ])
}

//! `terrane snapshot`: snapshots of volumes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use comfy_table::Table;
use terrane_api::types::{Snapshot, SnapshotCopy, SnapshotPatch};

use super::client::{Client, encode};
use super::output::{Output, bytes, facts, number, or_dash, table};

const PATH: &str = "/_terrane/v1/snapshots";
/// Snapshots of one page.
const PAGE: usize = 1000;
/// How often a copy is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Verbs of `snapshot`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The account's snapshots.
    List {
        /// Also those that others share with the account, and public ones.
        #[arg(long)]
        shared: bool,
        /// Those in the recycle bin instead.
        #[arg(long, conflicts_with = "shared")]
        deleted: bool,
    },
    /// A snapshot.
    Show {
        /// Identifier.
        snapshot: String,
    },
    /// Delete a snapshot; others that share blocks with it stay whole.
    Delete {
        /// Identifier.
        snapshot: String,
    },
    /// Make a copy of a snapshot, also of one that another account shares, and wait until it is there.
    Copy {
        /// Identifier.
        snapshot: String,
        /// For people.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
    },
    /// Let accounts, or everybody, make volumes of a snapshot, or not any more.
    Share {
        /// Identifier.
        snapshot: String,
        /// An account that may. May be repeated.
        #[arg(long = "with", value_name = "ACCOUNT")]
        with: Vec<String>,
        /// An account that may not any more. May be repeated.
        #[arg(long = "not-with", value_name = "ACCOUNT")]
        not_with: Vec<String>,
        /// Whether everybody may.
        #[arg(long, value_name = "true|false")]
        public: Option<bool>,
    },
    /// Take a snapshot out of the recycle bin.
    Restore {
        /// Identifier.
        snapshot: String,
    },
}

pub(crate) async fn run(client: &Client, out: &Output, verb: Verb) -> anyhow::Result<()> {
    let path = |snapshot: &str| format!("{PATH}/{}", encode(snapshot));
    let snapshot: Snapshot = match verb {
        Verb::List { shared, deleted } => {
            let snapshots = list(client, shared, deleted).await?;
            return out.print(&snapshots, |snapshots| rows(snapshots));
        }
        Verb::Show { snapshot } => client.get(&path(&snapshot)).await?,
        Verb::Delete { snapshot } => return client.delete(&path(&snapshot)).await,
        Verb::Copy { snapshot, description, no_wait } => {
            let wish = SnapshotCopy { description, tags: BTreeMap::new() };
            let mut copy: Snapshot = client.post(&format!("{}/copy", path(&snapshot)), &wish).await?;
            while !no_wait && copy.state == "pending" {
                tokio::time::sleep(LOOK).await;
                copy = client.get(&path(&copy.id)).await?;
            }
            if copy.state == "error" {
                bail!("{} came to nothing: {}", copy.id, copy.message.unwrap_or_default());
            }
            copy
        }
        Verb::Share { snapshot, with, not_with, public } => {
            let patch = SnapshotPatch { share: with, unshare: not_with, public };
            client.patch(&path(&snapshot), &patch).await?
        }
        Verb::Restore { snapshot } => {
            client.post(&format!("{}/restore", path(&snapshot)), &serde_json::json!({})).await?
        }
    };
    out.print(&snapshot, report)
}

async fn list(client: &Client, shared: bool, deleted: bool) -> anyhow::Result<Vec<Snapshot>> {
    let mut all: Vec<Snapshot> = Vec::new();
    loop {
        let mut path = format!("{PATH}?limit={PAGE}&shared={shared}&deleted={deleted}");
        if let Some(last) = all.last() {
            path.push_str(&format!("&after={}", encode(&last.id)));
        }
        let page: Vec<Snapshot> = client.get(&path).await?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

fn rows(snapshots: &[Snapshot]) -> Table {
    let mut table = table(["snapshot", "state", "size", "stored", "of", "started", "description"]);
    for snapshot in snapshots {
        let state = match &*snapshot.state {
            "pending" => format!("pending {} %", snapshot.progress),
            state => state.to_owned(),
        };
        table.add_row([
            snapshot.id.clone().into(),
            state.into(),
            number(format!("{} GiB", snapshot.size_gib)),
            number(or_dash(snapshot.full_bytes.map(bytes))),
            or_dash(snapshot.volume_id.as_deref()).into(),
            snapshot.started.clone().into(),
            snapshot.description.clone().into(),
        ]);
    }
    table
}

fn report(snapshot: &Snapshot) -> Table {
    let text = |value: &Option<String>| or_dash(value.as_deref());
    let pairs = |tags: &BTreeMap<String, String>| {
        tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
    };
    facts([
        ("snapshot", snapshot.id.clone()),
        ("state", snapshot.state.clone()),
        ("message", text(&snapshot.message)),
        ("progress", format!("{} %", snapshot.progress)),
        ("size", format!("{} GiB", snapshot.size_gib)),
        ("not zeros", or_dash(snapshot.full_bytes.map(bytes))),
        ("volume", text(&snapshot.volume_id)),
        ("parent", text(&snapshot.parent_id)),
        ("owner", snapshot.owner.clone()),
        ("started", snapshot.started.clone()),
        ("completed", text(&snapshot.completed)),
        ("description", snapshot.description.clone()),
        ("shared with", snapshot.shared_with.join(", ")),
        ("public", snapshot.public.to_string()),
        ("lock", text(&snapshot.lock)),
        ("locked until", text(&snapshot.locked_until)),
        ("gone for good", text(&snapshot.deleted_for_good)),
        ("tags", pairs(&snapshot.tags)),
    ])
}

//! `terrane volume modify` and `terrane volume modifications`.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::Table;
use terrane_api::types::{Modification, VolumePatch};

use super::client::{Client, encode};
use super::output::{Output, duration, facts, number, or_dash, table};
use super::progress::Progress;
use super::volume::path;

const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct ModifyArgs {
    /// Identifier.
    volume: String,
    /// Size in GiB.
    #[arg(long, value_name = "GIB")]
    size: Option<u32>,
    /// Type: other drives, perhaps.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// IOPS.
    #[arg(long, value_name = "N")]
    iops: Option<u32>,
    /// MiB/s.
    #[arg(long, value_name = "N")]
    throughput: Option<u32>,
    /// Zone of its primary.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Copies beside the primary, 0 to 3.
    #[arg(long, value_name = "N")]
    mirrors: Option<u32>,
    /// Stripes. Not implemented yet: a volume has one.
    #[arg(long, value_name = "N")]
    stripes: Option<u32>,
    /// Data beyond a smaller size may be lost.
    #[arg(long)]
    allow_truncate: bool,
    /// Give up the latest change, as long as it has not taken effect.
    #[arg(long, conflicts_with_all = ["size", "kind", "iops", "throughput", "zone", "mirrors", "stripes", "allow_truncate"])]
    cancel: bool,
    /// Do not wait.
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn run(client: &Client, out: &Output, args: ModifyArgs) -> anyhow::Result<()> {
    let path = path(&args.volume);
    let change: Modification = if args.cancel {
        client.post(&format!("{path}/modifications/cancel"), &serde_json::json!({})).await?
    } else {
        let ModifyArgs { size, kind, iops, throughput, zone, mirrors, stripes, allow_truncate, .. } = args;
        let patch = VolumePatch {
            size_gib: size,
            kind,
            iops,
            throughput,
            multi_attach: None,
            zone,
            mirrors,
            stripes,
            allow_truncate,
        };
        client.patch(&path, &patch).await?
    };
    let change = if args.no_wait { change } else { wait(client, &path, change).await? };
    if change.state == "failed" {
        bail!("volume {} is as it was: {}", change.volume_id, or_dash(change.message));
    }
    out.print(&change, report)
}

/// Follows a change to its end.
async fn wait(client: &Client, path: &str, change: Modification) -> anyhow::Result<Modification> {
    let bar = Progress::new("changing the volume", 100);
    let mut now = change;
    while now.ended.is_none() && !["completed", "failed", "cancelled"].contains(&now.state.as_str()) {
        tokio::time::sleep(LOOK).await;
        let all: Vec<Modification> = client.get(&format!("{path}/modifications")).await?;
        let same = all.into_iter().find(|other| other.number == now.number);
        now = same.context("the change is not remembered any more")?;
        bar.set(now.progress.into());
    }
    Ok(now)
}

pub(super) async fn list(client: &Client, out: &Output, volume: Option<&str>) -> anyhow::Result<()> {
    let path = match volume {
        Some(volume) => format!("/_terrane/v1/volumes/{}/modifications", encode(volume)),
        None => "/_terrane/v1/modifications".to_owned(),
    };
    let changes: Vec<Modification> = client.get(&path).await?;
    out.print(&changes, |changes| list_of(changes))
}

/// What differs, in a line.
fn what(change: &Modification) -> String {
    let (before, after) = (&change.original, &change.target);
    let pairs = [
        ("size", format!("{} GiB", before.size_gib), format!("{} GiB", after.size_gib)),
        ("type", before.kind.clone(), after.kind.clone()),
        ("iops", or_dash(before.iops), or_dash(after.iops)),
        ("throughput", or_dash(before.throughput), or_dash(after.throughput)),
        ("zone", before.zone.clone(), after.zone.clone()),
        ("mirrors", before.mirrors.to_string(), after.mirrors.to_string()),
    ];
    let differs = pairs.into_iter().filter(|(_, before, after)| before != after);
    let told: Vec<String> =
        differs.map(|(name, before, after)| format!("{name} {before} → {after}")).collect();
    told.join(", ")
}

fn list_of(changes: &[Modification]) -> Table {
    let mut table = table(["volume", "no.", "state", "progress", "eta", "change", "started", "message"]);
    for change in changes {
        table.add_row([
            change.volume_id.clone().into(),
            number(change.number),
            change.state.clone().into(),
            number(format_args!("{} %", change.progress)),
            number(or_dash(change.eta_seconds.map(|seconds| duration(seconds.saturating_mul(1000))))),
            what(change).into(),
            change.started.clone().into(),
            or_dash(change.message.as_ref()).into(),
        ]);
    }
    table
}

fn report(change: &Modification) -> Table {
    facts([
        ("volume", change.volume_id.clone()),
        ("state", change.state.clone()),
        ("progress", format!("{} %", change.progress)),
        ("change", what(change)),
        ("workflow", or_dash(change.workflow.as_ref())),
        ("message", or_dash(change.message.as_ref())),
    ])
}

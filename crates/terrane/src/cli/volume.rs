//! `terrane volume`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, Subcommand};
use comfy_table::Table;
use terrane_api::types::{Attachment, AttachmentWish, Copy, DetachWish, NewVolume, Volume, VolumeSummary};

use super::client::{Client, encode};
use super::connect::Connect;
use super::device;
use super::modify::{self, ModifyArgs};
use super::output::{Output, facts, number, or_dash, table};
use super::progress::Progress;

/// Verbs of `volume`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The account's volumes.
    List,
    /// A volume with its copies and attachments.
    Show {
        /// Identifier.
        volume: String,
    },
    /// Make a volume, and wait until it is there.
    Create(CreateArgs),
    /// Delete a volume that is attached to nothing.
    Delete {
        /// Identifier.
        volume: String,
    },
    /// Attach a volume to an instance, and wait until it is served there.
    Attach {
        /// Identifier.
        volume: String,
        /// Instance; default: the account's only one.
        #[arg(long, value_name = "ID")]
        instance: Option<String>,
        /// Device name; default: the first of /dev/sdf to /dev/sdp that is free.
        #[arg(long, value_name = "NAME")]
        device: Option<String>,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
    },
    /// Detach a volume when its clients have gone, and wait for that.
    Detach {
        /// Identifier.
        volume: String,
        /// Instance, where it is attached to several.
        #[arg(long, value_name = "ID")]
        instance: Option<String>,
        /// Cut its clients off.
        #[arg(long)]
        force: bool,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
    },
    /// Make a block device of a volume that is attached to this machine, and print its path. Needs root, /dev/fuse
    /// and loop devices.
    Device(DeviceArgs),
    /// Change a volume in use, and wait until it is done: size, type, performance, zone, mirrors. What was asked for goes on
    /// if this program is interrupted.
    Modify(ModifyArgs),
    /// Changes of a volume, the latest first; without a volume, the latest one of each.
    Modifications {
        /// Identifier.
        volume: Option<String>,
    },
    /// For operators: copies that do not answer are lost for good. A stranded volume goes on with the best copy
    /// that lives, which may be as old as the last flush.
    DeclareLost {
        /// Identifier, of any account.
        volume: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Size in GiB.
    #[arg(long, value_name = "GIB")]
    size: u32,
    /// gp3, gp2, io1, io2, st1 or sc1 [default: gp3].
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// IOPS.
    #[arg(long, value_name = "N")]
    iops: Option<u32>,
    /// MiB/s.
    #[arg(long, value_name = "N")]
    throughput: Option<u32>,
    /// Zone of its primary [default: the first].
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// A tag. May be repeated.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Identifier.
    pub(super) volume: String,
    /// Directory to mount the device's file at; made if it is not there [default: run/devices/ID of the data
    /// directory].
    #[arg(long, value_name = "DIR")]
    pub(super) at: Option<PathBuf>,
    /// Take the device away again.
    #[arg(long, conflicts_with = "foreground")]
    pub(super) remove: bool,
    /// Serve the device in this process until a signal ends it, instead of in one that stays behind.
    #[arg(long)]
    pub(super) foreground: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What takes longer than this has not worked.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn path(volume: &str) -> String {
    format!("/_terrane/v1/volumes/{}", encode(volume))
}

pub(crate) async fn run(connect: &Connect, out: &Output, verb: Verb) -> anyhow::Result<()> {
    let client = &connect.client()?;
    match verb {
        Verb::List => out.print(&list(client).await?, |volumes| list_of(volumes)),
        Verb::Show { volume } => show(client, out, &volume).await,
        Verb::Create(args) => create(client, out, args).await,
        Verb::Delete { volume } => {
            client.delete(&path(&volume)).await?;
            out.done(format_args!("volume {volume} deleted"))
        }
        Verb::Attach { volume, instance, device, no_wait } => {
            let wish = AttachmentWish { instance_id: instance, device };
            let attached: Volume = client.post(&format!("{}/attach", path(&volume)), &wish).await?;
            let attached = if no_wait { attached } else { wait_attached(client, &volume).await? };
            out.print(&attached, report)
        }
        Verb::Detach { volume, instance, force, no_wait } => {
            let wish = DetachWish { instance_id: instance.clone(), force };
            let mut left: Volume = client.post(&format!("{}/detach", path(&volume)), &wish).await?;
            if !no_wait {
                left = wait_detached(client, &volume, instance.as_deref()).await?;
            }
            out.print(&left, report)
        }
        Verb::Device(args) => device::run(connect, client, out, args).await,
        Verb::Modify(args) => modify::run(client, out, args).await,
        Verb::Modifications { volume } => modify::list(client, out, volume.as_deref()).await,
        Verb::DeclareLost { volume } => {
            let call = format!("{}/declare-lost", path(&volume));
            let volume: Volume = client.post(&call, &serde_json::json!({})).await?;
            out.print(&volume, report)
        }
    }
}

/// All pages.
async fn list(client: &Client) -> anyhow::Result<Vec<VolumeSummary>> {
    const LIMIT: usize = 1000;
    let mut all: Vec<VolumeSummary> = Vec::new();
    loop {
        let after = all.last().map(|last| format!("&after={}", encode(&last.id))).unwrap_or_default();
        let page: Vec<VolumeSummary> =
            client.get(&format!("/_terrane/v1/volumes?limit={LIMIT}{after}")).await?;
        let is_last = page.len() < LIMIT;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

pub(super) async fn get(client: &Client, volume: &str) -> anyhow::Result<Volume> {
    client.get(&path(volume)).await
}

async fn show(client: &Client, out: &Output, volume: &str) -> anyhow::Result<()> {
    out.print(&get(client, volume).await?, report)
}

async fn create(client: &Client, out: &Output, args: CreateArgs) -> anyhow::Result<()> {
    let CreateArgs { size, kind, iops, throughput, zone, tags } = args;
    let tags: BTreeMap<String, String> = tags.into_iter().collect();
    let new = NewVolume {
        size_gib: size,
        kind,
        iops,
        throughput,
        zone,
        multi_attach: false,
        tags,
        client_token: None,
    };
    let made: Volume = client.post("/_terrane/v1/volumes", &new).await?;
    let ready = |volume: &Volume| volume.state != "creating";
    let made = wait(client, &made.id, "making the volume", ready).await?;
    if made.state == "error" {
        bail!("volume {} could not be made: {}", made.id, made.notes.join("; "));
    }
    out.print(&made, report)
}

async fn wait_attached(client: &Client, volume: &str) -> anyhow::Result<Volume> {
    let trouble =
        |volume: &Volume| volume.attachments.iter().find_map(|attachment| attachment.trouble.clone());
    let served = |volume: &Volume| {
        trouble(volume).is_some()
            || volume.attachments.iter().all(|attachment| attachment.state != "attaching")
    };
    let volume = wait(client, volume, "attaching", served).await?;
    match trouble(&volume) {
        Some(trouble) => bail!("volume {} cannot be served: {trouble}", volume.id),
        None => Ok(volume),
    }
}

async fn wait_detached(client: &Client, volume: &str, instance: Option<&str>) -> anyhow::Result<Volume> {
    let is_meant =
        |attachment: &Attachment| instance.is_none_or(|instance| attachment.instance_id == instance);
    let gone = |volume: &Volume| !volume.attachments.iter().any(is_meant);
    wait(client, volume, "waiting for its clients to go", gone).await
}

/// Waits for a state of the volume.
async fn wait(
    client: &Client,
    volume: &str,
    what: &'static str,
    reached: impl Fn(&Volume) -> bool,
) -> anyhow::Result<Volume> {
    let began = Instant::now();
    Progress::spin(what, async {
        loop {
            let now = get(client, volume).await?;
            if reached(&now) {
                return Ok(now);
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "{what}: not within {} s; `terrane volume show {volume}` tells how it stands",
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
}

fn list_of(volumes: &[VolumeSummary]) -> Table {
    let mut table = table(["volume", "state", "health", "size", "type", "iops", "zone", "attached to"]);
    for volume in volumes {
        table.add_row([
            volume.id.clone().into(),
            volume.state.clone().into(),
            volume.health.clone().into(),
            number(format_args!("{} GiB", volume.size_gib)),
            volume.kind.clone().into(),
            number(or_dash(volume.iops)),
            volume.zone.clone().into(),
            or_dash((!volume.instance_ids.is_empty()).then(|| volume.instance_ids.join(", "))).into(),
        ]);
    }
    table
}

fn report(volume: &Volume) -> String {
    let mut text = facts([
        ("volume", volume.id.clone()),
        ("state", volume.state.clone()),
        ("health", volume.health.clone()),
        ("size", format!("{} GiB (at least {} GiB)", volume.size_gib, volume.min_safe_size_gib)),
        ("type", volume.kind.clone()),
        ("iops", or_dash(volume.iops)),
        ("throughput", or_dash(volume.throughput.map(|rate| format!("{rate} MiB/s")))),
        ("zone", volume.zone.clone()),
        ("generation", volume.generation.to_string()),
    ])
    .to_string();
    for note in &volume.notes {
        text += &format!("\n note        {note}");
    }
    text += &format!("\n\n{}", copies_of(&volume.copies));
    if !volume.attachments.is_empty() {
        text += &format!("\n\n{}", attachments_of(&volume.attachments));
    }
    text
}

fn copies_of(copies: &[Copy]) -> Table {
    let mut table = table(["server", "zone", "media", "role", "state", "trouble"]);
    for copy in copies {
        let state = match copy.resync {
            Some(resync) if resync.moved + resync.left > 0 => {
                format!("{} ({} %)", copy.state, resync.moved * 100 / (resync.moved + resync.left))
            }
            _ => copy.state.clone(),
        };
        let Copy { server, zone, media, role, trouble, .. } = copy.clone();
        table.add_row([server, zone, media, role, state, or_dash(trouble)]);
    }
    table
}

fn attachments_of(attachments: &[Attachment]) -> Table {
    let mut table = table(["instance", "device", "state", "address"]);
    for attachment in attachments {
        let Attachment { instance_id, nbd_url, device, state, trouble, .. } = attachment.clone();
        table.add_row([instance_id, device, state, or_dash(nbd_url.map(|url| url.0).or(trouble))]);
    }
    table
}

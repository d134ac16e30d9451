//! `terrane drive`

use std::time::Duration;

use clap::Subcommand;
use comfy_table::{Cell, Table};
use terrane_api::types::{Drives, Replacement, Scrub};

use super::client::Client;
use super::output::{Output, bytes, facts, number, table};
use super::progress::Progress;

/// How often a pass that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Verbs of `drive`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// State, room and errors of each drive.
    List,
    /// Verify everything on all drives and write anew what is damaged or missing; waits for it.
    Scrub {
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
    },
    /// Take the empty directory of a missing drive into use and have its share rebuilt; waits for it.
    Replace {
        /// The directory, as configured.
        path: String,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
    },
}

pub(crate) async fn run(client: &Client, out: &Output, verb: Verb) -> anyhow::Result<()> {
    let (drives, no_wait): (Drives, bool) = match verb {
        Verb::List => {
            let drives: Drives = client.get("/_terrane/v1/drives").await?;
            return out.print(&drives, table_of);
        }
        Verb::Scrub { no_wait } => (client.post("/_terrane/v1/drives/scrub", &()).await?, no_wait),
        Verb::Replace { path, no_wait } => {
            (client.post("/_terrane/v1/drives/replace", &Replacement { path }).await?, no_wait)
        }
    };
    let drives = if no_wait { drives } else { wait(client, drives).await? };
    out.print(&drives, |drives| scrub_of(&drives.scrub))
}

async fn wait(client: &Client, mut drives: Drives) -> anyhow::Result<Drives> {
    let progress = Progress::new("verifying segments", drives.scrub.segments_total);
    let copying = |drives: &Drives| drives.drives.iter().any(|d| d.log.as_deref() == Some("copying"));
    while drives.scrub.running || copying(&drives) {
        tokio::time::sleep(LOOK).await;
        drives = client.get("/_terrane/v1/drives").await?;
        progress.set_of(drives.scrub.segments_done, drives.scrub.segments_total);
    }
    Ok(drives)
}

fn table_of(drives: &Drives) -> Table {
    let mut table = table(["drive", "path", "state", "log", "data", "free", "errors", "repaired"]);
    for drive in &drives.drives {
        let state = match &drive.cause {
            Some(cause) => format!("{}: {cause}", drive.state),
            None => drive.state.clone(),
        };
        table.add_row([
            Cell::new(drive.number),
            Cell::new(&drive.path),
            Cell::new(state),
            Cell::new(drive.log.as_deref().unwrap_or("-")),
            number(bytes(drive.data_bytes)),
            number(bytes(drive.free_bytes)),
            number(drive.errors),
            number(drive.repaired_blocks),
        ]);
    }
    table
}

fn scrub_of(scrub: &Scrub) -> Table {
    facts([
        ("state", if scrub.running { "under way".to_owned() } else { "done".to_owned() }),
        ("segments", format!("{} of {}", scrub.segments_done, scrub.segments_total)),
        ("verified", bytes(scrub.bytes)),
        ("blocks repaired", scrub.repaired_blocks.to_string()),
        ("shards rebuilt", scrub.rebuilt_shards.to_string()),
        ("blocks lost", scrub.lost_blocks.to_string()),
        ("problem", scrub.problem.clone().unwrap_or_else(|| "none".to_owned())),
    ])
}

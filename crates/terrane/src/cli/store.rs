//! `terrane store`

use std::path::PathBuf;

use clap::Subcommand;
use terrane_api::types::{Backup, MadeBackup, NewBackup, Rebuild};

use super::connect::Connect;
use super::output::{Output, bytes, facts, number, table};
use super::progress::Progress;
use crate::server;

/// Verbs of `store`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write the running store's state of one moment into a file on the server, below its data directory.
    Backup {
        /// Name of the backup: 1 to 64 of `A-Z a-z 0-9 - _`; default: the time.
        name: Option<String>,
    },
    /// Backups on the server.
    List,
    /// Replace the store of a data directory by a backup, offline. The old store is kept beside it, and a new
    /// incarnation begins: nothing that was fenced becomes valid again.
    Restore {
        /// The backup's file.
        file: PathBuf,
    },
    /// Make volumes anew from what the connected block servers' copies say of themselves, for a store that was lost.
    /// Volumes that are known stay as they are.
    RebuildVolumes,
    /// Read the store of a data directory, offline, and verify everything in it.
    Check,
}

pub(crate) async fn run(connect: &Connect, out: &Output, verb: Verb) -> anyhow::Result<()> {
    const PATH: &str = "/_terrane/v1/store/backups";
    match verb {
        Verb::Backup { name } => {
            let (client, request) = (connect.client()?, NewBackup { name });
            let call = client.post(PATH, &request);
            let made: MadeBackup = Progress::spin("backing up the store", call).await?;
            out.print(&made, |made| {
                facts([
                    ("backup", made.name.clone()),
                    ("path", made.path.clone()),
                    ("rows", made.rows.to_string()),
                    ("size", bytes(made.bytes)),
                    ("incarnation", made.incarnation.clone()),
                ])
            })
        }
        Verb::List => {
            let backups: Vec<Backup> = connect.client()?.get(PATH).await?;
            out.print(&backups, |backups| {
                let mut table = table(["backup", "created", "size", "path"]);
                for backup in backups {
                    let Backup { name, path, file_bytes, created } = backup.clone();
                    table.add_row([name.into(), created.into(), number(bytes(file_bytes)), path.into()]);
                }
                table
            })
        }
        Verb::RebuildVolumes => {
            let (client, nothing) = (connect.client()?, serde_json::json!({}));
            let call = client.post("/_terrane/v1/store/rebuild-volumes", &nothing);
            let rebuilt: Rebuild = Progress::spin("rebuilding volumes", call).await?;
            out.print(&rebuilt, |rebuilt| {
                let failed =
                    rebuilt.failed.iter().map(|problem| format!("\n  {problem}")).collect::<String>();
                format!(
                    "{} servers reported; {} volumes made anew, {} known, {} not made{failed}",
                    rebuilt.servers,
                    rebuilt.volumes.len(),
                    rebuilt.known,
                    rebuilt.failed.len()
                )
            })
        }
        Verb::Restore { file } => {
            let dir = connect.data_dir_or_default();
            Progress::spin("restoring the store", server::restore_store(&dir, &file, out)).await
        }
        Verb::Check => {
            let dir = connect.data_dir_or_default();
            Progress::spin("checking the store", server::check_store(&dir, out)).await
        }
    }
}

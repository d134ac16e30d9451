//! `terrane store`

use std::path::PathBuf;

use clap::Subcommand;
use terrane_api::types::{Backup, NewBackup, StoreCheck};

use super::connect::Connect;
use super::output::{Output, bytes, facts, table};
use crate::server;

/// Verbs of `store`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write a consistent copy of the running server's store into a file on the server, below its data directory.
    Backup {
        /// Name of the backup; default: the time.
        name: Option<String>,
    },
    /// Backups on the server.
    List,
    /// Replace the store of a data directory by a backup, offline. A new incarnation begins: nothing that was
    /// fenced becomes valid again.
    Restore {
        /// The backup's file.
        file: PathBuf,
    },
    /// Read everything and verify its checksums: of the running server, or offline of the data directory.
    Check {
        /// Of a data directory that no server uses.
        #[arg(long)]
        offline: bool,
    },
}

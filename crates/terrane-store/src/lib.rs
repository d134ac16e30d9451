//! Terrane's state: an ordered, transactional key-value store with interchangeable engines.
//!
//! One handle, [`Store`], over memory, an embedded engine (a log, one fsync for all waiting
//! commits, a sorted view behind it), PostgreSQL, and another process's store by RPC. All pass one
//! conformance suite: transactions are strictly serialisable, and what was acknowledged is durable.
//!
//! On top, each in plain rows and therefore on every engine: typed [`Table`]s with secondary
//! indexes, [`Sequence`]s, change [`Feed`]s and [`lease`]s.

mod backup;
mod check;
pub mod committer;
mod engine;
mod error;
mod feed;
mod key;
pub mod lease;
pub mod local;
mod postgres;
pub mod remote;
mod sequence;
mod store;
mod table;
pub mod tuple;
mod tx;

pub use backup::{BackupReport, backup, fuzz_decode as fuzz_backup, restore, restore_into};
pub use check::{CheckReport, check};
pub use engine::Row;
pub use error::{Result, StoreError};
pub use feed::{Cursor, Event, Feed, Page};
pub use key::{COMMIT_BYTES_MAX, KEY_BYTES_MAX, KeyRange, READS_MAX, SCAN_ROWS_MAX, VALUE_BYTES_MAX};
pub use local::EmbeddedConfig;
pub use postgres::PostgresConfig;
pub use sequence::Sequence;
pub use store::Store;
pub use table::{Index, Record, Table};
pub use tx::Tx;

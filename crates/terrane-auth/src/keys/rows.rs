//! What the key service stores.

use serde::{Deserialize, Serialize};
use terrane_store::{Record, Table};
use terrane_types::AccountId;

use super::master::Fingerprint;

/// An account's key of one version, wrapped by a master key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WrappedKey {
    /// An [`super::envelope::Envelope`] whose reference is the master key's fingerprint.
    pub(super) envelope: Vec<u8>,
}

impl Record for WrappedKey {
    const VERSION: u8 = 1;
}

/// Which master key wraps all account keys, or is about to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CurrentMaster {
    pub(super) fingerprint: Fingerprint,
}

impl Record for CurrentMaster {
    const VERSION: u8 = 1;
}

/// (account, version), versions from 1 on.
pub(super) static KEYS: Table<(AccountId, u64), WrappedKey> = Table::new("account-keys", &[]);
/// One row, under 0.
pub(super) static MASTER: Table<u64, CurrentMaster> = Table::new("master-key", &[]);

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

#[cfg(test)]
mod tests {
    use terrane_store::{Store, Tx};

    use super::*;

    #[tokio::test]
    async fn the_rows_are_pinned() {
        let store = Store::memory();
        let put = |tx: Tx| async move {
            let account = AccountId::root();
            KEYS.put(&tx, &(account, 2), &WrappedKey { envelope: vec![1, 2, 3] }).await?;
            MASTER.put(&tx, &0, &CurrentMaster { fingerprint: *b"01234567" }).await
        };
        store.transact(put).await.unwrap();
        let all = |tx: Tx| async move { tx.scan(&terrane_store::KeyRange::all(), 9).await };
        let rows = store.read(all).await.unwrap();
        let hex: Vec<_> = rows.iter().map(|(key, value)| (hex::encode(key), hex::encode(value))).collect();
        let pinned = [
            (
                "027400026163636f756e742d6b657973000230303030303030303030303100140000000000000002",
                "0103010203",
            ),
            ("027400026d61737465722d6b657900140000000000000000", "013031323334353637"),
        ];
        assert_eq!(hex, pinned.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}

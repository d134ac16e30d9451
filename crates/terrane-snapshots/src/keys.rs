//! The key service, in the words of snapshots.

use async_trait::async_trait;
use terrane_auth::KeyService;
use terrane_auth::keys::Purpose;
use terrane_snapshot::SnapshotError as FormatError;
use terrane_snapshot::keys::SealSecrets;
use terrane_store::{Store, StoreError};
use terrane_types::AccountId;
use zeroize::Zeroizing;

use crate::rows::{SECRETS, SecretRow};

/// Seals accounts' snapshot keys.
#[derive(Clone)]
pub(crate) struct Keeper(pub(crate) KeyService);

fn failed(error: impl std::fmt::Display) -> FormatError {
    FormatError::Keys(error.to_string())
}

const KIND: &str = "snapshot-key";

#[async_trait]
impl SealSecrets for Keeper {
    async fn seal(&self, account: &AccountId, id: u32, secret: &[u8]) -> Result<Vec<u8>, FormatError> {
        let id = id.to_string();
        self.0.seal(account, Purpose { kind: KIND, id: &id }, secret).await.map_err(failed)
    }

    async fn open(
        &self,
        account: &AccountId,
        id: u32,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, FormatError> {
        let id = id.to_string();
        self.0.open_sealed(account, Purpose { kind: KIND, id: &id }, sealed).await.map_err(failed)
    }
}

/// The installation's key of tokens; made if there is none.
///
/// # Errors
/// The store's; the key service's, as text.
pub(crate) async fn token_key(store: &Store, keys: &KeyService) -> Result<Zeroizing<[u8; 32]>, String> {
    let root = AccountId::root();
    let purpose = Purpose { kind: "snapshot-tokens", id: "0" };
    let fresh = Zeroizing::new(rand::random::<[u8; 32]>());
    let envelope = keys.seal(&root, purpose, &*fresh).await.map_err(|error| error.to_string())?;
    let fresh = &SecretRow { envelope };
    let row = store
        .transact(|tx| async move {
            if let Some(row) = SECRETS.get(&tx, &0).await? {
                return Ok(row);
            }
            SECRETS.put(&tx, &0, fresh).await?;
            Ok::<_, StoreError>(fresh.clone())
        })
        .await
        .map_err(|error| error.to_string())?;
    let opened = keys.open_sealed(&root, purpose, &row.envelope).await.map_err(|error| error.to_string())?;
    let mut key = Zeroizing::new([0; 32]);
    if opened.len() != key.len() {
        return Err("the key of block tokens is damaged".into());
    }
    key.copy_from_slice(&opened);
    Ok(key)
}

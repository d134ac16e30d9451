//! The root account: made at first start, never locked out.

use terrane_store::Tx;
use terrane_types::AccountId;

use super::access_keys::{insert, purpose};
use super::accounts::{delete_credentials, new_row};
use super::rows::{ACCESS_KEYS, ACCOUNTS, KEYS_BY_OWNER, owner_key};
use super::{ACCESS_KEYS_PER_OWNER_MAX, now};
use crate::auth::{Auth, secret_text};
use crate::error::AuthError;
use crate::model::{Identity, NewAccessKey, RootAccess, Status};

impl Auth {
    /// Makes the root account `000000000001` with one access key at the first start; afterwards finds its
    /// oldest usable key. The caller writes it to the credentials file.
    ///
    /// # Errors
    /// The store's, the key service's.
    pub async fn ensure_root(&self) -> Result<RootAccess, AuthError> {
        let owner = &Identity::root(AccountId::root());
        let exists = |tx: Tx| async move { ACCOUNTS.get(&tx, &owner.account).await };
        if self.store().read(exists).await?.is_some() {
            return Ok(RootAccess { key: self.oldest_key(owner).await?, created: false });
        }
        let draft = self.draft_access_key(owner, None).await?;
        let (id, row) = (&draft.id, &draft.row);
        let created = self
            .change(|tx| async move {
                if ACCOUNTS.get(&tx, &owner.account).await?.is_some() {
                    return Ok(false);
                }
                ACCOUNTS.put(&tx, &owner.account, &new_row("root")).await?;
                insert(&tx, id, row).await?;
                Ok(true)
            })
            .await?;
        let key = if created { Some(draft.finish()) } else { self.oldest_key(owner).await? };
        Ok(RootAccess { key, created })
    }

    /// Offline reset by who owns the data directory: deletes all keys, tokens and the password of the root
    /// account's root, enables the account, and makes a new key. Users of the account stay.
    ///
    /// # Errors
    /// The store's, the key service's.
    pub async fn reset_root(&self) -> Result<NewAccessKey, AuthError> {
        let owner = &Identity::root(AccountId::root());
        let draft = self.draft_access_key(owner, None).await?;
        let (id, new) = (&draft.id, &draft.row);
        self.change(|tx| async move {
            let mut row = ACCOUNTS.get(&tx, &owner.account).await?.unwrap_or_else(|| new_row("root"));
            row.status = Status::Enabled;
            row.root_password = None;
            ACCOUNTS.put(&tx, &owner.account, &row).await?;
            delete_credentials(&tx, owner).await?;
            insert(&tx, id, new).await
        })
        .await?;
        Ok(draft.finish())
    }

    async fn oldest_key(&self, owner: &Identity) -> Result<Option<NewAccessKey>, AuthError> {
        let prefix = &owner_key(owner);
        let find = |tx: Tx| async move {
            ACCESS_KEYS.find(&tx, &KEYS_BY_OWNER, prefix, ACCESS_KEYS_PER_OWNER_MAX).await
        };
        let now = now();
        let usable = self.store().read(find).await?.into_iter().filter(|(_, row)| row.is_usable(now));
        let Some((id, row)) = usable.min_by_key(|(_, row)| row.created) else { return Ok(None) };
        let opened = self.keys().open_sealed(&owner.account, purpose(&id), &row.secret).await?;
        Ok(Some(NewAccessKey { key: row.view(&id), secret: secret_text(&opened)? }))
    }
}

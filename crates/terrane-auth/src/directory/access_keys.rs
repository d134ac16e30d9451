//! Access keys.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use terrane_store::Tx;
use terrane_types::{AccessKeyId, AccountId};

use super::rows::{ACCESS_KEYS, AccessKeyRow, KEYS_BY_OWNER, account_row, check_owner, owner_key};
use super::{ACCESS_KEYS_PER_OWNER_MAX, USERS_MAX, now, timestamp};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::keys::Purpose;
use crate::model::{AccessKey, Identity, NewAccessKey, Status};
use crate::secret::{Secret, random_access_key_id, random_secret_key};

/// What a secret access key is sealed for.
pub(crate) fn purpose(id: &AccessKeyId) -> Purpose<'_> {
    Purpose { kind: "access-key", id: id.as_str() }
}

/// A key that is not stored yet.
pub(super) struct Draft {
    pub(super) id: AccessKeyId,
    pub(super) secret: Secret,
    pub(super) row: AccessKeyRow,
}

impl Draft {
    pub(super) fn finish(self) -> NewAccessKey {
        NewAccessKey { key: self.row.view(&self.id), secret: self.secret }
    }
}

impl Auth {
    /// Makes an access key. Its secret can be shown now; later it is only used to verify.
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccount`], [`AuthError::NoSuchUser`], [`AuthError::TooMany`].
    pub async fn create_access_key(
        &self,
        owner: &Identity,
        expires: Option<SystemTime>,
    ) -> Result<NewAccessKey, AuthError> {
        let draft = self.draft_access_key(owner, timestamp(expires)?).await?;
        let (id, row) = (&draft.id, &draft.row);
        self.change(|tx| async move {
            check_owner(&tx, owner).await?;
            insert(&tx, id, row).await
        })
        .await?;
        Ok(draft.finish())
    }

    /// All access keys of an account and its users, grouped by owner, the root's first.
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccount`].
    pub async fn access_keys(&self, account: &AccountId) -> Result<Vec<AccessKey>, AuthError> {
        const ALL: usize = (USERS_MAX + 1) * ACCESS_KEYS_PER_OWNER_MAX;
        let read = |tx| async move {
            account_row(&tx, account).await?;
            Ok::<_, AuthError>(ACCESS_KEYS.find(&tx, &KEYS_BY_OWNER, account, ALL).await?)
        };
        let rows = self.store().read(read).await?;
        Ok(rows.into_iter().map(|(id, row)| row.view(&id)).collect())
    }

    /// Enables or disables a key.
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccessKey`] also for a key of another account.
    pub async fn set_access_key_status(
        &self,
        account: &AccountId,
        id: &AccessKeyId,
        status: Status,
    ) -> Result<AccessKey, AuthError> {
        self.change_access_key(account, id, |row| row.status = status).await
    }

    /// Limits a key in time, or no longer.
    ///
    /// # Errors
    /// As [`Auth::set_access_key_status`].
    pub async fn set_access_key_expiry(
        &self,
        account: &AccountId,
        id: &AccessKeyId,
        expires: Option<SystemTime>,
    ) -> Result<AccessKey, AuthError> {
        let expires = timestamp(expires)?;
        self.change_access_key(account, id, |row| row.expires = expires).await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`Auth::set_access_key_status`].
    pub async fn delete_access_key(&self, account: &AccountId, id: &AccessKeyId) -> Result<(), AuthError> {
        self.change(|tx| async move {
            row_of(&tx, account, id).await?;
            ACCESS_KEYS.delete(&tx, id).await?;
            Ok(())
        })
        .await
    }

    /// Makes a new key for the same owner; the old one is refused after `grace`.
    ///
    /// # Errors
    /// As [`Auth::set_access_key_status`]; [`AuthError::TooMany`].
    pub async fn rotate_access_key(
        &self,
        account: &AccountId,
        id: &AccessKeyId,
        grace: Duration,
    ) -> Result<NewAccessKey, AuthError> {
        let read = |tx| async move { row_of(&tx, account, id).await };
        let old = self.store().read(read).await?;
        let draft = self.draft_access_key(&old.owner, None).await?;
        let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
        let end = now().saturating_add(grace).unwrap_or(Timestamp::MAX);
        let (new_id, new_row) = (&draft.id, &draft.row);
        self.change(|tx| async move {
            let mut old = row_of(&tx, account, id).await?;
            old.expires = Some(old.expires.map_or(end, |expires| expires.min(end)));
            ACCESS_KEYS.put(&tx, id, &old).await?;
            check_owner(&tx, &old.owner).await?;
            insert(&tx, new_id, new_row).await
        })
        .await?;
        Ok(draft.finish())
    }

    /// A new random key with its secret sealed, to be inserted by a transaction.
    pub(super) async fn draft_access_key(
        &self,
        owner: &Identity,
        expires: Option<Timestamp>,
    ) -> Result<Draft, AuthError> {
        let id = AccessKeyId::parse(&random_access_key_id()).expect("of the right form");
        let secret = random_secret_key();
        let sealed = self.keys().seal(&owner.account, purpose(&id), secret.expose().as_bytes()).await?;
        let row = AccessKeyRow {
            owner: owner.clone(),
            created: now(),
            expires,
            status: Status::Enabled,
            secret: sealed,
        };
        Ok(Draft { id, secret, row })
    }

    async fn change_access_key(
        &self,
        account: &AccountId,
        id: &AccessKeyId,
        change: impl Fn(&mut AccessKeyRow),
    ) -> Result<AccessKey, AuthError> {
        let change = &change;
        self.change(|tx| async move {
            let mut row = row_of(&tx, account, id).await?;
            change(&mut row);
            ACCESS_KEYS.put(&tx, id, &row).await?;
            Ok(row.view(id))
        })
        .await
    }
}

/// Inserts a key unless its owner has too many. Expired ones do not count and go.
pub(super) async fn insert(tx: &Tx, id: &AccessKeyId, row: &AccessKeyRow) -> Result<(), AuthError> {
    let limit = ACCESS_KEYS_PER_OWNER_MAX;
    let mut count = 0;
    for (old, old_row) in ACCESS_KEYS.find(tx, &KEYS_BY_OWNER, &owner_key(&row.owner), limit).await? {
        if old_row.expires.is_some_and(|expires| expires <= row.created) {
            ACCESS_KEYS.delete(tx, &old).await?;
        } else {
            count += 1;
        }
    }
    if count >= limit {
        return Err(AuthError::TooMany { what: "access keys of the user", limit });
    }
    Ok(ACCESS_KEYS.put(tx, id, row).await?)
}

async fn row_of(tx: &Tx, account: &AccountId, id: &AccessKeyId) -> Result<AccessKeyRow, AuthError> {
    let row = ACCESS_KEYS.get(tx, id).await?.filter(|row| row.owner.account == *account);
    row.ok_or_else(|| AuthError::NoSuchAccessKey(id.clone()))
}

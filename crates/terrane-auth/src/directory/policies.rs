//! Policies of accounts.

use terrane_store::Tx;
use terrane_types::AccountId;

use super::rows::{ACCOUNTS, POLICIES, PolicyRow, account_row};
use super::{POLICIES_MAX, now};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::model::{Policy, PolicyName};
use crate::policy;

impl Auth {
    /// Makes or replaces a policy. It is validated against [`policy::schema_text`] before.
    ///
    /// # Errors
    /// [`AuthError::InvalidPolicy`] with every problem; [`AuthError::NoSuchAccount`], [`AuthError::TooMany`].
    pub async fn put_policy(
        &self,
        account: &AccountId,
        name: &PolicyName,
        text: &str,
    ) -> Result<Policy, AuthError> {
        policy::validate(text).map_err(AuthError::InvalidPolicy)?;
        let row = &PolicyRow { text: text.to_owned(), updated: now() };
        let key = &(account.clone(), name.to_string());
        self.change(|tx| async move {
            let stored = POLICIES.scan_prefix(&tx, account, None, POLICIES_MAX).await?;
            if stored.len() == POLICIES_MAX && !stored.iter().any(|(other, _)| other == key) {
                return Err(AuthError::TooMany { what: "policies of the account", limit: POLICIES_MAX });
            }
            POLICIES.put(&tx, key, row).await?;
            touch(&tx, account).await?;
            Ok(row.view(account, name))
        })
        .await
    }

    /// A policy.
    ///
    /// # Errors
    /// [`AuthError::NoSuchPolicy`].
    pub async fn policy(&self, account: &AccountId, name: &PolicyName) -> Result<Policy, AuthError> {
        let key = &(account.clone(), name.to_string());
        let row = self.store().read(|tx| async move { POLICIES.get(&tx, key).await }).await?;
        row.map(|row| row.view(account, name)).ok_or_else(|| AuthError::NoSuchPolicy(name.clone()))
    }

    /// All policies of an account by name.
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccount`].
    pub async fn policies(&self, account: &AccountId) -> Result<Vec<Policy>, AuthError> {
        let read = |tx| async move {
            account_row(&tx, account).await?;
            Ok::<_, AuthError>(POLICIES.scan_prefix(&tx, account, None, POLICIES_MAX).await?)
        };
        let rows = self.store().read(read).await?;
        rows.into_iter().map(|((_, name), row)| Ok(row.view(account, &PolicyName::parse(&name)?))).collect()
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// [`AuthError::NoSuchPolicy`].
    pub async fn delete_policy(&self, account: &AccountId, name: &PolicyName) -> Result<(), AuthError> {
        let key = &(account.clone(), name.to_string());
        self.change(|tx| async move {
            if !POLICIES.delete(&tx, key).await? {
                return Err(AuthError::NoSuchPolicy(name.clone()));
            }
            touch(&tx, account).await
        })
        .await
    }
}

/// Marks the account's policies as changed.
async fn touch(tx: &Tx, account: &AccountId) -> Result<(), AuthError> {
    let mut row = account_row(tx, account).await?;
    row.policies = rand::random();
    Ok(ACCOUNTS.put(tx, account, &row).await?)
}

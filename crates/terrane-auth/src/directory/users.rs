//! Users of accounts.

use std::collections::BTreeSet;

use terrane_types::AccountId;

use super::accounts::delete_credentials;
use super::rows::{USERS, UserRow, account_row, user_key, user_row};
use super::{PAGE_MAX, USERS_MAX, now};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::model::{Identity, ManagedPolicy, Status, User, UserName};

impl Auth {
    /// Makes a user, who may do nothing until a policy says otherwise.
    ///
    /// # Errors
    /// [`AuthError::UserExists`], [`AuthError::NoSuchAccount`], [`AuthError::TooMany`].
    pub async fn create_user(&self, account: &AccountId, name: &UserName) -> Result<User, AuthError> {
        let row = &UserRow {
            created: now(),
            status: Status::Enabled,
            managed_policies: BTreeSet::new(),
            password: None,
        };
        self.change(|tx| async move {
            account_row(&tx, account).await?;
            let key = user_key(account, name);
            if USERS.get(&tx, &key).await?.is_some() {
                return Err(AuthError::UserExists(Identity::user(account.clone(), name.clone())));
            }
            if USERS.scan_prefix(&tx, account, None, USERS_MAX).await?.len() == USERS_MAX {
                return Err(AuthError::TooMany { what: "users of the account", limit: USERS_MAX });
            }
            USERS.put(&tx, &key, row).await?;
            Ok(row.view(account, name))
        })
        .await
    }

    /// A user.
    ///
    /// # Errors
    /// [`AuthError::NoSuchUser`], [`AuthError::NoSuchAccount`].
    pub async fn user(&self, account: &AccountId, name: &UserName) -> Result<User, AuthError> {
        let read = |tx| async move { Ok(user_row(&tx, account, name).await?.view(account, name)) };
        self.store().read(read).await
    }

    /// An account's users by name, behind `after`; at most `limit` (and 1000).
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccount`].
    pub async fn users(
        &self,
        account: &AccountId,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<User>, AuthError> {
        let after = &after.map(|name| user_key(account, name));
        let limit = limit.min(PAGE_MAX);
        let read = |tx| async move {
            account_row(&tx, account).await?;
            Ok::<_, AuthError>(USERS.scan_prefix(&tx, account, after.as_ref(), limit).await?)
        };
        let rows = self.store().read(read).await?;
        rows.into_iter()
            .map(|((account, name), row)| Ok(row.view(&account, &UserName::parse(&name)?)))
            .collect()
    }

    /// Enables or disables a user: a disabled one's keys, tokens and password are refused.
    ///
    /// # Errors
    /// As [`Auth::user`].
    pub async fn set_user_status(
        &self,
        account: &AccountId,
        name: &UserName,
        status: Status,
    ) -> Result<User, AuthError> {
        self.change_user(account, name, |row| row.status = status).await
    }

    /// Attaches a ready-made policy to a user.
    ///
    /// # Errors
    /// As [`Auth::user`].
    pub async fn attach_managed_policy(
        &self,
        account: &AccountId,
        name: &UserName,
        policy: ManagedPolicy,
    ) -> Result<User, AuthError> {
        self.change_user(account, name, |row| _ = row.managed_policies.insert(policy)).await
    }

    /// Takes a ready-made policy from a user.
    ///
    /// # Errors
    /// As [`Auth::user`].
    pub async fn detach_managed_policy(
        &self,
        account: &AccountId,
        name: &UserName,
        policy: ManagedPolicy,
    ) -> Result<User, AuthError> {
        self.change_user(account, name, |row| _ = row.managed_policies.remove(&policy)).await
    }

    /// Deletes a user with its keys and tokens. Policies that name it stay; they would apply to a later user
    /// of the same name.
    ///
    /// # Errors
    /// As [`Auth::user`].
    pub async fn delete_user(&self, account: &AccountId, name: &UserName) -> Result<(), AuthError> {
        self.change(|tx| async move {
            user_row(&tx, account, name).await?;
            delete_credentials(&tx, &Identity::user(account.clone(), name.clone())).await?;
            USERS.delete(&tx, &user_key(account, name)).await?;
            Ok(())
        })
        .await
    }

    async fn change_user(
        &self,
        account: &AccountId,
        name: &UserName,
        change: impl Fn(&mut UserRow),
    ) -> Result<User, AuthError> {
        let change = &change;
        self.change(|tx| async move {
            let mut row = user_row(&tx, account, name).await?;
            change(&mut row);
            USERS.put(&tx, &user_key(account, name), &row).await?;
            Ok(row.view(account, name))
        })
        .await
    }
}

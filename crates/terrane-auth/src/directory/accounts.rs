//! Accounts.

use terrane_store::Tx;
use terrane_types::AccountId;

use super::rows::{
    ACCESS_KEYS, ACCOUNTS, AccountRow, KEYS_BY_OWNER, POLICIES, TOKENS, TOKENS_BY_OWNER, USERS, account_row,
};
use super::{ACCESS_KEYS_PER_OWNER_MAX, PAGE_MAX, POLICIES_MAX, TOKENS_PER_OWNER_MAX, USERS_MAX, label, now};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::limits::RateLimit;
use crate::model::{Account, Identity, Status, UserName};

/// A random account number without leading zero, which people and spreadsheets would lose.
fn random_account_id() -> AccountId {
    let number = rand::random_range(100_000_000_000u64..1_000_000_000_000);
    AccountId::parse(&number.to_string()).expect("twelve digits")
}

pub(super) fn new_row(name: &str) -> AccountRow {
    AccountRow {
        name: name.to_owned(),
        created: now(),
        status: Status::Enabled,
        rate_limit: None,
        policies: rand::random(),
        root_password: None,
    }
}

impl Auth {
    /// Makes an account with a random number. `name` is for people and need not be unique.
    ///
    /// # Errors
    /// [`AuthError::InvalidArgument`] for a name that is empty, long or has control characters.
    pub async fn create_account(&self, name: &str) -> Result<Account, AuthError> {
        let row = &new_row(label("the account's name", name)?);
        self.change(|tx| async move {
            let mut id = random_account_id();
            while ACCOUNTS.get(&tx, &id).await?.is_some() {
                id = random_account_id();
            }
            ACCOUNTS.put(&tx, &id, row).await?;
            Ok(row.view(&id))
        })
        .await
    }

    /// An account.
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccount`].
    pub async fn account(&self, id: &AccountId) -> Result<Account, AuthError> {
        self.store().read(|tx| async move { Ok(account_row(&tx, id).await?.view(id)) }).await
    }

    /// Accounts by ascending number, behind `after`; at most `limit` (and 1000).
    ///
    /// # Errors
    /// The store's.
    pub async fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, AuthError> {
        let limit = limit.min(PAGE_MAX);
        let rows = self.store().read(|tx| async move { ACCOUNTS.scan(&tx, after, limit).await }).await?;
        Ok(rows.into_iter().map(|(id, row)| row.view(&id)).collect())
    }

    /// Enables or disables an account: a disabled one's keys and tokens are refused, its resources stay.
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccount`]; [`AuthError::RootAccount`].
    pub async fn set_account_status(&self, id: &AccountId, status: Status) -> Result<Account, AuthError> {
        if status == Status::Disabled && *id == AccountId::root() {
            return Err(AuthError::RootAccount("disabled"));
        }
        self.change_account(id, |row| row.status = status).await
    }

    /// Renames an account.
    ///
    /// # Errors
    /// As [`Auth::create_account`]; [`AuthError::NoSuchAccount`].
    pub async fn rename_account(&self, id: &AccountId, name: &str) -> Result<Account, AuthError> {
        let name = label("the account's name", name)?;
        self.change_account(id, |row| name.clone_into(&mut row.name)).await
    }

    /// Gives an account its own request rate limit, or takes it away.
    ///
    /// # Errors
    /// [`AuthError::InvalidArgument`] for a limit of zero; [`AuthError::NoSuchAccount`].
    pub async fn set_rate_limit(
        &self,
        id: &AccountId,
        limit: Option<RateLimit>,
    ) -> Result<Account, AuthError> {
        if limit.is_some_and(|limit| !limit.is_valid()) {
            return Err(AuthError::InvalidArgument { what: "the rate limit", problem: "must be at least 1" });
        }
        let account = self.change_account(id, |row| row.rate_limit = limit).await?;
        self.configure_limit(id, limit);
        Ok(account)
    }

    /// Deletes an account with all its users, keys, tokens and policies, and destroys the keys that its
    /// secrets are sealed with. The caller has made sure that no service holds resources of it.
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccount`]; [`AuthError::RootAccount`].
    pub async fn delete_account(&self, id: &AccountId) -> Result<(), AuthError> {
        if *id == AccountId::root() {
            return Err(AuthError::RootAccount("deleted"));
        }
        // Disabled first: the users go in several transactions, each within the store's bounds.
        self.change_account(id, |row| row.status = Status::Disabled).await?;
        while self.change(|tx| async move { delete_some_users(&tx, id).await }).await? {}
        self.change(|tx| async move {
            delete_credentials(&tx, &Identity::root(id.clone())).await?;
            for (key, _) in POLICIES.scan_prefix(&tx, id, None, POLICIES_MAX).await? {
                POLICIES.delete(&tx, &key).await?;
            }
            if !USERS.scan_prefix(&tx, id, None, 1).await?.is_empty() {
                return Err(AuthError::InvalidArgument { what: "the account", problem: "is being changed" });
            }
            self.keys().delete_account_keys(&tx, id).await?;
            ACCOUNTS.delete(&tx, id).await?;
            Ok(())
        })
        .await
    }

    async fn change_account(
        &self,
        id: &AccountId,
        change: impl Fn(&mut AccountRow),
    ) -> Result<Account, AuthError> {
        let change = &change;
        self.change(|tx| async move {
            let mut row = account_row(&tx, id).await?;
            change(&mut row);
            ACCOUNTS.put(&tx, id, &row).await?;
            Ok(row.view(id))
        })
        .await
    }
}

/// Deletes a page of users; whether there may be more.
async fn delete_some_users(tx: &Tx, account: &AccountId) -> Result<bool, AuthError> {
    const PAGE: usize = USERS_MAX / 10;
    let users = USERS.scan_prefix(tx, account, None, PAGE).await?;
    for (key, _) in &users {
        delete_credentials(tx, &Identity::user(account.clone(), UserName::parse(&key.1)?)).await?;
        USERS.delete(tx, key).await?;
    }
    Ok(users.len() == PAGE)
}

/// Deletes the access keys and tokens of a user or root.
pub(super) async fn delete_credentials(tx: &Tx, owner: &Identity) -> Result<(), AuthError> {
    let prefix = super::rows::owner_key(owner);
    for (id, _) in ACCESS_KEYS.find(tx, &KEYS_BY_OWNER, &prefix, ACCESS_KEYS_PER_OWNER_MAX).await? {
        ACCESS_KEYS.delete(tx, &id).await?;
    }
    for (id, _) in TOKENS.find(tx, &TOKENS_BY_OWNER, &prefix, TOKENS_PER_OWNER_MAX).await? {
        TOKENS.delete(tx, &id).await?;
    }
    Ok(())
}

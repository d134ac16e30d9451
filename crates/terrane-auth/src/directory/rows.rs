//! The stored forms. Raise `VERSION` and migrate when fields change; `tests` pins the bytes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrane_store::tuple::Pack as _;
use terrane_store::{Index, Record, Table, Tx};
use terrane_types::{AccessKeyId, AccountId};

use crate::error::AuthError;
use crate::limits::RateLimit;
use crate::model::{
    AccessKey, Account, Identity, ManagedPolicy, Policy, PolicyName, Status, Token, TokenId, User, UserName,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) status: Status,
    pub(crate) rate_limit: Option<RateLimit>,
    /// Random; another one whenever the account's policies change, so that parsed ones can be kept.
    pub(crate) policies: u64,
    /// The root's console password: a PHC string, sealed.
    pub(crate) root_password: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserRow {
    pub(crate) created: Timestamp,
    pub(crate) status: Status,
    pub(crate) managed_policies: BTreeSet<ManagedPolicy>,
    /// As [`AccountRow::root_password`].
    pub(crate) password: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccessKeyRow {
    pub(crate) owner: Identity,
    pub(crate) created: Timestamp,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) status: Status,
    /// The secret access key, sealed.
    pub(crate) secret: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenRow {
    pub(crate) owner: Identity,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) expires: Option<Timestamp>,
    /// SHA-256 of the secret part, which is random and long enough to need no salt.
    pub(crate) sha256: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PolicyRow {
    pub(crate) text: String,
    pub(crate) updated: Timestamp,
}

macro_rules! records {
    ($($row:ty),*) => {$(
        impl Record for $row {
            const VERSION: u8 = 1;
        }
    )*};
}
records!(AccountRow, UserRow, AccessKeyRow, TokenRow, PolicyRow);

pub(crate) static ACCOUNTS: Table<AccountId, AccountRow> = Table::new("accounts", &[]);
pub(crate) static USERS: Table<(AccountId, String), UserRow> = Table::new("users", &[]);
pub(crate) static ACCESS_KEYS: Table<AccessKeyId, AccessKeyRow> =
    Table::new("access-keys", &[&KEYS_BY_OWNER]);
pub(crate) static TOKENS: Table<String, TokenRow> = Table::new("tokens", &[&TOKENS_BY_OWNER]);
pub(crate) static POLICIES: Table<(AccountId, String), PolicyRow> = Table::new("policies", &[]);

/// (account, user), the user's name empty for the root.
pub(crate) static KEYS_BY_OWNER: Index<AccessKeyRow> =
    Index { name: "owner", keys: |row| vec![owner_key(&row.owner).pack()] };
pub(crate) static TOKENS_BY_OWNER: Index<TokenRow> =
    Index { name: "owner", keys: |row| vec![owner_key(&row.owner).pack()] };

/// What [`KEYS_BY_OWNER`] and [`TOKENS_BY_OWNER`] are found by.
pub(crate) fn owner_key(owner: &Identity) -> (AccountId, String) {
    let user = owner.user.as_ref().map(|user| user.to_string()).unwrap_or_default();
    (owner.account.clone(), user)
}

/// The key of a user's row.
pub(crate) fn user_key(account: &AccountId, name: &UserName) -> (AccountId, String) {
    (account.clone(), name.to_string())
}

/// The account's row, or an error.
pub(crate) async fn account_row(tx: &Tx, id: &AccountId) -> Result<AccountRow, AuthError> {
    ACCOUNTS.get(tx, id).await?.ok_or_else(|| AuthError::NoSuchAccount(id.clone()))
}

/// The user's row, or an error: first whether there is such an account.
pub(crate) async fn user_row(tx: &Tx, account: &AccountId, name: &UserName) -> Result<UserRow, AuthError> {
    let missing = || AuthError::NoSuchUser(Identity::user(account.clone(), name.clone()));
    account_row(tx, account).await?;
    USERS.get(tx, &user_key(account, name)).await?.ok_or_else(missing)
}

/// Fails unless the account and, if it is a user, the user exists.
pub(crate) async fn check_owner(tx: &Tx, owner: &Identity) -> Result<(), AuthError> {
    match &owner.user {
        None => account_row(tx, &owner.account).await.map(drop),
        Some(user) => user_row(tx, &owner.account, user).await.map(drop),
    }
}

/// Whether account and user exist and neither is disabled.
pub(crate) async fn is_active(tx: &Tx, owner: &Identity) -> Result<Option<AccountRow>, AuthError> {
    let Some(account) = ACCOUNTS.get(tx, &owner.account).await? else { return Ok(None) };
    let user = match &owner.user {
        None => Some(Status::Enabled),
        Some(name) => USERS.get(tx, &user_key(&owner.account, name)).await?.map(|row| row.status),
    };
    let active = account.status == Status::Enabled && user == Some(Status::Enabled);
    Ok(active.then_some(account))
}

impl AccountRow {
    pub(crate) fn view(&self, id: &AccountId) -> Account {
        Account {
            id: id.clone(),
            name: self.name.clone(),
            created: self.created,
            status: self.status,
            rate_limit: self.rate_limit,
        }
    }
}

impl UserRow {
    pub(crate) fn view(&self, account: &AccountId, name: &UserName) -> User {
        User {
            account: account.clone(),
            name: name.clone(),
            created: self.created,
            status: self.status,
            managed_policies: self.managed_policies.clone(),
            has_password: self.password.is_some(),
        }
    }
}

impl AccessKeyRow {
    pub(crate) fn view(&self, id: &AccessKeyId) -> AccessKey {
        AccessKey {
            id: id.clone(),
            owner: self.owner.clone(),
            created: self.created,
            expires: self.expires,
            status: self.status,
        }
    }

    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        self.status == Status::Enabled && self.expires.is_none_or(|expires| now < expires)
    }
}

impl TokenRow {
    pub(crate) fn view(&self, id: &TokenId) -> Token {
        Token {
            id: id.clone(),
            owner: self.owner.clone(),
            name: self.name.clone(),
            created: self.created,
            expires: self.expires,
        }
    }
}

impl PolicyRow {
    pub(crate) fn view(&self, account: &AccountId, name: &PolicyName) -> Policy {
        Policy {
            account: account.clone(),
            name: name.clone(),
            text: self.text.clone(),
            updated: self.updated,
        }
    }
}

#[cfg(test)]
mod tests;

//! Accounts, users, keys, tokens, passwords and policies: what is stored of them, and how it changes.
//!
//! Each change is one transaction. [`Auth`] forgets everything it has cached after each, so that the next
//! request through the same handle sees it; other processes see it within
//! [`crate::AuthConfig::staleness_max`].

mod access_keys;
mod accounts;
mod passwords;
mod policies;
mod root;
pub(crate) mod rows;
mod tokens;
mod users;

pub(crate) use access_keys::purpose as access_key_purpose;
pub use passwords::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
pub(crate) use tokens::parse as parse_token;

use std::time::SystemTime;

use jiff::Timestamp;

use crate::auth::Auth;
use crate::error::AuthError;

/// Users per account.
pub const USERS_MAX: usize = 1000;
/// Access keys of one user, or of an account's root: enough to rotate.
pub const ACCESS_KEYS_PER_OWNER_MAX: usize = 4;
/// Bearer tokens of one user, or of an account's root.
pub const TOKENS_PER_OWNER_MAX: usize = 100;
/// Policies per account.
pub const POLICIES_MAX: usize = 50;
/// Items in one answer to a list call.
pub const PAGE_MAX: usize = 1000;
/// Longest name of an account or token, characters.
pub const LABEL_CHARS_MAX: usize = 128;

/// The present, to the second: what people read in lists.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn timestamp(time: Option<SystemTime>) -> Result<Option<Timestamp>, AuthError> {
    let problem = AuthError::InvalidArgument { what: "the expiry", problem: "is beyond the year 9999" };
    time.map(|time| Timestamp::try_from(time).map_err(|_| problem)).transpose()
}

/// Checks a text for people: not empty, not long, no control characters.
fn label<'a>(what: &'static str, text: &'a str) -> Result<&'a str, AuthError> {
    let bad = |problem| Err(AuthError::InvalidArgument { what, problem });
    match text {
        "" => bad("is empty"),
        text if text.chars().count() > LABEL_CHARS_MAX => bad("is longer than 128 characters"),
        text if text.chars().any(char::is_control) => bad("has control characters"),
        text => Ok(text),
    }
}

impl Auth {
    /// Runs a change and forgets what is cached, also if its outcome is unknown.
    async fn change<T, F, Fut>(&self, body: F) -> Result<T, AuthError>
    where
        F: FnMut(terrane_store::Tx) -> Fut,
        Fut: Future<Output = Result<T, AuthError>>,
    {
        let result = self.store().transact(body).await;
        self.forget();
        result
    }
}

//! Console passwords: argon2id, the hash sealed by the key service.

use std::sync::OnceLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use zeroize::Zeroizing;

use super::rows::{ACCOUNTS, USERS, account_row, is_active, user_key, user_row};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::keys::Purpose;
use crate::model::Identity;
use crate::secret::Secret;

/// Fewest characters of a password (NIST SP 800-63B-4 asks for 15 where nothing else protects; attempts are
/// limited here).
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

impl Auth {
    /// Sets the console password of a user or root.
    ///
    /// # Errors
    /// [`AuthError::InvalidArgument`] for one that is too short or too long; [`AuthError::NoSuchUser`].
    pub async fn set_password(&self, owner: &Identity, password: &Secret) -> Result<(), AuthError> {
        let bad = |problem| Err(AuthError::InvalidArgument { what: "the password", problem });
        match password.expose() {
            text if text.len() > PASSWORD_BYTES_MAX => return bad("is longer than 1024 bytes"),
            text if text.chars().count() < PASSWORD_CHARS_MIN => return bad("is shorter than 12 characters"),
            _ => {}
        }
        let password = password.clone();
        let hashed = self.hash_in_background(move || hash(&password)).await?;
        let sealed = self.keys().seal(&owner.account, purpose(owner), hashed.as_bytes()).await?;
        self.store_password(owner, Some(sealed)).await
    }

    /// Takes the console password of a user or root away: no log-in with a password.
    ///
    /// # Errors
    /// [`AuthError::NoSuchUser`], [`AuthError::NoSuchAccount`].
    pub async fn clear_password(&self, owner: &Identity) -> Result<(), AuthError> {
        self.store_password(owner, None).await
    }

    /// Succeeds if it is the password of an enabled user or root that has one.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`], after the same work whether or not there is such a user;
    /// [`AuthError::Throttled`] after ten wrong attempts in a row, then one is allowed per second.
    pub async fn verify_password(&self, owner: &Identity, password: &Secret) -> Result<(), AuthError> {
        self.admit_attempt(owner)?;
        let read = |tx| async move {
            let Some(account) = is_active(&tx, owner).await? else { return Ok(None) };
            match &owner.user {
                None => Ok(account.root_password),
                Some(user) => {
                    let row = USERS.get(&tx, &user_key(&owner.account, user)).await?;
                    Ok::<_, AuthError>(row.and_then(|row| row.password))
                }
            }
        };
        let stored = match self.store().read(read).await? {
            Some(sealed) => Some(self.keys().open_sealed(&owner.account, purpose(owner), &sealed).await?),
            None => None,
        };
        let password = password.clone();
        let right = self.hash_in_background(move || verify(stored.as_ref(), &password)).await?;
        if right { Ok(()) } else { Err(AuthError::WrongPassword) }
    }

    async fn store_password(&self, owner: &Identity, sealed: Option<Vec<u8>>) -> Result<(), AuthError> {
        let sealed = &sealed;
        self.change(|tx| async move {
            match &owner.user {
                None => {
                    let mut row = account_row(&tx, &owner.account).await?;
                    row.root_password.clone_from(sealed);
                    ACCOUNTS.put(&tx, &owner.account, &row).await?;
                }
                Some(user) => {
                    let mut row = user_row(&tx, &owner.account, user).await?;
                    row.password.clone_from(sealed);
                    USERS.put(&tx, &user_key(&owner.account, user), &row).await?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn purpose(owner: &Identity) -> Purpose<'_> {
    let id = owner.user.as_ref().map_or("", |user| user.as_str());
    Purpose { kind: "password", id }
}

/// A PHC string: argon2id with the crate's defaults (19 MiB, 2 passes: OWASP's first choice).
fn hash(password: &Secret) -> Result<Zeroizing<String>, AuthError> {
    let hashed = Argon2::default().hash_password(password.expose().as_bytes());
    hashed.map(|hashed| Zeroizing::new(hashed.to_string())).map_err(|_| AuthError::Damaged("password hash"))
}

fn verify(stored: Option<&Zeroizing<Vec<u8>>>, password: &Secret) -> Result<bool, AuthError> {
    // Where there is nothing to compare with, a hash of nothing that anyone knows costs the same time.
    static NOBODY: OnceLock<Zeroizing<String>> = OnceLock::new();
    let nobody = || match NOBODY.get() {
        Some(hashed) => Ok(hashed),
        None => hash(&crate::secret::random_secret_key()).map(|hashed| NOBODY.get_or_init(|| hashed)),
    };
    let damaged = || AuthError::Damaged("password hash");
    let text = match stored {
        Some(bytes) => std::str::from_utf8(bytes).map_err(|_| damaged())?,
        None => nobody()?.as_str(),
    };
    let parsed = PasswordHash::new(text).map_err(|_| damaged())?;
    let matches = Argon2::default().verify_password(password.expose().as_bytes(), &parsed).is_ok();
    Ok(matches && stored.is_some())
}

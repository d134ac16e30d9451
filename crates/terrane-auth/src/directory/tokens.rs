//! Bearer tokens: `tt-ID.SECRET`, of which a hash of the secret is kept.

use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use terrane_store::Tx;
use terrane_types::AccountId;

use super::rows::{TOKENS, TOKENS_BY_OWNER, TokenRow, check_owner, owner_key};
use super::{TOKENS_PER_OWNER_MAX, label, now, timestamp};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::model::{Identity, NewToken, Token, TokenId};
use crate::secret::{Secret, random_base32};

/// Symbols of a token's ID (80 bits) and secret (260 bits).
const ID_SYMBOLS: usize = 16;
const SECRET_SYMBOLS: usize = 52;

/// Splits a token's text. `None` if it has not the form of one.
pub(crate) fn parse(text: &str) -> Option<(TokenId, [u8; 32])> {
    let (id, secret) = text.split_once('.')?;
    let symbols = id.strip_prefix("tt-")?;
    let legal = |text: &str| text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if symbols.len() != ID_SYMBOLS || secret.len() != SECRET_SYMBOLS || !legal(symbols) || !legal(secret) {
        return None;
    }
    Some((TokenId::parse(id).ok()?, Sha256::digest(secret).into()))
}

impl Auth {
    /// Makes a bearer token that speaks for `owner` in the native API. Its text is shown once.
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccount`], [`AuthError::NoSuchUser`], [`AuthError::TooMany`],
    /// [`AuthError::InvalidArgument`] for the name.
    pub async fn create_token(
        &self,
        owner: &Identity,
        name: &str,
        expires: Option<SystemTime>,
    ) -> Result<NewToken, AuthError> {
        let name = label("the token's name", name)?;
        let id = TokenId::parse(&format!("tt-{}", random_base32(ID_SYMBOLS)))?;
        let secret = Secret::new(random_base32(SECRET_SYMBOLS));
        let row = &TokenRow {
            owner: owner.clone(),
            name: name.to_owned(),
            created: now(),
            expires: timestamp(expires)?,
            sha256: Sha256::digest(secret.expose()).into(),
        };
        let key = &id.to_string();
        self.change(|tx| async move {
            check_owner(&tx, owner).await?;
            insert(&tx, key, row).await
        })
        .await?;
        let text = Secret::new(format!("{id}.{}", secret.expose()));
        Ok(NewToken { token: row.view(&id), text })
    }

    /// The bearer tokens of a user or root.
    ///
    /// # Errors
    /// [`AuthError::NoSuchAccount`], [`AuthError::NoSuchUser`].
    pub async fn tokens(&self, owner: &Identity) -> Result<Vec<Token>, AuthError> {
        let read = |tx| async move {
            check_owner(&tx, owner).await?;
            let prefix = owner_key(owner);
            Ok::<_, AuthError>(TOKENS.find(&tx, &TOKENS_BY_OWNER, &prefix, TOKENS_PER_OWNER_MAX).await?)
        };
        let rows = self.store().read(read).await?;
        rows.into_iter().map(|(id, row)| Ok(row.view(&TokenId::parse(&id)?))).collect()
    }

    /// Deletes a token.
    ///
    /// # Errors
    /// [`AuthError::NoSuchToken`] also for a token of another account.
    pub async fn delete_token(&self, account: &AccountId, id: &TokenId) -> Result<(), AuthError> {
        let key = &id.to_string();
        self.change(|tx| async move {
            match TOKENS.get(&tx, key).await? {
                Some(row) if row.owner.account == *account => {}
                _ => return Err(AuthError::NoSuchToken(id.clone())),
            }
            TOKENS.delete(&tx, key).await?;
            Ok(())
        })
        .await
    }
}

/// Inserts a token unless its owner has too many. Expired ones do not count and go.
async fn insert(tx: &Tx, key: &String, row: &TokenRow) -> Result<(), AuthError> {
    let limit = TOKENS_PER_OWNER_MAX;
    let mut count = 0;
    for (old, old_row) in TOKENS.find(tx, &TOKENS_BY_OWNER, &owner_key(&row.owner), limit).await? {
        if old_row.expires.is_some_and(|expires| expires <= row.created) {
            TOKENS.delete(tx, &old).await?;
        } else {
            count += 1;
        }
    }
    if count >= limit {
        return Err(AuthError::TooMany { what: "tokens of the user", limit });
    }
    Ok(TOKENS.put(tx, key, row).await?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_form_of_a_token_is_looked_up() {
        let text = format!("tt-{}.{}", random_base32(ID_SYMBOLS), random_base32(SECRET_SYMBOLS));
        assert!(parse(&text).is_some());
        for bad in
            ["", ".", "tt-.", &text[1..], &text[..text.len() - 1], &text.to_lowercase(), &format!("{text}A")]
        {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text: String) {
            let _ = parse(&text);
        }
    }
}

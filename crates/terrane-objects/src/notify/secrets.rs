//! What a bucket's setting must not say openly.

use async_trait::async_trait;
use terrane_types::AccountId;

/// Seals secrets before they are stored: the platform's key service. (A trait, because this crate knows storage and no
/// accounts.)
#[async_trait]
pub trait SecretKeeper: Send + Sync {
    /// Encrypts a secret of an account for one place, such that it opens nowhere else.
    ///
    /// # Errors
    /// Why not, in words without secrets.
    async fn seal(&self, owner: &AccountId, place: &str, secret: &[u8]) -> Result<Vec<u8>, String>;

    /// The inverse of [`SecretKeeper::seal`].
    ///
    /// # Errors
    /// Why not, in words without secrets.
    async fn open(&self, owner: &AccountId, place: &str, sealed: &[u8]) -> Result<Vec<u8>, String>;
}

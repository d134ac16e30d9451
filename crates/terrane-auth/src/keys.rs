//! The key service: envelope encryption of everything secret that is stored.
//!
//! ```text
//! master key (a file of 32 bytes, mode 0600)
//!   └ wraps account keys (rows; one per account and version)
//!       └ seal secrets (values of other rows; each names its key's version)
//! ```
//! Rotating the master key wraps the account keys anew, in one transaction per page; rotating an account's
//! key adds a version that new secrets are sealed with. Neither touches a sealed secret.
//!
//! All ciphertexts are AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D, 8.2.2: good for 2³² messages
//! per key). The associated data bind a ciphertext to its account, purpose and key version, so that a row
//! copied to another place does not decrypt there.

mod envelope;
mod master;
mod rotation;
mod rows;
mod service;

pub use master::MasterKey;
pub use service::{KeyService, Purpose};

use std::path::PathBuf;

use terrane_types::AccountId;

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The master key's file may be read by others.
    #[error("{path} may be accessed by others (mode {mode:03o}); make it private with chmod 600")]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The master key's file is not one.
    #[error("{path} is not a master key: {found} bytes instead of 32")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
    },
    /// The store's account keys are wrapped by a master key that is not at hand.
    #[error(
        "the secrets in the store are wrapped by master key {wanted}, which is not at {path}; put the file \
         back (without it the stored secrets are lost; the root key can be reset offline)"
    )]
    MasterMissing {
        /// Where it was looked for.
        path: PathBuf,
        /// Fingerprint of the key that is needed.
        wanted: String,
    },
    /// The master key is being replaced by another process.
    #[error("the master key is being replaced; try again")]
    MasterRotating,
    /// No such version of an account's key.
    #[error("account {account} has no key of version {version}")]
    NoSuchVersion {
        /// The account.
        account: AccountId,
        /// The version that a ciphertext names.
        version: u32,
    },
    /// An account's key was rotated as often as it can be.
    #[error("the key of account {0} was rotated too often")]
    TooManyVersions(AccountId),
    /// A ciphertext is damaged, or not of this account and purpose.
    #[error("a sealed {0} is damaged")]
    Damaged(&'static str),
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason given.
        #[source]
        source: std::io::Error,
    },
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] terrane_store::StoreError),
}

//! Credential scopes and the keys derived for them.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use moka::sync::Cache;
use sha2::Sha256;
use terrane_types::AccessKeyId;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Where and when a signature holds: `20130524/us-east-1/s3/aws4_request`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The day, `YYYYMMDD` in UTC; checked to be one.
    pub(super) day: Box<str>,
    /// The region, as sent.
    pub(super) region: Box<str>,
    /// The service, as sent.
    pub(super) service: Box<str>,
}

impl Scope {
    /// The region that the client signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The service that the client signed for.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// S3 paths are encoded once and never normalised; its payload hash is a header.
    pub(super) fn is_s3(&self) -> bool {
        matches!(&*self.service, "s3" | "s3-object-lambda" | "s3express")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/aws4_request", self.day, self.region, self.service)
    }
}

/// HMAC-SHA256.
pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// A secret key bound to a scope. Wiped when dropped.
#[derive(Clone)]
pub struct SigningKey(Arc<Zeroizing<[u8; 32]>>);

impl SigningKey {
    /// Derives the key: four nested HMACs over the scope's parts.
    pub fn derive(secret: &Secret, scope: &Scope) -> Self {
        let mut start = Zeroizing::new(String::with_capacity(4 + secret.expose().len()));
        start.push_str("AWS4");
        start.push_str(secret.expose());
        let day = Zeroizing::new(hmac(start.as_bytes(), scope.day.as_bytes()));
        let region = Zeroizing::new(hmac(&*day, scope.region.as_bytes()));
        let service = Zeroizing::new(hmac(&*region, scope.service.as_bytes()));
        Self(Arc::new(Zeroizing::new(hmac(&*service, b"aws4_request"))))
    }

    /// Signs a string to sign.
    pub(super) fn sign(&self, string_to_sign: &[u8]) -> [u8; 32] {
        hmac(&**self.0, string_to_sign)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// A bounded cache of signing keys, so that verifying takes one HMAC instead of five.
///
/// Keyed by access key ID: an ID is random and never gets another secret. Only keys that verified a
/// signature are kept, so that nobody can flush the cache without knowing a secret.
#[derive(Clone, Debug)]
pub struct SigningKeys(Cache<(AccessKeyId, Scope), SigningKey>);

impl SigningKeys {
    /// A cache of at most `entries_max` keys.
    pub fn new(entries_max: u64) -> Self {
        Self(Cache::new(entries_max))
    }

    /// The key of a scope: from the cache, or derived.
    pub fn key(&self, id: &AccessKeyId, secret: &Secret, scope: &Scope) -> SigningKey {
        self.0.get(&(id.clone(), scope.clone())).unwrap_or_else(|| SigningKey::derive(secret, scope))
    }

    /// Keeps a key that has verified a signature.
    pub fn keep(&self, id: &AccessKeyId, scope: &Scope, key: &SigningKey) {
        let entry = (id.clone(), scope.clone());
        if !self.0.contains_key(&entry) {
            self.0.insert(entry, key.clone());
        }
    }
}

//! A table of exports by secret names.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use sha2::Sha256;

use crate::{Export, Exports, Peer, SecretName};

type Digest = [u8; 32];

/// Exports by name. It keeps a keyed digest of each name instead of the name: a lookup does the same work
/// for every name of one length, and how long it takes says nothing about the names that exist.
pub struct ExportTable {
    key: Digest,
    exports: RwLock<HashMap<Digest, Arc<dyn Export>>>,
}

impl ExportTable {
    /// An empty table with a key of its own.
    pub fn new() -> Self {
        Self { key: rand::random(), exports: RwLock::default() }
    }

    /// Adds or replaces. Connections to a replaced export stay until *its* [`Export::gone`] returns.
    pub fn insert(&self, name: &SecretName, export: Arc<dyn Export>) {
        self.exports.write().insert(self.digest(name), export);
    }

    /// Takes an export out: it is not found any more. Connections to it stay until [`Export::gone`] returns.
    pub fn remove(&self, name: &SecretName) -> Option<Arc<dyn Export>> {
        self.exports.write().remove(&self.digest(name))
    }

    /// How many exports there are.
    pub fn len(&self) -> usize {
        self.exports.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn digest(&self, name: &SecretName) -> Digest {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(name.expose().as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl Default for ExportTable {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ExportTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportTable").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Exports for ExportTable {
    async fn find(&self, name: &SecretName, _peer: &Peer) -> Option<Arc<dyn Export>> {
        let digest = self.digest(name);
        self.exports.read().get(&digest).cloned()
    }
}

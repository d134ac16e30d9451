//! A vault with fixed keys, contents to write, and a model to compare with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use terrane_snapshot::keys::ChunkKeys;
use terrane_snapshot::objects::MemoryObjects;
use terrane_snapshot::{
    CHUNK_BYTES, CaptureId, ChunkKey, Content, Dedup, Manifest, ObjectRef, Reader, ReaderConfig, Result,
    SnapshotError, Stats, Vault, Writer, WriterConfig,
};
use terrane_types::AccountId;

/// Each account has key 1, its own.
struct FixedKeys;

#[async_trait]
impl ChunkKeys for FixedKeys {
    async fn newest(&self, account: &AccountId) -> Result<ChunkKey> {
        self.key(account, 1).await
    }

    async fn key(&self, account: &AccountId, id: u32) -> Result<ChunkKey> {
        let number: u8 = account.as_str().trim_start_matches('0').parse().unwrap_or(0);
        match id {
            1 => Ok(ChunkKey::new(1, [number; 32].into())),
            _ => Err(SnapshotError::Keys(format!("there is no key {id}"))),
        }
    }
}

pub(crate) fn account(number: u8) -> AccountId {
    AccountId::parse(&format!("{number:012}")).unwrap()
}

pub(crate) fn vault_of(number: u8, objects: &MemoryObjects) -> Vault {
    let timeout = Duration::from_millis(200);
    Vault::new(account(number), Arc::new(objects.clone()), Arc::new(FixedKeys), timeout)
}

pub(crate) fn vault(objects: &MemoryObjects) -> Vault {
    vault_of(1, objects)
}

/// A chunk that compresses to next to nothing; 0 is zeros.
pub(crate) fn content(seed: u8) -> Vec<u8> {
    vec![seed; CHUNK_BYTES]
}

/// A chunk that does not compress.
pub(crate) fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(CHUNK_BYTES);
    while out.len() < CHUNK_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out
}

pub(crate) fn capture(number: u64) -> CaptureId {
    CaptureId { number, nonce: 7 }
}

/// Captures chunks (by their seed) upon a parent.
pub(crate) async fn take(
    vault: &Vault,
    id: CaptureId,
    chunks: u64,
    parent: Option<Manifest>,
    writes: &BTreeMap<u64, u8>,
    dedup: Arc<dyn Dedup>,
) -> Result<(Manifest, ObjectRef, Stats)> {
    let config = WriterConfig::default();
    let mut writer = Writer::new(vault.clone(), id, chunks, parent, dedup, config).await?;
    for (chunk, seed) in writes {
        writer.chunk(*chunk, Content::Data(&content(*seed))).await?;
    }
    writer.finish().await
}

pub(crate) fn reader(vault: &Vault, manifest: &Manifest) -> Reader {
    Reader::new(vault.clone(), manifest.clone(), ReaderConfig::default())
}

/// Whether every chunk is what the model says.
pub(crate) async fn compare(reader: &Reader, model: &BTreeMap<u64, u8>) -> Result<()> {
    for chunk in 0..reader.manifest().chunks {
        let seed = model.get(&chunk).copied().unwrap_or(0);
        match reader.chunk(chunk).await? {
            None => assert_eq!(seed, 0, "chunk {chunk} reads zeros"),
            Some(bytes) => assert!(*bytes == content(seed), "chunk {chunk} is not of {seed}"),
        }
    }
    Ok(())
}

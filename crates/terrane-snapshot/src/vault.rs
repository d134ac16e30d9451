//! One account's objects: sealed on their way in, verified on their way out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use terrane_types::AccountId;

use crate::keys::ChunkKeys;
use crate::objects::{ObjectError, ObjectStore};
use crate::seal::{Context, Sealed, seal};
use crate::{
    CHUNK_BYTES, ChunkHash, ChunkKey, ChunkRef, Kind, Manifest, ObjectName, ObjectRef, PACK_BYTES_MAX,
    PackEntry, Result, Segment, SnapshotError, pack,
};

/// How often a call of the object store is made before it has failed.
const ATTEMPTS: u32 = 3;
/// Pause before the next attempt, times the number of the attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// An account's objects and keys. The object store, or the prefix that it stands for, is the account's alone.
/// Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    account: AccountId,
    objects: Arc<dyn ObjectStore>,
    keys: Arc<dyn ChunkKeys>,
    timeout: Duration,
}

impl Vault {
    /// Those of this account. `timeout` ends a call of the object store that stalls; it is made again.
    pub fn new(
        account: AccountId,
        objects: Arc<dyn ObjectStore>,
        keys: Arc<dyn ChunkKeys>,
        timeout: Duration,
    ) -> Self {
        Self { account, objects, keys, timeout }
    }

    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// Reads a snapshot's manifest.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`] if the object is not exactly what the reference says.
    pub async fn manifest(&self, reference: &ObjectRef) -> Result<Manifest> {
        Manifest::decode(&self.whole(Kind::Manifest, reference).await?)
    }

    /// Reads a segment manifest.
    ///
    /// # Errors
    /// As [`Vault::manifest`].
    pub async fn segment(&self, reference: &ObjectRef) -> Result<Segment> {
        Segment::decode(&self.whole(Kind::Segment, reference).await?)
    }

    /// Reads a chunk: [`CHUNK_BYTES`] that hash to what the reference says.
    ///
    /// # Errors
    /// As [`Vault::manifest`].
    pub async fn chunk(&self, reference: &ChunkRef) -> Result<Bytes> {
        let name = reference.pack.to_string();
        let start = u64::from(reference.offset);
        let bytes = self.get(&name, start..start + u64::from(reference.len)).await?;
        let plain = self.open(&name, &bytes, Kind::Pack, reference.hash, CHUNK_BYTES).await?;
        if plain.len() != CHUNK_BYTES {
            return Err(SnapshotError::corrupt(name, "not a whole chunk"));
        }
        Ok(plain)
    }

    /// Stores one chunk as a pack of its own: what comes in no order, before it is known where it belongs. Callers
    /// give every content a name of its own: a capture (of any nonce) and a number that were not used before.
    ///
    /// # Errors
    /// [`SnapshotError::ChunkLength`]; the object store's; the keys'.
    pub async fn put_chunk(&self, capture: crate::CaptureId, n: u32, bytes: &[u8]) -> Result<ChunkRef> {
        if bytes.len() != CHUNK_BYTES {
            return Err(SnapshotError::ChunkLength(bytes.len()));
        }
        let key = self.newest_key().await?;
        let hash = ChunkHash::of(bytes);
        let context = Context { account: &self.account, kind: Kind::Pack, hash };
        let sealed = seal(&key, rand::random(), context, bytes);
        let name = ObjectName { kind: Kind::Pack, capture, n };
        let mut pack = pack::PackBuilder::new();
        let entry = pack.add(hash, &sealed);
        let (bytes, _) = pack.finish(&key, rand::random(), &self.account);
        self.put(name, bytes.into()).await?;
        Ok(ChunkRef { pack: name, offset: entry.offset, len: entry.len, hash })
    }

    /// The chunks that a pack says it has: to rebuild the table of known chunks.
    ///
    /// # Errors
    /// As [`Vault::manifest`].
    pub async fn pack_index(&self, pack: &ObjectName) -> Result<Vec<PackEntry>> {
        let name = pack.to_string();
        let len = self.objects.head(&name).await?;
        if len > PACK_BYTES_MAX as u64 {
            return Err(SnapshotError::corrupt(name, "longer than a pack"));
        }
        let bytes = self.get(&name, 0..len).await?;
        let key = self.keys.key(&self.account, pack::index_key(&name, &bytes)?).await?;
        pack::index(&name, &bytes, &key, &self.account)
    }

    pub(crate) async fn newest_key(&self) -> Result<ChunkKey> {
        self.keys.newest(&self.account).await
    }

    /// Seals and stores a manifest of either kind.
    pub(crate) async fn put_plain(
        &self,
        key: &ChunkKey,
        name: ObjectName,
        plain: &[u8],
    ) -> Result<ObjectRef> {
        let hash = ChunkHash::of(plain);
        let context = Context { account: &self.account, kind: name.kind, hash };
        let sealed = seal(key, rand::random(), context, plain);
        let len = u32::try_from(sealed.len()).expect("bounded before it was sealed");
        self.put(name, sealed.into()).await?;
        Ok(ObjectRef { name, len, hash })
    }

    /// Stores an object; what fails for a moment is tried again, under the same name with the same bytes.
    pub(crate) async fn put(&self, name: ObjectName, bytes: Bytes) -> Result<()> {
        let text = name.to_string();
        let mut attempt = 1;
        loop {
            let put = self.objects.put(&text, bytes.clone());
            match tokio::time::timeout(self.timeout, put).await.unwrap_or_else(|_| Err(stalled(&text))) {
                Err(ObjectError::Unavailable { .. }) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                result => return Ok(result?),
            }
        }
    }

    /// Names of the account's objects behind `after`, and where to go on if there are more.
    pub(crate) async fn list(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ObjectName>, Option<String>)> {
        let found = self.objects.list("", after, limit);
        let found = tokio::time::timeout(self.timeout, found).await.unwrap_or_else(|_| Err(stalled("")))?;
        let next = (found.len() >= limit).then(|| found.last().map(|last| last.name.clone())).flatten();
        // What has another name is not ours to judge.
        Ok((found.iter().filter_map(|object| ObjectName::parse(&object.name).ok()).collect(), next))
    }

    pub(crate) async fn delete(&self, name: ObjectName) -> Result<()> {
        let text = name.to_string();
        let deleted = tokio::time::timeout(self.timeout, self.objects.delete(&text)).await;
        Ok(deleted.unwrap_or_else(|_| Err(stalled(&text)))?)
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let mut attempt = 1;
        loop {
            let get = self.objects.get(name, range.clone());
            match tokio::time::timeout(self.timeout, get).await.unwrap_or_else(|_| Err(stalled(name))) {
                Err(ObjectError::Unavailable { .. }) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                result => return Ok(result?),
            }
        }
    }

    async fn whole(&self, kind: Kind, reference: &ObjectRef) -> Result<Bytes> {
        let name = reference.name.to_string();
        if reference.name.kind != kind {
            return Err(SnapshotError::corrupt(name, "a reference to something else"));
        }
        let bytes = self.get(&name, 0..u64::from(reference.len)).await?;
        self.open(&name, &bytes, kind, reference.hash, crate::seal::PLAIN_BYTES_MAX).await
    }

    async fn open(
        &self,
        name: &str,
        bytes: &[u8],
        kind: Kind,
        hash: ChunkHash,
        longest: usize,
    ) -> Result<Bytes> {
        let sealed = Sealed::parse(&name, bytes)?;
        if sealed.plain_len() > longest {
            return Err(SnapshotError::corrupt(name, "longer than it can be"));
        }
        let key = self.keys.key(&self.account, sealed.key).await?;
        sealed.open(&name, &key, Context { account: &self.account, kind, hash })
    }
}

fn stalled(name: &str) -> ObjectError {
    ObjectError::Unavailable { name: name.into(), why: "no answer in time".into() }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("account", &self.account).finish_non_exhaustive()
    }
}

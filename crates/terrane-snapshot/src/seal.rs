//! Sealed bytes: compressed if that helps, encrypted, bound to what they are.
//!
//! ```text
//! version u8 = 1 | kind u8 | codec u8 | key u32 | length u32 | nonce [12] | AES-256-GCM ciphertext | tag [16]
//! ```
//! Numbers are big-endian; `length` is that of the plain bytes. Associated data: everything before the nonce,
//! the account, and the hash of the plain bytes. So sealed bytes open only as what they are, of the account
//! whose they are, where exactly they are expected. Nonces are random (NIST SP 800-38D, 8.2.2: good for 2³²
//! messages per key, that is 2 PiB of chunks; then the account's key is to be rotated).

use std::fmt;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use bytes::Bytes;
use terrane_types::AccountId;
use zeroize::Zeroizing;

use crate::{ChunkHash, Kind, Result, SnapshotError};

/// The form that is written.
const VERSION: u8 = 1;
/// Bytes before the nonce.
const HEAD_BYTES: usize = 11;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// What sealing adds at most.
pub(crate) const SEAL_BYTES: usize = HEAD_BYTES + NONCE_BYTES + TAG_BYTES;
/// Longest plain content of anything sealed: the manifest of the largest volume is shorter.
pub(crate) const PLAIN_BYTES_MAX: usize = 16 << 20;
/// zstd's fast end: snapshots are bound by the network more than by what the last percent would save.
const LEVEL: i32 = 1;

/// An account's key for snapshots. Wiped when dropped.
#[derive(Clone)]
pub struct ChunkKey {
    id: u32,
    key: Zeroizing<[u8; 32]>,
}

impl ChunkKey {
    /// The key `id` of an account.
    pub fn new(id: u32, key: Zeroizing<[u8; 32]>) -> Self {
        Self { id, key }
    }

    /// Which of the account's keys it is.
    pub fn id(&self) -> u32 {
        self.id
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.key).into())
    }
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkKey({}, …)", self.id)
    }
}

/// How the plain bytes are written before they are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// As one zstd frame.
    Zstd = 1,
}

/// Whose bytes they are, and what they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) kind: Kind,
    pub(crate) hash: ChunkHash,
}

/// Seals plain bytes of at most [`PLAIN_BYTES_MAX`] whose hash the context has.
pub(crate) fn seal(key: &ChunkKey, nonce: [u8; NONCE_BYTES], context: Context<'_>, plain: &[u8]) -> Vec<u8> {
    assert!(plain.len() <= PLAIN_BYTES_MAX, "callers seal chunks and bounded manifests");
    let (codec, packed) = compress(plain);
    let length = u32::try_from(plain.len()).expect("PLAIN_BYTES_MAX fits");
    let mut out = Vec::with_capacity(packed.len() + SEAL_BYTES);
    out.extend([VERSION, kind_code(context.kind), codec as u8]);
    out.extend(key.id.to_be_bytes());
    out.extend(length.to_be_bytes());
    let aad = associated_data(&out, context);
    let payload = Payload { msg: &packed, aad: &aad };
    let sealed = key.cipher().encrypt(&Nonce::from(nonce), payload);
    out.extend(nonce);
    out.extend(sealed.expect("AES-GCM encrypts anything shorter than 64 GiB"));
    out
}

/// What sealed bytes say of themselves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sealed<'a> {
    head: &'a [u8],
    codec: Codec,
    kind: u8,
    pub(crate) key: u32,
    length: usize,
    nonce: [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Takes sealed bytes apart. `object` is for errors.
    pub(crate) fn parse(object: &dyn fmt::Display, bytes: &'a [u8]) -> Result<Self> {
        let short = || SnapshotError::corrupt(object, "cut short");
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(short)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(short)?;
        let [version, kind, codec, k0, k1, k2, k3, l0, l1, l2, l3] = *head;
        if version > VERSION {
            let object = object.to_string();
            return Err(SnapshotError::NewerFormat { object, found: version, known: VERSION });
        }
        let codec = match codec {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            _ => return Err(SnapshotError::corrupt(object, "unknown codec")),
        };
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if version != VERSION || length > PLAIN_BYTES_MAX || ciphertext.len() < TAG_BYTES {
            return Err(SnapshotError::corrupt(object, "not sealed bytes"));
        }
        let key = u32::from_be_bytes([k0, k1, k2, k3]);
        Ok(Self { head, codec, kind, key, length, nonce: *nonce, ciphertext })
    }

    /// Decrypts, decompresses and verifies. The result hashes to the context's hash.
    pub(crate) fn open(
        &self,
        object: &dyn fmt::Display,
        key: &ChunkKey,
        context: Context<'_>,
    ) -> Result<Bytes> {
        let corrupt = |what| SnapshotError::corrupt(object, what);
        if self.kind != kind_code(context.kind) {
            return Err(corrupt("sealed as something else"));
        }
        let aad = associated_data(self.head, context);
        let payload = Payload { msg: self.ciphertext, aad: &aad };
        let opened = key.cipher().decrypt(&Nonce::from(self.nonce), payload);
        let packed = opened.map_err(|_| corrupt("does not decrypt"))?;
        let plain = match self.codec {
            Codec::Raw => packed,
            Codec::Zstd => {
                zstd::bulk::decompress(&packed, self.length).map_err(|_| corrupt("does not decompress"))?
            }
        };
        if plain.len() != self.length {
            return Err(corrupt("another length than said"));
        }
        if ChunkHash::of(&plain) != context.hash {
            return Err(corrupt("another hash than expected"));
        }
        Ok(plain.into())
    }

    /// The length of the plain bytes.
    pub(crate) fn plain_len(&self) -> usize {
        self.length
    }
}

fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Pack => 0,
        Kind::Segment => 1,
        Kind::Manifest => 2,
    }
}

/// Compression that saves less than a sixteenth is not worth undoing at every read.
fn compress(plain: &[u8]) -> (Codec, std::borrow::Cow<'_, [u8]>) {
    match zstd::bulk::compress(plain, LEVEL) {
        Ok(packed) if packed.len() <= plain.len() - plain.len() / 16 => (Codec::Zstd, packed.into()),
        Ok(_) | Err(_) => (Codec::Raw, plain.into()),
    }
}

fn associated_data(head: &[u8], context: Context<'_>) -> Vec<u8> {
    let account = context.account.as_str().as_bytes();
    let length = (account.len() as u64).to_be_bytes();
    [head, &length, account, &context.hash.0].concat()
}

/// Opens whatever bytes are; for fuzzing.
pub(crate) fn fuzz_open(bytes: &[u8]) {
    let account = AccountId::parse("000000000001").expect("a legal account");
    let key = ChunkKey::new(1, Zeroizing::new([7; 32]));
    if let Ok(sealed) = Sealed::parse(&"fuzz", bytes) {
        for kind in [Kind::Pack, Kind::Segment, Kind::Manifest] {
            let context = Context { account: &account, kind, hash: ChunkHash([0; 32]) };
            assert!(sealed.open(&"fuzz", &key, context).is_err(), "nothing hashes to zeros");
        }
    }
}

#[cfg(test)]
mod tests;

//! Snapshots: the one format in which captures, shelved volumes and copies are kept, and everything about it
//! that needs no volume.
//!
//! ```text
//! manifest ─► segment manifests (1,024 chunks each, shared by increments) ─► packs ─► chunks of 512 KiB
//! ```
//! A chunk is compressed (unless that is useless), sealed with a key of its account, and lies in a pack with
//! others. What refers to an object says what it must hash to; every read is verified down to the chunk's
//! BLAKE3. An object is written once under a name that is never used again.
//!
//! [`Writer`] turns a stream of chunks and an optional parent into packs and manifests, [`Reader`] gives any
//! range of bytes back, [`diff::changed`] says which chunks differ between two manifests, and [`gc`] decides
//! without I/O which objects may go.

mod chunk;
pub mod diff;
mod error;
pub mod gc;
pub mod keys;
mod manifest;
pub mod objects;
mod pack;
mod reader;
mod seal;
mod vault;
mod writer;

pub use chunk::{
    CHUNK_BYTES, CHUNKS_MAX, CaptureId, ChunkHash, ChunkRef, Kind, ObjectName, ObjectRef, SEGMENT_CHUNKS,
};
pub use error::{Result, SnapshotError};
pub use manifest::{Manifest, Segment};
pub use pack::{PACK_BYTES_MAX, PACK_BYTES_MIN, PackEntry};
pub use reader::{READ_BYTES_MAX, Reader, ReaderConfig};
pub use seal::{ChunkKey, Codec};
pub use vault::Vault;
pub use writer::{Content, Dedup, MemoryDedup, NoDedup, Stats, Writer, WriterConfig};

/// Decodes whatever bytes are, with every decoder of this crate; for fuzzing.
pub fn fuzz_decode(bytes: &[u8]) {
    let _ = manifest::Manifest::decode(bytes);
    let _ = manifest::Segment::decode(bytes);
    pack::fuzz_decode(bytes);
    seal::fuzz_open(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(name) = ObjectName::parse(text)
    {
        assert_eq!(name.to_string(), text, "one name has one text");
    }
}

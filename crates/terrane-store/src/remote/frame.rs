//! Frames: four bytes of length, big-endian, and a message.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::message::{decode, encode};
use crate::key::COMMIT_BYTES_MAX;
use crate::{Result, StoreError};

/// The largest message: the largest commit, with room for what it read.
pub(super) const FRAME_BYTES_MAX: usize = 2 * COMMIT_BYTES_MAX;

pub(super) async fn write<T: Serialize>(io: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<()> {
    let bytes = encode(message)?;
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(StoreError::TooLarge { what: "message", len: bytes.len(), limit: FRAME_BYTES_MAX });
    }
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let lost = |error: std::io::Error| StoreError::Unavailable(format!("store connection: {error}"));
    // One write for small messages: the peer wakes up once.
    if bytes.len() <= 4096 {
        io.write_all(&[&len[..], &bytes].concat()).await.map_err(lost)
    } else {
        io.write_all(&len).await.map_err(lost)?;
        io.write_all(&bytes).await.map_err(lost)
    }
}

/// The next message; `None` at the end of the stream.
pub(super) async fn read<T: DeserializeOwned>(
    io: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Option<T>> {
    let lost = |error: std::io::Error| StoreError::Unavailable(format!("store connection: {error}"));
    let mut len = [0; 4];
    match io.read_exact(&mut len).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(lost(error)),
    }
    let len = u32::from_be_bytes(len) as usize;
    if len > limit {
        return Err(StoreError::TooLarge { what: "message", len, limit });
    }
    // Grown as the bytes arrive: a length is only a claim.
    let mut bytes = Vec::with_capacity(len.min(64 << 10));
    io.take(len as u64).read_to_end(&mut bytes).await.map_err(lost)?;
    if bytes.len() < len {
        return Err(StoreError::Unavailable("store connection: cut within a message".into()));
    }
    decode(&bytes).map(Some)
}

//! Frames: how messages lie in a stream.
//!
//! ```text
//! len u32 · version u8 · kind u8 · checksum (CRC32C) of the body u32 · body (len − 6 bytes)
//! ```
//! Little-endian. The version is the one that the handshake agreed on. The body is of one message.

use crate::error::WireError;
use crate::output::Output;
use bytes::{Buf, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest, checksum};
use std::marker::PhantomData;

/// Bytes before the body, with the length.
pub const HEAD: usize = 10;
/// Bytes of the length itself.
const LEN: usize = 4;

/// Something that is sent as a frame.
pub trait Message: Sized {
    /// Tells frames of this type from others.
    const KIND: u8;
    /// Bytes of a body, at most.
    const BODY_MAX: usize;

    /// Appends the body to `out`, but for the bytes that come last, which it returns.
    fn encode(&self, out: &mut BytesMut) -> Bytes;

    /// Reads a body. Content shares the buffer.
    ///
    /// # Errors
    /// [`WireError::Broken`].
    fn decode(body: Bytes) -> Result<Self, WireError>;
}

/// Appends a message as a frame.
///
/// # Errors
/// [`WireError::TooLarge`]: nothing was appended.
pub fn encode<M: Message>(message: &M, version: u8, out: &mut Output) -> Result<(), WireError> {
    let tail = out.tail();
    let start = tail.len();
    tail.extend_from_slice(&[0; HEAD]);
    let content = message.encode(tail);
    let body = tail.len() - start - HEAD + content.len();
    if body > M::BODY_MAX {
        tail.truncate(start);
        return Err(WireError::TooLarge { what: "a message", size: body, limit: M::BODY_MAX });
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&tail[start + HEAD..]);
    digest.update(&content);
    let head = &mut tail[start..start + HEAD];
    head[..LEN].copy_from_slice(&((body + HEAD - LEN) as u32).to_le_bytes());
    head[4] = version;
    head[5] = M::KIND;
    head[6..].copy_from_slice(&(digest.finalize() as u32).to_le_bytes());
    out.push(content);
    Ok(())
}

/// Takes frames out of what was received.
#[derive(Debug)]
pub struct Frames<M> {
    version: u8,
    message: PhantomData<fn() -> M>,
}

impl<M: Message> Frames<M> {
    /// Of this version.
    #[must_use]
    pub fn new(version: u8) -> Self {
        Self { version, message: PhantomData }
    }

    /// Takes the next message off the start of `input`; none if it is not all there. Then `missing` bytes more are of
    /// use.
    ///
    /// # Errors
    /// [`WireError::Broken`], [`WireError::TooLarge`]: the stream is of no use any more.
    pub fn next(&self, input: &mut BytesMut) -> Result<Result<M, Missing>, WireError> {
        let Some(head) = input.first_chunk::<HEAD>() else {
            return Ok(Err(Missing(HEAD - input.len())));
        };
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let [version, kind] = [head[4], head[5]];
        let sum = u32::from_le_bytes([head[6], head[7], head[8], head[9]]);
        if version != self.version || kind != M::KIND {
            let found = format!("version {version} and kind {kind}");
            return Err(WireError::broken("frame", found));
        }
        let Some(body) = len.checked_sub(HEAD - LEN) else {
            return Err(WireError::broken("frame", "a length below that of the head"));
        };
        if body > M::BODY_MAX {
            return Err(WireError::TooLarge { what: "a frame", size: body, limit: M::BODY_MAX });
        }
        if input.len() < HEAD + body {
            return Ok(Err(Missing(HEAD + body - input.len())));
        }
        input.advance(HEAD);
        let body = input.split_to(body).freeze();
        if checksum(CrcAlgorithm::Crc32Iscsi, &body) as u32 != sum {
            return Err(WireError::broken("frame", "a wrong checksum"));
        }
        M::decode(body).map(Ok)
    }
}

/// How many bytes more there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub usize);

#[cfg(test)]
mod tests;

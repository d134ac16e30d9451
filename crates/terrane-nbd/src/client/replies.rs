//! Replies as a client reads them, without I/O.

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::{self, CHUNK_DONE, chunk, state};
use crate::{Extent, ExtentKind};

/// The longest chunk: 32 MiB of data and its offset.
const CHUNK_MAX: u32 = (32 << 20) + 8;
/// Bytes of a simple reply, and of a chunk without its payload.
const SIMPLE: usize = 16;
const CHUNK: usize = 20;

/// Why a stream of replies is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Out of step.
    #[error("reply does not start with its magic number but with {0:#x}")]
    Magic(u32),
    /// Too long.
    #[error("a chunk of {0} bytes")]
    TooLong(u32),
    /// Its parts do not add up.
    #[error("a malformed chunk of type {0}")]
    Malformed(u16),
}

/// A reply, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) cookie: u64,
    /// Nothing more comes for this request.
    pub(super) last: bool,
    pub(super) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    Done,
    /// Bytes at an offset.
    Data(u64, Bytes),
    /// Zeros at an offset.
    Hole(u64, u32),
    /// Extents from the request's offset on.
    Status(Vec<Extent>),
    /// It failed.
    Error(u32, String),
}

/// Takes the next part from the input; `None` if it is not there as a whole.
pub(super) fn next(input: &mut BytesMut) -> Result<Option<Part>, ReplyError> {
    let mut head = &input[..];
    let Ok(magic) = head.try_get_u32() else { return Ok(None) };
    match magic {
        wire::SIMPLE_REPLY_MAGIC if input.len() < SIMPLE => Ok(None),
        wire::SIMPLE_REPLY_MAGIC => {
            let (error, cookie) = (head.get_u32(), head.get_u64());
            input.advance(SIMPLE);
            let body = if error == 0 { Body::Done } else { Body::Error(error, String::new()) };
            Ok(Some(Part { cookie, last: true, body }))
        }
        wire::STRUCTURED_REPLY_MAGIC if input.len() < CHUNK => Ok(None),
        wire::STRUCTURED_REPLY_MAGIC => {
            let (flags, kind) = (head.get_u16(), head.get_u16());
            let (cookie, len) = (head.get_u64(), head.get_u32());
            if len > CHUNK_MAX {
                return Err(ReplyError::TooLong(len));
            }
            let total = CHUNK + len as usize;
            if input.len() < total {
                input.reserve(total - input.len());
                return Ok(None);
            }
            input.advance(CHUNK);
            let payload = input.split_to(len as usize).freeze();
            let body = body(kind, payload).ok_or(ReplyError::Malformed(kind))?;
            Ok(Some(Part { cookie, last: flags & CHUNK_DONE != 0, body }))
        }
        magic => Err(ReplyError::Magic(magic)),
    }
}

fn body(kind: u16, mut payload: Bytes) -> Option<Body> {
    const IS_ERROR: u16 = 1 << 15;
    match kind {
        chunk::NONE => payload.is_empty().then_some(Body::Done),
        chunk::OFFSET_DATA => {
            let offset = payload.try_get_u64().ok()?;
            (!payload.is_empty()).then_some(Body::Data(offset, payload))
        }
        chunk::OFFSET_HOLE => {
            let (offset, len) = (payload.try_get_u64().ok()?, payload.try_get_u32().ok()?);
            (payload.is_empty() && len > 0).then_some(Body::Hole(offset, len))
        }
        chunk::BLOCK_STATUS => {
            let context = payload.try_get_u32().ok()?;
            (context == wire::ALLOCATION_CONTEXT_ID && payload.len().is_multiple_of(8)).then_some(())?;
            let mut extents = Vec::with_capacity(payload.len() / 8);
            while payload.has_remaining() {
                let (len, flags) = (payload.get_u32(), payload.get_u32());
                extents.push(extent(len, flags)?);
            }
            Some(Body::Status(extents))
        }
        kind if kind & IS_ERROR != 0 => {
            let (code, len) = (payload.try_get_u32().ok()?, payload.try_get_u16().ok()?);
            let words = payload.get(..usize::from(len))?;
            Some(Body::Error(code, String::from_utf8_lossy(words).into_owned()))
        }
        _ => None,
    }
}

fn extent(len: u32, flags: u32) -> Option<Extent> {
    let kind = match (flags & state::HOLE != 0, flags & state::ZERO != 0) {
        (true, true) => ExtentKind::Hole,
        (false, true) => ExtentKind::Zero,
        (_, false) => ExtentKind::Data,
    };
    (len > 0).then_some(Extent { len: len.into(), kind })
}

/// Decodes all replies in `bytes`, and says how many parts there were. For fuzzing.
///
/// # Errors
/// [`ReplyError`].
pub fn decode_all(bytes: &[u8]) -> Result<usize, ReplyError> {
    let mut input = BytesMut::from(bytes);
    let mut parts = 0;
    while next(&mut input)?.is_some() {
        parts += 1;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{Agreement, ReplyStyle};
    use crate::output::Output;
    use crate::reply::{Outcome, encode};
    use crate::request::Address;
    use crate::{NbdError, Piece};
    use proptest::prelude::*;

    fn bytes_of(outcome: Outcome) -> Vec<u8> {
        let agreement = Agreement { style: ReplyStyle::Structured, block_status: true };
        let mut output = Output::new();
        encode(agreement, Address { cookie: 7, offset: 4096 }, outcome, &mut output);
        output.take_all()
    }

    fn parts(bytes: &[u8]) -> Vec<(bool, Body)> {
        let mut input = BytesMut::from(bytes);
        let mut parts = Vec::new();
        while let Some(part) = next(&mut input).unwrap() {
            assert_eq!(part.cookie, 7);
            parts.push((part.last, part.body));
        }
        assert!(input.is_empty());
        parts
    }

    #[test]
    fn what_the_server_encodes_is_understood() {
        assert_eq!(parts(&bytes_of(Outcome::Done)), [(true, Body::Done)]);
        let data = Bytes::from(vec![3; 2000]);
        let pieces = vec![Piece::Zeroes(512), Piece::Data(data.clone())];
        assert_eq!(
            parts(&bytes_of(Outcome::Pieces(pieces))),
            [(false, Body::Hole(4096, 512)), (true, Body::Data(4608, data))],
        );
        let extents = vec![
            Extent { len: 10, kind: ExtentKind::Data },
            Extent { len: 20, kind: ExtentKind::Hole },
            Extent { len: 30, kind: ExtentKind::Zero },
        ];
        assert_eq!(parts(&bytes_of(Outcome::Status(extents.clone()))), [(true, Body::Status(extents))]);
        assert_eq!(
            parts(&bytes_of(Outcome::Failed(NbdError::io("no")))),
            [(true, Body::Error(5, "no".into()))],
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..60, to: u8) {
            let _ = decode_all(&bytes);
            let pieces = vec![Piece::Zeroes(512), Piece::Data(Bytes::from(vec![3; 20]))];
            let mut mutated = bytes_of(Outcome::Pieces(pieces));
            mutated[at] = to;
            let _ = decode_all(&mutated);
            mutated.truncate(at);
            let _ = decode_all(&mutated);
        }
    }
}

//! Replies of the transmission phase: encoding, without I/O.

use bytes::{BufMut, Bytes, BytesMut};

use crate::handshake::{Agreement, ReplyStyle};
use crate::output::Output;
use crate::request::Address;
use crate::wire::{self, CHUNK_DONE, STRING_MAX, chunk, state};
use crate::{Extent, ExtentKind, NbdError, Piece};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// What was read, complete.
    Data(Bytes),
    /// What was read, in pieces that together are complete. Only where the client understands chunks.
    Pieces(Vec<Piece>),
    /// The extents asked for, at least one. Only where the client understands chunks.
    Status(Vec<Extent>),
    /// It failed.
    Failed(NbdError),
}

/// Appends the reply to a request.
pub fn encode(agreement: Agreement, address: Address, outcome: Outcome, output: &mut Output) {
    match agreement.style {
        ReplyStyle::Simple => simple(address, outcome, output),
        style => Chunks { style, address, output }.reply(outcome),
    }
}

fn simple(address: Address, outcome: Outcome, output: &mut Output) {
    let (error, data) = match outcome {
        Outcome::Data(data) => (0, data),
        Outcome::Failed(error) => (error.code as u32, Bytes::new()),
        Outcome::Done | Outcome::Pieces(_) | Outcome::Status(_) => (0, Bytes::new()),
    };
    output.put(|bytes| {
        bytes.put_u32(wire::SIMPLE_REPLY_MAGIC);
        bytes.put_u32(error);
        bytes.put_u64(address.cookie);
    });
    output.push(data);
}

struct Chunks<'a> {
    style: ReplyStyle,
    address: Address,
    output: &'a mut Output,
}

impl Chunks<'_> {
    fn reply(mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.chunk(CHUNK_DONE, chunk::NONE, 0, |_| {}),
            Outcome::Data(data) => self.data(CHUNK_DONE, self.address.offset, data),
            Outcome::Pieces(pieces) => self.pieces(pieces),
            Outcome::Status(extents) if self.style == ReplyStyle::Extended => self.status_64(&extents),
            Outcome::Status(extents) => self.status_32(&extents),
            Outcome::Failed(error) => self.error(&error),
        }
    }

    /// A chunk whose payload has `len` bytes, of which `payload` writes the first ones or all.
    fn chunk(&mut self, flags: u16, kind: u16, len: usize, payload: impl FnOnce(&mut BytesMut)) {
        let Self { style, address, .. } = *self;
        self.output.put(|bytes| {
            let extended = style == ReplyStyle::Extended;
            bytes.put_u32(if extended { wire::EXTENDED_REPLY_MAGIC } else { wire::STRUCTURED_REPLY_MAGIC });
            bytes.put_u16(flags);
            bytes.put_u16(kind);
            bytes.put_u64(address.cookie);
            if extended {
                bytes.put_u64(address.offset);
                bytes.put_u64(len as u64);
            } else {
                bytes.put_u32(len as u32);
            }
            payload(bytes);
        });
    }

    fn data(&mut self, flags: u16, offset: u64, data: Bytes) {
        self.chunk(flags, chunk::OFFSET_DATA, 8 + data.len(), |bytes| bytes.put_u64(offset));
        self.output.push(data);
    }

    fn pieces(&mut self, pieces: Vec<Piece>) {
        let mut at = self.address.offset;
        let last = pieces.len().saturating_sub(1);
        for (number, piece) in pieces.into_iter().enumerate() {
            let flags = if number == last { CHUNK_DONE } else { 0 };
            let offset = at;
            match piece {
                Piece::Data(data) => {
                    at += data.len() as u64;
                    self.data(flags, offset, data);
                }
                Piece::Zeroes(len) => {
                    at += u64::from(len);
                    self.chunk(flags, chunk::OFFSET_HOLE, 12, |bytes| {
                        bytes.put_u64(offset);
                        bytes.put_u32(len);
                    });
                }
            }
        }
    }

    fn status_32(&mut self, extents: &[Extent]) {
        // Only the last one can be longer than what fits: the sum of the others is less than the request.
        const LEN_MAX: u32 = 0xffff_0000;
        self.chunk(CHUNK_DONE, chunk::BLOCK_STATUS, 4 + 8 * extents.len(), |bytes| {
            bytes.put_u32(wire::ALLOCATION_CONTEXT_ID);
            for extent in extents {
                bytes.put_u32(u32::try_from(extent.len).unwrap_or(LEN_MAX));
                bytes.put_u32(status_flags(extent.kind));
            }
        });
    }

    fn status_64(&mut self, extents: &[Extent]) {
        self.chunk(CHUNK_DONE, chunk::BLOCK_STATUS_EXT, 8 + 16 * extents.len(), |bytes| {
            bytes.put_u32(wire::ALLOCATION_CONTEXT_ID);
            bytes.put_u32(extents.len() as u32);
            for extent in extents {
                bytes.put_u64(extent.len);
                bytes.put_u64(status_flags(extent.kind).into());
            }
        });
    }

    fn error(&mut self, error: &NbdError) {
        let words = &error.message[..error.message.floor_char_boundary(STRING_MAX)];
        self.chunk(CHUNK_DONE, chunk::ERROR, 6 + words.len(), |bytes| {
            bytes.put_u32(error.code as u32);
            bytes.put_u16(words.len() as u16);
            bytes.put_slice(words.as_bytes());
        });
    }
}

fn status_flags(kind: ExtentKind) -> u32 {
    match kind {
        ExtentKind::Data => 0,
        ExtentKind::Zero => state::ZERO,
        ExtentKind::Hole => state::HOLE | state::ZERO,
    }
}

#[cfg(test)]
mod tests;

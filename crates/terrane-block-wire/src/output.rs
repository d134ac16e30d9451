//! What is to be sent.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Content of up to so many bytes is copied behind the head of its message: cheaper than an entry of its own in a
/// vectored write.
const COPIED_MAX: usize = 4096;
/// The most that lies in one piece before the next begins.
const PIECE: usize = 64 << 10;

/// Bytes in order, in pieces.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    /// Bytes in `pieces`.
    bytes: usize,
}

impl Output {
    /// Where heads of messages are written.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        if self.tail.capacity() - self.tail.len() < 512 {
            self.cut();
            self.tail.reserve(PIECE);
        }
        &mut self.tail
    }

    /// Appends content.
    pub(crate) fn push(&mut self, content: Bytes) {
        if content.len() <= COPIED_MAX {
            self.tail.extend_from_slice(&content);
            return;
        }
        self.cut();
        self.bytes += content.len();
        self.pieces.push_back(content);
    }

    fn cut(&mut self) {
        if !self.tail.is_empty() {
            self.bytes += self.tail.len();
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes + self.tail.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all pieces.
    pub(crate) fn take(&mut self, into: &mut VecDeque<Bytes>) {
        self.cut();
        self.bytes = 0;
        into.append(&mut self.pieces);
    }

    /// All of it in one.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        let mut pieces = VecDeque::new();
        self.take(&mut pieces);
        pieces.into_iter().flatten().collect()
    }
}

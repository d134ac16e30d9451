//! Bytes on their way to a client: small ones gathered, large ones not copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// A payload up to this many bytes is copied behind its header, which is cheaper than a slice of its own.
const COPY_MAX: usize = 1024;

/// A queue of bytes.
#[derive(Debug, Default)]
pub struct Output {
    ready: VecDeque<Bytes>,
    tail: BytesMut,
    /// Bytes that were ever put in, and taken out.
    put: u64,
    taken: u64,
}

impl Output {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends what `write` writes.
    pub fn put(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.put += (self.tail.len() - before) as u64;
    }

    /// Appends bytes.
    pub fn push(&mut self, data: Bytes) {
        if data.len() <= COPY_MAX {
            return self.put(|tail| tail.extend_from_slice(&data));
        }
        self.seal();
        self.put += data.len() as u64;
        self.ready.push_back(data);
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.ready.push_back(self.tail.split().freeze());
        }
    }

    /// Position behind the last byte, counted from the beginning of the stream.
    pub fn end(&self) -> u64 {
        self.put
    }

    /// Position of the first byte that has not been taken.
    pub fn position(&self) -> u64 {
        self.taken
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.put == self.taken
    }

    /// Fills slices with the first bytes and returns how many slices.
    pub fn slices<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        self.seal();
        let mut filled = 0;
        for (slot, bytes) in slices.iter_mut().zip(&self.ready) {
            *slot = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    /// Takes the first `count` bytes out.
    pub fn advance(&mut self, mut count: usize) {
        self.taken += count as u64;
        while let Some(first) = self.ready.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.ready.pop_front();
        }
    }

    /// All bytes, copied together.
    pub fn take_all(&mut self) -> Vec<u8> {
        self.seal();
        let all = self.ready.iter().flatten().copied().collect();
        self.ready.clear();
        self.taken = self.put;
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_whatever_is_taken_at_a_time() {
        for step in [1, 7, 1024, 5000] {
            let mut output = Output::new();
            let mut expected = Vec::new();
            for (n, len) in [3_usize, 1024, 1025, 0, 4096, 1].into_iter().enumerate() {
                let data = vec![n as u8; len];
                expected.extend_from_slice(&data);
                output.push(data.into());
            }
            assert_eq!(output.end(), expected.len() as u64);
            let mut got = Vec::new();
            while !output.is_empty() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = output.slices(&mut slices);
                let first: Vec<u8> =
                    slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(step).collect();
                output.advance(first.len());
                got.extend(first);
                assert_eq!(output.position(), got.len() as u64);
            }
            assert_eq!(got, expected);
        }
    }
}

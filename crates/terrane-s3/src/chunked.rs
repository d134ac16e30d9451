//! `aws-chunked` framing as seen from outside: sizes only, so that no chunk is held whole without bound.
//!
//! s3s collects a chunk before it passes it on, because a chunk's signature covers all of it. A chunk
//! without signature (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`) needs no collecting, and some clients send the
//! whole object as one: it is cut into smaller ones here, which changes nothing but their framing.
//! Framing: `HEX-SIZE[;chunk-signature=…]CRLF DATA CRLF … 0[;…]CRLF trailers`
//! (Amazon S3 API Reference, "Signature calculations: transferring payload in multiple chunks").

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Unsigned chunks are cut to this many bytes.
const PIECE: u64 = 64 << 10;
/// Longest chunk header: size, signature and the two line ends.
const META_MAX: usize = 256;

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkFault {
    TooLarge { limit: u64 },
    Malformed,
}

#[derive(Debug)]
enum State {
    /// Collecting a chunk header.
    Meta(BytesMut),
    /// Inside a chunk's data: bytes left; `piece` bytes left of the piece announced, if cutting.
    Data { left: u64, piece: u64, cut: bool },
    /// At the line end after data.
    LineEnd(u8),
    /// After the last chunk: trailers, passed through (s3s bounds them).
    Rest,
}

/// Watches, and where possible rewrites, the framing of one body.
#[derive(Debug)]
pub(crate) struct Rechunker {
    state: State,
    limit: u64,
    out: VecDeque<Bytes>,
}

impl Rechunker {
    /// `limit`: the largest signed chunk.
    pub(crate) fn new(limit: u64) -> Self {
        Self { state: State::Meta(BytesMut::new()), limit, out: VecDeque::new() }
    }

    /// The next bytes to pass on.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes the next bytes off the wire.
    pub(crate) fn push(&mut self, mut data: Bytes) -> Result<(), ChunkFault> {
        while !data.is_empty() {
            match &mut self.state {
                State::Meta(_) => self.meta(&mut data)?,
                State::Data { .. } => self.data(&mut data),
                State::LineEnd(seen) => {
                    let expected = if *seen == 0 { b'\r' } else { b'\n' };
                    if data.get_u8() != expected {
                        return Err(ChunkFault::Malformed);
                    }
                    *seen += 1;
                    if *seen == 2 {
                        self.out.push_back(Bytes::from_static(b"\r\n"));
                        self.state = State::Meta(BytesMut::new());
                    }
                }
                State::Rest => self.out.push_back(data.split_to(data.len())),
            }
        }
        Ok(())
    }

    fn meta(&mut self, data: &mut Bytes) -> Result<(), ChunkFault> {
        let State::Meta(line) = &mut self.state else { return Ok(()) };
        let end = data.iter().position(|b| *b == b'\n').map_or(data.len(), |at| at + 1);
        if line.len() + end > META_MAX {
            return Err(ChunkFault::Malformed);
        }
        line.extend_from_slice(&data[..end]);
        data.advance(end);
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return if line.ends_with(b"\n") { Err(ChunkFault::Malformed) } else { Ok(()) };
        };
        let split = text.iter().position(|b| *b == b';');
        let size = parse_hex(&text[..split.unwrap_or(text.len())]).ok_or(ChunkFault::Malformed)?;
        let signed = split.is_some();
        if signed && size > self.limit {
            return Err(ChunkFault::TooLarge { limit: self.limit });
        }
        let cut = !signed && size > PIECE;
        if !cut {
            self.out.push_back(line.split().freeze());
        }
        self.state = match size {
            0 => State::Rest,
            left => State::Data { left, piece: if cut { 0 } else { left }, cut },
        };
        Ok(())
    }

    fn data(&mut self, data: &mut Bytes) {
        let State::Data { left, piece, cut } = &mut self.state else { return };
        if *piece == 0 {
            *piece = (*left).min(PIECE);
            self.out.push_back(Bytes::from(format!("{piece:x}\r\n")));
        }
        let take = data.len().min(usize::try_from(*piece).unwrap_or(usize::MAX));
        self.out.push_back(data.split_to(take));
        *piece -= take as u64;
        *left -= take as u64;
        if *left == 0 {
            self.state = State::LineEnd(0);
        } else if *cut && *piece == 0 {
            self.out.push_back(Bytes::from_static(b"\r\n"));
        }
    }
}

/// 1 to 16 hex digits.
fn parse_hex(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 16 || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// For fuzzing: feeds a body in pieces of `step` bytes and collects what comes out.
pub fn rechunk(body: &[u8], step: usize, limit: u64) -> Option<Vec<u8>> {
    let mut chunks = Rechunker::new(limit);
    let mut out = Vec::new();
    for piece in body.chunks(step.max(1)) {
        chunks.push(Bytes::copy_from_slice(piece)).ok()?;
        while let Some(bytes) = chunks.next() {
            out.extend_from_slice(&bytes);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The payload, trailers and largest chunk of a well-formed body.
    fn decode(mut body: &[u8]) -> (Vec<u8>, Vec<u8>, usize) {
        let mut payload = Vec::new();
        let mut largest = 0;
        loop {
            let end = body.windows(2).position(|w| w == b"\r\n").unwrap();
            let line = std::str::from_utf8(&body[..end]).unwrap();
            let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            body = &body[end + 2..];
            if size == 0 {
                return (payload, body.to_vec(), largest);
            }
            largest = largest.max(size);
            payload.extend_from_slice(&body[..size]);
            assert_eq!(&body[size..size + 2], b"\r\n");
            body = &body[size + 2..];
        }
    }

    fn encode(chunks: &[Vec<u8>], signed: bool) -> Vec<u8> {
        let mut body = Vec::new();
        let tail = if signed { format!(";chunk-signature={}", "a".repeat(64)) } else { String::new() };
        for chunk in chunks.iter().filter(|c| !c.is_empty()) {
            body.extend_from_slice(format!("{:x}{tail}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("0{tail}\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n").as_bytes());
        body
    }

    #[test]
    fn one_huge_unsigned_chunk_becomes_small_ones() {
        let chunk: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
        let out = rechunk(&encode(std::slice::from_ref(&chunk), false), 4096, 10).unwrap();
        let (payload, trailers, largest) = decode(&out);
        assert!(payload == chunk && largest <= PIECE as usize);
        assert_eq!(trailers, b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    }

    #[test]
    fn signed_chunks_pass_untouched_up_to_the_limit() {
        let body = encode(&[vec![7; 300], vec![8; 100]], true);
        assert_eq!(rechunk(&body, 17, 300).as_deref(), Some(&body[..]));
        assert_eq!(rechunk(&body, 17, 299), None);
    }

    #[test]
    fn malformed_framing_is_refused() {
        for bad in
            [&b"zz\r\n"[..], b"\r\n", b"5\nabcde\r\n", b"3\r\nabcXX", b"11111111111111111\r\n", &[b'1'; 300]]
        {
            assert_eq!(rechunk(bad, 1, 1 << 20), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn payload_survives(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..5),
            signed: bool,
            step in 1usize..500,
        ) {
            let out = rechunk(&encode(&chunks, signed), step, 1 << 20).unwrap();
            let (payload, _, _) = decode(&out);
            prop_assert_eq!(payload, chunks.concat());
        }

        #[test]
        fn noise_does_not_panic(body in prop::collection::vec(any::<u8>(), 0..500), step in 1usize..50) {
            let _ = rechunk(&body, step, 1000);
        }
    }
}

//! The `aws-chunked` content encoding: framing, chunk signatures, trailing headers.
//!
//! ```text
//! chunk   = size-in-hex [";chunk-signature=" 64-hex] CRLF data CRLF      (signed modes: with signature)
//! last    = "0" […] CRLF
//! trailer = *(name ":" value CRLF) ["x-amz-trailer-signature:" 64-hex CRLF]
//! body    = *chunk last trailer CRLF
//! ```
//! Each signature covers the one before it, beginning with that of the request's head, so that a chunk
//! replayed, left out, reordered or taken from another request does not verify. Source: S3 API reference,
//! "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" and "…
//! Including Trailing Headers".

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::canonical::{Payload, chunk_to_sign, parse_hex32, trailer_to_sign};
use super::claim::Claim;
use super::key::SigningKey;

/// What a decoder accepts at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of data in one chunk. Not a bound on memory (nothing is buffered) but on how late a wrong
    /// signature is noticed.
    pub chunk_bytes_max: u64,
    /// Bytes of all trailing headers together.
    pub trailer_bytes_max: usize,
}

impl Default for Limits {
    /// 16 MiB per chunk, 16 KiB of trailing headers.
    fn default() -> Self {
        Self { chunk_bytes_max: 16 << 20, trailer_bytes_max: 16 << 10 }
    }
}

/// Why a chunked body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The claim that the decoder was made for does not announce a chunked body.
    #[error("the request does not announce a chunked body")]
    NotChunked,
    /// The framing is broken.
    #[error("malformed chunked body: {0}")]
    Malformed(&'static str),
    /// A chunk is larger than allowed.
    #[error("a chunk of {size} bytes is larger than {max}")]
    ChunkTooLarge {
        /// Announced size.
        size: u64,
        /// What is allowed.
        max: u64,
    },
    /// A chunk's or the trailer's signature is wrong.
    #[error("the signature of {0} does not match")]
    Mismatch(&'static str),
    /// The body is shorter or longer than `x-amz-decoded-content-length`.
    #[error("the body has {found} bytes and not {expected}")]
    WrongLength {
        /// Bytes decoded when this was noticed.
        found: u64,
        /// What was announced.
        expected: u64,
    },
    /// The body ends in the middle.
    #[error("the chunked body ends early")]
    Incomplete,
}

impl ChunkError {
    /// The error code that S3 answers with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Mismatch(_) => "SignatureDoesNotMatch",
            Self::WrongLength { .. } | Self::Incomplete => "IncompleteBody",
            Self::ChunkTooLarge { .. } => "InvalidChunkSizeError",
            Self::NotChunked | Self::Malformed(_) => "InvalidRequest",
        }
    }
}

/// Longest chunk header: 16 digits and a signature.
const HEADER_BYTES_MAX: usize = 128;
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// Incremental decoder. Takes input in pieces of any size and hands out slices of it.
///
/// Data is handed out *before* the signature of its chunk was compared (comparing first would mean to
/// buffer whole chunks): nobody may see it before [`Decoder::finish`] has returned `Ok`.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Digits, signatures and trailing headers while they are incomplete.
    line: Vec<u8>,
    chain: Option<Chain>,
    trailer_allowed: bool,
    trailers: HeaderMap,
    trailer_bytes: usize,
    expected: Option<u64>,
    decoded: u64,
    limits: Limits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a chunk's header.
    Header,
    /// In a chunk's data.
    Data { left: u64 },
    /// In the CRLF after the data.
    AfterData,
    /// Between the last chunk and the end; `sealed` after the trailer's signature.
    Trailer { sealed: bool },
    /// Behind the end.
    Done,
}

/// The chain of signatures.
#[derive(Debug)]
struct Chain {
    key: SigningKey,
    timestamp: String,
    scope: String,
    previous: String,
    /// Signature and running digest of the current chunk.
    current: [u8; 32],
    digest: Sha256,
    trailer_signed: bool,
    trailer: Vec<u8>,
}

impl Decoder {
    /// A decoder for the body of a request whose claim was verified with `key`. `decoded_len` is
    /// `x-amz-decoded-content-length`, which S3 requires.
    ///
    /// # Errors
    /// [`ChunkError::NotChunked`].
    pub fn new(
        claim: &Claim,
        key: &SigningKey,
        decoded_len: Option<u64>,
        limits: Limits,
    ) -> Result<Self, ChunkError> {
        let signed = match claim.payload {
            Payload::SignedChunks | Payload::SignedChunksTrailer => true,
            Payload::UnsignedChunksTrailer => false,
            _ => return Err(ChunkError::NotChunked),
        };
        let chain = signed.then(|| Chain {
            key: key.clone(),
            timestamp: claim.timestamp(),
            scope: claim.scope.to_string(),
            previous: hex::encode(claim.signature),
            current: [0; 32],
            digest: Sha256::new(),
            trailer_signed: claim.payload == Payload::SignedChunksTrailer,
            trailer: Vec::new(),
        });
        Ok(Self {
            state: State::Header,
            line: Vec::new(),
            chain,
            trailer_allowed: claim.payload != Payload::SignedChunks,
            trailers: HeaderMap::new(),
            trailer_bytes: 0,
            expected: decoded_len,
            decoded: 0,
            limits,
        })
    }

    /// Takes from `input` until it has some data to hand out. `None`: all input was taken.
    ///
    /// # Errors
    /// What is wrong with the body; the decoder is of no use after that.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkError> {
        while !input.is_empty() {
            match self.state {
                State::Data { left } => return self.take_data(input, left).map(Some),
                State::Done => return Err(ChunkError::Malformed("bytes after its end")),
                State::Header => {
                    if self.take_line(input, HEADER_BYTES_MAX)? {
                        self.on_header()?;
                    }
                }
                State::AfterData => {
                    if self.take_line(input, 2)? {
                        self.on_chunk_end()?;
                    }
                }
                State::Trailer { sealed } => {
                    let room = self.limits.trailer_bytes_max.saturating_sub(self.trailer_bytes);
                    if self.take_line(input, room)? {
                        self.on_trailer_line(sealed)?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Call when the input has ended. Returns the trailing headers.
    ///
    /// # Errors
    /// [`ChunkError::Incomplete`], [`ChunkError::WrongLength`].
    pub fn finish(self) -> Result<HeaderMap, ChunkError> {
        if self.state != State::Done {
            return Err(ChunkError::Incomplete);
        }
        Ok(self.trailers)
    }

    fn take_data(&mut self, input: &mut Bytes, left: u64) -> Result<Bytes, ChunkError> {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let data = input.split_to(n);
        let n = n as u64;
        if let Some(chain) = &mut self.chain {
            chain.digest.update(&data);
        }
        self.decoded = self.decoded.saturating_add(n);
        self.state = if left == n { State::AfterData } else { State::Data { left: left - n } };
        Ok(data)
    }

    /// Moves bytes into `line` up to and without CRLF. True when the line is complete.
    fn take_line(&mut self, input: &mut Bytes, max: usize) -> Result<bool, ChunkError> {
        let wanted = max.saturating_sub(self.line.len()).min(input.len());
        if wanted == 0 {
            return Err(ChunkError::Malformed("a line is too long"));
        }
        let window = input.get(..wanted).unwrap_or_default();
        // The LF that ends the line is one that follows a CR, which may have come with earlier input.
        let mut previous = self.line.last().copied();
        let end = window.iter().position(|b| {
            let found = *b == b'\n' && previous == Some(b'\r');
            previous = Some(*b);
            found
        });
        let taken = end.map_or(wanted, |end| end + 1);
        self.line.extend_from_slice(window.get(..taken).unwrap_or_default());
        input.advance(taken);
        if end.is_some() {
            self.line.truncate(self.line.len().saturating_sub(2));
        }
        Ok(end.is_some())
    }

    fn on_header(&mut self) -> Result<(), ChunkError> {
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line).map_err(|_| ChunkError::Malformed("a header is not ASCII"))?;
        let (size, signature) = match line.split_once(";chunk-signature=") {
            Some((size, signature)) => (size, Some(signature)),
            None => (line, None),
        };
        let size = parse_size(size)?;
        if size > self.limits.chunk_bytes_max {
            return Err(ChunkError::ChunkTooLarge { size, max: self.limits.chunk_bytes_max });
        }
        match (&mut self.chain, signature) {
            (Some(chain), Some(signature)) => {
                let form = ChunkError::Malformed("a chunk's signature is not 64 lower-case hex digits");
                chain.current = parse_hex32(signature).ok_or(form)?;
                chain.digest = Sha256::new();
            }
            (None, None) => {}
            (Some(_), None) => return Err(ChunkError::Malformed("a chunk's signature is missing")),
            (None, Some(_)) => return Err(ChunkError::Malformed("a signature in an unsigned body")),
        }
        let found = self.decoded.saturating_add(size);
        if let Some(expected) = self.expected
            && (found > expected || (size == 0 && found != expected))
        {
            return Err(ChunkError::WrongLength { found, expected });
        }
        if size > 0 {
            self.state = State::Data { left: size };
            return Ok(());
        }
        self.verify_chunk()?;
        self.state = State::Trailer { sealed: false };
        Ok(())
    }

    fn on_chunk_end(&mut self) -> Result<(), ChunkError> {
        if !self.line.is_empty() {
            return Err(ChunkError::Malformed("no line end after a chunk's data"));
        }
        self.verify_chunk()?;
        self.state = State::Header;
        Ok(())
    }

    fn verify_chunk(&mut self) -> Result<(), ChunkError> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        let sha256 = hex::encode(std::mem::take(&mut chain.digest).finalize());
        let text = chunk_to_sign(&chain.timestamp, &chain.scope, &chain.previous, &sha256);
        let signature = chain.key.sign(text.as_bytes());
        if !bool::from(signature.ct_eq(&chain.current)) {
            return Err(ChunkError::Mismatch("a chunk"));
        }
        chain.previous = hex::encode(signature);
        Ok(())
    }

    fn on_trailer_line(&mut self, sealed: bool) -> Result<(), ChunkError> {
        let line = std::mem::take(&mut self.line);
        self.trailer_bytes = self.trailer_bytes.saturating_add(line.len() + 2);
        let must_be_sealed = self.chain.as_ref().is_some_and(|chain| chain.trailer_signed);
        if line.is_empty() {
            if must_be_sealed && !sealed {
                return Err(ChunkError::Malformed("the trailer's signature is missing"));
            }
            self.state = State::Done;
            return Ok(());
        }
        if sealed {
            return Err(ChunkError::Malformed("a header after the trailer's signature"));
        }
        if !self.trailer_allowed {
            return Err(ChunkError::Malformed("a trailing header that was not announced"));
        }
        // The reference's own example ends values with LF before CRLF.
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let colon = line.iter().position(|b| *b == b':');
        let colon = colon.ok_or(ChunkError::Malformed("a trailing header without a colon"))?;
        let (name, value) =
            (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        let name =
            HeaderName::from_bytes(name).map_err(|_| ChunkError::Malformed("a trailing header's name"))?;
        let value = value.trim_ascii();
        if name == TRAILER_SIGNATURE {
            return self.on_trailer_signature(value);
        }
        if let Some(chain) = &mut self.chain {
            chain.trailer.extend_from_slice(name.as_str().as_bytes());
            chain.trailer.push(b':');
            chain.trailer.extend_from_slice(value);
            chain.trailer.push(b'\n');
        }
        let value =
            HeaderValue::from_bytes(value).map_err(|_| ChunkError::Malformed("a trailing header's value"))?;
        if self.trailers.insert(name, value).is_some() {
            return Err(ChunkError::Malformed("a trailing header occurs twice"));
        }
        Ok(())
    }

    fn on_trailer_signature(&mut self, value: &[u8]) -> Result<(), ChunkError> {
        let form = ChunkError::Malformed("a trailer's signature that is not 64 lower-case hex digits");
        let claimed = std::str::from_utf8(value).ok().and_then(parse_hex32).ok_or(form)?;
        let Some(chain) = self.chain.as_mut().filter(|chain| chain.trailer_signed) else {
            return Err(ChunkError::Malformed("a signature in an unsigned trailer"));
        };
        let sha256 = hex::encode(Sha256::digest(&chain.trailer));
        let text = trailer_to_sign(&chain.timestamp, &chain.scope, &chain.previous, &sha256);
        if !bool::from(chain.key.sign(text.as_bytes()).ct_eq(&claimed)) {
            return Err(ChunkError::Mismatch("the trailer"));
        }
        self.state = State::Trailer { sealed: true };
        Ok(())
    }
}

fn parse_size(text: &str) -> Result<u64, ChunkError> {
    if !(1..=16).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ChunkError::Malformed("a chunk's size is not a hex number"));
    }
    u64::from_str_radix(text, 16).map_err(|_| ChunkError::Malformed("a chunk's size is not a hex number"))
}

#[cfg(test)]
mod tests;

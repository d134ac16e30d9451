//! The canonical request: what both sides hash.

use sha2::{Digest as _, Sha256};

use super::{EMPTY_SHA256, Request, SigError};

/// How a signature covers the body: the value of `x-amz-content-sha256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Its SHA-256 is signed.
    Sha256([u8; 32]),
    /// `UNSIGNED-PAYLOAD`: not covered.
    Unsigned,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: sent in chunks that are signed one by one.
    SignedChunks,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: likewise, with signed trailing headers.
    SignedChunksTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: sent in unsigned chunks with trailing headers.
    UnsignedChunksTrailer,
    /// The header is absent, as is usual for services other than S3: the SHA-256 of the body is signed, so
    /// the body must be read before the signature can be verified.
    OfBody,
}

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_CHUNKS_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_CHUNKS_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

impl Payload {
    /// Reads a value of `x-amz-content-sha256`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Some(match std::str::from_utf8(text).ok()? {
            UNSIGNED => Self::Unsigned,
            SIGNED_CHUNKS => Self::SignedChunks,
            SIGNED_CHUNKS_TRAILER => Self::SignedChunksTrailer,
            UNSIGNED_CHUNKS_TRAILER => Self::UnsignedChunksTrailer,
            hex => Self::Sha256(parse_hex32(hex)?),
        })
    }

    /// Whether the body is framed in aws-chunked encoding.
    pub fn is_chunked(&self) -> bool {
        matches!(self, Self::SignedChunks | Self::SignedChunksTrailer | Self::UnsignedChunksTrailer)
    }

    /// The text that ends the canonical request; `body` is the body's SHA-256 for [`Payload::OfBody`].
    pub(super) fn text(&self, body: Option<&[u8; 32]>) -> Option<String> {
        Some(match self {
            Self::Sha256(digest) => hex::encode(digest),
            Self::Unsigned => UNSIGNED.into(),
            Self::SignedChunks => SIGNED_CHUNKS.into(),
            Self::SignedChunksTrailer => SIGNED_CHUNKS_TRAILER.into(),
            Self::UnsignedChunksTrailer => UNSIGNED_CHUNKS_TRAILER.into(),
            Self::OfBody => hex::encode(body?),
        })
    }
}

/// Exactly 64 lower-case hex digits.
pub(super) fn parse_hex32(text: &str) -> Option<[u8; 32]> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut out = [0; 32];
    hex::decode_to_slice(text, &mut out).ok().map(|()| out)
}

/// SHA-256 of the canonical request, hex.
///
/// `signed_headers` is the list as sent (`host;x-amz-date`), already checked to be sorted. `presigned`
/// leaves `X-Amz-Signature` out of the query.
pub(super) fn request_sha256(
    request: Request<'_>,
    s3: bool,
    signed_headers: &str,
    payload: &str,
    presigned: bool,
) -> Result<String, SigError> {
    let mut text = Vec::with_capacity(1024);
    text.extend_from_slice(request.method.as_str().as_bytes());
    text.push(b'\n');
    path(request.uri.path(), s3, &mut text);
    text.push(b'\n');
    query(request.uri.query().unwrap_or(""), presigned, &mut text);
    text.push(b'\n');
    for name in signed_headers.split(';') {
        header(request, name, &mut text)?;
    }
    text.push(b'\n');
    text.extend_from_slice(signed_headers.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(payload.as_bytes());
    Ok(hex::encode(Sha256::digest(&text)))
}

/// The string to sign of a request.
pub(super) fn string_to_sign(timestamp: &str, scope: &str, request_sha256: &str) -> String {
    format!("{}\n{timestamp}\n{scope}\n{request_sha256}", super::ALGORITHM)
}

/// The string to sign of a chunk (`kind` = `PAYLOAD`).
pub(super) fn chunk_to_sign(timestamp: &str, scope: &str, previous: &str, sha256: &str) -> String {
    let algorithm = super::ALGORITHM;
    format!("{algorithm}-PAYLOAD\n{timestamp}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{sha256}")
}

/// The string to sign of the trailing headers.
pub(super) fn trailer_to_sign(timestamp: &str, scope: &str, previous: &str, sha256: &str) -> String {
    format!("{}-TRAILER\n{timestamp}\n{scope}\n{previous}\n{sha256}", super::ALGORITHM)
}

/// S3 signs the path as it decodes it, encoded once. Others sign the path as sent without dot segments and
/// doubled slashes, encoded once more.
fn path(path: &str, s3: bool, out: &mut Vec<u8>) {
    let start = out.len();
    if s3 {
        encode(&decode(path.as_bytes(), false), true, out);
    } else {
        encode(without_dot_segments(path).as_bytes(), true, out);
    }
    if out.len() == start {
        out.push(b'/');
    }
}

/// RFC 3986, section 5.2.4, and runs of slashes become one, as AWS's own SDKs do it.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let last = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{last}", kept.join("/"))
}

/// Parameters decoded, encoded anew, and sorted by their encoded name, then value.
fn query(query: &str, presigned: bool, out: &mut Vec<u8>) {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = parameters(query)
        .filter(|(name, _)| !(presigned && name == b"X-Amz-Signature"))
        .map(|(name, value)| {
            let (mut n, mut v) = (Vec::with_capacity(name.len()), Vec::with_capacity(value.len()));
            encode(&name, false, &mut n);
            encode(&value, false, &mut v);
            (n, v)
        })
        .collect();
    pairs.sort_unstable();
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// The decoded parameters of a query in their order. `+` is a space, as handlers of forms read it.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name.as_bytes(), true), decode(value.as_bytes(), true))
    })
}

/// `name:value\n` with values trimmed, runs of blanks made one, and repeated headers joined by commas.
fn header(request: Request<'_>, name: &str, out: &mut Vec<u8>) -> Result<(), SigError> {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut values = request.headers.get_all(name).iter().peekable();
    if values.peek().is_none() {
        // HTTP/2 carries the host in the request's target.
        let authority = request.uri.authority().filter(|_| name == "host");
        let authority = authority.ok_or_else(|| SigError::MissingSignedHeader(name.to_owned()))?;
        out.extend_from_slice(authority.as_str().as_bytes());
    }
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let words = value.as_bytes().split(|b| *b == b' ' || *b == b'\t').filter(|word| !word.is_empty());
        for (j, word) in words.enumerate() {
            if j > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
    out.push(b'\n');
    Ok(())
}

/// Decodes `%XX`; an escape that is none stays as it is.
pub(super) fn decode(text: &[u8], plus_is_space: bool) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (*first, tail) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(h), Some(l)) => {
                    out.push(h << 4 | l);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (b'+', _) if plus_is_space => out.push(b' '),
            (byte, _) => out.push(byte),
        }
    }
    out
}

/// Encodes everything but RFC 3986's unreserved characters (and slashes, if told so) as `%XX`.
pub(super) fn encode(bytes: &[u8], keep_slashes: bool, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for b in bytes {
        let plain = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if plain || (keep_slashes && *b == b'/') {
            out.push(*b);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
}

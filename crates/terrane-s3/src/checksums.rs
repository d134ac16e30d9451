//! Digests that requests declare and answers repeat: Content-MD5 and the `x-amz-checksum-*` family
//! (Amazon S3 User Guide, "Checking object integrity"), in headers and in trailers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName};
use s3s::crypto::{Checksum, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::errors::payload_mismatch;

/// Checksum algorithms that S3 keeps with objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// From S3's spelling.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == text)
    }

    /// S3's spelling.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header or trailer that carries the value.
    pub(crate) fn header(self) -> HeaderName {
        match self {
            Self::Crc32 => s3s::header::X_AMZ_CHECKSUM_CRC32,
            Self::Crc32c => s3s::header::X_AMZ_CHECKSUM_CRC32C,
            Self::Crc64Nvme => s3s::header::X_AMZ_CHECKSUM_CRC64NVME,
            Self::Sha1 => s3s::header::X_AMZ_CHECKSUM_SHA1,
            Self::Sha256 => s3s::header::X_AMZ_CHECKSUM_SHA256,
        }
    }

    /// Bytes of a value.
    fn len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Whether the checksum of a whole follows from those of its parts: CRCs are linear, hashes are not.
    pub(crate) fn is_linear(self) -> bool {
        matches!(self, Self::Crc32 | Self::Crc32c | Self::Crc64Nvme)
    }

    /// Digest of a short text at once.
    pub(crate) fn of(self, data: &[u8]) -> Vec<u8> {
        let mut sum = Sum::new(self);
        sum.update(data);
        sum.finish()
    }
}

enum Sum {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Box<Sha256>),
}

impl Sum {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(Crc32::new()),
            Algorithm::Crc32c => Self::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Self::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Box::new(Sha256::new())),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc32(h) => h.update(data),
            Self::Crc32c(h) => h.update(data),
            Self::Crc64Nvme(h) => h.update(data),
            Self::Sha1(h) => h.update(data),
            Self::Sha256(h) => h.update(data),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc32(h) => h.finalize().to_vec(),
            Self::Crc32c(h) => h.finalize().to_vec(),
            Self::Crc64Nvme(h) => h.finalize().to_vec(),
            Self::Sha1(h) => h.finalize().to_vec(),
            Self::Sha256(h) => h.finalize().to_vec(),
        }
    }
}

/// Computes length, MD5 and at most one checksum of a body in one pass.
pub(crate) struct Hasher {
    md5: Option<Md5>,
    sum: Option<(Algorithm, Sum)>,
    length: u64,
}

impl Hasher {
    pub(crate) fn new(md5: bool, algorithm: Option<Algorithm>) -> Self {
        Self { md5: md5.then(Md5::new), sum: algorithm.map(|a| (a, Sum::new(a))), length: 0 }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        if let Some(md5) = &mut self.md5 {
            md5.update(data);
        }
        if let Some((_, sum)) = &mut self.sum {
            sum.update(data);
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn finish(self) -> Digests {
        Digests {
            length: self.length,
            md5: self.md5.map(|h| h.finalize()),
            sum: self.sum.map(|(algorithm, sum)| (algorithm, sum.finish())),
        }
    }
}

/// What a [`Hasher`] found.
#[derive(Clone, Debug)]
pub(crate) struct Digests {
    pub(crate) length: u64,
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) sum: Option<(Algorithm, Vec<u8>)>,
}

impl Digests {
    /// The ETag of bytes stored in one piece: their MD5 in hex.
    pub(crate) fn etag(&self) -> String {
        self.md5.map(|md5| hex(&md5)).unwrap_or_default()
    }

    /// As kept with an object.
    pub(crate) fn stored(&self) -> Vec<(String, String)> {
        self.sum.iter().map(|(a, value)| (a.as_str().to_owned(), BASE64.encode(value))).collect()
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + n - 10 });
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// What a request declares about its body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    md5: Option<[u8; 16]>,
    sum: Option<(Algorithm, Vec<u8>)>,
    trailer: Option<Algorithm>,
    /// `x-amz-sdk-checksum-algorithm`: which checksum the client means to use, wherever it is.
    named: Option<Algorithm>,
    /// `x-amz-content-sha256` of documents; objects' is compared by s3s.
    sha256: Option<String>,
}

impl Expected {
    /// Reads `Content-MD5`, `x-amz-checksum-*`, `x-amz-trailer` and `x-amz-sdk-checksum-algorithm`.
    pub(crate) fn from_headers(headers: &HeaderMap) -> S3Result<Self> {
        let mut expected = Self { md5: content_md5(headers)?, ..Self::default() };
        for algorithm in Algorithm::ALL {
            let Some(value) = headers.get(algorithm.header()) else { continue };
            if expected.sum.is_some() {
                return Err(invalid_request(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
            expected.sum = Some((algorithm, decode(algorithm, value.as_bytes())?));
        }
        if let Some(names) = headers.get("x-amz-trailer") {
            expected.trailer = trailer(names.to_str().unwrap_or_default())?;
        }
        if let Some(name) = headers.get(s3s::header::X_AMZ_SDK_CHECKSUM_ALGORITHM) {
            let name = name.to_str().unwrap_or_default().to_ascii_uppercase();
            let known = Algorithm::parse(&name).ok_or_else(|| {
                invalid_request(
                    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
                )
            })?;
            expected.named = Some(known);
        }
        expected.check_agreement()?;
        Ok(expected)
    }

    /// Like [`Self::from_headers`], with the payload hash of documents. With `md5_only`, the checksum headers
    /// are about something else: the object that CompleteMultipartUpload makes.
    pub(crate) fn of_document(headers: &HeaderMap, md5_only: bool) -> S3Result<Self> {
        let mut expected = match md5_only {
            true => Self { md5: content_md5(headers)?, ..Self::default() },
            false => Self::from_headers(headers)?,
        };
        expected.sha256 = headers
            .get("x-amz-content-sha256")
            .and_then(|v| v.to_str().ok())
            .filter(|v| v.len() == 64)
            .map(str::to_ascii_lowercase);
        Ok(expected)
    }

    fn check_agreement(&self) -> S3Result<()> {
        let carried = self.sum.as_ref().map(|(a, _)| *a).or(self.trailer);
        if self.sum.is_some() && self.trailer.is_some() {
            return Err(invalid_request("Expecting a single x-amz-checksum- header or trailer"));
        }
        match (self.named, carried) {
            (Some(named), Some(carried)) if named != carried => {
                Err(invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid."))
            }
            _ => Ok(()),
        }
    }

    /// The checksum to compute: what is declared, else what is named.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.sum.as_ref().map(|(a, _)| *a).or(self.trailer).or(self.named)
    }

    /// Compares what was found with what was declared.
    pub(crate) fn verify(&self, found: &Digests, trailers: Option<&HeaderMap>) -> S3Result<()> {
        if self.md5.is_some() && self.md5 != found.md5 {
            let message = "The Content-MD5 you specified did not match what we received.";
            return Err(S3Error::with_message(S3ErrorCode::BadDigest, message));
        }
        let declared = match self.trailer {
            Some(algorithm) => {
                let value = trailers.and_then(|t| t.get(algorithm.header())).ok_or_else(malformed_trailer)?;
                Some((algorithm, decode(algorithm, value.as_bytes())?))
            }
            None => self.sum.clone(),
        };
        match declared {
            Some(declared) if found.sum.as_ref() != Some(&declared) => {
                let name = declared.0.as_str();
                let message = format!("The {name} you specified did not match the calculated checksum.");
                Err(S3Error::with_message(S3ErrorCode::BadDigest, message))
            }
            _ => Ok(()),
        }
    }

    /// Compares a document, all of which is at hand.
    pub(crate) fn verify_document(&self, document: &[u8]) -> S3Result<()> {
        if let Some(sha256) = &self.sha256
            && hex(&Algorithm::Sha256.of(document)) != *sha256
        {
            return Err(payload_mismatch());
        }
        if self.md5.is_none() && self.algorithm().is_none() {
            return Ok(());
        }
        let mut hasher = Hasher::new(self.md5.is_some(), self.algorithm());
        hasher.update(document);
        self.verify(&hasher.finish(), None)
    }
}

fn content_md5(headers: &HeaderMap) -> S3Result<Option<[u8; 16]>> {
    let Some(value) = headers.get("content-md5") else { return Ok(None) };
    match BASE64.decode(value.as_bytes()).ok().and_then(|v| v.try_into().ok()) {
        Some(md5) => Ok(Some(md5)),
        None => Err(S3Error::with_message(
            S3ErrorCode::InvalidDigest,
            "The Content-MD5 you specified is not valid.",
        )),
    }
}

/// The algorithm whose checksum a trailer announces.
fn trailer(names: &str) -> S3Result<Option<Algorithm>> {
    let mut found = None;
    for name in names.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        let algorithm = Algorithm::ALL.into_iter().find(|a| a.header().as_str().eq_ignore_ascii_case(name));
        if algorithm.is_none() || found.is_some() {
            return Err(invalid_request("The value specified in the x-amz-trailer header is not supported"));
        }
        found = algorithm;
    }
    Ok(found)
}

/// A declared value: base64 of as many bytes as the algorithm has.
pub(crate) fn decode(algorithm: Algorithm, value: &[u8]) -> S3Result<Vec<u8>> {
    BASE64.decode(value).ok().filter(|v| v.len() == algorithm.len()).ok_or_else(|| {
        let message = format!("Value for {} header is invalid.", algorithm.header());
        S3Error::with_message(S3ErrorCode::BadDigest, message)
    })
}

fn malformed_trailer() -> S3Error {
    crate::errors::custom(
        "MalformedTrailerError",
        http::StatusCode::BAD_REQUEST,
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    )
}

fn invalid_request(message: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidRequest, message.to_owned())
}

#[cfg(test)]
mod tests;

//! AWS Signature Version 4: parsing, verifying and making signatures, as pure functions of a request's
//! head, a key and the time.
//!
//! Follows "Authenticating Requests (AWS Signature Version 4)" of the S3 API reference and "Signature
//! Version 4 signing process" of the AWS general reference; where the two differ (path encoding), the
//! service name in the credential scope decides.
//!
//! A server takes three steps, so that it can look the key up in between and read the body only when the
//! signature covers it:
//!
//! 1. [`Claim::parse`]: what the request says of itself, checked for form only.
//! 2. [`SigningKeys::key`]: the signing key of the claim's scope, cached.
//! 3. [`Claim::verify`]: region, time, coverage of headers, and the signature in constant time.
//!
//! A body sent in signed chunks is verified by [`chunked::Decoder`], seeded with the claim.

mod canonical;
pub mod chunked;
mod claim;
mod error;
mod key;
mod sign;
mod time;
mod verify;

use http::{HeaderMap, Method, Uri};

pub use canonical::Payload;
pub use claim::{Claim, How};
pub use error::SigError;
pub use key::{Scope, SigningKey, SigningKeys};
pub use sign::{Body, Signer};
pub use time::format_timestamp;
pub use verify::Rules;

/// The algorithm's name, as it begins an `Authorization` header and a string to sign.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Longest life of a presigned URL, seconds: seven days.
pub const PRESIGNED_SECONDS_MAX: u64 = 7 * 24 * 3600;

/// SHA-256 of nothing, hex.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The parts of a request's head that a signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a Method,
    /// Request target as it came over the wire, percent-encoding untouched.
    pub uri: &'a Uri,
    /// Headers.
    pub headers: &'a HeaderMap,
}

impl<'a> From<&'a http::request::Parts> for Request<'a> {
    fn from(parts: &'a http::request::Parts) -> Self {
        Self { method: &parts.method, uri: &parts.uri, headers: &parts.headers }
    }
}

impl<'a, B> From<&'a http::Request<B>> for Request<'a> {
    fn from(request: &'a http::Request<B>) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers() }
    }
}

/// The service name in the credential scope of a request (`s3`, `ec2`, `terrane`, …), to dispatch by.
/// `None` when the request is not signed with version 4, or not well enough to tell.
pub fn service_of<'a>(request: Request<'a>) -> Option<std::borrow::Cow<'a, str>> {
    claim::peek_service(request)
}

#[cfg(test)]
mod tests;

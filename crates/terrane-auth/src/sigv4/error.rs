//! What can be wrong with a signature.

use std::time::Duration;

/// Why a request's signature was refused. Texts are safe to show to the client: they repeat what it sent,
/// never anything derived from a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigError {
    /// The `Authorization` header does not have the form of version 4.
    #[error("the Authorization header is malformed: {0}")]
    MalformedHeader(&'static str),
    /// The query parameters of a presigned URL do not have the form of version 4.
    #[error("the query parameters of the signature are malformed: {0}")]
    MalformedQuery(&'static str),
    /// Signed in the header and in the query at once.
    #[error("only one way to sign a request is allowed")]
    SignedTwice,
    /// No `X-Amz-Date` nor `Date` header, or one that is no date.
    #[error("a valid X-Amz-Date or Date header is required")]
    MissingDate,
    /// The day in the credential scope is not the day of the request's date.
    #[error("the day in the credential scope differs from the date of the request")]
    DateMismatch,
    /// The clocks of client and server differ too much.
    #[error("the difference between the request's time and the server's is more than {} s", max.as_secs())]
    TooSkewed {
        /// What is allowed.
        max: Duration,
    },
    /// A presigned URL whose time has not come.
    #[error("the request is not valid yet")]
    NotYetValid,
    /// A presigned URL whose time is over.
    #[error("the request has expired")]
    Expired,
    /// `X-Amz-Expires` is not a number from 1 to 604800.
    #[error("X-Amz-Expires must be between 1 and 604800 seconds")]
    BadExpires,
    /// Scoped to a region that this installation does not serve.
    #[error("the region {region:?} is wrong; expecting {expected:?}")]
    WrongRegion {
        /// What the scope says.
        region: String,
        /// The first allowed region.
        expected: String,
    },
    /// Scoped to another service than the one that received the request.
    #[error("the service {service:?} is wrong; expecting {expected:?}")]
    WrongService {
        /// What the scope says.
        service: String,
        /// What it should say.
        expected: &'static str,
    },
    /// A header that must be signed is not.
    #[error("the header {0:?} is present but not signed")]
    UnsignedHeader(String),
    /// A header that is said to be signed is not there.
    #[error("the header {0:?} is said to be signed but is missing")]
    MissingSignedHeader(String),
    /// `x-amz-content-sha256` is required (S3) and missing, or has no known form.
    #[error("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-… or a SHA-256 in hex")]
    BadContentSha256,
    /// The body's SHA-256 is not the one that was signed.
    #[error("the SHA-256 of the body differs from the one that was signed")]
    ContentSha256Mismatch,
    /// The access key ID has a form that no key has.
    #[error("the access key ID does not exist")]
    BadAccessKeyId,
    /// A session token was sent; temporary credentials are not offered.
    #[error("session tokens are not accepted: temporary credentials are not offered")]
    SessionToken,
    /// The signature is not the one that the key makes of this request.
    #[error("the signature does not match: check the key and the way the request is signed")]
    Mismatch,
}

impl SigError {
    /// The error code that S3 answers with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MalformedHeader(_) | Self::WrongRegion { .. } | Self::WrongService { .. } => {
                "AuthorizationHeaderMalformed"
            }
            Self::MalformedQuery(_) | Self::BadExpires => "AuthorizationQueryParametersError",
            Self::SignedTwice | Self::BadContentSha256 => "InvalidArgument",
            Self::MissingDate | Self::NotYetValid | Self::Expired | Self::UnsignedHeader(_) => "AccessDenied",
            Self::TooSkewed { .. } => "RequestTimeTooSkewed",
            Self::ContentSha256Mismatch => "XAmzContentSHA256Mismatch",
            Self::SessionToken => "InvalidToken",
            Self::BadAccessKeyId => "InvalidAccessKeyId",
            Self::DateMismatch | Self::MissingSignedHeader(_) | Self::Mismatch => "SignatureDoesNotMatch",
        }
    }

    /// The HTTP status that goes with [`Self::code`].
    pub fn status(&self) -> u16 {
        match self.code() {
            "AccessDenied" | "InvalidAccessKeyId" | "RequestTimeTooSkewed" | "SignatureDoesNotMatch" => 403,
            _ => 400,
        }
    }
}

//! From what went wrong to S3's words for it.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use s3s::{S3Error, S3ErrorCode};
use terrane_objects::service::ObjectError;

/// An error with one of S3's codes that s3s has no name for.
pub(crate) fn custom(code: &'static str, status: StatusCode, message: impl Into<String>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message.into());
    error.set_status_code(status);
    error
}

/// 400 InvalidArgument.
pub(crate) fn invalid_argument(message: impl Into<String>) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidArgument, message.into())
}

/// 403 AccessDenied, in the same words whoever asks.
pub(crate) fn access_denied() -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied")
}

/// 400: a body is not the one whose SHA-256 was signed.
pub(crate) fn payload_mismatch() -> S3Error {
    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    custom("XAmzContentSHA256Mismatch", StatusCode::BAD_REQUEST, message)
}

/// 501 NotImplemented, saying what is missing.
pub(crate) fn not_implemented(what: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::NotImplemented, format!("{what} is not offered here"))
}

/// 503 SlowDown with `Retry-After` in whole seconds, at least one.
pub(crate) fn slow_down(what: &str, retry_after: Duration) -> S3Error {
    let message = format!("Please reduce your request rate: {what}");
    let mut error = S3Error::with_message(S3ErrorCode::SlowDown, message);
    let seconds = retry_after.as_secs_f64().ceil().max(1.0) as u64;
    error.set_headers(xml_headers(header::RETRY_AFTER, HeaderValue::from(seconds)));
    error
}

/// Headers of an error answer. s3s replaces its own `Content-Type` by these, so it is given again.
pub(crate) fn xml_headers(name: header::HeaderName, value: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    headers.insert(name, value);
    headers
}

/// Adds a header to an error answer.
pub(crate) fn with_header(mut error: S3Error, name: header::HeaderName, value: HeaderValue) -> S3Error {
    let mut headers = error.headers().cloned().unwrap_or_default();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    headers.insert(name, value);
    error.set_headers(headers);
    error
}

/// The answer to a refusal or failure of the object store.
///
/// Failures of storage are logged here, once, with their cause; the client learns no more than that.
pub(crate) fn from_store(error: ObjectError) -> S3Error {
    use ObjectError as E;
    let plain = |code: S3ErrorCode| S3Error::with_message(code, error.to_string());
    match &error {
        E::NoSuchBucket(_) => {
            S3Error::with_message(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist")
        }
        E::BucketExists { ours: true, .. } => plain(S3ErrorCode::BucketAlreadyOwnedByYou),
        E::BucketExists { ours: false, .. } => plain(S3ErrorCode::BucketAlreadyExists),
        E::BucketNotEmpty(_) => plain(S3ErrorCode::BucketNotEmpty),
        E::TooManyBuckets { .. } => plain(S3ErrorCode::TooManyBuckets),
        E::NoSuchKey => S3Error::with_message(S3ErrorCode::NoSuchKey, "The specified key does not exist."),
        E::CurrentIsDeleteMarker(version) => marker(plain(S3ErrorCode::NoSuchKey), &version.to_string()),
        E::VersionIsDeleteMarker(version) => {
            marker(plain(S3ErrorCode::MethodNotAllowed), &version.to_string())
        }
        E::NoSuchVersion => plain(S3ErrorCode::NoSuchVersion),
        E::NoSuchUpload => plain(S3ErrorCode::NoSuchUpload),
        E::InvalidPart(_) => plain(S3ErrorCode::InvalidPart),
        E::InvalidPartOrder => plain(S3ErrorCode::InvalidPartOrder),
        E::PartTooSmall { .. } => plain(S3ErrorCode::EntityTooSmall),
        E::PreconditionFailed(_) => plain(S3ErrorCode::PreconditionFailed),
        E::ConditionalConflict => {
            custom("ConditionalRequestConflict", StatusCode::CONFLICT, error.to_string())
        }
        E::BadToken => plain(S3ErrorCode::InvalidArgument),
        E::SlowDown { what, retry_after } => slow_down(what, *retry_after),
        E::NoSpace(_) => custom("InsufficientStorage", StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
        E::Body(_) => plain(S3ErrorCode::IncompleteBody),
        E::Unavailable(_) => {
            tracing::warn!(error = %error, "object store unavailable");
            S3Error::with_message(S3ErrorCode::ServiceUnavailable, "The object store is not available")
        }
        _ => {
            tracing::error!(error = &error as &dyn std::error::Error, "object store failed");
            S3Error::with_message(S3ErrorCode::InternalError, "Storage failed")
        }
    }
}

/// Adds what S3 tells of a delete marker that stands in the way.
fn marker(error: S3Error, version: &str) -> S3Error {
    let error = with_header(error, s3s::header::X_AMZ_DELETE_MARKER, HeaderValue::from_static("true"));
    match HeaderValue::from_str(version) {
        Ok(version) => with_header(error, s3s::header::X_AMZ_VERSION_ID, version),
        Err(_) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_says_when_to_come_back() {
        let error = slow_down("pending entries", Duration::from_millis(1200));
        let headers = error.headers().unwrap();
        assert_eq!(headers[header::RETRY_AFTER], "2");
        assert_eq!(headers[header::CONTENT_TYPE], "application/xml");
        assert_eq!(error.status_code(), Some(StatusCode::SERVICE_UNAVAILABLE));
    }

    #[test]
    fn storage_errors_do_not_leak_their_cause() {
        let source = std::io::Error::other("/secret/place");
        let error = from_store(ObjectError::Io { context: "read segment".into(), source });
        assert!(!format!("{:?}", error.message()).contains("secret"));
    }
}

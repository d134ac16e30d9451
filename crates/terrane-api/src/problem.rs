//! Errors of the native API: problem documents (RFC 9457).

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use terrane_auth::AuthError;
use terrane_ec2::service::{ServiceError, SnapshotError};
use terrane_objects::service::ObjectError;
use utoipa::ToSchema;

/// A problem document (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Kind of problem, stable: `urn:terrane:problem:<code>`.
    #[serde(rename = "type")]
    #[schema(examples("urn:terrane:problem:no-such-bucket"))]
    pub kind: String,
    /// The kind in words.
    #[schema(examples("No such bucket"))]
    pub title: String,
    /// HTTP status.
    #[schema(examples(404))]
    pub status: u16,
    /// What was asked, what was found and what to do.
    pub detail: String,
    /// Request ID, as in the header `x-amz-request-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Seconds after which the same request may succeed (also in `Retry-After`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

const KIND: &str = "urn:terrane:problem:";

impl Problem {
    /// A problem; the title is the code in words.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let mut title = code.replace('-', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self {
            kind: format!("{KIND}{code}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            request_id: None,
            retry_after: None,
        }
    }

    /// The last part of the kind.
    pub fn code(&self) -> &str {
        self.kind.strip_prefix(KIND).unwrap_or(&self.kind)
    }

    /// 400: the request makes no sense.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// 401: nobody is known to ask.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// 403: policy does not allow it.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404.
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no {what} {name:?}"))
    }

    /// 503 with a time to wait.
    pub fn slow_down(detail: impl Into<String>, retry_after: Duration) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "slow-down", detail);
        problem.retry_after = Some(retry_after.as_secs().max(1));
        problem
    }

    /// 500. The cause is logged here, once, and not shown.
    pub fn internal(context: &'static str, cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(cause, context, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("{context}; see the server's log"))
    }
}

impl Problem {
    /// A problem that somebody else found and said only the status of, perhaps with a text.
    pub(crate) fn of_status(status: StatusCode, text: &str) -> Self {
        let reason = status.canonical_reason().unwrap_or("Error");
        let code = reason.to_ascii_lowercase().replace(' ', "-").replace('\'', "");
        let detail = match (status, text.trim()) {
            (StatusCode::NOT_FOUND, "") => "nothing is served under this path",
            (StatusCode::METHOD_NOT_ALLOWED, "") => "this path does not take this method",
            (_, "") => reason,
            (_, text) => text,
        };
        Self::new(status, &code, detail)
    }

    /// Writes the document into an answer.
    pub(crate) fn write(&self, response: &mut Response) {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.status_mut() = status;
        let document = serde_json::to_vec(self).expect("a struct of texts and numbers is JSON");
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, AWS4-HMAC-SHA256"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        *response.body_mut() = document.into();
    }
}

/// The document itself is written where the request's ID is known; until then the problem travels in the
/// answer's extensions.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            return Self::internal("accounts cannot be read", &error);
        }
        let retry_after = match &error {
            AuthError::Throttled(throttled) => Some(throttled.retry_after.as_secs().max(1)),
            _ => None,
        };
        Self { retry_after, ..Self::new(status, &kebab(error.code()), error.to_string()) }
    }
}

/// `NoSuchUser` → `no-such-user`.
fn kebab(code: &str) -> String {
    let mut kebab = String::with_capacity(code.len() + 4);
    let mut previous_is_lower = false;
    for c in code.chars() {
        if c.is_ascii_uppercase() && previous_is_lower {
            kebab.push('-');
        }
        previous_is_lower = !c.is_ascii_uppercase();
        kebab.push(c.to_ascii_lowercase());
    }
    kebab
}

impl From<ObjectError> for Problem {
    fn from(error: ObjectError) -> Self {
        match &error {
            ObjectError::NoSuchBucket(name) => Self::not_found("bucket", name),
            ObjectError::BucketExists { .. } => {
                Self::new(StatusCode::CONFLICT, "bucket-exists", error.to_string())
            }
            ObjectError::BucketNotEmpty(_) => {
                Self::new(StatusCode::CONFLICT, "bucket-not-empty", error.to_string())
            }
            ObjectError::TooManyBuckets { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "too-many-buckets", error.to_string())
            }
            ObjectError::SlowDown { retry_after, .. } => Self::slow_down(error.to_string(), *retry_after),
            ObjectError::NoSpace(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "no-space", error.to_string())
            }
            ObjectError::Refused(_) => Self::bad_request(error.to_string()),
            ObjectError::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string())
            }
            _ => Self::internal("the object store failed", &error),
        }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        use ServiceError as E;
        let (status, code) = match &error {
            E::VolumeNotFound(_)
            | E::InstanceNotFound(_)
            | E::ResourceNotFound(_)
            | E::ZoneNotFound(_)
            | E::AttachmentNotFound { .. } => (StatusCode::NOT_FOUND, "not-found"),
            E::AttachmentAmbiguous(_) | E::DeviceInUse { .. } | E::DataBeyond { .. } | E::Limit(_) => {
                (StatusCode::BAD_REQUEST, "bad-request")
            }
            E::IncorrectState { .. } => (StatusCode::CONFLICT, "incorrect-state"),
            E::VolumeInUse { .. } => (StatusCode::CONFLICT, "volume-in-use"),
            E::BeingModified(_) => (StatusCode::CONFLICT, "being-modified"),
            E::IdempotentParameterMismatch => (StatusCode::CONFLICT, "idempotent-parameter-mismatch"),
            E::AttachmentLimit(_) | E::VolumeLimit(_) | E::IopsLimit { .. } | E::TagLimit(_) => {
                (StatusCode::CONFLICT, "limit-exceeded")
            }
            E::NoCapacity { .. } => (StatusCode::INSUFFICIENT_STORAGE, "no-capacity"),
            E::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, "not-offered"),
            E::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            E::Internal(_) => return Self::internal("volumes failed", &error),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<SnapshotError> for Problem {
    fn from(error: SnapshotError) -> Self {
        use SnapshotError as E;
        let (status, code) = match &error {
            E::NotFound(_) | E::VolumeNotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            E::IncorrectState { .. } => (StatusCode::CONFLICT, "incorrect-state"),
            E::Locked(_) | E::LockRefused(_) => (StatusCode::CONFLICT, "locked"),
            E::TokenMismatch => (StatusCode::CONFLICT, "idempotent-parameter-mismatch"),
            E::TooMany { .. } | E::TagLimit(_) => (StatusCode::CONFLICT, "limit-exceeded"),
            E::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, "not-offered"),
            E::Busy | E::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            E::Internal(_) => return Self::internal("snapshots failed", &error),
            E::VolumeSize(_)
            | E::NoSuchBlock { .. }
            | E::Mismatch(_)
            | E::BlockToken
            | E::PageToken
            | E::Unrelated => (StatusCode::BAD_REQUEST, "bad-request"),
        };
        Self::new(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_its_kind_and_when_to_come_back() {
        let problem: Problem =
            ObjectError::SlowDown { what: "pending entries", retry_after: Duration::from_millis(1) }.into();
        assert_eq!((problem.status, problem.code(), &*problem.title), (503, "slow-down", "Slow down"));
        let mut response = Response::default();
        problem.write(&mut response);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn codes_are_in_one_style() {
        for (code, expected) in
            [("NoSuchUser", "no-such-user"), ("InvalidAccessKeyId", "invalid-access-key-id")]
        {
            assert_eq!(kebab(code), expected);
        }
        assert_eq!(Problem::of_status(StatusCode::METHOD_NOT_ALLOWED, "").code(), "method-not-allowed");
    }
}

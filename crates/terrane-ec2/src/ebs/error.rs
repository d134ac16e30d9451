//! Errors in the model's words.

use std::borrow::Cow;

use http::StatusCode;

use crate::error::shortened;
use crate::service::SnapshotError;

/// An answer that says why not: the model's exception, its reason if it has reasons, and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EbsError {
    code: &'static str,
    reason: Option<&'static str>,
    message: Cow<'static, str>,
}

impl EbsError {
    /// An error of any code; codes and reasons are the model's.
    pub fn new(
        code: &'static str,
        reason: Option<&'static str>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, reason, message: message.into() }
    }

    /// `ValidationException`.
    pub(super) fn invalid(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("ValidationException", Some(reason), message)
    }

    /// A parameter that is not as it must be.
    pub(super) fn parameter(name: &str, value: &str, expected: &str) -> Self {
        let text = format!("Value ({}) of {name} is not valid: {expected}.", shortened(value));
        Self::invalid("INVALID_PARAMETER_VALUE", text)
    }

    pub(super) fn missing(name: &str) -> Self {
        Self::invalid("INVALID_PARAMETER_VALUE", format!("{name} is missing."))
    }

    /// The principal may not do this.
    pub fn unauthorized() -> Self {
        const TEXT: &str = "You do not have sufficient access to perform this action.";
        Self::new("AccessDeniedException", Some("UNAUTHORIZED_ACCOUNT"), TEXT)
    }

    /// The code: the name of the exception.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Its reason.
    pub fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// The status of the HTTP answer.
    pub fn status(&self) -> StatusCode {
        match self.code {
            "ResourceNotFoundException" | "UnknownOperationException" => StatusCode::NOT_FOUND,
            "ConflictException" => StatusCode::CONFLICT,
            "ServiceQuotaExceededException" => StatusCode::PAYMENT_REQUIRED,
            "InternalServerException" => StatusCode::INTERNAL_SERVER_ERROR,
            "ServiceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
            "AccessDeniedException"
            | "UnrecognizedClientException"
            | "MissingAuthenticationTokenException"
            | "InvalidSignatureException"
            | "IncompleteSignatureException" => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub(super) fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!({ "Message": self.message });
        if let Some(reason) = self.reason {
            document["Reason"] = reason.into();
        }
        document
    }
}

impl std::fmt::Display for EbsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for EbsError {}

impl From<SnapshotError> for EbsError {
    fn from(error: SnapshotError) -> Self {
        let text = format!("{error}.");
        let reason = match &error {
            SnapshotError::NotFound(_) => {
                return Self::new("ResourceNotFoundException", Some("SNAPSHOT_NOT_FOUND"), text);
            }
            SnapshotError::VolumeNotFound(_) => {
                return Self::new("ResourceNotFoundException", Some("DEPENDENCY_RESOURCE_NOT_FOUND"), text);
            }
            SnapshotError::TokenMismatch => return Self::new("ConflictException", None, text),
            SnapshotError::TooMany { .. } => {
                return Self::new("ConcurrentLimitExceededException", None, text);
            }
            SnapshotError::Busy => {
                return Self::new("RequestThrottledException", Some("RESOURCE_LEVEL_THROTTLE"), text);
            }
            SnapshotError::Unavailable(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a call could not be answered now");
                return Self::new("InternalServerException", None, "Not now; try again.");
            }
            SnapshotError::Internal(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a call failed");
                return Self::new("InternalServerException", None, "An internal error has occurred.");
            }
            SnapshotError::IncorrectState { .. } => "INVALID_SNAPSHOT_ID",
            SnapshotError::VolumeSize(_) => "INVALID_VOLUME_SIZE",
            SnapshotError::NoSuchBlock { .. } => "INVALID_BLOCK",
            SnapshotError::BlockToken => "INVALID_BLOCK_TOKEN",
            SnapshotError::PageToken => "INVALID_PAGE_TOKEN",
            SnapshotError::Unrelated => "UNRELATED_SNAPSHOTS",
            SnapshotError::Locked(_)
            | SnapshotError::LockRefused(_)
            | SnapshotError::Mismatch(_)
            | SnapshotError::Unsupported(_) => "INVALID_PARAMETER_VALUE",
            SnapshotError::TagLimit(_) => "INVALID_TAG",
        };
        Self::invalid(reason, text)
    }
}

//! Errors in EC2's words.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;

use crate::service::limits::LimitError;
use crate::service::{ResourceId, ServiceError, SnapshotError};

/// An answer that says why not: a code that programs branch on, and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2Error {
    code: &'static str,
    message: Cow<'static, str>,
}

impl Ec2Error {
    /// An error of any code. The codes are EC2's.
    pub fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// The code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status of the HTTP answer.
    pub fn status(&self) -> StatusCode {
        match self.code {
            "AuthFailure" => StatusCode::UNAUTHORIZED,
            "UnauthorizedOperation"
            | "Blocked"
            | "OptInRequired"
            | "MissingAuthenticationToken"
            | "SignatureDoesNotMatch" => StatusCode::FORBIDDEN,
            "DryRunOperation" => StatusCode::PRECONDITION_FAILED,
            "InternalError" | "InsufficientVolumeCapacity" => StatusCode::INTERNAL_SERVER_ERROR,
            "RequestLimitExceeded" | "ServiceUnavailable" | "Unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The principal may not do this.
    pub fn unauthorized() -> Self {
        Self::new("UnauthorizedOperation", "You are not authorized to perform this operation.")
    }

    /// It would have been done, had the request not said otherwise.
    pub(crate) fn dry_run() -> Self {
        Self::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    }

    pub(crate) fn missing(parameter: impl fmt::Display) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    pub(crate) fn unknown_parameter(parameter: impl fmt::Display) -> Self {
        Self::new("UnknownParameter", format!("The parameter {parameter} is not recognized"))
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(crate) fn invalid_value(
        value: &str,
        parameter: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        let value = shortened(value);
        Self::invalid(format!("Value ({value}) for parameter {parameter} is invalid. {expected}"))
    }

    pub(crate) fn combination(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    pub(crate) fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("UnsupportedOperation", message)
    }
}

/// What a client sent, short enough to be sent back.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

impl fmt::Display for Ec2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Ec2Error {}

impl From<LimitError> for Ec2Error {
    fn from(error: LimitError) -> Self {
        let code = match error {
            LimitError::IopsMissing(_) => "MissingParameter",
            LimitError::IopsNotSettable(_) => "InvalidParameterCombination",
            LimitError::ThroughputNotSettable(_) | LimitError::MultiAttachNotOffered(_) => {
                "InvalidParameterDependency"
            }
            _ => "InvalidParameterValue",
        };
        Self::new(code, error.to_string())
    }
}

impl From<ServiceError> for Ec2Error {
    fn from(error: ServiceError) -> Self {
        let code = match &error {
            ServiceError::Limit(limit) => return limit.clone().into(),
            ServiceError::Internal(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a call failed");
                return Self::new("InternalError", "An internal error has occurred.");
            }
            ServiceError::VolumeNotFound(ids) => {
                return not_found("InvalidVolume.NotFound", "volume", ids);
            }
            ServiceError::InstanceNotFound(ids) => {
                return not_found("InvalidInstanceID.NotFound", "instance ID", ids);
            }
            ServiceError::ResourceNotFound(id) => return resource_not_found(id),
            ServiceError::ZoneNotFound(zone) => {
                let text = format!("The zone '{zone}' does not exist.");
                return Self::new("InvalidZone.NotFound", text);
            }
            ServiceError::AttachmentNotFound { .. } => "InvalidAttachment.NotFound",
            ServiceError::AttachmentAmbiguous(_) => "InvalidParameterCombination",
            ServiceError::IncorrectState { .. } => "IncorrectState",
            ServiceError::VolumeInUse { .. } => "VolumeInUse",
            ServiceError::DeviceInUse { .. } | ServiceError::DataBeyond { .. } => "InvalidParameterValue",
            ServiceError::BeingModified(_) => "IncorrectModificationState",
            ServiceError::IdempotentParameterMismatch => "IdempotentParameterMismatch",
            ServiceError::AttachmentLimit(_) => "AttachmentLimitExceeded",
            ServiceError::VolumeLimit(_) => "VolumeLimitExceeded",
            ServiceError::IopsLimit { .. } => "MaxIOPSLimitExceeded",
            ServiceError::TagLimit(_) => "TagLimitExceeded",
            ServiceError::NoCapacity { .. } => "InsufficientVolumeCapacity",
            ServiceError::Unsupported(_) => "UnsupportedOperation",
            ServiceError::Unavailable(_) => "Unavailable",
        };
        Self::new(code, error.to_string())
    }
}

impl From<SnapshotError> for Ec2Error {
    fn from(error: SnapshotError) -> Self {
        let code = match &error {
            SnapshotError::NotFound(ids) => return not_found("InvalidSnapshot.NotFound", "snapshot", ids),
            SnapshotError::VolumeNotFound(id) => {
                return not_found("InvalidVolume.NotFound", "volume", std::slice::from_ref(id));
            }
            SnapshotError::Internal(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a call failed");
                return Self::new("InternalError", "An internal error has occurred.");
            }
            SnapshotError::IncorrectState { .. } => "IncorrectState",
            SnapshotError::Locked(_) => "OperationNotPermitted",
            SnapshotError::TokenMismatch => "IdempotentParameterMismatch",
            SnapshotError::TagLimit(_) => "TagLimitExceeded",
            SnapshotError::TooMany { .. } => "SnapshotLimitExceeded",
            SnapshotError::Busy => "RequestLimitExceeded",
            SnapshotError::Unsupported(_) => "UnsupportedOperation",
            SnapshotError::Unavailable(_) => "Unavailable",
            SnapshotError::LockRefused(_)
            | SnapshotError::VolumeSize(_)
            | SnapshotError::NoSuchBlock { .. }
            | SnapshotError::Mismatch(_)
            | SnapshotError::BlockToken
            | SnapshotError::PageToken
            | SnapshotError::Unrelated => "InvalidParameterValue",
        };
        Self::new(code, error.to_string())
    }
}

/// `The volume 'vol-…' does not exist.`, or the plural of it.
fn not_found<T: fmt::Display>(code: &'static str, kind: &str, ids: &[T]) -> Ec2Error {
    let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let message = match ids.len() {
        1 => format!("The {kind} '{list}' does not exist."),
        _ => format!("The {kind}s '{list}' do not exist."),
    };
    Ec2Error::new(code, message)
}

fn resource_not_found(id: &ResourceId) -> Ec2Error {
    match id {
        ResourceId::Instance(id) => not_found("InvalidInstanceID.NotFound", "instance ID", &[id]),
        ResourceId::Snapshot(id) => not_found("InvalidSnapshot.NotFound", "snapshot", &[id]),
        ResourceId::Volume(id) => not_found("InvalidVolume.NotFound", "volume", &[id]),
    }
}

//! The examples that AWS publishes, and what must be refused.

mod aws_examples;
mod refusals;

use std::time::{Duration, SystemTime};

use http::Request as HttpRequest;
use terrane_types::AccessKeyId;

use super::*;
use crate::secret::Secret;

pub(super) const EXAMPLE_ID: &str = "AKIAIOSFODNN7EXAMPLE";
pub(super) const EXAMPLE_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

pub(super) fn secret() -> Secret {
    Secret::new(EXAMPLE_SECRET.into())
}

pub(super) fn example_id() -> AccessKeyId {
    AccessKeyId::parse(EXAMPLE_ID).unwrap()
}

/// 2013-05-24T00:00:00Z, when the examples of the S3 reference were signed.
pub(super) fn example_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600)
}

/// Method, URL and headers; values are taken byte for byte.
pub(super) fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> HttpRequest<()> {
    let mut builder = HttpRequest::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

pub(super) fn verify_at(
    request: &HttpRequest<()>,
    secret: &Secret,
    service: &'static str,
    now: SystemTime,
    body: Option<&[u8; 32]>,
) -> Result<Claim, SigError> {
    let claim = Claim::parse(request.into())?.expect("the request is signed");
    let key = SigningKey::derive(secret, &claim.scope);
    claim.verify(request.into(), &key, &Rules::default(), service, now, body)?;
    Ok(claim)
}

//! Whether a claim is true.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq as _;
use terrane_types::Region;

use super::canonical::{Payload, request_sha256, string_to_sign};
use super::claim::{Claim, How};
use super::key::SigningKey;
use super::{Request, SigError, time};

/// What a server demands of signatures beyond their being right.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Allowed regions; empty: any.
    pub regions: Vec<Region>,
    /// How far the clocks may differ.
    pub clock_skew_max: Duration,
}

impl Default for Rules {
    /// Any region, 15 minutes.
    fn default() -> Self {
        Self { regions: Vec::new(), clock_skew_max: Duration::from_secs(15 * 60) }
    }
}

impl Claim {
    /// Verifies the claim against the head of the request that it was parsed from.
    ///
    /// `service` is the service that received the request. `body_sha256` is the digest of the body if it
    /// was read already: required for [`Payload::OfBody`], compared for [`Payload::Sha256`]. Where the
    /// body is read later, its reader compares it or decodes its chunks.
    ///
    /// # Errors
    /// The first rule that does not hold; the signature itself comes last.
    pub fn verify(
        &self,
        request: Request<'_>,
        key: &SigningKey,
        rules: &Rules,
        service: &'static str,
        now: SystemTime,
        body_sha256: Option<&[u8; 32]>,
    ) -> Result<(), SigError> {
        self.check_scope(rules, service)?;
        self.check_time(rules, now)?;
        self.check_coverage(request)?;
        let payload = self.payload.text(body_sha256).ok_or(SigError::BadContentSha256)?;
        let presigned = matches!(self.how, How::Presigned { .. });
        let digest = request_sha256(request, self.scope.is_s3(), &self.signed_headers, &payload, presigned)?;
        let text = string_to_sign(&self.timestamp(), &self.scope.to_string(), &digest);
        if !bool::from(key.sign(text.as_bytes()).ct_eq(&self.signature)) {
            return Err(SigError::Mismatch);
        }
        match (&self.payload, body_sha256) {
            (Payload::Sha256(signed), Some(found)) if signed != found => Err(SigError::ContentSha256Mismatch),
            _ => Ok(()),
        }
    }

    /// The time of signing, as it is signed.
    pub(super) fn timestamp(&self) -> String {
        time::format(self.signed_at)
    }

    fn check_scope(&self, rules: &Rules, service: &'static str) -> Result<(), SigError> {
        let scope = &self.scope;
        if scope.service() != service {
            return Err(SigError::WrongService { service: scope.service().to_owned(), expected: service });
        }
        match rules.regions.first() {
            Some(first) if !rules.regions.iter().any(|r| r.as_str() == scope.region()) => {
                Err(SigError::WrongRegion { region: scope.region().to_owned(), expected: first.to_string() })
            }
            _ => Ok(()),
        }
    }

    fn check_time(&self, rules: &Rules, now: SystemTime) -> Result<(), SigError> {
        let now = Timestamp::try_from(now).map_err(|_| SigError::MissingDate)?;
        let skew = SignedDuration::try_from(rules.clock_skew_max).unwrap_or(SignedDuration::MAX);
        let age = now.duration_since(self.signed_at);
        if !self.timestamp().starts_with(&*self.scope.day) {
            return Err(SigError::DateMismatch);
        }
        match self.how {
            How::Header if age.abs() > skew => Err(SigError::TooSkewed { max: rules.clock_skew_max }),
            How::Presigned { .. } if age < -skew => Err(SigError::NotYetValid),
            How::Presigned { expires_seconds } if age > SignedDuration::from_secs(expires_seconds.into()) => {
                Err(SigError::Expired)
            }
            _ => Ok(()),
        }
    }

    /// Every `x-amz-*` header changes what a request means, so each must be signed. (`host` was checked
    /// when the claim was parsed.)
    fn check_coverage(&self, request: Request<'_>) -> Result<(), SigError> {
        for name in request.headers.keys().map(http::HeaderName::as_str) {
            if name.starts_with("x-amz-") && !self.signed_headers.split(';').any(|signed| signed == name) {
                return Err(SigError::UnsignedHeader(name.to_owned()));
            }
        }
        Ok(())
    }
}

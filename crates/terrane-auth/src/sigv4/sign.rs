//! Signing, for clients: the command line and tests.

use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method, Uri};
use sha2::{Digest as _, Sha256};
use terrane_types::{AccessKeyId, Region};

use super::canonical::{Payload, encode, request_sha256, string_to_sign};
use super::key::{Scope, SigningKey};
use super::{ALGORITHM, EMPTY_SHA256, PRESIGNED_SECONDS_MAX, Request, SigError, format_timestamp};
use crate::secret::Secret;

/// What is set or changed on the way from the signer to the server, as botocore has it and hop-by-hop headers.
const UNSIGNED_HEADERS: [&str; 8] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "te",
    "transfer-encoding",
    "user-agent",
    "x-amzn-trace-id",
];

/// What is said of the body when signing.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A body of this SHA-256.
    Sha256([u8; 32]),
    /// Not covered by the signature.
    Unsigned,
}

/// Signs requests with one key for one service in one region.
#[derive(Clone, Debug)]
pub struct Signer {
    id: AccessKeyId,
    secret: Secret,
    region: Region,
    service: &'static str,
}

impl Signer {
    /// A signer; `service` is `terrane` for native calls, `s3` for S3's.
    pub fn new(id: AccessKeyId, secret: Secret, region: Region, service: &'static str) -> Self {
        Self { id, secret, region, service }
    }

    /// Signs a request in its header: sets `host` (from the target, if absent), `x-amz-date`,
    /// `x-amz-content-sha256` and `authorization`. All headers that are present are signed but those that a
    /// client library or a proxy sets later.
    ///
    /// # Errors
    /// [`SigError::MissingSignedHeader`] if neither a `host` header nor an authority names the host.
    pub fn sign(
        &self,
        parts: &mut http::request::Parts,
        body: Body<'_>,
        now: SystemTime,
    ) -> Result<(), SigError> {
        let payload = match body {
            Body::Bytes(bytes) => Payload::Sha256(Sha256::digest(bytes).into()),
            Body::Sha256(digest) => Payload::Sha256(digest),
            Body::Unsigned => Payload::Unsigned,
        };
        let payload = payload.text(None).ok_or(SigError::BadContentSha256)?;
        let timestamp = format_timestamp(now);
        set_host(&mut parts.headers, &parts.uri)?;
        parts.headers.insert("x-amz-date", ascii(&timestamp));
        parts.headers.insert("x-amz-content-sha256", ascii(&payload));
        parts.headers.remove(AUTHORIZATION);
        let mut names: Vec<&str> = parts.headers.keys().map(http::HeaderName::as_str).collect();
        names.retain(|name| !UNSIGNED_HEADERS.contains(name));
        names.sort_unstable();
        let names = names.join(";");
        let scope = self.scope(&timestamp);
        let digest = request_sha256(Request::from(&*parts), scope.is_s3(), &names, &payload, false)?;
        let signature = self.signature(&scope, &timestamp, &digest);
        let value = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.id
        );
        parts.headers.insert(AUTHORIZATION, ascii(&value));
        Ok(())
    }

    /// Makes a URL that lets its holder send this one request until `expires` after `now`: with any body for
    /// S3, with none for other services.
    ///
    /// # Errors
    /// [`SigError::BadExpires`] unless `expires` is 1 s to 7 days; [`SigError::MissingSignedHeader`] if the
    /// URL names no host.
    pub fn presign(
        &self,
        method: &Method,
        uri: &Uri,
        expires: Duration,
        now: SystemTime,
    ) -> Result<Uri, SigError> {
        if !(1..=PRESIGNED_SECONDS_MAX).contains(&expires.as_secs()) {
            return Err(SigError::BadExpires);
        }
        let timestamp = format_timestamp(now);
        let scope = self.scope(&timestamp);
        let credential = format!("{}/{scope}", self.id);
        let mut encoded = Vec::new();
        encode(credential.as_bytes(), false, &mut encoded);
        let encoded = String::from_utf8_lossy(&encoded);
        let mut target = uri.path().to_owned();
        target.push('?');
        if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
            target.push_str(query);
            target.push('&');
        }
        target.push_str(&format!(
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={encoded}&X-Amz-Date={timestamp}\
             &X-Amz-Expires={}&X-Amz-SignedHeaders=host",
            expires.as_secs()
        ));
        let unsigned = with_target(uri, &target)?;
        let mut headers = HeaderMap::new();
        set_host(&mut headers, uri)?;
        let request = Request { method, uri: &unsigned, headers: &headers };
        // Other services sign a presigned request's body, and there is none.
        let payload = if scope.is_s3() { "UNSIGNED-PAYLOAD" } else { EMPTY_SHA256 };
        let digest = request_sha256(request, scope.is_s3(), "host", payload, true)?;
        let signature = self.signature(&scope, &timestamp, &digest);
        with_target(uri, &format!("{target}&X-Amz-Signature={signature}"))
    }

    fn scope(&self, timestamp: &str) -> Scope {
        let day = timestamp.get(..8).unwrap_or_default();
        Scope { day: day.into(), region: self.region.as_str().into(), service: self.service.into() }
    }

    fn signature(&self, scope: &Scope, timestamp: &str, digest: &str) -> String {
        let text = string_to_sign(timestamp, &scope.to_string(), digest);
        hex::encode(SigningKey::derive(&self.secret, scope).sign(text.as_bytes()))
    }
}

fn set_host(headers: &mut HeaderMap, uri: &Uri) -> Result<(), SigError> {
    if headers.contains_key(HOST) {
        return Ok(());
    }
    let host = uri.authority().ok_or_else(|| SigError::MissingSignedHeader("host".into()))?;
    // User information is no part of the host (RFC 9112, section 3.2).
    let host = host.as_str().rsplit('@').next().unwrap_or_default();
    headers.insert(HOST, ascii(host));
    Ok(())
}

fn with_target(uri: &Uri, target: &str) -> Result<Uri, SigError> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query =
        Some(target.parse().map_err(|_| SigError::MalformedQuery("the URL cannot be extended"))?);
    Uri::from_parts(parts).map_err(|_| SigError::MalformedQuery("the URL cannot be extended"))
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("names, digits and hex are legal in a header")
}

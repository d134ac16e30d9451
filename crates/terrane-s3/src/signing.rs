//! What s3s leaves unchecked about signatures: their shape, region, date and validity, and whether every
//! `x-amz-*` header is signed. Verification itself is s3s's.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use percent_encoding::percent_decode_str;
use s3s::{Body, S3Error, S3ErrorCode, S3Result};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::config::S3Config;
use crate::errors::{access_denied, invalid_argument};

static X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// Headers that clients add after signing, or that are signed by being in the string to sign.
const UNSIGNED_ALLOWED: [&str; 2] = ["x-amz-content-sha256", "x-amz-date"];

/// Checks how a request is signed. Gives the `x-amz-date` to add where a client signed `Date` instead.
pub(crate) fn check(
    config: &S3Config,
    headers: &HeaderMap,
    query: Option<&str>,
    now: SystemTime,
) -> S3Result<Option<HeaderValue>> {
    let query = query.unwrap_or_default();
    if let Some(expires) = query_value(query, "X-Amz-Expires").filter(|_| has(query, "X-Amz-Signature")) {
        check_presigned(config, headers, query, &expires)?;
        return Ok(None);
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().map_err(|_| malformed("it is not ASCII"))?.trim();
    if text.is_empty() {
        return Err(access_denied());
    }
    if let Some(fields) = text.strip_prefix("AWS4-HMAC-SHA256") {
        check_v4(config, headers, fields)?;
        return date_as_amz_date(headers);
    }
    let Some(credential) = text.strip_prefix("AWS ") else {
        return Err(invalid_argument("Unsupported Authorization Type"));
    };
    if !credential.trim().split_once(':').is_some_and(|(key, mac)| !key.is_empty() && !mac.is_empty()) {
        return Err(invalid_argument(
            "AWS authorization header is invalid. Expected AwsAccessKeyId:signature",
        ));
    }
    check_v2_date(config, headers, now)?;
    Ok(None)
}

/// For requests on a bucket signed with version 2 under a path without final slash: the same request with it.
/// Bodies of such requests are documents, which are in memory.
pub(crate) fn with_bucket_slash(request: &Request<Body>) -> Option<Request<Body>> {
    let query = request.uri().query().unwrap_or_default();
    let header = request.headers().get(header::AUTHORIZATION);
    let v2 = header.is_some_and(|v| v.as_bytes().starts_with(b"AWS ")) || has(query, "Signature");
    let path = request.uri().path();
    if !v2 || path.len() < 2 || path[1..].contains('/') {
        return None;
    }
    let body = request.body().bytes()?;
    let target = if query.is_empty() { format!("{path}/") } else { format!("{path}/?{query}") };
    let mut other = Request::new(Body::from(body));
    *other.method_mut() = request.method().clone();
    *other.uri_mut() = target.parse().ok()?;
    *other.headers_mut() = request.headers().clone();
    *other.extensions_mut() = request.extensions().clone();
    Some(other)
}

fn check_v4(config: &S3Config, headers: &HeaderMap, fields: &str) -> S3Result<()> {
    let mut credential = None;
    let mut signed = None;
    let mut signature = None;
    for field in fields.split(',') {
        match field.trim().split_once('=') {
            Some(("Credential", value)) => credential = Some(value),
            Some(("SignedHeaders", value)) => signed = Some(value),
            Some(("Signature", value)) => signature = Some(value),
            _ => return Err(malformed("a field is unknown or has no value")),
        }
    }
    let (Some(credential), Some(signed), Some(signature)) = (credential, signed, signature) else {
        return Err(malformed("Credential, SignedHeaders and Signature are required"));
    };
    if signature.len() != 64 || !signature.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(malformed("Signature is not 64 hex digits"));
    }
    check_scope(config, credential).map_err(|why| malformed(&why))?;
    check_signed_headers(headers, signed)
}

fn check_presigned(config: &S3Config, headers: &HeaderMap, query: &str, expires: &str) -> S3Result<()> {
    let wrong =
        |why: &str| S3Error::with_message(S3ErrorCode::AuthorizationQueryParametersError, why.to_owned());
    let seconds: i64 = expires.parse().map_err(|_| wrong("X-Amz-Expires should be a number"))?;
    // S3 itself answers 400 to these two; its reference tests and other implementations agree on 403.
    let forbidden = |why: &str| {
        let mut error = wrong(why);
        error.set_status_code(http::StatusCode::FORBIDDEN);
        error
    };
    let Ok(seconds) = u64::try_from(seconds) else {
        return Err(forbidden("X-Amz-Expires must be non-negative"));
    };
    if Duration::from_secs(seconds) > config.limits.presign {
        return Err(forbidden("X-Amz-Expires must be less than a week (in seconds)"));
    }
    let credential =
        query_value(query, "X-Amz-Credential").ok_or_else(|| wrong("X-Amz-Credential is missing"))?;
    check_scope(config, &credential).map_err(|why| wrong(&why))?;
    let signed =
        query_value(query, "X-Amz-SignedHeaders").ok_or_else(|| wrong("X-Amz-SignedHeaders is missing"))?;
    check_signed_headers(headers, &signed)
}

/// `KEY/DATE/REGION/SERVICE/aws4_request`; a key may contain slashes.
fn check_scope(config: &S3Config, credential: &str) -> Result<(), String> {
    let mut parts = credential.rsplit('/');
    let (terminal, service, region, date) = (parts.next(), parts.next(), parts.next(), parts.next());
    let key = parts.next();
    let (Some("aws4_request"), Some(service), Some(region), Some(date), Some(_)) =
        (terminal, service, region, date, key)
    else {
        return Err("the Credential is not KEY/DATE/REGION/SERVICE/aws4_request".into());
    };
    if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("the date {date:?} of the Credential is not YYYYMMDD"));
    }
    if service != "s3" {
        return Err(format!("the service {service:?} of the Credential is wrong; expecting \"s3\""));
    }
    // s3s reads no other; clients like s3cmd guess "US" and want to be told.
    if !region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(format!("the region {region:?} is wrong; expecting {:?}", config.region.as_str()));
    }
    match &config.regions {
        Some(regions) if !regions.iter().any(|r| r.as_str() == region) => {
            Err(format!("the region {region:?} is wrong; expecting {:?}", config.region.as_str()))
        }
        _ => Ok(()),
    }
}

fn check_signed_headers(headers: &HeaderMap, signed: &str) -> S3Result<()> {
    if !signed.split(';').any(|name| name.eq_ignore_ascii_case("host")) {
        return Err(malformed("SignedHeaders does not contain host"));
    }
    for name in headers.keys() {
        let name = name.as_str();
        if !name.starts_with("x-amz-") || UNSIGNED_ALLOWED.contains(&name) {
            continue;
        }
        if !signed.split(';').any(|s| s.eq_ignore_ascii_case(name)) {
            let message = format!("There were headers present in the request which were not signed: {name}");
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, message));
        }
    }
    Ok(())
}

/// V4 lets a client sign `Date`; s3s reads `x-amz-date` only.
fn date_as_amz_date(headers: &HeaderMap) -> S3Result<Option<HeaderValue>> {
    if headers.contains_key(&X_AMZ_DATE) {
        return Ok(None);
    }
    let date = headers.get(header::DATE).and_then(|v| v.to_str().ok()).and_then(parse_http_date);
    let Some(date) = date else {
        let message = "AWS authentication requires a valid Date or x-amz-date header";
        return Err(S3Error::with_message(S3ErrorCode::AccessDenied, message));
    };
    let text = date.format(AMZ_DATE).map_err(|_| malformed("the date is out of range"))?;
    Ok(HeaderValue::from_str(&text).ok())
}

fn check_v2_date(config: &S3Config, headers: &HeaderMap, now: SystemTime) -> S3Result<()> {
    let value = headers.get(&X_AMZ_DATE).or_else(|| headers.get(header::DATE));
    let date = value.and_then(|v| v.to_str().ok()).and_then(parse_http_date);
    let Some(date) = date.filter(|d| d.unix_timestamp() >= 0) else {
        let message = "AWS authentication requires a valid Date or x-amz-date header";
        return Err(S3Error::with_message(S3ErrorCode::AccessDenied, message));
    };
    let skew = (OffsetDateTime::from(now) - date).unsigned_abs();
    if skew > config.limits.clock_skew {
        return Err(S3Error::with_message(
            S3ErrorCode::RequestTimeTooSkewed,
            "The difference between the request time and the current time is too large.",
        ));
    }
    Ok(())
}

const AMZ_DATE: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[day padding:none] [month repr:short] [year] [hour]:[minute]:[second]");

/// Parses an HTTP date (RFC 9110, IMF-fixdate) or the ISO basic form; the day's name is not looked at.
pub(crate) fn parse_http_date(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    if let Ok(date) = PrimitiveDateTime::parse(text, AMZ_DATE) {
        return Some(date.assume_utc());
    }
    let (_, rest) = text.split_once(", ")?;
    let rest = ["GMT", "UTC", "+0000", "-0000"].iter().find_map(|zone| rest.strip_suffix(zone))?;
    PrimitiveDateTime::parse(rest.trim_end(), HTTP_DATE).ok().map(PrimitiveDateTime::assume_utc)
}

/// The decoded value of a query parameter.
pub(crate) fn query_value(query: &str, name: &str) -> Option<String> {
    let raw = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })?;
    Some(percent_decode_str(raw).decode_utf8_lossy().into_owned())
}

/// Whether a query names a parameter.
pub(crate) fn has(query: &str, name: &str) -> bool {
    query.split('&').any(|pair| pair.split_once('=').map_or(pair, |(key, _)| key) == name)
}

fn malformed(why: &str) -> S3Error {
    let message = format!("The authorization header is malformed; {why}.");
    S3Error::with_message(S3ErrorCode::AuthorizationHeaderMalformed, message)
}

#[cfg(test)]
mod tests;

//! Checks that come before s3s: bounds on the request as such, what s3s leaves unchecked about signatures,
//! and XML documents, which are read and verified here because s3s compares no digests.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use s3s::config::{S3Config as S3sConfig, StaticConfigProvider};
use s3s::{Body, S3Error, S3ErrorCode, S3Result};

use crate::checksums::Expected;
use crate::config::{Limits, S3Config};
use crate::errors::custom;
use crate::guard::{BodyFaultNote, Guarded, Notes};
use crate::hosts::Hosts;
use crate::signing::{self, has};

static X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
static X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Subresources of an object that are written as documents.
const DOCUMENTS: [&str; 5] = ["tagging", "acl", "retention", "legal-hold", "restore"];

/// s3s's own settings.
pub(crate) fn s3s_config(limits: &Limits) -> StaticConfigProvider {
    let mut config = S3sConfig::default();
    config.xml_max_body_size = limits.xml_bytes;
    config.presigned_url_max_skew_time_secs = u32::try_from(limits.clock_skew.as_secs()).unwrap_or(u32::MAX);
    // POST forms are collected in memory by s3s.
    config.post_object_max_file_size = 64 << 20;
    config.form_max_field_size = 64 << 10;
    config.form_max_fields_size = 1 << 20;
    config.form_max_parts = 100;
    StaticConfigProvider::new(std::sync::Arc::new(config))
}

/// Lets a request through to s3s, with its body guarded, or says why not.
pub(crate) async fn admit(
    config: &S3Config,
    hosts: &Hosts,
    mut request: Request<Body>,
    notes: &Notes,
) -> S3Result<Request<Body>> {
    let Examined { streaming, document, completes } = match examine(config, hosts, &mut request) {
        Ok(examined) => examined,
        Err(refusal) => {
            notes.rest.take_from(&mut request);
            return Err(refusal);
        }
    };
    if request.body().is_end_stream() {
        if document {
            Expected::of_document(request.headers(), completes)?.verify_document(b"")?;
        }
        *request.body_mut() = Body::empty();
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let expects = parts.headers.contains_key(header::EXPECT);
    let guarded = Guarded::new(body, &config.limits, expects, streaming, notes);
    let body = if document && !streaming {
        let bytes = read_document(guarded, config.limits.xml_bytes, &notes.fault).await?;
        check_declared(&parts.headers, bytes.len())?;
        Expected::of_document(&parts.headers, completes)?.verify_document(&bytes)?;
        if !parts.headers.contains_key(header::CONTENT_LENGTH) {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        Body::from(bytes)
    } else {
        Body::http_body_unsync(guarded)
    };
    Ok(Request::from_parts(parts, body))
}

/// What a request's head says of its body.
struct Examined {
    streaming: bool,
    document: bool,
    completes: bool,
}

fn examine(config: &S3Config, hosts: &Hosts, request: &mut Request<Body>) -> S3Result<Examined> {
    check_headers(&config.limits, request.headers())?;
    if request.method() == Method::OPTIONS {
        return Err(preflight(request.headers()));
    }
    let query = request.uri().query().map(str::to_owned);
    let added = signing::check(config, request.headers(), query.as_deref(), SystemTime::now())?;
    if let Some(date) = added {
        request.headers_mut().insert(&X_AMZ_DATE, date);
    }
    let streaming = is_streaming(request.headers());
    check_length(&config.limits, request, streaming)?;
    let query = query.unwrap_or_default();
    Ok(Examined {
        streaming,
        document: is_document(hosts, request, &query),
        completes: has(&query, "uploadId"),
    })
}

fn check_headers(limits: &Limits, headers: &HeaderMap) -> S3Result<()> {
    let bytes: usize = headers.iter().map(|(n, v)| n.as_str().len() + v.len()).sum();
    if headers.len() > limits.headers || bytes > limits.header_bytes {
        return Err(S3Error::with_message(
            S3ErrorCode::RequestHeaderSectionTooLarge,
            "Your request header section exceeds the maximum allowed size.",
        ));
    }
    Ok(())
}

fn is_streaming(headers: &HeaderMap) -> bool {
    headers.get(&X_AMZ_CONTENT_SHA256).is_some_and(|v| v.as_bytes().starts_with(b"STREAMING-"))
}

fn check_length(limits: &Limits, request: &Request<Body>, streaming: bool) -> S3Result<()> {
    let name = if streaming { s3s::header::X_AMZ_DECODED_CONTENT_LENGTH } else { header::CONTENT_LENGTH };
    match request.headers().get(name) {
        Some(value) => {
            let length: Option<u64> = value.to_str().ok().and_then(|v| v.trim().parse().ok());
            let Some(length) = length else {
                return Err(S3Error::with_message(
                    S3ErrorCode::InvalidRequest,
                    "The declared length is not a number",
                ));
            };
            if length > limits.put_bytes {
                return Err(S3Error::with_message(
                    S3ErrorCode::EntityTooLarge,
                    "Your proposed upload exceeds the maximum allowed size",
                ));
            }
            Ok(())
        }
        // Without a length there is a body only if it is sent in HTTP's own chunks.
        None if request.headers().contains_key(header::TRANSFER_ENCODING) => Err(S3Error::with_message(
            S3ErrorCode::MissingContentLength,
            "You must provide the Content-Length HTTP header.",
        )),
        None => Ok(()),
    }
}

/// Whether the body, if any, is an XML document rather than an object's data or a form.
fn is_document(hosts: &Hosts, request: &Request<Body>, query: &str) -> bool {
    let path = request.uri().path().trim_start_matches('/');
    let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok());
    let virtual_hosted = host.is_some_and(|h| hosts.bucket(h).is_some());
    let has_key = if virtual_hosted {
        !path.is_empty()
    } else {
        path.split_once('/').is_some_and(|(_, key)| !key.is_empty())
    };
    match *request.method() {
        Method::PUT => !has_key || DOCUMENTS.iter().any(|name| has(query, name)),
        Method::POST => {
            let kind = request.headers().get(header::CONTENT_TYPE);
            !kind.is_some_and(|v| v.as_bytes().starts_with(b"multipart/form-data"))
        }
        _ => true,
    }
}

async fn read_document(mut body: Guarded, limit: usize, note: &BodyFaultNote) -> S3Result<Bytes> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| match note.0.get() {
            Some(fault) => fault.to_error(),
            None => incomplete(),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(S3Error::with_message(
                S3ErrorCode::MaxMessageLengthExceeded,
                format!("Your request was too big: a document has at most {limit} bytes"),
            ));
        }
        match first.is_empty() && all.is_empty() {
            true => first = data,
            false => {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn check_declared(headers: &HeaderMap, length: usize) -> S3Result<()> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.trim().parse::<usize>().ok());
    if declared.is_some_and(|d| d != length) { Err(incomplete()) } else { Ok(()) }
}

/// No bucket has CORS rules here: every preflight is refused, in S3's words.
fn preflight(headers: &HeaderMap) -> S3Error {
    if !headers.contains_key(header::ORIGIN) {
        let message = "Insufficient information. Origin request header needed.";
        return S3Error::with_message(S3ErrorCode::InvalidRequest, message);
    }
    if !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        let message = "Invalid Access-Control-Request-Method: null";
        return S3Error::with_message(S3ErrorCode::InvalidRequest, message);
    }
    let message = "CORSResponse: CORS is not enabled for this bucket.";
    custom("AccessForbidden", http::StatusCode::FORBIDDEN, message)
}

fn incomplete() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::IncompleteBody,
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}

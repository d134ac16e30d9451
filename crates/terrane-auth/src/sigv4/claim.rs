//! What a signed request says of itself, before any of it is believed.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};
use jiff::Timestamp;
use terrane_types::AccessKeyId;

use super::canonical::{Payload, decode, parameters, parse_hex32};
use super::key::Scope;
use super::time::{parse_day, parse_http_date, parse_timestamp};
use super::{ALGORITHM, PRESIGNED_SECONDS_MAX, Request, SigError};

/// Longest list of signed headers, bytes; far above what any client sends.
const SIGNED_HEADERS_BYTES_MAX: usize = 8192;
/// Longest region and service name, bytes.
const SCOPE_PART_BYTES_MAX: usize = 64;

/// Where the signature was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned URL.
    Presigned {
        /// How long it is valid from its date on, 1 to 604800 seconds.
        expires_seconds: u32,
    },
}

/// A version 4 signature as it stands in a request. Well formed, not yet verified.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose key is said to have signed.
    pub access_key: AccessKeyId,
    /// What the signature holds for.
    pub scope: Scope,
    /// Header or presigned URL.
    pub how: How,
    /// How the body is covered.
    pub payload: Payload,
    pub(super) signed_at: Timestamp,
    pub(super) signed_headers: Box<str>,
    pub(super) signature: [u8; 32],
}

impl Claim {
    /// Finds the version 4 signature of a request. `None` if it has none (anonymous, bearer token,
    /// version 2, …).
    pub fn parse(request: Request<'_>) -> Result<Option<Self>, SigError> {
        let header = authorization(request.headers)?;
        let query = request.uri.query().unwrap_or("");
        let presigned =
            parameters(query).any(|(name, _)| name == b"X-Amz-Algorithm" || name == b"X-Amz-Signature");
        match (header, presigned) {
            (Some(_), true) => Err(SigError::SignedTwice),
            (Some(text), false) => Self::from_header(request, text).map(Some),
            (None, true) if request.headers.contains_key(AUTHORIZATION) => Err(SigError::SignedTwice),
            (None, true) => Self::from_query(request, query).map(Some),
            (None, false) => Ok(None),
        }
    }

    fn from_header(request: Request<'_>, text: &str) -> Result<Self, SigError> {
        let bad = SigError::MalformedHeader;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in text.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or(bad("a field without a value"))?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(bad("a field other than Credential, SignedHeaders and Signature")),
            };
            if slot.replace(value).is_some() {
                return Err(bad("a field occurs twice"));
            }
        }
        let credential = credential.ok_or(bad("Credential is missing"))?;
        let (access_key, scope) = parse_credential(credential, bad)?;
        refuse_session_token(request.headers.get("x-amz-security-token").is_some())?;
        let date = match request.headers.get("x-amz-date") {
            Some(value) => value.to_str().ok().and_then(parse_timestamp),
            None => request.headers.get(DATE).and_then(|v| v.to_str().ok()).and_then(parse_http_date),
        };
        let signed_at = date.ok_or(SigError::MissingDate)?;
        let payload = match request.headers.get("x-amz-content-sha256") {
            Some(value) => Payload::parse(value.as_bytes()).ok_or(SigError::BadContentSha256)?,
            None if scope.is_s3() => return Err(SigError::BadContentSha256),
            None => Payload::OfBody,
        };
        Ok(Self {
            access_key,
            scope,
            how: How::Header,
            payload,
            signed_at,
            signed_headers: parse_signed_headers(
                signed_headers.ok_or(bad("SignedHeaders is missing"))?,
                bad,
            )?,
            signature: signature
                .and_then(parse_hex32)
                .ok_or(bad("Signature is not 64 lower-case hex digits"))?,
        })
    }

    fn from_query(request: Request<'_>, query: &str) -> Result<Self, SigError> {
        let bad = SigError::MalformedQuery;
        let fields = QueryFields::collect(query)?;
        if fields.algorithm != Some(ALGORITHM.as_bytes().to_vec()) {
            return Err(bad("X-Amz-Algorithm must be AWS4-HMAC-SHA256"));
        }
        let text = |value: &Option<Vec<u8>>, missing| {
            let value = value.clone().ok_or(bad(missing))?;
            String::from_utf8(value).map_err(|_| bad("a parameter is not UTF-8"))
        };
        let credential = text(&fields.credential, "X-Amz-Credential is missing")?;
        let (access_key, scope) = parse_credential(&credential, bad)?;
        refuse_session_token(fields.session_token)?;
        let date = text(&fields.date, "X-Amz-Date is missing")?;
        let signed_at =
            parse_timestamp(&date).ok_or(bad("X-Amz-Date is not of the form 20130524T000000Z"))?;
        let expires = text(&fields.expires, "X-Amz-Expires is missing")?;
        let digits = !expires.is_empty() && expires.len() <= 6 && expires.bytes().all(|b| b.is_ascii_digit());
        let expires: u32 = if digits { expires.parse().unwrap_or(0) } else { 0 };
        if expires == 0 || u64::from(expires) > PRESIGNED_SECONDS_MAX {
            return Err(SigError::BadExpires);
        }
        let in_header = request.headers.get("x-amz-content-sha256").map(|v| v.as_bytes().to_vec());
        let payload = match in_header.or(fields.content_sha256) {
            Some(value) => Payload::parse(&value).ok_or(SigError::BadContentSha256)?,
            None if scope.is_s3() => Payload::Unsigned,
            None => Payload::OfBody,
        };
        let signed_headers = text(&fields.signed_headers, "X-Amz-SignedHeaders is missing")?;
        let signature = text(&fields.signature, "X-Amz-Signature is missing")?;
        Ok(Self {
            access_key,
            scope,
            how: How::Presigned { expires_seconds: expires },
            payload,
            signed_at,
            signed_headers: parse_signed_headers(&signed_headers, bad)?,
            signature: parse_hex32(&signature)
                .ok_or(bad("X-Amz-Signature is not 64 lower-case hex digits"))?,
        })
    }
}

/// What follows the algorithm's name in the `Authorization` header, if that header is version 4's.
fn authorization(headers: &HeaderMap) -> Result<Option<&str>, SigError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let Some(rest) = value.as_bytes().strip_prefix(ALGORITHM.as_bytes()) else { return Ok(None) };
    if values.next().is_some() {
        return Err(SigError::MalformedHeader("it occurs twice"));
    }
    if !rest.starts_with(b" ") {
        return Err(SigError::MalformedHeader("no blank after the algorithm"));
    }
    let rest = std::str::from_utf8(rest).map_err(|_| SigError::MalformedHeader("it is not UTF-8"))?;
    Ok(Some(rest.trim()))
}

/// The service in the scope of a header or presigned URL; only as much is checked as it takes to find it.
pub(super) fn peek_service<'a>(request: Request<'a>) -> Option<Cow<'a, str>> {
    if let Ok(Some(text)) = authorization(request.headers) {
        let credential = text.split(',').find_map(|field| field.trim().strip_prefix("Credential="))?;
        return credential.rsplit('/').nth(1).map(Cow::Borrowed);
    }
    let query = request.uri.query()?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
    let credential = String::from_utf8(decode(value.as_bytes(), true)).ok()?;
    credential.rsplit('/').nth(1).map(|service| Cow::Owned(service.to_owned()))
}

/// `AKIDEXAMPLE/20130524/us-east-1/s3/aws4_request`.
fn parse_credential(text: &str, bad: fn(&'static str) -> SigError) -> Result<(AccessKeyId, Scope), SigError> {
    let form = bad("Credential is not of the form KEY/DAY/REGION/SERVICE/aws4_request");
    let parts: Vec<&str> = text.splitn(6, '/').collect();
    let &[key, day, region, service, "aws4_request"] = parts.as_slice() else { return Err(form) };
    let legal = |part: &str| {
        (1..=SCOPE_PART_BYTES_MAX).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_graphic())
    };
    if !legal(region) || !legal(service) {
        return Err(form);
    }
    parse_day(day).ok_or(bad("the day in Credential is not of the form 20130524"))?;
    let key = AccessKeyId::parse(key).map_err(|_| SigError::BadAccessKeyId)?;
    Ok((key, Scope { day: day.into(), region: region.into(), service: service.into() }))
}

/// Lower-case names, sorted, each once, `host` among them.
fn parse_signed_headers(text: &str, bad: fn(&'static str) -> SigError) -> Result<Box<str>, SigError> {
    if text.len() > SIGNED_HEADERS_BYTES_MAX {
        return Err(bad("SignedHeaders is too long"));
    }
    let legal =
        |b: u8| (b.is_ascii_graphic() && !b.is_ascii_uppercase()) && !b"\"(),/:<=>?@[\\]{}".contains(&b);
    let mut previous = "";
    for name in text.split(';') {
        if name.is_empty() || !name.bytes().all(legal) {
            return Err(bad("SignedHeaders must be lower-case header names"));
        }
        if name <= previous {
            return Err(bad("SignedHeaders must be sorted and each occur once"));
        }
        previous = name;
    }
    if !text.split(';').any(|name| name == "host") {
        return Err(SigError::UnsignedHeader("host".into()));
    }
    Ok(text.into())
}

fn refuse_session_token(present: bool) -> Result<(), SigError> {
    if present { Err(SigError::SessionToken) } else { Ok(()) }
}

/// The parameters of a presigned URL, each at most once.
#[derive(Default)]
struct QueryFields {
    algorithm: Option<Vec<u8>>,
    credential: Option<Vec<u8>>,
    date: Option<Vec<u8>>,
    expires: Option<Vec<u8>>,
    signed_headers: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
    content_sha256: Option<Vec<u8>>,
    session_token: bool,
}

impl QueryFields {
    fn collect(query: &str) -> Result<Self, SigError> {
        let mut fields = Self::default();
        for (name, value) in parameters(query) {
            let slot = match name.as_slice() {
                b"X-Amz-Algorithm" => &mut fields.algorithm,
                b"X-Amz-Credential" => &mut fields.credential,
                b"X-Amz-Date" => &mut fields.date,
                b"X-Amz-Expires" => &mut fields.expires,
                b"X-Amz-SignedHeaders" => &mut fields.signed_headers,
                b"X-Amz-Signature" => &mut fields.signature,
                b"X-Amz-Content-Sha256" => &mut fields.content_sha256,
                b"X-Amz-Security-Token" => {
                    fields.session_token = true;
                    continue;
                }
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(SigError::MalformedQuery("a parameter of the signature occurs twice"));
            }
        }
        Ok(fields)
    }
}

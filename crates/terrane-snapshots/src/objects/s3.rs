//! Any S3 endpoint: the five calls over HTTP, signed by our own signer, retried where that is harmless.

mod listing;

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use terrane_auth::Secret;
use terrane_auth::sigv4::{Body, Signer};
use terrane_snapshot::objects::{Listed, ObjectError, ObjectStore};
use terrane_types::{AccessKeyId, Region};

pub use listing::fuzz_decode;

/// Attempts of one call.
const ATTEMPTS: u32 = 4;
/// Pause before the second attempt; doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest listing or error document that is read.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Names of one page of a listing, as S3 has it.
const PAGE: usize = 1000;

/// What stays as it is in a path, by RFC 3986 and the rules of signatures.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The same in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the objects lie.
#[derive(Clone)]
pub struct S3Config {
    /// `https://s3.example.org`, without a path; buckets are named in the path.
    pub endpoint: String,
    /// The bucket, which exists.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: Region,
    /// The key that they are signed with.
    pub access_key: AccessKeyId,
    /// Its secret.
    pub secret: Secret,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an attempt of a call may take.
    pub timeout: Duration,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// An S3 endpoint. Cheap to clone.
#[derive(Clone)]
pub struct S3Objects {
    client: reqwest::Client,
    signer: Signer,
    /// `https://host/bucket`
    base: String,
}

/// One attempt's outcome that is no success.
enum Failure {
    /// Another attempt may succeed.
    Transient(String),
    NotFound,
    Refused(String),
}

impl S3Objects {
    /// An endpoint.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the configuration.
    pub fn new(config: S3Config) -> Result<Self, String> {
        let endpoint = config.endpoint.trim_end_matches('/');
        let uri: Uri = endpoint.parse().map_err(|_| format!("{endpoint:?} is not a URL"))?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || uri.authority().is_none() || uri.path() != "/" || uri.query().is_some() {
            return Err(format!("{endpoint:?} is not the URL of an endpoint such as https://s3.example.org"));
        }
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        if !(3..=63).contains(&config.bucket.len()) || !config.bucket.bytes().all(legal) {
            return Err(format!("{:?} is not the name of a bucket", config.bucket));
        }
        let client = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("no HTTP client: {error}"))?;
        let signer = Signer::new(config.access_key, config.secret, config.region, "s3");
        Ok(Self { client, signer, base: format!("{endpoint}/{}", config.bucket) })
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{}", self.base, utf8_percent_encode(name, PATH))
    }

    /// Makes a call until it succeeds or there is no point in going on.
    async fn call(
        &self,
        name: &str,
        method: Method,
        url: &str,
        range: Option<&Range<u64>>,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<(http::HeaderMap, Bytes), ObjectError> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let name = name.to_owned();
            match self.attempt(&method, url, range, body.clone(), bytes_max).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::NotFound) => return Err(ObjectError::NotFound { name }),
                Err(Failure::Refused(why)) => return Err(ObjectError::Refused { name, why }),
                Err(Failure::Transient(why)) if attempt == ATTEMPTS => {
                    return Err(ObjectError::Unavailable { name, why });
                }
                Err(Failure::Transient(_)) => {
                    tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
                    pause *= 2;
                }
            }
        }
        Err(ObjectError::Unavailable { name: name.to_owned(), why: "no attempt was made".into() })
    }

    async fn attempt(
        &self,
        method: &Method,
        url: &str,
        range: Option<&Range<u64>>,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<(http::HeaderMap, Bytes), Failure> {
        let refused = |error: &dyn fmt::Display| Failure::Refused(error.to_string());
        let mut request = http::Request::builder().method(method).uri(url);
        if let Some(range) = range {
            let last = range.end.saturating_sub(1);
            request = request.header(header::RANGE, format!("bytes={}-{last}", range.start));
        }
        let (mut parts, body) = request.body(body).map_err(|error| refused(&error))?.into_parts();
        self.signer
            .sign(&mut parts, Body::Bytes(&body), SystemTime::now())
            .map_err(|error| refused(&error))?;
        let request: reqwest::Request =
            http::Request::from_parts(parts, body).try_into().map_err(|error| refused(&error))?;
        // The text of the error would name the URL, which is no secret, and the host.
        let transient = |error: reqwest::Error| Failure::Transient(error.without_url().to_string());
        let mut response = self.client.execute(request).await.map_err(transient)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut bytes = BytesMut::new();
        let bytes_max = if status.is_success() { bytes_max } else { DOCUMENT_BYTES_MAX };
        while let Some(part) = response.chunk().await.map_err(transient)? {
            if bytes.len() + part.len() > bytes_max {
                return Err(Failure::Transient("the answer is longer than it can be".into()));
            }
            bytes.extend_from_slice(&part);
        }
        match status {
            status if status.is_success() => Ok((headers, bytes.freeze())),
            StatusCode::NOT_FOUND if !is_no_such_bucket(&bytes) => Err(Failure::NotFound),
            StatusCode::RANGE_NOT_SATISFIABLE => Err(Failure::NotFound),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => {
                Err(Failure::Transient(said(status, &bytes)))
            }
            status if status.is_server_error() => Err(Failure::Transient(said(status, &bytes))),
            status => Err(Failure::Refused(said(status, &bytes))),
        }
    }
}

fn is_no_such_bucket(document: &[u8]) -> bool {
    listing::error_code(document).is_some_and(|code| code == "NoSuchBucket")
}

fn said(status: StatusCode, document: &[u8]) -> String {
    match listing::error_code(document) {
        Some(code) => format!("{status}: {code}"),
        None => status.to_string(),
    }
}

#[async_trait]
impl ObjectStore for S3Objects {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        self.call(name, Method::PUT, &self.url(name), None, bytes, DOCUMENT_BYTES_MAX).await?;
        Ok(())
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let url = self.url(name);
        let (_, bytes) = self.call(name, Method::GET, &url, Some(&range), Bytes::new(), length).await?;
        match bytes.len() {
            found if found == length => Ok(bytes),
            // S3 answers what there is of a range.
            _ => Err(ObjectError::NotFound { name: name.to_owned() }),
        }
    }

    async fn head(&self, name: &str) -> Result<u64, ObjectError> {
        let (headers, _) = self.call(name, Method::HEAD, &self.url(name), None, Bytes::new(), 0).await?;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let why = "the answer has no length".to_owned();
        length.ok_or_else(|| ObjectError::Unavailable { name: name.to_owned(), why })
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, ObjectError> {
        let mut found: Vec<Listed> = Vec::new();
        let mut after = after.map(str::to_owned);
        while found.len() < limit {
            let keys = PAGE.min(limit - found.len());
            // Parameters in the order of their names, as they are signed.
            let mut url = format!("{}?list-type=2&max-keys={keys}", self.base);
            url.push_str(&format!("&prefix={}", utf8_percent_encode(prefix, QUERY)));
            if let Some(after) = &after {
                url.push_str(&format!("&start-after={}", utf8_percent_encode(after, QUERY)));
            }
            let (_, bytes) =
                self.call(prefix, Method::GET, &url, None, Bytes::new(), DOCUMENT_BYTES_MAX).await?;
            let page = listing::parse(&bytes).map_err(|why| ObjectError::Unavailable {
                name: prefix.to_owned(),
                why: format!("a listing: {why}"),
            })?;
            after = page.names.last().map(|last| last.name.clone());
            let is_last = !page.truncated || page.names.is_empty();
            found.extend(page.names);
            if is_last {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectError> {
        let deleted =
            self.call(name, Method::DELETE, &self.url(name), None, Bytes::new(), DOCUMENT_BYTES_MAX).await;
        match deleted {
            Ok(_) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for S3Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Objects").field("base", &self.base).finish_non_exhaustive()
    }
}

//! The HTTP service: checks in front of s3s, s3s itself, and what every answer carries.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use prometheus_client::registry::Registry;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error};
use terrane_objects::service::ObjectService;
use terrane_types::AccountId;

use crate::access::{Doorman, KeyTable};
use crate::api::Api;
use crate::config::S3Config;
use crate::gate::Gate;
use crate::guard::{BodyFault, Notes};
use crate::hosts::{BadDomain, Hosts};
use crate::intercept;
use crate::metrics::Metrics;
use crate::signing;

static X_AMZ_REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// Identity of one HTTP request. The listener puts it into the request's extensions;
/// [`S3Front`] makes one up where it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// A random one: 16 upper-case hex digits.
    pub fn random() -> Self {
        Self(format!("{:016X}", rand::random::<u64>()).into())
    }
}

/// What an answer was about. Found in the response's extensions, for the audit log.
#[derive(Clone, Debug, Default)]
pub struct S3Call {
    /// S3's name of the operation; `None` if the request was refused before it was known.
    pub operation: Option<String>,
    /// Who asked; `None` for unsigned requests and for those whose signature was not accepted.
    pub account: Option<AccountId>,
    /// The user within the account.
    pub principal: Option<String>,
    /// The bucket.
    pub bucket: Option<String>,
    /// The key.
    pub key: Option<String>,
}

/// Where [`Doorman`] notes the call on the way in.
#[derive(Clone, Default)]
pub(crate) struct CallNote(pub(crate) Arc<OnceLock<S3Call>>);

/// The S3 front end as a hyper service. Cheap to clone.
#[derive(Clone)]
pub struct S3Front {
    inner: Arc<Inner>,
}

struct Inner {
    service: S3Service,
    config: Arc<S3Config>,
    hosts: Hosts,
    metrics: Metrics,
}

impl fmt::Debug for S3Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Front").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl S3Front {
    /// Serves `store` to whom `gate` lets in.
    ///
    /// # Errors
    /// If one of the configured domains is not a host name.
    pub fn new(
        store: Arc<dyn ObjectService>,
        gate: Arc<dyn Gate>,
        config: S3Config,
        registry: &mut Registry,
    ) -> Result<Self, BadDomain> {
        let hosts = Hosts::new(&config.domains)?;
        let metrics = Metrics::register(registry);
        let config = Arc::new(config);
        let api = Api::new(store, Arc::clone(&gate), Arc::clone(&config), metrics.clone());
        let mut builder = S3ServiceBuilder::new(api);
        builder.set_config(Arc::new(intercept::s3s_config(&config.limits)));
        builder.set_auth(KeyTable(Arc::clone(&gate)));
        builder.set_access(Doorman(gate));
        if !hosts.is_empty() {
            builder.set_host(hosts.clone());
        }
        Ok(Self { inner: Arc::new(Inner { service: builder.build(), config, hosts, metrics }) })
    }

    /// Lets s3s answer. Signatures of version 2 on a bucket are made over `/bucket` by some clients and over
    /// `/bucket/` by others (boto3): both are tried.
    async fn serve(&self, request: Request<Body>) -> Response<Body> {
        let other = signing::with_bucket_slash(&request);
        let response = self.inner.call(request).await;
        match other {
            Some(other) if response.status() == StatusCode::FORBIDDEN && is_mismatch(&response) => {
                self.inner.call(other).await
            }
            _ => response,
        }
    }

    /// Answers one request.
    pub async fn handle(&self, mut request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let head = request.method() == Method::HEAD;
        let id = request.extensions().get::<RequestId>().cloned().unwrap_or_else(RequestId::random);
        let resource: Box<str> = request.uri().path().into();
        let note = CallNote::default();
        request.extensions_mut().insert(note.clone());
        let notes = Notes::default();
        let admitted = intercept::admit(&self.inner.config, &self.inner.hosts, request, &notes).await;
        let mut response = match admitted {
            Ok(request) => self.serve(request).await,
            Err(error) => error.to_http_response().unwrap_or_else(|_: S3Error| plain_error()),
        };
        let stalled = notes.fault.0.get() == Some(&BodyFault::Stalled);
        if !response.status().is_success() && !stalled {
            notes.rest.drain().await;
        }
        if let Some(fault) = notes.fault.0.get().filter(|_| !response.status().is_success()) {
            response = fault.to_error().to_http_response().unwrap_or_else(|_: S3Error| plain_error());
        }
        finish(&mut response, &id, &resource, head, self.inner.config.region.as_str());
        let call = note.0.get().cloned().unwrap_or_default();
        if call.operation.as_deref() == Some("GetObjectAttributes") {
            bare_etag(&mut response);
        }
        self.inner.metrics.answered(call.operation.as_deref(), response.status(), started.elapsed());
        response.extensions_mut().insert(call);
        response
    }
}

impl Inner {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        match self.service.call(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(?error, "answer could not be made");
                plain_error()
            }
        }
    }
}

impl hyper::service::Service<Request<hyper::body::Incoming>> for S3Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move { Ok(front.handle(request.map(Body::from)).await) })
    }
}

fn is_mismatch(response: &Response<Body>) -> bool {
    response
        .body()
        .bytes()
        .is_some_and(|b| b.windows(SIGNATURE_MISMATCH.len()).any(|window| window == SIGNATURE_MISMATCH))
}

const SIGNATURE_MISMATCH: &[u8] = b"<Code>SignatureDoesNotMatch</Code>";

/// GetObjectAttributes alone names the ETag without quotes; s3s writes them.
fn bare_etag(response: &mut Response<Body>) {
    let Some(document) = response.body().bytes() else { return };
    let Ok(text) = std::str::from_utf8(&document) else { return };
    for (before, after) in [("<ETag>\"", "\"</ETag>"), ("<ETag>&quot;", "&quot;</ETag>")] {
        if let Some((head, rest)) = text.split_once(before)
            && let Some((etag, tail)) = rest.split_once(after)
        {
            *response.body_mut() = Body::from(format!("{head}<ETag>{etag}</ETag>{tail}"));
            return;
        }
    }
}

fn plain_error() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// Adds the request ID and, in errors, what S3's error documents name besides code and message.
fn finish(response: &mut Response<Body>, id: &RequestId, resource: &str, head: bool, region: &str) {
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(X_AMZ_REQUEST_ID.clone(), value);
    }
    // s3s has no status but 200 for HEAD.
    if head && response.headers().contains_key(header::CONTENT_RANGE) && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(header::CONTENT_TYPE);
        *response.body_mut() = Body::empty();
        return;
    }
    if !(status.is_client_error() || status.is_server_error()) {
        return;
    }
    if head {
        response.headers_mut().remove(header::CONTENT_TYPE);
        *response.body_mut() = Body::empty();
        return;
    }
    let document = response.body().bytes().filter(|b| b.ends_with(ERROR_END));
    if let Some(document) = document {
        *response.body_mut() = Body::from(complete_error(&document, id, resource, region));
    }
}

const WRONG_SCOPE: &[u8] = b"<Code>AuthorizationHeaderMalformed</Code>";
const ERROR_END: &[u8] = b"</Error>";

fn complete_error(document: &Bytes, id: &RequestId, resource: &str, region: &str) -> Bytes {
    let mut xml = Vec::with_capacity(document.len() + resource.len() + 96);
    xml.extend_from_slice(&document[..document.len() - ERROR_END.len()]);
    // Clients that signed for another region sign again for the one that is named here (s3cmd begins with "US").
    if document.windows(WRONG_SCOPE.len()).any(|window| window == WRONG_SCOPE) {
        xml.extend_from_slice(b"<Region>");
        xml.extend_from_slice(region.as_bytes());
        xml.extend_from_slice(b"</Region>");
    }
    xml.extend_from_slice(b"<Resource>");
    for byte in resource.bytes() {
        match byte {
            b'<' => xml.extend_from_slice(b"&lt;"),
            b'>' => xml.extend_from_slice(b"&gt;"),
            b'&' => xml.extend_from_slice(b"&amp;"),
            _ => xml.push(byte),
        }
    }
    xml.extend_from_slice(b"</Resource><RequestId>");
    xml.extend_from_slice(id.0.as_bytes());
    xml.extend_from_slice(b"</RequestId>");
    xml.extend_from_slice(ERROR_END);
    xml.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_resource_and_request() {
        let id = RequestId("ABC".into());
        let xml = complete_error(&Bytes::from_static(b"<Error><Code>X</Code></Error>"), &id, "/a&b", "eu-1");
        let text = std::str::from_utf8(&xml).unwrap();
        assert_eq!(
            text,
            "<Error><Code>X</Code><Resource>/a&amp;b</Resource><RequestId>ABC</RequestId></Error>"
        );
        let document = b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>";
        let xml = complete_error(&Bytes::from_static(document), &id, "/", "eu-1");
        assert!(std::str::from_utf8(&xml).unwrap().contains("<Region>eu-1</Region>"));
    }

    #[test]
    fn request_ids_are_sixteen_hex_digits() {
        let id = RequestId::random();
        assert_eq!(id.0.len(), 16);
        assert_ne!(id, RequestId::random());
    }
}

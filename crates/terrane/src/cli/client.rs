//! A client of the native API.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use terrane_api::Problem;
use terrane_auth::Secret;
use terrane_auth::sigv4::{Body, Signer};

/// Who asks.
pub(crate) enum Identity {
    /// An access key.
    Key(Signer),
    /// A bearer token.
    Token(Secret),
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The server said why not.
    #[error("{}", describe(.0))]
    Problem(Problem),
    /// The server answered something that we do not understand.
    #[error("{url} answered {status}, which is not Terrane's: {text}")]
    Foreign {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: StatusCode,
        /// Beginning of the answer.
        text: String,
    },
    /// There was no answer.
    #[error("{url} cannot be reached: {}", root_cause(.source))]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
}

fn describe(problem: &Problem) -> String {
    match &problem.request_id {
        Some(id) => format!("{} ({}; request {id})", problem.detail, problem.code()),
        None => format!("{} ({})", problem.detail, problem.code()),
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl CallError {
    /// What the process exits with (see `terrane --help`).
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Problem(problem) => match problem.status {
                404 => 3,
                401 | 403 => 4,
                429 | 502..=504 => 5,
                _ => 1,
            },
            Self::Foreign { .. } => 1,
            Self::Unreachable { .. } => 5,
        }
    }
}

/// A client of the native API.
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: String,
    identity: Identity,
}

/// What needs no encoding in a part of a path or in a query value (RFC 3986's unreserved characters).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as a part of a path or as a query value.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

impl Client {
    pub(crate) fn new(endpoint: &str, identity: Identity, ca: Option<&Path>) -> anyhow::Result<Self> {
        // Fails only if it was done before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let uri: Uri = endpoint.parse().with_context(|| format!("{endpoint:?} is not a URL"))?;
        let authority = uri.authority().with_context(|| format!("{endpoint:?} is not a URL with a host"))?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("terrane/", env!("CARGO_PKG_VERSION")));
        if matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]") {
            http = http.no_proxy();
        }
        if let Some(ca) = ca {
            let pem = std::fs::read(ca).with_context(|| format!("{} cannot be read", ca.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} is no PEM file with certificates", ca.display()))?;
            http = http.tls_certs_merge(certificates);
        }
        Ok(Self { http: http.build()?, endpoint: endpoint.trim_end_matches('/').to_owned(), identity })
    }

    /// Where the API is.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::GET, path, None::<&()>).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, Vec::new()).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let response = self.send(method, path, body).await?;
        let (url, status) = (response.url().to_string(), response.status());
        let bytes =
            response.bytes().await.map_err(|source| CallError::Unreachable { url: url.clone(), source })?;
        serde_json::from_slice(&bytes).map_err(|_| foreign(url, status, &bytes).into())
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<reqwest::Response> {
        let url = format!("{}{path}", self.endpoint);
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let mut request = http::Request::builder().method(method).uri(uri);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let (mut parts, body) = request.body(body)?.into_parts();
        self.sign(&mut parts, &body)?;
        let request: reqwest::Request = http::Request::from_parts(parts, body).try_into()?;
        let response = self.http.execute(request).await;
        let response = response.map_err(|source| CallError::Unreachable { url: url.clone(), source })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes =
            response.bytes().await.map_err(|source| CallError::Unreachable { url: url.clone(), source })?;
        Err(match serde_json::from_slice(&bytes) {
            Ok(problem) => CallError::Problem(problem).into(),
            Err(_) => foreign(url, status, &bytes).into(),
        })
    }

    fn sign(&self, parts: &mut Parts, body: &[u8]) -> anyhow::Result<()> {
        match &self.identity {
            Identity::Key(signer) => signer.sign(parts, Body::Bytes(body), SystemTime::now())?,
            Identity::Token(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                    .context("the bearer token has characters that no token has")?;
                value.set_sensitive(true);
                parts.headers.insert(header::AUTHORIZATION, value);
            }
        }
        Ok(())
    }
}

fn foreign(url: String, status: StatusCode, bytes: &[u8]) -> CallError {
    let text = String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes)).into_owned();
    CallError::Foreign { url, status, text }
}

//! The EBS direct APIs (`ebs` 2019-11-02, REST-JSON): snapshots block by block.

mod call;
mod error;
mod json;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::service::{Caller, SnapshotService};

pub use call::{Call, fuzz_decode};
pub use error::EbsError;

/// Blocks of a page that says nothing of its length, and the most that one can have.
const RESULTS_MAX: usize = 10_000;
/// The fewest that can be asked for.
const RESULTS_MIN: usize = 100;
/// The one algorithm of checksums.
const ALGORITHM: &str = "SHA256";

/// The front end over a keeper of snapshots. Cheap to clone.
#[derive(Clone)]
pub struct Ebs {
    service: Arc<dyn SnapshotService>,
}

impl Ebs {
    /// Longest body of a request: a block.
    pub const BODY_BYTES_MAX: usize = crate::service::BLOCK_BYTES;

    /// Over this keeper of snapshots.
    pub fn new(service: Arc<dyn SnapshotService>) -> Self {
        Self { service }
    }

    /// Reads a request. Its body is read from the socket before; it is a JSON document or a block.
    ///
    /// # Errors
    /// `ValidationException`; `UnknownOperationException`.
    pub fn parse(
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Call, EbsError> {
        Call::parse(method, path, query, headers, body)
    }

    /// Answers a call of a caller who has been authenticated and may make it.
    pub async fn handle(&self, caller: &Caller, call: Call) -> Response<Bytes> {
        match self.answer(caller, call).await {
            Ok(response) => response,
            Err(error) => Self::refuse(&error),
        }
    }

    async fn answer(&self, caller: &Caller, call: Call) -> Result<Response<Bytes>, EbsError> {
        let service = &self.service;
        let respond = |status: StatusCode, document: serde_json::Value| {
            let mut response = Response::new(Bytes::from(document.to_string()));
            *response.status_mut() = status;
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        };
        Ok(match call {
            Call::Start(start) => {
                let snapshot = service.start_snapshot(caller, start).await?;
                respond(StatusCode::CREATED, json::started(&snapshot))
            }
            Call::Put { snapshot, block } => {
                let sha256 = block.sha256;
                service.put_block(caller, &snapshot, block).await?;
                let mut response = respond(StatusCode::CREATED, serde_json::json!({}));
                checksum(response.headers_mut(), &sha256);
                response
            }
            Call::Complete { snapshot, completion } => {
                let state = service.complete_snapshot(caller, &snapshot, completion).await?;
                respond(StatusCode::ACCEPTED, serde_json::json!({ "Status": state.as_str() }))
            }
            Call::List { snapshot, page } => {
                let list = service.list_blocks(caller, &snapshot, page.borrow()).await?;
                respond(StatusCode::OK, json::blocks(&list))
            }
            Call::Changed { first, second, page } => {
                let list = service.list_changed_blocks(caller, &first, &second, page.borrow()).await?;
                respond(StatusCode::OK, json::changed(&list))
            }
            Call::Get { snapshot, index, token } => {
                let data = service.block(caller, &snapshot, index, &token).await?;
                Self::block(data)
            }
        })
    }

    fn block(data: Bytes) -> Response<Bytes> {
        use sha2::Digest as _;
        let sha256: [u8; 32] = sha2::Sha256::digest(&data).into();
        let length = data.len();
        let mut response = Response::new(data);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert("x-amz-data-length", length.into());
        checksum(headers, &sha256);
        response
    }

    /// The answer that says why not: also for errors from before there was a call. The error itself is among the
    /// answer's extensions, for whoever keeps records.
    pub fn refuse(error: &EbsError) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(error.document().to_string()));
        *response.status_mut() = error.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-amzn-errortype", HeaderValue::from_static(error.code()));
        response.extensions_mut().insert(error.clone());
        response
    }
}

fn checksum(headers: &mut HeaderMap, sha256: &[u8; 32]) {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(sha256);
    headers.insert("x-amz-checksum", HeaderValue::from_str(&text).expect("base64 is ASCII"));
    headers.insert("x-amz-checksum-algorithm", HeaderValue::from_static(ALGORITHM));
}

impl std::fmt::Debug for Ebs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ebs").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

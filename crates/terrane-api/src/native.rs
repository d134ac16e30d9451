//! The native API under `/_terrane/`.
//!
//! Health, metrics and the OpenAPI document are open to everybody who reaches the port; everything else is
//! signed for service `terrane` or carries a bearer token, is authorised by policy and admitted by rate limit.

mod accounts;
mod app;
mod buckets;
mod call;
mod completions;
mod drives;
mod instances;
mod keys;
mod openapi;
mod policies;
mod queues;
mod servers;
mod snapshots;
mod store;
mod system;
mod tokens;
mod users;
mod volumes;
mod webhooks;
mod workflows;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use terrane_auth::sigv4::{self, Payload};
use terrane_auth::{AuthError, Principal};
use tower::ServiceExt as _;

use self::call::{Call, Note};
use crate::body::{BodyError, ReadError, read_whole};
use crate::problem::Problem;
use crate::server::Peer;

pub use self::app::{App, Installation};
pub use self::openapi::document as openapi_document;

/// The documents of the native API, for its clients.
pub mod types {
    pub use super::accounts::{Account, AccountPatch, NewAccount, RequestRate, Whoami};
    pub use super::buckets::{Bucket, BucketPatch, NewBucket};
    pub use super::completions::{Completion, Operation};
    pub use super::drives::{Drive, Drives, Replacement, Scrub};
    pub use super::instances::Instance;
    pub use super::keys::{AccessKey, AccessKeyWithSecret, KeyPatch, NewKey, Rotation};
    pub use super::policies::{Policy, PolicyText, Validation, WhyAnswer, WhyRequest};
    pub use super::queues::{DrainRequest, DrainStatus, Queue, QueueSelection};
    pub use super::servers::{BlockServer, Pool, Rebuild};
    pub use super::snapshots::{Snapshot, SnapshotCopy, SnapshotPatch};
    pub use super::store::{Backup, MadeBackup, NewBackup};
    pub use super::system::{ComponentHealth, Health, HistorySeries, ServerStatus};
    pub use super::tokens::{NewToken, Token, TokenWithText};
    pub use super::users::{NewUser, User, UserPatch};
    pub use super::volumes::{
        Attachment, AttachmentWish, Copy, DetachWish, Modification, NewVolume, Resync, Volume, VolumePatch,
        VolumeSettings, VolumeSummary,
    };
    pub use super::webhooks::{NewWebhook, Webhook};
    pub use super::workflows::{Workflow, WorkflowStep};
}

/// Longest body of a native request, bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A body must have arrived so long after its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest text of an error that did not come from us, bytes.
const FOREIGN_ERROR_BYTES_MAX: usize = 4096;

/// What a native answer was about, in the answer's extensions: for the audit log.
#[derive(Clone, Debug, Default)]
pub(crate) struct NativeCall {
    pub(crate) account: Option<String>,
    pub(crate) principal: Option<String>,
    pub(crate) action: Option<&'static str>,
    pub(crate) resource: String,
    pub(crate) error: Option<String>,
}

/// The native API as a service.
#[derive(Clone)]
pub struct Native {
    app: Arc<App>,
    open: Router,
    signed: Router,
}

impl Native {
    /// Serves an installation.
    pub fn new(app: App) -> Self {
        let app = Arc::new(app);
        let signed = Router::new()
            .merge(system::routes())
            .merge(accounts::routes())
            .merge(users::routes())
            .merge(keys::routes())
            .merge(tokens::routes())
            .merge(policies::routes())
            .merge(buckets::routes())
            .merge(webhooks::routes())
            .merge(queues::routes())
            .merge(drives::routes())
            .merge(completions::routes())
            .merge(store::routes())
            .merge(volumes::routes())
            .merge(snapshots::routes())
            .merge(servers::routes())
            .merge(workflows::routes())
            .merge(instances::routes())
            .with_state(app.clone());
        Self { open: system::open_routes().with_state(app.clone()), signed, app }
    }

    /// Answers one request.
    pub(crate) async fn handle<B>(&self, id: &str, peer: Peer, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let note = Arc::new(Note::default());
        let mut response = match self.answer(id, peer, request, &note).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        };
        let mut call = note.take();
        if is_foreign_error(&response) {
            call.error = Some(finish_error(id, &mut response).await);
        }
        response.extensions_mut().insert(call);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    async fn answer<B>(
        &self,
        id: &str,
        peer: Peer,
        request: Request<B>,
        note: &Arc<Note>,
    ) -> Result<Response<Body>, Problem>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        if system::is_open(request.uri().path()) {
            return Ok(route(&self.open, request.map(|_| Body::empty())).await);
        }
        let (mut parts, body) = request.into_parts();
        let body = read(body).await?;
        let digest: [u8; 32] = Sha256::digest(&body).into();
        // S3 clients sign for s3 whatever the path; their signatures hold here as well.
        let service = match sigv4::service_of((&parts).into()).as_deref() {
            Some("s3") => "s3",
            _ => "terrane",
        };
        let sender = self.app.auth.authenticate((&parts).into(), service, Some(&digest), SystemTime::now());
        let sender = sender.await.map_err(Problem::from)?;
        if let Some((claim, _)) = &sender.signature
            && !body.is_empty()
            && !matches!(claim.payload, Payload::Sha256(_) | Payload::OfBody)
        {
            return Err(Problem::bad_request("the signature must cover the body: send its SHA-256"));
        }
        let Principal::Known(identity) = &sender.principal else {
            return Err(Problem::unauthenticated(
                "the request carries neither a signature of version 4 for service terrane nor a bearer token",
            ));
        };
        note.sender(identity, sender.signature.as_ref().map(|(claim, _)| &claim.access_key));
        self.app.auth.admit(&identity.account, 1).map_err(AuthError::from)?;
        let (identity, note, request_id) = (identity.clone(), note.clone(), id.into());
        parts.extensions.insert(Call { identity, peer, note, request_id });
        Ok(route(&self.signed, Request::from_parts(parts, Body::from(body))).await)
    }
}

async fn route(router: &Router, request: Request<Body>) -> Response<Body> {
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn read<B>(body: B) -> Result<Bytes, Problem>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    read_whole(body, BODY_BYTES_MAX, BODY_TIMEOUT).await.map_err(|error| {
        let (status, code) = match error {
            ReadError::TooLong(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
            ReadError::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
            ReadError::Incomplete(_) => (StatusCode::BAD_REQUEST, "bad-request"),
        };
        Problem::new(status, code, error.to_string())
    })
}

/// An error that is not yet a document of ours.
fn is_foreign_error(response: &Response<Body>) -> bool {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    (status.is_client_error() || status.is_server_error()) && kind != Some(b"application/json")
}

/// Makes every error a problem document with the request's ID, also those of the router and its extractors.
/// Returns its code.
async fn finish_error(id: &str, response: &mut Response<Body>) -> String {
    let mut problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None => {
            let text = std::mem::take(response.body_mut());
            let text = axum::body::to_bytes(text, FOREIGN_ERROR_BYTES_MAX).await.unwrap_or_default();
            Problem::of_status(response.status(), &String::from_utf8_lossy(&text))
        }
    };
    problem.request_id = Some(id.to_owned());
    problem.write(response);
    problem.code().to_owned()
}

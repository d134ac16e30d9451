//! The front door: one listener, all protocols.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use terrane_s3::{Origin, RequestId, S3Call, S3Front};
use terrane_telemetry::audit::{AuditEvent, AuditLog};

use crate::body::Body;
use crate::dispatch::{Family, family};
use crate::ebs::EbsDoor;
use crate::ec2::{AwsCall, Ec2Door};
use crate::metrics::{Answer, FrontMetrics, Protocol};
use crate::native::{Native, NativeCall};
use crate::server::{Handler, Peer};
use crate::sts::Sts;
use crate::xml;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// What the front door leads to.
pub struct FrontDoor {
    /// S3.
    pub s3: S3Front,
    /// Our own API.
    pub native: Native,
    /// STS.
    pub sts: Sts,
    /// EC2, where volumes are offered.
    pub ec2: Option<Ec2Door>,
    /// The EBS direct APIs, where snapshots are offered.
    pub ebs: Option<EbsDoor>,
    /// Where mutating calls are written down.
    pub audit: AuditLog,
    /// Metrics.
    pub metrics: FrontMetrics,
    /// Base domains of virtual-hosted buckets.
    pub domains: Vec<String>,
}

impl Handler for Arc<FrontDoor> {
    fn handle(&self, peer: Peer, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        let door = self.clone();
        Box::pin(async move { door.answer(peer, request).await })
    }
}

impl FrontDoor {
    async fn answer(&self, peer: Peer, mut request: Request<Incoming>) -> Response<Body> {
        let id = RequestId::random();
        let method = request.method().clone();
        let (protocol, mut response) = match family(&request, &self.domains) {
            Family::S3 => {
                request.extensions_mut().insert(id.clone());
                let origin = Origin { source: Some(peer.address.ip()), secure: peer.secure };
                request.extensions_mut().insert(origin);
                let response = self.s3.handle(request.map(s3s::Body::from)).await;
                self.audit_s3(peer, &id, &method, &response);
                (Protocol::s3, response.map(Body::from))
            }
            Family::Native => {
                let response = self.native.handle(&id.0, peer, request).await;
                self.audit_native(peer, &id, &method, &response);
                (Protocol::native, response.map(Body::from))
            }
            Family::Sts => (Protocol::sts, self.sts.handle(&id.0, request).await),
            Family::Ec2 if let Some(ec2) = &self.ec2 => {
                let response = ec2.handle(&id.0, peer, request).await;
                self.audit_aws("ec2", peer, &id, &response);
                (Protocol::ec2, response)
            }
            Family::Ebs if let Some(ebs) = &self.ebs => {
                let response = ebs.handle(&id.0, peer, request).await;
                self.audit_aws("ebs", peer, &id, &response);
                (Protocol::ebs, response)
            }
            other => (Protocol::other, not_offered(&other, &id)),
        };
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            response.headers_mut().insert(REQUEST_ID.clone(), value);
        }
        let class = response.status().as_u16() / 100;
        self.metrics.answers.get_or_create(&Answer { protocol, class }).inc();
        tracing::debug!(id = &*id.0, peer = %peer.address, %method, status = response.status().as_u16(), "answered");
        response
    }

    fn audit_s3(&self, peer: Peer, id: &RequestId, method: &Method, response: &Response<s3s::Body>) {
        if !is_mutating(method) {
            return;
        }
        let call = response.extensions().get::<S3Call>().cloned().unwrap_or_default();
        let operation = call.operation.as_deref().unwrap_or("Unknown");
        if READING_POSTS.contains(&operation) {
            return;
        }
        let resource = [call.bucket.as_deref(), call.key.as_deref()];
        self.audit.record(AuditEvent {
            time: jiff::Timestamp::now().to_string(),
            request_id: id.0.to_string(),
            account: call.account.map(|account| account.to_string()),
            principal: call.principal,
            source: Some(peer.address.ip().to_string()),
            action: format!("s3:{operation}"),
            resource: resource.into_iter().flatten().collect::<Vec<_>>().join("/"),
            status: response.status().as_u16(),
            error: None,
        });
    }

    fn audit_aws(&self, family: &str, peer: Peer, id: &RequestId, response: &Response<Body>) {
        let call = response.extensions().get::<AwsCall>().cloned().unwrap_or_default();
        let Some(action) = call.action.filter(|_| call.mutates) else { return };
        self.audit.record(AuditEvent {
            time: jiff::Timestamp::now().to_string(),
            request_id: id.0.to_string(),
            account: call.account,
            principal: call.principal,
            source: Some(peer.address.ip().to_string()),
            action: format!("{family}:{action}"),
            resource: call.resource,
            status: response.status().as_u16(),
            error: call.error.map(str::to_owned),
        });
    }

    fn audit_native(
        &self,
        peer: Peer,
        id: &RequestId,
        method: &Method,
        response: &Response<axum::body::Body>,
    ) {
        if !is_mutating(method) {
            return;
        }
        let call = response.extensions().get::<NativeCall>().cloned().unwrap_or_default();
        self.audit.record(AuditEvent {
            time: jiff::Timestamp::now().to_string(),
            request_id: id.0.to_string(),
            account: call.account,
            principal: call.principal,
            source: Some(peer.address.ip().to_string()),
            action: call.action.unwrap_or("terrane:Unknown").to_owned(),
            resource: call.resource,
            status: response.status().as_u16(),
            error: call.error,
        });
    }
}

/// S3 operations that are POSTs and change nothing.
const READING_POSTS: [&str; 1] = ["SelectObjectContent"];

fn is_mutating(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Answers for services that do not exist (yet), each in the words of its protocol.
fn not_offered(family: &Family, id: &RequestId) -> Response<Body> {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    match family {
        Family::Ec2 => {
            xml::ec2_error(BAD, "UnsupportedOperation", "EC2 is not offered by this installation.", &id.0)
        }
        Family::Ebs => xml::json_error(
            BAD,
            "ValidationException",
            "The EBS direct APIs are not offered by this installation.",
        ),
        Family::Unknown(service) => {
            let message = format!(
                "The request is signed for the service {service:?}. This endpoint serves s3, ec2, sts and terrane."
            );
            xml::query_error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", &message, &id.0)
        }
        _ => xml::json_error(StatusCode::NOT_FOUND, "NotFound", "Nothing is served under this path."),
    }
}

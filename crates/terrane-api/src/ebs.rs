//! The door of the EBS direct APIs: who asks, may they, how often. What they ask is `terrane_ec2::ebs`'s to read and
//! answer.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use sha2::{Digest as _, Sha256};
use terrane_auth::policy::{RequestContext, Resource, Target};
use terrane_auth::sigv4::{Payload, SigError};
use terrane_auth::{Auth, AuthError, Identity, Principal};
use terrane_ec2::ebs::{Call, Ebs, EbsError};
use terrane_ec2::service::Caller;

use crate::body::{Body, BodyError, read_whole};
use crate::ec2::AwsCall;
use crate::server::Peer;

/// Longest body, bytes: a block, or a document with fifty tags.
const BODY_BYTES_MAX: usize = Ebs::BODY_BYTES_MAX + 4096;
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers calls of the EBS direct APIs. Cheap to clone.
#[derive(Clone)]
pub struct EbsDoor {
    auth: Auth,
    ebs: Ebs,
}

impl EbsDoor {
    /// In front of this, for these accounts.
    pub fn new(auth: Auth, ebs: Ebs) -> Self {
        Self { auth, ebs }
    }

    pub(crate) async fn handle<B>(&self, id: &str, peer: Peer, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let mut about = AwsCall::default();
        let mut response = match self.answer(id, peer, request, &mut about).await {
            Ok(response) => response,
            Err(error) => Ebs::refuse(&error),
        };
        about.error = response.extensions_mut().remove().map(|error: EbsError| error.code());
        response.extensions_mut().insert(about);
        response.map(Body::whole)
    }

    async fn answer<B>(
        &self,
        id: &str,
        peer: Peer,
        request: Request<B>,
        about: &mut AwsCall,
    ) -> Result<Response<Bytes>, EbsError>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let (parts, body) = request.into_parts();
        let body = read_whole(body, BODY_BYTES_MAX, BODY_TIMEOUT).await.map_err(|error| {
            EbsError::new("ValidationException", Some("INVALID_BLOCK"), format!("The request: {error}."))
        })?;
        let digest: [u8; 32] = Sha256::digest(&body).into();
        let (path, query) = (parts.uri.path(), parts.uri.query());
        // Read first, so that the audit log knows what was refused; a stranger is told nothing about it.
        let call = Ebs::parse(&parts.method, path, query, &parts.headers, body.clone());
        if let Ok(call) = &call {
            about.action = Some(call.action());
            about.mutates = call.mutates();
            let ids = call.snapshots();
            about.resource = ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" ");
        }
        // Also one that is refused: what is wrong with it is told to who signed its head.
        let is_block = parts.method == http::Method::PUT;
        let identity = self.sender(&parts, &digest, body.is_empty() || is_block, about).await?;
        self.auth.admit(&identity.account, 1).map_err(|error| refusal(&error.into()))?;
        let call = call?;
        self.allow(&identity, peer, &call).await?;
        let caller =
            Caller { principal: identity.to_string(), account: identity.account, request_id: id.to_owned() };
        Ok(self.ebs.handle(&caller, call).await)
    }

    /// Whose signature covers the request: its body as well, unless that is a block, which has a checksum of its own.
    async fn sender(
        &self,
        parts: &http::request::Parts,
        digest: &[u8; 32],
        may_be_unsigned: bool,
        about: &mut AwsCall,
    ) -> Result<Identity, EbsError> {
        let sender = self.auth.authenticate(parts.into(), "ebs", Some(digest), SystemTime::now()).await;
        let sender = sender.map_err(|error| refusal(&error))?;
        let (Principal::Known(identity), Some((claim, _))) = (sender.principal, sender.signature) else {
            const TEXT: &str = "Missing Authentication Token";
            return Err(EbsError::new("MissingAuthenticationTokenException", None, TEXT));
        };
        if !may_be_unsigned && !matches!(claim.payload, Payload::Sha256(_) | Payload::OfBody) {
            const TEXT: &str = "The signature must cover the body.";
            return Err(EbsError::new("IncompleteSignatureException", None, TEXT));
        }
        about.account = Some(identity.account.to_string());
        about.principal = Some(claim.access_key.to_string());
        Ok(identity)
    }

    /// Goes on if policy allows the action with every snapshot that the call names. What is another account's and not
    /// shared does not exist for the service, so that the caller's own account is asked about here.
    async fn allow(&self, identity: &Identity, peer: Peer, call: &Call) -> Result<(), EbsError> {
        let action = format!("ebs:{}", call.action());
        let targets: Vec<Target<'_>> = match call {
            Call::Start(_) => vec![Target::Account],
            call => call.snapshots().into_iter().map(|id| Target::Snapshot(id.as_str())).collect(),
        };
        let principal = Principal::Known(identity.clone());
        let context = RequestContext {
            source_ip: Some(peer.address.ip()),
            secure_transport: peer.secure,
            now: SystemTime::now(),
        };
        for target in targets {
            let resource = Resource::new(&identity.account, target);
            let decision = self.auth.authorize(&principal, &action, &resource, &context).await;
            if !decision.map_err(|error| refusal(&error))?.allowed {
                return Err(EbsError::unauthorized());
            }
        }
        Ok(())
    }
}

/// An error of accounts in the words of Amazon's JSON protocols.
fn refusal(error: &AuthError) -> EbsError {
    let code = match error {
        AuthError::Signature(SigError::BadAccessKeyId | SigError::SessionToken)
        | AuthError::InvalidAccessKey(_)
        | AuthError::InvalidToken
        | AuthError::UnknownScheme => {
            const TEXT: &str = "The security token included in the request is invalid.";
            return EbsError::new("UnrecognizedClientException", None, TEXT);
        }
        AuthError::Signature(
            SigError::TooSkewed { .. }
            | SigError::Expired
            | SigError::NotYetValid
            | SigError::Mismatch
            | SigError::ContentSha256Mismatch
            | SigError::DateMismatch
            | SigError::MissingSignedHeader(_)
            | SigError::UnsignedHeader(_)
            | SigError::WrongRegion { .. },
        ) => "InvalidSignatureException",
        AuthError::Signature(_) => "IncompleteSignatureException",
        AuthError::Throttled(_) => {
            let reason = Some("ACCOUNT_THROTTLED");
            return EbsError::new("RequestThrottledException", reason, "Request limit exceeded.");
        }
        error => {
            tracing::error!(error = error as &dyn std::error::Error, "the EBS direct APIs cannot answer");
            return EbsError::new("InternalServerException", None, "Credentials cannot be verified now.");
        }
    };
    EbsError::new(code, None, error.to_string())
}

//! EC2's door: who asks, may they, how often. What they ask is `terrane-ec2`'s to read and answer.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use sha2::{Digest as _, Sha256};
use terrane_auth::policy::{self, On, RequestContext, Resource, Target};
use terrane_auth::sigv4::{Payload, SigError};
use terrane_auth::{Auth, AuthError, Identity, Principal};
use terrane_ec2::service::Caller;
use terrane_ec2::{Call, Ec2, Ec2Error};

use crate::body::{Body, BodyError, read_whole};
use crate::server::Peer;

/// Longest form, bytes: a thousand resources with tags for each stay far below it.
const BODY_BYTES_MAX: usize = 512 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest list of resources in the audit log, bytes.
const AUDITED_BYTES_MAX: usize = 1024;

/// Answers EC2's calls. Cheap to clone.
#[derive(Clone)]
pub struct Ec2Door {
    auth: Auth,
    ec2: Ec2,
}

/// What an answer to one of AWS's API families was about, in the answer's extensions: for the audit log.
#[derive(Clone, Debug, Default)]
pub(crate) struct AwsCall {
    pub(crate) account: Option<String>,
    pub(crate) principal: Option<String>,
    pub(crate) action: Option<&'static str>,
    pub(crate) mutates: bool,
    pub(crate) resource: String,
    pub(crate) error: Option<&'static str>,
}

impl Ec2Door {
    /// In front of this, for these accounts.
    pub fn new(auth: Auth, ec2: Ec2) -> Self {
        Self { auth, ec2 }
    }

    pub(crate) async fn handle<B>(&self, id: &str, peer: Peer, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let mut about = AwsCall::default();
        let mut response = match self.answer(id, peer, request, &mut about).await {
            Ok(response) => response,
            Err(error) => Ec2::refuse(&error, id),
        };
        about.error = response.extensions_mut().remove().map(|error: Ec2Error| error.code());
        response.extensions_mut().insert(about);
        response.map(Body::whole)
    }

    async fn answer<B>(
        &self,
        id: &str,
        peer: Peer,
        request: Request<B>,
        about: &mut AwsCall,
    ) -> Result<Response<Bytes>, Ec2Error>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let (parts, body) = request.into_parts();
        let body = read_whole(body, BODY_BYTES_MAX, BODY_TIMEOUT).await;
        let body = body.map_err(|error| Ec2Error::new("InvalidRequest", format!("The request: {error}.")))?;
        // Read first, so that the audit log knows what was refused; a stranger is told nothing about it.
        let call = Call::parse(parts.uri.query(), &body);
        if let Ok(call) = &call {
            about.action = Some(call.action());
            about.mutates = call.mutates();
            about.resource = audited(&call.resources());
        }
        let identity = self.sender(&parts, &body, about).await?;
        self.auth.admit(&identity.account, 1).map_err(|error| refusal(&error.into()))?;
        let call = call?;
        self.allow(&identity, peer, &call).await?;
        let caller =
            Caller { principal: identity.to_string(), account: identity.account, request_id: id.to_owned() };
        Ok(self.ec2.handle(&caller, call).await)
    }

    /// Whose signature covers the request, body included.
    async fn sender(
        &self,
        parts: &http::request::Parts,
        body: &Bytes,
        about: &mut AwsCall,
    ) -> Result<Identity, Ec2Error> {
        let digest: [u8; 32] = Sha256::digest(body).into();
        let sender = self.auth.authenticate(parts.into(), "ec2", Some(&digest), SystemTime::now()).await;
        let sender = sender.map_err(|error| refusal(&error))?;
        let (Principal::Known(identity), Some((claim, _))) = (sender.principal, sender.signature) else {
            return Err(Ec2Error::new(
                "MissingAuthenticationToken",
                "Request is missing Authentication Token",
            ));
        };
        if !body.is_empty() && !matches!(claim.payload, Payload::Sha256(_) | Payload::OfBody) {
            return Err(Ec2Error::new("IncompleteSignature", "The signature must cover the body."));
        }
        about.account = Some(identity.account.to_string());
        about.principal = Some(claim.access_key.to_string());
        Ok(identity)
    }

    /// Goes on if policy allows the action with everything that the call names. What is another account's does
    /// not exist for the service either, so that the caller's own account is asked about here.
    async fn allow(&self, identity: &Identity, peer: Peer, call: &Call) -> Result<(), Ec2Error> {
        let action = format!("ec2:{}", call.action());
        let on = policy::find_action(&action).map_or(On::Account, |action| action.on);
        let mut targets: Vec<Target<'_>> = match on {
            On::Account => Vec::new(),
            _ => call.resources().into_iter().filter_map(Target::of_id).collect(),
        };
        if targets.is_empty() {
            targets.push(Target::Account);
        }
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
                return Err(Ec2Error::unauthorized());
            }
        }
        Ok(())
    }
}

/// An error of accounts in EC2's words.
fn refusal(error: &AuthError) -> Ec2Error {
    let code = match error {
        AuthError::Signature(SigError::BadAccessKeyId | SigError::SessionToken)
        | AuthError::InvalidAccessKey(_)
        | AuthError::InvalidToken
        | AuthError::UnknownScheme => {
            const TEXT: &str = "AWS was not able to validate the provided access credentials";
            return Ec2Error::new("AuthFailure", TEXT);
        }
        AuthError::Signature(SigError::TooSkewed { .. } | SigError::Expired | SigError::NotYetValid) => {
            "RequestExpired"
        }
        AuthError::Signature(
            SigError::Mismatch
            | SigError::ContentSha256Mismatch
            | SigError::DateMismatch
            | SigError::MissingSignedHeader(_)
            | SigError::UnsignedHeader(_)
            | SigError::WrongRegion { .. },
        ) => "SignatureDoesNotMatch",
        AuthError::Signature(_) => "IncompleteSignature",
        AuthError::Throttled(_) => return Ec2Error::new("RequestLimitExceeded", "Request limit exceeded."),
        error => {
            tracing::error!(error = error as &dyn std::error::Error, "EC2 cannot answer");
            let code = if error.status() == 503 { "Unavailable" } else { "InternalError" };
            return Ec2Error::new(code, "Credentials cannot be verified now.");
        }
    };
    Ec2Error::new(code, error.to_string())
}

/// The resources of a call for the audit log, cut off where they are too many.
fn audited(resources: &[&str]) -> String {
    let mut text = resources.join(" ");
    if text.len() > AUDITED_BYTES_MAX {
        text.truncate(text.floor_char_boundary(AUDITED_BYTES_MAX));
        text.push('…');
    }
    text
}

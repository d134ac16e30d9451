//! Signatures' secrets and the caller's identity, handed to s3s.

use std::sync::Arc;

use async_trait::async_trait;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};
use terrane_auth::{Credential, Identity, Principal};
use terrane_types::AccountId;

use crate::errors::{access_denied, slow_down};
use crate::front::{CallNote, S3Call};
use crate::gate::{Gate, GateError, Origin};

/// Who sent a request; among the extensions of every request that reaches an operation.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) origin: Origin,
}

impl Caller {
    /// The caller of a request.
    pub(crate) fn of<T>(request: &S3Request<T>) -> Self {
        let nobody = || Self { principal: Principal::Anonymous, origin: Origin::default() };
        request.extensions.get::<Caller>().cloned().unwrap_or_else(nobody)
    }

    /// The account; `None` for unsigned requests.
    pub(crate) fn account(&self) -> Option<&AccountId> {
        self.principal.account()
    }

    /// The identity, where an unsigned request makes no sense.
    pub(crate) fn signed(&self) -> S3Result<&Identity> {
        match &self.principal {
            Principal::Known(identity) => Ok(identity),
            Principal::Anonymous => Err(access_denied()),
        }
    }
}

/// Gives s3s the secrets to verify signatures with.
pub(crate) struct KeyTable(pub(crate) Arc<dyn Gate>);

#[async_trait]
impl S3Auth for KeyTable {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.credential(access_key).await.map_err(unavailable)? {
            Some(credential) => Ok(SecretKey::from(credential.secret.expose())),
            None => Err(unknown_key()),
        }
    }
}

/// Turns the verified key into a [`Caller`], admits it, and notes the call.
pub(crate) struct Doorman(pub(crate) Arc<dyn Gate>);

#[async_trait]
impl S3Access for Doorman {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let credential: Option<Arc<Credential>> = match cx.credentials() {
            // Revoked between the two look-ups: the signature no longer counts.
            Some(found) => {
                let credential = self.0.credential(&found.access_key).await.map_err(unavailable)?;
                Some(credential.ok_or_else(unknown_key)?)
            }
            None => None,
        };
        let identity = credential.as_ref().map(|c| &c.identity);
        let (bucket, key) = match cx.s3_path() {
            S3Path::Root => (None, None),
            S3Path::Bucket { bucket } => (Some(bucket.to_string()), None),
            S3Path::Object { bucket, key } => (Some(bucket.to_string()), Some(key.to_string())),
        };
        let call = S3Call {
            operation: Some(cx.s3_op().name().to_owned()),
            account: identity.map(|i| i.account.clone()),
            principal: identity.map(|i| i.to_string()),
            bucket,
            key,
        };
        if let Some(note) = cx.extensions_mut().get::<CallNote>() {
            // Set once per request: s3s checks access once.
            let _ = note.0.set(call);
        }
        if let Some(identity) = identity {
            let admitted = self.0.admit(&identity.account);
            admitted.map_err(|t| slow_down("the account's rate limit is reached", t.retry_after))?;
        }
        let principal = identity.map_or(Principal::Anonymous, |i| Principal::Known(i.clone()));
        let origin = cx.extensions_mut().get::<Origin>().copied().unwrap_or_default();
        cx.extensions_mut().insert(Caller { principal, origin });
        Ok(())
    }
}

fn unknown_key() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::InvalidAccessKeyId,
        "The AWS Access Key Id you provided does not exist in our records.",
    )
}

/// The gate cannot answer: logged once, here.
pub(crate) fn unavailable(error: GateError) -> S3Error {
    tracing::error!(error = &error as &dyn std::error::Error, "gate failed");
    S3Error::with_message(S3ErrorCode::ServiceUnavailable, "Identities cannot be verified now")
}

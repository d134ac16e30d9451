//! One native call: who makes it, whether it is allowed, and what the audit log will say of it.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::FromRequestParts;
use http::request::Parts;
use parking_lot::Mutex;
use terrane_auth::policy::{RequestContext, Resource, Target};
use terrane_auth::{Auth, Identity, Principal};
use terrane_types::{AccessKeyId, AccountId};

use super::NativeCall;
use crate::problem::Problem;
use crate::server::Peer;

/// Written to on a call's way through, read at its end.
#[derive(Debug, Default)]
pub(super) struct Note(Mutex<NativeCall>);

impl Note {
    pub(super) fn sender(&self, identity: &Identity, key: Option<&AccessKeyId>) {
        let mut call = self.0.lock();
        call.account = Some(identity.account.to_string());
        call.principal = Some(match key {
            Some(key) => key.to_string(),
            None => identity.to_string(),
        });
    }

    pub(super) fn take(&self) -> NativeCall {
        std::mem::take(&mut self.0.lock())
    }
}

/// An authenticated call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) identity: Identity,
    pub(super) peer: Peer,
    pub(super) note: Arc<Note>,
    pub(super) request_id: Arc<str>,
}

impl Call {
    /// Circumstances that policies can refer to.
    pub(super) fn context(&self) -> RequestContext {
        RequestContext {
            source_ip: Some(self.peer.address.ip()),
            secure_transport: self.peer.secure,
            now: SystemTime::now(),
        }
    }

    /// The caller's account.
    pub(super) fn account(&self) -> &AccountId {
        &self.identity.account
    }

    /// Goes on if policy allows the action. `action` and `resource` go to the audit log.
    pub(super) async fn allow(
        &self,
        auth: &Auth,
        action: &'static str,
        owner: &AccountId,
        target: Target<'_>,
    ) -> Result<(), Problem> {
        {
            let mut call = self.note.0.lock();
            call.action = Some(action);
            call.resource = match target {
                Target::Bucket(bucket) => bucket.to_owned(),
                Target::Object { bucket, key } => format!("{bucket}/{key}"),
                Target::Volume(id) | Target::Snapshot(id) | Target::Instance(id) => id.to_owned(),
                Target::Account => format!("account {owner}"),
                _ => "installation".to_owned(),
            };
        }
        if self.may(auth, action, owner, target).await? {
            Ok(())
        } else {
            Err(Problem::forbidden(format!("{} may not do {action} here", self.identity)))
        }
    }

    /// Whether policy allows an action that the call itself is not about.
    pub(super) async fn may(
        &self,
        auth: &Auth,
        action: &'static str,
        owner: &AccountId,
        target: Target<'_>,
    ) -> Result<bool, Problem> {
        let principal = Principal::Known(self.identity.clone());
        let resource = Resource::new(owner, target);
        Ok(auth.authorize(&principal, action, &resource, &self.context()).await?.allowed)
    }

    /// As [`Self::allow`], for things of the whole installation: these belong to the root account.
    pub(super) async fn allow_installation(&self, auth: &Auth, action: &'static str) -> Result<(), Problem> {
        self.allow(auth, action, &AccountId::root(), Target::Installation).await
    }

    /// Says more about the resource than its owner.
    pub(super) fn resource(&self, text: impl Into<String>) {
        self.note.0.lock().resource = text.into();
    }
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Put there before the request is routed.
        parts.extensions.get().cloned().ok_or_else(|| Problem::unauthenticated("the caller is not known"))
    }
}

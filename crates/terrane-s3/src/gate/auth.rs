//! [`Auth`] as the gate.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use terrane_auth::policy::{OwnerSays, RequestContext, Resource, Target};
use terrane_auth::{Auth, AuthError, Credential, Throttled};
use terrane_types::{AccessKeyId, AccountId};

use super::{Gate, GateError, Question};

#[async_trait]
impl Gate for Auth {
    async fn credential(&self, access_key: &str) -> Result<Option<Arc<Credential>>, GateError> {
        // What cannot be a key is none.
        let Ok(id) = AccessKeyId::parse(access_key) else { return Ok(None) };
        self.lookup(&id).await.map_err(failed)
    }

    async fn allows(&self, question: Question<'_>) -> Result<bool, GateError> {
        let target = match (question.bucket, question.key) {
            (Some(bucket), Some(key)) => Target::Object { bucket, key },
            (Some(bucket), None) => Target::Bucket(bucket),
            (None, _) => Target::Account,
        };
        let owner_says = if question.granted { OwnerSays::Allow } else { OwnerSays::Nothing };
        let resource = Resource { target, owner: question.owner, owner_says };
        let context = RequestContext {
            source_ip: question.origin.source,
            secure_transport: question.origin.secure,
            now: SystemTime::now(),
        };
        let decision = self.authorize(question.principal, question.action, &resource, &context).await;
        Ok(decision.map_err(failed)?.allowed)
    }

    fn admit(&self, account: &AccountId) -> Result<(), Throttled> {
        Auth::admit(self, account, 1)
    }

    async fn account_exists(&self, account: &AccountId) -> Result<bool, GateError> {
        match self.account(account).await {
            Ok(_) => Ok(true),
            Err(AuthError::NoSuchAccount(_)) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: AuthError) -> GateError {
    GateError(error.to_string())
}

//! What the S3 front end asks of accounts and policy.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use terrane_auth::policy::{OwnerSays, RequestContext, Resource, Target};
use terrane_auth::{Auth, AuthError, Credential, Throttled};
use terrane_s3::{Gate, GateError, Question};
use terrane_types::{AccessKeyId, AccountId};

/// [`Auth`] in the words of the S3 front end.
pub struct AuthGate(pub Auth);

#[async_trait]
impl Gate for AuthGate {
    async fn credential(&self, access_key: &str) -> Result<Option<Arc<Credential>>, GateError> {
        // What is no key ID is nobody's.
        let Ok(id) = AccessKeyId::parse(access_key) else { return Ok(None) };
        self.0.lookup(&id).await.map_err(|error| GateError(error.to_string()))
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
        let decision = self.0.authorize(question.principal, question.action, &resource, &context).await;
        Ok(decision.map_err(|error| GateError(error.to_string()))?.allowed)
    }

    fn admit(&self, account: &AccountId) -> Result<(), Throttled> {
        self.0.admit(account, 1)
    }

    async fn account_exists(&self, account: &AccountId) -> Result<bool, GateError> {
        match self.0.account(account).await {
            Ok(_) => Ok(true),
            Err(AuthError::NoSuchAccount(_)) => Ok(false),
            Err(error) => Err(GateError(error.to_string())),
        }
    }
}

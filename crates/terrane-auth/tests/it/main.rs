//! The crate as its callers use it, over a store in memory; and against botocore, the signer that most
//! clients share.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authentication;
mod authorization;
mod botocore;
mod directory;
mod root;

use std::time::{Duration, SystemTime};

use terrane_auth::keys::MasterKey;
use terrane_auth::policy::RequestContext;
use terrane_auth::{Auth, AuthConfig, Identity, KeyService, UserName};
use terrane_store::Store;
use terrane_types::AccountId;

/// Two handles of one store, as two processes have them.
struct Installation {
    store: Store,
    keys: KeyService,
}

impl Installation {
    async fn new() -> Self {
        let store = Store::memory();
        let keys = KeyService::ephemeral(store.clone(), MasterKey::random()).await.unwrap();
        Self { store, keys }
    }

    fn auth(&self, config: AuthConfig) -> Auth {
        Auth::new(self.store.clone(), self.keys.clone(), config)
    }
}

async fn fresh() -> Auth {
    Installation::new().await.auth(AuthConfig::default())
}

async fn account(auth: &Auth) -> AccountId {
    auth.create_account("test").await.unwrap().id
}

async fn user(auth: &Auth, account: &AccountId, name: &str) -> Identity {
    let name = UserName::parse(name).unwrap();
    auth.create_user(account, &name).await.unwrap();
    Identity::user(account.clone(), name)
}

fn context() -> RequestContext {
    RequestContext { source_ip: None, secure_transport: false, now: SystemTime::now() }
}

const HOUR: Duration = Duration::from_secs(3600);

//! A server on a free port, in a runtime of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use terrane_auth::{Credential, Identity, Principal, Secret, Throttled};
use terrane_objects::model::ModelStore;
use terrane_s3::{Gate, GateError, Question, S3Config, S3Front};
use terrane_types::{AccessKeyId, AccountId};

use crate::signer::Key;
use crate::wire::{Call, Reply};

/// Accounts 1 to 3 with one key each; account 3 has used its rate limit up.
struct Accounts;

fn number(text: &str, prefix: &str) -> Option<u8> {
    text.strip_prefix(prefix)?.parse().ok().filter(|n| (1..=3).contains(n))
}

#[async_trait]
impl Gate for Accounts {
    async fn credential(&self, access_key: &str) -> Result<Option<Arc<Credential>>, GateError> {
        let Some(n) = number(access_key, "TESTACCESSKEY000") else { return Ok(None) };
        Ok(Some(Arc::new(Credential {
            id: AccessKeyId::parse(access_key).unwrap(),
            identity: Identity::root(AccountId::parse(&format!("{n:012}")).unwrap()),
            secret: Secret::new(format!("secret{n}")),
            expires: None,
        })))
    }

    async fn allows(&self, question: Question<'_>) -> Result<bool, GateError> {
        let own = match question.principal {
            Principal::Known(identity) => identity.account == *question.owner,
            Principal::Anonymous => false,
        };
        Ok(own || question.granted)
    }

    fn admit(&self, account: &AccountId) -> Result<(), Throttled> {
        match account.as_str() {
            "000000000003" => Err(Throttled { retry_after: std::time::Duration::from_millis(1500) }),
            _ => Ok(()),
        }
    }

    async fn account_exists(&self, account: &AccountId) -> Result<bool, GateError> {
        Ok(number(account.as_str(), "00000000000").is_some())
    }
}

/// A running server; stops when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(S3Config::default())
    }

    pub(crate) fn with(config: S3Config) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::new(ModelStore::default());
        let front = S3Front::new(store, Arc::new(Accounts), config, &mut Registry::default()).unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let front = front.clone();
                tokio::spawn(async move {
                    let mut http = hyper::server::conn::http1::Builder::new();
                    // Clients that break off are part of the tests.
                    let _ = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), front).await;
                });
            }
        });
        Self { address, _runtime: runtime }
    }

    /// A request of account 1.
    pub(crate) fn call<'a>(&self, method: &'a str, target: &'a str) -> Call<'a> {
        Call::new(self.address, method, target).key(Key::of(1))
    }

    /// A server with an empty bucket named `bucket`.
    pub(crate) fn with_bucket() -> Self {
        let server = Self::start();
        server.call("PUT", "/bucket").send().expect(200);
        server
    }

    pub(crate) fn put(&self, target: &str, body: &[u8]) -> Reply {
        let reply = self.call("PUT", target).body(body).send();
        reply.expect(200);
        reply
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        self.call("GET", target).send()
    }

    pub(crate) fn versioned(&self) {
        let document = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>";
        self.call("PUT", "/bucket?versioning").body(document.as_bytes()).send().expect(200);
    }
}

//! Serves the S3 front end over the in-memory object service, for trying clients and test suites:
//! `cargo run -p terrane-s3 --example s3_model_server -- 127.0.0.1:9000`.
//!
//! Accounts 1 to 6 have the keys `TERRANEMODELKEY0001` … with the secrets `secret0001` …

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use terrane_auth::{Credential, Identity, Principal, Secret, Throttled};
use terrane_objects::model::ModelStore;
use terrane_s3::{Gate, GateError, Question, S3Config, S3Front};
use terrane_types::{AccessKeyId, AccountId};

/// Six accounts, each of which may do everything with what is its own.
struct SixAccounts;

fn number(text: &str, prefix: &str) -> Option<u8> {
    text.strip_prefix(prefix)?.parse().ok().filter(|n| (1..=6).contains(n))
}

#[async_trait]
impl Gate for SixAccounts {
    async fn credential(&self, access_key: &str) -> Result<Option<Arc<Credential>>, GateError> {
        let Some(n) = number(access_key, "TERRANEMODELKEY") else { return Ok(None) };
        let account = AccountId::parse(&format!("{n:012}")).map_err(|e| GateError(e.to_string()))?;
        Ok(Some(Arc::new(Credential {
            id: AccessKeyId::parse(access_key).map_err(|e| GateError(e.to_string()))?,
            identity: Identity::root(account),
            secret: Secret::new(format!("secret{n:04}")),
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

    fn admit(&self, _: &AccountId) -> Result<(), Throttled> {
        Ok(())
    }

    async fn account_exists(&self, account: &AccountId) -> Result<bool, GateError> {
        Ok(number(account.as_str(), "00000000000").is_some())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen: SocketAddr = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:9000").parse()?;
    let config = S3Config { domains: vec!["localhost".into()], ..S3Config::default() };
    let store = Arc::new(ModelStore::default());
    let front = S3Front::new(store, Arc::new(SixAccounts), config, &mut Registry::default())?;
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let front = front.clone();
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            let connection = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), front);
            if let Err(error) = connection.await {
                eprintln!("connection: {error}");
            }
        });
    }
}

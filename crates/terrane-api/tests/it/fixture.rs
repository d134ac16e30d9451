//! A front door on a free port.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use terrane_api::{
    App, AuthGate, Ec2Door, FrontDoor, FrontMetrics, Installation, Native, Server, ServerConfig, Sts, Tls,
    Volumes,
};
use terrane_auth::sigv4::{Body, Signer};
use terrane_auth::{Auth, AuthConfig, KeyService, NewAccessKey, Secret};
use terrane_ec2::model::{Model, Pace};
use terrane_ec2::{Ec2, Ec2Config};
use terrane_objects::model::ModelStore;
use terrane_s3::{S3Config, S3Front};
use terrane_store::Store;
use terrane_telemetry::Metrics;
use terrane_telemetry::audit::{AuditConfig, AuditLog, AuditMetrics};
use terrane_telemetry::health::HealthRegistry;
use terrane_telemetry::history::{History, HistoryConfig};
use terrane_types::Region;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::volumes::Admin;

pub(crate) const DOMAIN: &str = "s3.terrane.test";

/// A running front door and everything behind it.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) closing: CancellationToken,
    pub(crate) auth: Auth,
    pub(crate) root: NewAccessKey,
    pub(crate) audit: AuditLog,
    pub(crate) health: HealthRegistry,
    pub(crate) history: History,
    pub(crate) metrics: Metrics,
    pub(crate) volumes: Arc<Model>,
    pub(crate) http: reqwest::Client,
    pub(crate) dir: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(ServerConfig::default(), AuthConfig::default(), None).await
    }

    pub(crate) async fn with(server: ServerConfig, auth: AuthConfig, tls: Option<Arc<Tls>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::memory();
        let keys = KeyService::open(store.clone(), &dir.path().join("master.key")).await.unwrap();
        let auth = Auth::new(store.clone(), keys, auth);
        let root = auth.ensure_root().await.unwrap().key.unwrap();
        let metrics = Metrics::new();
        let audit_metrics = metrics.with(AuditMetrics::register);
        let audit = AuditLog::open(&dir.path().join("audit"), AuditConfig::default(), audit_metrics).unwrap();
        let history = History::open(&dir.path().join("metrics"), &HistoryConfig::default()).unwrap();
        let health = HealthRegistry::default();
        let objects = Arc::new(ModelStore::new());
        let s3_config = S3Config { domains: vec![DOMAIN.to_owned()], ..S3Config::default() };
        let gate = Arc::new(AuthGate(auth.clone()));
        let s3 = metrics.with(|registry| S3Front::new(objects.clone(), gate, s3_config, registry)).unwrap();
        let closing = CancellationToken::new();
        let volumes = Arc::new(Model::new(&Region::us_east_1(), Pace::AtOnce));
        let native = Native::new(App {
            auth: auth.clone(),
            objects,
            store,
            metrics: metrics.clone(),
            history: history.clone(),
            health: health.clone(),
            installation: installation(dir.path()),
            snapshots: None,
            volumes: Some(Volumes { service: volumes.clone(), admin: Arc::new(Admin(volumes.clone())) }),
            closing: closing.clone(),
        });
        let front_metrics = metrics.with(FrontMetrics::register);
        let door = FrontDoor {
            s3,
            native,
            sts: Sts::new(auth.clone()),
            ec2: Some(Ec2Door::new(auth.clone(), ec2(&volumes))),
            ebs: None,
            audit: audit.clone(),
            metrics: front_metrics.clone(),
            domains: vec![DOMAIN.to_owned()],
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(listener, tls, server, front_metrics, Arc::new(door)).unwrap();
        // Fails only if another test did it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { server, closing, auth, root, audit, health, history, metrics, volumes, http, dir }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Signs with the root's key.
    pub(crate) fn signer(&self, service: &'static str) -> Signer {
        signer(&self.root, service)
    }

    /// An unsigned request.
    pub(crate) async fn plain(&self, method: Method, path: &str) -> Answer {
        Answer::of(self.http.request(method, self.url(path)).send().await.unwrap()).await
    }

    /// A signed request.
    pub(crate) async fn signed(&self, signer: &Signer, method: Method, path: &str, body: &[u8]) -> Answer {
        Answer::of(self.send(signer, method, path, body).await).await
    }

    pub(crate) async fn send(
        &self,
        signer: &Signer,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> reqwest::Response {
        let mut request = http::Request::builder().method(method).uri(self.url(path));
        let kind = match body.first() {
            Some(b'{') => Some("application/json"),
            Some(b'A') if body.starts_with(b"Action=") => Some("application/x-www-form-urlencoded"),
            _ => None,
        };
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let (mut parts, body) = request.body(body.to_vec()).unwrap().into_parts();
        signer.sign(&mut parts, Body::Bytes(&body), SystemTime::now()).unwrap();
        let request: reqwest::Request = http::Request::from_parts(parts, body).try_into().unwrap();
        self.http.execute(request).await.unwrap()
    }

    /// Opens the stream of completions behind a cursor. Its head has come: the call is in progress.
    pub(crate) async fn events(&self, after: &str) -> reqwest::Response {
        let request = http::Request::get(self.url("/_terrane/v1/completions"))
            .header("accept", "text/event-stream")
            .header("last-event-id", after);
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        self.signer("terrane").sign(&mut parts, Body::Bytes(b""), SystemTime::now()).unwrap();
        let request: reqwest::Request = http::Request::from_parts(parts, "").try_into().unwrap();
        let response = self.http.execute(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response
    }

    /// A native call of the root.
    pub(crate) async fn native(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.signed(&self.signer("terrane"), method, path, body.as_bytes()).await
    }

    /// The audit log's lines; nothing is written afterwards.
    pub(crate) fn audit_lines(&self) -> Vec<Value> {
        self.audit.close();
        let mut lines = Vec::new();
        for entry in std::fs::read_dir(self.dir.path().join("audit")).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
        lines
    }
}

pub(crate) fn signer(key: &NewAccessKey, service: &'static str) -> Signer {
    let secret = Secret::new(key.secret.expose().to_owned());
    Signer::new(key.key.id.clone(), secret, Region::us_east_1(), service)
}

fn installation(dir: &Path) -> Installation {
    Installation {
        region: "us-east-1".to_owned(),
        roles: vec!["api".to_owned()],
        backup_dir: dir.join("backups"),
        started: Instant::now(),
    }
}

fn ec2(volumes: &Arc<Model>) -> Ec2 {
    let config =
        Ec2Config { region: Region::us_east_1(), endpoint: "127.0.0.1".to_owned(), attachments_max: 128 };
    Ec2::new(volumes.clone(), config)
}

/// An answer that has arrived.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {self:?}")).to_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a problem document.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["request_id"], self.header("x-amz-request-id"));
        problem["type"].as_str().unwrap().strip_prefix("urn:terrane:problem:").unwrap().to_owned()
    }
}

/// Longest time to wait for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

//! HTTPS, and a certificate that is replaced under way.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use terrane_api::{ServerConfig, Tls, TlsFiles};
use terrane_auth::AuthConfig;

use crate::fixture::{Fixture, PATIENCE};

fn write_pair(dir: &Path) -> (TlsFiles, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    fs::write(&files.cert, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.pem())
}

fn client(trusted: &str) -> reqwest::Client {
    let certificate = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap()
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (files, first) = write_pair(dir.path());
    let tls = Arc::new(Tls::load(files).unwrap());
    let config = ServerConfig { certificate_check: Duration::from_millis(20), ..ServerConfig::default() };
    let door = Fixture::with(config, AuthConfig::default(), Some(tls)).await;
    let url = format!("https://{}/_terrane/health", door.address());
    assert_eq!(client(&first).get(&url).send().await.unwrap().status(), 200);

    let (_, second) = write_pair(dir.path());
    let replaced = async {
        while client(&second).get(&url).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, replaced).await.expect("the new certificate is never used");
    assert!(client(&first).get(&url).send().await.is_err(), "the old certificate is still in use");
}

#[tokio::test]
async fn plain_http_on_a_port_with_https_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(dir.path());
    let tls = Arc::new(Tls::load(files).unwrap());
    let door = Fixture::with(ServerConfig::default(), AuthConfig::default(), Some(tls)).await;
    let answer = door.plain(http::Method::GET, "/_terrane/health").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("https://"), "{answer:?}");
}

//! Webhooks against a server of a few lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use terrane_objects::ObjectsConfig;
use terrane_objects::notify::{SecretKeeper, WEBHOOK_SETTING, WebhookHosts};
use terrane_objects::service::{BucketChange, ObjectError, ObjectService};
use terrane_types::AccountId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::rig::*;

const SECRET: &str = "0123456789abcdef";

/// Turns bits over.
struct Keeper;

#[async_trait::async_trait]
impl SecretKeeper for Keeper {
    async fn seal(&self, owner: &AccountId, place: &str, secret: &[u8]) -> Result<Vec<u8>, String> {
        assert!(*owner == account() && place.len() == 16);
        Ok(secret.iter().map(|byte| !byte).collect())
    }

    async fn open(&self, owner: &AccountId, place: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
        self.seal(owner, place, sealed).await
    }
}

fn hooked(dir: &std::path::Path, hosts: &[&str]) -> ObjectsConfig {
    let webhook_hosts = WebhookHosts::parse(hosts).unwrap();
    ObjectsConfig { webhook_hosts, secrets: Some(Arc::new(Keeper)), ..config(dir) }
}

struct Received {
    headers: String,
    body: Vec<u8>,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let line = self.headers.lines().find(|line| line.to_lowercase().starts_with(name));
        line.unwrap().split_once(": ").unwrap().1
    }

    fn key(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["Records"][0]["s3"]["object"]["key"].as_str().unwrap().into()
    }

    fn verify(&self) {
        let signature = self.header("x-terrane-signature");
        let (seconds, sum) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{seconds}.").as_bytes());
        mac.update(&self.body);
        mac.verify_slice(&hex::decode(sum).unwrap()).unwrap();
    }
}

/// Answers 500 as often as told, then 200; gives what it answered 200 to.
async fn serve(failures: Arc<AtomicUsize>) -> (String, mpsc::UnboundedReceiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (sender, failures) = (sender.clone(), failures.clone());
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n");
                    if let Some(head) = head {
                        let headers = String::from_utf8(bytes[..head].to_vec()).unwrap();
                        let length = headers.lines().find(|l| l.to_lowercase().starts_with("content-length"));
                        let length: usize = length.unwrap().split_once(": ").unwrap().1.parse().unwrap();
                        if bytes.len() >= head + 4 + length {
                            let body = bytes.split_off(head + 4);
                            let fails = failures
                                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                            let status = if fails.is_ok() { "500 No" } else { "200 OK" };
                            let answer = format!(
                                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                            );
                            socket.write_all(answer.as_bytes()).await.unwrap();
                            if fails.is_err() {
                                sender.send(Received { headers, body }).unwrap();
                            }
                            return;
                        }
                    }
                    if socket.read_buf(&mut bytes).await.unwrap() == 0 {
                        return;
                    }
                }
            });
        }
    });
    (url, receiver)
}

#[test]
fn completions_reach_the_webhook_signed_and_despite_its_failures() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let failures = Arc::new(AtomicUsize::new(2));
        let (url, mut received) = serve(failures).await;
        let store = open(hooked(dir.path(), &["127.0.0.1"])).await;
        let b = bucket(store.clone(), "bucket").await;
        b.put("before", &pattern(1, 1)).await;
        let events = r#"["s3:ObjectCreated:*"]"#;
        let setting = format!(r#"{{"url":"{url}","secret":"{SECRET}","events":{events},"prefix":"in/"}}"#);
        let change = BucketChange::Setting(WEBHOOK_SETTING.into(), Some(setting.into()));
        let info = store.change_bucket(&b.info, change).await.unwrap();
        let stored = String::from_utf8_lossy(&info.settings[WEBHOOK_SETTING]);
        assert!(stored.contains("in/") && !stored.contains(SECRET), "{stored}");
        // Whether the webhook is attended already shows in its first delivery.
        let first = loop {
            b.put("in/first", &pattern(1, 1)).await;
            tokio::select! {
                first = received.recv() => break first.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        };
        first.verify();
        assert_eq!(first.key(), "in/first");
        assert!(first.header("x-terrane-idempotency-key").len() > 20);
        b.put("out/of/scope", &pattern(1, 1)).await;
        b.put("in/a b", &pattern(7, 1)).await;
        b.delete("in/a b").await;
        b.put("in/last", &pattern(1, 1)).await;
        let mut keys = Vec::new();
        while !keys.contains(&"in/last".to_owned()) || !keys.contains(&"in/a+b".to_owned()) {
            let next = received.recv().await.unwrap();
            next.verify();
            keys.push(next.key());
        }
        assert!(keys.iter().all(|key| key.starts_with("in/")), "{keys:?}");
        store.close().await;
    });
}

#[test]
fn webhooks_into_the_operators_network_or_without_a_keeper_are_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hook = |url: &str| {
        let setting = format!(r#"{{"url":"{url}","secret":"{SECRET}"}}"#);
        BucketChange::Setting(WEBHOOK_SETTING.into(), Some(setting.into()))
    };
    run(async {
        let store = open(hooked(dir.path(), &["10.0.0.0/8"])).await;
        let b = bucket(store.clone(), "bucket").await;
        for url in
            ["http://127.0.0.1/x", "http://169.254.169.254/latest", "https://[::1]:7/", "http://192.168.1.1"]
        {
            let refused = store.change_bucket(&b.info, hook(url)).await;
            assert!(matches!(refused, Err(ObjectError::Refused(_))), "{url}: {refused:?}");
        }
        store.change_bucket(&b.info, hook("http://10.1.2.3/x")).await.unwrap();
        let forged = br#"{"url":"http://10.1.2.3/","sealed":"00"}"#;
        let forged = BucketChange::Setting(WEBHOOK_SETTING.into(), Some(forged[..].into()));
        assert!(store.change_bucket(&b.info, forged).await.is_err());
        store.close().await;
        let store = open(config(other.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        let refused = store.change_bucket(&b.info, hook("https://example.com/")).await;
        assert!(matches!(refused, Err(ObjectError::Unavailable(_))), "{refused:?}");
        store.close().await;
    });
}

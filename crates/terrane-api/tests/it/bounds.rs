//! Bounds of connections and requests; a graceful end.

use std::time::Duration;

use http::Method;
use terrane_api::ServerConfig;
use terrane_auth::{AuthConfig, RateLimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{Fixture, PATIENCE};

/// Sends bytes and reads until the server ends the connection.
async fn talk(door: &Fixture, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(door.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("no end"));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_are_bounded_in_bytes_lines_and_time() {
    let config = ServerConfig {
        head_bytes_max: 16 << 10,
        headers_max: 20,
        head_timeout: Duration::from_millis(300),
        ..ServerConfig::default()
    };
    let door = Fixture::with(config, AuthConfig::default(), None).await;
    let long = format!("GET /_terrane/health HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(40 << 10));
    assert!(talk(&door, long.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET /_terrane/health HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(30));
    assert!(talk(&door, many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    // A head that never ends: the connection does.
    talk(&door, b"GET /_terrane/health HTTP/1.1\r\nhost:").await;
    assert_eq!(door.plain(Method::GET, "/_terrane/health").await.status, 200);
}

#[tokio::test]
async fn native_bodies_are_bounded() {
    let door = Fixture::new().await;
    let body = vec![b' '; (1 << 20) + 1];
    let answer = door.signed(&door.signer("terrane"), Method::POST, "/_terrane/v1/accounts", &body).await;
    assert_eq!((answer.status, &*answer.problem()), (413, "body-too-large"));
}

#[tokio::test]
async fn accounts_are_limited_each() {
    let limit = RateLimit { per_second: 1, burst: 3 };
    let auth = AuthConfig { default_rate_limit: Some(limit), ..AuthConfig::default() };
    let door = Fixture::with(ServerConfig::default(), auth, None).await;
    let mut refused = None;
    for _ in 0..5 {
        let answer = door.native(Method::GET, "/_terrane/v1/whoami", None).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the fifth request passes a limit of three");
    assert_eq!((refused.status, &*refused.problem()), (429, "slow-down"));
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    // Whoever asks without an account is not charged to one.
    assert_eq!(door.plain(Method::GET, "/_terrane/health").await.status, 200);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let config = ServerConfig { connections_max: 1, ..ServerConfig::default() };
    let door = Fixture::with(config, AuthConfig::default(), None).await;
    let first = TcpStream::connect(door.address()).await.unwrap();
    let second = tokio::spawn({
        let (http, url) = (door.http.clone(), door.url("/_terrane/health"));
        async move { http.get(url).send().await.unwrap().status() }
    });
    // The server takes the first one, so that the second waits.
    let metrics = door.metrics.clone();
    while !metrics.render().contains("terrane_front_connections 1\n") {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap(), 200);
}

#[tokio::test]
async fn a_stop_ends_streams_and_cuts_what_never_ends() {
    let door = Fixture::new().await;
    let stream = door.events("0").await;
    // A request whose body is never complete.
    let mut stuck = TcpStream::connect(door.address()).await.unwrap();
    stuck
        .write_all(b"PUT /_terrane/v1/queues HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab")
        .await
        .unwrap();
    while !door.metrics.render().contains("terrane_front_connections 2\n") {
        tokio::task::yield_now().await;
    }
    door.closing.cancel();
    let (rest, graceful) = tokio::join!(stream.text(), door.server.stop(Duration::from_secs(2)));
    assert_eq!(rest.unwrap(), "", "the stream ends in order");
    assert!(!graceful, "the stuck request had to be cut");
    assert!(TcpStream::connect(door.address()).await.is_err(), "nobody listens any more");
}

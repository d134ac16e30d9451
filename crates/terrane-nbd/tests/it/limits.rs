//! Crowds, guesses and sockets.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use terrane_nbd::{ConnectionError, ListenError, Listener, Server, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, GO, INFO, server_of};
use crate::probe::Probe;
use crate::site::Site;

const ERR_POLICY: u32 = (1 << 31) + 2;
const ERR_UNKNOWN: u32 = (1 << 31) + 6;
const DISK: &[u8] = b"\0\0\0\x04disk\0\0";

fn server(config: ServerConfig) -> Arc<Server> {
    server_of(Probe::open(1 << 20), config)
}

fn impatient() -> Arc<Server> {
    server(ServerConfig { handshake_timeout: Duration::from_millis(100), ..ServerConfig::default() })
}

#[tokio::test]
async fn a_client_that_says_nothing_is_left() {
    let client = Client::connect(&impatient(), 4096).await;
    assert!(matches!(client.served.await.unwrap(), Err(ConnectionError::Timeout)));
}

#[tokio::test]
async fn a_client_that_says_little_is_left_as_well() {
    let mut client = Client::connect(&impatient(), 16).await;
    // The same option over and over, byte by byte, for as long as the server listens.
    for byte in b"IHAVEOPT\0\0\0\x03\0\0\0\0".iter().cycle() {
        if client.stream.write_u8(*byte).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(client.served.await.unwrap(), Err(ConnectionError::Timeout)));
}

#[tokio::test]
async fn thousands_of_half_open_connections_do_not_keep_others_out() {
    let server = server(ServerConfig { handshakes_max: 16, ..ServerConfig::default() });
    let mut crowd = Vec::new();
    for _ in 0..3000 {
        crowd.push(Client::connect(&server, 64).await);
    }
    let mut client = Client::connect(&server, 4096).await;
    assert_eq!(client.option(GO, DISK).await, 1);
    let mut left = 0;
    for half_open in crowd {
        left += usize::from(!half_open.served.is_finished());
    }
    assert!(left <= 16, "{left} are still there");
}

#[tokio::test]
async fn connections_in_transmission_are_bounded() {
    let server = server(ServerConfig { connections_max: 2, ..ServerConfig::default() });
    let mut clients = Vec::new();
    for expected in [1, 1, ERR_POLICY] {
        let mut client = Client::connect(&server, 4096).await;
        assert_eq!(client.option(GO, DISK).await, expected);
        clients.push(client);
    }
    // One leaves: its place is free.
    let mut waiting = clients.pop().unwrap();
    let leaving = clients.pop().unwrap();
    drop(leaving.stream);
    leaving.served.await.unwrap().unwrap();
    assert_eq!(waiting.option(GO, DISK).await, 1);
}

#[tokio::test]
async fn guessing_is_slow_and_using_a_known_name_is_not() {
    let server = server(ServerConfig {
        guesses_burst: 4,
        guesses_pause: Duration::from_secs(3600),
        handshake_timeout: Duration::from_secs(2),
        ..ServerConfig::default()
    });
    for _ in 0..50 {
        let mut client = Client::connect(&server, 4096).await;
        assert_eq!(client.option(GO, DISK).await, 1);
    }
    for _ in 0..2 {
        let mut client = Client::connect(&server, 4096).await;
        for _ in 0..2 {
            assert_eq!(client.option(INFO, b"\0\0\0\x02no\0\0").await, ERR_UNKNOWN);
        }
    }
    // The fifth guess would have to wait for an hour.
    let mut client = Client::connect(&server, 4096).await;
    client.send_option(INFO, b"\0\0\0\x02no\0\0").await;
    assert!(matches!(client.ended().await, Err(ConnectionError::Timeout)));
}

#[tokio::test]
async fn a_server_that_goes_down_refuses_and_says_so() {
    let mut client = Client::connect(&server(ServerConfig::default()), 4096).await;
    client.stop.cancel();
    assert_eq!(client.option(GO, DISK).await, (1 << 31) + 7);
}

#[tokio::test]
async fn a_unix_socket_is_its_users_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = Listener::unix(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Listener::unix(&path), Err(ListenError::Bind { .. })), "somebody listens there");
    drop(listener);
    assert!(!path.exists());

    // Left behind by a process that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Listener::unix(&path).unwrap());

    std::fs::write(&path, "precious").unwrap();
    assert!(Listener::unix(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn plain_tcp_stays_on_loopback() {
    let server = server(ServerConfig::default());
    for exposed in ["0.0.0.0:0", "[::]:0", "192.0.2.1:10809"] {
        let refused = server.listen_tcp(exposed.parse().unwrap()).await;
        assert!(matches!(refused, Err(ListenError::Exposed(_))), "{exposed}");
    }
    let listener = server.listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(listener, stop.clone()));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    assert_eq!(stream.read_u64().await.unwrap(), 0x4e42_444d_4147_4943);
    stop.cancel();
    drop(stream);
    running.await.unwrap();
}

#[tokio::test]
async fn a_stopped_server_has_no_connections_left() {
    let site = Site::new();
    site.add("disk", Probe::open(1 << 20));
    let mut stream = tokio::net::UnixStream::connect(site.socket()).await.unwrap();
    stream.read_u64().await.unwrap();
    let socket = site.socket().to_owned();
    drop(stream);
    site.stop().await;
    assert!(!socket.exists());
}

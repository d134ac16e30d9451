//! The crate's own client: against its own server, and through restarts of that.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use terrane_nbd::client::{Client, ClientOptions, ClientTls, ConnectError, Target};
use terrane_nbd::{ErrorCode, Export, ExportInfo, ExtentKind, Listener, MemoryExport, Piece, ZeroOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::client::server_of;
use crate::site::Site;
use crate::tls;

const MIB: u64 = 1 << 20;

fn options(reconnect_for: Duration) -> ClientOptions {
    ClientOptions { reconnect_for, ..ClientOptions::default() }
}

async fn connect(uri: &str) -> Result<Client, ConnectError> {
    Client::connect(Target::parse(uri, None)?, options(Duration::from_secs(20))).await
}

#[tokio::test]
async fn every_command_reaches_the_export() {
    let site = Site::new();
    let export = Arc::new(MemoryExport::new(8 * MIB));
    site.add("disk", export.clone());
    let client = connect(&site.uri("disk")).await.unwrap();
    assert_eq!(client.info(), export.info());
    let data = Bytes::from((0..MIB as usize).map(|n| (n ^ (n >> 8)) as u8).collect::<Vec<u8>>());
    client.write(4097, data.clone(), true).await.unwrap();
    assert!(client.read(4097, MIB as u32).await.unwrap() == data);
    let pieces = client.read_pieces(0, 8192).await.unwrap();
    assert_eq!(pieces[0], Piece::Zeroes(4096));
    client.flush().await.unwrap();
    client.cache(0, MIB).await.unwrap();
    client.trim(0, 4 * MIB, false).await.unwrap();
    assert_eq!(export.allocated(), 0);
    client.write(0, Bytes::from(vec![1; 8192]), false).await.unwrap();
    client.write_zeroes(0, 4096, ZeroOptions::default()).await.unwrap();
    let extents = client.block_status(0, 8 * MIB, 10).await.unwrap();
    let kinds: Vec<_> = extents.iter().map(|extent| (extent.len, extent.kind)).collect();
    assert_eq!(kinds[..2], [(4096, ExtentKind::Hole), (4096, ExtentKind::Data)]);
    let beyond = client.read(8 * MIB, 512).await.unwrap_err();
    assert_eq!(beyond.code, ErrorCode::Invalid);
}

#[tokio::test]
async fn refusals_have_reasons() {
    let site = Site::new();
    let info = ExportInfo { read_only: true, ..ExportInfo::new(MIB) };
    site.add("disk", Arc::new(MemoryExport::with_info(info)));
    let unknown = connect(&site.uri("other")).await;
    assert!(matches!(unknown, Err(ConnectError::Refused { option: "the export", .. })), "{unknown:?}");
    let client = connect(&site.uri("disk")).await.unwrap();
    let refused = client.write(0, Bytes::from(vec![0; 512]), false).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotPermitted);
}

#[tokio::test]
async fn over_tls() {
    let (site, export) = tls::site().await;
    let file = |name: &str| site.path(name).into();
    let files =
        ClientTls { cert: file("client-cert.pem"), key: file("client-key.pem"), ca: file("ca-cert.pem") };
    let uri = format!("nbds://localhost:{}/disk", site.tcp.unwrap().port());
    let target = Target::parse(&uri, Some(&files)).unwrap();
    let client = Client::connect(target, ClientOptions::default()).await.unwrap();
    client.write(0, Bytes::from(vec![7; 4096]), false).await.unwrap();
    assert_eq!(export.allocated(), 4096);
    assert!(client.read(0, 4096).await.unwrap().iter().all(|byte| *byte == 7));
}

/// A relay before a server that cuts each connection after some bytes of answers: replies are lost anywhere.
async fn cutting_relay(listener: UnixListener, to: std::path::PathBuf, first: usize) {
    for allowed in (first..).step_by(997) {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = UnixStream::connect(&to).await.unwrap();
        let (mut near_read, mut near_write) = near.split();
        let (mut far_read, mut far_write) = far.split();
        let there = tokio::io::copy(&mut near_read, &mut far_write);
        let back = async {
            let mut left = allowed;
            let mut buffer = [0; 4096];
            while left > 0 {
                let most = left.min(buffer.len());
                let count = far_read.read(&mut buffer[..most]).await.unwrap();
                near_write.write_all(&buffer[..count]).await.unwrap();
                left -= count;
            }
        };
        tokio::select! {
            _ = there => {}
            () = back => {}
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_when_connections_break() {
    let site = Site::new();
    site.add("disk", Arc::new(MemoryExport::new(MIB)));
    let relay = site.dir.path().join("relay");
    let listener = UnixListener::bind(&relay).unwrap();
    let relaying = tokio::spawn(cutting_relay(listener, site.socket().to_owned(), 1000));
    let client = connect(&format!("nbd+unix:///disk?socket={}", relay.display())).await.unwrap();
    for round in 1..9_u8 {
        let writes = (0..64_u64).map(|n| {
            let data = Bytes::from(vec![round.wrapping_mul(n as u8 + 1); 1024]);
            client.write(n * 1024, data, n % 9 == 0)
        });
        assert!(join_all(writes).await.iter().all(Result::is_ok));
        let reads = (0..64_u64).map(|n| client.read(n * 1024, 1024));
        for (n, read) in join_all(reads).await.into_iter().enumerate() {
            assert!(read.unwrap().iter().all(|byte| *byte == round.wrapping_mul(n as u8 + 1)));
        }
    }
    assert!(client.reconnects() > 5, "{}", client.reconnects());
    relaying.abort();
}

#[tokio::test]
async fn a_server_that_does_not_come_back_ends_the_export() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let export = Arc::new(MemoryExport::new(MIB));
    let server = server_of(export, terrane_nbd::ServerConfig::default());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(server.run(Listener::unix(&socket).unwrap(), stop.clone()));
    let target = Target::unix(&socket, terrane_nbd::SecretName::new("disk"));
    let client = Client::connect(target, options(Duration::from_millis(200))).await.unwrap();
    client.read(0, 512).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    let ((), refused) = tokio::join!(client.gone(), client.read(0, 512));
    assert_eq!(refused.unwrap_err().code, ErrorCode::Shutdown);
    assert_eq!(client.flush().await.unwrap_err().code, ErrorCode::Shutdown);
}

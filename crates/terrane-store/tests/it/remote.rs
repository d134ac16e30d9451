//! What goes wrong between processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use terrane_store::remote::{RemoteConfig, RpcAddress, RpcListener, RpcServerConfig, RpcToken, serve_rpc};
use terrane_store::{Store, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::{JoinHandle, JoinSet};

use crate::conformance::{get, put};
use crate::history;

fn token() -> RpcToken {
    RpcToken::new(*b"secret of this test")
}

/// Ends the server when dropped.
pub(crate) struct Serving(JoinHandle<Result<(), StoreError>>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve_with(store: Store, config: RpcServerConfig) -> (RemoteConfig, Serving) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = RpcAddress::Tcp(listener.local_addr().unwrap());
    let serving = tokio::spawn(serve_rpc(store, RpcListener::Tcp(listener), config));
    (RemoteConfig::new(address, token()), Serving(serving))
}

async fn serve(store: Store) -> (RemoteConfig, Serving) {
    serve_with(store, RpcServerConfig::new(token())).await
}

/// An embedded store behind a TCP connection.
pub(crate) async fn open() -> (Store, (tempfile::TempDir, Serving)) {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Store::embedded(dir.path(), crate::small()).await.unwrap();
    let (config, serving) = serve(embedded).await;
    (Store::remote(config).await.unwrap(), (dir, serving))
}

#[tokio::test]
async fn strangers_are_refused() {
    let (config, _serving) = serve(Store::memory()).await;
    let wrong = RemoteConfig { token: RpcToken::new(*b"guess"), ..config.clone() };
    let refused = Store::remote(wrong).await;
    assert!(
        matches!(&refused, Err(StoreError::Config(why)) if why.contains("not authorised")),
        "{refused:?}"
    );
    assert!(!format!("{config:?}").contains("secret"), "tokens are not shown");
}

#[tokio::test]
async fn unix_sockets_serve_as_well_and_the_network_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let config = RpcServerConfig::new(token());
    let serving = tokio::spawn(serve_rpc(Store::memory(), RpcListener::Unix(listener), config.clone()));
    let _serving = Serving(serving);
    let store = Store::remote(RemoteConfig::new(RpcAddress::Unix(path), token())).await.unwrap();
    put(&store, b"k", b"v").await;
    assert_eq!(get(&store, b"k").await.as_deref(), Some(&b"v"[..]));
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve_rpc(Store::memory(), RpcListener::Tcp(open), config.clone()).await;
    assert!(matches!(refused, Err(StoreError::Config(_))));
    let loopback = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let twice = serve_rpc(store, RpcListener::Tcp(loopback), config).await;
    assert!(matches!(twice, Err(StoreError::Config(_))), "a remote store is not served on");
}

#[tokio::test]
async fn newer_protocols_and_garbage_are_refused_and_harm_nobody() {
    let (config, _serving) = serve(Store::memory()).await;
    let RpcAddress::Tcp(address) = config.address else { unreachable!() };
    let good = Store::remote(config).await.unwrap();
    // A client that speaks only protocols 7 to 9, with the right token.
    let mut hello = b"\x01TERRSTOR\x07\x09\x13secret of this test".to_vec();
    hello.splice(0..0, u32::try_from(hello.len()).unwrap().to_be_bytes());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("protocol 1"), "{answer:?}");
    for garbage in [&[0xff; 64][..], &[0, 0, 0, 0], &[0, 0, 0, 5, 1, 2, 3, 4, 5], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        // The server hangs up, with or without a word.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    put(&good, b"k", b"v").await;
    assert_eq!(get(&good, b"k").await.as_deref(), Some(&b"v"[..]));
}

#[tokio::test]
async fn a_snapshot_expires_and_the_transaction_begins_again() {
    let short = RpcServerConfig { snapshot_ttl: Duration::from_millis(30), ..RpcServerConfig::new(token()) };
    let (config, _serving) = serve_with(Store::memory(), short).await;
    let store = Store::remote(config).await.unwrap();
    let attempts = AtomicU64::new(0);
    let attempts = &attempts;
    store
        .transact(|tx| async move {
            let first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
            tx.get(b"a").await?;
            // Until the server says that the snapshot is gone.
            if first {
                loop {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    tx.get(b"b").await?;
                }
            }
            tx.put(&b"a"[..], &b"1"[..]).await
        })
        .await
        .unwrap_or_else(|error: StoreError| panic!("{error}"));
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
}

/// Forwards to the server of the moment, and cuts connections at random moments while armed.
struct Cutter {
    server: Mutex<std::net::SocketAddr>,
    armed: AtomicBool,
    cuts: AtomicU64,
}

use parking_lot::Mutex;

impl Cutter {
    async fn start(server: &RemoteConfig) -> (Arc<Self>, RemoteConfig) {
        let RpcAddress::Tcp(address) = server.address else { unreachable!() };
        let cutter = Arc::new(Self {
            server: Mutex::new(address),
            armed: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = RpcAddress::Tcp(listener.local_addr().unwrap());
        let accepted = Arc::clone(&cutter);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cutter = Arc::clone(&accepted);
                tokio::spawn(async move {
                    let address = *cutter.server.lock();
                    if let Ok(server) = TcpStream::connect(address).await {
                        cutter.forward(client, server).await;
                    }
                });
            }
        });
        (cutter, RemoteConfig { address, ..server.clone() })
    }

    async fn forward(&self, mut client: TcpStream, mut server: TcpStream) {
        let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        for step in 0u64.. {
            // After some steps, in either direction: requests and answers are lost alike.
            if self.armed.load(Ordering::Relaxed) && step > 40 + self.cuts.load(Ordering::Relaxed) % 17 {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                return;
            }
            tokio::select! {
                read = client.read(&mut from_client) => {
                    let Ok(n @ 1..) = read else { return };
                    if server.write_all(&from_client[..n]).await.is_err() { return }
                }
                read = server.read(&mut from_server) => {
                    let Ok(n @ 1..) = read else { return };
                    if client.write_all(&from_server[..n]).await.is_err() { return }
                }
            }
        }
    }
}

async fn work_until(store: Store, recorder: history::Recorder, worker: u64, count: usize) {
    for round in 0.. {
        history::work(store.clone(), recorder.clone(), worker + 100 * round, 1).await;
        if recorder.acknowledged() >= count {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_over_lost_connections_happen_once() {
    let dir = tempfile::tempdir().unwrap();
    let direct = Store::embedded(dir.path(), crate::small()).await.unwrap();
    let (config, _serving) = serve(direct.clone()).await;
    let (cutter, config) = Cutter::start(&config).await;
    let store = Store::remote(config).await.unwrap();
    cutter.armed.store(true, Ordering::Relaxed);
    let recorder = history::Recorder::default();
    let mut tasks = JoinSet::new();
    for worker in 0..6 {
        tasks.spawn(work_until(store.clone(), recorder.clone(), worker, 400));
    }
    tasks.join_all().await;
    let done = history::check(&direct, &recorder).await;
    let cuts = cutter.cuts.load(Ordering::Relaxed);
    assert!(done >= 400 && cuts >= 10, "{done} commits, {cuts} cuts");
    assert_eq!(recorder.unknown(), 0, "everything could be settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_go_on_after_the_manager_has_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Store::embedded(dir.path(), crate::small()).await.unwrap();
    let (server, serving) = serve(embedded.clone()).await;
    let (cutter, config) = Cutter::start(&server).await;
    let store = Store::remote(config).await.unwrap();
    let recorder = history::Recorder::default();
    let mut tasks = JoinSet::new();
    for worker in 0..4 {
        tasks.spawn(work_until(store.clone(), recorder.clone(), worker, 300));
    }
    while recorder.acknowledged() < 100 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The process ends: its connections break, its memory is gone, its files stay.
    drop(serving);
    embedded.close().await.unwrap();
    drop(embedded);
    let embedded = loop {
        match Store::embedded(dir.path(), crate::small()).await {
            Ok(store) => break store,
            // Tasks of the old server are still going away.
            Err(error) => assert!(error.to_string().contains("open in another process"), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let (server, _serving) = serve(embedded.clone()).await;
    let RpcAddress::Tcp(address) = server.address else { unreachable!() };
    *cutter.server.lock() = address;
    tasks.join_all().await;
    assert!(history::check(&embedded, &recorder).await >= 300);
}

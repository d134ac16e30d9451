//! What goes wrong between the store and its server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use terrane_store::{PostgresConfig, Store, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::history;

fn config() -> PostgresConfig {
    PostgresConfig { poll_period: Duration::from_millis(10), ..Default::default() }
}

/// A new database on the shared server.
async fn database() -> (Arc<Cluster>, String) {
    tokio::task::spawn_blocking(Cluster::shared).await.unwrap()
}

pub(crate) async fn open() -> (Store, Arc<Cluster>) {
    let (cluster, name) = database().await;
    let store = Store::postgres(&Cluster::url(cluster.port(), &name), config()).await.unwrap();
    (store, cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_acknowledges_early_is_refused() {
    let (cluster, name) = database().await;
    let url = Cluster::url(cluster.port(), &name);
    let refused = Store::postgres(&format!("{url}&options=-c%20synchronous_commit%3Doff"), config()).await;
    assert!(
        matches!(&refused, Err(StoreError::Config(why)) if why.contains("synchronous_commit")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_have_one_store() {
    let (cluster, name) = database().await;
    let url = Cluster::url(cluster.port(), &name);
    let (a, b) = tokio::join!(Store::postgres(&url, config()), Store::postgres(&url, config()));
    let (a, b, c) = (a.unwrap(), b.unwrap(), Store::postgres(&url, config()).await.unwrap());
    assert!(a.incarnation() == b.incarnation() && b.incarnation() == c.incarnation());
    crate::conformance::put(&a, b"k", b"v").await;
    assert_eq!(crate::conformance::get(&b, b"k").await.as_deref(), Some(&b"v"[..]));
    assert_eq!(c.maintain().await.unwrap(), 0, "what is new is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_killed_under_load_loses_nothing() {
    let mut cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let store = Store::postgres(&Cluster::url(cluster.port(), "postgres"), config()).await.unwrap();
    let recorder = history::Recorder::default();
    let mut tasks = JoinSet::new();
    for worker in 0..6 {
        tasks.spawn(work_until_done(store.clone(), recorder.clone(), worker));
    }
    for round in 1..=2 {
        while recorder.acknowledged() < 80 * round {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let restarted = tokio::task::spawn_blocking(move || {
            cluster.kill();
            cluster.restart();
            cluster
        });
        cluster = restarted.await.unwrap();
    }
    tasks.join_all().await;
    let done = history::check(&store, &recorder).await;
    assert!(done >= 240, "only {done} commits");
}

/// Like any client: what fails for a while is tried again.
async fn work_until_done(store: Store, recorder: history::Recorder, worker: u64) {
    for round in 0.. {
        history::work(store.clone(), recorder.clone(), worker + 100 * round, 1).await;
        if recorder.acknowledged() >= 240 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Forwards connections; while armed it cuts every few connections at the COMMIT: half of the times
/// before the server gets it, half of the times before the client gets the answer.
struct Cutter {
    armed: AtomicBool,
    commits: AtomicU64,
    cut_before: AtomicU64,
    cut_after: AtomicU64,
}

impl Cutter {
    async fn start(server: u16) -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cutter = Arc::new(Self {
            armed: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            cut_before: AtomicU64::new(0),
            cut_after: AtomicU64::new(0),
        });
        let accepted = Arc::clone(&cutter);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cutter = Arc::clone(&accepted);
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    cutter.forward(client, server).await;
                });
            }
        });
        (cutter, port)
    }

    async fn forward(&self, mut client: TcpStream, mut server: TcpStream) {
        let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                read = client.read(&mut from_client) => {
                    let Ok(n @ 1..) = read else { return };
                    let commit = from_client[..n].windows(6).any(|text| text == b"COMMIT");
                    let nth = if commit && self.armed.load(Ordering::Relaxed) {
                        self.commits.fetch_add(1, Ordering::Relaxed) + 1
                    } else {
                        0
                    };
                    if nth % 10 == 5 {
                        self.cut_before.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    if server.write_all(&from_client[..n]).await.is_err() {
                        return;
                    }
                    if nth > 0 && nth % 10 == 0 {
                        // The server works on it, or has answered: nobody will read that.
                        self.cut_after.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                }
                read = server.read(&mut from_server) => {
                    let Ok(n @ 1..) = read else { return };
                    if client.write_all(&from_server[..n]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_cut_off_from_their_answer_happen_once_and_are_settled() {
    let (cluster, name) = database().await;
    let direct = Store::postgres(&Cluster::url(cluster.port(), &name), config()).await.unwrap();
    let (cutter, port) = Cutter::start(cluster.port()).await;
    let store = Store::postgres(&Cluster::url(port, &name), config()).await.unwrap();
    let recorder = history::Recorder::default();
    cutter.armed.store(true, Ordering::Relaxed);
    let mut tasks = JoinSet::new();
    for worker in 0..6 {
        tasks.spawn(work_until_done(store.clone(), recorder.clone(), worker));
    }
    tasks.join_all().await;
    let done = history::check(&direct, &recorder).await;
    let cuts = [&cutter.cut_before, &cutter.cut_after].map(|cuts| cuts.load(Ordering::Relaxed));
    assert!(done >= 240 && cuts.iter().all(|cuts| *cuts >= 5), "{done} commits, {cuts:?} cuts");
    // Everything could be settled: the server was there all the time.
    assert_eq!(recorder.unknown(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_within_a_transaction_do_not_look_like_success() {
    let (cluster, name) = database().await;
    let url = Cluster::url(cluster.port(), &name);
    let store = Store::postgres(&url, config()).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let client = &client;
    let result = store
        .transact(|tx| async move {
            tx.put(&b"k"[..], &b"v"[..]).await?;
            // The table goes: the statement in the middle of the transaction fails.
            client.batch_execute("ALTER TABLE terrane_rows RENAME TO elsewhere").await.unwrap();
            let _swallowed = tx.get(b"other").await;
            Ok::<_, StoreError>(())
        })
        .await;
    assert!(result.is_err());
    client.batch_execute("ALTER TABLE elsewhere RENAME TO terrane_rows").await.unwrap();
    assert_eq!(crate::conformance::get(&store, b"k").await, None);
}

/// A sequential scan would lock the whole table and make everything conflict with everything.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_on_different_keys_do_not_conflict() {
    let (store, _cluster) = open().await;
    for n in 0..200u8 {
        crate::conformance::put(&store, &[b'x', n], b"v").await;
    }
    let attempts = AtomicU64::new(0);
    let (other, attempts) = (&store, &attempts);
    store
        .transact(|tx| async move {
            attempts.fetch_add(1, Ordering::Relaxed);
            let n = tx.get([b'x', 0]).await?.map_or(0, |v| v.len());
            crate::conformance::put(other, &[b'x', 199], b"changed").await;
            tx.put(vec![b'x', 1], vec![0; n]).await
        })
        .await
        .unwrap_or_else(|error: StoreError| panic!("{error}"));
    assert!(attempts.load(Ordering::Relaxed) <= 3);
}

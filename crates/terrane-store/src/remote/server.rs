use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::message::{Answer, Ask, Failure, Hello, MAGIC, PROTOCOL, Request, Response, Welcome};
use super::{RpcToken, frame};
use crate::engine::Engine;
use crate::key::{COMMIT_BYTES_MAX, KEY_BYTES_MAX, SCAN_ROWS_MAX, VALUE_BYTES_MAX};
use crate::local::{Local, Published};
use crate::{Result, Store, StoreError};

/// Bounds of a server.
#[derive(Debug, Clone)]
pub struct RpcServerConfig {
    /// What clients must present.
    pub token: RpcToken,
    /// How long a snapshot is held; transactions that take longer conflict.
    pub snapshot_ttl: Duration,
    /// Connections at most; further ones are closed at once.
    pub connections_max: usize,
    /// Snapshots of one connection.
    pub snapshots_max: usize,
    /// Requests of one connection that are worked on at a time.
    pub requests_max: usize,
}

impl RpcServerConfig {
    /// The defaults with this token.
    pub fn new(token: RpcToken) -> Self {
        Self {
            token,
            snapshot_ttl: Duration::from_secs(20),
            connections_max: 256,
            snapshots_max: 1024,
            requests_max: 256,
        }
    }
}

/// Where a server listens.
#[derive(Debug)]
pub enum RpcListener {
    /// TCP; on loopback addresses only, since frames are not encrypted.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl RpcListener {
    async fn accept(&self) -> std::io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Serves an embedded (or memory) store to other processes until the future is dropped.
///
/// # Errors
/// [`StoreError::Config`] for a store that is not in this process, or a listener that is open to
/// the network.
pub async fn serve_rpc(store: Store, listener: RpcListener, config: RpcServerConfig) -> Result<()> {
    let Engine::Local(local) = store.engine else {
        return Err(StoreError::Config("only a store of this process can be served".into()));
    };
    if let RpcListener::Tcp(tcp) = &listener
        && !tcp.local_addr().is_ok_and(|address| address.ip().is_loopback())
    {
        return Err(StoreError::Config("the store is served on loopback addresses only".into()));
    }
    let config = Arc::new(config);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok(stream) if connections.len() < config.connections_max => {
                let (local, config) = (local.clone(), Arc::clone(&config));
                connections.spawn(async move {
                    if let Err(error) = connection(local, stream, config).await {
                        tracing::debug!(%error, "store connection ended");
                    }
                });
            }
            Ok(_) => tracing::warn!(limit = config.connections_max, "store connection refused: too many"),
            Err(error) => {
                // Out of files, most likely: what is open goes on.
                tracing::warn!(%error, "store listener");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(local: Local, mut stream: Box<dyn Stream>, config: Arc<RpcServerConfig>) -> Result<()> {
    if !tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(&local, &mut stream, &config))
        .await
        .map_err(|_| StoreError::Unavailable("no handshake in time".into()))??
    {
        return Ok(());
    }
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (answers, mut outgoing) = mpsc::channel::<Response>(config.requests_max);
    let session =
        Arc::new(Session { local, config: Arc::clone(&config), snapshots: Mutex::new(Snapshots::default()) });
    let permits = Arc::new(Semaphore::new(config.requests_max));
    // All that a connection started ends with it.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(response) = outgoing.recv().await {
            if frame::write(&mut writer, &response).await.is_err() {
                return;
            }
        }
    });
    while let Some(request) = frame::read::<Request>(&mut reader, frame::FRAME_BYTES_MAX).await? {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let (session, answers) = (Arc::clone(&session), answers.clone());
        tasks.spawn(async move {
            if let Some(body) = session.answer(request.body).await {
                // The client may be gone.
                let _ = answers.send(Response { number: request.number, body }).await;
            }
            drop(permit);
        });
        while tasks.try_join_next().is_some() {}
    }
    Ok(())
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A long poll is answered after this at the latest.
const POLL_MAX: Duration = Duration::from_secs(10);

async fn handshake(local: &Local, stream: &mut Box<dyn Stream>, config: &RpcServerConfig) -> Result<bool> {
    let Some(hello) = frame::read::<Hello>(stream, 1024).await? else { return Ok(false) };
    let refusal = if hello.magic != MAGIC || !config.token.matches(&hello.token) {
        // The same words for both: nothing is learnt by trying.
        Some("not authorised".to_string())
    } else if hello.protocols.0 > PROTOCOL || hello.protocols.1 < PROTOCOL {
        let (oldest, newest) = hello.protocols;
        Some(format!("the server speaks protocol {PROTOCOL}, the client {oldest} to {newest}"))
    } else {
        None
    };
    let welcome = match refusal {
        Some(why) => Welcome::Refused(why),
        None => Welcome::Accepted {
            protocol: PROTOCOL,
            incarnation: local.incarnation(),
            snapshot_ttl_ms: u64::try_from(config.snapshot_ttl.as_millis()).unwrap_or(u64::MAX),
        },
    };
    frame::write(stream, &welcome).await?;
    Ok(matches!(welcome, Welcome::Accepted { .. }))
}

struct Session {
    local: Local,
    config: Arc<RpcServerConfig>,
    snapshots: Mutex<Snapshots>,
}

#[derive(Default)]
struct Snapshots {
    last: u64,
    /// By number, which is also the order in which they expire.
    open: BTreeMap<u64, (Published, Instant)>,
}

impl Session {
    async fn answer(&self, ask: Ask) -> Option<Answer> {
        let result = match ask {
            Ask::Begin => self.begin(),
            Ask::Get { snapshot, key } => {
                self.snapshot(snapshot).and_then(|at| at.snapshot.get(&key)).map(Answer::Value)
            }
            Ask::Scan { snapshot, range, limit, reverse } => {
                let limit = (limit as usize).min(2 * SCAN_ROWS_MAX);
                self.snapshot(snapshot).and_then(|at| scan(&at, &range, limit, reverse)).map(Answer::Rows)
            }
            Ask::End { snapshot } => {
                self.snapshots.lock().open.remove(&snapshot);
                return None;
            }
            Ask::Commit { incarnation, commit } => {
                if incarnation != self.local.incarnation() {
                    // What an earlier attempt did in another incarnation cannot be known.
                    Err(if commit.retry {
                        StoreError::UnknownOutcome("the store has another incarnation".into())
                    } else {
                        StoreError::Conflict
                    })
                } else {
                    match check(&commit) {
                        Ok(()) => self.local.commit(commit).await.map(Answer::Version),
                        Err(error) => Err(error),
                    }
                }
            }
            Ask::Changed { seen } => {
                let mut changes = self.local.changes();
                let _ = tokio::time::timeout(POLL_MAX, changes.wait_for(|version| *version > seen)).await;
                let version = *changes.borrow();
                Ok(Answer::Version(version))
            }
        };
        Some(result.unwrap_or_else(|error| Answer::Failed(Failure::from(error))))
    }

    fn begin(&self) -> Result<Answer> {
        let published = self.local.published();
        let version = published.version;
        let now = Instant::now();
        let mut snapshots = self.snapshots.lock();
        while snapshots.open.first_entry().is_some_and(|oldest| oldest.get().1 <= now) {
            snapshots.open.pop_first();
        }
        if snapshots.open.len() >= self.config.snapshots_max {
            let limit = self.config.snapshots_max;
            return Err(StoreError::Unavailable(format!("{limit} snapshots are open already")));
        }
        snapshots.last += 1;
        let number = snapshots.last;
        snapshots.open.insert(number, (published, now + self.config.snapshot_ttl));
        Ok(Answer::Begun { snapshot: number, version })
    }

    /// A snapshot that is gone is a conflict: the transaction begins again.
    fn snapshot(&self, number: u64) -> Result<Published> {
        let snapshots = self.snapshots.lock();
        match snapshots.open.get(&number) {
            Some((published, expires)) if *expires > Instant::now() => Ok(published.clone()),
            _ => Err(StoreError::Conflict),
        }
    }
}

/// Rows up to the limit or as many as fit into an answer; the client asks again for the rest.
fn scan(at: &Published, range: &crate::KeyRange, limit: usize, reverse: bool) -> Result<Vec<crate::Row>> {
    let (mut rows, mut bytes, mut rest) = (Vec::new(), 0, range.clone());
    while rows.len() < limit && bytes < COMMIT_BYTES_MAX {
        let page = at.snapshot.scan(&rest, PAGE_ROWS.min(limit - rows.len()), reverse)?;
        let Some((last, _)) = page.last() else { break };
        rest = rest.rest(last, reverse);
        for (key, value) in page {
            bytes += key.len() + value.len();
            rows.push((key, value));
            if bytes >= COMMIT_BYTES_MAX {
                break;
            }
        }
    }
    Ok(rows)
}

/// Rows that are read before their size is looked at.
const PAGE_ROWS: usize = 64;

/// What a client of this program never sends.
fn check(commit: &crate::committer::CommitRequest) -> Result<()> {
    let sorted = commit.writes.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let sizes = commit.writes.iter().all(|(key, value)| {
        key.len() <= KEY_BYTES_MAX && value.as_ref().is_none_or(|value| value.len() <= VALUE_BYTES_MAX)
    });
    let keys = commit.writes.iter().all(|(key, _)| crate::key::check_key(key).is_ok());
    if sorted && sizes && keys && !commit.writes.is_empty() {
        Ok(())
    } else {
        Err(StoreError::Unavailable("a malformed commit".into()))
    }
}

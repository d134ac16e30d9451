use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use terrane_types::RandomId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::message::{Answer, Ask, Hello, MAGIC, PROTOCOL, Request, Response, Welcome};
use super::{RpcAddress, RpcToken, frame};
use crate::committer::{CommitId, CommitRequest, Version, Writes};
use crate::engine::Row;
use crate::{KeyRange, Result, StoreError};

/// How to reach a served store.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// Where it is served.
    pub address: RpcAddress,
    /// What the server expects.
    pub token: RpcToken,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How long the outcome of a commit is asked for before it is reported as unknown.
    pub settle_timeout: Duration,
}

impl RemoteConfig {
    /// The defaults for this server.
    pub fn new(address: RpcAddress, token: RpcToken) -> Self {
        Self {
            address,
            token,
            request_timeout: Duration::from_secs(15),
            settle_timeout: Duration::from_secs(30),
        }
    }
}

/// Requests that may wait to be written.
const QUEUE_MAX: usize = 256;

/// A store that another process serves.
pub(crate) struct Remote {
    config: RemoteConfig,
    incarnation: RandomId,
    /// The connection for new transactions; replaced when it is lost.
    current: tokio::sync::Mutex<Arc<Connection>>,
}

impl Remote {
    pub(crate) async fn open(config: RemoteConfig) -> Result<Self> {
        let connection = Connection::open(&config).await?;
        let incarnation = connection.incarnation;
        Ok(Self { config, incarnation, current: tokio::sync::Mutex::new(Arc::new(connection)) })
    }

    pub(crate) fn incarnation(&self) -> RandomId {
        self.incarnation
    }

    async fn connection(&self) -> Result<Arc<Connection>> {
        let mut current = self.current.lock().await;
        if current.is_closed() {
            let connection = Connection::open(&self.config).await?;
            if connection.incarnation != self.incarnation {
                // Whoever holds this handle may remember what the restored store never had.
                return Err(StoreError::Unavailable("the store was restored: open it anew".into()));
            }
            *current = Arc::new(connection);
        }
        Ok(Arc::clone(&current))
    }

    pub(crate) async fn begin(self: &Arc<Self>) -> Result<RemoteTx> {
        let connection = self.connection().await?;
        match connection.ask(Ask::Begin, self.config.request_timeout).await? {
            Answer::Begun { snapshot, version } => {
                Ok(RemoteTx { engine: Arc::clone(self), connection, snapshot, version })
            }
            _ => Err(unexpected()),
        }
    }

    /// While the server cannot be reached something may have changed: then it answers early.
    pub(crate) async fn changed(&self, seen: Version) -> Version {
        loop {
            let asked = async {
                let connection = self.connection().await?;
                Ok::<_, StoreError>(connection.ask(Ask::Changed { seen }, self.config.request_timeout).await?)
            };
            match asked.await {
                Ok(Answer::Version(version)) if version > seen => return version,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "waiting for changes");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Asks until the answer is known; the identifier makes asking again harmless.
    async fn commit(&self, mut commit: CommitRequest) -> Result<()> {
        let deadline = Instant::now() + self.config.settle_timeout;
        let mut pause = Duration::from_millis(5);
        loop {
            let error = match self.try_commit(&commit).await {
                Ok(()) => return Ok(()),
                // The first attempt was refused, or did not leave this process.
                Err(Lost::Refused(error)) if !commit.retry => return Err(error),
                // Final also for an earlier attempt that may still be under way: what was
                // overwritten stays overwritten.
                Err(Lost::Refused(error @ (StoreError::Conflict | StoreError::UnknownOutcome(_)))) => {
                    return Err(error);
                }
                Err(Lost::Refused(error) | Lost::Connection(error)) => error,
            };
            commit.retry = true;
            if Instant::now() >= deadline {
                return Err(StoreError::UnknownOutcome(error.to_string()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    async fn try_commit(&self, commit: &CommitRequest) -> Result<(), Lost> {
        let connection = self.connection().await.map_err(Lost::Refused)?;
        let ask = Ask::Commit { incarnation: self.incarnation, commit: commit.clone() };
        match connection.ask(ask, self.config.request_timeout).await? {
            Answer::Version(_) => Ok(()),
            _ => Err(Lost::Connection(unexpected())),
        }
    }
}

/// An answer to another question. It may have anybody's data in it, so it is not shown.
fn unexpected() -> StoreError {
    StoreError::Unavailable("the store answered out of turn".into())
}

/// A transaction on a snapshot that the server holds.
pub(crate) struct RemoteTx {
    engine: Arc<Remote>,
    /// Snapshots belong to their connection.
    connection: Arc<Connection>,
    snapshot: u64,
    version: Version,
}

impl Drop for RemoteTx {
    fn drop(&mut self) {
        self.connection.tell(Ask::End { snapshot: self.snapshot });
    }
}

impl RemoteTx {
    pub(crate) async fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        let ask = Ask::Get { snapshot: self.snapshot, key: Bytes::copy_from_slice(key) };
        match self.ask(ask).await? {
            Answer::Value(value) => Ok(value),
            _ => Err(unexpected()),
        }
    }

    pub(crate) async fn scan(&mut self, range: &KeyRange, limit: usize, reverse: bool) -> Result<Vec<Row>> {
        let (mut rows, mut rest) = (Vec::new(), range.clone());
        while rows.len() < limit {
            let left = u32::try_from(limit - rows.len()).unwrap_or(u32::MAX);
            let ask = Ask::Scan { snapshot: self.snapshot, range: rest.clone(), limit: left, reverse };
            let Answer::Rows(page) = self.ask(ask).await? else {
                return Err(unexpected());
            };
            let Some((last, _)) = page.last() else { break };
            rest = rest.rest(last, reverse);
            rows.extend(page);
        }
        Ok(rows)
    }

    pub(crate) async fn commit(self, reads: Vec<KeyRange>, writes: Writes) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        let id = Some(CommitId(rand::random()));
        let commit = CommitRequest { snapshot: self.version, reads, writes, id, retry: false };
        self.engine.commit(commit).await
    }

    async fn ask(&self, ask: Ask) -> Result<Answer> {
        Ok(self.connection.ask(ask, self.engine.config.request_timeout).await?)
    }
}

/// Why a request has no answer.
enum Lost {
    /// The server said no.
    Refused(StoreError),
    /// The server may or may not have done it.
    Connection(StoreError),
}

impl From<Lost> for StoreError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Refused(error) | Lost::Connection(error) => error,
        }
    }
}

type Pending = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>>;

/// One connection, shared by all transactions of this process.
struct Connection {
    incarnation: RandomId,
    next: AtomicU64,
    requests: mpsc::Sender<Request>,
    pending: Pending,
    /// Ends the two tasks with the connection.
    _tasks: JoinSet<()>,
}

impl Connection {
    async fn open(config: &RemoteConfig) -> Result<Self> {
        let opening = async {
            let lost = |error: std::io::Error| {
                StoreError::Unavailable(format!("connect to the store at {:?}: {error}", config.address))
            };
            match &config.address {
                RpcAddress::Tcp(address) => {
                    let stream = TcpStream::connect(address).await.map_err(lost)?;
                    stream.set_nodelay(true).map_err(lost)?;
                    Self::start(stream, &config.token).await
                }
                RpcAddress::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(lost)?;
                    Self::start(stream, &config.token).await
                }
            }
        };
        tokio::time::timeout(config.request_timeout, opening)
            .await
            .map_err(|_| StoreError::Unavailable("connect to the store: timed out".into()))?
    }

    async fn start<S>(mut stream: S, token: &RpcToken) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let hello = Hello { magic: MAGIC, protocols: (PROTOCOL, PROTOCOL), token: token.0.clone() };
        frame::write(&mut stream, &hello).await?;
        let incarnation = match frame::read::<Welcome>(&mut stream, 4096).await? {
            Some(Welcome::Accepted { incarnation, .. }) => incarnation,
            Some(Welcome::Refused(why)) => return Err(StoreError::Config(format!("store refused: {why}"))),
            None => return Err(StoreError::Unavailable("the store closed the connection".into())),
        };
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (requests, mut outgoing) = mpsc::channel::<Request>(QUEUE_MAX);
        let pending = Pending::default();
        let mut tasks = JoinSet::new();
        let waiting = Arc::clone(&pending);
        tasks.spawn(async move {
            let write = async {
                while let Some(request) = outgoing.recv().await {
                    if frame::write(&mut writer, &request).await.is_err() {
                        return;
                    }
                }
            };
            let read = async {
                while let Ok(Some(response)) =
                    frame::read::<Response>(&mut reader, 2 * frame::FRAME_BYTES_MAX).await
                {
                    if let Some(waiter) = waiting.lock().remove(&response.number) {
                        // Whoever asked may have stopped waiting.
                        let _ = waiter.send(response.body);
                    }
                }
            };
            tokio::select! { () = write => {}, () = read => {} }
            // The end of this task closes the queue; whoever still waits learns it here.
            outgoing.close();
            waiting.lock().clear();
        });
        Ok(Self { incarnation, next: AtomicU64::new(1), requests, pending, _tasks: tasks })
    }

    fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    async fn ask(&self, body: Ask, timeout: Duration) -> Result<Answer, Lost> {
        let lost = |why: &str| Lost::Connection(StoreError::Unavailable(format!("store connection: {why}")));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (waiter, answer) = oneshot::channel();
        self.pending.lock().insert(number, waiter);
        if self.requests.send(Request { number, body }).await.is_err() {
            self.pending.lock().remove(&number);
            return Err(lost("closed"));
        }
        // The reader may have ended between the two steps above; then it cleared before we inserted.
        if self.is_closed() {
            self.pending.lock().remove(&number);
        }
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(Answer::Failed(failure))) => Err(Lost::Refused(failure.into())),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(lost("closed")),
            Err(_) => {
                self.pending.lock().remove(&number);
                Err(lost("no answer in time"))
            }
        }
    }

    /// Sends what is not answered, if there is room.
    fn tell(&self, body: Ask) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let _ = self.requests.try_send(Request { number, body });
    }
}

//! NBD client: somebody else's export as an [`Export`] of this process.
//!
//! The connection is made again when it breaks, for as long as [`ClientOptions::reconnect_for`] says, and what was
//! not answered is sent again in the same order. All requests of NBD are idempotent, so the user of the export sees a
//! pause at worst. `NBD_ESHUTDOWN` counts as a break: the server is going, another one may come.

mod negotiate;
mod replies;
mod session;
mod target;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::request::Command;
use crate::{Export, ExportInfo, Extent, NbdError, Piece, ZeroOptions};
pub use replies::{ReplyError, decode_all};
use session::{Answer, Shared};
pub use target::{ClientTls, Target, TargetError, unix_uri};

/// Requests that are not answered.
const REQUESTS_MAX: usize = 256;
/// The longest range of one request without payload: what fits 32 bits, in whole blocks of any size.
const RANGE_MAX: u64 = 1 << 31;

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long a broken connection is tried again before everything fails.
    pub reconnect_for: Duration,
    /// How long one attempt may take, with the negotiation.
    pub connect_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { reconnect_for: Duration::from_secs(60), connect_timeout: Duration::from_secs(5) }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket, or the stream on it.
    #[error("cannot connect: {0}")]
    Io(#[from] std::io::Error),
    /// Another protocol, or none that is understood.
    #[error("the server does not speak as it should: {0}")]
    Protocol(&'static str),
    /// The server refuses an option.
    #[error("the server refuses {option} (reply type {reply:#x})")]
    Refused {
        /// Which.
        option: &'static str,
        /// The type of its reply.
        reply: u32,
    },
    /// Certificates.
    #[error("TLS: {0}")]
    Tls(String),
    /// It took too long.
    #[error("the server does not answer")]
    Timeout,
}

/// A connection to an export, made again whenever it breaks.
pub struct Client {
    shared: Arc<Shared>,
    /// Requests that may still be taken on.
    room: Semaphore,
    task: tokio::task::AbortHandle,
}

impl Client {
    /// Connects. The first connection is tried once; the task that carries it and later ones runs in the current
    /// runtime.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(target: Target, options: ClientOptions) -> Result<Self, ConnectError> {
        let first = session::connect(&target, &options).await?;
        let shared = Arc::new(Shared::new(first.info.clone()));
        let task = tokio::spawn(session::run(shared.clone(), target, options, first)).abort_handle();
        Ok(Self { shared, room: Semaphore::new(REQUESTS_MAX), task })
    }

    /// How often the connection was made again.
    pub fn reconnects(&self) -> u64 {
        self.shared.reconnects()
    }

    async fn ask(&self, command: Command) -> Result<Answer, NbdError> {
        let _room = self.room.acquire().await.map_err(|_| NbdError::shutdown())?;
        self.shared.submit(command).await.unwrap_or_else(|_| Err(NbdError::shutdown()))
    }

    async fn done(&self, command: Command) -> Result<(), NbdError> {
        self.ask(command).await.map(drop)
    }

    /// Requests that together cover a range of any length.
    async fn in_parts(
        &self,
        offset: u64,
        len: u64,
        command: impl Fn(u64, u64) -> Command,
    ) -> Result<(), NbdError> {
        let mut at = 0;
        while at < len {
            let part = (len - at).min(RANGE_MAX);
            self.done(command(offset + at, part)).await?;
            at += part;
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.close();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("info", &self.info()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Export for Client {
    /// What the server said when the connection was last made.
    fn info(&self) -> ExportInfo {
        self.shared.info()
    }

    async fn read(&self, offset: u64, len: u32) -> Result<Bytes, NbdError> {
        Ok(Piece::join(self.read_pieces(offset, len).await?))
    }

    async fn read_pieces(&self, offset: u64, len: u32) -> Result<Vec<Piece>, NbdError> {
        match self.ask(Command::Read { offset, len, whole: false }).await? {
            Answer::Pieces(pieces) => Ok(pieces),
            Answer::Done | Answer::Status(_) => Err(NbdError::io("the server answered something else")),
        }
    }

    async fn write(&self, offset: u64, data: Bytes, fua: bool) -> Result<(), NbdError> {
        self.done(Command::Write { offset, data, fua }).await
    }

    async fn flush(&self) -> Result<(), NbdError> {
        self.done(Command::Flush).await
    }

    async fn trim(&self, offset: u64, len: u64, fua: bool) -> Result<(), NbdError> {
        self.in_parts(offset, len, |offset, len| Command::Trim { offset, len, fua }).await
    }

    async fn write_zeroes(&self, offset: u64, len: u64, options: ZeroOptions) -> Result<(), NbdError> {
        self.in_parts(offset, len, |offset, len| Command::WriteZeroes { offset, len, options }).await
    }

    async fn cache(&self, offset: u64, len: u64) -> Result<(), NbdError> {
        self.in_parts(offset, len, |offset, len| Command::Cache { offset, len }).await
    }

    async fn block_status(&self, offset: u64, len: u64, max_extents: usize) -> Result<Vec<Extent>, NbdError> {
        let len = len.min(RANGE_MAX);
        match self.ask(Command::BlockStatus { offset, len, one: max_extents == 1 }).await? {
            Answer::Status(mut extents) if !extents.is_empty() => {
                extents.truncate(max_extents);
                Ok(extents)
            }
            _ => Err(NbdError::io("the server answered something else")),
        }
    }

    /// Returns when the server did not come back in time.
    async fn gone(&self) {
        self.shared.gone().await;
    }
}

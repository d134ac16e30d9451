//! The block server's driver: joins the storage engine, the replication core and the network.
//!
//! One thread, with a runtime of its own, has everything: the copies' cores, the sockets, the clocks. What waits for
//! the drive (flushes, the journal, large or cold I/O) goes to other threads and comes back as an event; small I/O
//! that the page cache takes is done at once. All events go through [`reactor`]:
//!
//! | Module | What |
//! |---|---|
//! | `reactor` | the copies, their events in order, and whoever may enter |
//! | `hosted` | one copy: engine, core, and how the core's updates become the engine's |
//! | `effects` | what a core wants done |
//! | `lives` | opening copies, their failures, and their next lives |
//! | `watch` | what is due: leases, renewals, sending again, suspicion, progress |
//! | `connections`, `peers` | who dials here, and whom this server dials |
//! | `drives` | what drives are asked, how they are, and those that stop answering |
//! | `admission` | limits of volumes |
//! | `devices`, `drive_use` | who uses a drive next, and who used it |
//! | `pacing` | how fast copies catch up |
//! | `scrub` | looking for damage before somebody needs what is damaged |
//! | `control` | the manager: hello, heartbeats, records, commands |
//! | `orders` | the role of a primary, handed over, and how soon the next one begins |
//! | `clock`, `meta`, `identity`, `metrics`, `config` | the small things |

mod admission;
mod clock;
mod config;
mod connections;
mod control;
mod devices;
mod drive_use;
mod drives;
mod effects;
mod hosted;
mod identity;
mod lives;
mod meta;
mod metrics;
mod orders;
mod pacing;
mod peers;
mod reactor;
mod scrub;
mod streaming;
mod watch;

pub use crate::engine::media::DataPath;
pub use config::{BlockServerConfig, OpenMedia, Pace, PoolSpec};
pub use drive_use::{DriveSecond, DriveUser, DriveUses};
pub use metrics::BlockMetrics;

use crate::engine::EngineError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use terrane_block_wire::WireError;
use terrane_block_wire::control::ServerId;
use tokio::sync::oneshot;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Who it is cannot be read or written.
    #[error("{path}: {reason}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// None of its pools can be opened; one of them for this reason.
    #[error("pool {dir}: {source}")]
    Pool {
        /// Its directory.
        dir: PathBuf,
        /// Why not.
        source: EngineError,
    },
    /// It cannot take connections.
    #[error("{address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: WireError,
    },
    /// The host says.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl ServerError {
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// A block server that runs. Dropped, it stops soon.
#[derive(Debug)]
pub struct BlockServer {
    id: ServerId,
    address: SocketAddr,
    /// Dropped or used: the thread ends.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl BlockServer {
    /// Starts one: opens its pools and all copies in them, and takes connections. The manager need not be there yet.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start(config: BlockServerConfig) -> Result<Self, ServerError> {
        let (stop, stopped) = oneshot::channel();
        let (started, starts) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("block {}", config.name))
            .spawn(move || run(config, started, stopped))
            .map_err(ServerError::io("start a thread"))?;
        let gone = || io::Error::other("it broke off");
        let (id, address) = starts.await.map_err(|_| ServerError::io("start the server")(gone()))??;
        Ok(Self { id, address, stop, thread })
    }

    /// Who it is; the same at every start.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// Where it takes data connections.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it as if its process died: what was acknowledged is with the kernel. Returns when nothing of it runs.
    pub async fn stop(self) {
        drop(self.stop);
        let thread = self.thread;
        if tokio::task::spawn_blocking(move || thread.join()).await.is_err() {
            tracing::error!("the runtime ended before the block server");
        }
    }
}

type Started = oneshot::Sender<Result<(ServerId, SocketAddr), ServerError>>;

fn run(config: BlockServerConfig, started: Started, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(256)
        .thread_name(format!("drive {}", config.name))
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(ServerError::io("make a runtime")(error)));
            return;
        }
    };
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(async {
        match reactor::start(config).await {
            Ok((id, address)) => {
                if started.send(Ok((id, address))).is_ok() {
                    // An error is the other end being dropped: that is the signal.
                    let _ = stopped.await;
                }
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    }));
    // Tasks first, then the runtime, which waits for what is on its threads.
    drop(tasks);
    drop(runtime);
}

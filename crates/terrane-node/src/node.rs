//! The node manager: one thread with everything on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use terrane_block_wire::transport::BusyPoll;
use terrane_nbd::{ExportTable, Listener, Server, ServerConfig, Tls};
use terrane_types::InstanceId;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attachments::Attachments;
use crate::cache::Store;
use crate::control::Control;
use crate::outbox::Outbox;
use crate::volume::Site;
use crate::{NodeConfig, NodeError, NodeMetrics, identity};

/// How often the patience with primaries is looked at.
const TICK: Duration = Duration::from_millis(50);
/// What one tick counts at most: if it comes later, this process has slept, and not the primaries.
const TICK_MAX: Duration = Duration::from_millis(100);
/// At a stop, requests under way may take so long.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// A running node manager. Dropped without [`NodeManager::stop`], it stops by itself as well.
#[derive(Debug)]
pub struct NodeManager {
    instance: InstanceId,
    nbd_address: Option<SocketAddr>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    ended: oneshot::Receiver<()>,
}

/// What the thread says when it is ready.
struct Ready {
    instance: InstanceId,
    nbd_address: Option<SocketAddr>,
}

impl NodeManager {
    /// Starts a node manager on a thread of its own and returns when it listens. Managers are looked for in the
    /// background, for as long as it takes.
    ///
    /// # Errors
    /// [`NodeError`]: sockets, certificates, the directory.
    pub async fn start(config: NodeConfig, metrics: NodeMetrics) -> Result<Self, NodeError> {
        if config.managers.is_empty() {
            return Err(NodeError::NoManagers);
        }
        let runtime = Builder::new_current_thread().enable_all().build().map_err(NodeError::Thread)?;
        let stop = CancellationToken::new();
        let (report, reported) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("terrane-node".into())
            .spawn(move || {
                runtime.block_on(run(config, metrics, report, stopped));
                // Whoever waits for it may have gone.
                let _ = end.send(());
            })
            .map_err(NodeError::Thread)?;
        let ready = reported.await.unwrap_or_else(|_| {
            Err(NodeError::Thread(std::io::Error::other("it ended before it was ready")))
        })?;
        let Ready { instance, nbd_address } = ready;
        Ok(Self { instance, nbd_address, stop, thread: Some(thread), ended })
    }

    /// The instance that this machine is.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Where NBD is spoken over TCP, with the port that it got.
    pub fn nbd_address(&self) -> Option<SocketAddr> {
        self.nbd_address
    }

    /// Stops: no new connections, requests under way are answered (for three seconds at most), then everything is
    /// closed. Attachments stay what they are: the next process of this machine goes on with them.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // An error means that the thread has ended already.
        let _ = (&mut self.ended).await;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the node manager's thread has panicked");
        }
    }
}

impl Drop for NodeManager {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn run(
    config: NodeConfig,
    metrics: NodeMetrics,
    report: oneshot::Sender<Result<Ready, NodeError>>,
    stop: CancellationToken,
) {
    match Node::new(config, metrics).await {
        Err(error) => {
            // Whoever wanted it may have gone.
            let _ = report.send(Err(error));
        }
        Ok(node) => {
            let ready = Ready { instance: node.control.instance.clone(), nbd_address: node.nbd_address() };
            if report.send(Ok(ready)).is_ok() {
                node.run(stop).await;
            }
        }
    }
}

struct Node {
    control: Control,
    attachments: Arc<Attachments>,
    server: Arc<Server>,
    listeners: Vec<Listener>,
}

impl Node {
    async fn new(config: NodeConfig, metrics: NodeMetrics) -> Result<Self, NodeError> {
        let instance = identity::load(&config.dir, config.instance.clone())?;
        let exports = Arc::new(ExportTable::new());
        // Errors would reach the programs above; a connection that ends they make again.
        let nbd = ServerConfig { hang_up_at_stop: true, ..ServerConfig::default() };
        let mut server = Server::new(exports.clone(), nbd);
        if let Some(files) = config.nbd_tls.clone() {
            server = server.with_tls(Arc::new(Tls::load(files)?));
        }
        let mut listeners = vec![Listener::unix(&config.nbd_socket)?];
        if let Some(address) = config.nbd_listen {
            listeners.push(server.listen_tcp(address).await?);
        }
        let cache = Store::new(config.cache, metrics.cache_bytes.clone());
        let cache = (config.cache > 0).then(|| Arc::new(Mutex::new(cache)));
        let site = Arc::new(Site {
            runtime: Handle::current(),
            started: Instant::now(),
            credentials: config.credentials.clone(),
            busy: BusyPoll::new(config.busy_poll),
            outbox: Outbox::default(),
            metrics,
            cache,
        });
        // Clients have other working directories.
        let socket = std::path::absolute(&config.nbd_socket).map_err(NodeError::Thread)?;
        let attachments = Arc::new(Attachments::new(site.clone(), exports, socket));
        let control = Control {
            config,
            instance,
            process: rand::random(),
            site,
            attachments: attachments.clone(),
            manager_epoch: 0,
        };
        Ok(Self { control, attachments, server: Arc::new(server), listeners })
    }

    fn nbd_address(&self) -> Option<SocketAddr> {
        self.listeners.iter().find_map(Listener::local_addr)
    }

    async fn run(self, stop: CancellationToken) {
        let Self { control, attachments, server, listeners } = self;
        tokio::spawn(control.site.busy.clone().run());
        let serving = TaskTracker::new();
        for listener in listeners {
            serving.spawn(server.clone().run(listener, stop.clone()));
        }
        serving.close();
        let ticking = tick(attachments);
        tokio::select! {
            () = control.run() => {}
            () = ticking => {}
            () = drain(&serving, &stop) => {}
        }
    }
}

/// Waits for the stop, then for the answers to requests under way. What still waits for a primary then is not answered:
/// its client sees the connection end, and sends it again to the next process.
async fn drain(serving: &TaskTracker, stop: &CancellationToken) {
    stop.cancelled().await;
    if tokio::time::timeout(DRAIN_MAX, serving.wait()).await.is_err() {
        tracing::warn!("the node manager stops with requests under way");
    }
}

/// Looks at the patience with primaries, for ever.
async fn tick(attachments: Arc<Attachments>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        attachments.tick(now, now.duration_since(last).min(TICK_MAX));
        last = now;
    }
}

//! A node manager before a cluster, and programs that use it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use terrane_block_wire::transport::BusyPoll;
use terrane_nbd::client::{Client, ClientOptions, Target};
use terrane_node::{NodeConfig, NodeManager, NodeMetrics};
use terrane_telemetry::Metrics;
use terrane_types::Zone;

use crate::cluster::{Cluster, Shape};

/// No program here works longer than some seconds; a busy machine gets more.
const PATIENCE: Duration = Duration::from_secs(120);

/// Dropped in this order.
pub(crate) struct Site {
    pub(crate) node: NodeManager,
    pub(crate) metrics: Metrics,
    pub(crate) cluster: Cluster,
    pub(crate) url: String,
    pub(crate) dir: TempDir,
}

pub(crate) async fn start_node(cluster: &Cluster, dir: &Path, metrics: &Metrics) -> NodeManager {
    start_caching(cluster, dir, metrics, 0).await
}

/// One that keeps so many bytes of blocks in memory.
async fn start_caching(cluster: &Cluster, dir: &Path, metrics: &Metrics, cache: u64) -> NodeManager {
    let config = NodeConfig {
        dir: dir.join("node"),
        instance: None,
        zone: Zone::parse("us-east-1a").unwrap(),
        host_name: "here".into(),
        managers: vec![cluster.manager.clone()],
        credentials: cluster.credentials.clone(),
        nbd_socket: dir.join("nbd.sock"),
        nbd_listen: Some("127.0.0.1:0".parse().unwrap()),
        nbd_tls: None,
        cache,
        busy_poll: BusyPoll::PATIENCE,
    };
    NodeManager::start(config, metrics.with(NodeMetrics::register)).await.unwrap()
}

impl Site {
    pub(crate) async fn new(shape: Shape) -> Self {
        Self::caching(shape, 0).await
    }

    pub(crate) async fn caching(shape: Shape, cache: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::new(shape).await;
        let metrics = Metrics::new();
        let node = start_caching(&cluster, dir.path(), &metrics, cache).await;
        let url = cluster.url(1).await;
        Self { node, metrics, cluster, url, dir }
    }

    pub(crate) async fn client(&self) -> Client {
        client(&self.url).await
    }

    /// A file of the test.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A counter or gauge of the node manager.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .unwrap_or_else(|| panic!("{name}:\n{text}"))
    }
}

pub(crate) async fn client(url: &str) -> Client {
    let options = ClientOptions { reconnect_for: Duration::from_secs(20), ..ClientOptions::default() };
    Client::connect(Target::parse(url, None).unwrap(), options).await.unwrap()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Runs a program that must succeed, and returns what it printed.
pub(crate) async fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // Debian's own Python has the bindings; another one in PATH has not.
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("LC_ALL", "C");
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output
        .unwrap_or_else(|_| panic!("{program} does not end"))
        .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs what is needed"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} failed with {}\n{out}{err}", output.status);
    out.into_owned()
}

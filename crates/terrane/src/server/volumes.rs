//! Volumes within a server's process: the manager, and for `terrane up` block servers and a node manager as well,
//! which speak with each other as if they were processes of their own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use terrane_api::Ec2Door;
use terrane_auth::Auth;
use terrane_block::server::{BlockMetrics, BlockServer, BlockServerConfig, PoolSpec};
use terrane_block_wire::ClusterKey;
use terrane_block_wire::control::Media;
use terrane_block_wire::tls::Tls;
use terrane_block_wire::transport::Credentials;
use terrane_ec2::{Ec2, Ec2Config};
use terrane_node::{NodeConfig, NodeManager, NodeMetrics};
use terrane_snapshots::Snapshots;
use terrane_store::Store;
use terrane_telemetry::Metrics;
use terrane_telemetry::health::HealthRegistry;
use terrane_types::{AccountId, Zone};
use terrane_volumes::{Manager, ManagerConfig, ManagerMetrics};

use super::config::Config;
use super::datadir::{CLUSTER_KEY, DataDir, NBD_SOCKET};
use super::volumes_config::{ClusterTls, VolumesSection};

/// Volumes that an instance can have: as many names as `/dev/sd?` and `/dev/xvd??` leave, and EC2's own number.
const ATTACHMENTS_MAX: u16 = 128;
/// Servers that do not register within this time do not hold up the start.
const REGISTRATION_PATIENCE: Duration = Duration::from_secs(15);
const REGISTRATION_LOOK: Duration = Duration::from_millis(20);

/// What volumes are started from.
pub(super) struct Start<'a> {
    pub(super) data: &'a DataDir,
    pub(super) config: &'a Config,
    pub(super) store: Store,
    /// Whether the store is this process's alone.
    pub(super) exclusive: bool,
    pub(super) metrics: &'a Metrics,
    pub(super) health: &'a HealthRegistry,
    /// Whether block servers and a node manager run here as well.
    pub(super) everything: bool,
}

/// Volumes that run.
pub(super) struct Volumes {
    pub(super) manager: Manager,
    servers: Vec<BlockServer>,
    node: Option<NodeManager>,
    host_account: AccountId,
}

impl Start<'_> {
    /// Starts the manager, and whatever else shall run here; returns when all have found each other.
    pub(super) async fn all(self) -> anyhow::Result<Volumes> {
        let section = &self.config.volumes;
        let key = match &section.cluster_key {
            Some(path) => ClusterKey::load(path),
            None => ClusterKey::load_or_create(&self.data.path("run").join(CLUSTER_KEY)),
        };
        let key = key.context("the cluster's key")?;
        let credentials = credentials(key, section.tls.as_ref())?;
        let manager = self.manager(credentials.clone()).await?;
        let mut volumes =
            Volumes { manager, servers: Vec::new(), node: None, host_account: section.host_account.clone() };
        if self.everything {
            let begun = self.rest(&mut volumes, credentials).await;
            if let Err(error) = begun {
                volumes.stop().await;
                return Err(error);
            }
        }
        Ok(volumes)
    }

    async fn manager(&self, credentials: Credentials) -> anyhow::Result<Manager> {
        let section = &self.config.volumes;
        let config = ManagerConfig {
            exclusive: self.exclusive,
            zones: section.zones(&self.config.region)?,
            listen: section.control,
            credentials,
            host_account: section.host_account.clone(),
            copies: section.copies,
            overcommit: section.overcommit,
            timing: section.timing(),
            health: self.health.clone(),
            store: self.store.clone(),
            region: self.config.region.clone(),
        };
        let metrics = self.metrics.with(ManagerMetrics::register);
        Manager::start(config, metrics).await.context("the volume manager cannot start")
    }

    async fn rest(&self, volumes: &mut Volumes, credentials: Credentials) -> anyhow::Result<()> {
        let section = &self.config.volumes;
        let zones = section.zones(&self.config.region)?;
        let manager = volumes.manager.control_address().to_string();
        let metrics = self.metrics.with(BlockMetrics::register);
        for number in 1..=section.servers {
            let zone = zone_of(&zones, number, section.servers);
            let dir = self.data.path("servers").join(number.to_string());
            let mut config =
                BlockServerConfig::new(dir.clone(), zone, number.to_string(), credentials.clone());
            config.managers = vec![manager.clone()];
            config.metrics = metrics.clone();
            config.pace = section.pace();
            config.data_path = section.data_path();
            config.busy_poll = section.busy_poll();
            config.pools = [(Media::Ssd, "ssd"), (Media::Hdd, "hdd")]
                .map(|(media, name)| pool(section, media, dir.join(name)))
                .into();
            // A drive that is full or broken takes no other service down with it.
            match BlockServer::start(config).await {
                Ok(server) => volumes.servers.push(server),
                Err(error) => {
                    tracing::error!(server = number, error = &error as &dyn std::error::Error, "not started");
                    self.health.component("block-servers").degraded(format!("server {number}: {error}"));
                }
            }
        }
        let config = NodeConfig {
            dir: self.data.path("node"),
            instance: None,
            zone: zones.first().context("there is no zone")?.clone(),
            host_name: host_name(),
            managers: vec![manager],
            credentials,
            nbd_socket: self.data.path("run").join(NBD_SOCKET),
            nbd_listen: Some(section.nbd),
            nbd_tls: section.tls.as_ref().map(ClusterTls::nbd),
            cache: section.cache.0,
            busy_poll: section.busy_poll(),
        };
        let metrics = self.metrics.with(NodeMetrics::register);
        let node = NodeManager::start(config, metrics).await.context("the node manager cannot start")?;
        volumes.node = Some(node);
        volumes.wait_for_registrations().await;
        Ok(())
    }
}

/// How to speak with the rest of a cluster.
pub(super) fn credentials(key: ClusterKey, tls: Option<&ClusterTls>) -> anyhow::Result<Credentials> {
    let tls = tls.map(|files| Tls::load(&files.cluster())).transpose().context("volumes.tls")?;
    Ok(Credentials { key, tls })
}

/// The first servers lie in the first zone, the last ones in the last.
fn zone_of(zones: &[Zone], number: u8, servers: u8) -> Zone {
    let place = usize::from(number - 1) * zones.len() / usize::from(servers);
    zones[place].clone()
}

fn pool(section: &VolumesSection, media: Media, dir: PathBuf) -> PoolSpec {
    PoolSpec { media, dir, capacity: None, iops: section.pool_iops, throughput: section.pool_throughput.0 }
}

/// This machine's name, for people.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

impl Volumes {
    /// EC2 in front of the manager.
    pub(super) fn ec2(
        &self,
        auth: &Auth,
        config: &Config,
        endpoint: SocketAddr,
        snapshots: Option<&Snapshots>,
    ) -> Ec2Door {
        let config = Ec2Config {
            region: config.region.clone(),
            endpoint: endpoint.to_string(),
            attachments_max: ATTACHMENTS_MAX,
        };
        let ec2 = Ec2::new(std::sync::Arc::new(self.manager.clone()), config);
        let ec2 = match snapshots {
            Some(snapshots) => ec2.with_snapshots(super::snapshots::service(snapshots)),
            None => ec2,
        };
        Ec2Door::new(auth.clone(), ec2)
    }

    /// What the native API calls.
    pub(super) fn api(&self) -> terrane_api::Volumes {
        terrane_api::Volumes::of(&self.manager)
    }

    /// Where NBD is served over TCP.
    pub(super) fn nbd_address(&self) -> Option<SocketAddr> {
        self.node.as_ref().and_then(NodeManager::nbd_address)
    }

    /// Waits until the manager knows all servers and the machine, so that the first call finds room.
    async fn wait_for_registrations(&self) {
        let began = Instant::now();
        while began.elapsed() < REGISTRATION_PATIENCE {
            if self.registered().await {
                return;
            }
            tokio::time::sleep(REGISTRATION_LOOK).await;
        }
        tracing::warn!("not all block servers have registered with the volume manager yet");
    }

    async fn registered(&self) -> bool {
        let Ok(known) = self.manager.servers().await else { return false };
        let is_up = |server: &BlockServer| {
            let id = format!("{:032x}", server.id().0);
            known.iter().any(|known| known.id == id && known.state != "down")
        };
        self.servers.iter().all(is_up) && self.node_is_registered().await
    }

    async fn node_is_registered(&self) -> bool {
        use terrane_ec2::service::{Caller, InstanceState, Select, VolumeService as _};
        let Some(node) = &self.node else { return true };
        let account = self.host_account.clone();
        let caller = Caller { account, principal: "terrane".into(), request_id: String::new() };
        let ids = [node.instance().clone()];
        let found = self.manager.instances(&caller, Select::Ids(&ids)).await;
        found.is_ok_and(|found| found.iter().any(|instance| instance.state == InstanceState::Running))
    }

    /// Answers what clients of NBD have asked, and takes no more.
    pub(super) async fn stop_node(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().await;
        }
    }

    /// Ends everything, those who ask before those who are asked.
    pub(super) async fn stop(mut self) {
        self.stop_node().await;
        futures::future::join_all(self.servers.drain(..).map(BlockServer::stop)).await;
        self.manager.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_spread_over_zones() {
        let zones = ["a", "b"].map(|name| Zone::parse(name).unwrap());
        let spread =
            |servers| -> String { (1..=servers).map(|n| zone_of(&zones, n, servers).to_string()).collect() };
        assert_eq!((spread(4), spread(1), spread(3)), ("aabb".into(), "a".into(), "aab".into()));
    }
}

//! A few block servers with a copy each.

use super::manager::{Manager, STRIPE, is_whole};
use super::until;
use super::user::User;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use terrane_block::engine::{self, media::FsMedia};
use terrane_block::server::{
    BlockMetrics, BlockServer, BlockServerConfig, DriveUses, OpenMedia, Pace, PoolSpec,
};
use terrane_block_core::record::Record;
use terrane_block_core::{CopyId, Incarnation};
use terrane_block_wire::ClusterKey;
use terrane_block_wire::control::{Command, CopyIdentity, CopyReport, Media, ServerId};
use terrane_block_wire::transport::Credentials;
use terrane_telemetry::Metrics;
use terrane_types::{VolumeId, Zone};

/// What differs from the usual.
pub(super) struct Settings {
    pub(super) open_media: Arc<OpenMedia>,
    pub(super) capacity: fn(CopyId) -> u64,
    pub(super) hang: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let open_media =
            Arc::new(|spec: &PoolSpec, path| -> std::io::Result<Arc<dyn engine::media::Media>> {
                Ok(FsMedia::open_by(&spec.dir, path)?)
            });
        Self { open_media, capacity: |_| 1 << 30, hang: Pace::default().hang }
    }
}

pub(super) struct Cluster {
    pub(super) manager: Manager,
    dir: tempfile::TempDir,
    credentials: Credentials,
    settings: Settings,
    metrics: (Metrics, BlockMetrics),
    pub(super) uses: DriveUses,
    servers: BTreeMap<CopyId, (ServerId, Option<BlockServer>)>,
    blocks: u64,
}

impl Cluster {
    pub(super) async fn start(copies: &[CopyId], blocks: u64) -> Self {
        Self::start_with(copies, blocks, Settings::default()).await
    }

    pub(super) async fn start_with(copies: &[CopyId], blocks: u64, settings: Settings) -> Self {
        let credentials = Credentials::plain(ClusterKey::random());
        let manager = Manager::start(credentials.clone(), blocks).await;
        let metrics = Metrics::new();
        let block = metrics.with(BlockMetrics::register);
        let dir = tempfile::tempdir().unwrap();
        let (servers, metrics) = (BTreeMap::new(), (metrics, block));
        let uses = DriveUses::default();
        let mut cluster = Self { manager, dir, credentials, settings, metrics, uses, servers, blocks };
        for copy in copies {
            let server = cluster.launch(*copy).await;
            cluster.servers.insert(*copy, (server.id(), Some(server)));
            cluster.until_there(*copy).await;
            cluster.create(*copy).await.unwrap();
            until("a new copy's report", || cluster.report(*copy).is_some()).await;
        }
        cluster.manager.begin(copies);
        cluster
    }

    fn pool_dir(&self, copy: CopyId) -> PathBuf {
        self.dir.path().join(format!("{}/pool", copy.0))
    }

    async fn launch(&self, copy: CopyId) -> BlockServer {
        let zone = Zone::parse("here-1a").unwrap();
        let dir = self.dir.path().join(copy.0.to_string());
        let pool = PoolSpec {
            media: Media::Ssd,
            dir: self.pool_dir(copy),
            capacity: Some((self.settings.capacity)(copy)),
            iops: 1000,
            throughput: 1 << 30,
        };
        let config = BlockServerConfig {
            managers: vec![self.manager.address.clone()],
            pools: vec![pool],
            metrics: self.metrics.1.clone(),
            drive_uses: self.uses.clone(),
            pace: Pace {
                scrub: 0,
                retry: Duration::from_millis(20),
                hang: self.settings.hang,
                ..Pace::default()
            },
            tune: |engine| {
                engine.journal.segment_bytes = 1 << 20;
                engine.journal.max_record_bytes = 512 << 10;
            },
            open_media: self.settings.open_media.clone(),
            ..BlockServerConfig::new(dir, zone, copy.0.to_string(), self.credentials.clone())
        };
        BlockServer::start(config).await.unwrap()
    }

    async fn until_there(&self, copy: CopyId) {
        let server = self.server(copy);
        until("a server's hello", || self.manager.has(server)).await;
    }

    pub(super) fn server(&self, copy: CopyId) -> ServerId {
        self.servers[&copy].0
    }

    pub(super) async fn create(&self, copy: CopyId) -> Result<(), String> {
        let pool = self.manager.pool(self.server(copy)).pool;
        let identity = CopyIdentity {
            volume: VolumeId::from_bits(1),
            account: "account".into(),
            stripe_index: 0,
            stripes: 1,
            stripe_bytes: 1 << 30,
            blocks: self.blocks,
        };
        let command = Command::CreateCopy { stripe: STRIPE, copy, pool, identity };
        self.manager.command(self.server(copy), command).await
    }

    pub(super) async fn delete(&self, copy: CopyId) -> Result<(), String> {
        let command = Command::DeleteCopy { stripe: STRIPE, copy };
        self.manager.command(self.server(copy), command).await
    }

    pub(super) async fn scrub(&self, copy: CopyId) -> Result<(), String> {
        self.manager.command(self.server(copy), Command::Scrub { stripe: STRIPE, copy }).await
    }

    /// Ends a copy's server, as if its process died.
    pub(super) async fn kill(&mut self, copy: CopyId) {
        let (id, server) = self.servers.get_mut(&copy).unwrap();
        let id = *id;
        server.take().unwrap().stop().await;
        until("a server's end", || !self.manager.has(id)).await;
    }

    pub(super) async fn revive(&mut self, copy: CopyId) {
        let server = self.launch(copy).await;
        assert_eq!(server.id(), self.server(copy), "a server is the same at every start");
        self.servers.get_mut(&copy).unwrap().1 = Some(server);
        self.until_there(copy).await;
    }

    pub(super) async fn until_whole(&self) {
        let copies = self.servers.len();
        until("all copies in sync", || is_whole(&self.record(), copies)).await;
    }

    pub(super) fn record(&self) -> Record {
        self.manager.record().unwrap()
    }

    pub(super) fn report(&self, copy: CopyId) -> Option<CopyReport> {
        self.manager.report(copy)
    }

    pub(super) fn lives(&self) -> Vec<Option<Incarnation>> {
        self.servers.keys().map(|copy| self.report(*copy).unwrap().incarnation).collect()
    }

    /// The file of a copy; there is one in each pool.
    pub(super) fn copy_file(&self, copy: CopyId) -> PathBuf {
        let files = std::fs::read_dir(self.pool_dir(copy)).unwrap().map(|entry| entry.unwrap().path());
        let is_copy = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "copy");
        files.into_iter().find(is_copy).unwrap_or_default()
    }

    /// The sum of a counter over all servers.
    pub(super) fn counter(&self, name: &str) -> u64 {
        let text = self.metrics.0.render();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
    }

    pub(super) fn resync_bytes(&self) -> u64 {
        self.counter("terrane_block_resync_bytes_total")
    }

    pub(super) fn user(&self) -> User {
        User::start(self.manager.views(), self.credentials.clone())
    }

    pub(super) async fn stop(mut self) {
        for (_, server) in self.servers.values_mut() {
            if let Some(server) = server.take() {
                server.stop().await;
            }
        }
    }
}

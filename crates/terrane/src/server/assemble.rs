//! Putting the parts of a server together, and taking them apart again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use terrane_api::{App, AuthGate, FrontDoor, FrontMetrics, Installation, Native, Server, Sts, Tls};
use terrane_auth::{Auth, AuthMetrics, KeyService, NewAccessKey};
use terrane_s3::{S3Config, S3Front};
use terrane_snapshots::Snapshots;
use terrane_store::{EmbeddedConfig, PostgresConfig, Store};
use terrane_telemetry::Metrics;
use terrane_telemetry::audit::{AuditLog, AuditMetrics};
use terrane_telemetry::health::HealthRegistry;
use terrane_telemetry::history::History;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::datadir::{CREDENTIALS, DataDir, ENDPOINTS};
use super::monitor::Monitor;
use super::objects::Objects;
use super::snapshots;
use super::volumes::{self, Volumes};
use super::{Part, Role, StoreChoice};
use crate::cli::say;

/// What a server is started from.
pub(super) struct Start<'a> {
    pub(super) data: &'a DataDir,
    pub(super) config: &'a Config,
    pub(super) part: Part,
    pub(super) store: StoreChoice,
    pub(super) closing: CancellationToken,
}

/// A server that answers.
pub(super) struct Running {
    server: Server,
    closing: CancellationToken,
    objects: Objects,
    volumes: Option<Volumes>,
    snapshots: Option<Snapshots>,
    store: Store,
    audit: AuditLog,
    watchers: [JoinHandle<()>; 2],
    url: String,
    data_dir: String,
}

/// What watches the process.
struct Watch {
    metrics: Metrics,
    health: HealthRegistry,
    history: History,
    audit: AuditLog,
}

impl Start<'_> {
    /// Opens everything, begins to answer, and says where.
    pub(super) async fn all(self, listener: TcpListener) -> anyhow::Result<Running> {
        let tls = self.config.tls_files().map(Tls::load).transpose().context("HTTPS cannot be offered")?;
        let watch = self.watch()?;
        let store = self.open_store().await?;
        let (auth, root) = open_auth(self.data, &store, self.config, &watch.metrics).await?;
        let objects = Objects::open(self.data, self.config, auth.keys(), &watch.metrics).await?;
        let volumes = self.volumes(&watch, &store).await?;
        let snapshots = self.snapshots(&watch, &store, &auth, &objects).await?;
        let reached = reachable(listener.local_addr().context("cannot listen")?);
        let door = self.front_door(
            &watch,
            &store,
            &auth,
            &objects,
            (volumes.as_ref(), snapshots.as_ref()),
            reached,
        )?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let metrics = door.metrics.clone();
        let server =
            Server::start(listener, tls.map(Arc::new), self.config.server(), metrics, Arc::new(door))
                .context("cannot listen")?;
        let url = format!("{scheme}://{}", reachable(server.address()));
        self.announce(&url, root.as_ref(), volumes.as_ref())?;
        let monitor = Monitor::new(&watch.health, self.data.root(), store.clone(), objects.service());
        let watchers = [
            tokio::spawn(sample(watch.history, watch.metrics)),
            tokio::spawn(monitor.run(self.config.objects.reserve.0)),
        ];
        let data_dir = self.data.root().display().to_string();
        Ok(Running {
            server,
            closing: self.closing,
            objects,
            volumes,
            snapshots,
            store,
            audit: watch.audit,
            watchers,
            url,
            data_dir,
        })
    }

    fn watch(&self) -> anyhow::Result<Watch> {
        let metrics = Metrics::new();
        let history = History::open(&self.data.path("metrics"), &self.config.history())
            .context("cannot open the metrics' history")?;
        let audit_metrics = metrics.with(AuditMetrics::register);
        let audit = AuditLog::open(&self.data.path("audit"), self.config.audit(), audit_metrics)
            .context("cannot open the audit log")?;
        let health = metrics.with(HealthRegistry::register);
        Ok(Watch { metrics, health, history, audit })
    }

    async fn open_store(&self) -> anyhow::Result<Store> {
        match &self.store {
            StoreChoice::Embedded => open_embedded(self.data).await,
            StoreChoice::Postgres(url) => Store::postgres(url, PostgresConfig::default())
                .await
                .context("cannot open the store in PostgreSQL"),
        }
    }

    async fn volumes(&self, watch: &Watch, store: &Store) -> anyhow::Result<Option<Volumes>> {
        if !self.config.volumes.enabled {
            return Ok(None);
        }
        let start = volumes::Start {
            data: self.data,
            config: self.config,
            store: store.clone(),
            exclusive: self.store == StoreChoice::Embedded,
            metrics: &watch.metrics,
            health: &watch.health,
            everything: self.part == Part::Everything,
        };
        start.all().await.map(Some)
    }

    async fn snapshots(
        &self,
        watch: &Watch,
        store: &Store,
        auth: &Auth,
        objects: &Objects,
    ) -> anyhow::Result<Option<Snapshots>> {
        if !self.config.volumes.enabled {
            return Ok(None);
        }
        let exclusive = self.store == StoreChoice::Embedded;
        let section = &self.config.snapshots;
        section.start(store, exclusive, auth, objects.service(), &watch.metrics).await.map(Some)
    }

    fn front_door(
        &self,
        watch: &Watch,
        store: &Store,
        auth: &Auth,
        objects: &Objects,
        (volumes, snapshots): (Option<&Volumes>, Option<&Snapshots>),
        reached: SocketAddr,
    ) -> anyhow::Result<FrontDoor> {
        let (config, objects) = (self.config, objects.service());
        let s3_config = S3Config {
            region: config.region.clone(),
            regions: (!config.allowed_regions.is_empty()).then(|| config.allowed_regions.clone()),
            domains: config.listen.domains.clone(),
            ..S3Config::default()
        };
        let gate = Arc::new(AuthGate(auth.clone()));
        let s3 = watch.metrics.with(|registry| S3Front::new(objects.clone(), gate, s3_config, registry))?;
        let installation = Installation {
            region: config.region.to_string(),
            roles: self.roles(),
            backup_dir: self.data.path("backups"),
            started: Instant::now(),
        };
        let native = Native::new(App {
            auth: auth.clone(),
            objects,
            store: store.clone(),
            metrics: watch.metrics.clone(),
            history: watch.history.clone(),
            health: watch.health.clone(),
            installation,
            volumes: volumes.map(Volumes::api),
            snapshots: snapshots.map(snapshots::service),
            closing: self.closing.clone(),
        });
        Ok(FrontDoor {
            s3,
            native,
            sts: Sts::new(auth.clone()),
            ec2: volumes.map(|volumes| volumes.ec2(auth, config, reached, snapshots)),
            ebs: snapshots.map(|snapshots| snapshots::ebs(auth, snapshots)),
            audit: watch.audit.clone(),
            metrics: watch.metrics.with(FrontMetrics::register),
            domains: config.listen.domains.clone(),
        })
    }

    fn roles(&self) -> Vec<String> {
        let more: &[Role] = match self.part {
            Part::Everything if self.config.volumes.enabled => &[Role::Block, Role::Node],
            _ => &[],
        };
        Role::ALL.iter().chain(more).map(|role| role.text().to_owned()).collect()
    }

    /// Writes the files that clients look for, the endpoints last: they say that everything answers.
    fn announce(
        &self,
        url: &str,
        root: Option<&NewAccessKey>,
        volumes: Option<&Volumes>,
    ) -> anyhow::Result<()> {
        match root {
            Some(root) => self.data.write_run_file(CREDENTIALS, &credentials(root, self.config))?,
            // An operator has disabled the root's keys: then none is written down.
            None => self.data.remove_run_file(CREDENTIALS)?,
        }
        let mut endpoints = serde_json::json!({ "api": url, "metrics": format!("{url}/_terrane/metrics") });
        if let Some(volumes) = volumes {
            endpoints["ebs"] = url.into();
            endpoints["control"] = volumes.manager.control_address().to_string().into();
            if let Some(nbd) = volumes.nbd_address() {
                endpoints["nbd"] = format!("nbd://{nbd}").into();
            }
        }
        self.data.write_run_file(ENDPOINTS, &format!("{endpoints:#}\n"))
    }
}

/// The embedded store of a data directory.
pub(super) async fn open_embedded(data: &DataDir) -> anyhow::Result<Store> {
    let dir = data.path("store");
    let opened = Store::embedded(&dir, EmbeddedConfig::default()).await;
    opened.with_context(|| format!("cannot open the store in {}", dir.display()))
}

/// Accounts, and the root's key.
async fn open_auth(
    data: &DataDir,
    store: &Store,
    config: &Config,
    metrics: &Metrics,
) -> anyhow::Result<(Auth, Option<NewAccessKey>)> {
    let keys = open_keys(data, store).await?;
    let auth = Auth::new(store.clone(), keys, config.auth(metrics.with(AuthMetrics::register)));
    let root = auth.ensure_root().await.context("cannot find or make the root account")?;
    if root.created {
        tracing::info!("root account made");
    }
    Ok((auth, root.key))
}

/// The key service over the master key of a data directory, which is made at first start.
pub(super) async fn open_keys(data: &DataDir, store: &Store) -> anyhow::Result<KeyService> {
    let path = data.path("keys").join("master.key");
    let opened = KeyService::open(store.clone(), &path).await;
    opened.with_context(|| format!("cannot open the master key {}", path.display()))
}

/// An AWS shared-credentials file.
pub(super) fn credentials(key: &NewAccessKey, config: &Config) -> String {
    format!(
        "# Written by terrane at each start; changes are lost.\n[default]\naws_access_key_id = {}\n\
         aws_secret_access_key = {}\nregion = {}\n",
        key.key.id,
        key.secret.expose(),
        config.region
    )
}

/// Where clients on this machine reach what listens at an address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn sample(history: History, metrics: Metrics) {
    let mut ticks = tokio::time::interval(history.interval());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (history, metrics) = (history.clone(), metrics.clone());
        let sampled = tokio::task::spawn_blocking(move || history.sample(now, &metrics)).await;
        match sampled {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the metrics' history cannot be written"),
            Err(error) => tracing::error!(%error, "sampling metrics failed"),
        }
    }
}

impl Running {
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Says what to try next.
    pub(super) fn greet(&self) -> anyhow::Result<()> {
        let Self { url, data_dir, .. } = self;
        say(format_args!(
            "Terrane is ready.\n\n  \
             API and S3   {url}\n  \
             metrics      {url}/_terrane/metrics\n  \
             credentials  {data_dir}/run/credentials\n\n\
             Try:\n  \
             export AWS_ENDPOINT_URL={url} AWS_SHARED_CREDENTIALS_FILE={data_dir}/run/credentials\n  \
             aws s3 mb s3://first && aws s3 cp README.md s3://first/ && aws s3 ls s3://first/\n  \
             aws ec2 create-volume --size 8 --availability-zone us-east-1a && terrane volume list\n  \
             terrane status --data-dir {data_dir}\n"
        ))
    }

    /// Answers what was begun, then closes the stores.
    pub(super) async fn stop(mut self, patience: Duration) {
        self.closing.cancel();
        let (server, volumes) = (&self.server, &mut self.volumes);
        let node = async {
            if let Some(volumes) = volumes {
                volumes.stop_node().await;
            }
        };
        let (drained, ()) = tokio::join!(server.stop(patience), node);
        if !drained {
            tracing::warn!("requests were still in progress and were cut");
        }
        if let Some(snapshots) = self.snapshots {
            snapshots.stop().await;
        }
        if let Some(volumes) = self.volumes {
            volumes.stop().await;
        }
        self.watchers.iter().for_each(JoinHandle::abort);
        self.objects.close().await;
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "closing the store");
        }
        let audit = self.audit;
        if let Err(error) = tokio::task::spawn_blocking(move || audit.close()).await {
            tracing::error!(%error, "closing the audit log failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_an_address_that_they_can_reach() {
        for (listens, reached) in
            [("0.0.0.0:7070", "127.0.0.1:7070"), ("[::]:1", "[::1]:1"), ("192.0.2.1:80", "192.0.2.1:80")]
        {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), reached);
        }
    }
}

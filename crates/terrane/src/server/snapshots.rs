//! Snapshots within a server, and `[snapshots]` of the configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use terrane_api::EbsDoor;
use terrane_auth::{Auth, Secret};
use terrane_ec2::ebs::Ebs;
use terrane_ec2::service::SnapshotService;
use terrane_objects::service::ObjectService;
use terrane_snapshot::objects::ObjectStore;
use terrane_snapshots::objects::{OwnObjects, S3Config, S3Objects};
use terrane_snapshots::{SnapshotMetrics, Snapshots, SnapshotsConfig};
use terrane_store::Store;
use terrane_telemetry::Metrics;
use terrane_types::{AccessKeyId, Region};

use crate::cli::profile;

/// `[snapshots]`: snapshots of volumes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SnapshotsSection {
    /// Hours that deleted snapshots stay in the recycle bin.
    recycle_hours: u64,
    /// Snapshots that an account may have.
    account_snapshots_max: usize,
    /// Snapshots that an account may have pending.
    account_pending_max: usize,
    /// Seconds between looks for objects that nothing refers to any more.
    garbage_interval_seconds: u64,
    /// Seconds that readers of something deleted get before it is gone.
    garbage_grace_seconds: u64,
    s3: Option<S3Section>,
}

/// `[snapshots.s3]`: another object store than the own one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct S3Section {
    endpoint: String,
    bucket: String,
    #[serde(default = "Region::us_east_1")]
    region: Region,
    /// An AWS shared-credentials file.
    credentials: PathBuf,
    #[serde(default = "default_profile")]
    profile: String,
    #[serde(default = "default_timeout")]
    timeout_seconds: u64,
}

fn default_profile() -> String {
    "default".to_owned()
}

fn default_timeout() -> u64 {
    60
}

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Default for SnapshotsSection {
    fn default() -> Self {
        let config = SnapshotsConfig::default();
        Self {
            recycle_hours: config.recycle.as_secs() / 3600,
            account_snapshots_max: config.snapshots_max,
            account_pending_max: config.pending_max,
            garbage_interval_seconds: config.collect_interval.as_secs(),
            garbage_grace_seconds: config.grace.as_secs(),
            s3: None,
        }
    }
}

impl SnapshotsSection {
    /// Checks what types cannot say.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let positive = [
            ("account_snapshots_max", self.account_snapshots_max as u64),
            ("account_pending_max", self.account_pending_max as u64),
            ("garbage_interval_seconds", self.garbage_interval_seconds),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            bail!("snapshots.{name} must be at least 1");
        }
        if self.account_pending_max > 1000 {
            bail!("snapshots.account_pending_max must be at most 1000");
        }
        if self.recycle_hours > 24 * 365 {
            bail!("snapshots.recycle_hours must be at most a year");
        }
        if self.s3.as_ref().is_some_and(|s3| s3.timeout_seconds == 0) {
            bail!("snapshots.s3.timeout_seconds must be at least 1");
        }
        Ok(())
    }

    fn objects(&self, own: Arc<dyn ObjectService>) -> anyhow::Result<Arc<dyn ObjectStore>> {
        let Some(s3) = &self.s3 else { return Ok(Arc::new(OwnObjects::new(own))) };
        let text = std::fs::read_to_string(&s3.credentials)
            .with_context(|| format!("snapshots.s3.credentials: {}", s3.credentials.display()))?;
        let keys = profile(&text, &s3.profile)
            .with_context(|| format!("{} has no profile {}", s3.credentials.display(), s3.profile))?;
        let key = |name: &str| {
            let missing = || format!("profile {} of {} has no {name}", s3.profile, s3.credentials.display());
            keys.get(name).with_context(missing)
        };
        let config = S3Config {
            endpoint: s3.endpoint.clone(),
            bucket: s3.bucket.clone(),
            region: s3.region.clone(),
            access_key: AccessKeyId::parse(key("aws_access_key_id")?)?,
            secret: Secret::new(key("aws_secret_access_key")?.clone()),
            connect_timeout: CONNECT_TIMEOUT,
            timeout: Duration::from_secs(s3.timeout_seconds),
        };
        let store = S3Objects::new(config).map_err(anyhow::Error::msg).context("snapshots.s3")?;
        Ok(Arc::new(store))
    }

    /// Begins to keep snapshots.
    pub(super) async fn start(
        &self,
        store: &Store,
        exclusive: bool,
        auth: &Auth,
        objects: Arc<dyn ObjectService>,
        metrics: &Metrics,
    ) -> anyhow::Result<Snapshots> {
        let defaults = SnapshotsConfig::default();
        let config = SnapshotsConfig {
            exclusive,
            recycle: Duration::from_secs(self.recycle_hours * 3600),
            snapshots_max: self.account_snapshots_max,
            pending_max: self.account_pending_max,
            collect_interval: Duration::from_secs(self.garbage_interval_seconds),
            grace: Duration::from_secs(self.garbage_grace_seconds),
            object_timeout: self.s3.as_ref().map_or(defaults.object_timeout, |s3| {
                // The calls retry by themselves; this is what ends them.
                Duration::from_secs(s3.timeout_seconds.saturating_mul(5))
            }),
            ..defaults
        };
        let objects = self.objects(objects)?;
        let metrics = metrics.with(SnapshotMetrics::register);
        let started = Snapshots::start(store.clone(), auth.keys().clone(), objects, config, metrics).await;
        started.map_err(anyhow::Error::msg).context("snapshots cannot be kept")
    }
}

/// The EBS direct APIs in front of them.
pub(super) fn ebs(auth: &Auth, snapshots: &Snapshots) -> EbsDoor {
    EbsDoor::new(auth.clone(), Ebs::new(service(snapshots)))
}

/// What front ends call.
pub(super) fn service(snapshots: &Snapshots) -> Arc<dyn SnapshotService> {
    Arc::new(snapshots.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_work_is_refused() {
        let section = |text: &str| toml::from_str::<SnapshotsSection>(text).map(|s| s.check().is_ok());
        assert_eq!(section(""), Ok(true));
        for bad in ["account_pending_max = 0", "garbage_interval_seconds = 0", "recycle_hours = 9000"] {
            assert_eq!(section(bad), Ok(false), "{bad}");
        }
        assert!(section("[s3]\nendpoint = 'http://x'").is_err());
        assert!(section("recycle = 1").is_err());
    }
}

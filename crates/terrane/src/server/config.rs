//! The configuration file. Every key has a default; unknown keys are errors.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use terrane_api::{ServerConfig, TlsFiles};
use terrane_auth::sigv4::Rules;
use terrane_auth::{AuthConfig, AuthMetrics, RateLimit};
use terrane_telemetry::audit::AuditConfig;
use terrane_telemetry::history::HistoryConfig;
use terrane_telemetry::logs::{self, LogFormat};
use terrane_types::{ByteSize, Region};

use super::objects::ObjectsSection;
use super::snapshots::SnapshotsSection;
use super::volumes_config::VolumesSection;

/// Port of the front door.
pub(crate) const API_PORT: u16 = 7070;

/// The whole file; see `docs/configuration.md`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Region of this installation.
    pub(crate) region: Region,
    /// Regions that a signature may name; empty: any.
    pub(crate) allowed_regions: Vec<Region>,
    pub(crate) listen: Listen,
    pub(crate) tls: Option<TlsSection>,
    pub(crate) auth: AuthSection,
    pub(crate) objects: ObjectsSection,
    pub(crate) volumes: VolumesSection,
    pub(crate) snapshots: SnapshotsSection,
    pub(crate) telemetry: Telemetry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: Region::us_east_1(),
            allowed_regions: Vec::new(),
            listen: Listen::default(),
            tls: None,
            auth: AuthSection::default(),
            objects: ObjectsSection::default(),
            volumes: VolumesSection::default(),
            snapshots: SnapshotsSection::default(),
            telemetry: Telemetry::default(),
        }
    }
}

/// `[listen]`: the front door.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    /// Address; `0.0.0.0` or `::` for all.
    pub(crate) address: IpAddr,
    /// Port; 0: a free one.
    pub(crate) port: u16,
    /// Base domains of virtual-hosted buckets.
    pub(crate) domains: Vec<String>,
    /// Connections served at once.
    connections_max: usize,
    /// Bytes of a request's head.
    head_bytes_max: ByteSize,
    /// Header lines of a request.
    headers_max: usize,
    /// A request's head must have arrived after so many seconds.
    head_timeout_seconds: u64,
}

impl Default for Listen {
    fn default() -> Self {
        let server = ServerConfig::default();
        Self {
            address: IpAddr::from([127, 0, 0, 1]),
            port: API_PORT,
            domains: Vec::new(),
            connections_max: server.connections_max,
            head_bytes_max: ByteSize(server.head_bytes_max as u64),
            headers_max: server.headers_max,
            head_timeout_seconds: server.head_timeout.as_secs(),
        }
    }
}

/// `[tls]`: HTTPS instead of HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSection {
    /// PEM file with the certificate chain, leaf first.
    pub(crate) cert: PathBuf,
    /// PEM file with the private key.
    pub(crate) key: PathBuf,
}

/// `[auth]`: signatures and limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuthSection {
    /// How far clients' clocks may differ.
    pub(crate) clock_skew_seconds: u64,
    /// Sustained requests per second of an account that has no limit of its own; absent: unlimited.
    requests_per_second: Option<u32>,
    /// Requests that may come at once after a pause; default: twice the rate.
    burst: Option<u32>,
    /// How long another process's change of keys and policies may go unseen.
    staleness_ms: u64,
    /// Credentials, tokens and policies kept in memory, each.
    cache_entries: u64,
}

impl Default for AuthSection {
    fn default() -> Self {
        let auth = AuthConfig::default();
        Self {
            clock_skew_seconds: auth.rules.clock_skew_max.as_secs(),
            requests_per_second: None,
            burst: None,
            staleness_ms: auth.staleness_max.as_millis().try_into().unwrap_or(u64::MAX),
            cache_entries: auth.cache_entries_max,
        }
    }
}

/// `[telemetry]`: logs, history, audit.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// `text` or `json`.
    pub(crate) log_format: LogFormat,
    /// What is logged: `info`, or `info,terrane_objects=debug`, …
    pub(crate) log_filter: String,
    /// Seconds between samples of the metrics' history.
    history_interval_seconds: u64,
    /// Hours that the history is kept.
    history_hours: u64,
    /// Series of the history.
    history_series_max: usize,
    /// A file of the audit log that has grown so large is closed.
    audit_file_max: ByteSize,
    /// Files of the audit log that are kept.
    audit_files_max: usize,
}

impl Default for Telemetry {
    fn default() -> Self {
        let (history, audit) = (HistoryConfig::default(), AuditConfig::default());
        Self {
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
            history_interval_seconds: history.interval.as_secs(),
            history_hours: history.keep.as_secs() / 3600,
            history_series_max: history.series_max,
            audit_file_max: ByteSize(audit.file_bytes_max),
            audit_files_max: audit.files_max,
        }
    }
}

impl Config {
    /// Reads a file, or takes the defaults.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| format!("the configuration file {}", path.display()))
    }

    /// Parses and checks a text.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    /// Checks what types cannot say.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let positive = [
            ("listen.connections_max", self.listen.connections_max as u64),
            ("listen.headers_max", self.listen.headers_max as u64),
            ("listen.head_timeout_seconds", self.listen.head_timeout_seconds),
            ("auth.cache_entries", self.auth.cache_entries),
            ("telemetry.history_interval_seconds", self.telemetry.history_interval_seconds),
            ("telemetry.history_hours", self.telemetry.history_hours),
            ("telemetry.audit_files_max", self.telemetry.audit_files_max as u64),
            ("telemetry.audit_file_max", self.telemetry.audit_file_max.0),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            bail!("{name} must be at least 1");
        }
        if !(8192..=1 << 20).contains(&self.listen.head_bytes_max.0) {
            bail!("listen.head_bytes_max must be from 8KiB to 1MiB");
        }
        if let Some(domain) = self.listen.domains.iter().find(|domain| !is_domain(domain)) {
            bail!("listen.domains: {domain:?} is not a domain name");
        }
        if self.auth.requests_per_second == Some(0) || self.auth.burst == Some(0) {
            bail!("auth.requests_per_second and auth.burst must be at least 1");
        }
        if self.auth.burst.is_some() && self.auth.requests_per_second.is_none() {
            bail!("auth.burst needs auth.requests_per_second");
        }
        if !self.allowed_regions.is_empty() && !self.allowed_regions.contains(&self.region) {
            bail!("allowed_regions must contain the region {}", self.region);
        }
        logs::check_filter(&self.telemetry.log_filter).context("telemetry.log_filter")?;
        self.volumes.check()?;
        self.snapshots.check()?;
        self.objects.check()
    }

    /// Bounds of the listener.
    pub(crate) fn server(&self) -> ServerConfig {
        ServerConfig {
            connections_max: self.listen.connections_max,
            head_bytes_max: usize::try_from(self.listen.head_bytes_max.0).unwrap_or(usize::MAX),
            headers_max: self.listen.headers_max,
            head_timeout: Duration::from_secs(self.listen.head_timeout_seconds),
            ..ServerConfig::default()
        }
    }

    /// Certificate and key, if HTTPS is configured.
    pub(crate) fn tls_files(&self) -> Option<TlsFiles> {
        self.tls.as_ref().map(|tls| TlsFiles { cert: tls.cert.clone(), key: tls.key.clone() })
    }

    /// What signatures must fulfil, and limits.
    pub(crate) fn auth(&self, metrics: AuthMetrics) -> AuthConfig {
        let limit = self.auth.requests_per_second.map(|per_second| RateLimit {
            per_second,
            burst: self.auth.burst.unwrap_or(per_second.saturating_mul(2)),
        });
        AuthConfig {
            rules: Rules {
                regions: self.allowed_regions.clone(),
                clock_skew_max: Duration::from_secs(self.auth.clock_skew_seconds),
            },
            staleness_max: Duration::from_millis(self.auth.staleness_ms),
            cache_entries_max: self.auth.cache_entries,
            default_rate_limit: limit,
            metrics,
            ..AuthConfig::default()
        }
    }

    /// Bounds of the metrics' history.
    pub(crate) fn history(&self) -> HistoryConfig {
        HistoryConfig {
            interval: Duration::from_secs(self.telemetry.history_interval_seconds),
            keep: Duration::from_secs(self.telemetry.history_hours.saturating_mul(3600)),
            series_max: self.telemetry.history_series_max,
        }
    }

    /// Bounds of the audit log.
    pub(crate) fn audit(&self) -> AuditConfig {
        AuditConfig {
            file_bytes_max: self.telemetry.audit_file_max.0,
            files_max: self.telemetry.audit_files_max,
            ..AuditConfig::default()
        }
    }
}

fn is_domain(text: &str) -> bool {
    text.split('.').all(|label| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_means_the_defaults() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.listen.port, API_PORT);
        assert_eq!(config.region, Region::us_east_1());
        assert_eq!(config.server(), ServerConfig::default());
        assert_eq!(config.history(), HistoryConfig::default());
        assert_eq!(config.audit(), AuditConfig::default());
    }

    #[test]
    fn unknown_keys_and_nonsense_are_refused() {
        for bad in [
            "regoin = 'x'",
            "[listen]\nports = 1",
            "[lisen]",
            "[tls]\ncert = 'a'",
            "[auth]\nrequests_per_second = 0",
            "[auth]\nburst = 3",
            "[listen]\ndomains = ['s3..org']",
            "[telemetry]\nlog_filter = 'terrane=loud'",
            "[listen]\nhead_bytes_max = '1KiB'",
            "region = 'a'\nallowed_regions = ['b']",
        ] {
            assert!(Config::parse(bad).is_err(), "{bad}");
        }
    }

    /// The page names every key with its default. Keys without one are commented out.
    #[test]
    fn the_page_says_what_the_code_says() {
        let page = include_str!("../../../../docs/configuration.md");
        let mut examples = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let (all, tls) = (examples.next().unwrap(), examples.next().unwrap());
        let config = Config::parse(all).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        assert!(Config::parse(tls).unwrap().tls_files().is_some());
        // A key that the page forgets is found by taking one away from what serde expects.
        for key in expected_keys() {
            let named =
                all.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
            assert!(named, "docs/configuration.md does not name {key}");
        }
    }

    /// All keys of all sections, as serde's errors about unknown keys list them.
    fn expected_keys() -> Vec<String> {
        let mut keys = Vec::new();
        for section in [
            "",
            "[listen]",
            "[auth]",
            "[objects]",
            "[objects.load]",
            "[volumes]",
            "[snapshots]",
            "[telemetry]",
        ] {
            let error =
                toml::from_str::<Config>(&format!("{section}\nno-such-key = 1")).unwrap_err().to_string();
            let (_, listed) = error.split_once("expected one of ").unwrap();
            keys.extend(listed.split('`').skip(1).step_by(2).map(ToOwned::to_owned));
        }
        let sections =
            ["listen", "tls", "auth", "objects", "volumes", "snapshots", "s3", "telemetry", "load"];
        keys.retain(|key| !sections.contains(&&**key));
        keys
    }
}

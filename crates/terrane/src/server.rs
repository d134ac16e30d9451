//! Server commands: `up` and `serve`.

mod assemble;
mod config;
mod datadir;
mod monitor;
mod objects;
mod offline;
mod roles;
mod signals;
mod snapshots;
mod volumes;
mod volumes_config;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use terrane_telemetry::logs;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use self::offline::{check_store, reset_root_key, restore_store};
pub(crate) use self::signals::Signals;

use self::assemble::{Running, Start};
use self::config::{Config, TlsSection};
use self::datadir::DataDir;
use self::roles::MemberArgs;
use crate::cli::say;

/// Requests in progress may take so long after SIGTERM; the rest of the ten seconds is for closing the stores.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// What `up` and `serve` have in common.
#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Configuration file (TOML; see docs/configuration.md). Unknown keys are errors.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, with a port or without [default: 127.0.0.1, the role's port].
    #[arg(long, value_name = "ADDR[:PORT]")]
    listen: Option<ListenAddress>,
    /// `auto` picks free ports.
    #[arg(long, value_enum, default_value_t)]
    ports: Ports,
    /// Where the volume manager takes block servers and node managers [default: 127.0.0.1:7071; `--ports auto` picks a
    /// free port].
    #[arg(long, value_name = "ADDR:PORT")]
    control_listen: Option<SocketAddr>,
    /// Base domain of virtual-hosted buckets (`bucket.DOMAIN`). May be repeated.
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<String>,
    /// PEM file with the certificate chain: serve HTTPS. Reloaded on change.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key. Reloaded on change.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Start although drives of the log are missing: writes that only they hold are lost for good. For one start, by
    /// who has read why the start was refused.
    #[arg(long)]
    accept_missing_drives: bool,
}

/// An address with a port or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ListenAddress {
    ip: IpAddr,
    port: Option<u16>,
}

impl std::str::FromStr for ListenAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<SocketAddr>() {
            Ok(address) => Ok(Self { ip: address.ip(), port: Some(address.port()) }),
            Err(_) => Ok(Self { ip: text.parse()?, port: None }),
        }
    }
}

/// How ports are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ports {
    /// 7070, or what the configuration says.
    #[default]
    Default,
    /// Free ones; `run/endpoints.json` says which.
    Auto,
}

/// `terrane up`
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    listen: ListenArgs,
}

/// `terrane serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    listen: ListenArgs,
    /// What this process does.
    #[arg(long = "role", value_enum, value_delimiter = ',', required = true)]
    roles: Vec<Role>,
    /// Where control state is kept: `embedded` (in the data directory), or the URL of a PostgreSQL database.
    #[arg(
        long,
        value_name = "URL",
        default_value = "embedded",
        env = "TERRANE_STORE",
        hide_env_values = true
    )]
    store: String,
    #[command(flatten)]
    member: MemberArgs,
}

/// Roles of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Role {
    /// The front door.
    Api,
    /// The transactional store's owner and the volume manager; alone, the front door and objects with it.
    Manager,
    /// Object storage.
    Objects,
    /// A block server.
    Block,
    /// A node manager: volumes attached to this machine.
    Node,
}

impl Role {
    /// The roles of a process that has the front door.
    const ALL: [Self; 3] = [Self::Api, Self::Manager, Self::Objects];

    fn text(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Manager => "manager",
            Self::Objects => "objects",
            Self::Block => "block",
            Self::Node => "node",
        }
    }
}

/// Where control state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StoreChoice {
    Embedded,
    Postgres(String),
}

impl StoreChoice {
    fn parse(text: &str) -> anyhow::Result<Self> {
        match text {
            "embedded" => Ok(Self::Embedded),
            url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Ok(Self::Postgres(url.to_owned()))
            }
            // Not repeated: it may hold a password.
            _ => bail!("--store must be `embedded` or begin with postgres://"),
        }
    }
}

/// Runs every role in one process on embedded storage.
pub(crate) async fn up(dir: PathBuf, args: UpArgs) -> anyhow::Result<()> {
    let config = args.listen.config()?;
    run(dir, config, Part::Everything, StoreChoice::Embedded).await
}

/// Runs some roles.
pub(crate) async fn serve(dir: PathBuf, args: ServeArgs) -> anyhow::Result<()> {
    let mut roles = args.roles;
    roles.sort_unstable();
    roles.dedup();
    let listen = args.listen.listen.map(|at| SocketAddr::new(at.ip, at.port.unwrap_or(0)));
    let mut config = args.listen.config()?;
    if let Some(role) = roles::is_member(&roles) {
        let listen = listen.unwrap_or(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0));
        return roles::run(dir, config, role, listen, args.member).await;
    }
    if roles != Role::ALL && roles != [Role::Manager] {
        bail!(
            "this release runs the roles api, manager and objects in one process: a bucket's shard has one owner, \
             and front ends on other machines come with a later release; use --role api,manager,objects (or manager, \
             which means the same), or --role block or --role node alone"
        );
    }
    if let Some(key) = args.member.cluster_key {
        config.volumes.cluster_key = Some(key);
    }
    run(dir, config, Part::Manager, StoreChoice::parse(&args.store)?).await
}

impl ListenArgs {
    /// The configuration file with what the command line says put over it.
    fn config(self) -> anyhow::Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        if self.ports == Ports::Auto {
            config.listen.port = 0;
            config.volumes.control.set_port(0);
            config.volumes.nbd.set_port(0);
        }
        if let Some(ListenAddress { ip, port }) = self.listen {
            config.listen.address = ip;
            config.listen.port = port.unwrap_or(config.listen.port);
        }
        if let Some(control) = self.control_listen {
            config.volumes.control = control;
        }
        if !self.domains.is_empty() {
            config.listen.domains = self.domains;
        }
        if let Some((cert, key)) = self.tls_cert.zip(self.tls_key) {
            config.tls = Some(TlsSection { cert, key });
        }
        config.objects.accept_missing_drives = self.accept_missing_drives;
        config.check()?;
        Ok(config)
    }
}

/// What runs in a process that has the front door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Block servers and a node manager as well.
    Everything,
    /// Block servers and node managers are processes of their own.
    Manager,
}

async fn run(dir: PathBuf, config: Config, part: Part, store: StoreChoice) -> anyhow::Result<()> {
    let began = Instant::now();
    logs::init(config.telemetry.log_format, &config.telemetry.log_filter)?;
    let data = DataDir::own(&dir)?;
    let mut signals = signals::Signals::new()?;
    let address = SocketAddr::new(config.listen.address, config.listen.port);
    // Before anything is opened: a taken port is the most common mistake.
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another --listen address or port, or --ports auto")
    })?;
    let start = Start { data: &data, config: &config, part, store, closing: CancellationToken::new() };
    let running = tokio::select! {
        running = start.all(listener) => running?,
        name = signals.stop() => bail!("stopped by {name} before it was ready"),
    };
    tracing::info!(ready_ms = began.elapsed().as_millis(), address = %running.address(), "ready");
    match part {
        Part::Everything => running.greet()?,
        Part::Manager => say("ready")?,
    }
    let name = signals.stop().await;
    tracing::info!(signal = name, "stopping");
    tokio::select! {
        () = stop(running, &data) => Ok(()),
        name = signals.stop() => bail!("stopped at once by a second signal, {name}"),
    }
}

async fn stop(running: Running, data: &DataDir) {
    let began = Instant::now();
    if let Err(error) = data.remove_run_file(datadir::ENDPOINTS) {
        tracing::warn!(%error, "stopping");
    }
    running.stop(DRAIN_PATIENCE).await;
    tracing::info!(took_ms = began.elapsed().as_millis(), "stopped");
}

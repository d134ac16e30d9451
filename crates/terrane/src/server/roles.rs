//! Block servers and node managers as processes of their own: `terrane serve --role block` and `--role node`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use terrane_api::{Body, FrontMetrics, Handler, IncomingBody, Peer, Server, ServerConfig};
use terrane_block::server::{BlockMetrics, BlockServer, BlockServerConfig, PoolSpec};
use terrane_block_wire::ClusterKey;
use terrane_block_wire::control::Media;
use terrane_block_wire::transport::Credentials;
use terrane_node::{NodeConfig, NodeManager, NodeMetrics};
use terrane_telemetry::{Metrics, logs};
use terrane_types::{ByteSize, Zone};
use tokio::net::TcpListener;

use super::config::Config;
use super::datadir::{DataDir, ENDPOINTS, NBD_SOCKET};
use super::signals::Signals;
use super::volumes::{credentials, host_name};
use super::volumes_config::ClusterTls;
use super::{DRAIN_PATIENCE, Role};
use crate::cli::say;

/// What the roles `block` and `node` are told.
#[derive(Debug, Args)]
pub(crate) struct MemberArgs {
    /// Roles block, node: managers, `HOST:PORT` each (`control` in the manager's `run/endpoints.json`).
    #[arg(long = "manager", value_name = "HOST:PORT", value_delimiter = ',')]
    managers: Vec<String>,
    /// A copy of the manager's `run/cluster.key`, mode 0600; for the role manager, of another manager's.
    #[arg(long, value_name = "FILE")]
    pub(super) cluster_key: Option<PathBuf>,
    /// Roles block, node: the zone that this machine is in.
    #[arg(long, value_name = "ZONE")]
    zone: Option<Zone>,
    /// Roles block, node: a name for people [default: the machine's].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Role block: a pool, as `ssd:DIR[,capacity=SIZE][,iops=N][,throughput=SIZE]` or `hdd:…`. May be repeated.
    #[arg(long = "pool", value_name = "SPEC", value_parser = parse_pool)]
    pools: Vec<PoolSpec>,
    /// Role node: serve NBD over TCP as well; off loopback this needs `[volumes.tls]`.
    #[arg(long, value_name = "ADDR:PORT")]
    nbd_listen: Option<SocketAddr>,
    /// Roles block, node: where metrics are served over HTTP [default: 127.0.0.1, a free port].
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_listen: Option<SocketAddr>,
}

/// What `PoolSpec`s declare that do not say: as `terrane up` does.
fn parse_pool(text: &str) -> Result<PoolSpec, String> {
    let (media, rest) = text.split_once(':').ok_or("a pool is ssd:DIR or hdd:DIR")?;
    let media = match media {
        "ssd" => Media::Ssd,
        "hdd" => Media::Hdd,
        other => return Err(format!("{other:?} is neither ssd nor hdd")),
    };
    let mut parts = rest.split(',');
    let dir = parts.next().filter(|dir| !dir.is_empty()).ok_or("a pool needs a directory")?.into();
    let throughput = ByteSize::mib(2000).0;
    let mut pool = PoolSpec { media, dir, capacity: None, iops: 100_000, throughput };
    for part in parts {
        let size = |text: &str| ByteSize::parse(text).map(|size| size.0).map_err(|error| error.to_string());
        match part.split_once('=') {
            Some(("capacity", value)) => pool.capacity = Some(size(value)?),
            Some(("throughput", value)) => pool.throughput = size(value)?,
            Some(("iops", value)) => {
                pool.iops = value.parse().map_err(|_| format!("{value:?} is no number"))?
            }
            _ => return Err(format!("{part:?} is none of capacity=, iops=, throughput=")),
        }
    }
    Ok(pool)
}

/// What both roles have.
struct Member {
    data: DataDir,
    credentials: Credentials,
    zone: Zone,
    name: String,
    metrics: Metrics,
}

/// The part that runs.
enum Part {
    Block(BlockServer),
    Node(NodeManager),
}

impl Part {
    async fn stop(self) {
        match self {
            Self::Block(server) => server.stop().await,
            Self::Node(node) => node.stop().await,
        }
    }
}

/// Runs a block server or a node manager until a signal ends it.
pub(super) async fn run(
    dir: PathBuf,
    config: Config,
    role: Role,
    listen: SocketAddr,
    args: MemberArgs,
) -> anyhow::Result<()> {
    logs::init(config.telemetry.log_format, &config.telemetry.log_filter)?;
    if args.managers.is_empty() {
        bail!("--role {} needs --manager HOST:PORT", role.text());
    }
    let member = Member::new(dir, &config, role, &args)?;
    let mut signals = Signals::new()?;
    let at = args.metrics_listen.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    let listener = TcpListener::bind(at).await.with_context(|| format!("cannot serve metrics at {at}"))?;
    let (part, mut endpoints) = match role {
        Role::Block => member.block(&config, listen, &args).await?,
        _ => member.node(&config, &args).await?,
    };
    let front = member.metrics.with(FrontMetrics::register);
    let door = MetricsDoor(member.metrics.clone());
    let server = Server::start(listener, None, ServerConfig::default(), front, door)?;
    endpoints["metrics"] = format!("http://{}/_terrane/metrics", server.address()).into();
    member.data.write_run_file(ENDPOINTS, &format!("{endpoints:#}\n"))?;
    tracing::info!(role = role.text(), %endpoints, "ready");
    say("ready")?;
    let name = signals.stop().await;
    tracing::info!(signal = name, "stopping");
    member.data.remove_run_file(ENDPOINTS)?;
    tokio::select! {
        _ = async { tokio::join!(part.stop(), server.stop(DRAIN_PATIENCE)) } => Ok(()),
        name = signals.stop() => bail!("stopped at once by a second signal, {name}"),
    }
}

impl Member {
    fn new(dir: PathBuf, config: &Config, role: Role, args: &MemberArgs) -> anyhow::Result<Self> {
        let needs = |what: &str| format!("--role {} needs {what}", role.text());
        let key = args.cluster_key.as_ref().with_context(|| needs("--cluster-key FILE"))?;
        let zone = args.zone.clone().with_context(|| needs("--zone ZONE"))?;
        let key = ClusterKey::load(key)?;
        Ok(Self {
            credentials: credentials(key, config.volumes.tls.as_ref())?,
            data: DataDir::own(&dir)?,
            zone,
            name: args.name.clone().unwrap_or_else(host_name),
            metrics: Metrics::new(),
        })
    }

    async fn block(
        &self,
        config: &Config,
        listen: SocketAddr,
        args: &MemberArgs,
    ) -> anyhow::Result<(Part, serde_json::Value)> {
        if args.pools.is_empty() {
            bail!("--role block needs --pool ssd:DIR or --pool hdd:DIR");
        }
        let (zone, name) = (self.zone.clone(), self.name.clone());
        let mut server =
            BlockServerConfig::new(self.data.path("server"), zone, name, self.credentials.clone());
        server.listen = listen;
        server.managers = args.managers.clone();
        server.pools = args.pools.clone();
        server.metrics = self.metrics.with(BlockMetrics::register);
        server.pace = config.volumes.pace();
        server.data_path = config.volumes.data_path();
        server.busy_poll = config.volumes.busy_poll();
        let server = BlockServer::start(server).await.context("the block server cannot start")?;
        let endpoints = serde_json::json!({ "data": server.address().to_string() });
        Ok((Part::Block(server), endpoints))
    }

    async fn node(&self, config: &Config, args: &MemberArgs) -> anyhow::Result<(Part, serde_json::Value)> {
        let node = NodeConfig {
            dir: self.data.path("node"),
            instance: None,
            zone: self.zone.clone(),
            host_name: self.name.clone(),
            managers: args.managers.clone(),
            credentials: self.credentials.clone(),
            nbd_socket: self.data.path("run").join(NBD_SOCKET),
            nbd_listen: args.nbd_listen,
            nbd_tls: config.volumes.tls.as_ref().map(ClusterTls::nbd),
            cache: config.volumes.cache.0,
            busy_poll: config.volumes.busy_poll(),
        };
        let metrics = self.metrics.with(NodeMetrics::register);
        let node = NodeManager::start(node, metrics).await.context("the node manager cannot start")?;
        let mut endpoints = serde_json::json!({ "instance": node.instance().as_str() });
        if let Some(address) = node.nbd_address() {
            endpoints["nbd"] = format!("nbd://{address}").into();
        }
        Ok((Part::Node(node), endpoints))
    }
}

/// Serves metrics and nothing else.
#[derive(Clone)]
struct MetricsDoor(Metrics);

impl Handler for MetricsDoor {
    fn handle(&self, _: Peer, request: Request<IncomingBody>) -> BoxFuture<'static, Response<Body>> {
        let mut response = Response::new(Body::whole(""));
        match request.uri().path() {
            "/_terrane/metrics" => {
                *response.body_mut() = Body::whole(self.0.render());
                let kind = HeaderValue::from_static(terrane_telemetry::METRICS_CONTENT_TYPE);
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            _ => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        Box::pin(std::future::ready(response))
    }
}

/// The one role of a process that is a member of somebody else's installation.
pub(super) fn is_member(roles: &[Role]) -> Option<Role> {
    match roles {
        [role @ (Role::Block | Role::Node)] => Some(*role),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_on_the_command_line() {
        let pool = parse_pool("ssd:/drives/a,capacity=1GiB,iops=5,throughput=3MiB").unwrap();
        assert_eq!((pool.media, pool.dir, pool.capacity), (Media::Ssd, "/drives/a".into(), Some(1 << 30)));
        assert_eq!((pool.iops, pool.throughput), (5, 3 << 20));
        assert_eq!(parse_pool("hdd:x").unwrap().capacity, None);
        for bad in ["ssd", "ssd:", "tape:/x", "ssd:/x,size=1", "ssd:/x,iops=many", "ssd:/x,capacity=1GB"] {
            assert!(parse_pool(bad).is_err(), "{bad}");
        }
    }
}

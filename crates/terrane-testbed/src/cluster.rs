//! An installation of separate processes: managers, block servers, node managers.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::installation::{Installation, answer};
use crate::network::Network;
use crate::process::{Process, succeed};
use crate::wait_until;

/// What must happen happens within this time, also in a debug build on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The zones that members are spread over, in turn.
const ZONES: [&str; 2] = ["us-east-1a", "us-east-1b"];

/// One of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// A volume manager with the front door.
    Manager(u8),
    /// A block server.
    Server(u8),
    /// A node manager.
    Node(u8),
}

impl Member {
    /// The name that it is started with, also that of its directory.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Manager(n) => format!("manager{n}"),
            Self::Server(n) => format!("server{n}"),
            Self::Node(n) => format!("node{n}"),
        }
    }
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The built `terrane`.
    pub binary: PathBuf,
    /// How many managers; more than one needs `store`.
    pub managers: u8,
    /// How many block servers.
    pub servers: u8,
    /// How many node managers.
    pub nodes: u8,
    /// URL of the managers' store; embedded if there is none.
    pub store: Option<String>,
    /// Everyone has a network of its own that can be cut. Needs root.
    pub networks: bool,
    /// The managers' configuration file.
    pub config: String,
    /// More options of each pool: `,capacity=…`.
    pub pool_options: String,
    /// The block servers' configuration file.
    pub server_config: String,
    /// What members have in their environment besides ours.
    pub environment: BTreeMap<Member, Vec<(String, String)>>,
    /// More command-line options of each node manager.
    pub node_options: Vec<String>,
}

impl Plan {
    /// A manager, so many block servers, so many node managers.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, servers: u8, nodes: u8) -> Self {
        Self {
            binary: binary.into(),
            managers: 1,
            servers,
            nodes,
            store: None,
            networks: false,
            config: String::new(),
            pool_options: String::new(),
            server_config: String::new(),
            environment: BTreeMap::new(),
            node_options: Vec::new(),
        }
    }

    /// The same with a network that can be cut anywhere.
    #[must_use]
    pub fn with_networks(mut self) -> Self {
        self.networks = true;
        self
    }

    fn members(&self) -> Vec<Member> {
        let managers = (0..self.managers).map(Member::Manager);
        let servers = (0..self.servers).map(Member::Server);
        managers.chain(servers).chain((0..self.nodes).map(Member::Node)).collect()
    }
}

/// A running installation. Everything that belongs to it ends when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: processes before what they live in.
    processes: BTreeMap<Member, Process>,
    network: Option<Network>,
    control: Vec<SocketAddr>,
    plan: Plan,
    dir: TempDir,
}

impl Cluster {
    /// Starts everything and waits until everyone is ready.
    ///
    /// # Errors
    /// Something cannot be started; the error has the end of its log.
    pub fn start(plan: Plan) -> Result<Self> {
        let dir = TempDir::with_prefix("terrane-vol-")?;
        Self::start_in(plan, dir)
    }

    /// Starts in a directory made by the caller: that of the drive to be measured, for example.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_in(plan: Plan, dir: TempDir) -> Result<Self> {
        ensure!(plan.managers == 1 || plan.store.is_some(), "an embedded store has one manager");
        let members = plan.members();
        let network = plan.networks.then(|| Network::new(u8::try_from(members.len())?)).transpose()?;
        let mut cluster = Self { processes: BTreeMap::new(), network, control: Vec::new(), plan, dir };
        cluster.control = (0..cluster.plan.managers)
            .map(|n| free_address(cluster.address(Member::Manager(n))))
            .collect::<Result<_>>()?;
        for member in members {
            cluster.launch(member)?;
        }
        cluster.wait_known()?;
        Ok(cluster)
    }

    /// The directory that all is in; tests may put their own files here.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A member's data directory.
    #[must_use]
    pub fn data(&self, member: Member) -> PathBuf {
        self.dir.path().join(member.name())
    }

    /// The block server of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn server_named(&self, name: &str) -> Result<Member> {
        let found = (0..self.plan.servers).map(Member::Server).find(|server| server.name() == name);
        found.with_context(|| format!("no server {name}"))
    }

    /// Starts a member that does not run, on what its directory holds, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub fn launch(&mut self, member: Member) -> Result<()> {
        ensure!(!self.processes.contains_key(&member), "{member:?} is running");
        let data = self.data(member);
        fs::create_dir_all(&data)?;
        if matches!(member, Member::Manager(1..)) {
            self.hand_over_secrets(&data)?;
        }
        let log = self.dir.path().join(format!("{}.log", member.name()));
        let before = fs::metadata(&log).map_or(0, |file| file.len());
        let mut process = Process::start(&mut self.command(member)?, &log)?;
        let began = Instant::now();
        loop {
            let text = fs::read(&log)?;
            let new = text.get(usize::try_from(before)?..).unwrap_or_default();
            if String::from_utf8_lossy(new).lines().any(|line| line == "ready") {
                break;
            }
            if let Some(status) = process.ended()? {
                bail!("{} ended ({status}):\n{}", member.name(), process.log_end());
            }
            ensure!(began.elapsed() < PATIENCE, "{} is not ready:\n{}", member.name(), process.log_end());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.processes.insert(member, process);
        Ok(())
    }

    /// Changes the managers' configuration file, for their next start.
    pub fn set_config(&mut self, config: impl Into<String>) {
        self.plan.config = config.into();
    }

    /// What an operator copies from the first manager to another one: the key that wraps the store's secrets, and, for
    /// the command line, the root account's key.
    fn hand_over_secrets(&self, to: &Path) -> Result<()> {
        let from = self.data(Member::Manager(0));
        for file in ["keys/master.key", "run/credentials"] {
            let target = to.join(file);
            for dir in target.ancestors().skip(1).take_while(|dir| *dir != self.dir.path()) {
                fs::create_dir_all(dir)?;
                fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
            }
            fs::copy(from.join(file), &target).with_context(|| format!("{file} of the first manager"))?;
        }
        Ok(())
    }

    fn command(&self, member: Member) -> Result<Command> {
        let mut command = self.enter(member, &self.plan.binary);
        let environment = self.plan.environment.get(&member).into_iter().flatten();
        command.envs(environment.map(|(name, value)| (name, value)));
        command.arg("serve").arg("--data-dir").arg(self.data(member));
        let zone = |n: u8| ZONES[usize::from(n) % ZONES.len()];
        let listen = SocketAddr::new(self.address(member), 0).to_string();
        match member {
            Member::Manager(n) => {
                let config = self.dir.path().join("manager.toml");
                fs::write(&config, &self.plan.config)?;
                command.args(["--role", "manager", "--ports", "auto", "--listen"]);
                command.arg(self.address(member).to_string());
                command.args(["--control-listen", &self.control[usize::from(n)].to_string()]);
                command.arg("--config").arg(config);
                if n > 0 {
                    command.arg("--cluster-key").arg(self.cluster_key());
                }
                if let Some(store) = &self.plan.store {
                    command.args(["--store", store]);
                }
            }
            Member::Server(n) => {
                let pool = self.data(member).join("ssd");
                fs::create_dir_all(&pool)?;
                let config = self.dir.path().join("server.toml");
                fs::write(&config, &self.plan.server_config)?;
                command.arg("--config").arg(config);
                command.args(["--role", "block", "--zone", zone(n), "--name", &member.name()]);
                command.args(["--listen", &listen, "--pool"]);
                command.arg(format!("ssd:{}{}", pool.display(), self.plan.pool_options));
                self.join(&mut command);
            }
            Member::Node(n) => {
                command.args(["--role", "node", "--zone", zone(n), "--name", &member.name()]);
                command.args(&self.plan.node_options);
                self.join(&mut command);
            }
        }
        Ok(command)
    }

    /// Where the managers are, and how to prove that one belongs to them.
    fn join(&self, command: &mut Command) {
        let managers: Vec<String> = self.control.iter().map(ToString::to_string).collect();
        command.args(["--manager", &managers.join(",")]);
        command.arg("--cluster-key").arg(self.cluster_key());
    }

    /// The first manager made it.
    fn cluster_key(&self) -> PathBuf {
        self.data(Member::Manager(0)).join("run/cluster.key")
    }

    fn seat(&self, member: Member) -> u8 {
        match member {
            Member::Manager(n) => n,
            Member::Server(n) => self.plan.managers + n,
            Member::Node(n) => self.plan.managers + self.plan.servers + n,
        }
    }

    fn address(&self, member: Member) -> IpAddr {
        match &self.network {
            Some(network) => network.address(self.seat(member)),
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// A command that runs `program` in a member's network.
    #[must_use]
    pub fn enter(&self, member: Member, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match &self.network {
            Some(network) => network.enter(self.seat(member), program),
            None => Command::new(program),
        }
    }

    fn network(&self) -> Result<&Network> {
        self.network.as_ref().context("this cluster has no network that could be cut")
    }

    /// A running member.
    ///
    /// # Errors
    /// It does not run.
    pub fn process(&self, member: Member) -> Result<&Process> {
        self.processes.get(&member).with_context(|| format!("{member:?} does not run"))
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self, member: Member) -> Result<()> {
        self.processes.remove(&member).with_context(|| format!("{member:?} does not run"))?.kill()
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It does not run, does not end in time, or not in peace.
    pub fn stop(&mut self, member: Member) -> Result<()> {
        let mut process =
            self.processes.remove(&member).with_context(|| format!("{member:?} does not run"))?;
        let status = process.stop(PATIENCE)?;
        ensure!(status.success(), "{member:?} ended with {status}:\n{}", process.log_end());
        Ok(())
    }

    /// Cuts a member off from all others.
    ///
    /// # Errors
    /// The cluster has no networks.
    pub fn cut(&self, member: Member) -> Result<()> {
        self.network()?.cut(self.seat(member))
    }

    /// Connects it again.
    ///
    /// # Errors
    /// The cluster has no networks.
    pub fn heal(&self, member: Member) -> Result<()> {
        self.network()?.heal(self.seat(member))
    }

    /// The ends of everyone's logs, for who has to find out what went wrong.
    #[must_use]
    pub fn logs(&self) -> String {
        let log = |(member, process): (&Member, &Process)| {
            format!("--- {} ends so:\n{}\n", member.name(), process.log_end())
        };
        self.processes.iter().map(log).collect()
    }

    /// `terrane ARGS` as the root account, at the first manager that runs.
    ///
    /// # Errors
    /// It fails; the error has what it printed.
    pub fn cli_text(&self, args: &[&str]) -> Result<String> {
        let manager = self.some_manager()?;
        let mut command = self.enter(manager, &self.plan.binary);
        succeed(command.args(args).arg("--data-dir").arg(self.data(manager)))
    }

    fn some_manager(&self) -> Result<Member> {
        let mut running = (0..self.plan.managers).map(Member::Manager);
        running.find(|manager| self.processes.contains_key(manager)).context("no manager runs")
    }

    /// A value of a member's `run/endpoints.json`.
    ///
    /// # Errors
    /// It is not there.
    pub fn endpoint(&self, member: Member, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.data(member).join("run/endpoints.json"))?;
        let endpoints: Value = serde_json::from_str(&text)?;
        let found = endpoints[name].as_str().with_context(|| format!("no {name} in {text}"))?;
        Ok(found.trim_end_matches('/').to_owned())
    }

    /// A command that runs an AWS client as the root account, beside the first manager that runs.
    ///
    /// # Errors
    /// No manager runs.
    pub fn client(&self, program: &Path) -> Result<Command> {
        let manager = self.some_manager()?;
        let mut command = self.enter(manager, program);
        aws_environment(&mut command, &self.endpoint(manager, "api")?, &self.data(manager), self.dir.path());
        Ok(command)
    }

    /// The instance that a node manager has registered.
    ///
    /// # Errors
    /// It has not said so.
    pub fn instance(&self, node: Member) -> Result<String> {
        self.endpoint(node, "instance")
    }

    /// A metric of a block server or a node manager, summed over all its label sets; 0 if it is not there.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn metric(&self, member: Member, name: &str) -> Result<f64> {
        const GET: &str = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())";
        let url = self.endpoint(member, "metrics")?;
        let text = succeed(self.enter(member, "python3").args(["-c", GET, &url]).env("no_proxy", "*"))?;
        let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        Ok(samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    /// Waits until the managers know all block servers and node managers.
    fn wait_known(&self) -> Result<()> {
        let known = |list: &Value, states: &[&str]| {
            let all = list.as_array().into_iter().flatten();
            all.filter(|one| states.contains(&one["state"].as_str().unwrap_or_default())).count()
        };
        wait_until("all have registered", PATIENCE, || {
            let servers = known(&self.cli(&["server", "list"])?, &["up"]);
            let nodes = known(&self.cli(&["instance", "list"])?, &["running"]);
            Ok(servers >= usize::from(self.plan.servers) && nodes >= usize::from(self.plan.nodes))
        })
        .with_context(|| self.logs())
        .map(drop)
    }
}

impl Installation for Cluster {
    /// At the first manager that runs.
    fn cli(&self, args: &[&str]) -> Result<Value> {
        let text = self.cli_text(&[args, &["--output", "json"]].concat())?;
        answer(args, &text)
    }
}

/// Sets what makes any AWS client find this endpoint and nothing else.
pub fn aws_environment(command: &mut Command, endpoint: &str, data: &Path, home: &Path) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("AWS_") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_SHARED_CREDENTIALS_FILE", data.join("run/credentials"))
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_PAGER", "")
        .env("HOME", home)
        .env("PYTHONDONTWRITEBYTECODE", "1");
}

/// An address that is free now. In a network of its own every one is.
fn free_address(address: IpAddr) -> Result<SocketAddr> {
    if address != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return Ok(SocketAddr::new(address, 7071));
    }
    Ok(TcpListener::bind((address, 0))?.local_addr()?)
}

//! Machines of a network with certificates, made by the commands of `docs/volumes.md`, and clients of the right
//! authority, of another one, with none, and in plain text.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;
use terrane_testbed::{Installation, Network, PATIENCE, Process, output, succeed, wait_until};

use crate::setup::{BINARY, attached};

/// The addresses of `docs/volumes.md`. They exist in a network namespace of the test's own.
const MANAGER: &str = "10.0.0.1";
const SERVER: &str = "10.0.0.11";
const NODE: &str = "10.0.0.21";

/// The commands that make certificates, as the document has them.
fn recipe() -> &'static str {
    let document = include_str!("../../../../docs/volumes.md");
    let (_, rest) = document.split_once("```sh\n# The authority").expect("the document's recipe");
    let (recipe, _) = rest.split_once("```").expect("the end of the recipe");
    recipe
}

/// Runs the recipe in a new directory; returns where the certificates are.
fn certificates(dir: PathBuf) -> PathBuf {
    fs::create_dir_all(&dir).unwrap();
    succeed(Command::new("sh").args(["-euc", &format!("# {}", recipe())]).current_dir(&dir)).unwrap();
    dir
}

/// A manager, a block server and a node manager, each at its address.
struct Machines {
    // Dropped in this order.
    processes: BTreeMap<&'static str, Process>,
    network: Network,
    dir: TempDir,
}

impl Machines {
    fn new() -> Self {
        let network = Network::new(1).unwrap();
        for address in [MANAGER, SERVER, NODE] {
            let mut ip = network.enter(0, "ip");
            succeed(ip.args(["addr", "add", &format!("{address}/32"), "dev", "lo"])).unwrap();
        }
        let dir = TempDir::with_prefix("terrane-vol-").unwrap();
        let made = certificates(dir.path().join("tls"));
        for name in ["manager1", "rack1-1", "node1"] {
            let file = |name: &str| made.join(name).display().to_string();
            let config = format!(
                "[volumes]\ncopies = 1\n\n[volumes.tls]\ncert = \"{}\"\nkey = \"{}\"\nca = \"{}\"\n",
                file(&format!("{name}-cert.pem")),
                file(&format!("{name}-key.pem")),
                file("ca-cert.pem"),
            );
            fs::write(dir.path().join(format!("{name}.toml")), config).unwrap();
        }
        Self { processes: BTreeMap::new(), network, dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn client(&self, program: &str) -> Command {
        self.network.enter(0, program)
    }

    /// `terrane serve` of a machine, with options as in the document.
    fn command(&self, name: &str, options: &str) -> Command {
        let mut command = self.client(BINARY);
        command
            .args(["serve", "--data-dir", &self.path(&format!("{name}.data"))])
            .args(options.split_whitespace());
        if !name.starts_with("manager") {
            command.args(["--manager", &format!("{MANAGER}:7071"), "--zone", "us-east-1a", "--name", name]);
            command.args(["--cluster-key", &self.path("manager1.data/run/cluster.key")]);
        }
        command
    }

    fn start(&mut self, name: &'static str, options: &str) {
        let log = self.dir.path().join(format!("{name}.log"));
        let mut command = self.command(name, options);
        command.args(["--config", &self.path(&format!("{name}.toml"))]);
        let mut process = Process::start(&mut command, &log).unwrap();
        wait_until(&format!("{name} is ready"), PATIENCE, || {
            let said = fs::read_to_string(&log)?;
            anyhow::ensure!(process.ended()?.is_none(), "{name} has ended:\n{said}");
            Ok(said.lines().any(|line| line == "ready"))
        })
        .unwrap();
        self.processes.insert(name, process);
    }

    fn endpoint(&self, name: &str, what: &str) -> String {
        let text = fs::read_to_string(self.path(&format!("{name}.data/run/endpoints.json"))).unwrap();
        let endpoints: Value = serde_json::from_str(&text).unwrap();
        endpoints[what].as_str().unwrap_or_else(|| panic!("no {what} in {text}")).to_owned()
    }

    /// Whether `nbdinfo` finds an export at a URL, and what it said.
    fn info(&self, url: &str) -> (bool, String) {
        let said = output(self.client("nbdinfo").arg(url)).unwrap();
        let text = [said.stdout, said.stderr].concat();
        (said.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn refused(&self, url: &str) -> String {
        let (found, said) = self.info(url);
        assert!(!found && !said.contains("export-size"), "{url}: {said}");
        said
    }
}

impl Installation for Machines {
    fn cli(&self, args: &[&str]) -> Result<Value> {
        let mut command = self.client(BINARY);
        command.args(args).args(["--output", "json", "--data-dir", &self.path("manager1.data")]);
        let text = succeed(&mut command)?;
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }
}

/// All three, and an attached volume: its ID, and its name at the address of the NBD server.
fn started() -> (Machines, String, String) {
    let mut machines = Machines::new();
    machines.start(
        "manager1",
        &format!("--role manager --ports auto --listen {MANAGER} --control-listen {MANAGER}:7071"),
    );
    let pool = machines.path("pool");
    fs::create_dir_all(&pool).unwrap();
    machines.start("rack1-1", &format!("--role block --listen {SERVER}:7072 --pool ssd:{pool}"));
    machines.start("node1", &format!("--role node --nbd-listen {NODE}:10809"));
    wait_until("all have registered", PATIENCE, || {
        let [servers, hosts] = [machines.cli(&["server", "list"])?, machines.cli(&["instance", "list"])?];
        Ok(servers[0]["state"] == "up" && hosts[0]["state"] == "running")
    })
    .unwrap();
    let (volume, url) = attached(&machines, &machines.endpoint("node1", "instance"));
    let (name, _) = url.strip_prefix("nbd+unix:///").unwrap().split_once('?').unwrap();
    let place = machines.endpoint("node1", "nbd").strip_prefix("nbd://").unwrap().to_owned();
    (machines, volume, format!("{place}/{name}"))
}

#[test]
fn clients_with_a_certificate_are_served_and_nobody_else() {
    let (mut machines, volume, export) = started();
    let tls = |dir: &str| format!("nbds://{export}?tls-certificates={dir}");
    let good = tls(&machines.path("tls"));

    let (found, said) = machines.info(&good);
    assert!(found && said.contains("with TLS") && said.contains("export-size: 1073741824"), "{said}");
    let image = machines.path("image");
    let bytes: Vec<u8> = (0..4_u32 << 20).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
    fs::write(&image, &bytes).unwrap();
    succeed(machines.client("nbdcopy").args(["--connections=4", "--flush", &image, &good])).unwrap();
    let back = machines.path("back");
    succeed(machines.client("nbdcopy").args([&good, &back])).unwrap();
    assert!(fs::read(&back).unwrap().starts_with(&bytes));
    let (host, rest) = export.split_once(':').unwrap();
    let (port, name) = rest.split_once('/').unwrap();
    let image = format!(
        "driver=nbd,server.type=inet,server.host={host},server.port={port},export={name},tls-creds=t"
    );
    let credentials = format!("tls-creds-x509,id=t,endpoint=client,dir={}", machines.path("tls"));
    let mut qemu = machines.client("qemu-io");
    qemu.args([
        "--object",
        &credentials,
        "--image-opts",
        "-c",
        "write -P 7 8M 64k",
        "-c",
        "read -P 7 8M 64k",
        &image,
    ]);
    let said = succeed(&mut qemu).unwrap();
    assert!(said.contains("read 65536/65536"), "{said}");
    // In plain text, not even the name is asked for.
    machines.refused(&format!("nbd://{export}"));
    // Nothing to show; something from elsewhere; a server from elsewhere.
    let bare = machines.path("bare");
    fs::create_dir_all(&bare).unwrap();
    fs::copy(machines.path("tls/ca-cert.pem"), Path::new(&bare).join("ca-cert.pem")).unwrap();
    machines.refused(&tls(&bare));
    let foreign = certificates(machines.dir.path().join("foreign"));
    machines.refused(&tls(foreign.to_str().unwrap()));
    fs::copy(machines.path("tls/ca-cert.pem"), foreign.join("ca-cert.pem")).unwrap();
    machines.refused(&tls(foreign.to_str().unwrap()));
    // Without the name a certificate is worth nothing.
    let place = export.split_once('/').unwrap().0.to_owned();
    for guess in ["", "0123456789abcdef0123456789abcdef"] {
        machines.refused(&format!("nbds://{place}/{guess}?tls-certificates={}", machines.path("tls")));
    }
    let list = format!("nbds://{place}/?tls-certificates={}", machines.path("tls"));
    let listed = output(machines.client("nbdinfo").args(["--list", &list])).unwrap();
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(name), "OPT_LIST tells secrets");

    // The good one is served after all that, until the volume is detached.
    assert!(machines.info(&good).0);
    machines.detach(&volume, &[]).unwrap();
    machines.refused(&good);
    for name in ["node1", "rack1-1", "manager1"] {
        let status = machines.processes.get_mut(name).unwrap().stop(PATIENCE).unwrap();
        assert!(status.success(), "{name}: {status}");
    }
}

/// Off loopback nothing is served, and nothing joined, without a certificate.
#[test]
fn plain_text_does_not_leave_the_machine() {
    let mut machines = Machines::new();
    machines.start(
        "manager1",
        &format!("--role manager --ports auto --listen {MANAGER} --control-listen {MANAGER}:7071"),
    );
    for options in
        [format!("--role node --nbd-listen {NODE}:10809"), "--role node --nbd-listen 0.0.0.0:0".to_owned()]
    {
        let refused = output(&mut machines.command("plain", &options)).unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("without TLS"), "{options}: {said}");
    }
    let pool = machines.path("pool");
    fs::create_dir_all(&pool).unwrap();
    let options = format!("--role block --listen {SERVER}:7072 --pool ssd:{pool}");
    let refused = output(&mut machines.command("plain", &options)).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("TLS is needed"), "{said}");
    // A machine of another authority does not get in, whatever it knows.
    let foreign = certificates(machines.dir.path().join("foreign"));
    let config = fs::read_to_string(machines.path("node1.toml")).unwrap();
    let ours = machines.path("tls");
    fs::write(machines.path("node1.toml"), config.replace(&ours, foreign.to_str().unwrap())).unwrap();
    machines.start("node1", "--role node");
    let log = machines.path("node1.log");
    wait_until("it is turned away", PATIENCE, || {
        Ok(fs::read_to_string(&log)?.contains("not connected to the manager"))
    })
    .unwrap();
    assert_eq!(machines.cli(&["instance", "list"]).unwrap(), serde_json::json!([]));
}

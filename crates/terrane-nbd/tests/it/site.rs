//! A server on real sockets, and stock programs that talk to it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use terrane_nbd::{Export, ExportTable, Listener, SecretName, Server, ServerConfig, Tls};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// No program here works longer than some seconds; a busy machine gets more.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server on a Unix socket, and on TCP if it has TLS.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) tcp: Option<SocketAddr>,
    exports: Arc<ExportTable>,
    socket: PathBuf,
    stop: CancellationToken,
    listeners: JoinSet<()>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let exports = Arc::new(ExportTable::new());
        let server = Server::new(exports.clone(), ServerConfig::default());
        Self::start(tempfile::tempdir().unwrap(), exports, Arc::new(server))
    }

    /// With TLS on a loopback TCP port as well; its certificates are in `dir`.
    pub(crate) async fn with_tls(dir: TempDir, tls: Tls) -> Self {
        let exports = Arc::new(ExportTable::new());
        let server = Server::new(exports.clone(), ServerConfig::default()).with_tls(Arc::new(tls));
        let server = Arc::new(server);
        let listener = server.listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let mut site = Self::start(dir, exports, server.clone());
        site.tcp = listener.local_addr();
        site.listeners.spawn(server.run(listener, site.stop.clone()));
        site
    }

    fn start(dir: TempDir, exports: Arc<ExportTable>, server: Arc<Server>) -> Self {
        let socket = dir.path().join("socket");
        let listener = Listener::unix(&socket).unwrap();
        let stop = CancellationToken::new();
        let mut listeners = JoinSet::new();
        listeners.spawn(server.run(listener, stop.clone()));
        Self { dir, tcp: None, exports, socket, stop, listeners }
    }

    pub(crate) fn add(&self, name: &str, export: Arc<dyn Export>) {
        self.exports.insert(&SecretName::new(name), export);
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// How clients name an export.
    pub(crate) fn uri(&self, name: &str) -> String {
        format!("nbd+unix:///{name}?socket={}", self.socket.display())
    }

    /// A file of the test.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.listeners.join_next().await {
            ended.unwrap();
        }
    }
}

/// Runs a program to its end.
pub(crate) async fn output<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // Debian's own Python has the bindings; another one in PATH has not.
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("LC_ALL", "C");
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    output
        .unwrap_or_else(|_| panic!("{program} does not end"))
        .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs what is needed"))
}

/// Runs a program that must succeed, and returns what it printed.
pub(crate) async fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let output = output(program, arguments).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} failed with {}\n{out}{err}", output.status);
    out.into_owned()
}

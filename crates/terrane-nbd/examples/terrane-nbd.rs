//! Serves one export in memory, for trying clients against this server.
//!
//! ```text
//! cargo run -p terrane-nbd --example terrane-nbd -- /tmp/disk.sock 1073741824
//! nbdinfo 'nbd+unix:///disk?socket=/tmp/disk.sock'
//! ```

use std::path::Path;
use std::sync::Arc;

use terrane_nbd::{ExportTable, Listener, MemoryExport, SecretName, Server, ServerConfig};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().ok_or("usage: terrane-nbd SOCKET BYTES")?;
    let size = arguments.next().ok_or("usage: terrane-nbd SOCKET BYTES")?.parse()?;

    let exports = Arc::new(ExportTable::new());
    exports.insert(&SecretName::new("disk"), Arc::new(MemoryExport::new(size)));
    let server = Arc::new(Server::new(exports, ServerConfig::default()));
    let listener = Listener::unix(Path::new(&socket))?;
    println!("nbd+unix:///disk?socket={socket}");

    let stop = CancellationToken::new();
    let ctrl_c = stop.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        ctrl_c.cancel();
    });
    server.run(listener, stop).await;
    Ok(())
}

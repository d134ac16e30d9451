//! `terrane server`: block servers.

use clap::Subcommand;
use comfy_table::Table;
use terrane_api::types::BlockServer;

use super::client::{Client, encode};
use super::output::{Output, bytes, facts, number, or_dash, table};

/// Verbs of `server`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// All block servers.
    List,
    /// A block server with its pools.
    Show {
        /// Name or identifier.
        server: String,
    },
    /// Move all copies off a server, in the background, and put no new ones there.
    Drain {
        /// Name or identifier.
        server: String,
    },
    /// Let a server have copies again.
    Undrain {
        /// Name or identifier.
        server: String,
    },
}

pub(crate) async fn run(client: &Client, out: &Output, verb: Verb) -> anyhow::Result<()> {
    const PATH: &str = "/_terrane/v1/servers";
    let path = |server: &str| format!("{PATH}/{}", encode(server));
    let nothing = serde_json::json!({});
    let server: BlockServer = match verb {
        Verb::List => {
            let servers: Vec<BlockServer> = client.get(PATH).await?;
            return out.print(&servers, |servers| list_of(servers));
        }
        Verb::Show { server } => client.get(&path(&server)).await?,
        Verb::Drain { server } => client.post(&format!("{}/drain", path(&server)), &nothing).await?,
        Verb::Undrain { server } => client.post(&format!("{}/undrain", path(&server)), &nothing).await?,
    };
    out.print(&server, report)
}

fn list_of(servers: &[BlockServer]) -> Table {
    let mut table =
        table(["server", "zone", "state", "copies", "primaries", "capacity", "used", "address", "trouble"]);
    for server in servers {
        let sum = |of: fn(&terrane_api::types::Pool) -> u64| {
            server.pools.iter().map(of).fold(0, u64::saturating_add)
        };
        table.add_row([
            server.name.clone().into(),
            server.zone.clone().into(),
            server.state.clone().into(),
            number(server.copies),
            number(server.primaries),
            number(bytes(sum(|pool| pool.capacity))),
            number(bytes(sum(|pool| pool.used))),
            server.address.clone().into(),
            or_dash(server.pools.iter().find_map(|pool| pool.trouble.as_ref())).into(),
        ]);
    }
    table
}

fn report(server: &BlockServer) -> String {
    let head = facts([
        ("server", server.name.clone()),
        ("id", server.id.clone()),
        ("zone", server.zone.clone()),
        ("state", server.state.clone()),
        ("address", server.address.clone()),
        ("copies", server.copies.to_string()),
        ("primaries", server.primaries.to_string()),
    ]);
    let mut pools = table(["media", "capacity", "used", "promised", "iops", "reserved", "trouble"]);
    for pool in &server.pools {
        pools.add_row([
            pool.media.clone().into(),
            number(bytes(pool.capacity)),
            number(bytes(pool.used)),
            number(bytes(pool.promised)),
            number(pool.iops),
            number(pool.iops_reserved),
            or_dash(pool.trouble.as_ref()).into(),
        ]);
    }
    format!("{head}\n\n{pools}")
}

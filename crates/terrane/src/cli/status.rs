//! `terrane status`

use super::client::Client;
use super::output::{Output, duration, facts, or_dash, table};
use super::queue;
use terrane_api::types::ServerStatus;

pub(crate) async fn run(client: &Client, out: &Output) -> anyhow::Result<()> {
    let status: ServerStatus = client.get("/_terrane/v1/status").await?;
    out.print(&status, |status| report(client.endpoint(), status))
}

fn report(endpoint: &str, status: &ServerStatus) -> String {
    let head = facts([
        ("endpoint", endpoint.to_owned()),
        ("version", status.version.clone()),
        ("region", status.region.clone()),
        ("roles", status.roles.join(", ")),
        ("up for", duration(status.uptime_seconds.saturating_mul(1000))),
        ("health", status.health.status.clone()),
    ]);
    let mut components = table(["component", "health", "since", "cause"]);
    for (name, health) in &status.health.components {
        components.add_row([
            name.clone(),
            health.status.clone(),
            health.since.clone(),
            or_dash(health.cause.as_ref()),
        ]);
    }
    format!("{head}\n\n{components}\n\n{}", queue::table_of(&status.queues))
}

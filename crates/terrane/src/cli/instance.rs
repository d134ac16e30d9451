//! `terrane instance`

use clap::Subcommand;
use terrane_api::types::Instance;

use super::client::Client;
use super::output::{Output, or_dash, table};

/// Verbs of `instance`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The account's instances: machines that volumes attach to.
    List,
}

pub(crate) async fn run(client: &Client, out: &Output, verb: Verb) -> anyhow::Result<()> {
    let Verb::List = verb;
    let instances: Vec<Instance> = client.get("/_terrane/v1/instances").await?;
    out.print(&instances, |instances| {
        let mut table = table(["instance", "state", "type", "zone", "host", "volumes"]);
        for instance in instances {
            let volumes: Vec<String> =
                instance.volumes.iter().map(|(device, volume)| format!("{device} {volume}")).collect();
            let Instance { id, state, kind, zone, host_name, .. } = instance.clone();
            let volumes = or_dash((!volumes.is_empty()).then(|| volumes.join(", ")));
            table.add_row([id, state, kind, zone, or_dash(host_name), volumes]);
        }
        table
    })
}

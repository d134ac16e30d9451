//! `terrane operation`

use clap::Subcommand;
use terrane_api::types::{Completion, Operation};

use super::client::{Client, encode};
use super::output::{Output, facts, or_dash};

/// Verbs of `operation`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// How a write stands.
    Show {
        /// The ID that the header `x-terrane-operation` answered.
        operation: String,
    },
    /// Print completed writes of the account as they come, one per line.
    Follow {
        /// Only those after this cursor; 0: from the oldest kept.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// End after so many.
        #[arg(long)]
        count: Option<u64>,
    },
}

pub(crate) async fn run(client: &Client, out: &Output, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Show { operation } => {
            let path = format!("/_terrane/v1/operations/{}", encode(&operation));
            let operation: Operation = client.get(&path).await?;
            out.print(&operation, |operation| {
                facts([
                    ("operation", operation.operation.clone()),
                    ("state", operation.state.clone()),
                    ("class", or_dash(operation.class.as_ref())),
                    ("due", or_dash(operation.due.as_ref())),
                ])
            })
        }
        Verb::Follow { after, count } => follow(client, out, after, count).await,
    }
}

async fn follow(client: &Client, out: &Output, mut after: u64, count: Option<u64>) -> anyhow::Result<()> {
    let mut seen = 0;
    while count.is_none_or(|count| seen < count) {
        let room = count.map_or(1000, |count| (count - seen).min(1000));
        let path = format!("/_terrane/v1/completions?after={after}&max={room}&wait_seconds=30");
        let completions: Vec<Completion> = client.get(&path).await?;
        for completion in &completions {
            after = completion.cursor;
            seen += 1;
            out.line(completion, |completion| {
                let Completion { cursor, operation, event, bucket, key, .. } = completion;
                let superseded = if completion.superseded { " (superseded)" } else { "" };
                format!("{cursor} {operation} {event} {bucket}/{key}{superseded}")
            })?;
        }
    }
    Ok(())
}

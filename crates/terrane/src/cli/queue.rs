//! `terrane queue`

use clap::{Subcommand, ValueEnum};
use comfy_table::{Cell, Table};
use terrane_api::types::{DrainRequest, DrainStatus, Queue, QueueSelection};

use super::client::Client;
use super::output::{Output, bytes, duration, number, table};
use super::progress::Progress;

/// Verbs of `queue`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Depth, age, rate and workers of each class.
    List,
    /// Stop applying: writes become pending, readers see them all the same.
    Pause {
        /// Which class; all if absent.
        class: Option<Class>,
    },
    /// Apply again.
    Resume {
        /// Which class; all if absent.
        class: Option<Class>,
    },
    /// Apply everything pending now, whatever its due time, and wait for it.
    Drain {
        /// Which class; all if absent.
        class: Option<Class>,
    },
}

/// Queue classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Class {
    /// Applied before the answer.
    Sync,
    /// Applied soon.
    High,
    /// Applied when there is nothing more urgent.
    Low,
    /// Applied no later than asked for.
    Delay,
}

impl Class {
    fn text(self) -> String {
        match self {
            Self::Sync => "sync",
            Self::High => "high",
            Self::Low => "low",
            Self::Delay => "delay",
        }
        .to_owned()
    }
}

pub(crate) async fn run(client: &Client, out: &Output, verb: Verb) -> anyhow::Result<()> {
    let queues: Vec<Queue> = match verb {
        Verb::List => client.get("/_terrane/v1/queues").await?,
        Verb::Pause { class } => client.post("/_terrane/v1/queues/pause", &selection(class)).await?,
        Verb::Resume { class } => client.post("/_terrane/v1/queues/resume", &selection(class)).await?,
        Verb::Drain { class } => drain(client, class.map(Class::text)).await?,
    };
    out.print(&queues, |queues| table_of(queues))
}

fn selection(class: Option<Class>) -> QueueSelection {
    QueueSelection { class: class.map(Class::text) }
}

async fn drain(client: &Client, class: Option<String>) -> anyhow::Result<Vec<Queue>> {
    let depth = |queues: &[Queue]| -> u64 {
        let ours = |queue: &&Queue| class.as_ref().is_none_or(|class| *class == queue.class);
        queues.iter().filter(ours).map(|queue| queue.depth).sum()
    };
    let before: Vec<Queue> = client.get("/_terrane/v1/queues").await?;
    let total = depth(&before);
    let progress = Progress::new("draining", total);
    loop {
        let request = DrainRequest { class: class.clone(), wait_seconds: 1 };
        let status: DrainStatus = client.post("/_terrane/v1/queues/drain", &request).await?;
        if status.done {
            return Ok(status.queues);
        }
        progress.set(total.saturating_sub(depth(&status.queues)));
    }
}

/// One line per class.
pub(crate) fn table_of(queues: &[Queue]) -> Table {
    let mut table = table(["class", "depth", "spilled", "memory", "oldest", "rate/s", "workers", "state"]);
    for queue in queues {
        table.add_row([
            Cell::new(&queue.class),
            number(queue.depth),
            number(queue.spilled),
            number(bytes(queue.bytes)),
            number(duration(queue.oldest_age_ms)),
            number(format!("{:.1}", queue.rate)),
            number(queue.workers),
            Cell::new(if queue.paused { "paused" } else { "running" }),
        ]);
    }
    table
}

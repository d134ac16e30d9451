//! `terrane-bench`: one load against one S3 endpoint; prints its figures as one line of JSON.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use terrane_bench::load::Shape;
use terrane_bench::workload::{self, Target};
use terrane_bench::{Credentials, Endpoint};

#[derive(Parser)]
#[command(name = "terrane-bench", about = "Load generator for S3 endpoints")]
struct Cli {
    #[command(subcommand)]
    load: Load,
}

#[derive(Args)]
struct Common {
    /// URL of the server, `http://host:port`.
    #[arg(long)]
    endpoint: String,
    /// AWS shared-credentials file.
    #[arg(long)]
    credentials: PathBuf,
    /// Bucket; made if it is missing.
    #[arg(long, default_value = "bench")]
    bucket: String,
    /// What every key begins with.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Concurrent clients.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Stop after this many seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// Stop after this many operations.
    #[arg(long)]
    count: Option<u64>,
    /// Start at most this many operations per second.
    #[arg(long)]
    rate: Option<f64>,
    /// Bytes of an object.
    #[arg(long, default_value_t = 4096)]
    size: usize,
}

#[derive(Subcommand)]
enum Load {
    /// Put small objects.
    Put {
        #[command(flatten)]
        common: Common,
        /// Number of the first object.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Send this `x-terrane-async` header.
        #[arg(long)]
        keymap: Option<String>,
    },
    /// Get small objects that `put` has put, and check them.
    Get {
        #[command(flatten)]
        common: Common,
        /// How many there are.
        #[arg(long)]
        population: u64,
    },
    /// List everything, over and over.
    List(Common),
    /// Put at a rate while another client checks what was acknowledged.
    Burst {
        #[command(flatten)]
        common: Common,
        /// Number of the first object.
        #[arg(long, default_value_t = 0)]
        first: u64,
    },
    /// Put large objects.
    PutLarge(Common),
    /// Get what `put-large` has put.
    GetLarge {
        #[command(flatten)]
        common: Common,
        /// How many there are.
        #[arg(long)]
        population: u64,
    },
    /// List once, check the order, print how many there are.
    Count(Common),
    /// Print how long the server takes to its first answer.
    Ready(Common),
    /// Print the rate of MD5 on one core in bytes per second.
    Md5,
}

impl Common {
    fn shape(&self) -> Shape {
        Shape {
            clients: self.clients,
            time: self.seconds.map(Duration::from_secs_f64),
            count: self.count,
            rate: self.rate,
        }
    }

    fn target(&self) -> Result<Target> {
        Ok(Target {
            endpoint: Endpoint::parse(&self.endpoint)?,
            credentials: Credentials::from_file(&self.credentials)?,
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
        })
    }

    /// The target with its bucket made.
    fn ready_target(&self) -> Result<Target> {
        let target = self.target()?;
        target.client().create_bucket(&self.bucket).context("cannot make the bucket")?;
        Ok(target)
    }
}

fn main() -> Result<()> {
    let json = match Cli::parse().load {
        Load::Put { common, first, keymap } => {
            let headers: Vec<(&str, &str)> =
                keymap.as_deref().map(|value| ("x-terrane-async", value)).into_iter().collect();
            serde_json::to_string(&common.ready_target()?.put(&common.shape(), first, common.size, &headers))
        }
        Load::Get { common, population } => {
            serde_json::to_string(&common.ready_target()?.get(&common.shape(), population, common.size))
        }
        Load::List(common) => serde_json::to_string(&common.ready_target()?.list(&common.shape())),
        Load::Burst { common, first } => {
            serde_json::to_string(&common.ready_target()?.burst(&common.shape(), first, common.size))
        }
        Load::PutLarge(common) => {
            serde_json::to_string(&common.ready_target()?.put_large(&common.shape(), common.size))
        }
        Load::GetLarge { common, population } => {
            serde_json::to_string(&common.ready_target()?.get_large(&common.shape(), population))
        }
        Load::Count(common) => serde_json::to_string(&common.target()?.count()?),
        Load::Ready(common) => {
            let within = Duration::from_secs_f64(common.seconds.unwrap_or(30.0));
            serde_json::to_string(&workload::wait_until_ready(&common.target()?, within)?.as_secs_f64())
        }
        Load::Md5 => serde_json::to_string(&workload::md5_rate(1 << 30)),
    }?;
    println!("{json}");
    Ok(())
}

//! `terrane policy`

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use terrane_api::types::{Policy, PolicyText, Validation, WhyAnswer, WhyRequest};

use super::client::{Client, encode};
use super::output::{Output, facts, table};

/// `terrane policy`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of this account (twelve digits); default: the caller's.
    #[arg(long, global = true, default_value = "me")]
    account: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Policies of the account.
    List,
    /// A policy's text.
    Show {
        /// Its name.
        name: String,
    },
    /// Make or replace a policy.
    Put {
        /// Its name.
        name: String,
        /// A file with Cedar text; `-` for standard input.
        file: PathBuf,
    },
    /// Check a policy without keeping it.
    Validate {
        /// A file with Cedar text; `-` for standard input.
        file: PathBuf,
    },
    /// May somebody do something, and what decides it?
    Why {
        /// What: s3:PutObject, terrane:PauseQueue, …
        action: String,
        /// Which user; default: the account's root.
        #[arg(long)]
        user: Option<String>,
        /// With which bucket.
        #[arg(long)]
        bucket: Option<String>,
        /// With which key of the bucket.
        #[arg(long, requires = "bucket")]
        key: Option<String>,
        /// With which volume, snapshot or instance.
        #[arg(long, conflicts_with = "bucket")]
        id: Option<String>,
    },
    /// Delete a policy.
    Delete {
        /// Its name.
        name: String,
    },
}

/// Longest policy text, bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

fn read(file: &Path) -> anyhow::Result<PolicyText> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().lock().take(TEXT_BYTES_MAX).read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_string(&mut text)),
    };
    read.with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(PolicyText { text })
}

pub(crate) async fn run(client: &Client, out: &Output, args: Args) -> anyhow::Result<()> {
    let base = format!("/_terrane/v1/accounts/{}/policies", encode(&args.account));
    let path = |name: &str| format!("{base}/{}", encode(name));
    match args.verb {
        Verb::List => {
            let policies: Vec<Policy> = client.get(&base).await?;
            out.print(&policies, |policies| {
                let mut table = table(["policy", "updated"]);
                for policy in policies {
                    table.add_row([policy.name.clone(), policy.updated.clone()]);
                }
                table
            })
        }
        Verb::Show { name } => {
            let policy: Policy = client.get(&path(&name)).await?;
            out.print(&policy, |policy| policy.text.clone())
        }
        Verb::Put { name, file } => {
            let policy: Policy = client.put(&path(&name), &read(&file)?).await?;
            out.print(&policy, |policy| format!("policy {} set", policy.name))
        }
        Verb::Validate { file } => {
            let found: Validation = client.post("/_terrane/v1/policies/validate", &read(&file)?).await?;
            out.print(
                &found,
                |found| if found.valid { "valid".to_owned() } else { found.errors.join("\n") },
            )?;
            if found.valid { Ok(()) } else { bail!("the policy is not valid") }
        }
        Verb::Why { action, user, bucket, key, id } => {
            let request = WhyRequest { account: Some(args.account), user, action, bucket, key, id };
            let answer: WhyAnswer = client.post("/_terrane/v1/policies/why", &request).await?;
            out.print(&answer, |answer| {
                facts([
                    ("decision", if answer.allowed { "allow" } else { "deny" }.to_owned()),
                    ("because", answer.reason.clone()),
                ])
            })
        }
        Verb::Delete { name } => {
            client.delete(&path(&name)).await?;
            out.done(format_args!("policy {name} deleted"))
        }
    }
}

//! `terrane router`

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::Value;
use terrane_router_drivers::{KnowledgeBase, Recorded, Variables, translate};

use super::say;

/// Verbs of `router`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Translate recorded output of a device, offline, and print it in NAPALM's shape as JSON.
    Translate(TranslateArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct TranslateArgs {
    /// The device's platform: ios, nxos, nxos_ssh, eos, junos, iosxr_netconf, …
    #[arg(long, value_name = "NAME")]
    platform: String,
    /// A NAPALM getter: get_interfaces, get_bgp_neighbors, ping, …
    #[arg(long, value_name = "NAME")]
    getter: String,
    /// A directory of outputs whose file names are the commands, every sign that is neither letter nor digit being `_`.
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// An argument of the getter. May be repeated.
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    arguments: Vec<(String, String)>,
    /// The time of the recording, in seconds since 1970; default: now. Some devices tell only how long ago.
    #[arg(long, value_name = "UNIX_SECONDS")]
    now: Option<u64>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("an argument is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn run(verb: Verb) -> Result<()> {
    let Verb::Translate(TranslateArgs { platform, getter, input, arguments, now }) = verb;
    if !input.is_dir() {
        bail!("{} is not a directory", input.display());
    }
    let recorded = Recorded::open(&input).with_context(|| format!("cannot read {}", input.display()))?;
    let mut variables: Variables =
        arguments.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    variables.insert("now".into(), Value::from(now.unwrap_or(clock)));
    let answer = translate(&KnowledgeBase::embedded(), &platform, &getter, &variables, &recorded)?;
    say(format!("{}\n", serde_json::to_string_pretty(&answer)?))
}

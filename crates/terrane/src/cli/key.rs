//! `terrane key`

use clap::Subcommand;
use terrane_api::types::{AccessKey, AccessKeyWithSecret, KeyPatch, NewKey, Rotation};

use super::client::{Client, encode};
use super::output::{Output, facts, or_dash, table};

/// `terrane key`
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
    /// Access keys of the account.
    List,
    /// Make a key. Its secret is shown this once.
    Create {
        /// For this user; default: the account's root.
        #[arg(long)]
        user: Option<String>,
        /// Refuse it after so many seconds.
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
    },
    /// Accept a key again.
    Enable {
        /// Its ID.
        key: String,
    },
    /// Refuse a key.
    Disable {
        /// Its ID.
        key: String,
    },
    /// Refuse a key after a time.
    Expire {
        /// Its ID.
        key: String,
        /// Seconds from now; 0: never.
        seconds: u64,
    },
    /// Make a new key for the same owner; the old one expires after a grace period.
    Rotate {
        /// The old key's ID.
        key: String,
        /// Seconds for which the old one stays valid.
        #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
        grace: u64,
    },
    /// Delete a key.
    Delete {
        /// Its ID.
        key: String,
    },
}

pub(crate) async fn run(client: &Client, out: &Output, args: Args) -> anyhow::Result<()> {
    let base = format!("/_terrane/v1/accounts/{}/keys", encode(&args.account));
    let path = |key: &str| format!("{base}/{}", encode(key));
    let patch = match args.verb {
        Verb::List => {
            let keys: Vec<AccessKey> = client.get(&base).await?;
            return show(out, &keys);
        }
        Verb::Create { user, expires } => {
            let made = client.post(&base, &NewKey { user, expires_seconds: expires }).await?;
            return show_secret(out, &made);
        }
        Verb::Rotate { key, grace } => {
            let rotation = Rotation { grace_seconds: Some(grace) };
            let made = client.post(&format!("{}/rotate", path(&key)), &rotation).await?;
            return show_secret(out, &made);
        }
        Verb::Delete { key } => {
            client.delete(&path(&key)).await?;
            return out.done(format_args!("key {key} deleted"));
        }
        Verb::Enable { key } => (key, KeyPatch { status: Some("enabled".to_owned()), expires_seconds: None }),
        Verb::Disable { key } => {
            (key, KeyPatch { status: Some("disabled".to_owned()), expires_seconds: None })
        }
        Verb::Expire { key, seconds } => (key, KeyPatch { status: None, expires_seconds: Some(seconds) }),
    };
    let key: AccessKey = client.patch(&path(&patch.0), &patch.1).await?;
    show(out, &vec![key])
}

fn show(out: &Output, keys: &Vec<AccessKey>) -> anyhow::Result<()> {
    out.print(keys, |keys| {
        let mut table = table(["key", "user", "created", "expires", "status"]);
        for key in keys {
            let user = key.user.clone().unwrap_or_else(|| "(root)".to_owned());
            let expires = key.expires.clone().unwrap_or_else(|| "never".to_owned());
            table.add_row([key.id.clone(), user, key.created.clone(), expires, key.status.clone()]);
        }
        table
    })
}

fn show_secret(out: &Output, made: &AccessKeyWithSecret) -> anyhow::Result<()> {
    out.print(made, |made| {
        facts([
            ("account", made.key.account.clone()),
            ("user", made.key.user.clone().unwrap_or_else(|| "(root)".to_owned())),
            ("aws_access_key_id", made.key.id.clone()),
            ("aws_secret_access_key", made.secret.clone()),
            ("expires", or_dash(made.key.expires.as_ref())),
        ])
    })
}

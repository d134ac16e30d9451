//! `terrane account`

use clap::Subcommand;
use comfy_table::Table;
use terrane_api::types::{Account, AccountPatch, NewAccount, RequestRate, Whoami};

use super::client::{Client, encode};
use super::output::{Output, facts, or_dash, table};

/// Verbs of `account`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// All accounts.
    List,
    /// Make an account; make a key for it with `terrane key create --account`.
    Create {
        /// A name for people.
        name: String,
    },
    /// What is known of an account.
    Show {
        /// Twelve digits, or `me`.
        #[arg(default_value = "me")]
        account: String,
    },
    /// Who is asking.
    Whoami,
    /// Give an account another name.
    Rename {
        /// Twelve digits.
        account: String,
        /// The new name.
        name: String,
    },
    /// Accept an account's keys and tokens again.
    Enable {
        /// Twelve digits.
        account: String,
    },
    /// Refuse an account's keys and tokens.
    Disable {
        /// Twelve digits.
        account: String,
    },
    /// Limit an account's requests.
    Limit {
        /// Twelve digits.
        account: String,
        /// Sustained requests per second; without it the installation's default holds.
        #[arg(long, requires = "burst")]
        per_second: Option<u32>,
        /// Requests that may come at once after a pause.
        #[arg(long, requires = "per_second")]
        burst: Option<u32>,
    },
    /// Delete an account that owns no buckets, with its users, keys, tokens and policies.
    Delete {
        /// Twelve digits.
        account: String,
    },
}

fn path(account: &str) -> String {
    format!("/_terrane/v1/accounts/{}", encode(account))
}

pub(crate) async fn run(client: &Client, out: &Output, verb: Verb) -> anyhow::Result<()> {
    let change = |account: String, patch: AccountPatch| async move {
        client.patch::<Account>(&path(&account), &patch).await
    };
    let none = AccountPatch::default;
    let account = match verb {
        Verb::List => return list(client, out).await,
        Verb::Whoami => {
            let me: Whoami = client.get("/_terrane/v1/whoami").await?;
            return out.print(&me, |me| {
                facts([
                    ("account", me.account.clone()),
                    ("user", or_dash(me.user.as_ref())),
                    ("arn", me.arn.clone()),
                ])
            });
        }
        Verb::Delete { account } => {
            client.delete(&path(&account)).await?;
            return out.done(format_args!("account {account} deleted"));
        }
        Verb::Create { name } => client.post("/_terrane/v1/accounts", &NewAccount { name }).await?,
        Verb::Show { account } => client.get(&path(&account)).await?,
        Verb::Rename { account, name } => {
            change(account, AccountPatch { name: Some(name), ..none() }).await?
        }
        Verb::Enable { account } => {
            change(account, AccountPatch { status: Some("enabled".to_owned()), ..none() }).await?
        }
        Verb::Disable { account } => {
            change(account, AccountPatch { status: Some("disabled".to_owned()), ..none() }).await?
        }
        Verb::Limit { account, per_second, burst } => {
            let rate_limit =
                per_second.zip(burst).map(|(per_second, burst)| RequestRate { per_second, burst });
            let default_rate_limit = rate_limit.is_none();
            change(account, AccountPatch { rate_limit, default_rate_limit, ..none() }).await?
        }
    };
    out.print(&account, show)
}

async fn list(client: &Client, out: &Output) -> anyhow::Result<()> {
    let mut accounts: Vec<Account> = Vec::new();
    loop {
        let path = match accounts.last() {
            Some(last) => format!("/_terrane/v1/accounts?after={}", last.id),
            None => "/_terrane/v1/accounts".to_owned(),
        };
        let page: Vec<Account> = client.get(&path).await?;
        if page.is_empty() {
            break;
        }
        accounts.extend(page);
    }
    out.print(&accounts, |accounts| {
        let mut table = table(["account", "name", "created", "status", "rate limit"]);
        for account in accounts {
            let Account { id, name, created, status, .. } = account.clone();
            table.add_row([id, name, created, status, limit(account)]);
        }
        table
    })
}

fn limit(account: &Account) -> String {
    match account.rate_limit {
        Some(RequestRate { per_second, burst }) => format!("{per_second}/s, burst {burst}"),
        None => "default".to_owned(),
    }
}

fn show(account: &Account) -> Table {
    facts([
        ("account", account.id.clone()),
        ("name", account.name.clone()),
        ("created", account.created.clone()),
        ("status", account.status.clone()),
        ("rate limit", limit(account)),
    ])
}

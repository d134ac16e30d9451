//! `terrane user`

use clap::Subcommand;
use comfy_table::Table;
use terrane_api::types::{NewUser, User, UserPatch};

use super::client::{Client, encode};
use super::input::read_secret;
use super::output::{Output, facts, table};

/// `terrane user`
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
    /// Users of the account.
    List,
    /// Make a user; make a key for it with `terrane key create --user`.
    Create {
        /// 1 to 64 of `A-Z a-z 0-9 + = , . @ _ -`.
        name: String,
        /// Ready-made policy to attach: full-access or read-only. May be repeated.
        #[arg(long = "policy")]
        policies: Vec<String>,
    },
    /// What is known of a user.
    Show {
        /// The user's name.
        name: String,
    },
    /// Accept the user's keys and tokens again.
    Enable {
        /// The user's name.
        name: String,
    },
    /// Refuse the user's keys and tokens.
    Disable {
        /// The user's name.
        name: String,
    },
    /// Set which ready-made policies are attached.
    SetPolicies {
        /// The user's name.
        name: String,
        /// full-access, read-only; none: detach all.
        policies: Vec<String>,
    },
    /// Set the console password, read from standard input; an empty one removes it.
    SetPassword {
        /// The user's name.
        name: String,
    },
    /// Delete a user with its keys and tokens.
    Delete {
        /// The user's name.
        name: String,
    },
}

pub(crate) async fn run(client: &Client, out: &Output, args: Args) -> anyhow::Result<()> {
    let base = format!("/_terrane/v1/accounts/{}/users", encode(&args.account));
    let path = |name: &str| format!("{base}/{}", encode(name));
    let none = UserPatch::default;
    let user: User = match args.verb {
        Verb::List => return list(client, out, &base).await,
        Verb::Delete { name } => {
            client.delete(&path(&name)).await?;
            return out.done(format_args!("user {name} deleted"));
        }
        Verb::Create { name, policies } => {
            client.post(&base, &NewUser { name, managed_policies: policies }).await?
        }
        Verb::Show { name } => client.get(&path(&name)).await?,
        Verb::Enable { name } => {
            client.patch(&path(&name), &UserPatch { status: Some("enabled".to_owned()), ..none() }).await?
        }
        Verb::Disable { name } => {
            client.patch(&path(&name), &UserPatch { status: Some("disabled".to_owned()), ..none() }).await?
        }
        Verb::SetPolicies { name, policies } => {
            client.patch(&path(&name), &UserPatch { managed_policies: Some(policies), ..none() }).await?
        }
        Verb::SetPassword { name } => {
            let password = Some(read_secret()?);
            client.patch(&path(&name), &UserPatch { password, ..none() }).await?
        }
    };
    out.print(&user, show)
}

async fn list(client: &Client, out: &Output, base: &str) -> anyhow::Result<()> {
    let mut users: Vec<User> = Vec::new();
    loop {
        let path = match users.last() {
            Some(last) => format!("{base}?after={}", encode(&last.name)),
            None => base.to_owned(),
        };
        let page: Vec<User> = client.get(&path).await?;
        if page.is_empty() {
            break;
        }
        users.extend(page);
    }
    out.print(&users, |users| {
        let mut table = table(["user", "created", "status", "policies"]);
        for user in users {
            let User { name, created, status, managed_policies, .. } = user.clone();
            table.add_row([name, created, status, managed_policies.join(", ")]);
        }
        table
    })
}

fn show(user: &User) -> Table {
    facts([
        ("account", user.account.clone()),
        ("user", user.name.clone()),
        ("created", user.created.clone()),
        ("status", user.status.clone()),
        ("policies", user.managed_policies.join(", ")),
        ("password", if user.has_password { "set" } else { "none" }.to_owned()),
    ])
}

//! `terrane token`

use clap::Subcommand;
use terrane_api::types::{NewToken, Token, TokenWithText};

use super::client::{Client, encode};
use super::output::{Output, facts, or_dash, table};

/// `terrane token`
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
    /// Bearer tokens of the account's root, or of a user.
    List {
        /// Of this user.
        #[arg(long)]
        user: Option<String>,
    },
    /// Make a bearer token for native calls. Its text is shown this once.
    Create {
        /// A note for people.
        name: String,
        /// For this user; default: the account's root.
        #[arg(long)]
        user: Option<String>,
        /// Refuse it after so many seconds.
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
    },
    /// Delete a token.
    Delete {
        /// Its ID.
        token: String,
    },
}

pub(crate) async fn run(client: &Client, out: &Output, args: Args) -> anyhow::Result<()> {
    let base = format!("/_terrane/v1/accounts/{}/tokens", encode(&args.account));
    match args.verb {
        Verb::List { user } => {
            let path = user.map_or_else(|| base.clone(), |user| format!("{base}?user={}", encode(&user)));
            let tokens: Vec<Token> = client.get(&path).await?;
            out.print(&tokens, |tokens| {
                let mut table = table(["token", "name", "user", "created", "expires"]);
                for token in tokens {
                    let Token { id, name, user, created, expires, .. } = token.clone();
                    let user = user.unwrap_or_else(|| "(root)".to_owned());
                    table.add_row([id, name, user, created, expires.unwrap_or_else(|| "never".to_owned())]);
                }
                table
            })
        }
        Verb::Create { name, user, expires } => {
            let made: TokenWithText =
                client.post(&base, &NewToken { name, user, expires_seconds: expires }).await?;
            out.print(&made, |made| {
                facts([
                    ("token", made.token.id.clone()),
                    ("text", made.text.clone()),
                    ("expires", or_dash(made.token.expires.as_ref())),
                ])
            })
        }
        Verb::Delete { token } => {
            client.delete(&format!("{base}/{}", encode(&token))).await?;
            out.done(format_args!("token {token} deleted"))
        }
    }
}

//! `terrane reset-root-key`: for who owns the data directory and lost the key.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use terrane_auth::Auth;

use super::assemble::{credentials, open_embedded, open_keys};
use super::config::Config;
use super::datadir::{CREDENTIALS, DataDir};
use crate::cli::Output;

#[derive(Serialize)]
struct NewRootKey<'a> {
    aws_access_key_id: &'a str,
    aws_secret_access_key: &'a str,
}

/// Replaces all keys and tokens of the root account's root by one new key. The server must not run: whoever
/// holds the directory's lock owns it.
pub(crate) async fn reset_root_key(dir: &Path, out: &Output) -> anyhow::Result<()> {
    anyhow::ensure!(dir.is_dir(), "there is no data directory {}", dir.display());
    let data = DataDir::own(dir)?;
    let config = Config::default();
    let store = open_embedded(&data).await?;
    let auth = Auth::new(store.clone(), open_keys(&data, &store).await?, config.auth());
    let made = auth.reset_root().await.context("the root key cannot be reset")?;
    store.close().await?;
    data.write_run_file(CREDENTIALS, &credentials(&made, &config))?;
    let shown =
        NewRootKey { aws_access_key_id: made.key.id.as_str(), aws_secret_access_key: made.secret.expose() };
    out.print(&shown, |shown| {
        format!(
            "all keys and tokens of the root account's root are gone; the new key:\n\
             aws_access_key_id = {}\naws_secret_access_key = {}",
            shown.aws_access_key_id, shown.aws_secret_access_key
        )
    })
}

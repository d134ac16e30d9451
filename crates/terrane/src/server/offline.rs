//! Work on a data directory that no server uses: whoever holds its lock owns it.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use terrane_auth::{Auth, AuthMetrics};
use terrane_store::EmbeddedConfig;

use super::assemble::{credentials, open_embedded, open_keys};
use super::config::Config;
use super::datadir::{CREDENTIALS, DataDir};
use crate::cli::Output;

fn own(dir: &Path) -> anyhow::Result<DataDir> {
    ensure!(dir.is_dir(), "there is no data directory {}", dir.display());
    DataDir::own(dir)
}

#[derive(Serialize)]
struct NewRootKey<'a> {
    aws_access_key_id: &'a str,
    aws_secret_access_key: &'a str,
}

/// Replaces all keys and tokens of the root account's root by one new key: for who owns the data directory and
/// lost the key.
pub(crate) async fn reset_root_key(dir: &Path, out: &Output) -> anyhow::Result<()> {
    let data = own(dir)?;
    let config = Config::default();
    let store = open_embedded(&data).await?;
    let auth = Auth::new(store.clone(), open_keys(&data, &store).await?, config.auth(AuthMetrics::default()));
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

#[derive(Serialize)]
struct Restored {
    rows: u64,
    bytes: u64,
    kept: Option<String>,
}

/// Replaces the store by a backup; the old one is kept beside it.
pub(crate) async fn restore_store(dir: &Path, file: &Path, out: &Output) -> anyhow::Result<()> {
    let data = own(dir)?;
    let (store, now) = (data.path("store"), jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string());
    // Restored beside the old one first: a file that is no backup changes nothing.
    let fresh = data.path(&format!("store.restored-{now}"));
    let report = terrane_store::restore(file, &fresh, EmbeddedConfig::default()).await;
    let report = report.with_context(|| format!("{} cannot be restored", file.display()))?;
    let mut kept = None;
    if store.exists() {
        let aside = data.path(&format!("store.before-{now}"));
        std::fs::rename(&store, &aside).context("the old store cannot be set aside")?;
        kept = Some(aside.display().to_string());
    }
    std::fs::rename(&fresh, &store).context("the restored store cannot be put in place")?;
    std::fs::File::open(data.root()).and_then(|dir| dir.sync_all()).context("the data directory")?;
    out.print(&Restored { rows: report.rows, bytes: report.bytes, kept }, |restored| {
        let kept = restored.kept.as_ref().map(|kept| format!("; the old store is kept in {kept}"));
        format!("{} rows restored{}", restored.rows, kept.unwrap_or_default())
    })
}

#[derive(Serialize)]
struct Checked {
    rows: u64,
    log_segments: u64,
    log_commits: u64,
    problems: Vec<String>,
}

/// Reads the store and verifies everything in it; fails if something is wrong.
pub(crate) async fn check_store(dir: &Path, out: &Output) -> anyhow::Result<()> {
    let data = own(dir)?;
    let report = terrane_store::check(&data.path("store")).await.context("the store cannot be read")?;
    let terrane_store::CheckReport { rows, log_segments, log_commits, problems } = report;
    let checked = Checked { rows, log_segments, log_commits, problems };
    out.print(&checked, |checked| {
        let found = if checked.problems.is_empty() { "all is well" } else { "problems:" };
        let Checked { rows, log_segments, log_commits, problems } = checked;
        let lines = problems.iter().map(|problem| format!("\n  {problem}"));
        format!(
            "{rows} rows, {log_commits} commits in {log_segments} log segments: {found}{}",
            lines.collect::<String>()
        )
    })?;
    match checked.problems.len() {
        0 => Ok(()),
        count => bail!("the store has {count} problems"),
    }
}

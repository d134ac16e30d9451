//! Removing completions that everybody has had, and the cursors of webhooks.

use std::collections::BTreeSet;
use std::sync::Arc;

use terrane_keymap::keymap::{KeymapRead, Keyspace, Mutation};

use crate::engine::Snapshot;
use crate::service::{ObjectError, Result};
use crate::store::{Store, stopped};

const CURSOR_KEY: &[u8] = b"webhook";
/// Behind all keys that begin so.
const CURSOR_END: &[u8] = b"webhool";
const VERSION: u8 = 1;
/// Completions removed at a time.
const TRIM_MAX: u64 = 4_096;

fn unreadable(error: impl std::fmt::Display) -> ObjectError {
    ObjectError::Unavailable(error.to_string())
}

fn cursor_key(incarnation: u64) -> Vec<u8> {
    [CURSOR_KEY, &incarnation.to_be_bytes()].concat()
}

/// Up to where a webhook was served; `None` if it is new.
pub(super) fn cursor(store: &Store, incarnation: u64) -> Result<Option<u64>> {
    let keymap = store.driver.engine.snapshot();
    let value = KeymapRead::get(&keymap, Keyspace::Meta, &cursor_key(incarnation)).map_err(unreadable)?;
    let number =
        |v: bytes::Bytes| v.strip_prefix(&[VERSION]).and_then(|n| n.try_into().ok().map(u64::from_be_bytes));
    Ok(value.and_then(number))
}

/// Notes up to where a webhook was served.
pub(super) fn set_cursor(store: &Store, incarnation: u64, cursor: u64) {
    let value = Some([&[VERSION][..], &cursor.to_be_bytes()].concat());
    let mutation = Mutation { keyspace: Keyspace::Meta, key: cursor_key(incarnation), value };
    store.driver.commit(vec![mutation], 0);
}

/// Keeps the outbox short.
pub(super) struct Janitor {
    /// Completions in the outbox at the start, and how many were removed since.
    found: u64,
    trimmed: u64,
    /// Everything before this key is removed, or about to be.
    from: Vec<u8>,
}

impl Janitor {
    /// Counts the outbox.
    pub(super) async fn new(store: &Arc<Store>) -> Result<Self> {
        let keymap = store.driver.engine.snapshot();
        let count = move || keymap.iter(Keyspace::Outbox, &[], &[]).count() as u64;
        let found = tokio::task::spawn_blocking(count).await.map_err(unreadable)?;
        Ok(Self { found, trimmed: 0, from: Vec::new() })
    }

    /// Removes what is beyond the number to be kept and behind all webhooks. Cursors of webhooks that are no more go, too.
    pub(super) async fn trim(&mut self, store: &Arc<Store>, webhooks: BTreeSet<u64>) -> Result<()> {
        let written = store.driver.ask(|shard| shard.counters().completions).await.map_err(stopped)?;
        let count = (self.found + written).saturating_sub(self.trimmed);
        let mut excess = count.saturating_sub(store.config.completions_kept);
        loop {
            let (keymap, webhooks) = (store.driver.engine.snapshot(), webhooks.clone());
            let (from, most) = (self.from.clone(), excess.min(TRIM_MAX) as usize);
            let look = move || gone(&keymap, &webhooks, &from, most);
            let (mutations, trimmed) = tokio::task::spawn_blocking(look).await.map_err(unreadable)??;
            let last = mutations.iter().rev().find(|m| m.keyspace == Keyspace::Outbox);
            if let Some(last) = last {
                self.from = [&last.key[..], &[0]].concat();
            }
            self.trimmed += trimmed;
            excess = excess.saturating_sub(trimmed);
            if !mutations.is_empty() {
                store.driver.commit(mutations, trimmed);
            }
            if trimmed < TRIM_MAX {
                return Ok(());
            }
        }
    }
}

/// Deletes of dead cursors and of at most so many completions from a key on; and how many these are.
fn gone(
    keymap: &Snapshot,
    webhooks: &BTreeSet<u64>,
    from: &[u8],
    most: usize,
) -> Result<(Vec<Mutation>, u64)> {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    let (mut mutations, mut floor) = (Vec::new(), u64::MAX);
    for pair in keymap.iter(Keyspace::Meta, CURSOR_KEY, CURSOR_END) {
        let (key, value) = pair.map_err(unreadable)?;
        let incarnation = key.get(CURSOR_KEY.len()..).and_then(number);
        if incarnation.is_some_and(|incarnation| webhooks.contains(&incarnation)) {
            floor = floor.min(value.get(1..).and_then(number).unwrap_or(0));
        } else {
            mutations.push(Mutation { keyspace: Keyspace::Meta, key: key.to_vec(), value: None });
        }
    }
    let mut trimmed = 0;
    for pair in keymap.iter(Keyspace::Outbox, from, &[]).take(most) {
        let (key, _) = pair.map_err(unreadable)?;
        if number(&key).is_none_or(|cursor| cursor > floor) {
            break;
        }
        mutations.push(Mutation { keyspace: Keyspace::Outbox, key: key.to_vec(), value: None });
        trimmed += 1;
    }
    Ok((mutations, trimmed))
}

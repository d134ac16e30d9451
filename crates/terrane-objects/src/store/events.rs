//! Operations, completions, queues.

use std::time::Duration;

use terrane_keymap::Input;
use terrane_keymap::class::ClassName;
use terrane_keymap::completion::{Completion as CoreCompletion, OperationStatus as CoreStatus};
use terrane_keymap::keymap::Keyspace;
use terrane_types::AccountId;

use super::{Store, stopped};
use crate::convert;
use crate::service::*;

/// Completions that one call looks at: those of other accounts are passed over.
const SCANNED_MAX: usize = 1_000;

/// The class that an operator's word names; `None` for all.
fn class_named(class: Option<&str>) -> Result<Option<ClassName>> {
    let Some(name) = class else { return Ok(None) };
    let known = ClassName::parse(name).filter(|_| QUEUE_CLASSES.contains(&name));
    known.map(Some).ok_or(ObjectError::NoSuchQueue)
}

impl Store {
    pub(super) async fn operation(
        &self,
        account: &AccountId,
        id: &OperationId,
    ) -> Result<Option<OperationStatus>> {
        let Some(key) = convert::operation_key(id, account.as_str()) else { return Ok(None) };
        let status = self.driver.ask(move |shard| shard.operation(key)).await.map_err(stopped)?;
        let (state, class, due) = match status {
            CoreStatus::Unknown => return Ok(None),
            CoreStatus::Applied => (KeymapState::Applied, None, None),
            CoreStatus::Pending { due } => {
                let due = due.map(convert::rfc3339);
                (KeymapState::Pending, Some(key.class.name().as_str().to_owned()), due)
            }
        };
        Ok(Some(OperationStatus { operation: id.clone(), state, class, due }))
    }

    pub(super) async fn completions(
        &self,
        account: &AccountId,
        after: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Completion>> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut news = self.driver.completions();
        let mut after = after;
        loop {
            let upto = *news.borrow_and_update();
            let (found, seen) = self.completions_between(after, upto, max, |completion| {
                (completion.origin.owner == *account).then(|| convert::completion(completion))
            })?;
            if !found.is_empty() {
                return Ok(found);
            }
            after = seen;
            if seen < upto {
                tokio::task::yield_now().await;
                continue;
            }
            match tokio::time::timeout_at(deadline, news.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(found),
            }
        }
    }

    /// What `wanted` makes of the completions after one cursor up to another, at most `max`; and the last cursor
    /// looked at.
    pub(crate) fn completions_between<T>(
        &self,
        after: u64,
        upto: u64,
        max: usize,
        mut wanted: impl FnMut(&CoreCompletion) -> Option<T>,
    ) -> Result<(Vec<T>, u64)> {
        let (mut found, mut seen) = (Vec::new(), after);
        let (Some(from), Some(to)) = (after.checked_add(1), upto.checked_add(1)) else {
            return Ok((found, seen));
        };
        if max == 0 || from >= to {
            return Ok((found, seen.max(upto)));
        }
        let keymap = self.driver.engine.snapshot();
        let rows = keymap.iter(Keyspace::Outbox, &from.to_be_bytes(), &to.to_be_bytes());
        for pair in rows.take(SCANNED_MAX) {
            let (_, value) = pair.map_err(|e| ObjectError::Unavailable(e.to_string()))?;
            let completion =
                CoreCompletion::decode(&value).map_err(|e| ObjectError::Corrupt(e.to_string()))?;
            seen = completion.cursor;
            found.extend(wanted(&completion));
            if found.len() == max {
                return Ok((found, seen));
            }
        }
        let all = found.len() < max && seen < upto && {
            let next = seen.saturating_add(1).to_be_bytes();
            keymap.iter(Keyspace::Outbox, &next, &to.to_be_bytes()).next().is_none()
        };
        Ok((found, if all { upto } else { seen }))
    }

    pub(super) async fn queues(&self) -> Result<Vec<QueueStatus>> {
        if let Some(why) = self.driver.failure() {
            return Err(ObjectError::Unavailable(why.to_string()));
        }
        let status = self.driver.ask(|shard| (shard.queues(), shard.workers().0)).await;
        let (queues, workers) = status.map_err(stopped)?;
        let listed = queues.iter().filter(|queue| QUEUE_CLASSES.contains(&queue.class.as_str()));
        Ok(listed
            .map(|queue| QueueStatus {
                class: queue.class.as_str().into(),
                depth: queue.depth,
                bytes: queue.bytes,
                spilled: queue.spilled,
                oldest_age_ms: queue.oldest_age_ms,
                rate: queue.rate,
                workers: u32::try_from(workers).unwrap_or(u32::MAX),
                paused: queue.paused,
            })
            .collect())
    }

    pub(super) async fn pause_queue(&self, class: Option<&str>, paused: bool) -> Result<()> {
        self.driver.tell(Input::Pause { class: class_named(class)?, paused });
        // Questions are answered in turn: whoever asks for the queues from now on sees it.
        self.driver.ask(|_| ()).await.map_err(stopped)
    }

    pub(super) async fn drain_queue(&self, class: Option<&str>) -> Result<()> {
        self.driver.drain(class_named(class)?).await.map_err(stopped)
    }
}

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use terrane_types::RandomId;

use crate::tuple::{Pack, Unpack};
use crate::{KeyRange, Result, Store, StoreError, Tx};

/// Where a reader of a feed is: everything up to and including `position` was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The store's incarnation that the position belongs to.
    pub incarnation: RandomId,
    /// The number of the last event seen; 0 before the first.
    pub position: u64,
}

/// One event of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number in the topic: 1, 2, 3, … in commit order.
    pub position: u64,
    /// What the publisher wrote.
    pub payload: Bytes,
}

/// What reading a feed gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The events behind the cursor (none if it is at the end), and the cursor behind them.
    Events(Vec<Event>, Cursor),
    /// The events behind the cursor are gone (trimmed), or the cursor is of another incarnation:
    /// read the state itself and take [`Feed::position`] in the same transaction.
    Resync,
}

/// Changes in the order of their commits, one counter per topic.
///
/// An event is published in the transaction that makes the change, so there is no change without its
/// event and no event without its change. Publishers to one topic conflict with each other.
#[derive(Debug, Clone)]
pub struct Feed {
    topic: String,
}

/// `(last published, last trimmed)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Head {
    last: u64,
    trimmed: u64,
}

impl Head {
    /// Version byte, two big-endian numbers.
    fn encode(self) -> Vec<u8> {
        [&[1], &self.last.to_be_bytes()[..], &self.trimmed.to_be_bytes()[..]].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (last, trimmed) = bytes.strip_prefix(&[1])?.split_first_chunk::<8>()?;
        Some(Self { last: u64::from_be_bytes(*last), trimmed: u64::from_be_bytes(trimmed.try_into().ok()?) })
    }
}

impl Feed {
    /// The feed of a topic.
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into() }
    }

    /// Publishes an event with the transaction; returns its position.
    ///
    /// # Errors
    /// The store's.
    pub async fn publish(&self, tx: &Tx, payload: impl Into<Bytes>) -> Result<u64> {
        let mut head = self.head(tx).await?;
        head.last += 1;
        tx.put(self.head_key(), head.encode()).await?;
        tx.put(self.event_key(head.last), payload).await?;
        Ok(head.last)
    }

    /// The cursor behind all events published so far, for readers that take their state from the
    /// same transaction.
    ///
    /// # Errors
    /// The store's.
    pub async fn position(&self, store: &Store, tx: &Tx) -> Result<Cursor> {
        Ok(Cursor { incarnation: store.incarnation(), position: self.head(tx).await?.last })
    }

    /// At most `limit` events behind the cursor.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(&self, store: &Store, cursor: Cursor, limit: usize) -> Result<Page> {
        if cursor.incarnation != store.incarnation() {
            return Ok(Page::Resync);
        }
        store.read(|tx| async move { self.page(&tx, cursor, limit).await }).await
    }

    async fn page(&self, tx: &Tx, cursor: Cursor, limit: usize) -> Result<Page> {
        let head = self.head(tx).await?;
        if cursor.position < head.trimmed || cursor.position > head.last {
            return Ok(Page::Resync);
        }
        let events = KeyRange::prefix(&self.events_prefix());
        let range = events.rest(&self.event_key(cursor.position), false);
        let mut found = Vec::new();
        for (key, payload) in tx.scan(&range, limit).await? {
            let position = u64::unpack(key.get(self.events_prefix().len()..).unwrap_or_default());
            let position = position.map_err(|error| StoreError::decode(&self.topic, error))?;
            found.push(Event { position, payload });
        }
        let position = found.last().map_or(cursor.position, |event| event.position);
        Ok(Page::Events(found, Cursor { position, ..cursor }))
    }

    /// Waits for events behind the cursor and reads them; returns at once with [`Page::Resync`].
    ///
    /// # Errors
    /// The store's.
    pub async fn next(&self, store: &Store, cursor: Cursor, limit: usize) -> Result<Page> {
        let mut seen = 0;
        loop {
            seen = store.changed(seen).await;
            match self.read(store, cursor, limit).await? {
                Page::Events(events, _) if events.is_empty() => {}
                page => return Ok(page),
            }
        }
    }

    /// Deletes all but the newest `keep` events, at most 1,000 of them per transaction; returns how many.
    ///
    /// # Errors
    /// The store's.
    pub async fn trim(&self, tx: &Tx, keep: u64) -> Result<u64> {
        let mut head = self.head(tx).await?;
        let upto = head.last.saturating_sub(keep).min(head.trimmed + 1000);
        let deleted = upto.saturating_sub(head.trimmed);
        for position in head.trimmed + 1..=upto {
            tx.delete(self.event_key(position)).await?;
        }
        if deleted > 0 {
            head.trimmed = upto;
            tx.put(self.head_key(), head.encode()).await?;
        }
        Ok(deleted)
    }

    async fn head(&self, tx: &Tx) -> Result<Head> {
        match tx.get(self.head_key()).await? {
            None => Ok(Head::default()),
            Some(bytes) => {
                Head::decode(&bytes).ok_or_else(|| StoreError::decode(&self.topic, "not a feed's head"))
            }
        }
    }

    fn head_key(&self) -> Vec<u8> {
        ("f", &self.topic, 0u64).pack()
    }

    fn events_prefix(&self) -> Vec<u8> {
        ("f", &self.topic, 1u64).pack()
    }

    fn event_key(&self, position: u64) -> Vec<u8> {
        ("f", &self.topic, 1u64, position).pack()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Head;

    #[test]
    fn the_head_is_pinned() {
        let head = Head { last: 3, trimmed: 2 };
        assert_eq!(head.encode(), [1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2]);
    }

    proptest! {
        #[test]
        fn heads_decode_or_not(bytes: Vec<u8>, last: u64, trimmed: u64) {
            let _ = Head::decode(&bytes);
            let head = Head { last, trimmed };
            prop_assert_eq!(Head::decode(&head.encode()), Some(head));
        }
    }
}

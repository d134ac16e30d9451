//! Sessions that holders may have at a router, as reserved in the store. **A router cannot check epochs**, so nobody
//! opens a session that is not in here, and one stays in here until its end is certain: a successor counts what its
//! predecessor has reserved. Every change is one transaction in the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bugs::Bugs;
use crate::{Epoch, SessionId};

/// A router's reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotBook {
    /// The newest holder that reserved anything.
    epoch: Epoch,
    /// How many sessions each epoch has, or may have.
    slots: BTreeMap<Epoch, Vec<SessionId>>,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// A later holder has reserved: this one's lease is over.
    #[error("the shard has a newer holder")]
    Fenced,
    /// All are taken.
    #[error("no session is left")]
    Full,
}

impl SlotBook {
    /// Reserves a slot. At most `own` are this epoch's, and `max` everybody's.
    ///
    /// # Errors
    /// See [`SlotError`].
    pub fn reserve(
        &mut self,
        epoch: Epoch,
        session: SessionId,
        (own, max): (usize, usize),
        bugs: Bugs,
    ) -> Result<(), SlotError> {
        if epoch < self.epoch {
            return Err(SlotError::Fenced);
        }
        let mine = self.slots.get(&epoch).map_or(0, Vec::len);
        let all = if bugs.forget_predecessor { mine } else { self.used() };
        if mine >= own || all >= max {
            return Err(SlotError::Full);
        }
        self.epoch = epoch;
        let held = self.slots.entry(epoch).or_default();
        if !held.contains(&session) {
            held.push(session);
        }
        Ok(())
    }

    /// Gives a slot back: its session has ended for certain. By an old holder as well, which may know.
    pub fn release(&mut self, epoch: Epoch, session: SessionId) {
        if let Some(held) = self.slots.get_mut(&epoch) {
            held.retain(|other| *other != session);
            if held.is_empty() {
                self.slots.remove(&epoch);
            }
        }
    }

    /// Gives back what earlier holders have: the holder `epoch` has seen the router's idle timeout pass since it took
    /// over, and none of them has written since.
    pub fn reap(&mut self, epoch: Epoch) {
        if epoch >= self.epoch {
            self.epoch = epoch;
            self.slots.retain(|other, _| *other >= epoch);
        }
    }

    /// Slots taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.slots.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: (usize, usize) = (2, 3);

    #[test]
    fn a_successor_has_what_its_predecessor_left() {
        let mut book = SlotBook::default();
        let mut reserve = |epoch, session| book.reserve(Epoch(epoch), SessionId(session), MAX, Bugs::NONE);
        assert_eq!((reserve(1, 0), reserve(1, 1)), (Ok(()), Ok(())));
        assert_eq!(reserve(1, 2), Err(SlotError::Full));
        assert_eq!((reserve(2, 0), reserve(2, 1)), (Ok(()), Err(SlotError::Full)));
        assert_eq!(reserve(1, 3), Err(SlotError::Fenced));
        book.release(Epoch(1), SessionId(1));
        assert_eq!(book.reserve(Epoch(2), SessionId(1), MAX, Bugs::NONE), Ok(()));
        book.reap(Epoch(2));
        assert_eq!(book.used(), 2);
        book.reap(Epoch(1));
        assert_eq!(book.used(), 2);
    }
}

//! Who writes where, as far as it matters for writes of parts of blocks.
//!
//! A part of a block is written by reading the block, changing it and writing it back. Nothing else may write the
//! block in between, and what was to be written before must be there before it is read. Whole blocks need no turns
//! among themselves: the replication core never sends two overlapping writes at the same time.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use crate::layout::Blocks;

/// Names a write that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// All writes that have not ended, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    next: u64,
    writes: BTreeMap<Ticket, Write>,
    /// How many of them want to be alone.
    alone: usize,
}

#[derive(Debug)]
struct Write {
    blocks: Blocks,
    alone: bool,
    waker: Option<Waker>,
}

impl Turns {
    /// A write begins. If it wants to be alone, nothing that overlaps runs at the same time.
    pub(crate) fn enter(&mut self, blocks: Blocks, alone: bool) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.alone += usize::from(alone);
        self.writes.insert(ticket, Write { blocks, alone, waker: None });
        ticket
    }

    /// Ready when nothing that came earlier is in the way.
    pub(crate) fn poll(&mut self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<()> {
        if self.alone == 0 {
            return Poll::Ready(());
        }
        let Some(write) = self.writes.get(&ticket) else { return Poll::Ready(()) };
        let (blocks, alone) = (write.blocks, write.alone);
        let in_the_way = |other: &Write| (alone || other.alone) && other.blocks.overlaps(&blocks);
        if !self.writes.range(..ticket).any(|(_, other)| in_the_way(other)) {
            return Poll::Ready(());
        }
        if let Some(write) = self.writes.get_mut(&ticket) {
            write.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// A write has ended. Those that it was in the way of are woken.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        let Some(ended) = self.writes.remove(&ticket) else { return };
        if self.alone == 0 {
            return;
        }
        self.alone -= usize::from(ended.alone);
        for (_, later) in self.writes.range_mut(ticket..) {
            if later.blocks.overlaps(&ended.blocks)
                && let Some(waker) = later.waker.take()
            {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_up(turns: &mut Turns, ticket: Ticket) -> bool {
        turns.poll(ticket, &mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_wants_to_be_alone_waits_and_is_waited_for() {
        let mut turns = Turns::default();
        let block = |start| Blocks { start, len: 1 };
        let whole = turns.enter(block(1), false);
        let again = turns.enter(block(1), false);
        assert!(is_up(&mut turns, whole) && is_up(&mut turns, again), "the core keeps these apart");
        let part = turns.enter(Blocks { start: 0, len: 2 }, true);
        let later = turns.enter(block(0), false);
        let elsewhere = turns.enter(block(2), true);
        assert!(!is_up(&mut turns, part) && !is_up(&mut turns, later) && is_up(&mut turns, elsewhere));
        turns.leave(whole);
        assert!(!is_up(&mut turns, part));
        turns.leave(again);
        assert!(is_up(&mut turns, part) && !is_up(&mut turns, later));
        turns.leave(part);
        assert!(is_up(&mut turns, later));
        turns.leave(later);
        turns.leave(elsewhere);
        assert_eq!(turns.alone, 0);
        assert!(turns.writes.is_empty());
    }
}

//! Requests that wait for their answers.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use terrane_block_core::message::Outcome;

/// What a request gets: an outcome, or nothing because the attachment is over.
pub(crate) type Answer = Option<Outcome<Bytes>>;

/// Requests by tag. A tag is free again when its answer was taken.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u64>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    times: Times,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Option<Waker>),
    /// Nobody waits any more.
    Abandoned,
    Answered(Answer),
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The request came.
    pub(crate) began: Instant,
    /// It was last sent.
    pub(crate) sent: Option<Instant>,
}

impl Slots {
    /// A tag for a new request.
    pub(crate) fn take(&mut self, now: Instant) -> u64 {
        let slot = Slot { state: State::Waiting(None), times: Times { began: now, sent: None } };
        match self.free.pop() {
            Some(tag) => {
                self.slots[tag as usize] = slot;
                tag
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u64 - 1
            }
        }
    }

    /// A request is sent; says how it was before.
    pub(crate) fn sent(&mut self, tag: u64, now: Instant) -> Option<Times> {
        let slot = self.slots.get_mut(tag as usize)?;
        let before = slot.times;
        slot.times.sent = Some(now);
        Some(before)
    }

    /// The answer is there.
    pub(crate) fn complete(&mut self, tag: u64, answer: Answer) -> Option<Times> {
        let slot = self.slots.get_mut(tag as usize)?;
        match &mut slot.state {
            State::Waiting(waker) => {
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
                slot.state = State::Answered(answer);
            }
            State::Abandoned => {
                slot.state = State::Free;
                self.free.push(tag);
            }
            State::Free | State::Answered(_) => return None,
        }
        Some(slot.times)
    }

    /// Whoever asked has gone. The tag is free when the answer comes.
    pub(crate) fn abandon(&mut self, tag: u64) {
        let Some(slot) = self.slots.get_mut(tag as usize) else { return };
        match slot.state {
            State::Waiting(_) => slot.state = State::Abandoned,
            State::Answered(_) => {
                slot.state = State::Free;
                self.free.push(tag);
            }
            State::Free | State::Abandoned => {}
        }
    }

    /// Nothing more will be answered.
    pub(crate) fn end_all(&mut self) {
        for tag in 0..self.slots.len() as u64 {
            self.complete(tag, None);
        }
    }

    /// Takes the answer.
    pub(crate) fn poll(&mut self, tag: u64, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(slot) = self.slots.get_mut(tag as usize) else { return Poll::Ready(None) };
        match &mut slot.state {
            State::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Free | State::Abandoned => Poll::Ready(None),
            State::Answered(answer) => {
                let answer = answer.take();
                slot.state = State::Free;
                self.free.push(tag);
                Poll::Ready(answer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_who_asked_and_tags_are_used_again() {
        let mut slots = Slots::default();
        let mut cx = Context::from_waker(Waker::noop());
        let now = Instant::now();
        let (first, second) = (slots.take(now), slots.take(now));
        assert_ne!(first, second);
        assert!(slots.poll(first, &mut cx).is_pending());
        assert!(slots.complete(second, Some(Outcome::Damaged)).is_some());
        assert!(slots.complete(second, None).is_none(), "once");
        assert_eq!(slots.poll(second, &mut cx), Poll::Ready(Some(Outcome::Damaged)));
        assert_eq!(slots.take(now), second);
        slots.abandon(second);
        assert_ne!(slots.take(now), second, "its answer is still to come");
        slots.complete(second, None);
        assert_eq!(slots.take(now), second);
        slots.end_all();
        assert_eq!(slots.poll(first, &mut cx), Poll::Ready(None));
    }
}

//! Was there an order in which all this makes sense?
//!
//! A checker for linearizability (Herlihy and Wing 1990) of a map: operations on one key, and scans
//! that see many keys at one instant. It goes through the history once and linearizes an operation
//! only when its return forces it to ("just in time", Lowe 2016). Operations on different keys
//! commute, so what may be the case is kept *per key* ([`keys`]); only the instants of scans tie
//! keys together, and each order of pending scans that explains the history so far is one [`branch`].
//! That makes histories of many thousand operations cheap as long as few scans run at the same time.
//!
//! An operation whose caller crashed may have taken effect, at any time until it was
//! [lost](History::lost) for good, or not.

mod branch;
mod keys;
mod register;
#[cfg(test)]
mod tests;

pub use register::{Register, RegisterOp, RegisterRet};

use branch::{Branch, linearize_all, lose_all};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::Hash;

/// What one key does. The type itself is only a name: derive all that is asked for.
pub trait Model: Clone + Debug + Ord + Hash {
    /// A key.
    type Key: Clone + Ord + Debug + Hash;
    /// What is stored at a key.
    type State: Clone + Ord + Hash + Debug + Default;
    /// An operation on one key.
    type Op: Clone + Debug;
    /// What it answers.
    type Ret: Clone + Debug;
    /// What a scan shows of a key.
    type Item: Clone + PartialEq + Debug;

    /// The state after the operation, if `ret` is a right answer; `None` as `ret`: nobody saw the answer.
    fn step(state: &Self::State, op: &Self::Op, ret: Option<&Self::Ret>) -> Option<Self::State>;
    /// What a scan shows of a key in this state; `None`: nothing.
    fn item(state: &Self::State) -> Option<Self::Item>;
}

/// What a scan returned: of all keys within the bounds exactly these.
#[derive(Clone, Debug)]
pub struct Scan<M: Model> {
    /// Only keys behind this one were asked for.
    pub after: Option<M::Key>,
    /// Keys behind this one were not looked at (the last key of a page that is not the last page).
    pub upto: Option<M::Key>,
    /// What was there.
    pub items: BTreeMap<M::Key, M::Item>,
}

impl<M: Model> Scan<M> {
    fn covers(&self, key: &M::Key) -> bool {
        self.after.as_ref().is_none_or(|after| key > after)
            && self.upto.as_ref().is_none_or(|upto| key <= upto)
    }
}

/// Names an operation or a scan of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub usize);

#[derive(Clone, Debug)]
pub(crate) enum Call<M: Model> {
    /// `ret` is `None` if nobody saw the answer.
    Op { key: M::Key, op: M::Op, ret: Option<M::Ret> },
    /// `None` until it returned; a scan that never did is nothing.
    Scan(Option<Scan<M>>),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Invoke(Id),
    Return(Id),
    /// From here on the operation takes no effect any more.
    Lost(Id),
}

/// What was asked and answered, in the order in which it happened.
#[derive(Clone, Debug)]
pub struct History<M: Model> {
    calls: Vec<Call<M>>,
    events: Vec<Event>,
    open: BTreeSet<Id>,
    forgotten: BTreeSet<Id>,
}

impl<M: Model> Default for History<M> {
    fn default() -> Self {
        Self { calls: Vec::new(), events: Vec::new(), open: BTreeSet::new(), forgotten: BTreeSet::new() }
    }
}

impl<M: Model> History<M> {
    /// An operation starts.
    pub fn invoke(&mut self, key: M::Key, op: M::Op) -> Id {
        self.start(Call::Op { key, op, ret: None })
    }

    /// A scan starts.
    pub fn invoke_scan(&mut self) -> Id {
        self.start(Call::Scan(None))
    }

    fn start(&mut self, call: Call<M>) -> Id {
        let id = Id(self.calls.len());
        self.calls.push(call);
        self.events.push(Event::Invoke(id));
        self.open.insert(id);
        id
    }

    /// An operation answers. One that is not open (lost already) is left as it is.
    pub fn returns(&mut self, id: Id, answer: M::Ret) {
        if self.open.remove(&id)
            && let Call::Op { ret, .. } = &mut self.calls[id.0]
        {
            *ret = Some(answer);
            self.events.push(Event::Return(id));
        }
    }

    /// A scan answers.
    pub fn returns_scan(&mut self, id: Id, answer: Scan<M>) {
        if self.open.remove(&id)
            && let Call::Scan(scan) = &mut self.calls[id.0]
        {
            *scan = Some(answer);
            self.events.push(Event::Return(id));
        }
    }

    /// Nobody will see this operation's answer (the caller was told "unknown"); it may still take effect.
    pub fn forgets(&mut self, id: Id) {
        if self.open.remove(&id) {
            self.forgotten.insert(id);
        }
    }

    /// The operation answers that nothing was done, for a reason that the model does not know (too much load).
    pub fn refused(&mut self, id: Id) {
        if self.open.remove(&id) {
            // A scan without an answer is nothing.
            self.calls[id.0] = Call::Scan(None);
        }
    }

    /// The operation has taken effect by now or never will (what it was waiting in is gone and recovered from).
    pub fn lost(&mut self, id: Id) {
        self.open.remove(&id);
        self.forgotten.remove(&id);
        self.events.push(Event::Lost(id));
    }

    /// All operations without an answer have taken effect by now or never will: call it when a crashed service serves again.
    pub fn lost_all(&mut self) {
        self.open.append(&mut self.forgotten);
        for id in std::mem::take(&mut self.open) {
            self.events.push(Event::Lost(id));
        }
    }

    /// Operations and scans so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing was asked yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Looks for an order that explains all answers.
    ///
    /// # Errors
    /// The first answer that no order explains, with what came before it on the same keys; or that there were
    /// too many possibilities to try.
    pub fn check(&self) -> Result<(), String> {
        let mut branches = vec![Branch::default()];
        for event in &self.events {
            match event {
                Event::Invoke(id) => match &self.calls[id.0] {
                    Call::Op { key, .. } => branches.iter_mut().for_each(|b| b.start(key, *id)),
                    // One that never returned shows nothing to explain.
                    Call::Scan(None) => {}
                    Call::Scan(Some(_)) => branches.iter_mut().for_each(|b| b.scans.push(*id)),
                },
                Event::Return(id) => {
                    branches = linearize_all(branches, &self.calls, *id);
                    if branches.is_empty() {
                        return Err(self.explain(*id));
                    }
                }
                Event::Lost(id) => branches = lose_all(branches, &self.calls, *id),
            }
            if branches.len() > BRANCHES {
                return Err(format!("more than {BRANCHES} orders of scans to try at {event:?}"));
            }
        }
        Ok(())
    }

    /// The violated call and the recent ones that could have to do with it.
    fn explain(&self, id: Id) -> String {
        let call = &self.calls[id.0];
        let related = |other: &Id| match (&self.calls[other.0], call) {
            (Call::Op { key, .. }, Call::Op { key: mine, .. }) => key == mine,
            (Call::Op { key, .. }, Call::Scan(Some(scan))) => scan.covers(key),
            (Call::Scan(Some(scan)), Call::Op { key, .. }) => scan.covers(key),
            (Call::Scan(_), _) | (_, Call::Scan(None)) => false,
        };
        let mut lines = Vec::new();
        for event in &self.events {
            let (what, other) = match event {
                Event::Invoke(other) => ("starts", other),
                Event::Return(other) => ("returns", other),
                Event::Lost(other) => ("is lost", other),
            };
            if other == &id || related(other) {
                lines.push(format!("  {} {what}: {:?}", other.0, self.calls[other.0]));
            }
            if matches!(event, Event::Return(other) if *other == id) {
                break;
            }
        }
        let recent = &lines[lines.len().saturating_sub(30)..];
        format!("no order explains the answer of {}: {call:?}\n{}", id.0, recent.join("\n"))
    }
}

/// Orders of pending scans that are followed at once.
const BRANCHES: usize = 10_000;

/// Keeps one of each; keeps the order, so that the same history is always checked the same way.
fn dedup<T: Clone + Ord>(items: &mut Vec<T>) {
    let mut seen = BTreeSet::new();
    items.retain(|item| seen.insert(item.clone()));
}

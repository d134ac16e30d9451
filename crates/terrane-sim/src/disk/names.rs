//! The names of a directory: as they are seen, as the disk has them, and the changes between the two.

use super::Loss;
use crate::coverage::Coverage;
use crate::rng::SimRng;
use std::collections::BTreeMap;
use std::io;

#[derive(Default)]
pub(super) struct Names {
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<Op>,
}

#[derive(Clone)]
enum Op {
    Create(String, u64),
    Remove(String),
    Rename(String, String),
}

impl Names {
    pub(super) fn live(&self) -> &BTreeMap<String, u64> {
        &self.live
    }

    /// Whether a crash could bring this file back, or it is there.
    pub(super) fn refers(&self, inode: u64) -> bool {
        self.live.values().chain(self.durable.values()).any(|id| *id == inode)
            || self.pending.iter().any(|op| matches!(op, Op::Create(_, id) if *id == inode))
    }

    pub(super) fn create(&mut self, name: &str, inode: u64) {
        self.push(Op::Create(name.into(), inode));
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<u64> {
        let inode = *self.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.push(Op::Remove(name.into()));
        Ok(inode)
    }

    /// The file that had the new name before.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<Option<u64>> {
        if !self.live.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let replaced = self.live.get(to).copied();
        self.push(Op::Rename(from.into(), to.into()));
        Ok(replaced)
    }

    fn push(&mut self, op: Op) {
        apply(&mut self.live, op.clone());
        self.pending.push(op);
    }

    /// Makes all durable; the files that may have lost their last name.
    pub(super) fn sync(&mut self) -> Vec<u64> {
        let mut before: Vec<u64> = self.durable.values().copied().collect();
        for op in self.pending.drain(..) {
            before.extend(if let Op::Create(_, inode) = &op { Some(*inode) } else { None });
            apply(&mut self.durable, op);
        }
        before
    }

    pub(super) fn crash(&mut self, loss: Loss, rng: &mut SimRng, coverage: &Coverage) {
        let ops = std::mem::take(&mut self.pending);
        // Journals keep the order of changes; not every file system has one.
        let ordered = loss != Loss::AnySector || !rng.one_in(4);
        let prefix = if loss == Loss::Everything { 0 } else { rng.below(ops.len() + 1) };
        for (index, op) in ops.into_iter().enumerate() {
            let survives = if ordered { index < prefix } else { rng.one_in(2) };
            if survives {
                apply(&mut self.durable, op);
            } else {
                coverage.hit("disk.name_lost");
            }
        }
        self.live.clone_from(&self.durable);
    }
}

/// Applies a change; one whose file is not there (because an earlier change was lost) does nothing.
fn apply(names: &mut BTreeMap<String, u64>, op: Op) {
    match op {
        Op::Create(name, inode) => {
            names.insert(name, inode);
        }
        Op::Remove(name) => {
            names.remove(&name);
        }
        Op::Rename(from, to) => {
            if let Some(inode) = names.remove(&from) {
                names.insert(to, inode);
            }
        }
    }
}

//! A disk that forgets what was not flushed, and rots.

use crate::rng::SimRng;
use std::collections::BTreeSet;
use terrane_block_core::{Content, Digest, Extent};

/// What a block holds: 0 is nothing.
pub(super) type Value = u32;
/// What an extent holds.
pub(super) type Values = Vec<Value>;

#[derive(Clone, Debug, Default)]
struct Block {
    stable: Value,
    /// Written since the last flush, oldest first.
    cached: Vec<Value>,
}

impl Block {
    fn read(&self) -> Value {
        self.cached.last().copied().unwrap_or(self.stable)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    blocks: Vec<Block>,
    pub(super) rotten: BTreeSet<u64>,
}

pub(super) fn content(values: Values) -> Content<Values> {
    if values.iter().all(|value| *value == 0) { Content::Zero } else { Content::Data(values) }
}

pub(super) fn values(content: &Content<Values>, extent: Extent) -> Values {
    match content {
        Content::Zero => extent.blocks().map(|_| 0).collect(),
        Content::Data(values) => values.clone(),
    }
}

impl Disk {
    pub(super) fn new(blocks: u64) -> Self {
        Self { blocks: (0..blocks).map(|_| Block::default()).collect(), rotten: BTreeSet::new() }
    }

    pub(super) fn write(&mut self, extent: Extent, content: &Content<Values>) {
        for (block, value) in extent.blocks().zip(values(content, extent)) {
            self.rotten.remove(&block);
            if let Some(block) = usize::try_from(block).ok().and_then(|at| self.blocks.get_mut(at)) {
                block.cached.push(value);
            }
        }
    }

    /// Nothing if any of it is rotten.
    pub(super) fn read(&self, extent: Extent) -> Option<Content<Values>> {
        let whole = extent.blocks().all(|block| !self.rotten.contains(&block));
        whole.then(|| content(extent.blocks().map(|block| self.peek(block)).collect()))
    }

    /// None at all if any of it is rotten.
    pub(super) fn digests(&self, extent: Extent) -> Vec<Digest> {
        if self.read(extent).is_none() {
            return Vec::new();
        }
        extent.blocks().map(|block| Digest(self.peek(block).into())).collect()
    }

    pub(super) fn peek(&self, block: u64) -> Value {
        usize::try_from(block).ok().and_then(|at| self.blocks.get(at)).map_or(0, Block::read)
    }

    pub(super) fn stable(&self, block: u64) -> Value {
        usize::try_from(block).ok().and_then(|at| self.blocks.get(at)).map_or(0, |block| block.stable)
    }

    /// How much of each block's writes a flush that begins now covers.
    pub(super) fn mark(&self) -> Vec<usize> {
        self.blocks.iter().map(|block| block.cached.len()).collect()
    }

    /// The only flush under way that counts: marks are taken and used in order.
    pub(super) fn flushed(&mut self, marks: &mut Vec<Vec<usize>>) {
        if marks.is_empty() {
            return;
        }
        let mark = marks.remove(0);
        for (at, (block, count)) in self.blocks.iter_mut().zip(&mark).enumerate() {
            let count = (*count).min(block.cached.len());
            if let Some(last) = count.checked_sub(1).and_then(|last| block.cached.get(last)) {
                block.stable = *last;
            }
            block.cached.drain(..count);
            for later in marks.iter_mut() {
                if let Some(later) = later.get_mut(at) {
                    *later = later.saturating_sub(count);
                }
            }
        }
    }

    /// The power fails: each block holds what was stable or anything on its way there. Whether anything is older now.
    pub(super) fn power_fails(&mut self, rng: &mut SimRng) -> bool {
        let mut lost = false;
        for block in &mut self.blocks {
            let keep = rng.below(block.cached.len() + 1);
            lost |= keep < block.cached.len();
            block.cached.truncate(keep);
            block.stable = block.read();
            block.cached.clear();
        }
        lost
    }
}

//! A disk that forgets what was not flushed.

use terrane_block_core::{Content, Digest, Extent};

/// One block: what is on stable media, and what was written since, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Block {
    stable: u8,
    cached: Vec<u8>,
}

/// Blocks that hold numbers; 0 is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk(Vec<Block>);

/// How many of each block's writes that are not on stable media a flush covers. Not which content: the same may come again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark(Vec<usize>);

impl Mark {
    /// The mark of a flush under way when another one, with mark `done`, is done.
    pub(crate) fn after(&mut self, done: &Self) {
        for (covered, done) in self.0.iter_mut().zip(&done.0) {
            *covered = covered.saturating_sub(*done);
        }
    }
}

pub(crate) fn content(value: u8) -> Content<u8> {
    if value == 0 { Content::Zero } else { Content::Data(value) }
}

pub(crate) fn value(content: &Content<u8>) -> u8 {
    match content {
        Content::Zero => 0,
        Content::Data(value) => *value,
    }
}

impl Disk {
    pub(crate) fn new(blocks: u64) -> Self {
        Self((0..blocks).map(|_| Block::default()).collect())
    }

    pub(crate) fn write(&mut self, extent: Extent, content: &Content<u8>) {
        for block in extent.blocks() {
            let block = &mut self.0[block as usize];
            if block.read() != value(content) || !block.cached.is_empty() {
                block.cached.push(value(content));
            }
            block.cached.dedup();
        }
    }

    pub(crate) fn digests(&self, extent: Extent) -> Vec<Digest> {
        extent.blocks().map(|block| Digest(self.read(block).into())).collect()
    }

    pub(crate) fn read(&self, block: u64) -> u8 {
        self.0[block as usize].read()
    }

    pub(crate) fn stable(&self, block: u64) -> u8 {
        self.0[block as usize].stable
    }

    /// What a flush that starts now will cover.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.0.iter().map(|block| block.cached.len()).collect())
    }

    /// The flush that started with this mark is done. Other marks count on from there: [`Mark::after`].
    pub(crate) fn flushed(&mut self, mark: &Mark) {
        for (block, covered) in self.0.iter_mut().zip(&mark.0) {
            if let Some(stable) = block.cached.drain(..*covered).next_back() {
                block.stable = stable;
            }
        }
    }

    /// How many outcomes a power failure may have.
    pub(crate) fn outcomes(&self) -> usize {
        self.0.iter().map(|block| block.cached.len() + 1).product()
    }

    /// The power fails: of each block, what was stable or anything that was on its way there.
    pub(crate) fn power_fails(&mut self, mut outcome: usize) {
        for block in &mut self.0 {
            let choices = block.cached.len() + 1;
            let choice = outcome % choices;
            outcome /= choices;
            block.cached.truncate(choice);
            block.stable = block.read();
            block.cached.clear();
        }
    }
}

impl Block {
    fn read(&self) -> u8 {
        self.cached.last().copied().unwrap_or(self.stable)
    }
}

#[test]
fn a_flush_covers_what_was_written_before_it_and_nothing_else() {
    let (extent, mut disk) = (Extent::block(0), Disk::new(1));
    let mut marks = Vec::new();
    marks.push(disk.mark());
    for value in [1, 0] {
        disk.write(extent, &content(value));
        marks.push(disk.mark());
    }
    // The content is what it was before the first write again; a flush that began before it makes none of that durable.
    for (at, stable) in [0, 1, 0].into_iter().enumerate() {
        let mark = marks[at].clone();
        disk.flushed(&mark);
        marks.iter_mut().for_each(|other| other.after(&mark));
        assert_eq!((disk.stable(0), disk.read(0)), (stable, 0));
    }
}
